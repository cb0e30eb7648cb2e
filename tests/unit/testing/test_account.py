"""The account notices each broken promise, whoever made it."""

from random import Random

import pytest

from tests.frames import STREAM, chain
from zmqp2p.crypto import SecretKey
from zmqp2p.ids import Address, ChannelId, Seq, StateHash, StreamDigest, StreamId, TurnNum
from zmqp2p.messages import AcceptState, encode_message
from zmqp2p.persistence import (
    DropMessages,
    PutCursor,
    PutMessage,
    PutOutStream,
    PutRefusal,
    PutUndelivered,
)
from zmqp2p.testing import Account, Broken
from zmqp2p.testing.scenarios import Item

ALICE, BOB = Address(b"a" * 20), Address(b"b" * 20)
BODIES = [encode_message(Item(number)) for number in (1, 2, 3)]


def digest(number: int) -> StreamDigest:
    return chain(STREAM, *BODIES[:number])


def cursor(number: int) -> PutCursor:
    return PutCursor(ALICE, STREAM, Seq(number), digest(number))


@pytest.fixture
def account() -> Account:
    """Alice has sent three items to Bob."""
    made = Account()
    sent = [PutMessage(BOB, Seq(n), body) for n, body in enumerate(BODIES, start=1)]
    made.commit(ALICE, [PutOutStream(BOB, STREAM), *sent], [])
    made.commit(BOB, [PutCursor(ALICE, STREAM, Seq(0), StreamDigest(STREAM))], [])
    return made


def test_what_is_processed_once_and_in_order_is_fine(account: Account) -> None:
    account.commit(BOB, [cursor(2)], [(ALICE, Item(1)), (ALICE, Item(2))])
    assert account.position(ALICE, BOB) == (3, 2)
    assert not account.complete(ALICE, BOB)
    account.commit(ALICE, [DropMessages(BOB, Seq(2), digest(2))], [])
    account.commit(BOB, [cursor(3)], [(ALICE, Item(3))])
    assert account.complete(ALICE, BOB)
    assert (account.sent, account.processed) == (3, 3)


@pytest.mark.parametrize("handled", [[], [1], [2, 1], [1, 1, 2], [1, 2, 3], [1, 2, 2]], ids=str)
def test_what_is_lost_doubled_reordered_or_too_early_is_noticed(
    account: Account, handled: list[int]
) -> None:
    with pytest.raises(Broken, match="the stream says"):
        account.commit(BOB, [cursor(2)], [(ALICE, Item(number)) for number in handled])


def test_what_was_never_sent_is_noticed(account: Account) -> None:
    made_up = PutCursor(ALICE, STREAM, Seq(1), chain(STREAM, b"other"))
    with pytest.raises(Broken, match="anything that was sent"):
        account.commit(BOB, [made_up], [])


def test_an_ack_before_the_commit_is_noticed(account: Account) -> None:
    with pytest.raises(Broken, match="takes 1 for processed"):
        account.commit(ALICE, [DropMessages(BOB, Seq(1), digest(1))], [])


@pytest.mark.parametrize("refused", [True, False])
def test_a_refusal_must_be_told_and_nothing_else(account: Account, *, refused: bool) -> None:
    writes = [PutRefusal(ALICE, Seq(1), 4, "no")] if refused else []
    handled = [] if refused else [(ALICE, Item(1))]
    account.commit(BOB, [*writes, cursor(1)], handled)
    told = [] if refused else [PutUndelivered(STREAM, Seq(1), 4, "no")]
    with pytest.raises(Broken, match="told wrong"):
        account.commit(ALICE, [*told, DropMessages(BOB, Seq(1), digest(1))], [])


def test_a_number_left_out_is_noticed(account: Account) -> None:
    with pytest.raises(Broken, match="follows on"):
        account.commit(ALICE, [PutMessage(BOB, Seq(5), b"x")], [])


def test_two_states_signed_for_one_turn_are_noticed(account: Account) -> None:
    key = SecretKey(b"\x01" * 32)
    bodies = [
        encode_message(
            AcceptState(ChannelId(b"c" * 32), TurnNum(1), StateHash(hash_), key.sign(hash_))
        )
        for hash_ in (Random(1).randbytes(32), Random(2).randbytes(32))
    ]
    account.commit(ALICE, [PutMessage(BOB, Seq(4), bodies[0])], [])
    with pytest.raises(Broken, match="two states signed"):
        account.commit(ALICE, [PutMessage(BOB, Seq(5), bodies[1])], [])


def test_what_a_frame_may_claim(account: Account) -> None:
    account.commit(BOB, [cursor(1)], [(ALICE, Item(1))])
    assert account.may_claim(BOB, ALICE, 1, 0)
    assert not account.may_claim(BOB, ALICE, 2, 0)
    assert account.may_claim(ALICE, BOB, 0, 3)
    assert not account.may_claim(ALICE, BOB, 0, 4)


def test_a_stream_begun_anew_is_another_one(account: Account) -> None:
    other = StreamId(b"n" * 16)
    account.commit(ALICE, [PutOutStream(BOB, other), PutMessage(BOB, Seq(1), BODIES[0])], [])
    writes = [
        PutCursor(ALICE, other, Seq(0), StreamDigest(other)),
        PutCursor(ALICE, other, Seq(1), chain(other, BODIES[0])),
    ]
    account.commit(BOB, writes, [(ALICE, Item(1))])
    assert account.complete(ALICE, BOB)
