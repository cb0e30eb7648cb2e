"""The node: the thread that runs the loop, and the way into it from any other thread."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from random import Random
from typing import TypeVar

from zmqp2p.chain.base import Deposited
from zmqp2p.crypto import Signature
from zmqp2p.engine.engine import Engine
from zmqp2p.engine.output import Watch
from zmqp2p.errors import Cancelled, LocalError, ServiceClosed, TooLarge, WouldDeadlock
from zmqp2p.events import ChainFailed, Event
from zmqp2p.handover import HandOver
from zmqp2p.ids import Address, ChannelId, MessageId
from zmqp2p.node.chain_link import ChainLink
from zmqp2p.node.deliveries import Handler, current_delivery
from zmqp2p.node.funding import ChannelStatus, FundedChannel
from zmqp2p.node.helpers import helpers_of
from zmqp2p.node.loop import Call, Callback, Command, Loop, Parts, Surroundings, utc_ms
from zmqp2p.node.receipts import Receipt
from zmqp2p.node.stretches import Runner
from zmqp2p.objectives.base import Deposit, Status
from zmqp2p.persistence import FailedMessage
from zmqp2p.policy import Proposal, proposal_of
from zmqp2p.records import Contact, PeerRecord
from zmqp2p.state import State

T = TypeVar("T")

_log = logging.getLogger("zmqp2p")
_COMMANDS_PER_TURN = 4_096  # Bounds a turn, so that acks and timers are not starved by senders.
# Messages left for a node that has slept, after which their sender lets it run, for the first time;
# then after twice as many each time, as what is under way keeps both busy.
_YIELD_MIN = 64
_YIELD_S = 1e-5  # The system makes 60 us of it. What counts is that the interpreter is free.


class Node:
    """Runs the loop on a thread of its own; every public method may be called on any thread."""

    def __init__(self, parts: Parts) -> None:
        """Make a node; nothing runs yet."""
        self.ended: Future[None] = Future()  # Ends when the node has released everything.
        self._parts = parts
        self._pid = os.getpid()
        self._mailbox: deque[Command] = deque()
        self._awake = False
        self._yield_at = _YIELD_MIN
        self._stopping = False
        self._last_turn = False  # Nothing that happens from here on is committed.
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="zmqp2p-node", daemon=True)
        self._chain: ChainLink | None = None
        self._helpers = helpers_of(parts.limits.helpers_max)
        self._loop: Loop

    # --- Life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the store and start the loop; raises what keeps it from starting."""
        parts = self._parts
        memory = parts.store.open(parts.identity.address, utc_ms())
        try:
            rng = Random(os.urandom(32))  # noqa: S311  # Jitter and ids that only must differ.
            around = Surroundings(rng, help=None if self._helpers is None else self._helpers.offer)
            self._loop = Loop(parts, memory, around, self._leave_quietly, self._submit)
            self._loop.desk.room.node_thread = self._thread
            if parts.chain is not None:
                self._chain = ChainLink(parts.chain, self, memory.chain_cursor)
                self._chain.start()
            self._thread.start()
        except BaseException:
            parts.store.close()  # Not if opening it failed: it may be another node's.
            raise

    def stop(self, timeout_s: float) -> None:
        """End the loop, say goodbye to all peers, release everything. Idempotent.

        Raises:
            LocalError: a handler still runs after ``timeout_s``; nothing can be released under it.
            Exception: whatever made the loop fail.
        """
        if self._thread.is_alive():
            if self.on_node_thread():
                raise LocalError("a service cannot be closed by its own handler")
            self._post_quietly(self._request_stop)  # Another thread may be closing it already.
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise LocalError(f"a handler still runs after {timeout_s:g} s")
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    @property
    def failure(self) -> BaseException | None:
        """What made the loop fail, if it did and nobody has been told by `stop`."""
        return self._failure

    @property
    def record(self) -> PeerRecord:
        """The record that this node shows now."""
        return self._loop.record

    def on_node_thread(self) -> bool:
        """Whether the caller runs on the node's thread: in a handler or a callback."""
        return threading.current_thread() is self._thread

    def in_handler(self) -> bool:
        """Whether the caller runs in a message handler of this node, on whatever thread."""
        delivery = current_delivery.get()
        if delivery is None or delivery.room is not self._loop.desk.room:
            return False
        return delivery.runs_here()

    # --- Calls from any thread ------------------------------------------------------------------

    def call(self, function: Callable[[Engine], T]) -> "Future[T]":
        """Stretch ``function`` on the loop, and have what it changes committed in that turn.

        The future ends after the commit. On the node's own thread it runs at once.
        """
        call = Call(function)
        if self.on_node_thread():
            self._loop.more = True
            call.run(self._loop.engine)
            call.end()
        else:
            self._post(call)
        return call.future

    def send(
        self, peer: Address, body: bytes, timeout_s: float | None, *, wake: bool = True
    ) -> Receipt:
        """Send a message: with the running handler's transaction, if there is one.

        Waits up to ``timeout_s`` for room in the outbox; never on the node's own thread. Without
        ``wake`` it may wait until somebody calls `wake`.

        Raises:
            Backpressure, DeliveryTimeout: see `OutboxGate.enter`.
            TooLarge: more than `Limits.message_max_bytes`.
            ServiceClosed: the node is closed.
        """
        self._check_open()
        most_bytes = self._parts.limits.message_max_bytes
        if len(body) > most_bytes:
            raise TooLarge(f"{len(body)} bytes, at most {most_bytes}")
        desk = self._loop.desk
        receipt = Receipt(desk.room, peer, body)
        desk.gate.enter(peer, len(body), 0 if self.on_node_thread() else timeout_s)
        delivery = current_delivery.get()
        if delivery is not None and delivery.room is desk.room and delivery.adopt(receipt):
            return receipt
        try:
            self._post(receipt, wake=wake)
        except ServiceClosed:
            desk.gate.withdraw(peer, len(body))
            raise
        if len(self._mailbox) == self._yield_at and wake:
            self._yield()
        return receipt

    def wake(self) -> None:
        """Let the node look at what was left for it, if it sleeps."""
        if self._mailbox and not self._awake:
            self._parts.transport.wake()

    def receipt(self, message_id: MessageId) -> "Future[Receipt]":
        """Return the receipt of a message of this run or an earlier one; or UnknownMessage."""
        return self.call(lambda engine: self._loop.desk.find(engine, message_id))

    def add_contact(self, contact: Contact) -> "Future[None]":
        """Know a peer and connect to it; RecordError if its record has expired."""

        def add(engine: Engine) -> None:
            if isinstance(contact, PeerRecord):
                contact.check_time(utc_ms(), int(self._parts.limits.clock_skew_max_s * 1000))
            engine.add_contact(contact)

        return self.call(add)

    def rotate(
        self, endpoints: tuple[str, ...] | None, grace_s: float | None
    ) -> "Future[PeerRecord]":
        """Have another CURVE key; the future's result is the record that bears it."""
        return self.call(lambda _engine: self._loop.rotate(endpoints, grace_s))

    def accept_hand_over(self, statement: HandOver, contact: Contact) -> "Future[None]":
        """Keep a link to ``contact`` instead of to the old address of ``statement``."""

        def accept(engine: Engine) -> None:
            now_ms, skew_ms = utc_ms(), int(self._parts.limits.clock_skew_max_s * 1000)
            statement.check_time(now_ms, skew_ms)
            if isinstance(contact, PeerRecord):
                contact.check_time(now_ms, skew_ms)
            engine.hand_over(statement.old_address, contact)

        return self.call(accept)

    def proposals(self) -> "Future[list[Proposal]]":
        """Return the channels that wait for a decision."""
        me = self._parts.identity.address

        def waiting(engine: Engine) -> list[Proposal]:
            objectives = engine.channels.objectives.values()
            return [proposal_of(o, me) for o in objectives if o.status is Status.UNAPPROVED]

        return self.call(waiting)

    def subscribe(
        self, handler: Handler, runner: Runner | None, kind: type | None, channel: ChannelId | None
    ) -> "Future[int]":
        """Hand the messages that fit to ``handler``; the future's result is the subscription."""
        return self.call(
            lambda _engine: self._loop.handlers.subscribe(handler, runner, kind, channel)
        )

    def dead_letters(self) -> "Future[list[tuple[MessageId, FailedMessage]]]":
        """Return the messages whose handlers failed for good, oldest first."""
        return self.call(lambda engine: list(engine.dead_letters.all().items()))

    def redrive(self, letter_id: MessageId) -> "Future[None]":
        """Hand a dead letter to its handler again; the future ends after the commit.

        Raises:
            WouldDeadlock: on the node's own thread, in the middle of another handler's transaction.
        """
        if self.on_node_thread():
            raise WouldDeadlock("a handler or callback on the node's thread cannot run another one")
        future: Future[None] = Future()
        call = self.call(lambda _engine: self._loop.handlers.redrive(letter_id, future))
        call.add_done_callback(partial(_pass_on, future))
        return future

    def discard(self, letter_id: MessageId) -> "Future[None]":
        """Forget a dead letter."""
        return self.call(lambda _engine: self._loop.handlers.discard(letter_id))

    def unsubscribe(self, key: int) -> "Future[None]":
        """End a subscription; what its handler has in hand still ends."""
        return self.call(lambda _engine: self._loop.handlers.unsubscribe(key))

    def on_event(self, handler: Callable[[Event], None]) -> None:
        """Call ``handler`` with every event from now on, on the node's thread."""
        self._loop.event_handlers.append(handler)

    def funded(self, channel: ChannelId) -> "Future[FundedChannel]":
        """Return a future of the channel once it is funded; or Rejected, or UnknownChannel."""
        future: Future[FundedChannel] = Future()
        call = self.call(lambda _engine: self._loop.funding.wait(channel, future))
        call.add_done_callback(partial(_pass_on, future))
        return future

    def channel_statuses(self) -> "Future[list[ChannelStatus]]":
        """Return how all channels stand."""
        return self.call(lambda _engine: self._loop.funding.statuses())

    def channel_status(self, channel: ChannelId) -> "Future[ChannelStatus]":
        """Return how one channel stands."""
        return self.call(lambda _engine: self._loop.funding.status(channel))

    def sign_state(self, state: State) -> "Future[Signature]":
        """Return a future of the signature over ``state``: it ends when that is on record.

        On the node's own thread it has ended already, and the turn's commit records it, before
        anything of that turn leaves.
        """
        if self._last_turn and self.on_node_thread():
            raise ServiceClosed("the service closes: no signature would be recorded any more")
        return self.call(lambda engine: engine.channels.sign_state(state))

    def knows(self, peer: Address) -> bool:
        """Whether messages to ``peer`` can be sent; a snapshot."""
        return self._loop.engine.knows(peer)

    def flush(self) -> "Future[None]":
        """Return a future that ends once no message waits for any peer's ack."""
        future: Future[None] = Future()
        call = self.call(lambda _engine: self._loop.flushes.append(future))
        call.add_done_callback(partial(_pass_on, future))
        return future

    # --- What the chain says (ChainListener) ----------------------------------------------------

    def chain_deposited(self, deposits: list[Deposited], block: int) -> None:
        """Take in confirmed deposits."""
        self._post_quietly(lambda: self._loop.engine.deposited(deposits, block))

    def chain_holdings(self, channel: ChannelId, asset: Address, held: int) -> None:
        """Take in what a channel holds."""
        self._post_quietly(lambda: self._loop.engine.channels.holdings(channel, asset, held))

    def chain_refused(self, deposit: Deposit, error: str) -> None:
        """Take in that a deposit was not made."""

        def refused() -> None:
            self._loop.emit(ChainFailed(deposit.channel, error))
            self._loop.engine.transaction_failed(deposit)

        self._post_quietly(refused)

    def chain_failed(self, error: str) -> None:
        """Tell the application that the chain could not be asked."""
        self._post_quietly(lambda: self._loop.emit(ChainFailed(None, error)))

    def chain_crashed(self, error: BaseException) -> None:
        """Stop: without its chain threads the node would wait for ever, silently."""

        def crash() -> None:
            raise error

        self._post_quietly(crash)

    def _submit(self, work: Deposit | Watch) -> None:
        if self._chain is not None:
            self._chain.submit(work)

    # --- The thread -----------------------------------------------------------------------------

    def _main(self) -> None:
        loop, transport = self._loop, self._parts.transport
        try:
            while not self._stopping:
                events = transport.wait(self._patience_s())
                self._awake = True
                loop.turn(events, self._commands())
            loop.engine.say_goodbye()
            self._last_turn = True
            loop.settle()
        except BaseException as fault:  # noqa: BLE001  # Kept for the caller: `stop` raises it.
            self._failed(fault)
        try:
            self._release()
        except BaseException as fault:  # noqa: BLE001  # As above.
            self._failed(fault)

    def _failed(self, fault: BaseException) -> None:
        if self._failure is None:
            self._failure = fault
        _log.error("the node has failed and stops", exc_info=fault)

    def _patience_s(self) -> float | None:
        """How long the loop may sleep. After `_awake` is cleared, `_post` wakes it."""
        self._awake = False
        if self._mailbox:
            return 0.0
        self._yield_at = _YIELD_MIN
        return self._loop.patience_s()

    def _commands(self) -> Iterator[Command]:
        """Take what waits in the mailbox, as much as one turn may bear.

        One by one: behind a command that fails the others stay there, and are told.
        """
        for _ in range(min(len(self._mailbox), _COMMANDS_PER_TURN)):
            yield self._mailbox.popleft()

    def _request_stop(self) -> None:
        self._stopping = True

    def _release(self) -> None:
        """Close what the node owns, and tell what still waits, even if closing fails."""
        self._stopping = self._last_turn = True  # Already, unless the loop has failed.
        with ExitStack() as steps:  # All are taken, the last one first, whatever they raise.
            steps.callback(self._end_waiting)
            steps.callback(self._parts.store.close)
            steps.callback(self._parts.transport.close)
            if self._helpers is not None:
                steps.callback(self._helpers.close)
            if self._chain is not None:
                steps.callback(self._chain.close, timeout_s=2.0)

    def _end_waiting(self) -> None:
        self._loop.end_waiting()
        self._stopped.set()
        self._drain_mailbox()
        self._loop.desk.gate.close()
        self._loop.desk.room.close()
        self.ended.set_result(None)

    # --- The mailbox ----------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._stopping or os.getpid() != self._pid:
            raise ServiceClosed("the service is closed") from self._failure

    def _post(self, command: Command, *, wake: bool = True) -> None:
        self._check_open()
        self._mailbox.append(command)
        if wake and not self._awake:
            self._parts.transport.wake()
        if self._stopped.is_set():  # It closed meanwhile: nobody may be left waiting.
            self._drain_mailbox()

    def _yield(self) -> None:
        """Let the node's thread run, which waits for the interpreter.

        Else it would have to wait for a switch interval, 5 ms, and the first of a thousand messages
        would leave when the last one has been handed over.
        """
        self._yield_at *= 2
        time.sleep(_YIELD_S)

    def _post_quietly(self, command: Callback) -> None:
        """Post from a thread of the node itself, for which a closed node is no error."""
        if not self._stopping:
            self._mailbox.append(command)
            self._parts.transport.wake()

    def _leave_quietly(self, command: Callback) -> None:
        """Leave something for the node, which who knows when all is left has to `wake`."""
        if not self._stopping:
            self._mailbox.append(command)

    def _drain_mailbox(self) -> None:
        """The node is closed: what was posted ends so."""
        while True:
            try:
                command = self._mailbox.popleft()
            except IndexError:  # Not asked for first: another thread may be draining too.
                return
            if isinstance(command, Call):
                command.future.set_exception(ServiceClosed("the service is closed"))
            elif isinstance(command, Receipt):
                error = Cancelled("the service closed before it was stored")
                self._loop.desk.end([(command, error)])


def _pass_on(future: "Future[T]", call: "Future[None]") -> None:
    """End ``future`` too if the call that was to see to it has failed."""
    fault = call.exception()
    if fault is not None and not future.done():
        future.set_exception(fault)
