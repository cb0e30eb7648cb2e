"""The node: one thread, one loop, and the only owner of sockets, clock, store and engine.

Each turn: wait; read what came and feed the engine; run what is deliverable; commit once; only
then let acks, messages, deposits and events out. State is stored before an effect leaves.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from random import Random
from time import monotonic, time
from typing import Any, Generic, TypeVar

from zmqp2p.chain.base import ChainService, Deposited
from zmqp2p.codes import RefusalCode
from zmqp2p.engine.connections import Me
from zmqp2p.engine.engine import Engine, Pending
from zmqp2p.engine.output import Dial, EngineOutput
from zmqp2p.errors import (
    Cancelled,
    EndpointError,
    Expired,
    LocalError,
    P2PError,
    Refused,
    RefuseMessage,
    ServiceClosed,
)
from zmqp2p.events import CallbackFailed, ChainFailed, ChannelProposed, Event
from zmqp2p.identity import Identity
from zmqp2p.ids import INSTANCE_ID_SIZE, Address, ChannelId, InstanceId, Seq, StreamId
from zmqp2p.limits import Limits
from zmqp2p.node.chain_link import ChainLink
from zmqp2p.node.deliveries import (
    CollectedTransaction,
    Delivery,
    Handler,
    HandlerCancelled,
    ImmediateTransaction,
    Runner,
    Subscription,
    current_delivery,
    run_handler,
)
from zmqp2p.node.funding import ChannelStatus, FundedChannel, Funding
from zmqp2p.node.gate import OutboxGate
from zmqp2p.node.receipts import Receipt, ReceiptRoom
from zmqp2p.objectives.base import Deposit, Status
from zmqp2p.persistence import Snapshot
from zmqp2p.policy import Approve, Policy, Proposal, Reject, proposal_of
from zmqp2p.records import Contact, PeerRecord
from zmqp2p.session.outbox import Processed
from zmqp2p.store.base import Store
from zmqp2p.transport.base import Transport
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Refusal

T = TypeVar("T")
Callback = Callable[[], None]

_log = logging.getLogger("zmqp2p")
_COMMANDS_PER_TURN = 4_096  # Bounds a turn, so that acks and timers are not starved by senders.


@dataclass(frozen=True, slots=True)
class Parts:
    """What a node is made of; it closes the store and the transport, not the chain."""

    identity: Identity
    store: Store
    transport: Transport
    chain: ChainService | None
    policy: Policy
    limits: Limits


class _Call(Generic[T]):
    """A function to run on the loop, and the future of its result."""

    def __init__(self, function: Callable[[Engine], T]) -> None:
        self.future: Future[T] = Future()
        self._function = function
        self._result: T
        self._error: P2PError | None = None

    def run(self, engine: Engine) -> None:
        """Run it; a P2PError is for the caller, any other exception is the node's own fault."""
        try:
            self._result = self._function(engine)
        except P2PError as fault:
            self._error = fault
        except BaseException as fault:
            self.future.set_exception(fault)
            raise

    def end(self) -> None:
        """Give the caller what came of it."""
        if self._error is not None:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(self._result)


@dataclass(slots=True)
class _Work:
    """What the loop has in hand for the application."""

    receipts: dict[Address, dict[Seq, Receipt]] = field(default_factory=dict)
    numbered: list[tuple[Receipt, Seq, StreamId]] = field(default_factory=list)
    calls: list[_Call[Any]] = field(default_factory=list)  # Run, but not committed yet.
    flushes: list[Future[None]] = field(default_factory=list)
    running: set[Delivery] = field(default_factory=set)  # Handlers on other threads.


class Node:
    """Runs the loop on a thread of its own; every public method may be called on any thread."""

    def __init__(self, parts: Parts, record_of: Callable[[int], PeerRecord]) -> None:
        """Make a node that shows the record ``record_of(issued_ms)``.

        Nothing runs yet; a failure in `start` leaves nothing open.
        """
        self.room = ReceiptRoom()
        self.gate = OutboxGate(parts.limits)
        self.ended: Future[None] = Future()  # Ends when the node has released everything.
        self._parts = parts
        self._record_of = record_of
        self._pid = os.getpid()
        self._mailbox: deque[Receipt | _Call[Any] | Callback] = deque()
        self._awake = False
        self._stopping = False
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._work = _Work()
        self._subscriptions: dict[int, Subscription] = {}
        self._event_handlers: list[Callable[[Event], None]] = []
        self._events: list[Event] = []
        self._more = True  # What the engine asks for when it starts is settled in the first turn.
        self._thread = threading.Thread(target=self._main, name="zmqp2p-node", daemon=True)
        self.room.node_thread = self._thread
        self._engine: Engine
        self._funding: Funding
        self._chain: ChainLink | None = None
        self.record: PeerRecord

    # --- Life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the store and start the loop; raises what keeps it from starting."""
        store = self._parts.store
        started_ms = utc_ms()
        memory = store.open(self._parts.identity.address, started_ms)
        try:
            self._begin(memory, started_ms)
        except BaseException:
            store.close()  # Not if opening it failed: it may be another node's.
            raise

    def _begin(self, memory: Snapshot, started_ms: int) -> None:
        parts = self._parts
        self.record = self._record_of(max(memory.issued_ms + 1, started_ms))
        rng = Random(os.urandom(32))  # noqa: S311  # Jitter and stream ids, no secrets.
        instance = InstanceId(os.urandom(INSTANCE_ID_SIZE))
        me = Me(parts.identity, memory.incarnation, instance)
        self._engine = Engine(me, memory, parts.limits, rng, funding=parts.chain is not None)
        self._funding = Funding(self._engine.channels)
        self._engine.begin(monotonic(), started_ms)
        self._engine.start(self.record)
        if parts.chain is not None:
            self._chain = ChainLink(parts.chain, self, memory.chain_cursor)
            self._chain.start()
        self._thread.start()

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

    def on_node_thread(self) -> bool:
        """Whether the caller runs on the node's thread: in a handler or a callback."""
        return threading.current_thread() is self._thread

    # --- Calls from any thread ------------------------------------------------------------------

    def call(self, function: Callable[[Engine], T]) -> "Future[T]":
        """Run ``function`` on the loop, and have what it changes committed in that turn.

        The future ends after the commit. On the node's own thread it runs at once.
        """
        call = _Call(function)
        if self.on_node_thread():
            self._more = True
            call.run(self._engine)
            call.end()
        else:
            self._post(call)
        return call.future

    def send(self, peer: Address, body: bytes, timeout_s: float | None) -> Receipt:
        """Send a message: with the running handler's transaction, if there is one.

        Waits up to ``timeout_s`` for room in the outbox; never on the node's own thread.

        Raises:
            Backpressure, DeliveryTimeout, TooLarge: see `OutboxGate.enter`.
            ServiceClosed: the node is closed.
        """
        self._check_open()
        receipt = Receipt(self.room, peer, body)
        self.gate.enter(peer, len(body), 0 if self.on_node_thread() else timeout_s)
        delivery = current_delivery.get()
        if delivery is not None and delivery.node is self and delivery.adopt(receipt):
            return receipt
        try:
            self._post(receipt)
        except ServiceClosed:
            self.gate.leave(peer, 1, len(body))
            raise
        return receipt

    def add_contact(self, contact: Contact) -> "Future[None]":
        """Know a peer and connect to it; RecordError if its record has expired."""

        def add(engine: Engine) -> None:
            if isinstance(contact, PeerRecord):
                contact.check_time(utc_ms(), int(self._parts.limits.clock_skew_max_s * 1000))
            engine.add_contact(contact)

        return self.call(add)

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

        def add(engine: Engine) -> int:
            key = engine.subscribe(kind, channel)
            self._subscriptions[key] = Subscription(handler, runner)
            return key

        return self.call(add)

    def unsubscribe(self, key: int) -> "Future[None]":
        """End a subscription; what its handler has in hand still ends."""

        def remove(engine: Engine) -> None:
            engine.unsubscribe(key)
            self._subscriptions.pop(key, None)

        return self.call(remove)

    def on_event(self, handler: Callable[[Event], None]) -> None:
        """Call ``handler`` with every event from now on, on the node's thread."""
        self._event_handlers.append(handler)

    def funded(self, channel: ChannelId) -> "Future[FundedChannel]":
        """Return a future of the channel once it is funded; or Rejected, or UnknownChannel."""
        future: Future[FundedChannel] = Future()
        call = self.call(lambda _engine: self._funding.wait(channel, future))
        call.add_done_callback(partial(_pass_on, future))
        return future

    def channel_statuses(self) -> "Future[list[ChannelStatus]]":
        """Return how all channels stand."""
        return self.call(lambda _engine: self._funding.statuses())

    def channel_status(self, channel: ChannelId) -> "Future[ChannelStatus]":
        """Return how one channel stands."""
        return self.call(lambda _engine: self._funding.status(channel))

    def knows(self, peer: Address) -> bool:
        """Whether messages to ``peer`` can be sent; a snapshot."""
        return self._engine.knows(peer)

    def flush(self) -> "Future[None]":
        """Return a future that ends once no message waits for any peer's ack."""
        future: Future[None] = Future()
        call = self.call(lambda _engine: self._work.flushes.append(future))
        call.add_done_callback(partial(_pass_on, future))
        return future

    # --- What the chain says (ChainListener) ----------------------------------------------------

    def chain_deposited(self, deposits: list[Deposited], block: int) -> None:
        """Take in confirmed deposits."""
        self._post_quietly(lambda: self._engine.deposited(deposits, block))

    def chain_holdings(self, channel: ChannelId, asset: Address, held: int) -> None:
        """Take in what a channel holds."""
        self._post_quietly(lambda: self._engine.channels.holdings(channel, asset, held))

    def chain_refused(self, deposit: Deposit, error: str) -> None:
        """Take in that a deposit was not made."""

        def refused() -> None:
            self._events.append(ChainFailed(deposit.channel, error))
            self._engine.transaction_failed(deposit)

        self._post_quietly(refused)

    def chain_failed(self, error: str) -> None:
        """Tell the application that the chain could not be asked."""
        self._post_quietly(lambda: self._events.append(ChainFailed(None, error)))

    def chain_crashed(self, error: BaseException) -> None:
        """Stop: without its chain threads the node would wait for ever, silently."""

        def crash() -> None:
            raise error

        self._post_quietly(crash)

    # --- The loop -------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            while not self._stopping:
                self._turn()
            self._engine.say_goodbye()
            self._settle()
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

    def _turn(self) -> None:
        events = self._parts.transport.wait(self._patience_s())
        self._awake = True
        engine = self._engine
        engine.begin(monotonic(), utc_ms())
        for event in events:
            engine.take(event)
        self._run_commands()
        engine.tick()
        for pending in engine.deliveries(self._parts.limits.turn_max_messages):
            self._deliver(pending)
        self._settle()

    def _patience_s(self) -> float | None:
        """How long the loop may sleep. After `_awake` is cleared, `_post` wakes it."""
        if self._more:
            self._more = False
            return 0.0
        self._awake = False
        if self._mailbox:
            return 0.0
        deadline = self._engine.deadline()
        return None if deadline is None else max(deadline - monotonic(), 0.0)

    def _settle(self) -> None:
        """Commit what the turn asks for, and only then let it out."""
        engine, store = self._engine, self._parts.store
        self._decide(engine.output.events)
        output = engine.settle()
        store.apply(output.writes)
        store.commit()
        self._dial(output.dials)
        self._send_frames(output)
        if self._chain is not None:
            for watch in output.watches:
                self._chain.submit(watch)
            for deposit in output.deposits:
                self._chain.submit(deposit)
        calls, self._work.calls = self._work.calls, []
        for call in calls:
            call.end()
        self._resolve(output.processed)
        self._publish(output.events)
        self._end_flushes()

    def _send_frames(self, output: EngineOutput) -> None:
        transport = self._parts.transport
        for link, frame in output.frames:
            transport.send(link, encode_frame(frame))  # False: a LinkDown follows.
        for link in output.closes:
            transport.close_link(link)

    def _dial(self, dials: Iterable[Dial]) -> None:
        for dial in dials:
            self._more = True  # What follows is settled in the next turn.
            try:
                link = self._parts.transport.dial(dial.endpoint, dial.curve_key)
            except EndpointError as fault:
                self._engine.dial_failed(dial.peer, str(fault))
            else:
                self._engine.dialing(dial.peer, link)

    def _release(self) -> None:
        """Close what the node owns, and tell what still waits, even if closing fails."""
        self._stopping = True
        with ExitStack() as steps:  # All are taken, the last one first, whatever they raise.
            steps.callback(self._end_waiting)
            steps.callback(self._parts.store.close)
            steps.callback(self._parts.transport.close)
            if self._chain is not None:
                steps.callback(self._chain.close, timeout_s=2.0)

    def _end_waiting(self) -> None:
        work, error = self._work, Cancelled("the service closed")
        waiting = [r for by_seq in work.receipts.values() for r in by_seq.values()]
        held = [receipt for delivery in work.running for receipt in delivery.close()]
        self._end_receipts([(receipt, error) for receipt in (*waiting, *held)])
        for future in work.flushes:
            future.set_exception(error)
        self._funding.close()
        for call in work.calls:  # After what they have begun, which has ended now.
            if not call.future.done():
                call.future.set_exception(error)
        self._stopped.set()
        self._drain_commands()
        self.gate.close()
        self.room.close()
        self.ended.set_result(None)

    # --- Commands -------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._stopping or os.getpid() != self._pid:
            raise ServiceClosed("the service is closed") from self._failure

    def _post(self, item: Receipt | _Call[Any] | Callback) -> None:
        self._check_open()
        self._mailbox.append(item)
        if not self._awake:
            self._parts.transport.wake()
        if self._stopped.is_set():  # It closed meanwhile: nobody may be left waiting.
            self._drain_commands()

    def _post_quietly(self, item: Callback) -> None:
        """Post from a thread of the node itself, for which a closed node is no error."""
        if not self._stopping:
            self._mailbox.append(item)
            self._parts.transport.wake()

    def _run_commands(self) -> None:
        for _ in range(min(len(self._mailbox), _COMMANDS_PER_TURN)):
            item = self._mailbox.popleft()
            if isinstance(item, Receipt):
                self._send(item)
            elif isinstance(item, _Call):
                self._work.calls.append(item)
                item.run(self._engine)
            else:
                item()
        if self._mailbox:
            self._more = True

    def _drain_commands(self) -> None:
        """The node is closed: commands that were posted end with ServiceClosed."""
        while True:
            try:
                item = self._mailbox.popleft()
            except IndexError:  # Not asked for first: another thread may be draining too.
                return
            if isinstance(item, _Call):
                item.future.set_exception(ServiceClosed("the service is closed"))
            elif isinstance(item, Receipt):
                self._end_receipts([(item, Cancelled("the service closed before it was stored"))])

    def _send(self, receipt: Receipt) -> None:
        try:
            seq, stream = self._engine.send(receipt.peer, receipt.body)
        except LocalError as fault:
            self._end_receipts([(receipt, fault)])
            return
        self._work.receipts.setdefault(receipt.peer, {})[seq] = receipt
        self._work.numbered.append((receipt, seq, stream))

    def _request_stop(self) -> None:
        self._stopping = True

    # --- Handlers -------------------------------------------------------------------------------

    def _deliver(self, pending: Pending) -> None:
        subscription = self._subscriptions[pending.subscription]
        handler, runner = subscription.handler, subscription.runner
        if runner is None:
            delivery = Delivery(self, pending, ImmediateTransaction(self._parts.store))
            self._handled(pending, delivery, run_handler(handler, delivery))
            return
        delivery = Delivery(self, pending, CollectedTransaction())
        self._work.running.add(delivery)

        def done(error: BaseException | None) -> None:
            self._post_quietly(lambda: self._handled(pending, delivery, error))

        try:
            runner(handler, delivery, done)
        except RuntimeError as fault:  # The executor or event loop is shut down.
            self._handled(pending, delivery, fault)

    def _handled(self, pending: Pending, delivery: Delivery, error: BaseException | None) -> None:
        """A handler has ended: its effects and the ack go into this turn's transaction."""
        self._work.running.discard(delivery)
        outgoing = delivery.close()
        if isinstance(delivery.transaction, ImmediateTransaction):
            delivery.transaction.close()
        if error is None:
            error = self._apply_collected(delivery.transaction)
        if error is None:
            for receipt in outgoing:
                self._send(receipt)
            self._engine.complete(pending)
            return
        transaction = delivery.transaction
        if isinstance(transaction, ImmediateTransaction) and transaction.used:
            self._parts.store.rollback_to_savepoint()
        undone = Cancelled("the handler that sent it failed")
        self._end_receipts([(receipt, undone) for receipt in outgoing])
        if not isinstance(error, Exception):
            raise error
        self._fail(pending, delivery, error)

    def _fail(self, pending: Pending, delivery: Delivery, error: Exception) -> None:
        if isinstance(error, HandlerCancelled):
            self._engine.put_back(pending)
            return
        if isinstance(error, RefuseMessage):
            self._engine.refuse(pending, error.code, str(error.reason))
            return
        text = f"{type(error).__name__}: {error}"
        _log.warning("the handler of %r failed", delivery, exc_info=error)
        self._events.append(CallbackFailed("on_message", text))
        self._engine.retry(pending, "the handler failed")

    def _apply_collected(self, transaction: object) -> Exception | None:
        """Carry out what a handler on another thread has written."""
        if not isinstance(transaction, CollectedTransaction):
            return None
        store = self._parts.store
        statements = transaction.close()
        if not statements:
            return None
        store.savepoint()
        try:
            for sql, parameters in statements:
                store.transaction.execute(sql, parameters)
        except Exception as fault:  # noqa: BLE001  # The application's code, as its handler is.
            store.rollback_to_savepoint()
            return fault
        return None

    def _decide(self, events: list[Event]) -> None:
        """Let the policy decide about channels proposed in this turn."""
        channels = self._engine.channels
        for event in list(events):
            if not isinstance(event, ChannelProposed):
                continue
            proposal = proposal_of(channels.get(event.channel), self._parts.identity.address)
            try:
                decision = self._parts.policy(proposal)
            except Exception as fault:  # noqa: BLE001  # The application's code; it is told.
                self._callback_failed("policy", fault)
                continue
            undecided = channels.get(event.channel).status is Status.UNAPPROVED
            if undecided and isinstance(decision, Approve):
                channels.approve(event.channel)
            elif undecided and isinstance(decision, Reject):
                channels.decline(event.channel, decision.reason)

    # --- Telling the application ----------------------------------------------------------------

    def _resolve(self, processed: list[tuple[Address, Processed]]) -> None:
        numbered, self._work.numbered = self._work.numbered, []
        if not (numbered or processed):
            return
        called = []
        with self.room.condition:
            for receipt, seq, stream in numbered:
                receipt.number(seq, stream)
            for peer, through in processed:
                by_seq = self._work.receipts.get(peer, {})
                for number in range(through.first, through.last + 1):
                    waiting = by_seq.pop(Seq(number), None)
                    if waiting is not None:
                        error = _error_of(through.refused.get(Seq(number)))
                        called.append((waiting, waiting.end(error)))
            self.room.condition.notify_all()
        self._leave(called)

    def _end_receipts(self, ended: list[tuple[Receipt, Exception]]) -> None:
        if not ended:
            return
        with self.room.condition:
            called = [(receipt, receipt.end(error)) for receipt, error in ended]
            self.room.condition.notify_all()
        self._leave(called)

    def _leave(self, ended: list[tuple[Receipt, list[Callable[[Receipt], None]]]]) -> None:
        """Make room for as many new messages as have ended, and call who asked for it."""
        sums: dict[Address, tuple[int, int]] = {}
        for receipt, _ in ended:
            messages, size_bytes = sums.get(receipt.peer, (0, 0))
            sums[receipt.peer] = (messages + 1, size_bytes + len(receipt.body))
        for peer, (messages, size_bytes) in sums.items():
            self.gate.leave(peer, messages, size_bytes)
        for receipt, callbacks in ended:
            for callback in callbacks:
                try:
                    callback(receipt)
                except Exception as fault:  # noqa: BLE001  # The application's code; it is told.
                    self._callback_failed("receipt", fault)

    def _publish(self, events: list[Event]) -> None:
        own, self._events = self._events, []
        for event in (*own, *events):
            self._funding.on_event(event)
            for handler in self._event_handlers:
                try:
                    handler(event)
                except Exception as fault:  # noqa: BLE001  # The application's code; it is told.
                    if not isinstance(event, CallbackFailed):  # Or this would never end.
                        self._callback_failed("on_event", fault)

    def _callback_failed(self, callback: str, fault: Exception) -> None:
        _log.warning("%s raised", callback, exc_info=fault)
        self._events.append(CallbackFailed(callback, f"{type(fault).__name__}: {fault}"))
        self._more = True  # Published in the next turn.

    def _end_flushes(self) -> None:
        if self._work.flushes and self._engine.unacked() == 0:
            flushes, self._work.flushes = self._work.flushes, []
            for future in flushes:
                future.set_result(None)


def _pass_on(future: "Future[T]", call: "Future[None]") -> None:
    """End ``future`` too if the call that was to see to it has failed."""
    fault = call.exception()
    if fault is not None and not future.done():
        future.set_exception(fault)


def _error_of(refused: tuple[Refusal, bytes] | None) -> Exception | None:
    if refused is None:
        return None
    refusal, _body = refused
    if refusal.code is RefusalCode.EXPIRED:
        return Expired(refusal.reason)
    return Refused(refusal.code, refusal.reason)


def utc_ms() -> int:
    """Return the wall clock's milliseconds since 1970, UTC."""
    return int(time() * 1000)
