"""What was signed: kept for good, one row for each channel, and never for the same turn twice."""

import pytest

from zmqp2p.errors import StoreError
from zmqp2p.ids import Address, ChannelId, StateHash, TurnNum
from zmqp2p.persistence import DropObjective, PutObjective, PutSigned, Signed, Snapshot
from zmqp2p.store import Store

OWNER = Address(b"o" * 20)
CHANNEL, OTHER = ChannelId(b"\x01" * 32), ChannelId(b"\x02" * 32)
ONE, TWO = StateHash(b"1" * 32), StateHash(b"2" * 32)
LAST_TURN = TurnNum(2**48 - 1)


def put(turn: int, state_hash: StateHash = ONE, channel: ChannelId = CHANNEL) -> PutSigned:
    return PutSigned(channel, TurnNum(turn), state_hash)


def reopened(store: Store) -> Snapshot:
    store.close()
    return store.open(OWNER, 1)


@pytest.fixture
def opened(store: Store) -> Store:
    store.open(OWNER, 1)
    return store


def test_the_highest_turn_of_each_channel_is_found_again(opened: Store) -> None:
    """SIG-2."""
    opened.apply([put(0), put(LAST_TURN, TWO), put(3, TWO, OTHER), put(3, TWO, OTHER)])
    opened.commit()
    expected = {CHANNEL: Signed(LAST_TURN, TWO), OTHER: Signed(TurnNum(3), TWO)}
    assert reopened(opened).signed == expected


def test_what_is_signed_outlives_the_objective(opened: Store) -> None:
    opened.apply([PutObjective(CHANNEL, b"one"), put(1)])
    opened.commit()
    opened.apply([DropObjective(CHANNEL)])
    opened.commit()
    snapshot = reopened(opened)
    assert snapshot.objectives == {}
    assert snapshot.signed == {CHANNEL: Signed(TurnNum(1), ONE)}


@pytest.mark.parametrize("write", [put(5, TWO), put(4, ONE), put(-1, channel=OTHER)])
def test_a_second_signature_for_a_turn_cannot_be_stored(opened: Store, write: PutSigned) -> None:
    """The ledger refuses it first; if it fails to, the turn must fail."""
    opened.apply([put(5)])
    opened.commit()
    with pytest.raises(StoreError):
        opened.apply([write])
    with pytest.raises(StoreError):
        opened.commit()
    assert reopened(opened).signed == {CHANNEL: Signed(TurnNum(5), ONE)}


@pytest.mark.parametrize(
    "write",
    [
        PutSigned(ChannelId(b"\x01" * 31), TurnNum(1), ONE),
        PutSigned(CHANNEL, TurnNum(1), StateHash(b"1" * 33)),
    ],
)
def test_a_row_that_cannot_be_one_is_refused(opened: Store, write: PutSigned) -> None:
    with pytest.raises(StoreError):
        opened.apply([write])


def test_what_is_signed_in_a_turn_survives_the_handlers_rollback(opened: Store) -> None:
    """The node's own writes are applied after the handler's savepoint is rolled back."""
    opened.transaction.execute("CREATE TABLE app_notes (number INTEGER)")
    opened.savepoint()
    opened.transaction.execute("INSERT INTO app_notes VALUES (1)")
    opened.rollback_to_savepoint()
    opened.apply([put(7)])
    opened.commit()
    assert opened.transaction.execute("SELECT * FROM app_notes") == []
    assert reopened(opened).signed == {CHANNEL: Signed(TurnNum(7), ONE)}
