"""A later run of a peer, a later record of this node, and round trips that nobody asked for."""

from dataclasses import replace

from tests.engine_world import (
    HOUR_MS,
    LOW,
    MIDDLE,
    START_MS,
    Sut,
    frames_on,
    hello_of,
    note,
    record_of,
)
from tests.frames import OTHER_INSTANCE, UNSAID, progress_of
from zmqp2p.engine.me import Told
from zmqp2p.ids import Seq
from zmqp2p.persistence import PutCursor, PutIssued
from zmqp2p.wire.frames import Data, Hello, Ping, Pong

LINK = 1


def subscribed() -> Sut:
    """Return an engine whose application takes every message."""
    sut = Sut(MIDDLE)
    sut.engine.subscribe(None, None)
    return sut


def test_what_an_earlier_run_sent_and_nobody_processed_is_forgotten() -> None:
    """RES-9: a rolled-back peer may send other messages under the same numbers."""
    sut = subscribed()
    sut.meet(LINK, LOW)
    bodies = tuple(note(text) for text in "abcd")
    sut.hear(LINK, Data(Seq(1), UNSAID, progress_of(), bodies))
    (pending,) = sut.pending  # The first is in progress; the others wait behind it.
    assert sut.engine.awaits(pending)
    sut.meet(2, LOW, replace(hello_of(LOW), incarnation=2, instance=OTHER_INSTANCE))
    assert not sut.engine.awaits(pending)
    sut.engine.complete(pending)  # Of the run that is over: it counts for nothing.
    assert [w for w in sut.turn().writes if isinstance(w, PutCursor)] == []
    sut.pending.clear()
    sut.hear(2, Data(Seq(1), UNSAID, progress_of(), (note("A"), note("B"))))
    texts = []
    while sut.pending:
        pending = sut.pending.pop()
        texts.append(pending.message.text)  # type: ignore[attr-defined]  # A Note.
        sut.engine.complete(pending)
        sut.turn()
    assert texts == ["A", "B"]
    assert sut.memory.peers[LOW.address].cursor == 2


def test_a_newer_record_is_shown_to_those_whom_this_node_dialed() -> None:
    """REC-7: those who dialed say HELLO again in their own time, and then see it too."""
    sut = Sut(MIDDLE)
    dialed = sut.dial(LOW)
    sut.hear(dialed, hello_of(LOW))
    sut.meet(LINK, LOW)
    newer = record_of(MIDDLE, issued_ms=START_MS + HOUR_MS)
    sut.begin()
    sut.engine.renew(newer, Told.ALL)
    output = sut.turn()
    (hello,) = (f for f in frames_on(output, dialed) if isinstance(f, Hello))
    assert hello.record == newer.encode()
    assert frames_on(output, LINK) == []
    assert PutIssued(newer.issued_ms) in output.writes
    (answer,) = (f for f in frames_on(sut.hear(LINK, hello_of(LOW)), LINK) if isinstance(f, Hello))
    assert answer.record == newer.encode()


def test_a_dial_that_has_not_been_answered_is_not_greeted_twice() -> None:
    """REC-7: its answer is still to come."""
    sut = Sut(MIDDLE)
    dialed = sut.dial(LOW)
    sut.begin()
    sut.engine.renew(record_of(MIDDLE, issued_ms=START_MS + HOUR_MS), Told.ALL)
    assert frames_on(sut.turn(), dialed) == []


def test_only_an_answer_to_an_open_ping_measures_the_round_trip() -> None:
    """LIV-1: a peer must not set this node's timers by answers that nobody asked for."""
    sut = Sut(MIDDLE)
    sut.meet(LINK, LOW)

    def rtt_s() -> float | None:
        (status,) = sut.engine.peer_statuses()
        return status.rtt_s

    sut.hear(LINK, Pong(0, progress_of()), later_s=0.2)
    assert rtt_s() is None
    output = sut.turn(later_s=0.75)
    (ping,) = (f for f in frames_on(output, LINK) if isinstance(f, Ping))
    sut.hear(LINK, Pong(ping.token, progress_of()), later_s=0.125)
    assert rtt_s() == 0.125
    sut.hear(LINK, Pong(ping.token, progress_of()), later_s=0.25)
    assert rtt_s() == 0.125
