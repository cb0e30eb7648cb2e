"""A hand-over counts only with both signatures, over this very order of the two addresses."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE
from zmqp2p import codec
from zmqp2p.crypto import SecretKey, Signature, keccak256
from zmqp2p.errors import InvalidValue, RecordError
from zmqp2p.handover import HAND_OVER_DOMAIN, HAND_OVER_PREFIX, HandOver
from zmqp2p.limits import HAND_OVER_MAX_BYTES

AT_MS = 1_700_000_000_000
GOOD = HandOver.issue(LOW, HIGH, AT_MS)


def value() -> list[Any]:
    return list(codec.decode(GOOD.encode()))  # type: ignore[arg-type]  # It is an array.


def test_a_statement_survives_its_bytes_and_its_text() -> None:
    assert HandOver.decode(GOOD.encode()) == GOOD
    assert HandOver.parse(f" {GOOD}\n") == GOOD
    assert str(GOOD).startswith(HAND_OVER_PREFIX)
    assert len(GOOD.encode()) < HAND_OVER_MAX_BYTES


def test_it_is_what_the_spec_says() -> None:
    """HND-1, HND-2: written down once more, by hand."""
    statement = (1, LOW.address, HIGH.address, AT_MS)
    digest = keccak256(b"zmqp2p hand-over v1\n" + codec.encode(statement))
    signatures = (LOW.sign(digest).to_bytes(), HIGH.sign(digest).to_bytes())
    assert GOOD.encode() == codec.encode((*statement, *signatures))


def test_a_statement_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        GOOD.issued_ms = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"signature_new": GOOD.signature_old},  # Only the old one signs.
        {"signature_old": GOOD.signature_new},  # Only the new one signs: to take a name is easy.
        {"signature_old": GOOD.signature_new, "signature_new": GOOD.signature_old},
        {"old_address": HIGH.address, "new_address": LOW.address},  # Both, for the other way.
        {  # Both, and their signatures changed places too.
            "old_address": HIGH.address,
            "new_address": LOW.address,
            "signature_old": GOOD.signature_new,
            "signature_new": GOOD.signature_old,
        },
        {"new_address": MIDDLE.address},  # A third takes a statement for himself,
        {"old_address": MIDDLE.address},  # or makes himself who it was.
        {"issued_ms": AT_MS + 1},
        {"signature_new": Signature(b"\0" * 31 + b"\5", b"\0" * 31 + b"\1", 27)},  # No key fits.
    ],
)
def test_what_both_have_not_signed_is_refused(change: dict[str, Any]) -> None:
    """HND-2."""
    with pytest.raises(RecordError) as caught:
        replace(GOOD, **change)
    assert caught.value.rule == "HND-2"


def test_the_signature_of_a_record_does_not_pass() -> None:
    """The domains differ."""
    statement = codec.encode((1, LOW.address, HIGH.address, AT_MS))
    digest = keccak256(b"zmqp2p peer record v1\n" + statement)
    with pytest.raises(RecordError) as caught:
        replace(GOOD, signature_old=LOW.sign(digest))
    assert caught.value.rule == "HND-2"
    assert HAND_OVER_DOMAIN.endswith(b"\n")


def test_nobody_hands_over_to_himself() -> None:
    with pytest.raises(InvalidValue, match="new_address: is the old one"):
        HandOver.issue(LOW, SecretKey(LOW.secret), AT_MS)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"version": 2}, "version"),
        ({"version": True}, "version"),
        ({"old_address": LOW.address[:-1]}, "old_address"),
        ({"new_address": HIGH.address.hex()}, "new_address"),
        ({"issued_ms": -1}, "issued_ms"),
        ({"issued_ms": 2**53}, "issued_ms"),
        ({"issued_ms": 1.0}, "issued_ms"),
    ],
)
def test_fields_out_of_range_are_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        replace(GOOD, **change)
    assert caught.value.field == field


def with_item(index: int, item: object) -> Callable[[], bytes]:
    def changed() -> bytes:
        items = value()
        items[index] = item
        return codec.encode(tuple(items))

    return changed


@pytest.mark.parametrize(
    "data",
    [
        lambda: b"",
        lambda: GOOD.encode() + b"\0",
        lambda: codec.encode(tuple(value()[:-1])),
        lambda: codec.encode("text"),
        lambda: bytes(HAND_OVER_MAX_BYTES + 1),
        with_item(0, 2),
        with_item(1, "0x12"),
        with_item(2, LOW.address),  # To itself.
        with_item(4, b"short"),
        with_item(5, GOOD.signature_new.to_bytes()[:-1] + bytes([GOOD.signature_new.v - 27])),
    ],
)
def test_what_is_no_canonical_statement_is_refused(data: Callable[[], bytes]) -> None:
    """HND-1: also a v that is written in another way, or there would be two bytes of one."""
    with pytest.raises(RecordError) as caught:
        HandOver.decode(data())
    assert caught.value.rule == "HND-1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zp2p:" + str(GOOD).removeprefix(HAND_OVER_PREFIX),
        str(GOOD).removeprefix(HAND_OVER_PREFIX),
        str(GOOD) + "=",
        str(GOOD) + "\u00e4",
        str(GOOD)[:-3],
        HAND_OVER_PREFIX + "A" * 400,
        HAND_OVER_PREFIX + "A",
    ],
)
def test_what_is_no_text_of_a_statement_is_refused(text: str) -> None:
    with pytest.raises(RecordError) as caught:
        HandOver.parse(text)
    assert caught.value.rule == "HND-1"


def test_a_statement_from_the_future_is_refused() -> None:
    GOOD.check_time(AT_MS - 1_000, 1_000)
    with pytest.raises(RecordError, match="HND-1: issued 1001 ms in the future"):
        GOOD.check_time(AT_MS - 1_001, 1_000)
