"""Two nodes without threads or sockets: turns are taken by hand, time is what the test says.

A side can crash between any two steps of a turn and start again on what its store held then.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from tests.chance import seeded
from zmqp2p.chain.base import ChainService
from zmqp2p.engine.output import Watch
from zmqp2p.events import Event
from zmqp2p.identity import Identity, new_curve_secret
from zmqp2p.ids import Address, MessageId
from zmqp2p.limits import Limits
from zmqp2p.messages import encode_message, message
from zmqp2p.node.build import rekey
from zmqp2p.node.deliveries import Delivery, Handler
from zmqp2p.node.loop import Callback, Command, Loop, Parts, Surroundings
from zmqp2p.node.receipts import Receipt
from zmqp2p.node.stretches import Runner, Stretch
from zmqp2p.objectives.base import Deposit
from zmqp2p.policy import Policy, ask
from zmqp2p.records import PeerRecord
from zmqp2p.store import MemoryStore
from zmqp2p.transport import MemoryNetwork, MemoryTransport

E = TypeVar("E")
Done = Callable[[BaseException | None], None]
DAY_MS = 24 * 3600 * 1000
NAMES = ("alice", "bob", "carol", "dave", "eve")
LIMITS = Limits(redial_max_s=0.1, handler_attempts=2, subscribe_grace_s=0.01)


@message(7301)
@dataclass(frozen=True)
class Letter:
    """An application message; ``text`` tells the tests' handlers what to do with it."""

    number: int
    text: str = ""


@dataclass
class Elsewhere:
    """A `Runner` whose handlers end when the test says so."""

    handed: list[tuple[Delivery, Done]] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)

    def __call__(self, _handler: Handler, stretch: Stretch) -> None:
        self.stretches.append(stretch)
        self._begin(stretch)

    def _begin(self, stretch: Stretch) -> None:
        delivery = stretch.begin()
        if delivery is not None:
            self.handed.append((delivery, partial(self._end, stretch)))

    def _end(self, stretch: Stretch, error: BaseException | None) -> None:
        stretch.end(error)
        stretch.check()
        self._begin(stretch)


class World:
    """Alice and others on one memory network; she has added them, or, of ``guests``, they her."""

    def __init__(
        self,
        limits: Limits = LIMITS,
        others: tuple[str, ...] = ("bob",),
        guests: tuple[str, ...] = (),
    ) -> None:
        self.now = 1000.0
        self.ran_s = 0.0  # How long threads have run, where a test lets them.
        self.network = MemoryNetwork()
        self.alice = Side(self, "alice", limits)
        self.others = [Side(self, name, limits) for name in others]
        for other in self.others:
            if other.name in guests:
                other.loop.engine.add_contact(self.alice.loop.record)
            else:
                self.alice.loop.engine.add_contact(other.loop.record)

    @property
    def bob(self) -> "Side":
        """The first of the others."""
        return self.others[0]

    def run(self, turns: int = 12) -> None:
        """Let all sides that live take turns, while time passes."""
        for _ in range(turns):
            self.now += 0.02
            for side in (self.alice, *self.others):
                side.turn()

    def close(self) -> None:
        """Release all sides."""
        for side in (self.alice, *self.others):
            side.end()


@contextmanager
def world_of(
    limits: Limits = LIMITS, others: tuple[str, ...] = ("bob",), guests: tuple[str, ...] = ()
) -> Iterator[World]:
    """Return a world in which all have met; it is closed at the end."""
    made = World(limits, others, guests)
    try:
        made.run()
        yield made
    finally:
        made.close()


class Side:
    """One node of a world: its loop, and the store and the transport it runs on."""

    def __init__(self, world: World, name: str, limits: Limits) -> None:
        self.world, self.name, self.limits = world, name, limits
        self.identity = Identity.generate()
        self.store = MemoryStore()  # A test may put another one, and another kind of transport.
        self.transport_type: type[MemoryTransport] = MemoryTransport
        self.chain: ChainService | None = None  # Nothing is asked of it: it says that there is one.
        self.policy: Policy = ask
        self.events: list[Event] = []
        self.commands: list[Command] = []
        self.handlers: list[tuple[Handler, Runner | None]] = []
        self.alive = False
        self.start()

    @property
    def address(self) -> Address:
        """Whose node it is."""
        return self.identity.address

    def start(self) -> None:
        """Begin a run on the store as it is; handlers of earlier runs subscribe again."""
        self.transport = self.transport_type(
            self.world.network, curve_public=self.identity.curve_public, host=self.name
        )
        self._endpoint = self.transport.listen(f"tcp://127.0.0.1:{1 + NAMES.index(self.name)}")
        parts = Parts(
            identity=self.identity,
            store=self.store,
            transport=self.transport,
            chain=self.chain,
            policy=self.policy,
            limits=self.limits,
            record_of=self._record_of,
            rekey=self._rekey,
        )
        memory = self.store.open(self.address, self.utc_ms())
        self.commands.clear()
        around = Surroundings(
            seeded(memory.incarnation),
            lambda: self.world.now,
            self.utc_ms,
            lambda: self.world.ran_s,
        )
        work: list[Deposit | Watch] = []
        self.loop = Loop(parts, memory, around, self.commands.append, work.append)
        self.loop.event_handlers.append(self.events.append)
        self.alive = True
        for handler, runner in self.handlers:
            self.loop.handlers.subscribe(handler, runner, Letter, None)

    def handle(self, handler: Handler, runner: Runner | None = None) -> None:
        """Let ``handler`` have the letters, in this run and all others."""
        self.handlers.append((handler, runner))
        self.loop.handlers.subscribe(handler, runner, Letter, None)

    def end(self) -> None:
        """End the run as a crash does: what was not committed is gone, nobody is told."""
        if self.alive:
            self.alive = False
            self.transport.close()
            self.store.close()

    def restart(self) -> None:
        """End this run, and begin the next one."""
        self.end()
        self.start()

    def _rekey(self, _endpoints: object) -> bool:
        rekey(self.identity, self.transport, (self._endpoint,), new_curve_secret())
        return False

    def turn(self) -> None:
        """Take a turn, if it lives."""
        if not self.alive:
            return
        commands, self.commands[:] = list(self.commands), []
        self.loop.turn(self.transport.wait(0.0), commands)
        self.loop.engine.check()
        self.loop.desk.gate.check()
        self.loop.handlers.check()

    def send(self, to: "Side", letter: object, expires_in_s: float | None = None) -> Receipt:
        """Send a letter in the next turn; an `OutboxGate.enter` that does not wait."""
        deadline_ms = None if expires_in_s is None else self.utc_ms() + round(expires_in_s * 1000)
        body = encode_message(letter, deadline_ms)
        desk = self.loop.desk
        desk.gate.enter(to.address, len(body), 0)
        receipt = Receipt(desk.room, to.address, body)
        self.commands.append(receipt)
        return receipt

    def receipt(self, message_id: MessageId) -> Receipt:
        """Ask what became of a message."""
        return self.loop.desk.find(self.loop.engine, message_id)

    def later(self, work: Callback) -> None:
        """Do something among the commands of the next turn."""
        self.commands.append(work)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read what was committed, or is about to be, in the application's tables."""
        return self.store.transaction.execute(sql)

    def of_kind(self, kind: type[E]) -> list[E]:
        """Return the events of one kind, so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def utc_ms(self) -> int:
        """The wall clock."""
        return int(self.world.now * 1000)

    def _record_of(self, issued_ms: int) -> PeerRecord:
        key = self.identity.curve_public
        expires_ms = issued_ms + 2 * DAY_MS
        return PeerRecord.issue(self.identity, key, (self._endpoint,), issued_ms, expires_ms)
