"""Alarms: a store that was rolled back, or runs twice, seen from outside (RES-3, RES-4, RES-7)."""

from copy import deepcopy
from dataclasses import replace

import pytest

from tests.engine_world import (
    HIGH,
    LOW,
    MIDDLE,
    START_MS,
    Duo,
    Sut,
    curve_of,
    frames_on,
    hello_of,
    note,
    record_of,
)
from tests.frames import OTHER_INSTANCE, OTHER_STREAM, UNSAID, chain, progress_of
from tests.unit.engine.test_connections import byes, connected, middle, refusals
from zmqp2p.codes import ByeCode
from zmqp2p.engine.output import EngineOutput
from zmqp2p.events import DataLossDetected, PeerDisconnected, SessionForgotten
from zmqp2p.ids import CurveKey, InstanceId, LinkId, Seq
from zmqp2p.persistence import DropHold, Held, PutCursor
from zmqp2p.wire.frames import Ack, Bye, Data, Hello, Ping, Pong, Who

LINK = 1
ANOTHER = chain(OTHER_STREAM)
OLDER = replace(hello_of(LOW), incarnation=4)
NEWER = replace(hello_of(LOW), incarnation=5, instance=OTHER_INSTANCE)


def alarms(output: EngineOutput) -> list[str]:
    """Return what the application hears of lost data."""
    return [event.detail for event in output.events if isinstance(event, DataLossDetected)]


def met() -> Sut:
    """Return an engine that has met `NEWER` over `LINK`."""
    sut = middle()
    sut.meet(LINK, LOW, NEWER)
    return sut


def dialed_again() -> tuple[Sut, int]:
    """Return an engine that dialed `NEWER`, lost it and has dialed again, and the new link."""
    sut = middle()
    link = sut.dial(LOW)
    sut.hear(link, NEWER)
    sut.down(link)
    assert len(sut.turn(later_s=0.02).dials) == 1
    sut.up(sut.last_link, curve_of(LOW), dialed=True)
    return sut, sut.last_link


# --- An older run is asked first (RES-3) --------------------------------------------------------


def test_an_older_run_that_comes_in_is_asked_who_and_is_an_alarm_when_it_answers() -> None:
    """RES-3, RES-7: the link is refused, the application hears it, the session waits."""
    sut = met()
    sut.down(LINK)
    output = sut.meet(2, LOW, OLDER)
    assert output.frames == [(LinkId(2), Who())]
    assert (output.events, output.closes) == ([], [])
    output = sut.hear(2, OLDER)
    assert [type(frame) for frame in frames_on(output, 2)] == [Hello, Bye]
    assert byes(output) == [(2, ByeCode.STORE_ROLLED_BACK)]
    assert alarms(output) == ["your store is older than you were: incarnation 4 after 5"]
    assert refusals(output) == [(LOW.address, ByeCode.STORE_ROLLED_BACK)]
    bye = frames_on(output, 2)[-1]
    assert isinstance(bye, Bye)
    assert bye.reason.startswith("RES-7: your store is older")


def test_an_older_run_that_is_dialed_is_greeted_again_and_is_an_alarm_when_it_answers() -> None:
    """RES-3: a listener answers each HELLO, and ignores WHO."""
    sut, link = dialed_again()
    output = sut.hear(link, OLDER)
    assert [type(frame) for frame in frames_on(output, link)] == [Hello]
    assert (output.events, output.closes) == ([], [])
    output = sut.hear(link, OLDER)
    assert [type(frame) for frame in frames_on(output, link)] == [Bye]
    assert byes(output) == [(link, ByeCode.STORE_ROLLED_BACK)]
    assert len(alarms(output)) == 1


@pytest.mark.parametrize("dialed", [True, False])
def test_a_second_older_hello_is_an_alarm_whatever_run_it_is_of(dialed: bool) -> None:
    """RES-3: or two runs that take turns could be asked for ever."""
    sut, link = dialed_again() if dialed else (met(), 2)
    if not dialed:
        sut.up(link, curve_of(LOW))
    sut.hear(link, OLDER)
    third = replace(OLDER, incarnation=3, instance=InstanceId(b"thirdrun"))
    output = sut.hear(link, third)
    assert byes(output) == [(link, ByeCode.STORE_ROLLED_BACK)]
    assert len(alarms(output)) == 1


def test_f1_a_late_hello_of_an_ended_run_is_no_alarm() -> None:
    """RES-3: finding F1 of the model. Two links have no order; nobody answers for the older one."""
    first = Sut(LOW)
    (early,) = frames_on(first.done, first.dial(MIDDLE))
    second = first.restarted()
    (late,) = frames_on(second.done, second.dial(MIDDLE))
    assert isinstance(early, Hello)
    assert isinstance(late, Hello)
    assert early.incarnation < late.incarnation

    sut = middle()
    for link in (1, 2):
        sut.up(link, curve_of(LOW))
    sut.hear(2, late)
    output = sut.hear(1, early)
    assert output.frames == [(LinkId(1), Who())]
    sut.hear(2, Ping(1), later_s=0.9)
    sut.hear(2, Ping(2), later_s=0.9)
    assert 1 not in sut.done.closes
    output = sut.hear(2, Ping(3), later_s=0.201)
    assert output.closes == [1]
    assert (output.events, alarms(sut.done)) == ([], [])
    assert LOW.address not in sut.memory.peers  # Nothing of it was stored, no hold either.
    assert sut.statuses() == {LOW.address: "connected"}


def test_a_dialed_link_on_which_an_older_run_fell_silent_is_given_up_without_an_alarm() -> None:
    """RES-3, HEL-7."""
    sut, link = dialed_again()
    sut.hear(link, OLDER)
    assert sut.until(sut.now + 1.999).closes == []
    output = sut.turn(later_s=0.002)
    assert output.closes == [link]
    assert alarms(output) == []
    assert sut.statuses() == {LOW.address: "no HELLO within 2 s"}


def test_a_newer_run_on_a_link_that_was_in_doubt_is_welcome() -> None:
    """RES-3: the listener was restarted behind a link that lives on, for example a proxy's."""
    sut = met()
    sut.down(LINK)
    sut.meet(2, LOW, OLDER)
    output = sut.hear(2, replace(NEWER, incarnation=6, instance=InstanceId(b"newerrun")))
    assert [type(frame) for frame in frames_on(output, 2)] == [Hello]
    assert sut.statuses() == {LOW.address: "connected"}


def test_an_established_link_in_doubt_serves_until_it_is_sure() -> None:
    """RES-3."""
    sut = met()
    assert sut.hear(LINK, OLDER).frames == [(LinkId(LINK), Who())]
    assert [type(frame) for frame in frames_on(sut.hear(LINK, Ping(1)), LINK)] == [Pong]
    assert byes(sut.hear(LINK, OLDER)) == [(LINK, ByeCode.STORE_ROLLED_BACK)]


@pytest.mark.parametrize("put_back", [0, 1])
def test_two_nodes_of_which_one_was_put_back_find_it_out_and_stop_asking(put_back: int) -> None:
    """RES-3: HELLO, WHO, HELLO, BYE, or HELLO, HELLO, HELLO, HELLO, BYE; it comes to an end."""
    world = Duo(Sut(LOW, links_from=1000), Sut(MIDDLE, links_from=5000))
    world.suts[0].engine.add_contact(record_of(MIDDLE))
    world.run()
    backup = deepcopy(world.suts[put_back].memory)
    for _ in range(2):
        world.restart(put_back)
        world.run(1.0)
    world.suts[put_back].memory = backup
    world.restart(put_back)
    world.run(1.0)
    for sut in world.suts:
        assert alarms(sut.done)
        assert [bool(status.held) for status in sut.engine.peer_statuses()] == [True]
    # Who was only visited, with no message exchanged, has nothing to recover (HEL-8).
    assert [bool(sut.memory.peers) for sut in world.suts] == [True, False]
    (bye,) = (frame for _, frame in world.suts[1 - put_back].done.frames if isinstance(frame, Bye))
    assert bye.code is ByeCode.STORE_ROLLED_BACK


# --- What an alarm stops ------------------------------------------------------------------------


def test_an_older_run_stops_only_its_own_link() -> None:
    """RES-3, RES-7: the newer run goes on over its own."""
    sut = met()
    sut.meet(2, LOW, OLDER)
    assert byes(sut.hear(2, OLDER)) == [(2, ByeCode.STORE_ROLLED_BACK)]
    assert sut.statuses() == {LOW.address: "connected"}
    assert [type(frame) for frame in frames_on(sut.hear(LINK, Ping(1)), LINK)] == [Pong]


def test_a_second_copy_of_the_peer_is_an_alarm_and_the_first_goes_on() -> None:
    """RES-4, RES-7."""
    sut = connected()
    output = sut.meet(2, LOW, replace(hello_of(LOW), instance=OTHER_INSTANCE))
    assert byes(output) == [(2, ByeCode.DUPLICATE_INSTANCE)]
    assert sut.statuses() == {LOW.address: "connected"}
    assert [type(frame) for frame in frames_on(sut.hear(LINK, Ping(1)), LINK)] == [Pong]


def rolled_back(*, theirs: bool) -> tuple[Sut, Hello]:
    """Return an engine that has lost its last turn, or the HELLO of a peer that has.

    Before, each side had processed one message of the other.
    """
    sut = connected()
    stream = sut.memory.peers[LOW.address].out_stream
    sut.engine.send(LOW.address, note("mine"))
    sut.turn()
    earlier = replace(sut.memory.peers[LOW.address])
    sut.hear(LINK, Data(Seq(1), UNSAID, progress_of(ack=1, base=1), (note("theirs"),)))
    before = sut.memory.peers[LOW.address]
    assert (before.acked, before.cursor) == (1, 1)
    again = replace(hello_of(LOW), incarnation=2, instance=OTHER_INSTANCE, seen_stream=stream)
    if theirs:
        return sut, replace(again, cursor=Seq(0))
    sut.memory.peers[LOW.address] = earlier
    restarted = sut.restarted()
    return restarted, replace(again, base=Seq(2), cursor=Seq(1))


def test_the_peers_rolled_back_store_is_noticed_by_its_cursor() -> None:
    """RES-6."""
    sut, hello = rolled_back(theirs=True)
    output = sut.meet(2, LOW, hello)
    assert byes(output) == [(2, ByeCode.DATA_LOSS), (LINK, ByeCode.DATA_LOSS)]


def test_this_nodes_rolled_back_store_is_noticed_by_the_peers_base() -> None:
    """RES-5."""
    sut, hello = rolled_back(theirs=False)
    output = sut.meet(2, LOW, hello)
    assert byes(output) == [(2, ByeCode.DATA_LOSS)]
    (alarm,) = [event for event in output.events if isinstance(event, DataLossDetected)]
    assert alarm.detail == "I was rolled back: you hold from 2, I have processed 0"


def test_a_peer_that_begins_a_new_stream_is_followed() -> None:
    """RES-2: a store that was lost and recovered on purpose."""
    sut = connected()
    hello = replace(
        hello_of(LOW), incarnation=2, instance=OTHER_INSTANCE, stream=OTHER_STREAM, base=Seq(5)
    )
    sut.meet(2, LOW, hello)
    assert sut.memory.peers[LOW.address].in_stream == OTHER_STREAM
    assert sut.memory.peers[LOW.address].cursor == 4


def test_mail_to_a_peer_that_is_held_waits() -> None:
    """RES-7: and leaves when a HELLO is in order again."""
    sut = met()
    sut.down(LINK)
    sut.meet(2, LOW, OLDER)
    sut.hear(2, OLDER)
    sut.engine.send(LOW.address, note("wait"))
    sut.turn()
    output = sut.meet(3, LOW, NEWER)
    assert [type(frame) for frame in frames_on(output, 3)] == [Hello, Data]


# --- Contradictions (RES-11) --------------------------------------------------------------------

CONTRADICTIONS: list[Ack | Pong | Data] = [
    Ack(progress_of(digest=ANOTHER)),
    Pong(0, progress_of(digest=ANOTHER)),
    Data(Seq(1), ANOTHER, progress_of(), (note("1"),)),
]


@pytest.mark.parametrize("frame", CONTRADICTIONS, ids=lambda frame: type(frame).__name__)
def test_a_contradiction_is_an_alarm_and_closes_all_links_of_the_session(
    frame: Ack | Pong | Data,
) -> None:
    """RES-7, RES-11: it is about the two stores, whichever link it showed on."""
    sut = connected()
    for link in (2, 3):
        sut.meet(link, LOW)
    output = sut.hear(2, frame)
    assert byes(output) == [(link, ByeCode.DATA_LOSS) for link in (2, LINK, 3)]
    assert len(alarms(output)) == 1
    assert refusals(output) == [(LOW.address, ByeCode.DATA_LOSS)]
    (bye,) = frames_on(output, 2)
    assert isinstance(bye, Bye)
    assert bye.reason.startswith("RES-7: RES-11: ")
    assert [event for event in output.events if isinstance(event, PeerDisconnected)]
    held = sut.memory.peers[LOW.address].held
    assert held is not None
    assert held.code == ByeCode.DATA_LOSS.value
    assert held.reason.startswith("RES-11: ")
    assert (held.base, held.next) == (0, 0)  # What the HELLO said may be long out of date.


def test_a_contradiction_is_not_a_matter_of_other_peers() -> None:
    """RES-7."""
    sut = connected()
    sut.meet(2, HIGH)
    assert byes(sut.hear(LINK, CONTRADICTIONS[0])) == [(LINK, ByeCode.DATA_LOSS)]
    assert sut.statuses()[HIGH.address] == "connected"


def test_a_handler_at_work_when_its_session_is_held_works_for_nothing() -> None:
    """RES-7: its writes are not committed, and what waits behind it is not handed out."""
    sut = connected()
    sut.engine.subscribe(None, None)
    sut.hear(LINK, Data(Seq(1), UNSAID, progress_of(), (note("1"), note("2"))))
    (pending,) = sut.pending
    assert sut.engine.awaits(pending)
    sut.hear(LINK, CONTRADICTIONS[0])
    assert not sut.engine.awaits(pending)
    sut.engine.complete(pending)
    sut.pending.clear()
    assert [w for w in sut.turn().writes if isinstance(w, PutCursor)] == []
    assert sut.pending == []
    assert sut.memory.peers[LOW.address].cursor == 0


def test_a_hold_is_known_after_a_restart_and_ends_with_a_good_hello() -> None:
    """RES-7: the link is closed; to try again is no harm, and each HELLO is judged anew."""
    sut = connected()
    sut.hear(LINK, CONTRADICTIONS[0])
    held = sut.memory.peers[LOW.address].held
    again = sut.restarted()
    assert again.memory.peers[LOW.address].held == held
    output = again.meet(2, LOW, replace(hello_of(LOW), next=Seq(7), base=Seq(5)))
    assert byes(output) == [(2, ByeCode.DATA_LOSS)]
    newer = again.memory.peers[LOW.address].held
    assert newer is not None
    assert (newer.base, newer.next) == (5, 7)
    output = again.meet(3, LOW)
    assert DropHold(LOW.address) in output.writes
    assert again.memory.peers[LOW.address].held is None
    assert again.statuses() == {LOW.address: "connected"}


def test_who_is_refused_for_lost_data_holds_the_session_too() -> None:
    """RES-7."""
    sut = middle()
    link = sut.dial(LOW)
    output = sut.hear(link, hello_of(LOW), Bye(ByeCode.DATA_LOSS, "RES-7: one of us"))
    assert alarms(output) == ["the peer says: RES-7: one of us"]
    held = sut.memory.peers[LOW.address].held
    assert held == Held(ByeCode.DATA_LOSS.value, "the peer says: RES-7: one of us")


def test_who_holds_says_hello_first_so_that_the_other_side_sees_for_itself() -> None:
    """RES-7: between engines; both then know what the other has, which `recover` needs."""
    world = Duo(Sut(LOW, links_from=1000), Sut(MIDDLE, links_from=5000))
    low, middle_ = world.suts
    middle_.engine.subscribe(None, None)
    low.engine.add_contact(record_of(MIDDLE))
    world.run()
    for number in range(3):
        backup = deepcopy(low.memory)
        low.engine.send(MIDDLE.address, note(str(number)))
        world.run()
    low.memory = backup
    world.restart(0)
    world.run(0.5)
    for sut in world.suts:
        assert alarms(sut.done)
    mine = low.memory.peers[MIDDLE.address].held
    theirs = middle_.memory.peers[LOW.address].held
    assert mine is not None
    assert theirs is not None
    assert (mine.cursor, theirs.next) == (3, 3)


# --- A store that was lost (RES-12) -------------------------------------------------------------


def forgotten(output: EngineOutput) -> list[str]:
    """Return what the application hears of sessions that a peer has forgotten."""
    return [event.detail for event in output.events if isinstance(event, SessionForgotten)]


def processed(*, mine: int = 0, theirs: int = 0) -> Sut:
    """Return an engine that has met `LOW`, with so many messages processed of each stream."""
    sut = met()
    for number in range(mine):
        sut.engine.send(LOW.address, note(f"mine {number}"))
    sut.turn()
    bodies = tuple(note(f"theirs {number}") for number in range(theirs))
    if theirs:
        sut.hear(LINK, Data(Seq(1), UNSAID, progress_of(ack=mine, base=1), bodies))
    else:
        sut.hear(LINK, Ack(progress_of(ack=mine, base=1)))
    sut.down(LINK)
    return sut


NEXT_RUN = replace(NEWER, incarnation=6, instance=InstanceId(b"the next"))


def test_a_peer_that_does_not_know_what_it_had_processed_has_lost_its_store() -> None:
    sut = processed(mine=2)
    output = sut.meet(2, LOW, NEXT_RUN)
    assert forgotten(output) == ["it does not know this node's stream, of which it had processed 2"]
    assert not byes(output)


def test_a_peer_that_begins_another_stream_has_lost_its_store() -> None:
    sut = processed(theirs=1)
    output = sut.meet(2, LOW, replace(NEXT_RUN, stream=OTHER_STREAM, base_digest=ANOTHER))
    assert forgotten(output) == ["it begins another stream; of the last one, 1 were processed"]
    assert not byes(output)


def test_nothing_is_forgotten_of_which_nothing_was_processed() -> None:
    sut = processed()
    output = sut.meet(2, LOW, replace(NEXT_RUN, stream=OTHER_STREAM, base_digest=ANOTHER))
    assert forgotten(output) == []


def test_a_hello_of_the_same_run_that_is_late_has_forgotten_nothing() -> None:
    """It was said before the peer had heard of this node's stream."""
    sut = processed(mine=2)
    assert forgotten(sut.meet(2, LOW, NEWER)) == []


def test_a_peer_that_is_met_first_has_forgotten_nothing() -> None:
    assert forgotten(middle().meet(LINK, LOW, NEWER)) == []


def test_whoever_had_the_curve_key_of_another_does_not_lock_it_out_for_good() -> None:
    """RES-13: a run that no later one could outdo is not remembered; there is no hold either."""
    sut = middle()
    sut.meet(LINK, LOW)
    thief = replace(hello_of(LOW), incarnation=2**53 - 1, instance=OTHER_INSTANCE)
    output = sut.meet(2, LOW, thief)
    assert byes(output) == [(2, ByeCode.PROTOCOL_ERROR)]
    assert not alarms(output)
    new_key = CurveKey(b"n" * 32)
    record = record_of(LOW, issued_ms=START_MS + 1, curve_key=new_key)
    sut.up(3, new_key)
    assert not byes(sut.hear(3, replace(hello_of(LOW, record), incarnation=2)))
    assert sut.statuses()[LOW.address] == "connected"
