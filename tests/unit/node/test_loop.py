"""Turns of a node taken by hand: time is what the test says, and there is no thread."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.chance import seeded
from tests.node_world import Elsewhere, Letter, world_of
from zmqp2p.engine.output import Watch
from zmqp2p.errors import Cancelled, StoreError
from zmqp2p.events import ChannelProposed, Event
from zmqp2p.identity import Identity, new_curve_secret
from zmqp2p.ids import ChannelId
from zmqp2p.limits import DEFAULT_LIMITS, REISSUE_MIN_S
from zmqp2p.messages import encode_message, message
from zmqp2p.node.build import rekey
from zmqp2p.node.deliveries import Delivery, current_delivery
from zmqp2p.node.loop import Callback, Loop, Parts, Surroundings
from zmqp2p.node.receipts import Receipt
from zmqp2p.objectives.base import Deposit
from zmqp2p.policy import ask
from zmqp2p.records import PeerRecord
from zmqp2p.store import MemoryStore
from zmqp2p.transport import MemoryNetwork, MemoryTransport
from zmqp2p.wire.link import LinkEvent

DAY_MS = 24 * 3600 * 1000


@message(7201)
@dataclass(frozen=True)
class Count:
    """An application message."""

    number: int


class World:
    """Two loops on one memory network, and the clock of both."""

    def __init__(self) -> None:
        """Start both; nothing is dialed yet."""
        self.now = 1000.0
        self.ahead_s = 1_000_000.0  # Of the wall clock to the steady one.
        self.network = MemoryNetwork()
        self.alice, self.bob = Side(self, "alice"), Side(self, "bob")

    def run(self, turns: int = 12) -> None:
        """Let both take turns."""
        for _ in range(turns):
            self.alice.turn()
            self.bob.turn()

    def close(self) -> None:
        """Release both."""
        for side in (self.alice, self.bob):
            side.transport.close()
            side.store.close()


class Side:
    """One loop, with its transport and its store."""

    def __init__(self, world: World, name: str) -> None:
        """Start it, listening at an endpoint of its own name."""
        self.listens = True  # As far as its record says.
        self.astray_s = 0.0  # How far its own wall clock is ahead of the others'.
        self.identity = Identity.generate()
        self.world, self.name = world, name
        self.transport = MemoryTransport(
            world.network, curve_public=self.identity.curve_public, host=name
        )
        self.endpoint = self.transport.listen(f"tcp://127.0.0.1:{1 if name == 'alice' else 2}")
        self.store = MemoryStore()
        self.work: list[Deposit | Watch] = []
        self._later: list[Callback] = []
        self.start()

    def start(self) -> None:
        """Begin a run on the store as it is."""
        memory = self.store.open(self.identity.address, self.utc_ms())
        parts = Parts(
            identity=self.identity,
            store=self.store,
            transport=self.transport,
            chain=None,
            policy=ask,
            limits=DEFAULT_LIMITS,
            record_of=self.record_of,
            rekey=self._rekey,
        )
        around = Surroundings(seeded(1), lambda: self.world.now, self.utc_ms)
        self.loop = Loop(parts, memory, around, self._later.append, self.work.append)

    def utc_ms(self) -> int:
        """The wall clock."""
        return int((self.world.now + self.world.ahead_s + self.astray_s) * 1000)

    def record_of(self, issued_ms: int) -> PeerRecord:
        """The record, valid for two days."""
        key, endpoints = self.identity.curve_public, (self.endpoint,) if self.listens else ()
        return PeerRecord.issue(self.identity, key, endpoints, issued_ms, issued_ms + 2 * DAY_MS)

    def _rekey(self, _endpoints: object) -> bool:
        rekey(self.identity, self.transport, (self.endpoint,), new_curve_secret())
        return False

    def turn(self) -> None:
        """Take one turn."""
        events: list[LinkEvent] = self.transport.wait(0.0)
        commands, self._later[:] = list(self._later), []
        self.loop.turn(events, commands)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_a_record_is_renewed_at_half_of_its_life_and_stored_as_issued(world: World) -> None:
    """REC-7: or a node that runs for long would be refused by everybody."""
    loop = world.alice.loop
    first = loop.record
    world.now += DAY_MS / 1000 - 1
    world.alice.turn()
    assert loop.record is first
    world.now += 1
    world.alice.turn()
    second = loop.record
    assert second.issued_ms == first.issued_ms + DAY_MS
    world.alice.turn()
    assert loop.record is second
    world.alice.store.close()
    memory = world.alice.store.open(world.alice.identity.address, 1)
    assert memory.issued_ms == [first.issued_ms, second.issued_ms]


def test_a_wall_clock_set_back_does_not_take_the_record_back(world: World) -> None:
    """IDN-4: a record issued earlier than the one that others know would be refused."""
    world.alice.turn()
    first = world.alice.loop.record
    world.alice.store.close()
    world.now -= 100.0
    world.alice.start()
    assert world.alice.loop.record.issued_ms == first.issued_ms + 1


# --- Clocks that are set (REC-8) ----------------------------------------------------------------


def connected(side: Side) -> bool:
    """Whether ``side`` is connected to whoever else there is."""
    return all(status.connected for status in side.loop.engine.peer_statuses())


def restart(side: Side) -> None:
    """End a run of ``side`` and begin the next, on the same store."""
    side.transport.close()
    side.store.close()
    side.transport = MemoryTransport(
        side.world.network, curve_public=side.identity.curve_public, host=side.name
    )
    side.transport.listen(side.endpoint)
    side.start()


def meet(world: World) -> None:
    """Let Alice know Bob and be connected."""
    world.alice.loop.engine.add_contact(world.bob.loop.record)
    world.run()
    assert connected(world.alice)
    assert connected(world.bob)


def settle(world: World, seconds: float) -> None:
    """Let time pass in steps."""
    for _ in range(int(seconds / 0.1)):
        world.now += 0.1
        world.run(2)


@pytest.mark.parametrize("ahead_s", [400.0, 10 * 365 * 86_400.0])
def test_a_record_from_a_time_that_was_never_there_is_not_followed_by_a_later_one(
    ahead_s: float, world: World
) -> None:
    """REC-8: the clock was ahead in an earlier run; nobody would take what comes after that."""
    alice = world.alice
    alice.astray_s = ahead_s
    restart(alice)
    assert alice.loop.record.issued_ms > alice.utc_ms() - 1000
    alice.astray_s = 0.0
    restart(alice)
    assert alice.loop.record.issued_ms == alice.utc_ms()
    meet(world)


def test_a_record_a_little_in_the_future_is_followed_by_a_later_one(world: World) -> None:
    """REC-8, IDN-4: others take it; an older one they would refuse."""
    alice = world.alice
    alice.astray_s = 299.0
    restart(alice)
    first = alice.loop.record.issued_ms
    alice.turn()
    alice.astray_s = 0.0
    restart(alice)
    assert alice.loop.record.issued_ms == first + 1


def test_a_clock_that_is_set_right_while_a_node_runs_makes_its_record_right(world: World) -> None:
    """REC-8: refused until then, it is taken at once, and nobody restarts anything."""
    alice, bob = world.alice, world.bob
    alice.astray_s = 86_400.0
    restart(alice)
    alice.loop.engine.add_contact(bob.loop.record)
    settle(world, 1.0)
    assert not connected(alice)
    alice.astray_s = 0.0
    settle(world, 0.5)
    assert alice.loop.record.issued_ms <= alice.utc_ms()
    assert connected(alice)
    assert connected(bob)


@pytest.mark.parametrize("by_s", [-86_400.0, 86_400.0, 20 * 86_400.0])
def test_a_clock_that_is_set_wrong_ends_no_link_and_one_set_right_heals_all(
    by_s: float, world: World
) -> None:
    """REC-8: a link goes on with the record it began with; new ones wait for the right time."""
    alice, bob = world.alice, world.bob
    meet(world)
    alice.astray_s = by_s
    settle(world, 3.0)
    assert abs(alice.loop.record.issued_ms - alice.utc_ms()) < 4000
    assert connected(alice)
    assert alice.loop.engine.peer_statuses()[0].reconnects == 0
    alice.astray_s = 0.0
    settle(world, 0.2)
    world.network.sever("alice", "bob")
    settle(world, 6.0)
    assert connected(alice)
    assert connected(bob)


def test_a_clock_that_is_set_a_little_changes_nothing(world: World) -> None:
    """REC-8: within the skew that others allow for."""
    alice = world.alice
    first = alice.loop.record
    for by_s in (299.0, -299.0):
        alice.astray_s = by_s
        alice.turn()
        assert alice.loop.record is first


def test_whoever_took_a_record_from_the_future_takes_the_right_one_later(world: World) -> None:
    """REC-8, IDN-4: both clocks were wrong, as on machines that share one, and are set right."""
    world.ahead_s += 86_400.0
    world.run(1)
    restart(world.alice)
    restart(world.bob)
    meet(world)
    world.ahead_s -= 86_400.0
    settle(world, 0.2)
    world.network.sever("alice", "bob")
    settle(world, 6.0)
    assert connected(world.alice)
    assert connected(world.bob)
    for one, other in ((world.alice, world.bob), (world.bob, world.alice)):
        book = one.loop.engine._connections.peers  # noqa: SLF001  # What would be dialed.
        known = book.peer(other.identity.address).contact
        assert isinstance(known, PeerRecord)
        assert known == other.loop.record
        assert known.issued_ms <= one.utc_ms()


def known_to(side: Side, other: Side) -> PeerRecord:
    """Return what ``side`` knows of ``other``, and would dial."""
    book = side.loop.engine._connections.peers  # noqa: SLF001  # Nobody else knows.
    known = book.peer(other.identity.address).contact
    assert isinstance(known, PeerRecord)
    return known


def rotate(side: Side) -> PeerRecord:
    """Give ``side`` another key, with no time for the former one, in a turn of its own."""
    side.turn()
    record = side.loop.rotate(None, 0.0)
    side.turn()
    return record


def test_a_record_that_is_a_little_ahead_is_replaced_though_a_later_one_is_not(
    world: World,
) -> None:
    """REC-8, IDN-4: as under seeds 702518 and 708328 of the simulated rotation.

    Bob takes a record that is 173 s ahead and sees nothing of the next, 45 minutes ahead. When the
    clock is right and the key replaced again, he must take the new one, and not in 173 s.
    """
    alice, bob = world.alice, world.bob
    alice.astray_s = 173.0
    restart(alice)
    meet(world)
    assert known_to(bob, alice).issued_ms > bob.utc_ms() + 170_000
    alice.astray_s = 2700.0
    restart(alice)
    rotate(alice)
    settle(world, 1.0)
    assert not connected(alice)
    alice.astray_s = 0.0
    restart(alice)
    record = rotate(alice)
    settle(world, 1.0)
    assert connected(alice)
    assert known_to(bob, alice) == record


def test_a_key_that_was_replaced_while_the_clock_was_behind_is_known_once_it_is_right(
    world: World,
) -> None:
    """REC-8: nobody is asked, and nobody has to wait until the time of the former one has come.

    For the clock that was 100 s behind, the former record lay too far in the future to count.
    """
    alice, bob = world.alice, world.bob
    alice.astray_s = 250.0
    restart(alice)
    meet(world)
    former = known_to(bob, alice)
    alice.astray_s = -100.0
    rotate(alice)
    assert alice.loop.record.issued_ms < former.issued_ms
    settle(world, 1.0)
    assert known_to(bob, alice) == former
    assert not connected(alice)
    alice.astray_s = 0.0  # Too little for the clock to count as set.
    settle(world, 1.0)
    assert alice.loop.record.issued_ms == former.issued_ms + 1
    assert known_to(bob, alice) == alice.loop.record
    assert connected(alice)


def test_who_cannot_be_dialed_is_told_over_the_link_there_is(world: World) -> None:
    """REC-8, IDN-5: what it was told at the rotation did not count; it must not be lost for that.

    Its link of the former key goes on for a while, and in that time the clock is set right.
    """
    alice, bob = world.alice, world.bob
    alice.astray_s = 250.0
    restart(alice)
    bob.listens = False
    restart(bob)
    bob.loop.engine.add_contact(alice.loop.record)
    world.run()
    assert connected(bob)
    former = known_to(bob, alice)
    alice.astray_s = -100.0
    alice.turn()
    alice.loop.rotate(None, 30.0)
    settle(world, 1.0)
    assert known_to(bob, alice) == former
    alice.astray_s = 0.0
    settle(world, 1.0)
    assert known_to(bob, alice) == alice.loop.record
    settle(world, 40.0)  # Beyond the grace.
    assert connected(bob)


def test_a_node_that_remembers_nothing_gets_in_when_the_time_of_its_last_record_has_come(
    world: World,
) -> None:
    """IDN-4: its store is new, its clock was ahead, and its key is another one now.

    Bob says RECORD_SUPERSEDED until it issues another record, which it does once in 30 s.
    """
    alice, bob = world.alice, world.bob
    alice.astray_s = 70.0
    restart(alice)
    meet(world)
    settle(world, 1.0)  # Or the new store would be taken for an old one.
    former_ms = known_to(bob, alice).issued_ms
    alice.astray_s = 0.0
    alice.transport.close()
    alice.store.close()
    alice.store = MemoryStore()
    restart(alice)
    rotate(alice)
    alice.loop.engine.add_contact(bob.loop.record)
    issued = set()
    while not connected(alice):
        settle(world, 0.5)
        issued.add(alice.loop.record.issued_ms)
        assert alice.utc_ms() < former_ms + 1000 * (REISSUE_MIN_S + 6), "not even then"
    assert alice.utc_ms() > former_ms
    assert len(issued) <= 2 + 100 / REISSUE_MIN_S
    assert max(issued) <= alice.utc_ms()


# --- Turns that are short -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "guests", "limit_s"),
    [
        (("bob",), (), DEFAULT_LIMITS.turn_max_s),
        (("bob", "carol"), ("bob", "carol"), DEFAULT_LIMITS.turn_shared_max_s),
        (("bob", "carol"), ("carol",), DEFAULT_LIMITS.turn_shared_max_s),
        (("bob", "carol"), ("bob",), DEFAULT_LIMITS.turn_guests_max_s),
    ],
    ids=["alone", "all are guests", "of a contact", "of a guest, and a contact is there"],
)
def test_a_turn_is_short_while_others_wait_for_theirs(
    others: tuple[str, ...], guests: tuple[str, ...], limit_s: float
) -> None:
    """Of whoever sends without end so much is handled at a time as no other minds."""
    handled = []
    each_s = 0.00025

    def handler(_delivery: Delivery) -> None:
        handled.append(made.now)
        made.now += each_s

    with world_of(others=others, guests=guests) as made:
        made.alice.handle(handler)
        for number in range(400):
            made.bob.send(made.alice, Letter(number))
        most = []
        while len(handled) < 400:
            before = len(handled)
            made.run(1)
            most.append(len(handled) - before)
    assert max(most) == pytest.approx(limit_s / each_s, abs=1)


# --- Runs that end ------------------------------------------------------------------------------


def test_what_a_handler_has_sent_ends_though_it_cannot_be_undone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store fails under it, and so the node; nobody may wait for ever."""
    alice, bob = world.alice, world.bob
    sent: list[Receipt] = []

    def handle(delivery: Delivery) -> None:
        delivery.transaction.execute("CREATE TABLE app_seen (number INTEGER)")
        sent.append(Receipt(bob.loop.desk.room, delivery.sender, b"never sent"))
        assert delivery.adopt(sent[0])
        raise ValueError("after it wrote and sent")

    def fail() -> None:
        raise StoreError("the disk is gone")

    bob.loop.handlers.subscribe(handle, None, Count, None)
    monkeypatch.setattr(bob.store, "rollback_to_savepoint", fail)
    alice.loop.engine.add_contact(bob.loop.record)
    world.run()
    alice.loop.turn([], [Receipt(alice.loop.desk.room, bob.identity.address, count_body(1))])
    with pytest.raises(StoreError):
        world.run()
    bob.loop.end_waiting()
    assert isinstance(sent[0].error, Cancelled)


def test_what_a_handler_did_for_a_run_that_is_over_counts_for_nothing(world: World) -> None:
    """RES-9: the message comes again, from the peer's new run."""
    elsewhere = Elsewhere()
    handed = elsewhere.handed
    bob, alice = world.bob, world.alice
    bob.loop.handlers.subscribe(lambda _: None, elsewhere, Count, None)
    bob.store.transaction.execute("CREATE TABLE app_seen (number INTEGER)")
    contact = bob.loop.record
    alice.loop.engine.add_contact(contact)
    world.run()
    body_receipt = Receipt(alice.loop.desk.room, bob.identity.address, count_body(1))
    alice.loop.turn([], [body_receipt])
    world.run()
    ((delivery, done),) = handed
    delivery.transaction.execute("INSERT INTO app_seen VALUES (1)")
    token = current_delivery.set(delivery)
    sent = Receipt(bob.loop.desk.room, alice.identity.address, count_body(2))
    assert delivery.adopt(sent)
    current_delivery.reset(token)
    alice.transport.close()  # A crash, and another run on the same store.
    alice.store.close()
    alice.transport = MemoryTransport(
        world.network, curve_public=alice.identity.curve_public, host="alice"
    )
    alice.start()
    alice.loop.engine.add_contact(contact)
    world.now += 1.0
    world.run()
    done(None)
    world.run()
    rows = bob.store.transaction.execute("SELECT count(*) FROM app_seen")
    assert rows == [(0,)]
    assert isinstance(sent.error, Exception)
    assert len(handed) == 2  # Handed out again.
    handed[1][0].transaction.execute("INSERT INTO app_seen VALUES (1)")
    handed[1][1](None)
    world.run()
    assert bob.store.transaction.execute("SELECT count(*) FROM app_seen") == [(1,)]
    assert alice.loop.engine.unacked() == 0


def count_body(number: int) -> bytes:
    """Return the body of a `Count`."""
    return encode_message(Count(number))


def test_a_proposal_that_is_forgotten_in_its_own_turn_needs_no_decision(world: World) -> None:
    """Another participant has rejected it meanwhile: its channel is known no more."""
    loop = world.alice.loop
    proposed = ChannelProposed(ChannelId(b"\x42" * 32), world.bob.identity.address)
    published: list[Event] = []
    loop.event_handlers.append(published.append)
    loop.turn([], [lambda: loop.engine.output.events.append(proposed)])
    assert published == [proposed]


# --- How long a turn is -------------------------------------------------------------------------


@pytest.mark.parametrize(("peers", "most_s"), [(1, 0.05), (2, 0.002)])
def test_a_turn_begins_no_message_when_its_time_is_over(peers: int, most_s: float) -> None:
    """Acks leave at its end: where others are connected, it is short. The rest comes next turn."""
    names = ("bob", "carol")[:peers]
    with world_of(others=names) as world:
        handled: list[float] = []

        def handle(_delivery: object) -> None:
            handled.append(world.now)
            world.now += 0.001

        world.alice.handle(handle)
        for number in range(200):
            world.bob.send(world.alice, Letter(number))
        world.bob.turn()
        began_at = world.now
        world.alice.turn()
        assert began_at + most_s <= world.now < began_at + most_s + 0.002
        assert len(handled) < 200
        while len(handled) < 200:
            count = len(handled)
            world.alice.turn()
            assert len(handled) > count


@message(7_092)
@dataclass(frozen=True, slots=True)
class Dear:
    """A message of which the reading takes as long as a test says."""

    number: int

    def __post_init__(self) -> None:
        for take_time in _while_reading:
            take_time()


_while_reading: list[Callable[[], None]] = []


@pytest.mark.parametrize(("ran_s", "count"), [(0.02, 1), (0.001, 3)], ids=["dear", "held up"])
def test_a_guest_rests_for_what_its_message_ran_and_not_for_what_the_machine_does(
    ran_s: float, count: int
) -> None:
    """On a machine that others use too, each message may take 20 ms now and then."""
    with world_of(others=("bob", "carol")) as world:
        bob, carol = world.others
        carol.loop.engine.add_contact(bob.loop.record)
        world.run()
        handled: list[object] = []
        bob.loop.handlers.subscribe(handled.append, None, Dear, None)
        for number in range(3):
            world.alice.send(bob, Dear(number))
        world.alice.turn()

        def take_time() -> None:
            world.now += 0.02
            world.ran_s += ran_s

        _while_reading.append(take_time)
        try:
            for _ in range(10):
                bob.turn()
        finally:
            _while_reading.clear()
        assert len(handled) == count
