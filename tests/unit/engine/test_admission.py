"""Who may come in: each check of a HELLO, with its rule and its BYE code."""

from dataclasses import replace

import pytest

from tests.engine_world import HIGH, HOUR_MS, LOW, MIDDLE, START_MS, curve_of, hello_of, record_of
from zmqp2p.codes import ByeCode
from zmqp2p.engine.admission import Unwelcome, admit
from zmqp2p.ids import Address, CurveKey, LinkId
from zmqp2p.session.handshake import Link, LinkState
from zmqp2p.wire.frames import Hello

SKEW_MS = 300_000
HELLO = hello_of(LOW)


def link_of(*, curve_key: CurveKey | None = None, expected: Address | None = None) -> Link:
    """Return a link on which CURVE has proved ``curve_key``."""
    return Link(
        id=LinkId(1),
        dialed=expected is not None,
        curve_key=curve_key,
        remote="there",
        expected=expected,
        state=LinkState.SILENT,
        opened_at=0.0,
        heard_at=0.0,
        pinged_at=0.0,
        greeted_at=0.0,
        hello_within_s=2.0,
    )


def refused(hello: Hello, link: Link | None = None, utc_ms: int = START_MS) -> tuple[str, ByeCode]:
    """Return the rule and the code by which ``hello`` is refused."""
    with pytest.raises(Unwelcome) as caught:
        admit(link or link_of(), hello, HIGH.address, utc_ms=utc_ms, skew_ms=SKEW_MS)
    return caught.value.rule, caught.value.code


def test_who_passes_every_check_is_known_by_the_record() -> None:
    """IDN-1, IDN-2: signed by the address that was dialed, for the key that CURVE has proved."""
    link = link_of(curve_key=curve_of(LOW), expected=LOW.address)
    record = admit(link, HELLO, HIGH.address, utc_ms=START_MS, skew_ms=SKEW_MS)
    assert record == record_of(LOW)


def test_a_common_version_is_enough() -> None:
    """HEL-1."""
    hello = replace(HELLO, versions=(7, 1))
    admit(link_of(), hello, HIGH.address, utc_ms=START_MS, skew_ms=SKEW_MS)


def test_without_a_common_version_nothing_else_is_looked_at() -> None:
    """HEL-1: whatever the rest is, it may mean something else in another version."""
    hello = replace(HELLO, versions=(2, 3), record=b"of another form")
    assert refused(hello) == ("HEL-1", ByeCode.VERSION_UNSUPPORTED)


def test_bytes_that_are_no_record_are_refused() -> None:
    """REC-1."""
    assert refused(replace(HELLO, record=b"")) == ("REC-1", ByeCode.RECORD_INVALID)


def test_a_record_that_its_address_has_not_signed_is_refused() -> None:
    """REC-2: the signature of another record of the same node."""
    mine, later = record_of(LOW).encode(), record_of(LOW, issued_ms=START_MS + 1).encode()
    mixed = mine[:-65] + later[-65:]
    assert refused(replace(HELLO, record=mixed)) == ("REC-2", ByeCode.RECORD_INVALID)


def test_a_record_expires_by_the_receivers_clock() -> None:
    """REC-3."""
    last_ms = START_MS + HOUR_MS - 1
    admit(link_of(), HELLO, HIGH.address, utc_ms=last_ms, skew_ms=SKEW_MS)
    assert refused(HELLO, utc_ms=last_ms + 1) == ("REC-3", ByeCode.RECORD_EXPIRED)


def test_a_record_from_the_future_is_refused_beyond_the_skew() -> None:
    """REC-4."""
    earliest_ms = START_MS - SKEW_MS
    admit(link_of(), HELLO, HIGH.address, utc_ms=earliest_ms, skew_ms=SKEW_MS)
    assert refused(HELLO, utc_ms=earliest_ms - 1) == ("REC-4", ByeCode.RECORD_INVALID)


def test_a_record_for_another_key_than_the_links_is_refused() -> None:
    """IDN-1: a stolen record is of no use without its CURVE key."""
    assert refused(HELLO, link_of(curve_key=curve_of(MIDDLE))) == ("IDN-1", ByeCode.KEY_MISMATCH)


def test_another_address_than_the_dialed_one_is_refused() -> None:
    """IDN-2: even if it holds the right key, it is not who was called."""
    link = link_of(curve_key=curve_of(LOW), expected=MIDDLE.address)
    assert refused(HELLO, link) == ("IDN-2", ByeCode.ADDRESS_MISMATCH)


def test_this_nodes_own_identity_is_refused() -> None:
    """IDN-3: it has dialed itself, or somebody runs a copy."""
    link = link_of(curve_key=curve_of(HIGH))
    assert refused(hello_of(HIGH), link) == ("IDN-3", ByeCode.DUPLICATE_INSTANCE)


def test_a_run_of_the_future_is_refused_whoever_claims_it() -> None:
    """RES-13: else a thief of the CURVE key makes every later run of the owner an old one."""
    latest = replace(HELLO, incarnation=START_MS + SKEW_MS)
    admit(link_of(), latest, HIGH.address, utc_ms=START_MS, skew_ms=SKEW_MS)  # A clock is ahead.
    later = replace(HELLO, incarnation=START_MS + SKEW_MS + 1)
    assert refused(later) == ("RES-13", ByeCode.PROTOCOL_ERROR)
