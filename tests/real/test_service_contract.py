"""What both faces promise, whatever the store: one suite for all four of them.

Real ZeroMQ with CURVE on loopback; Alice over tcp, Bob over tcp or ipc.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.face_world import World
from tests.real.parties import (
    HASTY,
    LOOPBACK,
    PATIENCE_S,
    UNKNOWN_CHANNEL,
    Answer,
    Journal,
    Note,
    numbers_into,
    outcome_of,
    until,
)
from zmqp2p import (
    AcceptState,
    Backpressure,
    Delivery,
    DeliveryTimeout,
    InvalidValue,
    Limits,
    LocalError,
    PeerRecord,
    ProposeState,
    RecordError,
    Refused,
    RefuseMessage,
    Rejected,
    RejectProposal,
    TooLarge,
    UnknownChannel,
    UnknownPeer,
    approve_all,
    parse_contact,
)
from zmqp2p.chain import SimulatedChain
from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.errors import Cancelled, Expired
from zmqp2p.events import CallbackFailed, ChannelFunded, Event, MessageRefused, PeerConnected
from zmqp2p.ids import Address, MessageId, StateHash, TurnNum
from zmqp2p.limits import MESSAGE_MAX_BYTES
from zmqp2p.objectives.base import Status
from zmqp2p.state import (
    FixedPart,
    State,
    VariablePart,
    channel_id,
    sign_state,
    state_hash,
)

STRANGER = Address(b"\x05" * 20)
SMALL_OUTBOX = Limits(outbox_max_messages=2, outbox_max_bytes=MESSAGE_MAX_BYTES)


@pytest.fixture(params=["blocking", "aio"])
def face(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(face: str, tmp_path: Path) -> Iterator[World]:
    made = World(face, durable=False, folder=tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite"])
def stored(request: pytest.FixtureRequest, face: str, tmp_path: Path) -> Iterator[World]:
    made = World(face, durable=request.param == "sqlite", folder=tmp_path)
    yield made
    made.close()


# --- Delivery -----------------------------------------------------------------------------------


def test_a_thousand_messages_each_way_at_once_arrive_once_and_in_order(stored: World) -> None:
    alice, bob = stored.pair()
    at_alice, at_bob = Journal[int](), Journal[int]()
    alice.on_message(numbers_into(at_alice))
    bob.on_message(numbers_into(at_bob))
    alice.send(bob.address, Note(0)).wait(PATIENCE_S)  # From now on each knows the other.
    receipts = []
    for number in range(1, 1001):
        receipts.append(alice.send(bob.address, Note(number)))
        receipts.append(bob.send(alice.address, Note(number)))
    for receipt in receipts:
        receipt.wait(PATIENCE_S)
    assert at_bob.entries == list(range(1001))
    assert at_alice.entries == list(range(1, 1001))
    assert all(receipt.acked and receipt.error is None for receipt in receipts)
    assert all(status.unacked == 0 for status in (*alice.peers(), *bob.peers()))


def test_a_message_has_the_same_id_on_both_sides(world: World) -> None:
    alice, bob = world.pair()
    ids = Journal[MessageId]()
    bob.on_message(lambda delivery: ids(delivery.message_id))
    sent = [alice.send(bob.address, Note(7)) for _ in range(3)]
    assert [receipt.message_id() for receipt in sent] == ids.count(3)
    assert len(set(ids.entries)) == 3  # The number is part of it: no two are equal.


def test_every_kind_of_message_arrives_as_it_was_sent(world: World) -> None:
    """Without a chain the protocol's own messages, proposals too, are the application's."""
    alice, bob = world.pair()
    key = world.identity("alice")
    fixed = FixedPart((alice.address, bob.address), 1)
    outcome = outcome_of((alice.address, 5), (bob.address, 7))
    state = State(fixed, VariablePart(b"data", outcome, TurnNum(0), is_final=False))
    channel, signature = channel_id(fixed), sign_state(state, key)
    sent = [
        ProposeState(channel, state, signature),
        AcceptState(channel, TurnNum(5), state_hash(state), signature),
        RejectProposal(channel, TurnNum(0), RejectCode.DECLINED, "no, thank you"),
        Note(-(2**63), "ä" * 1000),
    ]
    arrived = Journal[Delivery]()
    bob.on_message(arrived)
    for one in sent:
        alice.send(bob.address, one).wait(PATIENCE_S)
    assert [delivery.message for delivery in arrived.entries] == sent
    assert {delivery.sender for delivery in arrived.entries} == {alice.address}
    assert {delivery.attempt for delivery in arrived.entries} == {1}
    assert "ProposeState 1 from 0x" in repr(arrived.entries[0])


def test_each_message_goes_to_the_handler_that_fits_best(world: World) -> None:
    alice, bob = world.pair()
    went = Journal[str]()
    channel = UNKNOWN_CHANNEL
    bob.on_message(lambda _: went("any"))
    bob.on_message(lambda _: went("note"), message_type=Note)
    bob.on_message(lambda _: went("channel"), channel_id=channel)
    bob.on_message(lambda _: went("both"), channel_id=channel, message_type=AcceptState)
    proposal = RejectProposal(channel, TurnNum(5), RejectCode.DECLINED, "")
    signature = sign_state(
        State(FixedPart((alice.address,), 1), VariablePart(b"", (), TurnNum(0), is_final=False)),
        world.identity("alice"),
    )
    accept = AcceptState(channel, TurnNum(5), StateHash(bytes(32)), signature)
    for one in (Answer(1), Note(1), proposal, accept):
        alice.send(bob.address, one)
    assert went.count(4) == ["any", "note", "channel", "both"]


def test_a_filter_has_one_handler(world: World) -> None:
    bob = world.start("bob")
    bob.on_message(lambda _: None, message_type=Note)
    with pytest.raises(InvalidValue, match="has a handler already"):
        bob.on_message(lambda _: None, message_type=Note)


def test_a_message_to_a_peer_that_comes_up_later_waits_for_it(stored: World) -> None:
    bob = stored.start("bob")
    record = bob.record
    bob.close()
    alice = stored.start("alice", None)
    alice.add_peer(str(record))
    receipts = [alice.send(record.address, Note(number)) for number in range(20)]
    arrived = Journal[int]()
    bob = stored.start("bob", record.endpoints[0])
    bob.on_message(numbers_into(arrived))
    for receipt in receipts:
        receipt.wait(PATIENCE_S)
    assert arrived.entries == list(range(20))


def test_what_is_sent_in_a_handler_arrives_as_well(world: World) -> None:
    alice, bob = world.pair()
    answers = Journal[int]()
    alice.on_message(numbers_into(answers), message_type=Answer)
    bob.on_message(lambda d: bob.send(d.sender, Answer(d.message.number)), message_type=Note)
    for number in range(5):
        alice.send(bob.address, Note(number))
    assert answers.count(5) == list(range(5))


def test_flush_waits_until_everything_is_processed(world: World) -> None:
    alice, bob = world.pair()
    arrived = Journal[int]()
    bob.on_message(numbers_into(arrived))
    for number in range(100):
        alice.send(bob.address, Note(number))
    alice.flush(PATIENCE_S)
    assert arrived.entries == list(range(100))
    alice.flush(PATIENCE_S)  # Nothing waits: at once.


def test_flush_says_when_it_gives_up(world: World) -> None:
    alice = world.start("alice")
    alice.add_peer(gone(world))
    alice.send(world.identity("gone").address, Note(1))
    with pytest.raises(DeliveryTimeout, match=r"not within 0\.01 s"):
        alice.flush(0.01)


def gone(world: World) -> PeerRecord:
    """Return the record of a node that was there, and is no more."""
    made = world.start("gone")
    made.close()
    return made.record


# --- Refusals -----------------------------------------------------------------------------------


def test_a_message_of_a_type_nobody_wants_is_refused_after_the_grace(world: World) -> None:
    alice, bob = world.pair()
    refusals = Journal[Event]()
    bob.on_event(refusals)
    receipt = alice.send(bob.address, Note(1))
    with pytest.raises(Refused) as refused:
        receipt.wait(PATIENCE_S)
    assert refused.value.code is RefusalCode.TYPE_UNKNOWN
    assert receipt.error is refused.value
    assert not receipt.acked
    told = refusals.first(MessageRefused)
    assert (told.peer, told.seq, told.code) == (alice.address, 1, RefusalCode.TYPE_UNKNOWN)


def test_a_handler_can_refuse_for_good(world: World) -> None:
    alice, bob = world.pair()
    attempts = Journal[int]()

    def refuse(delivery: Delivery) -> None:
        attempts(delivery.attempt)
        if delivery.message.number == 1:
            raise RefuseMessage(RefusalCode.PAYLOAD_INVALID, "one is not a number")

    bob.on_message(refuse)
    first, second = (alice.send(bob.address, Note(number)) for number in (1, 2))
    with pytest.raises(Refused, match="one is not a number") as refused:
        first.wait(PATIENCE_S)
    assert refused.value.code is RefusalCode.PAYLOAD_INVALID
    second.wait(PATIENCE_S)  # The stream goes on.
    assert attempts.entries == [1, 1]


def test_a_handler_that_fails_is_tried_again_and_then_the_message_is_refused(world: World) -> None:
    alice, bob = world.pair()
    attempts, events = Journal[tuple[int, int]](), Journal[Event]()
    bob.on_event(events)

    def fail(delivery: Delivery) -> None:
        attempts((delivery.message.number, delivery.attempt))
        if delivery.message.number == 1:
            raise ValueError("a mistake in the application")

    bob.on_message(fail)
    first, second = (alice.send(bob.address, Note(number)) for number in (1, 2))
    with pytest.raises(Refused) as refused:
        first.wait(PATIENCE_S)
    assert refused.value.code is RefusalCode.HANDLER_FAILED
    second.wait(PATIENCE_S)
    tried = [(1, attempt) for attempt in range(1, HASTY.handler_attempts + 1)]
    assert attempts.entries == [*tried, (2, 1)]
    told = events.first(CallbackFailed)
    assert told == CallbackFailed("on_message", "ValueError: a mistake in the application")


def test_a_message_that_is_too_old_when_it_arrives_is_refused(world: World) -> None:
    bob = world.start("bob")
    record = bob.record
    bob.close()
    alice = world.start("alice")
    alice.add_peer(record)
    late = alice.send(record.address, Note(1), expires_in_s=0.001)
    in_time = alice.send(record.address, Note(2), expires_in_s=60.0)
    arrived = Journal[int]()
    bob = world.start("bob", record.endpoints[0], store=None)
    bob.on_message(numbers_into(arrived))
    in_time.wait(PATIENCE_S)
    with pytest.raises(Expired):
        late.wait(PATIENCE_S)
    assert arrived.entries == [2]


# --- What cannot be sent ------------------------------------------------------------------------


def test_a_message_to_nobody_known_is_not_sent(world: World) -> None:
    alice = world.start("alice")
    with pytest.raises(UnknownPeer, match="add_peer first"):
        alice.send(Address(b"\x01" * 20), Note(1))
    with pytest.raises(InvalidValue, match="address"):
        alice.send(Address(b"too short"), Note(1))


@pytest.mark.parametrize(
    ("message", "terms"),
    [
        ("a text", {}),
        (Note("one"), {}),  # type: ignore[arg-type]
        (Note(1), {"expires_in_s": 0}),
        (Note(1), {"expires_in_s": float("nan")}),
        (Note(1), {"expires_in_s": float("inf")}),
    ],
)
def test_what_is_no_message_is_not_sent(world: World, message: object, terms: Any) -> None:
    alice, bob = world.pair()
    with pytest.raises(InvalidValue):
        alice.send(bob.address, message, **terms)


def test_a_message_that_is_too_large_is_not_sent(world: World) -> None:
    alice, bob = world.pair()
    with pytest.raises(TooLarge):
        alice.send(bob.address, Note(1, "x" * MESSAGE_MAX_BYTES))


def test_the_largest_message_arrives(world: World) -> None:
    alice, bob = world.pair()
    arrived = Journal[Any]()
    bob.on_message(lambda delivery: arrived(delivery.message))
    largest = Note(1, "x" * (MESSAGE_MAX_BYTES - 20))
    alice.send(bob.address, largest).wait(PATIENCE_S)
    assert arrived.entries == [largest]


def test_a_full_outbox_says_so_and_has_room_again_after_acks(world: World) -> None:
    bob = world.start("bob")
    record = bob.record
    bob.close()
    alice = world.start("alice", limits=SMALL_OUTBOX)
    alice.add_peer(record)
    waiting = [alice.send(record.address, Note(number)) for number in (1, 2)]
    with pytest.raises(Backpressure, match="is full"):
        alice.send(record.address, Note(3), timeout_s=0)
    with pytest.raises(DeliveryTimeout, match="not sent"):
        alice.send(record.address, Note(3), timeout_s=0.01)
    arrived = Journal[int]()
    bob = world.start("bob", record.endpoints[0], store=None)
    bob.on_message(numbers_into(arrived))
    # Waits, without end, for the room that acks make.
    waiting.extend(alice.send(record.address, Note(number)) for number in (4, 5))
    for receipt in waiting:
        receipt.wait(PATIENCE_S)
    assert arrived.entries == [1, 2, 4, 5]


def test_bytes_fill_an_outbox_too(world: World) -> None:
    alice = world.start("alice", limits=Limits(outbox_max_bytes=MESSAGE_MAX_BYTES))
    alice.add_peer(gone(world))
    peer = world.identity("gone").address
    alice.send(peer, Note(1, "x" * (MESSAGE_MAX_BYTES * 3 // 4)))
    with pytest.raises(Backpressure):
        alice.send(peer, Note(2, "x" * (MESSAGE_MAX_BYTES // 2)), timeout_s=0)


# --- Receipts -----------------------------------------------------------------------------------


def test_a_receipt_says_when_the_wait_is_over_too_soon(world: World) -> None:
    alice = world.start("alice")
    alice.add_peer(gone(world))
    receipt = alice.send(world.identity("gone").address, Note(1))
    with pytest.raises(DeliveryTimeout, match=r"not within 0\.01 s"):
        receipt.wait(0.01)
    assert receipt.error is None
    assert receipt.peer == world.identity("gone").address
    assert "pending" in repr(receipt)


def test_a_receipt_ends_as_cancelled_when_the_service_closes(world: World) -> None:
    alice = world.start("alice")
    alice.add_peer(gone(world))
    receipt = alice.send(world.identity("gone").address, Note(1))
    assert len(receipt.message_id()) == 32  # It is stored.
    alice.close()
    assert isinstance(receipt.error, Cancelled)
    assert "Cancelled" in repr(receipt)


# --- Peers --------------------------------------------------------------------------------------


def test_peers_are_added_by_record_text_or_uri(world: World) -> None:
    bob = world.start("bob")
    (endpoint,) = bob.record.endpoints
    key = bob.record.curve_key.hex()
    uri = f"zp2p://0x{bob.address.hex()}@{endpoint.removeprefix('tcp://')}?curve={key}"
    for number, contact in enumerate((bob.record, str(bob.record), uri, parse_contact(uri))):
        alice = world.start(f"alice {number}")
        connected = Journal[Event]()
        alice.on_event(connected)
        assert alice.add_peer(contact) == bob.address
        assert connected.first(PeerConnected).peer == bob.address
        (status,) = alice.peers()
        assert (status.address, status.connected, status.why_not) == (bob.address, True, "")
        assert status.endpoints == (endpoint,)
        alice.close()


def test_what_is_no_contact_is_not_added(world: World) -> None:
    alice = world.start("alice")
    with pytest.raises(LocalError, match="own contact"):
        alice.add_peer(alice.record)
    with pytest.raises(InvalidValue, match="contact"):
        alice.add_peer("bob")
    with pytest.raises(RecordError):
        alice.add_peer("zp2p:AAAA")
    with pytest.raises(InvalidValue, match="contact"):
        alice.add_peer(42)  # type: ignore[arg-type]
    assert alice.peers() == []


def test_the_record_tells_the_real_port_and_the_address(world: World) -> None:
    alice = world.start("alice")
    identity = world.identity("alice")
    assert alice.record.address == alice.address == identity.address
    assert alice.record.curve_key == identity.curve_public
    assert not alice.record.endpoints[0].endswith(":0")
    assert world.start("dialer", None).record.endpoints == ()
    several = world.start("many", [LOOPBACK, f"ipc://{world.folder}/many.ipc"])
    assert len(several.record.endpoints) == 2
    shown = world.start("shown", advertise=("tcp://203.0.113.7:9000",))
    assert shown.record.endpoints == ("tcp://203.0.113.7:9000",)


def test_security_none_talks_to_its_like_on_loopback(world: World) -> None:
    alice, bob = (world.start(name, security="none") for name in ("alice", "bob"))
    arrived = Journal[int]()
    bob.on_message(numbers_into(arrived))
    alice.add_peer(bob.record)
    alice.send(bob.address, Note(1)).wait(PATIENCE_S)
    assert arrived.entries == [1]


# --- Channels -----------------------------------------------------------------------------------


def test_a_channel_is_funded(stored: World, chain: SimulatedChain) -> None:
    alice, bob = stored.pair(chain=chain, policy=approve_all)
    events = Journal[Event]()
    bob.on_event(events)
    outcome = outcome_of((alice.address, 5), (bob.address, 7))
    channel = alice.fund(bob.address, outcome, app_data=b"opening", channel_nonce=9)
    funded = channel.result(PATIENCE_S)
    assert funded.channel_id == channel.channel_id
    assert funded.state.variable.outcome == outcome
    assert funded.state.variable.app_data == b"opening"
    assert funded.state.fixed.channel_nonce == 9
    assert funded.state.variable.turn_num == 1
    assert bob.channel(channel.channel_id).result(PATIENCE_S) == funded
    assert events.first(ChannelFunded) == ChannelFunded(channel.channel_id)
    assert [deposit.amount for deposit in chain.deposits()] == [5, 7]
    assert alice.channels() == [channel.status()]
    assert channel.status().status is Status.COMPLETED
    assert channel.channel_id.hex() in repr(channel)


def test_by_default_the_application_decides(world: World, chain: SimulatedChain) -> None:
    alice, bob = world.pair(chain=chain)
    proposed = Journal[Event]()
    bob.on_event(proposed)
    wanted, unwanted = (
        alice.fund(bob.address, outcome_of((alice.address, 1), (bob.address, amount)))
        for amount in (2, 3)
    )
    with pytest.raises(DeliveryTimeout):
        wanted.result(0.01)
    waiting = until(bob.proposals, lambda found: len(found) == 2)
    assert {one.channel_id for one in waiting} == {wanted.channel_id, unwanted.channel_id}
    assert {one.proposer for one in waiting} == {alice.address}
    bob.reject(unwanted.channel_id, "too dear")
    approved = bob.approve(wanted.channel_id)
    assert wanted.result(PATIENCE_S) == approved.result(PATIENCE_S)
    with pytest.raises(Rejected, match="too dear") as rejected:
        unwanted.result(PATIENCE_S)
    assert rejected.value.by == bob.address
    assert rejected.value.code is RejectCode.DECLINED
    assert {deposit.channel for deposit in chain.deposits()} == {wanted.channel_id}
    assert bob.proposals() == []


def test_a_channel_nobody_knows_is_an_error(world: World, chain: SimulatedChain) -> None:
    alice = world.start("alice", chain=chain)
    handle = alice.channel(UNKNOWN_CHANNEL)
    for ask in (
        handle.result,
        handle.status,
        lambda: alice.approve(UNKNOWN_CHANNEL),
        lambda: alice.reject(UNKNOWN_CHANNEL),
    ):
        with pytest.raises(UnknownChannel):
            ask()


@pytest.mark.parametrize("channel", ["0x42", b"short", [], None])
def test_what_is_no_channel_id_is_the_callers_mistake_and_not_the_nodes(
    world: World, chain: SimulatedChain, channel: Any
) -> None:
    """A caller's mistake must not reach the loop: there it would end the node."""
    alice = world.start("alice", chain=chain)
    calls: list[Callable[[], object]] = [
        lambda: alice.channel(channel),
        lambda: alice.approve(channel),
        lambda: alice.reject(channel),
    ]
    if channel is not None:
        calls.append(lambda: alice.on_message(lambda _: None, channel_id=channel))
    for call in calls:
        with pytest.raises(InvalidValue, match="channel_id"):
            call()
    assert alice.channels() == []


async def on_event(_event: Event) -> None:
    """What is awaited by nobody."""


def test_other_mistakes_of_a_caller_do_not_reach_the_node(
    world: World, chain: SimulatedChain
) -> None:
    alice, bob = world.pair(chain=chain)
    good = outcome_of((alice.address, 1), (bob.address, 2))
    mistakes: list[Callable[[], object]] = [
        lambda: alice.fund(bob.address, "everything"),  # type: ignore[arg-type]
        lambda: alice.fund(bob.address, good, app_data="text"),
        lambda: alice.fund(bob.address, good, channel_nonce=-1),
        lambda: alice.fund((bob.address, bob.address), good),
        lambda: alice.fund(bob.address, outcome_of()),
        lambda: alice.reject(UNKNOWN_CHANNEL, 5),  # type: ignore[arg-type]
        lambda: alice.on_message(lambda _: None, message_type=[]),
        lambda: alice.on_message(lambda _: None, message_type="Note"),
        lambda: alice.on_event(5),  # type: ignore[arg-type]
        lambda: alice.on_event(on_event),  # type: ignore[arg-type]
        lambda: alice.send(bob.address, Note(1), timeout_s=True),
        lambda: alice.send(bob.address, Note(1), timeout_s="1"),
        lambda: alice.send(bob.address, Note(1), expires_in_s=True),
        lambda: alice.send(bob.address, Note(1), expires_in_s="1"),
        lambda: alice.flush(float("nan")),
        lambda: alice.channel(UNKNOWN_CHANNEL).result(True),
    ]
    for mistake in mistakes:
        with pytest.raises(InvalidValue):
            mistake()
    with pytest.raises(UnknownPeer):
        alice.fund(STRANGER, outcome_of((alice.address, 1), (STRANGER, 2)))
    assert alice.channels() == []


def test_a_message_handler_opens_a_channel_once_however_often_it_runs(
    world: World, chain: SimulatedChain
) -> None:
    """A channel is not undone with the attempt: of random nonce, each would open one more."""
    alice, bob = world.pair(chain=chain)
    opened = Journal[object]()
    outcome = outcome_of((bob.address, 1), (alice.address, 2))

    def attempt(**terms: Any) -> None:
        try:
            opened(bob.fund(alice.address, outcome, **terms).channel_id)
        except LocalError as fault:
            opened(str(fault))

    def handle(delivery: Delivery) -> None:
        attempt()
        attempt(channel_nonce=None)
        attempt(channel_nonce=7)
        if delivery.attempt == 1:
            raise ValueError("after it opened a channel")

    bob.on_message(handle)
    alice.send(bob.address, Note(1)).wait(PATIENCE_S)
    (status,) = bob.channels()
    random, none, chosen, *second = opened.entries
    assert "give channel_nonce" in str(random)
    assert chosen == status.channel_id
    assert second[:2] == [random, none] == [random, random]
    assert "opened before" in str(second[2])


def test_terms_of_an_earlier_channel_are_refused(world: World, chain: SimulatedChain) -> None:
    alice, bob = world.pair(chain=chain)
    outcome = outcome_of((alice.address, 1), (bob.address, 2))
    alice.fund(bob.address, outcome, channel_nonce=1)
    with pytest.raises(InvalidValue, match="opened before"):
        alice.fund(bob.address, outcome, channel_nonce=1)


def test_without_a_chain_nothing_is_funded(world: World, chain: SimulatedChain) -> None:
    """Bob, who has no chain, refuses; Alice is told, and has deposited nothing."""
    bob = world.start("bob")
    alice = world.start("alice", chain=chain)
    alice.add_peer(bob.record)
    outcome = outcome_of((alice.address, 1), (bob.address, 2))
    with pytest.raises(LocalError, match="no chain"):
        bob.fund(alice.address, outcome)
    with pytest.raises(Rejected, match="channel_unknown") as rejected:
        alice.fund(bob.address, outcome).result(PATIENCE_S)
    assert rejected.value.by == bob.address
    assert chain.deposits() == []


# --- Closing ------------------------------------------------------------------------------------


def test_closing_twice_is_closing_once(world: World) -> None:
    alice = world.start("alice")
    alice.close()
    alice.close()


def test_a_restarted_node_remembers_its_peers(face: str, tmp_path: Path) -> None:
    world = World(face, durable=True, folder=tmp_path)
    alice, bob = world.pair()
    alice.close()
    alice = world.start("alice")
    connected = until(alice.peers, lambda statuses: statuses[0].connected)
    assert connected[0].address == bob.address
    assert alice.record.issued_ms > 0
    world.close()
