"""A peer that the application wants to know nothing of any more."""

from dataclasses import replace

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE, Sut, frames_on, hello_of, note, record_of
from tests.frames import UNSAID, progress_of, refusal_of
from tests.unit.engine.test_connections import byes
from zmqp2p.codes import ByeCode
from zmqp2p.engine.outcomes import message_id
from zmqp2p.engine.output import EngineOutput
from zmqp2p.errors import LocalError, UnknownMessage, UnknownPeer
from zmqp2p.ids import Seq
from zmqp2p.limits import Limits
from zmqp2p.persistence import DropPeer, Snapshot
from zmqp2p.wire.frames import Ack, Data

LINK = 1


def forget(sut: Sut) -> EngineOutput:
    """Forget `LOW` in a turn of its own."""
    sut.begin()
    sut.engine.forget_peer(LOW.address)
    return sut.turn()


def refuses(sut: Sut, why: str) -> None:
    """See that `LOW` is not forgotten, and nothing changed."""
    sut.begin()
    with pytest.raises(LocalError, match=why):
        sut.engine.forget_peer(LOW.address)
    assert not sut.turn().writes
    assert LOW.address in sut.statuses()


def test_nothing_is_left_of_who_is_forgotten() -> None:
    sut = Sut(MIDDLE)
    sut.engine.subscribe(None, None)
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    sut.settle()
    sut.meet(LINK, LOW)
    sut.hear(LINK, Data(Seq(1), UNSAID, progress_of(), (note("one"),)))
    sut.engine.complete(sut.pending[0])
    sut.turn()
    output = forget(sut)
    assert byes(output) == [(LINK, ByeCode.CLOSING)]
    assert output.writes[-1] == DropPeer(LOW.address)
    assert sut.memory.peers == {}
    assert LOW.address not in sut.statuses()
    with pytest.raises(UnknownPeer):
        sut.engine.forget_peer(LOW.address)
    assert not sut.until(sut.now + 60.0).writes
    output = sut.meet(2, LOW, replace(hello_of(LOW), base=Seq(2), incarnation=0), kept=False)
    assert not byes(output)  # It is new.


def test_what_it_says_in_the_turn_in_which_it_is_forgotten_is_not_stored() -> None:
    sut = Sut(MIDDLE)
    sut.meet(LINK, LOW)
    assert LOW.address in sut.memory.peers
    sut.begin()
    sut.take(LINK, Ack(progress_of(base=5)))
    sut.engine.forget_peer(LOW.address)
    assert sut.settle().writes[-1] == DropPeer(LOW.address)
    assert sut.memory.peers == {}


def test_what_was_processed_may_be_processed_again_after_it_is_forgotten() -> None:
    """Why nobody is forgotten without the application's word.

    The ack may be lost with its link. Who comes back cannot be told from one whose message never
    arrived, and whose message is not in a number that says so either.
    """
    sut = Sut(MIDDLE)
    sut.engine.subscribe(None, None)
    sut.meet(LINK, LOW)
    sut.hear(LINK, Data(Seq(1), UNSAID, progress_of(), (note("pay"),)))
    sut.engine.complete(sut.pending.pop())
    sut.turn()
    sut.down(LINK)  # And the ack was in flight.
    sut.meet(2, LOW)
    sut.hear(2, Data(Seq(1), UNSAID, progress_of(), (note("pay"),)))
    assert sut.pending == []  # Known.
    sut.down(2)
    forget(sut)
    sut.meet(3, LOW)
    sut.hear(3, Data(Seq(1), UNSAID, progress_of(), (note("pay"),)))
    assert len(sut.pending) == 1


def test_it_gives_its_place_to_another() -> None:
    """HEL-6."""
    sut = Sut(MIDDLE, limits=Limits(subscribe_grace_s=0.0, peers_max=1))
    sut.meet(LINK, LOW)
    assert byes(sut.meet(2, HIGH)) == [(2, ByeCode.TOO_MANY)]
    forget(sut)
    assert not byes(sut.meet(3, HIGH))


def test_one_who_passes_by_is_forgotten_too_and_writes_nothing() -> None:
    sut = Sut(MIDDLE)
    sut.meet(LINK, LOW, kept=False)
    assert not forget(sut).writes
    assert LOW.address not in sut.statuses()
    sut = Sut(MIDDLE, limits=Limits(subscribe_grace_s=0.0, passers_max=1))
    sut.meet(LINK, HIGH, kept=False)
    sut.meet(2, LOW, kept=False)
    sut.down(2)
    assert not forget(sut).writes
    assert LOW.address not in sut.statuses()


def test_a_dial_to_it_is_given_up_at_any_time() -> None:
    """Asked for in this very turn, or under way."""
    sut = Sut(MIDDLE)
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    sut.engine.tick()
    sut.engine.forget_peer(LOW.address)
    assert not sut.settle().dials
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    sut.settle()
    assert [dial.peer for dial in sut.turn().dials] == [LOW.address]
    assert sut.last_link in forget(sut).closes
    assert not sut.until(sut.now + 60.0).dials


def test_it_is_not_forgotten_while_messages_wait() -> None:
    sut = Sut(MIDDLE)
    sut.engine.subscribe(None, None)
    sut.meet(LINK, LOW)
    sut.hear(LINK, Data(Seq(1), UNSAID, progress_of(), (note("one"),)))
    refuses(sut, "of this peer are not processed")
    sut.engine.complete(sut.pending[0])
    sut.engine.send(LOW.address, note("mine"))
    sut.turn()
    refuses(sut, "to this peer wait")


def test_it_is_not_forgotten_in_the_middle_of_its_turn() -> None:
    """Nothing of its messages waits, but its work is still to be counted."""
    sut = Sut(MIDDLE)
    sut.meet(LINK, LOW)
    sut.begin()
    sut.take(LINK, Data(Seq(1), UNSAID, progress_of(), (note("nobody's"),)))
    for _ in sut.engine.deliveries(1):
        with pytest.raises(LocalError, match="not processed"):
            sut.engine.forget_peer(LOW.address)
    sut.settle()


def test_it_is_not_forgotten_while_a_dead_letter_of_it_is_kept() -> None:
    sut = Sut(MIDDLE, limits=Limits(subscribe_grace_s=0.0, handler_attempts=1))
    sut.engine.subscribe(None, None)
    sut.meet(LINK, LOW)
    sut.hear(LINK, Data(Seq(1), UNSAID, progress_of(), (note("one"),)))
    sut.begin()
    sut.engine.retry(sut.pending[0], "failed")
    sut.settle()
    refuses(sut, "dead letters")
    (letter,) = sut.engine.dead_letters.all()
    sut.engine.dead_letters.remove(letter)
    sut.turn()
    forget(sut)


def test_what_became_of_messages_to_it_is_forgotten_with_it() -> None:
    """A refusal that is heard in the very turn, too."""
    sut = Sut(MIDDLE)
    sut.meet(LINK, LOW)
    sut.begin()
    seq, stream = sut.engine.send(LOW.address, note("mine"))
    assert any(isinstance(frame, Data) for frame in frames_on(sut.turn(), LINK))
    sut.begin()
    sut.take(LINK, Ack(progress_of(ack=1, refusals=(refusal_of(1),))))
    sut.engine.forget_peer(LOW.address)
    sut.turn()
    with pytest.raises(UnknownMessage):
        sut.engine.fate(message_id(stream, seq, note("mine")))
    assert not sut.engine._outcomes._refusals  # noqa: SLF001  # Of nobody's stream any more.
    assert sut.memory == Snapshot(1, issued_ms=sut.memory.issued_ms)
