"""Large messages go in parts: put together in order, kept within bounds, refused if too large."""

import dataclasses
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqp2p import codec
from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import next_digest
from zmqp2p.errors import PeerError
from zmqp2p.ids import Seq, StreamDigest, StreamId
from zmqp2p.limits import BODY_MAX_BYTES, MIB, PART_MAX_BYTES, PARTS_MAX, Limits
from zmqp2p.session.inbox import Accepted, Inbox
from zmqp2p.session.outbox import Outbox
from zmqp2p.session.parts import Assembly, is_part, parts_left, split, whole
from zmqp2p.session.room import MESSAGE_BYTES, RESERVED_BYTES, InboxRoom
from zmqp2p.wire.frames import Progress, Refusal

STREAM = StreamId(b"s" * 16)
LIMITS = Limits(message_max_bytes=MIB, inbox_max_bytes=2 * MIB, inbox_max_messages=8)


def noise(size: int) -> bytes:
    return Random(size).randbytes(size)


def part(left: int, size: int = PART_MAX_BYTES) -> bytes:
    return codec.encode((0, left, bytes(size)))


class Stream:
    """An inbox, and the stream's other end, which chains the digests."""

    def __init__(self, limits: Limits = LIMITS, room: InboxRoom | None = None) -> None:
        self.room = room or InboxRoom(limits.inbox_total_max_bytes)
        self.digest = StreamDigest(STREAM)
        self.next = Seq(1)
        self.inbox = Inbox(STREAM, (Seq(0), self.digest), [], limits, self.room)

    def bring(self, *bodies: bytes) -> Accepted:
        before, seq = self.digest, self.next
        for body in bodies:
            self.digest = next_digest(self.digest, body)
        accepted = self.inbox.accept(seq, bodies, self.digest)
        self.inbox.check()
        if accepted is Accepted.FULL:
            self.digest = before
        else:
            self.next = Seq(seq + len(bodies))
        return accepted

    def take(self) -> tuple[Seq, bytes | None]:
        taken = self.inbox.take()
        self.inbox.check()
        return taken

    def process(self) -> tuple[Seq, bytes | None]:
        taken = self.take()
        self.inbox.done()
        self.inbox.check()
        return taken


# --- Cutting and joining --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (0, 1),
        (BODY_MAX_BYTES, 1),
        (BODY_MAX_BYTES + 1, 2),
        (2 * PART_MAX_BYTES, 2),
        (2 * PART_MAX_BYTES + 1, 3),
    ],
)
def test_a_message_is_cut_only_where_it_must_be_and_joined_again(size: int, parts: int) -> None:
    body = noise(size)
    bodies = split(body)
    assert len(bodies) == parts
    assert all(len(each) <= BODY_MAX_BYTES for each in bodies)
    assert all(is_part(each) for each in bodies) == (parts > 1)
    assert [parts_left(each) for each in bodies] == list(reversed(range(parts)))
    numbered = {Seq(n): each for n, each in enumerate([part(0, 5), *bodies], start=7)}
    assert whole(numbered, Seq(7 + parts)) == body


def test_the_parts_of_two_messages_in_a_row_are_not_mixed_up() -> None:
    first, second = noise(BODY_MAX_BYTES + 1), noise(BODY_MAX_BYTES + 2)
    numbered = {Seq(n): each for n, each in enumerate([*split(first), *split(second)], start=1)}
    assert whole(numbered, Seq(2)) == first
    assert whole(numbered, Seq(4)) == second


@given(st.lists(st.integers(0, 3 * BODY_MAX_BYTES), min_size=1, max_size=3), st.integers(1, 4))
def test_whatever_is_cut_comes_out_of_an_inbox_as_it_was(sizes: list[int], batch: int) -> None:
    stream = Stream(Limits(message_max_bytes=MIB, inbox_max_messages=100))
    messages = [noise(size) for size in sizes]
    bodies = [body for message in messages for body in split(message)]
    for start in range(0, len(bodies), batch):
        assert stream.bring(*bodies[start : start + batch]) is Accepted.NEW
    assert [stream.process()[1] for _ in messages] == messages
    assert not stream.inbox.ready()
    assert stream.inbox.cursor == stream.inbox.received == len(bodies)
    assert stream.inbox.digest == stream.digest
    assert stream.room.used_bytes == 0


# --- In the inbox ---------------------------------------------------------------------------------


def test_a_message_is_handed_out_when_its_last_part_is_there_under_the_number_of_that() -> None:
    stream = Stream()
    message = noise(2 * PART_MAX_BYTES + 1)
    *first, last = split(message)
    stream.bring(*first)
    assert (stream.inbox.received, stream.inbox.cursor, stream.inbox.ready()) == (2, 0, False)
    stream.bring(last, b"next")
    assert stream.take() == (3, message)
    assert not stream.inbox.ready()  # One at a time.
    stream.inbox.put_back()
    stream.inbox.check()
    assert stream.process() == (3, message)
    assert stream.inbox.cursor == 3
    assert stream.process() == (4, b"next")


def test_parts_count_in_the_window_until_their_message_is_processed() -> None:
    stream = Stream()
    stream.bring(*split(noise(2 * PART_MAX_BYTES)))
    assert stream.inbox.window() == (6, 2 * MIB - 2 * PART_MAX_BYTES)
    stream.process()
    assert stream.inbox.window() == (8, 2 * MIB)


def test_a_message_too_large_is_handed_out_as_nothing_and_takes_no_room() -> None:
    """PRT-2: otherwise its sender would wait for a window that such a message never fits into."""
    stream = Stream()
    parts = split(noise(MIB + 2 * PART_MAX_BYTES))
    assert len(parts) > LIMITS.inbox_max_messages - 3
    for each in parts:
        stream.bring(each)
        assert stream.inbox.window() == (8, 2 * MIB)
    assert stream.room.used_bytes == MESSAGE_BYTES  # Only that there is one.
    assert stream.process() == (len(parts), None)
    assert stream.room.used_bytes == 0
    stream.bring(b"next")
    assert stream.process() == (len(parts) + 1, b"next")


@pytest.mark.parametrize(
    "bodies",
    [
        [part(0, 5)],  # A message of one part is none.
        [part(PARTS_MAX)],
        [part(2), part(2)],
        [part(2), part(0, 5)],
        [part(2), b"\x91\x40"],  # A message before the last part.
        [part(1, PART_MAX_BYTES - 1)],
        [part(1), part(0, 0)],
        [codec.encode((0, -1, b"x"))],
        [codec.encode((0, b"x", 1))],
        [codec.encode((0, 1, "text"))],
        [b"\x93\x00\xff"],
    ],
    ids=lambda bodies: " ".join(each[:4].hex() for each in bodies),
)
def test_what_makes_no_message_is_a_violation_and_changes_nothing(bodies: list[bytes]) -> None:
    """PRT-1."""
    stream = Stream()
    *good, bad = bodies
    for body in good:
        stream.bring(body)
    with pytest.raises(PeerError) as raised:
        stream.bring(bad)
    assert raised.value.rule in ("PRT-1", "ENC-1", "ENC-3")
    stream.inbox.check()
    assert stream.inbox.received == len(good)


def test_what_came_before_a_violation_in_its_batch_is_kept_consistent() -> None:
    stream = Stream()
    with pytest.raises(PeerError, match="PRT-1"):
        stream.bring(b"good", part(0, 5))
    stream.inbox.check()
    assert stream.inbox.received == 1
    assert stream.process() == (1, b"good")


def test_the_last_part_may_be_as_large_as_the_others() -> None:
    assembly = Assembly(MIB)
    assert not assembly.add(part(1))
    assert assembly.add(part(0))
    assert assembly.take() == bytes(2 * PART_MAX_BYTES)
    assembly.check()


# --- The room of all peers ------------------------------------------------------------------------


def test_a_full_room_turns_peers_away_but_for_their_reserve() -> None:
    """WIN-3."""
    room = InboxRoom(MIB)
    limits = Limits(message_max_bytes=MIB, inbox_max_bytes=2 * MIB)
    greedy, modest = Stream(limits, room), Stream(limits, room)
    while greedy.bring(noise(100_000)) is Accepted.NEW:
        pass
    assert greedy.inbox.received == greedy.next - 1  # What was turned away is as if lost,
    assert MIB - 100_000 < room.used_bytes <= MIB
    assert modest.bring(noise(BODY_MAX_BYTES)) is Accepted.NEW  # the reserve never is.
    assert modest.inbox.window()[1] == RESERVED_BYTES - BODY_MAX_BYTES - MESSAGE_BYTES
    assert greedy.inbox.window()[1] == 0
    greedy.process()
    modest.process()
    assert greedy.bring(noise(100_000)) is Accepted.NEW


def test_an_inbox_that_is_given_up_gives_back_its_room() -> None:
    room = InboxRoom(MIB)
    stream = Stream(room=room)
    stream.bring(noise(1000), part(1))
    stream.inbox.close()
    assert room.used_bytes == 0


# --- In the outbox --------------------------------------------------------------------------------


def test_a_refused_message_is_told_whole() -> None:
    outbox = Outbox(STREAM, (Seq(0), StreamDigest(STREAM)), [], LIMITS, Random(1))
    message = noise(2 * BODY_MAX_BYTES)
    for body in (b"before", *split(message)):
        outbox.append(body)
    outbox.resume(Seq(0), 100, 10 * MIB)
    while outbox.take_batch(0.0) is not None:
        pass
    last = Seq(outbox.next - 1)
    digest = outbox.digest_at(last)
    assert digest is not None
    refusal = Refusal(last, RefusalCode.TOO_LARGE, "no")
    processed = outbox.acknowledge(
        Progress(Seq(1), last, digest, last, (refusal,), 100, 10 * MIB), 1.0
    )
    assert processed is not None
    assert processed.refused == {last: (refusal, message)}


def test_messages_that_are_begun_can_all_be_completed_in_a_full_room() -> None:
    """The room is taken for the whole message with its first part: nobody is stuck half-way."""
    room = InboxRoom(8 * MIB)
    streams = [
        Stream(Limits(message_max_bytes=MIB, inbox_max_bytes=2 * MIB), room) for _ in range(9)
    ]
    parts = split(noise(4 * PART_MAX_BYTES))
    begun = [stream for stream in streams if stream.bring(parts[0]) is Accepted.NEW]
    assert len(begun) == 4
    assert room.used_bytes == 4 * 4 * PART_MAX_BYTES
    for stream in begun:
        for part_ in parts[1:]:
            assert stream.inbox.window()[1] >= len(part_)
            assert stream.bring(part_) is Accepted.NEW
        assert stream.process()[1] is not None
    assert room.used_bytes == 0
    assert streams[-1].bring(parts[0]) is Accepted.NEW


def test_a_message_may_be_begun_in_an_inbox_that_it_does_not_fit_into() -> None:
    """Its own limit then is exceeded by one message, and the window still lets its rest come."""
    limits = Limits(message_max_bytes=MIB, inbox_max_bytes=MIB + BODY_MAX_BYTES)
    stream = Stream(limits)
    stream.bring(noise(BODY_MAX_BYTES))
    stream.bring(noise(BODY_MAX_BYTES))
    first, *rest = split(noise(4 * PART_MAX_BYTES))
    stream.bring(first)
    for each in rest:
        assert stream.inbox.window()[1] >= len(each)
        stream.bring(each)
    assert stream.inbox.window()[1] == 0
    assert [len(stream.process()[1] or b"") for _ in range(3)][-1] == 4 * PART_MAX_BYTES


def test_what_was_turned_away_is_not_under_way_and_leaves_again_when_there_is_room() -> None:
    """WIN-3, LIV-5: a peer that answers is not given up for having no room."""
    outbox = Outbox(STREAM, (Seq(0), StreamDigest(STREAM)), [b"one"], LIMITS, Random(1))
    outbox.resume(Seq(0), 100, MIB)
    assert outbox.take_batch(0.0) is not None
    full = Progress(Seq(1), Seq(0), StreamDigest(STREAM), Seq(0), (), 100, 0)
    outbox.acknowledge(full, 1.0)
    outbox.check()
    assert (outbox.stalled_since, outbox.deadline, outbox.take_batch(2.0)) == (None, None, None)
    outbox.acknowledge(dataclasses.replace(full, window_bytes=MIB), 100.0)
    assert outbox.take_batch(100.0) is not None
    assert outbox.stalled_since == 100.0


def test_half_of_the_room_is_for_messages_that_are_complete() -> None:
    """Peers who begin messages and never end them do not bar the others."""
    room = InboxRoom(4 * MIB)
    limits = Limits(message_max_bytes=MIB, inbox_max_bytes=2 * MIB)
    begun = [Stream(limits, room).bring(part(3)) for _ in range(4)]
    assert begun == [Accepted.NEW, Accepted.NEW, Accepted.FULL, Accepted.FULL]
    honest = Stream(limits, room)
    for _ in range(7):
        assert honest.bring(noise(BODY_MAX_BYTES)) is Accepted.NEW


def test_what_was_turned_away_is_not_permitted_before_it_fits() -> None:
    """Or it would be sent again and again, and the link be taken for one that stalls (LIV-5)."""
    room = InboxRoom(2 * MIB)
    limits = Limits(message_max_bytes=MIB, inbox_max_bytes=2 * MIB)
    busy, late = Stream(limits, room), Stream(limits, room)
    while room.left_bytes(RESERVED_BYTES) > 3 * BODY_MAX_BYTES:
        busy.bring(noise(BODY_MAX_BYTES))
    assert late.bring(part(3)) is Accepted.FULL  # Four parts; the window was three bodies.
    assert late.inbox.window()[1] == 0
    while busy.inbox.ready():
        busy.process()
    assert late.inbox.window()[1] == 2 * MIB
    assert late.bring(part(3)) is Accepted.NEW


@pytest.mark.parametrize("before", ["nothing", "in progress", "waiting", "too large"])
def test_when_no_link_is_left_an_incomplete_message_is_dropped(before: str) -> None:
    """Its room is given back; its parts come again over the next link."""
    stream = Stream()
    if before in ("in progress", "waiting"):
        stream.bring(b"whole")
    if before == "in progress":
        stream.take()
    held_bytes, received, digest = stream.room.used_bytes, stream.inbox.received, stream.digest
    parts = split(noise(MIB + 2 * PART_MAX_BYTES)) if before == "too large" else [part(1), part(0)]
    stream.bring(parts[0])
    stream.inbox.drop_parts()
    stream.inbox.check()
    assert (stream.room.used_bytes, stream.inbox.received) == (held_bytes, received)
    stream.digest, stream.next = digest, Seq(received + 1)
    for each in parts:
        assert stream.bring(each) is Accepted.NEW
