"""What became of a message, asked by its id in any run; nodes whose turns are taken by hand."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.node_world import LIMITS, Letter, Side, World, world_of
from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import keccak256
from zmqp2p.engine.outcomes import message_id, place_of
from zmqp2p.errors import Cancelled, Expired, InvalidValue, Refused, RefuseMessage, UnknownMessage
from zmqp2p.ids import MessageId, Seq, StreamId
from zmqp2p.limits import BODY_MAX_BYTES
from zmqp2p.node.deliveries import Delivery
from zmqp2p.node.receipts import Receipt
from zmqp2p.persistence import PastStream, PutPastStream, Write

STREAM = StreamId(b"\x02" * 16)


def judge(delivery: Delivery) -> None:
    """Refuse a letter that says so."""
    if delivery.message.text == "refuse":
        raise RefuseMessage(RefusalCode.PAYLOAD_INVALID, f"letter {delivery.message.number}")


@pytest.fixture
def world() -> Iterator[World]:
    with world_of() as made:
        made.bob.handle(judge)
        yield made


def sent(world: World, *texts: str) -> list[Receipt]:
    """Send Bob letters with these texts, and let Alice store them."""
    letters = [Letter(number, text) for number, text in enumerate(texts, start=1)]
    receipts = [world.alice.send(world.bob, letter) for letter in letters]
    world.alice.turn()
    return receipts


def write(side: Side, *writes: Write) -> None:
    """Commit writes to the store of a side that has ended, as a tool does."""
    side.store.open(side.address, 0)
    side.store.apply(writes)
    side.store.commit()
    side.store.close()


def test_an_id_tells_the_stream_and_the_number_and_depends_on_the_body() -> None:
    """MSG-7: 8 bytes of the hash, so that an id names a content too."""
    place = STREAM + bytes(6) + b"\1\2"
    assert message_id(STREAM, Seq(258), b"body") == place + keccak256(place + b"body")[:8]
    assert message_id(STREAM, Seq(258), b"bode")[:24] == place
    assert message_id(STREAM, Seq(258), b"bode") != message_id(STREAM, Seq(258), b"body")
    assert place_of(message_id(STREAM, Seq(258), b"body")) == (STREAM, 258)


@pytest.mark.parametrize("asked", [b"", b"x" * 31, b"x" * 33, "x" * 32, None])
def test_what_is_no_id_is_told_so(world: World, asked: object) -> None:
    with pytest.raises(InvalidValue, match="message_id: must be 32 bytes"):
        world.alice.receipt(asked)  # type: ignore[arg-type]


def test_a_message_under_way_has_one_receipt(world: World) -> None:
    """Whoever asks waits for the same end."""
    world.bob.end()
    first, second = sent(world, "", "")
    assert world.alice.receipt(first.message_id) is first
    assert world.alice.receipt(second.message_id) is second


def test_a_message_of_an_earlier_run_has_a_receipt_that_ends(world: World) -> None:
    world.bob.end()
    receipts = sent(world, "", "refuse", "")
    ids = [receipt.message_id for receipt in receipts]
    world.alice.restart()
    again = [world.alice.receipt(asked) for asked in ids]
    called: list[Receipt] = []
    for receipt in again:
        receipt.add_done_callback(called.append)
    assert [(each.message_id, each.stored, each.ended) for each in again] == [
        (asked, True, False) for asked in ids
    ]
    assert world.alice.receipt(ids[0]) is again[0]
    world.bob.start()
    world.run()
    assert called == again
    assert [receipt.acked for receipt in again] == [True, False, True]
    assert [type(receipt.error) for receipt in again] == [type(None), Refused, type(None)]


def test_how_a_message_ended_is_known_for_good(world: World) -> None:
    receipts = sent(world, "", "refuse", "")
    world.run()
    for _ in range(3):  # In this run, in the next one, and in the one after that.
        found = [world.alice.receipt(receipt.message_id) for receipt in receipts]
        assert [receipt.message_id for receipt in found] == [r.message_id for r in receipts]
        assert all(receipt.peer == world.bob.address for receipt in found)
        assert [receipt.acked for receipt in found] == [True, False, True]
        error = found[1].error
        assert isinstance(error, Refused)
        assert (error.code, error.reason) == (RefusalCode.PAYLOAD_INVALID, "letter 2")
        with pytest.raises(Refused):
            found[1].wait(0)
        found[0].wait(0)
        world.alice.restart()


@pytest.mark.parametrize("restarts", [0, 1, 2])
def test_a_message_that_expired_is_known_as_such(world: World, restarts: int) -> None:
    """Restarted before it was refused (1), and after that too (2)."""
    world.bob.end()
    receipt = world.alice.send(world.bob, Letter(1), expires_in_s=0.5)
    world.alice.turn()
    asked = receipt.message_id
    if restarts > 0:
        world.alice.restart()
        receipt = world.alice.receipt(asked)
    world.now += 1.0
    world.bob.start()
    world.run()
    assert isinstance(receipt.error, Expired)
    if restarts > 1:
        world.alice.restart()
        assert isinstance(world.alice.receipt(asked).error, Expired)


def test_a_message_in_parts_is_known_by_its_last_number(world: World) -> None:
    world.bob.end()
    large = "x" * (2 * BODY_MAX_BYTES)
    (receipt,) = sent(world, large)
    assert place_of(receipt.message_id)[1] == 3
    world.alice.restart()
    again = world.alice.receipt(receipt.message_id)
    assert again.body == receipt.body
    part = message_id(place_of(receipt.message_id)[0], Seq(2), receipt.body)
    with pytest.raises(UnknownMessage):
        world.alice.receipt(part)
    world.bob.start()
    world.run()
    assert again.acked


# --- What is not known --------------------------------------------------------------------------


@pytest.mark.parametrize("seq", [0, 3, 2**64 - 1])
def test_a_number_that_was_never_given_is_unknown(world: World, seq: int) -> None:
    stream, _ = place_of(sent(world, "", "")[0].message_id)
    world.run()
    with pytest.raises(UnknownMessage, match="never sent"):
        world.alice.receipt(message_id(stream, Seq(seq), b""))


def test_a_message_of_another_store_is_unknown(world: World) -> None:
    with pytest.raises(UnknownMessage, match="no such message"):
        world.alice.receipt(message_id(STREAM, Seq(1), b""))


def test_another_message_under_the_same_number_is_not_mistaken_for_it(world: World) -> None:
    """Numbers are given twice where a store was rolled back."""
    world.bob.end()
    (receipt,) = sent(world, "")
    stream, seq = place_of(receipt.message_id)
    with pytest.raises(UnknownMessage, match="another message"):
        world.alice.receipt(message_id(stream, seq, receipt.body + b"!"))


def test_only_the_newest_refusals_of_a_peer_are_kept_and_what_is_too_old_is_unknown() -> None:
    """Never a wrong "acked": below the floor nothing is told."""
    limits = replace(LIMITS, undelivered_max_per_peer=2)
    with world_of(limits) as world:
        world.bob.handle(judge)
        receipts = sent(world, "", "refuse", "", "refuse", "refuse", "")
        world.run()
        for _ in range(2):
            for receipt in receipts[:2]:
                with pytest.raises(UnknownMessage, match="too long ago"):
                    world.alice.receipt(receipt.message_id)
            found = [world.alice.receipt(receipt.message_id) for receipt in receipts[2:]]
            assert [receipt.acked for receipt in found] == [True, False, False, True]
            world.alice.restart()


def test_the_store_keeps_no_more_than_memory_does() -> None:
    limits = replace(LIMITS, undelivered_max_per_peer=2)
    with world_of(limits) as world:
        world.bob.handle(judge)
        sent(world, *["refuse"] * 6)
        world.run()
        world.alice.end()
        memory = world.alice.store.open(world.alice.address, 0)
        assert [seq for _, seq, _, _ in memory.undelivered] == [5, 6]
        assert list(memory.floors.values()) == [4]


def test_refusals_in_one_turn_after_another_are_all_remembered() -> None:
    with world_of(replace(LIMITS, turn_max_messages=1)) as world:
        world.bob.handle(judge)
        receipts = sent(world, *["refuse"] * 5)
        world.run()
        found = [world.alice.receipt(receipt.message_id) for receipt in receipts]
        assert [type(receipt.error) for receipt in found] == [Refused] * 5


@pytest.mark.parametrize("last", [0, 1])
def test_there_is_a_bound_for_all_peers_together_and_the_oldest_go_first(last: int) -> None:
    limits = replace(LIMITS, undelivered_max=2)
    with world_of(limits, ("bob", "carol")) as world:
        receipts = []
        for other in (*world.others, world.others[last]):
            if not other.handlers:
                other.handle(judge)
            receipts.append(world.alice.send(other, Letter(1, "refuse")))
            world.run()
        world.alice.restart()
        with pytest.raises(UnknownMessage, match="too long ago"):
            world.alice.receipt(receipts[0].message_id)
        for receipt in receipts[1:]:
            assert isinstance(world.alice.receipt(receipt.message_id).error, Refused)


def test_a_smaller_bound_holds_from_the_next_start_on(world: World) -> None:
    receipts = sent(world, *["refuse"] * 4)
    world.run()
    world.alice.limits = replace(LIMITS, undelivered_max_per_peer=1)
    for _ in range(2):  # The second time what was forgotten is forgotten in the store.
        world.alice.restart()
        world.run()
        world.alice.loop.engine.check()
        with pytest.raises(UnknownMessage):
            world.alice.receipt(receipts[2].message_id)
        assert isinstance(world.alice.receipt(receipts[3].message_id).error, Refused)


# --- Streams that were given up -----------------------------------------------------------------


def test_messages_of_a_stream_that_was_given_up_are_told_apart(world: World) -> None:
    old = StreamId(b"old stream 16 by")
    past = PastStream(world.bob.address, acked=Seq(3), last=Seq(5))
    receipts = sent(world, "")
    world.run()
    world.alice.end()
    write(world.alice, PutPastStream(old, past))
    world.alice.start()
    fates = [world.alice.receipt(message_id(old, Seq(seq), b"")) for seq in range(1, 6)]
    assert [receipt.acked for receipt in fates] == [True, True, True, False, False]
    assert all(isinstance(receipt.error, Cancelled) for receipt in fates[3:])
    assert all(receipt.peer == world.bob.address for receipt in fates)
    for seq in (0, 6):
        with pytest.raises(UnknownMessage):
            world.alice.receipt(message_id(old, Seq(seq), b""))
    assert world.alice.receipt(receipts[0].message_id).acked


def test_a_question_in_the_turn_of_the_answer_is_answered_rightly(world: World) -> None:
    """The ack has been read, but the turn is not over: its refusals count already."""
    receipts = sent(world, "", "refuse")
    ids = [receipt.message_id for receipt in receipts]
    found: list[Receipt] = []

    def ask() -> None:
        found.extend(world.alice.receipt(asked) for asked in ids)

    for _ in range(12):
        world.alice.later(ask)
        world.run(1)
    told = [type(receipt.error) for receipt in found if receipt.ended]
    assert len(told) >= 2
    assert told == [type(None), Refused] * (len(told) // 2)


def test_ids_are_bytes_that_can_be_stored(world: World) -> None:
    (receipt,) = sent(world, "")
    world.alice.store.transaction.execute("CREATE TABLE app_sent (id BLOB)")
    world.alice.store.transaction.execute("INSERT INTO app_sent VALUES (?)", (receipt.message_id,))
    world.run()
    ((stored,),) = world.alice.rows("SELECT id FROM app_sent")
    assert world.alice.receipt(MessageId(stored)).acked
