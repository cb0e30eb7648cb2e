"""A session that is held: what is stored to be looked at, what is forgotten, and what ends it."""

from dataclasses import replace

import pytest

from tests.frames import (
    OTHER_INSTANCE,
    OTHER_STREAM,
    STREAM,
    UNSAID,
    chain,
    honest_hello,
    progress_of,
)
from tests.memory import remember_of_peer
from tests.unit.session.test_session import (
    MINE,
    ONE,
    OURS_2,
    PEER,
    STORED,
    THEIRS_6,
    TWO,
    Sut,
    data_of,
    established,
    hello_of,
    said,
)
from zmqp2p import limits as bounds
from zmqp2p.codes import ByeCode
from zmqp2p.errors import Contradiction
from zmqp2p.ids import Seq, StreamDigest, StreamId
from zmqp2p.persistence import DropHold, DropMessages, Held, PeerSnapshot, PutHold
from zmqp2p.wire.frames import Ack, Bulk, Data, Gap, Pong

ANOTHER = chain(OTHER_STREAM)
LOSS = ByeCode.DATA_LOSS


def holds_in(sut: Sut) -> list[PutHold | DropHold]:
    """Return what is to be stored of holds since last asked."""
    return [write for write in sut.writes() if isinstance(write, PutHold | DropHold)]


# --- What shows a contradiction (RES-11) --------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        Ack,
        Gap,
        lambda p: Pong(0, p),
        lambda p: data_of(7, b"seven", progress=p),
        lambda p: Bulk(Seq(7), UNSAID, p, bytes(bounds.BULK_MIN_BYTES)),
    ],
)
def test_any_progress_with_another_digest_is_a_contradiction(kind: type[Ack]) -> None:
    """RES-11: and nothing of the frame counts."""
    sut = established(STORED)
    with pytest.raises(Contradiction):
        sut.receive(kind(progress_of(ack=3, base=8, digest=ANOTHER)))
    sut.session.check()
    assert (sut.session.outbox.base, sut.session.inbox.received) == (3, 6)
    assert sut.settle() == []
    assert sut.writes() == []


@pytest.mark.parametrize("large", [False, True])
def test_a_batch_that_does_not_follow_is_a_contradiction(large: bool) -> None:
    """RES-11: what its progress says counts, as before any other fault of a frame."""
    sut = established(STORED)
    progress = progress_of(ack=3, base=7)
    body = bytes(bounds.BULK_MIN_BYTES)
    wrong = (
        Bulk(Seq(7), ANOTHER, progress, body) if large else Data(Seq(7), ANOTHER, progress, (b"",))
    )
    with pytest.raises(Contradiction):
        sut.receive(wrong)
    sut.session.check()
    assert (sut.session.outbox.base, sut.session.inbox.received) == (4, 6)


def test_hello_says_the_digests_where_the_two_streams_stand() -> None:
    """RES-11: at base - 1 of its own, which moves with the acks, and at its cursor."""
    sut = established(STORED)
    sut.receive(data_of(7, b"seven", b"eight", progress=progress_of(ack=3, base=7)))
    sut.process()
    hello = sut.session.hello(b"", 9, OTHER_INSTANCE)
    assert (hello.base, hello.base_digest) == (4, chain(OURS_2, b"three"))
    assert (hello.cursor, hello.seen_digest) == (7, chain(THEIRS_6, b"seven"))


def test_hello_says_the_highest_base_heard() -> None:
    """RES-10: also one of this very turn, which is committed before it leaves."""
    sut = established()
    assert sut.session.hello(b"", 9, OTHER_INSTANCE).heard == 1
    sut.receive(Ack(progress_of(base=9)))
    assert sut.session.hello(b"", 9, OTHER_INSTANCE).heard == 9


def test_a_session_that_has_met_nobody_has_no_digest_of_theirs() -> None:
    """HEL-2: and a stream of its own begins with its id (RES-11)."""
    hello = Sut().session.hello(b"", 9, OTHER_INSTANCE)
    assert hello.base_digest == chain(MINE)
    assert not hello.seen_stream
    assert not hello.seen_digest


def test_a_stream_that_begins_late_goes_on_with_the_digest_at_its_base() -> None:
    """RES-2, RES-11: what came before is not known here, but what follows is chained to it."""
    before = chain(STREAM, b"1", b"2")
    sut = Sut()
    assert sut.establish(ONE, hello_of(base=3, base_digest=before)) is None
    sut.settle()
    sut.receive(data_of(3, b"3"))
    sut.process()
    (frame,) = sut.frames()
    assert isinstance(frame, Ack)
    assert frame.progress.digest == chain(STREAM, b"1", b"2", b"3")


def test_a_restarted_session_goes_on_with_the_digests_that_were_stored() -> None:
    """RES-11."""
    sut = Sut(PeerSnapshot())
    memory = PeerSnapshot()
    sut.establish(ONE, hello_of(seen=StreamId(b"")))
    stream = sut.session.outbox.stream
    for body in (b"one", b"two"):
        sut.session.send(body)
    sut.receive(data_of(1, b"1"))
    sut.process()
    sut.settle()
    sut.receive(Ack(progress_of(ack=1)))
    for write in sut.writes():
        remember_of_peer(memory, write)
    again = Sut(memory)
    assert again.session.hello(b"", 9, OTHER_INSTANCE) == replace(
        sut.session.hello(b"", 9, OTHER_INSTANCE), window_messages=16384
    )
    assert again.session.outbox.digest_at(Seq(2)) == chain(stream, b"one", b"two")


def test_a_hello_that_acknowledges_stores_the_digest_there() -> None:
    """RES-11."""
    sut = Sut(STORED)
    sut.establish(ONE, hello_of(cursor=4, base=7))
    assert DropMessages(PEER, Seq(4), chain(OURS_2, b"three", b"four")) in sut.writes()


def test_progress_says_the_digest_of_what_is_committed() -> None:
    """ACK-3, RES-11: with the ack that it belongs to, never ahead of it."""
    sut = established()
    sut.receive(data_of(1, b"1", b"2"))
    sut.process()
    assert sut.frames() == [Ack(said(b"1", received=2, window=sut.session.inbox.window()))]


# --- What is stored -----------------------------------------------------------------------------


def test_a_hold_is_stored_with_what_the_peer_said_of_both_streams() -> None:
    """RES-7: that is what `zmqp2p recover` explains the loss by."""
    sut = Sut(STORED)
    hello = honest_hello(hello_of(base=9, next_=12, cursor=3, incarnation=4), sut.session)
    hold = sut.session.establish(ONE, hello, 0.0)
    assert hold is not None
    sut.session.hold(hold.code, hold.reason, hello)
    held = Held(LOSS.value, hold.reason, Seq(9), Seq(12), Seq(3), chain(OURS_2, b"three"))
    assert sut.session.held == held
    assert sut.writes() == [PutHold(PEER, held)]


def test_of_streams_that_are_not_those_known_here_nothing_is_stored() -> None:
    """RES-7: their numbers would be compared with those of others."""
    sut = Sut(STORED)
    sut.establish(
        ONE, hello_of(stream=OTHER_STREAM, seen=OTHER_STREAM, base=9, cursor=9, incarnation=2)
    )
    sut.session.hold(LOSS, "why")
    assert sut.session.held == Held(LOSS.value, "why")


def test_a_hold_that_comes_before_any_hello_says_why_alone() -> None:
    """RES-7: the peer refused the link."""
    sut = Sut(STORED)
    sut.session.hold(LOSS, "the peer says: no")
    assert sut.writes() == [PutHold(PEER, Held(LOSS.value, "the peer says: no"))]


def test_the_same_hold_is_stored_once() -> None:
    """Redialing goes on while a session is held: each attempt would cost a commit."""
    sut = Sut(STORED)
    for _ in range(2):
        sut.session.hold(LOSS, "why")
    assert holds_in(sut) == [PutHold(PEER, Held(LOSS.value, "why"))]
    sut.session.hold(ByeCode.DUPLICATE_INSTANCE, "why")
    assert len(holds_in(sut)) == 1


def test_a_hold_is_known_after_a_restart_and_ends_with_a_good_hello() -> None:
    """RES-7: it is there to be looked at; each HELLO is judged anew."""
    held = Held(LOSS.value, "why")
    sut = Sut(replace(STORED, held=held))
    assert sut.session.held == held
    assert sut.establish(ONE, hello_of(cursor=9)) is not None
    assert (sut.session.held, holds_in(sut)) == (held, [])
    assert sut.establish(ONE, hello_of(cursor=2, base=7)) is None
    assert holds_in(sut) == [DropHold(PEER)]
    assert sut.establish(ONE, hello_of(cursor=2, base=7)) is None
    assert holds_in(sut) == []
    assert sut.session.held is None


# --- What is forgotten --------------------------------------------------------------------------


def test_a_held_session_forgets_what_waits_and_what_is_in_progress() -> None:
    """RES-7, RES-9: nothing that came from the other history is processed any more."""
    sut = established()
    sut.receive(data_of(1, b"1", b"bad", b"3", b"4"))
    sut.process()
    refusal = sut.refuse()
    in_progress = sut.session.inbox
    in_progress.take()
    sut.settle()
    sut.session.lose(ONE)
    sut.session.hold(LOSS, "why")
    sut.session.check()
    inbox = sut.session.inbox
    assert inbox is not in_progress
    assert (inbox.stream, inbox.cursor, inbox.received) == (STREAM, 2, 2)
    assert inbox.digest == chain(STREAM, b"1", b"bad")
    assert inbox.refusals == (refusal,)


def test_a_session_that_other_links_serve_forgets_nothing() -> None:
    """RES-7: a second copy of the peer must not stop the first."""
    sut = established()
    sut.receive(data_of(1, b"1"))
    copy = hello_of(instance=OTHER_INSTANCE)
    hold = sut.establish(TWO, copy)
    assert hold is not None
    sut.session.hold(hold.code, hold.reason)
    assert sut.process() == b"1"
    assert sut.session.held is None  # It goes on: there is nothing to recover.


def test_what_is_held_is_stored_as_it_is_named() -> None:
    """A default digest is none: nothing was said of this node's stream."""
    assert Held(13, "why").digest == StreamDigest(b"")
