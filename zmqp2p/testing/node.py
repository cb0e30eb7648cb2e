"""One node of a world: the real loop, on a disk that survives it, taken turn by turn."""

from collections import deque
from collections.abc import Callable
from enum import Enum
from random import Random
from typing import TYPE_CHECKING

from zmqp2p.chain.base import Deposited
from zmqp2p.crypto import keccak256
from zmqp2p.engine.output import Watch
from zmqp2p.events import DataLossDetected, Event
from zmqp2p.identity import Identity
from zmqp2p.ids import Address, ChannelId
from zmqp2p.messages import encode_message
from zmqp2p.node.build import rekey, terms_of
from zmqp2p.node.deliveries import Delivery, current_delivery
from zmqp2p.node.loop import Call, Command, Loop, Parts, Surroundings
from zmqp2p.node.receipts import Receipt
from zmqp2p.objectives.base import Deposit, Status
from zmqp2p.persistence import Write
from zmqp2p.policy import approve_all
from zmqp2p.records import PeerRecord
from zmqp2p.state import Outcome, channel_id
from zmqp2p.testing.account import Broken
from zmqp2p.testing.disk import Disk
from zmqp2p.testing.network import SimTransport
from zmqp2p.wire.encoding import decode_frame
from zmqp2p.wire.frames import Ack, Bulk, Data, Gap, Hello, Pong

if TYPE_CHECKING:
    from zmqp2p.testing.world import World

RECORD_LIFETIME_MS = 30 * 24 * 3600 * 1000


class Crash(BaseException):
    """The node dies here. No exception of an application: nothing may catch it."""


class HandlerFault(Exception):  # It says what happened.
    """A handler failed because the world wanted it to."""


class Doom(Enum):
    """Where in its next turn a node dies."""

    BEFORE_COMMIT = "before the commit"
    AFTER_COMMIT = "after the commit"
    SENDING = "while its frames leave"


class Node:
    """A node, over all its runs. Made by `World.node`; its methods are for applications.

    The application is called at the start of each run, and subscribes again.
    """

    def __init__(
        self, world: "World", name: str, number: int, application: "Callable[[Node], None]"
    ) -> None:
        self.name = name
        self.endpoint = f"tcp://10.0.0.{number}:7000"
        self.events: list[Event] = []  # Of all runs.
        self.runs = 0
        self.asleep = False
        self.clock_ms = 0  # How far its wall clock is ahead.
        self.doom: Doom | None = None
        self.copies: list[bytes] = []  # Backups of its disk, oldest first.
        self.block = 0
        self._world = world
        self._application = application
        secret = keccak256(f"{name}/{world.seed}".encode())
        self.identity = Identity.from_secrets(secret, keccak256(secret))
        self.disk = Disk(self._committing, self._committed)
        self.record: PeerRecord  # The newest that its owner has seen, for others.
        self._loop: Loop | None = None
        self._transport: SimTransport | None = None
        self._commands: deque[Command] = deque()
        self._handled: list[tuple[Address, object]] = []
        self._frames_left = 0

    # --- For applications -----------------------------------------------------------------------

    @property
    def address(self) -> Address:
        """The node's address."""
        return self.identity.address

    @property
    def up(self) -> bool:
        """Whether a run is there; it may be asleep."""
        return self._loop is not None

    def add_peer(self, peer: "Node") -> None:
        """Know ``peer``, and keep a link to it; remembered over restarts once it is committed."""
        record = peer.record
        self._post(Call(lambda engine: engine.add_contact(record)))

    def send(self, peer: "Node", message: object) -> Receipt:
        """Send a message in the next turn; in a handler, with its transaction.

        The receipt ends with the run.
        """
        assert self._loop is not None
        body = encode_message(message)
        desk = self._loop.desk
        receipt = Receipt(desk.room, peer.address, body)
        desk.gate.enter(peer.address, len(body), 0)
        delivery = current_delivery.get()
        if delivery is None or not delivery.adopt(receipt):
            self._post(receipt)
        return receipt

    def on_message(
        self, handler: Callable[[Delivery], object], message_type: type | None = None
    ) -> None:
        """Hand messages to ``handler``, in this run. What it does in the store is accounted for."""
        assert self._loop is not None
        world, handled = self._world, self._handled

        def run(delivery: Delivery) -> None:
            fails = world.rng.random() < world.faults.handler_fails
            if fails and delivery.attempt == 1 and world.rng.random() < 0.5:  # noqa: PLR2004
                raise HandlerFault("at once")
            handler(delivery)
            if fails and delivery.attempt == 1:
                raise HandlerFault("after it has written")
            handled.append((delivery.sender, delivery.message))

        self._loop.handlers.subscribe(run, None, message_type, None)

    def fund(self, peer: "Node", outcome: Outcome, nonce: int) -> None:
        """Open and fund a channel; a second call with the same terms changes nothing."""
        fixed = terms_of(self.address, peer.address, channel_nonce=nonce)
        self._post(Call(lambda engine: engine.propose(fixed, outcome, b"")))

    def proposed(self, peer: "Node", nonce: int) -> bool:
        """Whether this run has the channel with these terms."""
        return (
            channel_id(terms_of(self.address, peer.address, channel_nonce=nonce)) in self.funded()
        )

    def funded(self) -> dict[ChannelId, Status]:
        """Return how the channels of this run stand."""
        if self._loop is None:
            return {}
        objectives = self._loop.engine.channels.objectives
        return {channel: objective.status for channel, objective in objectives.items()}

    def rotate(self, grace_s: float) -> None:
        """Have another CURVE key; remembered over restarts."""
        if self._loop is not None:
            loop = self._loop
            self._post(Call(lambda _engine: loop.rotate(None, grace_s)))

    def held(self, peer: "Node") -> bool:
        """Whether an alarm about ``peer`` was raised here, in any run."""
        return any(isinstance(e, DataLossDetected) and e.peer == peer.address for e in self.events)

    def waits_for(self, peer: "Node") -> bool:
        """Whether messages to ``peer`` wait for its ack, as far as this run knows."""
        assert self._loop is not None
        statuses = self._loop.engine.peer_statuses()
        return any(status.address == peer.address and status.unacked for status in statuses)

    def resent(self) -> int:
        """Return how many messages this run has sent again."""
        assert self._loop is not None
        return sum(status.resent for status in self._loop.engine.peer_statuses())

    def _rekey(self, _endpoints: object) -> bool:
        assert self._transport is not None
        secret = keccak256(self.identity.curve_secret)
        rekey(self.identity, self._transport, (self.endpoint,), secret)
        return False

    # --- For the world --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a run with what the disk holds."""
        world = self._world
        self.runs += 1
        self.doom = None
        self._commands.clear()
        self._handled.clear()
        memory = self.disk.open(self.address, world.utc_ms(self))
        world.account.begin(self.address, memory)
        self._transport = SimTransport(
            world.network, self.endpoint, self.identity.curve_public, self._awake, self._sending
        )
        self._transport.listen(self.endpoint)
        parts = Parts(
            identity=self.identity,
            store=self.disk,
            transport=self._transport,
            chain=world.chain,  # type: ignore[arg-type]  # Asked by `submit` only.
            policy=approve_all,
            limits=world.limits,
            record_of=self._record_of,
            rekey=self._rekey,
        )
        around = Surroundings(
            Random(world.rng.getrandbits(64)),  # noqa: S311  # The world's chance.
            lambda: world.now,
            lambda: world.utc_ms(self),
        )
        self._loop = Loop(parts, memory, around, self._post, self._submit)
        self.record = self._loop.record
        self._loop.event_handlers.append(self._on_event)
        self.block = memory.chain_cursor
        world.chain.watch(self)
        self._application(self)
        self._awake()

    def turn(self) -> float | None:
        """Take a turn; return in how many seconds the next one is due, None without end."""
        loop, transport = self._loop, self._transport
        assert loop is not None
        assert transport is not None
        commands, self._commands = self._commands, deque()
        self._frames_left = self._world.rng.randrange(4)
        try:
            loop.turn(transport.wait(0.0), commands)
        except Crash:
            self.stop()
            return None
        loop.engine.check()
        patience_s = loop.patience_s()
        return 0.0 if self._commands else patience_s

    def stop(self) -> None:
        """The run ends without a word; the disk keeps what was committed."""
        assert self._transport is not None
        self._world.chain.forget(self)
        self._transport.close()
        self.disk.close()
        self.copies.append(self.disk.copy())
        self._loop = self._transport = None
        self._world.died(self)

    def _committing(self) -> None:
        if self.doom is Doom.BEFORE_COMMIT:
            raise Crash

    def _committed(self, writes: list[Write]) -> None:
        handled = list(self._handled)
        self._handled.clear()
        self._world.account.commit(self.address, writes, handled)
        assert self._loop is not None
        self.record = self._loop.record
        if self.doom is Doom.AFTER_COMMIT:
            raise Crash

    def _sending(self, endpoint: str, frames: tuple[bytes, ...]) -> None:
        self._check_claims(endpoint, frames)
        if self.doom is Doom.SENDING:
            self._frames_left -= 1
            if self._frames_left < 0:
                raise Crash

    def _check_claims(self, endpoint: str, frames: tuple[bytes, ...]) -> None:
        """Raise Broken if a frame says more than the disk holds."""
        frame = decode_frame(frames)
        match frame:
            case Hello():
                ack, last = frame.cursor, frame.next - 1
            case Data():
                ack, last = frame.progress.ack, frame.seq + len(frame.bodies) - 1
            case Bulk():
                ack, last = frame.progress.ack, frame.seq
            case Ack(progress) | Gap(progress) | Pong(_, progress):
                ack, last = progress.ack, progress.base - 1
            case _:
                return
        peer = self._world.at(endpoint).address
        if not self._world.account.may_claim(self.address, peer, ack, last):
            raise Broken(f"{self.name} says what is not on its disk: {frame}")

    # --- The chain's watcher --------------------------------------------------------------------

    def deposited(self, deposits: list[Deposited], block: int) -> None:
        """Take in confirmed deposits."""
        loop = self._loop
        if loop is not None:
            self._post(lambda: loop.engine.deposited(deposits, block))

    def holdings(self, channel: ChannelId, asset: Address, held: int) -> None:
        """Take in what a channel holds."""
        loop = self._loop
        if loop is not None:
            self._post(lambda: loop.engine.channels.holdings(channel, asset, held))

    def refused(self, deposit: Deposit) -> None:
        """Take in that a deposit was not made."""
        loop = self._loop
        if loop is not None:
            self._post(lambda: loop.engine.transaction_failed(deposit))

    def _submit(self, work: Deposit | Watch) -> None:
        chain, run = self._world.chain, _Run(self)
        if isinstance(work, Deposit):
            chain.submit(work, run)
        else:
            for asset in work.assets:
                chain.report(work.channel, asset, run)

    def _post(self, command: Command) -> None:
        self._commands.append(command)
        self._awake()

    def _awake(self) -> None:
        self._world.awake(self)

    def _on_event(self, event: Event) -> None:
        self.events.append(event)

    def _record_of(self, issued_ms: int) -> PeerRecord:
        me, expires_ms = self.identity, issued_ms + RECORD_LIFETIME_MS
        return PeerRecord.issue(me, me.curve_public, [self.endpoint], issued_ms, expires_ms)


class _Run:
    """One run of a node, to whom the chain's answer is of use; none to a later one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._run = node.runs
        self.block = 0

    def deposited(self, deposits: list[Deposited], block: int) -> None:
        """Not asked for."""

    def holdings(self, channel: ChannelId, asset: Address, held: int) -> None:
        """Pass on the answer."""
        if self._node.runs == self._run:
            self._node.holdings(channel, asset, held)

    def refused(self, deposit: Deposit) -> None:
        """Pass on the answer."""
        if self._node.runs == self._run:
            self._node.refused(deposit)
