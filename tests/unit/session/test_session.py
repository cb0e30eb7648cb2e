"""A session: what it asks the store to keep, what it sends, and over which link."""

from dataclasses import replace

import pytest

from tests.chance import seeded
from tests.frames import (
    INSTANCE,
    OTHER_INSTANCE,
    OTHER_STREAM,
    STREAM,
    UNSAID,
    chain,
    honest,
    honest_hello,
    progress_of,
    refusal_of,
)
from zmqp2p import limits as bounds
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.errors import PeerError
from zmqp2p.ids import Address, InstanceId, LinkId, Seq, StreamDigest, StreamId
from zmqp2p.limits import DEFAULT_LIMITS
from zmqp2p.persistence import (
    DropMessages,
    DropRefusals,
    PeerSnapshot,
    PutCursor,
    PutMessage,
    PutOutStream,
    PutPeerRun,
    PutRefusal,
    Write,
)
from zmqp2p.session.resume import Hold
from zmqp2p.session.session import Output, Session
from zmqp2p.wire.frames import (
    Ack,
    Bulk,
    Data,
    Frame,
    Gap,
    Hello,
    Ping,
    Pong,
    Progress,
    Refusal,
)

PEER = Address(b"p" * 20)
MINE = StreamId(b"m" * 16)
ONE, TWO = LinkId(1), LinkId(2)
OURS_2, OURS_3 = chain(MINE, b"one", b"two"), chain(MINE, b"one", b"two", b"three")
THEIRS_6 = chain(STREAM, b"one", b"two", b"three", b"four", b"five", b"six")
STORED = PeerSnapshot(
    out_stream=MINE,
    acked=Seq(2),
    acked_digest=OURS_2,
    messages=[(Seq(3), b"three"), (Seq(4), b"four")],
    in_stream=STREAM,
    cursor=Seq(6),
    cursor_digest=THEIRS_6,
    refusals=[(Seq(5), RefusalCode.REPLAY.value, "old")],
    incarnation=3,
    instance=INSTANCE,
)
FULL = (DEFAULT_LIMITS.inbox_max_messages, DEFAULT_LIMITS.inbox_max_bytes)


class Sut:
    """A session, with its output drained by hand."""

    def __init__(self, memory: PeerSnapshot | None = None) -> None:
        """Take up ``memory``, by default that of a stream of ours on which nothing was said."""
        self.output = Output()
        memory = PeerSnapshot(out_stream=MINE) if memory is None else memory
        self.session = Session(PEER, memory, self.output, DEFAULT_LIMITS, seeded(1))

    def settle(self, now: float = 0.0) -> list[tuple[LinkId, Frame]]:
        """End the turn and return the frames, with their links."""
        self.session.settle(now)
        self.session.check()
        frames, self.output.frames = self.output.frames, []
        return frames

    def frames(self, now: float = 0.0) -> list[Frame]:
        """End the turn and return the frames."""
        return [frame for _, frame in self.settle(now)]

    def writes(self) -> list[Write]:
        """Return what is to be stored since last asked."""
        writes, self.output.writes = self.output.writes, []
        return writes

    def receive(self, frame: Data | Bulk | Ack | Gap | Ping | Pong, link: LinkId = ONE) -> None:
        """Take in a frame, of a peer who agrees unless a digest says otherwise."""
        self.session.receive(link, honest(frame, self.session), 0.0)
        self.session.check()

    def establish(self, link: LinkId, hello: Hello) -> Hold | None:
        """Take in a HELLO, of a peer who agrees unless a digest says otherwise."""
        hold = self.session.establish(link, honest_hello(hello, self.session), 0.0)
        self.session.check()
        return hold

    def process(self) -> bytes:
        """Process the next message."""
        _, body = self.session.inbox.take()
        assert body is not None
        self.session.done()
        self.session.check()
        return body

    def refuse(self, reason: str = "no") -> Refusal:
        """Refuse the next message."""
        self.session.inbox.take()
        return self.session.refuse(RefusalCode.PAYLOAD_INVALID, reason)


def hello_of(  # noqa: PLR0913  # Each field matters to some test.
    *,
    base: int = 1,
    next_: int = 100,
    seen: StreamId = MINE,
    cursor: int = 0,
    stream: StreamId = STREAM,
    instance: InstanceId = INSTANCE,
    incarnation: int = 3,
    window: tuple[int, int] = (1000, 1_000_000),
    refusals: tuple[Refusal, ...] = (),
    base_digest: StreamDigest = UNSAID,
    seen_digest: StreamDigest = UNSAID,
    heard: int = 1,
) -> Hello:
    """Return a HELLO of the peer."""
    return Hello(
        versions=(1,),
        record=b"",
        incarnation=incarnation,
        instance=instance,
        stream=stream,
        base=Seq(base),
        base_digest=base_digest,
        next=Seq(max(next_, base)),
        seen_stream=seen,
        cursor=Seq(cursor),
        seen_digest=seen_digest,
        heard=Seq(heard),
        refusals=refusals,
        window_messages=window[0],
        window_bytes=window[1],
    )


def established(memory: PeerSnapshot | None = None) -> Sut:
    """Return a session with one link, in a turn of its own."""
    sut = Sut(memory)
    known = memory is not None
    hello = hello_of(cursor=2 if known else 0, base=7 if known else 1)
    assert sut.establish(ONE, hello) is None
    sut.settle()
    sut.writes()
    return sut


def data_of(seq: int, *bodies: bytes, progress: Progress | None = None) -> Data:
    """Return a batch of the peer."""
    return Data(Seq(seq), UNSAID, progress or progress_of(), bodies)


def said(
    *processed: bytes,
    base: int = 1,
    received: int | None = None,
    window: tuple[int, int] = FULL,
    refusals: tuple[Refusal, ...] = (),
) -> Progress:
    """Return what the session says when it has processed these messages of the peer."""
    return progress_of(
        base=base,
        ack=len(processed),
        received=received,
        window=window,
        refusals=refusals,
        digest=chain(STREAM, *processed),
    )


STORED_SAYS = progress_of(base=4, ack=6, window=FULL, digest=THEIRS_6)


# --- Beginning ----------------------------------------------------------------------------------


def test_a_new_session_stores_its_stream_before_anything_is_sent_on_it() -> None:
    """SEQ-1: a stream id that was not stored would begin at 1 again after a restart."""
    sut = Sut(PeerSnapshot())
    stream = sut.session.outbox.stream
    assert len(stream) == 16
    assert sut.writes() == []
    sut.session.send(b"one")
    assert sut.writes() == [PutOutStream(PEER, stream), PutMessage(PEER, Seq(1), b"one")]
    sut.session.send(b"two")
    assert sut.writes() == [PutMessage(PEER, Seq(2), b"two")]
    known = Sut(STORED)
    known.session.keep()
    assert known.writes() == []


def test_hello_says_what_was_stored() -> None:
    """HEL-2."""
    assert Sut(STORED).session.hello(b"record", 9, OTHER_INSTANCE) == Hello(
        versions=(1,),
        record=b"record",
        incarnation=9,
        instance=OTHER_INSTANCE,
        stream=MINE,
        base=Seq(3),
        base_digest=OURS_2,
        next=Seq(5),
        seen_stream=STREAM,
        cursor=Seq(6),
        seen_digest=THEIRS_6,
        heard=Seq(1),
        refusals=(Refusal(Seq(5), RefusalCode.REPLAY, "old"),),
        window_messages=FULL[0],
        window_bytes=FULL[1],
    )


def test_hello_says_how_far_this_turn_has_come() -> None:
    """HEL-2: the cursor is committed with this turn, before the HELLO leaves."""
    sut = established()
    sut.receive(data_of(1, b"1", b"22"))
    sut.process()
    hello = sut.session.hello(b"", 9, OTHER_INSTANCE)
    assert (hello.seen_stream, hello.cursor) == (STREAM, 1)
    assert (hello.window_messages, hello.window_bytes) == (FULL[0] - 1, FULL[1] - 2)
    sut.settle()
    assert PutCursor(PEER, STREAM, Seq(1), chain(STREAM, b"1")) in sut.writes()


# --- Establishing -------------------------------------------------------------------------------


def test_a_session_is_resumed_from_the_peers_cursor() -> None:
    """RES-1."""
    sut = Sut(STORED)
    assert sut.establish(ONE, hello_of(cursor=3, base=7)) is None
    assert sut.writes() == [DropMessages(PEER, Seq(3), OURS_3), DropRefusals(PEER, Seq(6))]
    assert [(p, d.first, d.last) for p, d in sut.output.processed] == [(PEER, 3, 3)]
    (frame,) = sut.settle()
    assert frame == (ONE, Data(Seq(4), chain(OURS_3, b"four"), STORED_SAYS, (b"four",)))


def test_a_refusal_in_a_hello_reaches_the_sender() -> None:
    """REF-2: it is part of the ack that the cursor is."""
    sut = Sut(STORED)
    sut.establish(ONE, hello_of(cursor=4, refusals=(refusal_of(4),)))
    ((_, processed),) = sut.output.processed
    assert processed.refused == {4: (refusal_of(4), b"four")}


def test_a_run_of_the_peer_is_stored_when_it_is_new() -> None:
    """RES-3."""
    sut = Sut(STORED)
    sut.establish(ONE, hello_of(cursor=2))
    assert sut.writes() == []
    sut.establish(ONE, hello_of(cursor=2, incarnation=4, instance=OTHER_INSTANCE))
    assert sut.writes() == [PutPeerRun(PEER, 4, OTHER_INSTANCE)]
    sut.establish(ONE, hello_of(cursor=2, incarnation=4, instance=OTHER_INSTANCE))
    assert sut.writes() == []
    hold = sut.establish(ONE, hello_of(cursor=2))
    assert hold is not None
    assert hold.code is ByeCode.STORE_ROLLED_BACK


def test_a_stream_that_begins_anew_forgets_the_old_one() -> None:
    """RES-2, RES-11: its cursor and its refusals say nothing about the new one."""
    before = chain(OTHER_STREAM, b"one", b"two", b"three", b"four")
    sut = Sut(STORED)
    sut.establish(ONE, hello_of(cursor=2, stream=OTHER_STREAM, base=5, base_digest=before))
    assert sut.writes() == [
        DropRefusals(PEER, Seq(6)),
        PutCursor(PEER, OTHER_STREAM, Seq(4), before, Seq(5)),
    ]
    assert sut.session.inbox.refusals == ()
    sut.receive(data_of(5, b"five"))
    assert sut.process() == b"five"


def test_a_stream_without_refusals_has_none_to_forget() -> None:
    sut = Sut()
    sut.establish(ONE, hello_of())
    assert sut.writes() == [
        PutPeerRun(PEER, 3, INSTANCE),
        PutCursor(PEER, STREAM, Seq(0), chain(STREAM)),
    ]


def test_what_an_earlier_run_sent_is_forgotten_unless_it_was_processed() -> None:
    """RES-9: the new run may have been rolled back, and send other messages by these numbers."""
    sut = established()
    sut.receive(data_of(1, b"1", b"bad", b"old 3"))
    sut.process()
    refusal = sut.refuse()
    sut.settle()
    again = hello_of(incarnation=4, instance=OTHER_INSTANCE)
    assert sut.establish(TWO, again) is None
    assert (sut.session.inbox.cursor, sut.session.inbox.received) == (2, 2)
    assert sut.session.inbox.refusals == (refusal,)
    sut.receive(data_of(3, b"new 3"), TWO)
    assert sut.process() == b"new 3"


def test_the_same_run_on_a_new_link_need_not_send_again_what_waits_here() -> None:
    """SEQ-2: it does all the same, and that is known."""
    sut = established()
    sut.receive(data_of(1, b"1"))
    sut.establish(TWO, hello_of())
    sut.receive(data_of(1, b"1", b"2"), TWO)
    assert [sut.process(), sut.process()] == [b"1", b"2"]


def test_nothing_happens_on_a_link_that_is_held() -> None:
    """RES-7."""
    sut = Sut(STORED)
    hold = sut.establish(ONE, hello_of(cursor=9, incarnation=4))
    assert hold is not None
    assert hold.code is ByeCode.DATA_LOSS
    assert sut.session.links == {}
    assert sut.settle() == []
    assert sut.writes() == []
    assert sut.establish(ONE, hello_of(cursor=2)) is None


def test_a_rolled_back_outbox_is_noticed_after_more_was_sent() -> None:
    """RES-6: two messages were appended since, so that its numbers reach beyond the cursor."""
    sut = Sut(STORED)
    sut.session.send(b"five anew")
    sut.session.send(b"six anew")
    hold = sut.establish(ONE, hello_of(cursor=5))
    assert hold is not None
    assert hold.code is ByeCode.DATA_LOSS
    assert hold.reason.startswith("my outbox was rolled back")
    assert len(sut.session.outbox) == 4


def test_a_hello_that_was_overtaken_takes_nothing_back() -> None:
    """RES-6: two links of one run; the acks of one came before the HELLO of the other."""
    sut = established(STORED)
    sut.receive(Ack(progress_of(ack=4, base=7)))
    assert sut.establish(TWO, hello_of(cursor=2, base=7)) is None
    sut.session.check()
    assert sut.session.outbox.base == 5
    sut.session.send(b"five")
    five = Data(
        Seq(5), chain(OURS_3, b"four", b"five"), replace(STORED_SAYS, base=Seq(5)), (b"five",)
    )
    assert sut.settle() == [(TWO, five)]


# --- Sending ------------------------------------------------------------------------------------


def test_a_message_is_stored_and_then_sent() -> None:
    sut = established()
    assert sut.session.send(b"hi") == 1
    assert sut.writes() == [PutMessage(PEER, Seq(1), b"hi")]
    assert sut.settle() == [(ONE, Data(Seq(1), chain(MINE, b"hi"), said(), (b"hi",)))]
    assert sut.settle() == []


def test_a_large_message_travels_bare() -> None:
    sut = established()
    body = bytes(bounds.BULK_MIN_BYTES)
    bodies = (body[1:], body, b"x")
    for one in bodies:
        sut.session.send(one)
    assert sut.frames() == [
        Data(Seq(1), chain(MINE, *bodies[:1]), said(), (body[1:],)),
        Bulk(Seq(2), chain(MINE, *bodies[:2]), said(), body),
        Data(Seq(3), chain(MINE, *bodies), said(), (b"x",)),
    ]


def test_what_was_processed_is_dropped_from_the_store() -> None:
    sut = established(STORED)
    sut.receive(Ack(progress_of(ack=3, base=7)))
    assert sut.writes() == [DropMessages(PEER, Seq(3), OURS_3)]
    assert [(p, d.last) for p, d in sut.output.processed] == [(PEER, 3)]
    sut.receive(Ack(progress_of(ack=3, base=7)))
    assert sut.writes() == []


@pytest.mark.parametrize("kind", [Ack, Gap, lambda p: Pong(0, p), lambda p: data_of(7, progress=p)])
def test_every_frame_with_progress_acknowledges(kind: type[Ack]) -> None:
    sut = established(STORED)
    sut.receive(kind(progress_of(ack=3, base=7)))
    assert sut.writes() == [DropMessages(PEER, Seq(3), OURS_3)]


def test_bulk_acknowledges_too() -> None:
    sut = established(STORED)
    sut.receive(Bulk(Seq(7), UNSAID, progress_of(ack=3, base=7), bytes(bounds.BULK_MIN_BYTES)))
    assert sut.writes() == [DropMessages(PEER, Seq(3), OURS_3)]
    assert sut.process() == bytes(bounds.BULK_MIN_BYTES)


def test_a_gap_makes_it_go_back_at_once() -> None:
    """GAP-1."""
    sut = established()
    for body in (b"1", b"2"):
        sut.session.send(body)
    sut.settle()
    sut.receive(Gap(progress_of(received=1)))
    (frame,) = sut.frames()
    assert isinstance(frame, Data)
    assert (frame.seq, frame.bodies) == (2, (b"2",))


def test_the_timer_sends_again() -> None:
    """RTO-3."""
    sut = established()
    sut.session.send(b"1")
    sut.settle(now=5.0)
    deadline = sut.session.deadline
    assert deadline == 6.0
    sut.session.tick(5.9)
    assert sut.settle(now=5.9) == []
    sut.session.tick(6.0)
    (frame,) = sut.frames(now=6.0)
    assert isinstance(frame, Data)
    assert sut.session.resent == 1


# --- Receiving and acknowledging ----------------------------------------------------------------


def test_what_arrives_is_acknowledged_as_received_and_not_yet_as_processed() -> None:
    """ACK-3, ACK-4."""
    sut = established()
    sut.receive(data_of(1, b"1", b"2"))
    window = (FULL[0] - 2, FULL[1] - 2)
    assert sut.frames() == [Ack(said(received=2, window=window))]
    assert sut.writes() == []


def test_an_ack_leaves_with_the_cursor_it_claims() -> None:
    """ACK-3: the write is in the same output as the frame, and is committed before it leaves."""
    sut = established()
    sut.receive(data_of(1, b"1", b"2"))
    sut.process()
    assert sut.output.frames == []
    assert sut.writes() == []
    frames = sut.frames()
    assert sut.writes() == [PutCursor(PEER, STREAM, Seq(1), chain(STREAM, b"1"))]
    assert frames == [Ack(said(b"1", received=2, window=(FULL[0] - 1, FULL[1] - 1)))]


def test_one_turn_is_acknowledged_once() -> None:
    """ACK-4."""
    sut = established()
    for seq in (1, 2, 3):
        sut.receive(data_of(seq, b"x"))
        sut.process()
    (frame,) = sut.frames()
    assert isinstance(frame, Ack)
    assert frame.progress.ack == 3
    assert sut.writes() == [PutCursor(PEER, STREAM, Seq(3), chain(STREAM, b"x", b"x", b"x"))]
    assert sut.settle() == []


def test_an_ack_rides_on_data() -> None:
    """ACK-4."""
    sut = established()
    sut.receive(data_of(1, b"1"))
    sut.process()
    sut.session.send(b"mine")
    assert sut.frames() == [Data(Seq(1), chain(MINE, b"mine"), said(b"1"), (b"mine",))]


def test_a_duplicate_is_acknowledged_again() -> None:
    """SEQ-2: its sender has not heard the first ack."""
    sut = established()
    sut.receive(data_of(1, b"1"))
    sut.process()
    sut.settle()
    sut.receive(data_of(1, b"1"))
    assert sut.frames() == [Ack(said(b"1"))]


def test_progress_alone_is_not_answered() -> None:
    """Or two idle nodes would acknowledge each other for ever."""
    sut = established(STORED)
    sut.receive(Ack(progress_of(ack=3, base=7)))
    sut.receive(Pong(5, progress_of(ack=3, base=7)))
    assert sut.settle() == []


def test_a_gap_is_reported_once_for_each_missing_number() -> None:
    """GAP-1: the rest of a flight shows the same gap again and again."""
    sut = established()
    for seq in (3, 4):
        sut.receive(data_of(seq, b"x"))
    assert sut.frames() == [Gap(said())]
    sut.receive(data_of(5, b"x"))
    assert sut.settle() == []
    sut.receive(data_of(1, b"x"))
    sut.settle()
    sut.receive(data_of(3, b"x"))
    (frame,) = sut.frames()
    assert isinstance(frame, Gap)
    assert frame.progress.received == 1


def test_a_gap_is_reported_again_on_a_new_link() -> None:
    """GAP-1."""
    sut = established()
    for link in (ONE, TWO):
        sut.establish(link, hello_of())
        sut.receive(data_of(2, b"x"), link)
        assert sut.settle() == [(link, Gap(said()))]


def test_a_hello_said_again_on_a_link_sends_nothing_again() -> None:
    """Or a peer that does not read could have the whole outbox queued with each."""
    sut = established()
    sut.session.send(b"1")
    assert len(sut.frames()) == 1
    sut.establish(ONE, hello_of())
    assert sut.frames() == []


def test_the_highest_base_that_the_peer_has_said_is_stored() -> None:
    """RES-10: by it a rolled-back store is known, whatever was appended to it since."""
    sut = established()
    sut.receive(Ack(progress_of(base=9)))
    sut.settle()
    assert sut.writes()[-1] == PutCursor(PEER, STREAM, Seq(0), chain(STREAM), Seq(9))
    sut.receive(Ack(progress_of(base=8)))  # Late, over another link.
    sut.settle()
    assert sut.writes() == []
    hold = sut.establish(TWO, hello_of(incarnation=4, instance=OTHER_INSTANCE, base=8))
    assert hold is not None
    assert hold.code is ByeCode.DATA_LOSS


def test_of_many_pings_the_newest_is_answered() -> None:
    """LIV-1: an answer may be thousands of times as long as the question."""
    sut = established()
    for token in (1, 2, 3):
        sut.receive(Ping(token))
    assert [frame.token for frame in sut.frames() if isinstance(frame, Pong)] == [3]


def test_a_gap_report_acknowledges_too() -> None:
    sut = established()
    sut.receive(data_of(1, b"1"))
    sut.receive(data_of(3, b"3"))
    (frame,) = sut.frames()
    assert isinstance(frame, Gap)
    assert frame.progress.received == 1


def test_a_gap_that_was_filled_in_the_same_turn_is_reported_all_the_same() -> None:
    """GAP-1: and what comes after it in the turn does not take the report back."""
    sut = established()
    sut.receive(data_of(2, b"2"))
    sut.receive(data_of(3, b"3"))
    sut.receive(data_of(1, b"1"))
    (frame,) = sut.frames()
    assert isinstance(frame, Gap)
    assert frame.progress.received == 1


def test_more_than_the_window_is_the_peers_fault() -> None:
    """WIN-1; what the frame acknowledged counts."""
    sut = established(STORED)
    bodies = (b"",) * (FULL[0] + 1)
    with pytest.raises(PeerError, match="WIN-1"):
        sut.receive(data_of(7, *bodies, progress=progress_of(ack=3, base=7)))
    sut.session.check()
    assert sut.session.outbox.base == 4


# --- Refusals -----------------------------------------------------------------------------------


def test_a_refusal_is_stored_with_the_cursor_and_sent_with_the_ack() -> None:
    """REF-2."""
    sut = established()
    sut.receive(data_of(1, b"bad"))
    refusal = sut.refuse("broken")
    assert refusal == refusal_of(1, reason="broken")
    frames = sut.frames()
    assert sut.writes() == [
        PutRefusal(PEER, Seq(1), RefusalCode.PAYLOAD_INVALID.value, "broken"),
        PutCursor(PEER, STREAM, Seq(1), chain(STREAM, b"bad")),
    ]
    assert frames == [Ack(said(b"bad", refusals=(refusal,)))]


def test_a_refusal_is_repeated_until_the_base_has_passed_it() -> None:
    """REF-4."""
    sut = established()
    sut.receive(data_of(1, b"bad"))
    refusal = sut.refuse()
    for _ in range(2):
        (frame,) = sut.frames()
        assert isinstance(frame, Ack)
        assert frame.progress.refusals == (refusal,)
        sut.receive(data_of(1, b"bad"))
    sut.writes()
    sut.receive(Ack(progress_of(base=2)))
    assert sut.writes() == [DropRefusals(PEER, Seq(1))]
    (frame,) = sut.frames()
    assert isinstance(frame, Ack)
    assert frame.progress.refusals == ()


def test_who_hears_a_refusal_says_so_at_once() -> None:
    """REF-4: its base has passed it. The peer keeps so many only, and then processes no more."""
    sut = established(STORED)
    sut.receive(Ack(progress_of(ack=3, base=7, refusals=(refusal_of(3),))))
    assert sut.frames() == [Ack(STORED_SAYS)]


# --- Links --------------------------------------------------------------------------------------


def test_a_ping_is_answered_on_its_own_link_with_the_progress() -> None:
    """LIV-3: so that no lost window update can stall a stream."""
    sut = established()
    sut.establish(TWO, hello_of())
    sut.receive(Ping(7), ONE)
    assert sut.settle() == [(ONE, Pong(7, said()))]
    assert sut.settle() == []


def test_a_ping_over_a_link_that_is_gone_is_not_answered() -> None:
    sut = established()
    sut.establish(TWO, hello_of())
    sut.receive(Ping(7), ONE)
    sut.receive(Ping(8), TWO)
    sut.session.lose(ONE)
    assert sut.settle() == [(TWO, Pong(8, said()))]


def test_the_newest_link_is_used_and_any_is_heard() -> None:
    """DUP-1."""
    sut = established()
    sut.establish(TWO, hello_of())
    assert sut.session.active == TWO
    sut.receive(data_of(1, b"1"), ONE)
    assert sut.settle() == [(TWO, Ack(said(received=1, window=(FULL[0] - 1, FULL[1] - 1))))]
    sut.establish(ONE, hello_of())
    assert sut.session.active == ONE


def test_when_the_link_in_use_is_lost_all_goes_out_again_on_the_other() -> None:
    """RES-1: what was in flight went down with it."""
    sut = established()
    sut.establish(TWO, hello_of())
    sut.session.send(b"1")
    sut.settle()
    sut.session.lose(TWO)
    assert sut.session.active == ONE
    ((link, frame),) = sut.settle()
    assert link == ONE
    assert isinstance(frame, Data)
    assert frame.bodies == (b"1",)


def test_when_the_link_in_use_is_lost_the_newest_of_the_others_is_used() -> None:
    """DUP-1."""
    sut = established()
    for link in (TWO, LinkId(3)):
        sut.establish(link, hello_of())
    sut.session.lose(LinkId(3))
    assert sut.session.active == TWO


def test_when_another_link_is_lost_nothing_is_sent_again() -> None:
    sut = established()
    sut.establish(TWO, hello_of())
    sut.session.send(b"1")
    sut.settle()
    sut.session.lose(ONE)
    assert sut.session.active == TWO
    assert sut.settle() == []


def test_without_a_link_everything_waits() -> None:
    """RTO-2: messages for the next HELLO, which also says how far the peer's stream has come."""
    sut = established()
    sut.session.send(b"1")
    sut.receive(data_of(1, b"1"))
    sut.process()
    sut.session.lose(ONE)
    assert sut.session.active is None
    assert sut.settle() == []
    assert sut.session.deadline is None
    assert PutCursor(PEER, STREAM, Seq(1), chain(STREAM, b"1")) in sut.writes()
    sut.establish(TWO, hello_of())
    assert sut.frames() == [Data(Seq(1), chain(MINE, b"1"), said(b"1"), (b"1",))]


def test_a_gap_is_not_reported_on_a_link_that_did_not_show_it() -> None:
    sut = established()
    sut.receive(data_of(2, b"2"))
    sut.session.lose(ONE)
    sut.settle()
    sut.establish(TWO, hello_of())
    assert sut.settle() == []


def test_links_of_another_run_are_told_apart() -> None:
    """RES-8."""
    sut = established()
    restarted = hello_of(incarnation=4, instance=OTHER_INSTANCE)
    sut.establish(TWO, restarted)
    assert sut.session.is_other_run(ONE, OTHER_INSTANCE)
    assert not sut.session.is_other_run(TWO, OTHER_INSTANCE)
    assert not sut.session.is_other_run(LinkId(3), OTHER_INSTANCE)


def test_another_window_is_taken_from_each_hello() -> None:
    sut = established()
    for body in (b"1", b"2", b"3"):
        sut.session.send(body)
    sut.establish(ONE, replace(hello_of(), window_messages=2))
    (frame,) = sut.frames()
    assert isinstance(frame, Data)
    assert frame.bodies == (b"1", b"2")


def test_an_ack_that_may_be_lost_with_its_link_is_said_again_over_the_other() -> None:
    """RES-1: or the peer, to whom nothing shows that it is lost, waits for its resend timer."""
    sut = established()
    sut.establish(TWO, hello_of())
    sut.receive(data_of(1, b"1"), TWO)
    sut.process()
    assert sut.frames() == [Ack(said(b"1", received=1, window=sut.session.inbox.window()))]
    sut.session.lose(TWO)
    assert sut.session.active == ONE
    assert sut.frames() == [Ack(said(b"1", received=1, window=sut.session.inbox.window()))]
    sut.session.lose(ONE)
    assert sut.frames() == []
