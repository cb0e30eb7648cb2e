"""Peers that come by themselves: nothing is stored of them before something is exchanged.

Identities cost nothing. Whoever makes them by the thousand must fill neither the disk, nor the
memory, nor the places of others.
"""

from dataclasses import replace

from tests.engine_world import (
    HIGH,
    LOW,
    START_MS,
    Note,
    Sut,
    curve_of,
    hello_of,
    note,
    record_of,
)
from tests.frames import (
    INSTANCE,
    OTHER_INSTANCE,
    OTHER_STREAM,
    STREAM,
    UNSAID,
    chain,
    honest,
    progress_of,
)
from tests.unit.engine.test_connections import byes, middle
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.output import EngineOutput
from zmqp2p.events import SessionForgotten
from zmqp2p.ids import CurveKey, InstanceId, LinkId, Seq
from zmqp2p.limits import Limits
from zmqp2p.persistence import PutContact, PutCursor, PutOutStream, PutPeerRun
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Bye, Data
from zmqp2p.wire.link import Received

KEYS = [SecretKey(bytes([number]) * 32) for number in range(101, 105)]
LIMITS = Limits(subscribe_grace_s=0.0, passers_max=2)


def visit(sut: Sut, link: int, key: SecretKey) -> EngineOutput:
    """Let ``key``'s owner say HELLO and go."""
    sut.meet(link, key, kept=False)
    return sut.down(link)


def few() -> Sut:
    """Return an engine that remembers two passers."""
    return middle(limits=LIMITS)


def test_a_hello_writes_nothing() -> None:
    """HEL-8."""
    sut = few()
    stored = len(sut.done.writes)
    visit(sut, 1, LOW)
    assert len(sut.done.writes) == stored
    assert LOW.address not in sut.restarted().statuses()


def test_who_contradicts_himself_is_not_stored_for_it() -> None:
    """HEL-8, RES-7: two HELLOs or a BYE are no message either."""
    sut = few()
    stored = len(sut.done.writes)
    sut.meet(1, LOW, kept=False)
    sut.hear(1, replace(hello_of(LOW), instance=OTHER_INSTANCE))  # DUPLICATE_INSTANCE.
    sut.meet(2, HIGH, kept=False)
    sut.hear(2, Bye(ByeCode.DATA_LOSS, "you have forgotten"))
    assert all(status.held for status in sut.engine.peer_statuses())
    sut.meet(3, HIGH, kept=False)  # And goes on.
    assert len(sut.done.writes) == stored
    assert not sut.restarted().statuses()


def test_what_holds_a_session_is_stored_with_the_first_message() -> None:
    """RES-7: then there is something to lose."""
    sut = few()
    sut.meet(1, LOW, kept=False)
    sut.hear(1, Bye(ByeCode.DATA_LOSS, "you have forgotten"))
    sut.engine.send(LOW.address, note("mine"))
    sut.turn()
    held = sut.memory.peers[LOW.address].held
    assert held is not None
    assert held.reason == "the peer says: you have forgotten"


def test_the_first_message_stores_all_that_is_known_of_its_sender() -> None:
    sut = few()
    sut.engine.subscribe(None, None)
    sut.meet(1, LOW, kept=False)
    sut.hear(1, Data(Seq(1), UNSAID, progress_of(), (note("one"),)))
    stored = len(sut.done.writes)
    sut.engine.complete(sut.pending[0])
    output = sut.turn()
    session = sut.engine._connections.book.sessions[LOW.address]  # noqa: SLF001
    stream = hello_of(LOW).stream
    assert sut.done.writes[stored:] == output.writes
    assert output.writes == [
        PutOutStream(LOW.address, session.outbox.stream),
        PutPeerRun(LOW.address, 1, INSTANCE),
        PutCursor(LOW.address, stream, Seq(0), chain(stream)),
        PutCursor(LOW.address, stream, Seq(1), chain(stream, note("one"))),
        PutContact(LOW.address, str(record_of(LOW)), dial=False),
    ]
    again = sut.restarted()
    assert LOW.address in again.statuses()
    assert not byes(again.meet(2, LOW, replace(hello_of(LOW), base=Seq(2))))


def test_one_that_has_passed_can_still_be_sent_something() -> None:
    sut = few()
    visit(sut, 1, LOW)
    sut.engine.send(LOW.address, note("mine"))
    output = sut.turn()
    assert PutContact(LOW.address, str(record_of(LOW)), dial=False) in output.writes
    for number, key in enumerate(KEYS):
        visit(sut, 2 + number, key)
    assert sut.memory.peers[LOW.address].messages == [(Seq(1), note("mine"))]
    assert LOW.address in sut.statuses()


def test_of_many_that_have_passed_the_first_is_forgotten() -> None:
    sut = few()
    sut.meet(8, KEYS[0], kept=False)
    for number, key in enumerate(KEYS):
        visit(sut, 1 + number, key)
        sut.down(8)  # Only now the first one, who had two links.
    sut.until(sut.now + 60.0)  # Timers of the first ones find nothing.
    assert set(sut.statuses()) == {key.address for key in KEYS[2:]}
    assert not byes(sut.meet(9, KEYS[0]))
    assert KEYS[0].address in sut.statuses()


def test_one_that_comes_again_has_not_passed() -> None:
    sut = few()
    for number, key in enumerate(KEYS[:2]):
        visit(sut, 1 + number, key)
    sut.meet(3, KEYS[0], kept=False)
    for number, key in enumerate(KEYS[2:]):
        visit(sut, 4 + number, key)
    assert set(sut.statuses()) == {key.address for key in [KEYS[0], *KEYS[2:]]}
    visit(sut, 6, KEYS[1])
    sut.down(3)
    assert set(sut.statuses()) == {KEYS[0].address, KEYS[1].address}


def test_one_whose_message_is_in_progress_is_not_forgotten() -> None:
    sut = few()
    sut.engine.subscribe(None, None)
    sut.meet(1, LOW, kept=False)
    sut.hear(1, Data(Seq(1), UNSAID, progress_of(), (note("one"),)))
    sut.down(1)
    for number, key in enumerate(KEYS):
        visit(sut, 2 + number, key)
    sut.engine.complete(sut.pending[0])
    sut.turn()
    assert sut.memory.peers[LOW.address].cursor == 1


def test_those_who_have_passed_take_no_place_of_others() -> None:
    """HEL-6."""
    sut = middle(limits=replace(LIMITS, peers_max=1))
    visit(sut, 1, LOW)
    assert not byes(sut.meet(2, HIGH, kept=False))
    assert byes(sut.meet(3, LOW)) == [(3, ByeCode.TOO_MANY)]  # Nor may they come back beyond it.
    sut.down(2)
    assert not byes(sut.meet(4, LOW))
    sut = middle(limits=replace(LIMITS, peers_max=1))
    sut.meet(1, LOW, kept=False)
    assert byes(sut.meet(2, HIGH)) == [(2, ByeCode.TOO_MANY)]


def test_those_who_have_passed_take_no_room_of_participants() -> None:
    """HEL-8: or nobody could be named in a channel any more, for nothing."""
    sut = few()
    room = sut.engine.room()
    for link, key in enumerate(KEYS):
        visit(sut, 1 + link, key)
    assert sut.engine.room() == room
    sut.meet(9, LOW, kept=False)
    assert sut.engine.room() == room - 1


def test_a_peer_that_was_added_is_stored_at_once_and_once() -> None:
    sut = few()
    sut.engine.add_contact(record_of(LOW))
    sut.engine.add_contact(record_of(LOW))
    writes = sut.turn().writes
    session = sut.engine._connections.book.sessions[LOW.address]  # noqa: SLF001
    assert writes == [
        PutOutStream(LOW.address, session.outbox.stream),
        PutContact(LOW.address, str(record_of(LOW)), dial=True),
    ]


def test_a_peer_that_has_passed_and_is_added_is_remembered() -> None:
    sut = few()
    visit(sut, 1, LOW)
    sut.engine.add_contact(record_of(LOW))
    for number, key in enumerate(KEYS):
        visit(sut, 2 + number, key)
    assert PutPeerRun(LOW.address, 1, INSTANCE) in sut.turn().writes + sut.done.writes
    assert LOW.address in sut.statuses()


def test_a_new_run_of_a_peer_that_only_visits_is_nothing_to_store_or_tell() -> None:
    sut = few()
    visit(sut, 1, LOW)
    stored = len(sut.done.writes)
    again = replace(hello_of(LOW), incarnation=2, instance=InstanceId(b"the next"))
    output = sut.meet(2, LOW, again, kept=False)
    assert not [event for event in output.events if isinstance(event, SessionForgotten)]
    assert len(sut.done.writes) == stored


def test_a_dial_to_a_passer_that_is_forgotten_is_given_up() -> None:
    """It was dialed to be moved to this node's new key: coming up, it would have been nobody's."""
    sut = middle(limits=replace(LIMITS, passers_max=1))
    sut.meet(1, LOW, kept=False)
    sut.begin()
    new_key = CurveKey(b"n" * 32)
    sut.engine.rotate(record_of(sut.key, issued_ms=START_MS + 1, curve_key=new_key), grace_s=0.5)
    assert [dial.peer for dial in sut.turn().dials] == [LOW.address]
    dialed = LinkId(sut.last_link)
    sut.down(1)
    assert dialed in visit(sut, 2, HIGH).closes
    assert LOW.address not in sut.statuses()
    output = sut.up(dialed, curve_of(LOW), dialed=True)  # It came up before it was closed.
    assert (output.closes, output.frames) == ([dialed], [])


def leave_a_message(sut: Sut) -> None:
    """Let `LOW` send something, take it back by another run of its own, and go."""
    sut.meet(1, LOW, kept=False)
    sut.hear(1, Data(Seq(1), UNSAID, progress_of(), (note("one"),)))


def take_it_back(sut: Sut) -> None:
    """Let another run of `LOW` come and go, and so many others that it is forgotten."""
    sut.hear(1, replace(hello_of(LOW), incarnation=2, instance=OTHER_INSTANCE))
    sut.down(1)
    for number, key in enumerate(KEYS):
        visit(sut, 2 + number, key)
    assert LOW.address not in sut.statuses()


def test_one_whose_message_waited_for_a_subscriber_is_forgotten_without_harm() -> None:
    sut = middle(limits=replace(LIMITS, subscribe_grace_s=10.0))
    leave_a_message(sut)
    take_it_back(sut)
    sut.until(sut.now + 11.0)
    assert LOW.address not in sut.statuses()


def test_one_whose_handler_has_failed_is_forgotten_and_so_is_what_it_sent() -> None:
    """It may have 16 MiB, and identities cost nothing."""
    sut = few()
    sut.engine.subscribe(None, None)
    leave_a_message(sut)
    sut.begin()
    sut.engine.retry(sut.pending[0], "the handler failed")
    sut.settle()
    take_it_back(sut)
    sut.until(sut.now + 11.0)
    assert not sut.engine._failed  # noqa: SLF001  # No session tells of it.


def test_a_handler_that_ends_late_may_find_its_sender_forgotten() -> None:
    sut = few()
    sut.engine.subscribe(None, None, late=True)
    leave_a_message(sut)
    take_it_back(sut)
    stored = len(sut.done.writes)
    assert not sut.engine.awaits(sut.pending[0])
    sut.engine.complete(sut.pending[0])
    sut.turn()
    assert len(sut.done.writes) == stored
    assert LOW.address not in sut.statuses()


def test_a_place_for_a_handler_that_is_promised_to_one_who_is_forgotten_goes_to_the_next() -> None:
    sut = middle(limits=replace(LIMITS, handlers_max=1))
    sut.engine.subscribe(None, None, late=True)
    sut.meet(8, HIGH)
    sut.hear(8, Data(Seq(1), UNSAID, progress_of(), (note("a"), note("b"))))
    leave_a_message(sut)  # It lines up for the only place, which HIGH has.
    take_it_back(sut)
    sut.begin()
    sut.engine.complete(sut.pending[0])
    sut.settle()
    sut.turn()
    assert [pending.message for pending in sut.pending] == [Note("a"), Note("b")]


def send_refused(sut: Sut, link: int, key: SecretKey) -> None:
    """Let ``key``'s owner come, send a message that nobody subscribes to, and go."""
    sut.meet(link, key, replace(hello_of(key), base_digest=chain(STREAM)), kept=False)
    session = sut.engine._connections.book.sessions[key.address]  # noqa: SLF001  # Its digests.
    frame = honest(Data(Seq(1), UNSAID, progress_of(), (note("unwanted"),)), session)
    sut.turn(Received(LinkId(link), encode_frame(frame)))
    assert [refusal.seq for refusal in session.inbox.refusals] == [1]
    sut.down(link)


def test_refused_messages_take_no_places_for_good() -> None:
    """HEL-8: an identity and a message that nobody takes are free, and would lock others out."""
    sut = few()
    stored = len(sut.done.writes)
    for link, key in enumerate(KEYS):
        send_refused(sut, 1 + link, key)
    assert len(sut.done.writes) == stored
    assert set(sut.statuses()) == {key.address for key in KEYS[2:]}
    assert not sut.restarted().statuses()


def test_a_refused_message_of_one_who_was_forgotten_is_judged_again() -> None:
    """HEL-8: its sender has not heard the refusal."""
    sut = few()
    send_refused(sut, 1, LOW)
    again = sut.restarted()
    again.engine.subscribe(None, None)
    again.meet(1, LOW, kept=False)
    again.hear(1, Data(Seq(1), UNSAID, progress_of(), (note("unwanted"),)))
    assert [pending.seq for pending in again.pending] == [1]


def test_refusals_are_stored_with_the_first_message_that_is_taken() -> None:
    """REF-4: from then on they are repeated, over restarts, until they are heard."""
    sut = few()
    send_refused(sut, 1, LOW)
    sut.begin()
    sut.engine.send(LOW.address, note("mine"))
    sut.settle()
    assert [(seq, code) for seq, code, _ in sut.memory.peers[LOW.address].refusals] == [
        (1, RefusalCode.TYPE_UNKNOWN.value)
    ]
    assert sut.memory.peers[LOW.address].cursor == 1


def test_refusals_that_were_heard_of_one_who_is_not_stored_write_nothing() -> None:
    """A write about a peer makes its row."""
    sut = few()
    stored = len(sut.done.writes)
    send_refused(sut, 1, LOW)
    sut.meet(2, LOW, replace(hello_of(LOW), base=Seq(2)), kept=False)
    sut.meet(3, LOW, replace(hello_of(LOW), stream=OTHER_STREAM), kept=False)
    assert len(sut.done.writes) == stored


def test_what_the_application_has_refused_is_stored() -> None:
    """REF-2: its handler may have done something, and must not be asked again."""
    sut = few()
    sut.engine.subscribe(None, None)
    leave_a_message(sut)
    sut.begin()
    sut.engine.refuse(sut.pending[0], RefusalCode.HANDLER_FAILED, "no")
    sut.settle()
    memory = sut.memory.peers[LOW.address]
    assert (memory.cursor, len(memory.refusals)) == (1, 1)


def test_who_is_forgotten_has_no_account_in_the_line_either() -> None:
    sut = few()
    for link, key in enumerate(KEYS):
        send_refused(sut, 1 + link, key)
    accounts = sut.engine._line._accounts  # noqa: SLF001  # It shows nowhere else.
    assert set(accounts) == {key.address for key in KEYS[2:]}
