"""What a store keeps of messages that were refused, on either side, and of past streams."""

from zmqp2p.ids import Address, MessageId, Seq, StreamId
from zmqp2p.persistence import (
    DropDeadLetter,
    DropPastStream,
    DropUndelivered,
    FailedMessage,
    PastStream,
    PutDeadLetter,
    PutPastStream,
    PutUndelivered,
    Snapshot,
    Write,
)
from zmqp2p.store import Store

ALICE, BOB, CAROL = Address(b"a" * 20), Address(b"b" * 20), Address(b"c" * 20)
STREAM, OTHER = StreamId(b"s" * 16), StreamId(b"t" * 16)


def written(store: Store, *writes: Write) -> Snapshot:
    """Return what a store finds after one commit of ``writes`` and a restart."""
    store.open(ALICE, 1)
    store.apply(writes)
    store.commit()
    store.close()
    return store.open(ALICE, 1)


def refused(stream: StreamId, seq: int) -> PutUndelivered:
    """Return that message ``seq`` was refused, for a reason of its own."""
    return PutUndelivered(stream, Seq(seq), 4, f"reason {seq}")


def test_refused_messages_are_found_in_the_order_in_which_they_came(store: Store) -> None:
    """So that the oldest can go first, whatever their streams are called."""
    snapshot = written(store, refused(OTHER, 7), refused(STREAM, 2), refused(OTHER, 9))
    assert snapshot.undelivered == [
        (OTHER, 7, 4, "reason 7"),
        (STREAM, 2, 4, "reason 2"),
        (OTHER, 9, 4, "reason 9"),
    ]
    assert snapshot.floors == {}


def test_what_is_forgotten_leaves_its_floor(store: Store) -> None:
    snapshot = written(
        store,
        *(refused(STREAM, seq) for seq in (2, 5, 6)),
        refused(OTHER, 3),
        DropUndelivered(STREAM, Seq(2)),
        DropUndelivered(STREAM, Seq(5)),
    )
    assert [row[:2] for row in snapshot.undelivered] == [(STREAM, 6), (OTHER, 3)]
    assert snapshot.floors == {STREAM: 5}


def test_streams_that_were_given_up_are_found_oldest_first(store: Store) -> None:
    past = {OTHER: PastStream(BOB, Seq(3), Seq(5)), STREAM: PastStream(CAROL, Seq(0), Seq(0))}
    snapshot = written(store, *(PutPastStream(stream, each) for stream, each in past.items()))
    assert list(snapshot.past_streams.items()) == list(past.items())


def test_a_past_stream_that_is_dropped_takes_everything_with_it(store: Store) -> None:
    snapshot = written(
        store,
        PutPastStream(STREAM, PastStream(BOB, Seq(3), Seq(5))),
        PutPastStream(OTHER, PastStream(BOB, Seq(3), Seq(5))),
        *(refused(stream, seq) for stream in (STREAM, OTHER) for seq in (1, 2)),
        DropUndelivered(STREAM, Seq(1)),
        DropUndelivered(OTHER, Seq(1)),
        DropPastStream(STREAM),
    )
    assert list(snapshot.past_streams) == [OTHER]
    assert [row[:2] for row in snapshot.undelivered] == [(OTHER, 2)]
    assert snapshot.floors == {OTHER: 1}


def dead(sender: Address, seq: int, attempts: int = 5) -> FailedMessage:
    """Return a dead letter."""
    return FailedMessage(sender, STREAM, Seq(seq), b"body", attempts, f"error {attempts}", 77)


def test_dead_letters_are_found_oldest_first_whatever_happens_to_them(store: Store) -> None:
    first, second, third = (MessageId(bytes([number]) * 32) for number in (9, 1, 5))
    snapshot = written(
        store,
        PutDeadLetter(first, dead(BOB, 1)),
        PutDeadLetter(second, dead(CAROL, 1)),
        PutDeadLetter(third, dead(BOB, 2)),
        PutDeadLetter(first, dead(BOB, 1, attempts=6)),
        DropDeadLetter(second),
    )
    assert list(snapshot.dead_letters.items()) == [
        (first, dead(BOB, 1, attempts=6)),
        (third, dead(BOB, 2)),
    ]
