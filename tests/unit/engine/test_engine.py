"""The engine as a whole: what becomes of a message, and how two nodes fund a channel."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.engine_world import (
    HIGH,
    LOW,
    MIDDLE,
    START_MS,
    Duo,
    Note,
    Other,
    Sut,
    curve_of,
    frames_on,
    hello_of,
    note,
    record_of,
)
from tests.frames import OTHER_INSTANCE, OTHER_STREAM, STREAM, UNSAID, chain, progress_of
from tests.unit.objectives.world import ETHER, exit_of
from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.pending import Pending
from zmqp2p.errors import InvalidValue, LocalError, UnknownPeer
from zmqp2p.events import ChannelFunded, ChannelProposed, ChannelRejected, MessageRefused
from zmqp2p.ids import ChannelId, Seq, TurnNum
from zmqp2p.limits import BODY_MAX_BYTES, Limits
from zmqp2p.messages import RejectProposal, encode_message
from zmqp2p.objectives import Status
from zmqp2p.persistence import PutCursor, PutMessage, PutRefusal
from zmqp2p.session.parts import split
from zmqp2p.state import FixedPart, channel_id
from zmqp2p.wire.frames import Ack, Bulk, Data, Hello, Refusal

LINK = 1
UNKNOWN_TAG = b"\x91\xcd\xff\xff"


def data_of(seq: int, *bodies: bytes) -> Data:
    """Return a batch."""
    return Data(Seq(seq), UNSAID, progress_of(), bodies)


def listening(limits: Limits | None = None, *, funding: bool = False) -> Sut:
    """Return an engine with a subscriber to notes, to which LOW has come in."""
    sut = Sut(MIDDLE, limits=limits or Limits(subscribe_grace_s=0.0), funding=funding)
    sut.engine.subscribe(Note, None)
    sut.meet(LINK, LOW)
    return sut


def texts(sut: Sut) -> list[str]:
    """Return what is in progress."""
    return [p.message.text for p in sut.pending if isinstance(p.message, Note)]


def cursor(sut: Sut, key: SecretKey = LOW) -> int:
    """Return how far ``key``'s stream is processed, as stored."""
    return sut.memory.peers[key.address].cursor


def refused(output: EngineOutput) -> list[tuple[int, RefusalCode]]:
    """Return what was refused: told to the application, stored, and sent with the ack."""
    events = [event for event in output.events if isinstance(event, MessageRefused)]
    writes = [write for write in output.writes if isinstance(write, PutRefusal)]
    assert [(w.seq, w.code, w.reason) for w in writes] == [
        (e.seq, e.code.value, e.reason) for e in events
    ]
    acks = [frame.progress.refusals for _, frame in output.frames if isinstance(frame, Ack)]
    told = [Refusal(event.seq, event.code, event.reason) for event in events]
    assert not told or acks[-1][-len(told) :] == tuple(told)
    return [(event.seq, event.code) for event in events]


# --- Deliveries ---------------------------------------------------------------------------------


def test_a_message_is_handed_to_its_subscriber_and_acked_when_it_is_done() -> None:
    """ACK-3: received at once, processed when the application says so."""
    sut = listening()
    output = sut.hear(LINK, data_of(1, note("one")))
    (pending,) = sut.pending
    assert (pending.sender, pending.seq, pending.body) == (LOW.address, 1, note("one"))
    assert (pending.message, pending.subscription, pending.attempt) == (Note("one"), 1, 1)
    (ack,) = frames_on(output, LINK)
    assert isinstance(ack, Ack)
    assert (ack.progress.ack, ack.progress.received) == (0, 1)
    sut.engine.complete(pending)
    output = sut.turn()
    assert output.writes == [PutCursor(LOW.address, STREAM, Seq(1), chain(STREAM, note("one")))]
    (ack,) = frames_on(output, LINK)
    assert isinstance(ack, Ack)
    assert ack.progress.ack == 1


def test_a_stream_is_processed_in_order_one_message_at_a_time() -> None:
    """SEQ-3."""
    sut = listening()
    sut.hear(LINK, data_of(1, note("1"), note("2")), data_of(3, note("3")))
    for number in ("1", "2", "3"):
        assert texts(sut) == [number]
        sut.turn()
        assert texts(sut) == [number]
        sut.engine.complete(sut.pending.pop())
        sut.turn()
    assert (sut.pending, cursor(sut)) == ([], 3)


def test_a_slow_handler_does_not_hold_up_other_peers() -> None:
    sut = listening()
    sut.meet(2, HIGH)
    sut.hear(LINK, data_of(1, note("slow")))
    sut.hear(2, data_of(1, note("quick")))
    assert texts(sut) == ["slow", "quick"]
    sut.engine.complete(sut.pending.pop())
    sut.hear(2, data_of(2, note("quicker")))
    assert texts(sut) == ["slow", "quicker"]


def drained(sut: Sut, most: int) -> list[str]:
    """Let the application process up to ``most`` messages at once; return what they say."""
    said = []
    sut.begin()
    for pending in sut.engine.deliveries(most):
        assert pending is not None
        assert isinstance(pending.message, Note)
        said.append(pending.message.text)
        sut.engine.complete(pending)
    sut.settle()
    return said


def test_peers_take_turns() -> None:
    """One that sends a lot does not starve one that sends a little."""
    sut = listening()
    sut.meet(2, HIGH)
    sut.begin()
    lows = data_of(1, *[note(f"low {n}") for n in range(5)])
    highs = data_of(1, *[note(f"high {n}") for n in range(2)])
    for link, frame in ((LINK, lows), (2, highs)):
        sut.take(link, frame)
    assert drained(sut, 5) == ["low 0", "high 0", "low 1", "high 1", "low 2"]
    assert sut.engine.deadline() == sut.now  # The rest is to be done at once.
    assert drained(sut, 5) == ["low 3", "low 4"]
    assert sut.engine.deadline() != sut.now


def test_a_peer_that_sends_many_frames_has_no_more_turns_than_others() -> None:
    """It stands in line once, however many of its frames came."""
    sut = listening()
    sut.meet(2, HIGH)
    sut.begin()
    for seq in range(1, 5):
        sut.take(LINK, data_of(seq, note(f"low {seq}")))
    sut.take(2, data_of(1, note("high 1"), note("high 2")))
    assert drained(sut, 6) == ["low 1", "high 1", "low 2", "high 2", "low 3", "low 4"]


def test_sessions_on_which_nothing_happened_are_left_alone() -> None:
    """Or a turn would cost as much as there are peers."""
    sut = listening()
    connections = sut.engine._connections  # noqa: SLF001  # Whom the next turn looks at.
    assert connections.unsettled == {}
    sut.begin()
    sut.engine.send(LOW.address, note("hello"))
    assert list(connections.unsettled) == [LOW.address]
    sut.settle()
    assert connections.unsettled == {}


def test_an_engine_without_peers_has_nothing_to_wait_for() -> None:
    assert Sut(MIDDLE).engine.deadline() is None


# --- Refused at once ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", RefusalCode.DECODE_FAILED),
        (b"\xc1", RefusalCode.DECODE_FAILED),
        (b"\x92\xcd\x01\x2c\x01", RefusalCode.DECODE_FAILED),  # A note that is no text.
        (UNKNOWN_TAG, RefusalCode.TYPE_UNKNOWN),
        (encode_message(Other(1)), RefusalCode.TYPE_UNKNOWN),
    ],
)
def test_what_cannot_be_processed_is_refused_and_the_stream_goes_on(
    body: bytes, code: RefusalCode
) -> None:
    """REF-1, MSG-1 to MSG-3."""
    sut = listening()
    output = sut.hear(LINK, data_of(1, body, note("next")))
    assert refused(output) == [(1, code)]
    assert texts(sut) == ["next"]
    assert cursor(sut) == 1


def test_a_message_larger_than_this_node_accepts_is_refused_whole_or_in_parts() -> None:
    """PRT-2: with the number of its last part; what is as large as that is processed."""
    fits = note("x" * 40)
    limits = Limits(subscribe_grace_s=0.0, message_max_bytes=len(fits))
    sut = listening(limits)
    sut.hear(LINK, data_of(1, fits))
    assert texts(sut) == ["x" * 40]
    sut.engine.complete(sut.pending.pop())
    sut.turn()
    assert refused(sut.hear(LINK, data_of(2, note("x" * 41)))) == [(2, RefusalCode.TOO_LARGE)]
    first, last = split(note("x" * BODY_MAX_BYTES))
    assert refused(sut.hear(LINK, Bulk(Seq(3), UNSAID, progress_of(), first))) == []
    assert refused(sut.hear(LINK, data_of(4, last))) == [(4, RefusalCode.TOO_LARGE)]
    assert cursor(sut) == 4


def test_a_long_reason_is_cut_to_what_may_travel() -> None:
    """REF-1."""
    sut = listening()
    sut.hear(LINK, data_of(1, note("1")))
    sut.engine.refuse(sut.pending.pop(), RefusalCode.PAYLOAD_INVALID, "é" * 150)
    (event,) = [e for e in sut.turn().events if isinstance(e, MessageRefused)]
    assert event.reason == "é" * 100


def test_a_message_past_its_deadline_is_refused() -> None:
    """MSG-4: by the receiver's clock, when it would begin to process it."""
    sut = listening()
    sut.hear(LINK, data_of(1, note("in time", START_MS)))
    assert texts(sut) == ["in time"]
    sut.engine.complete(sut.pending.pop())
    sut.begin(0.001)
    output = sut.hear(LINK, data_of(2, note("late", START_MS)))
    assert refused(output) == [(2, RefusalCode.EXPIRED)]
    assert texts(sut) == []


def test_a_statement_about_an_unknown_channel_is_refused() -> None:
    """REF-1: at once, though other messages would wait for a subscriber now."""
    sut = listening(Limits(subscribe_grace_s=10.0), funding=True)
    rejection = RejectProposal(ChannelId(b"c" * 32), TurnNum(0), RejectCode.DECLINED, "")
    output = sut.hear(LINK, data_of(1, encode_message(rejection)))
    assert refused(output) == [(1, RefusalCode.CHANNEL_UNKNOWN)]


# --- Late subscribers ---------------------------------------------------------------------------


@pytest.mark.parametrize("body", [encode_message(Other(1)), UNKNOWN_TAG])
def test_after_a_start_a_message_waits_for_its_subscriber_for_a_while(body: bytes) -> None:
    """An application subscribes after the service has started; its mail may be there already."""
    sut = listening(Limits(subscribe_grace_s=10.0))
    output = sut.hear(LINK, data_of(1, body, note("next")))
    assert (refused(output), sut.pending) == ([], [])
    assert refused(sut.until(109.9)) == []
    sut.meet(2, LOW)
    assert refused(sut.until(110.0)) == [(1, RefusalCode.TYPE_UNKNOWN)]
    assert texts(sut) == ["next"]


def test_a_subscriber_that_comes_gets_what_waits_for_it() -> None:
    sut = listening(Limits(subscribe_grace_s=10.0))
    sut.hear(LINK, data_of(1, encode_message(Other(1))))
    key = sut.engine.subscribe(Other, None)
    sut.turn()
    (pending,) = sut.pending
    assert (pending.message, pending.subscription, pending.attempt) == (Other(1), key, 1)


def test_a_filter_that_is_taken_wakes_nobody() -> None:
    sut = listening(Limits(subscribe_grace_s=10.0))
    with pytest.raises(InvalidValue):
        sut.engine.subscribe(Note, None)


def test_when_a_subscription_ends_its_messages_wait_a_while_for_another() -> None:
    sut = listening(Limits(subscribe_grace_s=10.0))
    sut.begin(50.0)
    sut.engine.unsubscribe(1)
    sut.meet(2, LOW)
    assert refused(sut.hear(2, data_of(1, note("1")))) == []
    assert refused(sut.until(sut.now + 9.9)) == []
    sut.engine.subscribe(Note, None)
    sut.turn()
    assert texts(sut) == ["1"]


# --- Handlers that fail -------------------------------------------------------------------------


def fail(sut: Sut) -> Pending:
    """Let the handler of the one message in progress fail."""
    pending = sut.pending.pop()
    sut.engine.retry(pending, "it raised")
    return pending


def test_a_handler_that_fails_gets_the_message_again_after_a_growing_while() -> None:
    sut = listening(Limits(handler_retry_min_s=0.1, handler_retry_max_s=0.3, handler_attempts=9))
    sut.hear(LINK, data_of(1, note("1"), note("2")))
    for attempt, wait_s in ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.3)):
        assert fail(sut).attempt == attempt
        sut.turn(later_s=wait_s - 0.01)
        assert sut.pending == []
        sut.turn(later_s=0.02)
        assert texts(sut) == ["1"]
    sut.engine.complete(sut.pending.pop())
    sut.turn()
    assert [(p.seq, p.attempt) for p in sut.pending] == [(2, 1)]


def test_while_a_message_waits_for_its_retry_other_peers_go_on() -> None:
    sut = listening()
    sut.meet(2, HIGH)
    sut.hear(LINK, data_of(1, note("bad")))
    fail(sut)
    sut.hear(LINK, data_of(2, note("behind it")))
    sut.hear(2, data_of(1, note("good")))
    assert texts(sut) == ["good"]


def test_after_the_last_attempt_the_message_is_refused() -> None:
    sut = listening(Limits(handler_attempts=3))
    sut.hear(LINK, data_of(1, note("bad"), note("next")))
    for _ in range(2):
        fail(sut)
        sut.turn(later_s=0.2)
    assert fail(sut).attempt == 3
    assert refused(sut.turn()) == [(1, RefusalCode.HANDLER_FAILED)]
    assert [(p.seq, p.attempt) for p in sut.pending] == [(2, 1)]


def test_a_message_that_is_refused_on_its_way_back_does_not_count_for_the_next() -> None:
    """It failed once, and its deadline has passed: the next one has had no attempt yet."""
    sut = listening()
    sut.hear(LINK, data_of(1, note("bad", START_MS + 500), note("next")))
    fail(sut)
    assert refused(sut.turn(later_s=1.0)) == [(1, RefusalCode.EXPIRED)]
    assert [(p.seq, p.attempt) for p in sut.pending] == [(2, 1)]


def test_a_message_that_was_not_tried_is_put_back() -> None:
    """Its subscription has ended meanwhile: whoever subscribes then gets it, as a first attempt."""
    sut = listening(Limits(subscribe_grace_s=10.0))
    sut.hear(LINK, data_of(1, note("1")))
    pending = sut.pending.pop()
    sut.engine.unsubscribe(1)
    sut.engine.put_back(pending)
    sut.turn()
    assert sut.pending == []
    key = sut.engine.subscribe(None, None)
    sut.turn()
    assert [(p.subscription, p.attempt) for p in sut.pending] == [(key, 1)]


def test_putting_a_message_back_does_not_forget_earlier_attempts() -> None:
    sut = listening()
    sut.hear(LINK, data_of(1, note("1")))
    fail(sut)
    sut.turn(later_s=1.0)
    sut.engine.put_back(sut.pending.pop())
    sut.turn()
    assert [p.attempt for p in sut.pending] == [2]


def test_the_application_may_refuse_for_good() -> None:
    sut = listening()
    sut.hear(LINK, data_of(1, note("1"), note("2")))
    sut.engine.refuse(sut.pending.pop(), RefusalCode.REPLAY, "seen before")
    assert refused(sut.turn()) == [(1, RefusalCode.REPLAY)]
    assert texts(sut) == ["2"]


# --- Streams that end ---------------------------------------------------------------------------


def begin_anew(sut: Sut) -> EngineOutput:
    """Let LOW come back with a new stream, from number 5 on."""
    hello = replace(
        hello_of(LOW), incarnation=2, instance=OTHER_INSTANCE, stream=OTHER_STREAM, base=Seq(5)
    )
    return sut.meet(2, LOW, hello)


@pytest.mark.parametrize(
    "answer",
    [
        lambda sut, pending: sut.engine.complete(pending),
        lambda sut, pending: sut.engine.refuse(pending, RefusalCode.REPLAY, ""),
        lambda sut, pending: sut.engine.retry(pending, ""),
        lambda sut, pending: sut.engine.retry(pending._replace(attempt=99), ""),
        lambda sut, pending: sut.engine.put_back(pending),
    ],
    ids=["complete", "refuse", "retry", "last retry", "put back"],
)
def test_an_answer_for_a_stream_that_is_gone_is_dropped(
    answer: Callable[[Sut, Pending], None],
) -> None:
    """RES-2: it must not move the cursor of the new one."""
    sut = listening()
    sut.hear(LINK, data_of(1, note("old")))
    begin_anew(sut)
    answer(sut, sut.pending.pop())
    output = sut.hear(2, data_of(5, note("new")))
    assert refused(output) == []
    assert texts(sut) == ["new"]
    assert cursor(sut) == 4


def test_attempts_at_an_old_streams_message_do_not_count_for_the_new_one() -> None:
    """RES-2."""
    sut = listening()
    sut.hear(LINK, data_of(5 - 4, note("1"), note("2"), note("3"), note("4"), note("old 5")))
    for _ in range(4):
        sut.engine.complete(sut.pending.pop())
        sut.turn()
    fail(sut)
    begin_anew(sut)
    sut.hear(2, data_of(5, note("new 5")), later_s=1.0)
    assert texts(sut) == ["new 5"]
    assert [p.attempt for p in sut.pending] == [1]


def test_a_stream_that_ends_in_the_turn_it_came_in_leaves_nothing_behind() -> None:
    """RES-2: the session stands in line for a message that is no longer there."""
    sut = listening()
    hello = replace(hello_of(LOW), incarnation=2, instance=OTHER_INSTANCE, stream=OTHER_STREAM)
    sut.hear(LINK, data_of(1, note("old")), hello)
    assert sut.pending == []
    sut.hear(LINK, data_of(1, note("new")))
    assert texts(sut) == ["new"]


def test_a_message_in_progress_survives_the_loss_of_its_link() -> None:
    """SEQ-2: the peer sends it again; it is not handed out again."""
    sut = listening()
    sut.hear(LINK, data_of(1, note("1")))
    sut.down(LINK)
    sut.meet(2, LOW)
    sut.hear(2, data_of(1, note("1")))
    assert texts(sut) == ["1"]
    sut.engine.complete(sut.pending.pop())
    sut.turn()
    assert (cursor(sut), sut.pending) == (1, [])


def test_a_message_in_progress_is_handed_out_again_after_a_crash() -> None:
    """SEQ-3: its effects were not committed either."""
    sut = listening()
    sut.hear(LINK, data_of(1, note("1")))
    again = sut.restarted()
    again.engine.subscribe(Note, None)
    output = again.meet(2, LOW)
    (hello,) = frames_on(output, 2)
    assert isinstance(hello, Hello)
    assert hello.cursor == 0
    again.hear(2, data_of(1, note("1")))
    assert texts(again) == ["1"]


# --- Two engines --------------------------------------------------------------------------------

ALICE, BOB = LOW, HIGH
FIXED = FixedPart((ALICE.address, BOB.address), 1)
OUTCOME = (exit_of(ETHER, (ALICE.address, 5), (BOB.address, 7)),)
CHANNEL = channel_id(FIXED)


def duo(*, funding: bool = True) -> Duo:
    """Return Alice, who knows Bob, and Bob, who does not know her; Bob's chain as asked for."""
    alice = Sut(ALICE, funding=True)
    bob = Sut(BOB, funding=funding, links_from=5000)
    alice.engine.add_contact(record_of(BOB))
    return Duo(alice, bob)


def test_messages_between_two_engines_arrive_and_are_acked() -> None:
    world = duo()
    alice, bob = world.suts
    got: list[object] = []
    bob.engine.subscribe(Note, None)

    def handle(sut: Sut, pending: Pending) -> None:
        got.append(pending.message)
        sut.engine.complete(pending)

    world.handle = handle
    for number in range(600):
        alice.engine.send(BOB.address, note(str(number)))
    world.run()
    assert got == [Note(str(number)) for number in range(600)]
    assert alice.engine.unacked() == 0
    assert alice.memory.peers[BOB.address].messages == []


def test_idle_engines_stay_connected() -> None:
    """LIV-1, LIV-3: for a minute, by PING and PONG alone."""
    world = duo()
    world.run(60.0)
    alice, bob = world.suts
    assert alice.statuses() == {BOB.address: "connected"}
    assert bob.statuses() == {ALICE.address: "connected"}
    assert alice.engine.peer_statuses()[0].reconnects == 0


def test_engines_that_dial_each_other_at_once_end_with_one_link() -> None:
    """DUP-1."""
    world = duo()
    world.suts[1].engine.add_contact(record_of(ALICE))
    world.run(5.0)
    for sut in world.suts:
        connections = sut.engine._connections  # noqa: SLF001  # How many links there are.
        assert len(connections.links) == 1
        assert len(sut.statuses()) == 1
        assert set(sut.statuses().values()) == {"connected"}


def approve_what_waits(world: Duo) -> None:
    """Let Bob approve the channel if it waits for it."""
    bob = world.suts[1]
    fund = bob.engine.channels.objectives.get(CHANNEL)
    if fund is not None and fund.status is Status.UNAPPROVED:
        bob.engine.channels.approve(CHANNEL)


def test_two_engines_fund_a_channel() -> None:
    """FND-1 to FND-8."""
    world = duo()
    world.before_turn = approve_what_waits
    world.suts[0].engine.propose(FIXED, OUTCOME, b"")
    world.run(5.0)
    for sut in world.suts:
        assert sut.engine.channels.get(CHANNEL).status is Status.COMPLETED
        assert ChannelFunded(CHANNEL) in sut.done.events
    assert world.chain == {(CHANNEL, ETHER): 12}


@pytest.mark.parametrize("turn", range(12))
@pytest.mark.parametrize("side", [0, 1])
def test_a_crash_between_any_two_turns_does_not_stop_the_funding(side: int, turn: int) -> None:
    """Each deposit is made once; both end with the same channel."""
    world = duo()
    world.before_turn = approve_what_waits
    world.suts[0].engine.propose(FIXED, OUTCOME, b"")
    world.suts[0].settle()
    world.take_turns(turn)
    world.restart(side)
    world.run(10.0)
    alice, bob = (sut.engine.channels.get(CHANNEL) for sut in world.suts)
    assert alice.status is bob.status is Status.COMPLETED
    assert alice.funded_state() == bob.funded_state()
    assert world.chain == {(CHANNEL, ETHER): 12}


def test_a_deposit_that_the_chain_refuses_is_made_again_later() -> None:
    """FND-7: somebody else had paid into the channel, and the report of it came late."""
    world = duo()
    world.before_turn = approve_what_waits
    world.chain[CHANNEL, ETHER] = 2
    alice = world.suts[0]
    alice.engine.propose(FIXED, OUTCOME, b"")
    alice.settle()  # What the chain holds is asked for, and the answer is lost.
    world.run(0.1)
    assert alice.engine.channels.retries.next() is not None
    alice.engine.channels.holdings(CHANNEL, ETHER, 2)
    world.run(5.0)
    assert [deposit.amount for deposit in alice.done.deposits] == [5, 3]
    assert alice.engine.channels.get(CHANNEL).status is Status.COMPLETED
    assert world.chain == {(CHANNEL, ETHER): 12}


def test_a_refused_proposal_ends_the_proposers_channel() -> None:
    """FND-11: Bob has no chain; his node refuses what it has no use for."""
    world = duo(funding=False)
    world.suts[0].engine.propose(FIXED, OUTCOME, b"")
    world.run(1.0)
    (event,) = [e for e in world.suts[0].done.events if isinstance(e, ChannelRejected)]
    assert (event.by, event.code) == (BOB.address, RejectCode.INVALID)
    assert event.reason.startswith("channel_unknown: ")
    assert world.chain == {}


def test_a_peer_with_whom_a_channel_is_open_is_not_forgotten() -> None:
    """Its next message would come from nobody, and the channel wait for ever."""
    world = duo()
    world.suts[0].engine.propose(FIXED, OUTCOME, b"")
    world.run(0.1)
    bob = world.suts[1].engine
    with pytest.raises(LocalError, match="a channel with this peer"):
        bob.forget_peer(ALICE.address)
    bob.channels.reject(CHANNEL, RejectCode.DECLINED, "not today")
    world.run(1.0)
    bob.forget_peer(ALICE.address)
    assert not bob.knows(ALICE.address)


def test_a_declined_proposal_ends_the_proposers_channel() -> None:
    """FND-9."""
    world = duo()
    world.suts[0].engine.propose(FIXED, OUTCOME, b"")
    world.run(0.1)
    bob = world.suts[1]
    assert ChannelProposed(CHANNEL, ALICE.address) in bob.done.events
    bob.engine.channels.reject(CHANNEL, RejectCode.DECLINED, "not today")
    world.run(1.0)
    (event,) = [e for e in world.suts[0].done.events if isinstance(e, ChannelRejected)]
    assert (event.by, event.reason) == (BOB.address, "not today")
    assert bob.engine.channels.objectives == {}


def test_a_channel_with_a_stranger_cannot_be_proposed() -> None:
    sut = Sut(ALICE, funding=True)
    with pytest.raises(UnknownPeer):
        sut.engine.propose(FIXED, OUTCOME, b"")
    assert sut.engine.channels.objectives == {}


def test_a_participant_that_only_the_proposal_names_gets_its_mail_when_it_comes() -> None:
    """FND-6: Carol is unknown to Bob; what he signs for her waits in his outbox."""
    carol = MIDDLE
    fixed = FixedPart((ALICE.address, BOB.address, carol.address), 2)
    alice = Sut(ALICE, funding=True)
    for other in (BOB, carol):
        alice.engine.add_contact(record_of(other))
    alice.engine.propose(fixed, OUTCOME, b"")
    bodies = {w.peer: w.body for w in alice.turn().writes if isinstance(w, PutMessage)}
    bob = Sut(BOB, funding=True)
    bob.meet(LINK, ALICE)
    bob.hear(LINK, data_of(1, bodies[BOB.address]))
    bob.engine.channels.approve(channel_id(fixed))
    writes = [w for w in bob.turn().writes if isinstance(w, PutMessage)]
    assert [write.peer for write in writes] == [ALICE.address, carol.address]
    assert bob.engine.knows(carol.address)
    output = bob.meet(2, carol)
    assert [type(frame) for frame in frames_on(output, 2)] == [Hello, Data]


def test_a_wrong_statement_is_refused_with_its_code() -> None:
    """FND-5, REF-1."""
    alice = Sut(ALICE, funding=True)
    alice.engine.add_contact(record_of(BOB))
    alice.engine.propose(FIXED, OUTCOME, b"")
    alice.turn()
    alice.up(LINK, curve_of(BOB))
    alice.hear(LINK, hello_of(BOB))
    rejection = RejectProposal(CHANNEL, TurnNum(1), RejectCode.DECLINED, "")
    output = alice.hear(LINK, data_of(1, encode_message(rejection)))
    assert refused(output) == [(1, RefusalCode.PAYLOAD_INVALID)]
    assert alice.engine.channels.get(CHANNEL).status is Status.APPROVED
