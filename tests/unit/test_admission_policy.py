"""Lists of who may be a peer: whatever names a peer elsewhere names it here."""

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE, record_of
from zmqp2p.admission import all_but_these, everyone, known_peers_only, only_these
from zmqp2p.errors import InvalidValue
from zmqp2p.records import PeerUri


def test_a_list_lets_in_those_on_it_however_they_are_named() -> None:
    uri = PeerUri.parse(f"zp2p://0x{HIGH.address.hex()}@127.0.0.1:7001?curve={'00' * 32}")
    admission = only_these(record_of(LOW), "0x" + MIDDLE.address.hex(), uri)
    assert all(admission(key.address) for key in (LOW, MIDDLE, HIGH))
    assert not only_these(LOW.address)(HIGH.address)
    assert not only_these()(LOW.address)


def test_a_list_keeps_out_those_on_it_and_no_others() -> None:
    admission = all_but_these(LOW.address)
    assert not admission(LOW.address)
    assert admission(HIGH.address)


def test_everyone_is_everyone() -> None:
    assert everyone(LOW.address)


def test_known_peers_only_lets_nobody_in_where_nobody_knows_who_is_known() -> None:
    assert not known_peers_only(LOW.address)


@pytest.mark.parametrize("made", [only_these, all_but_these])
@pytest.mark.parametrize("peer", ["mallory", b"short", 5, None])
def test_what_names_nobody_is_refused(made: object, peer: object) -> None:
    """A list that silently lacks an entry lets in, or keeps out, the wrong one."""
    with pytest.raises(InvalidValue):
        made(peer)  # type: ignore[operator]
