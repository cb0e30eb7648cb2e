"""A node's turn: feed the engine, run what is deliverable, commit once, and only then let it out.

No threads here: whoever calls `Loop.turn` is the node's thread. The node does, with real clocks and
sockets; a simulated world can, with its own.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from random import Random
from time import monotonic, thread_time, time
from typing import Any, Generic, TypeVar

from zmqp2p.admission import Admission, everyone
from zmqp2p.chain.base import ChainService
from zmqp2p.codes import RejectCode
from zmqp2p.engine.bans import Bans
from zmqp2p.engine.engine import Engine
from zmqp2p.engine.me import Me, Told
from zmqp2p.engine.output import Dial, EngineOutput, Watch
from zmqp2p.engine.proofs import Proofs
from zmqp2p.errors import Cancelled, EndpointError, InvalidValue, LocalError, P2PError
from zmqp2p.events import CallbackFailed, ChannelProposed, Event
from zmqp2p.identity import Identity
from zmqp2p.ids import INSTANCE_ID_SIZE, ChannelId, CurveKey, InstanceId
from zmqp2p.limits import DEFAULT_LIMITS, KEY_GRACE_S, KEY_HANDOVER_S, Limits
from zmqp2p.node.desk import ReceiptDesk
from zmqp2p.node.funding import Funding
from zmqp2p.node.handlers import Handlers
from zmqp2p.node.receipts import Receipt
from zmqp2p.objectives.base import Deposit, Status
from zmqp2p.persistence import Snapshot
from zmqp2p.policy import Approve, Policy, Reject, proposal_of
from zmqp2p.records import PeerRecord
from zmqp2p.store.base import Store
from zmqp2p.transport.base import Transport
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.link import LinkEvent

T = TypeVar("T")
Callback = Callable[[], None]

_log = logging.getLogger("zmqp2p")


def utc_ms() -> int:
    """Return the wall clock's milliseconds since 1970, UTC."""
    return int(time() * 1000)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time and chance as a loop sees them, and who works beside it."""

    rng: Random
    monotonic: Callable[[], float] = monotonic
    utc_ms: Callable[[], int] = utc_ms
    ran_s: Callable[[], float] = thread_time  # How long this thread has run, not waited.
    help: Callable[[Proofs], None] | None = None  # Has signatures examined on other threads.


@dataclass(frozen=True, slots=True)
class Parts:
    """What a node is made of; it closes the store and the transport, not the chain."""

    identity: Identity
    store: Store
    transport: Transport
    chain: ChainService | None
    policy: Policy
    limits: Limits
    record_of: Callable[[int], PeerRecord]  # The node's own record, by the time of its issue, ms.
    # Have another CURVE key, in the file, at the transport and at these endpoints; None: the same.
    # Tells whether the former key and the new one are both listened for now.
    rekey: Callable[[tuple[str, ...] | None], bool]
    admission: Admission = everyone
    barred: Bans[CurveKey] = field(default_factory=lambda: Bans(DEFAULT_LIMITS.bans_max))


class Call(Generic[T]):
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


Command = Receipt | Call[Any] | Callback
"""A message to send, a call to answer after the commit, or something just to be done."""


class Loop:
    """One node's engine, handlers and futures, turn by turn, on one thread."""

    def __init__(
        self,
        parts: Parts,
        memory: Snapshot,
        surroundings: Surroundings,
        later: Callable[[Callback], None],
        submit: Callable[[Deposit | Watch], None],
    ) -> None:
        """Take up ``memory``.

        ``later`` puts something to do among the commands of a coming turn, from any thread, and
        wakes nobody;
        ``submit`` takes work for the chain.
        """
        self.more = True  # What the engine asks for when it starts is settled in the first turn.
        self.event_handlers: list[Callable[[Event], None]] = []
        self.flushes: list[Future[None]] = []
        self._parts = parts
        self._around = surroundings
        self._submit = submit
        self._calls: list[Call[Any]] = []  # Run, but not committed yet.
        self._events: list[Event] = []  # The node's own, to be published with the engine's.
        now, now_ms = surroundings.monotonic(), surroundings.utc_ms()
        self._skew_ms = int(parts.limits.clock_skew_max_s * 1000)
        self._clock_offset_ms = now_ms - now * 1000  # Of the wall clock to the steady one.
        instance = InstanceId(surroundings.rng.randbytes(INSTANCE_ID_SIZE))
        me = Me(parts.identity, memory.incarnation, instance)
        funding = parts.chain is not None
        self.engine = Engine(me, memory, parts.limits, surroundings.rng, funding=funding)
        self.funding = Funding(self.engine.channels)
        self.desk = ReceiptDesk(parts.limits, self.engine.is_guest, self._callback_failed)
        self.handlers = Handlers(self.engine, parts.store, self.desk, later, self._callback_failed)
        self.handlers.help = surroundings.help
        self.engine.begin(now, now_ms)
        self.engine.guard(parts.admission, parts.barred)
        self.record = parts.record_of(self.engine.issue_ms())
        self.engine.start(self.record)
        for peer, known in memory.peers.items():  # Now it is known who is a guest.
            size_bytes = sum(len(body) for _seq, body in known.messages)
            self.desk.gate.load(peer, len(known.messages), size_bytes)

    # --- A turn ---------------------------------------------------------------------------------

    def turn(self, events: Iterable[LinkEvent], commands: Iterable[Command]) -> None:
        """Take one turn. Raises whatever makes the node unable to go on."""
        engine, now, now_ms = self.engine, self._around.monotonic(), self._around.utc_ms()
        engine.begin(now, now_ms)
        self._renew_record(now, now_ms)
        for event in events:
            engine.take(event)
        for command in commands:
            self._run(command)
        engine.tick()
        self._deliver(now)
        self.handlers.share()
        self.settle()

    def patience_s(self) -> float | None:
        """Return how long nothing needs to be done if nothing comes; None: without end."""
        if self.more:
            self.more = False
            return 0.0
        deadline = self.engine.deadline()
        return None if deadline is None else max(deadline - self._around.monotonic(), 0.0)

    def settle(self) -> None:
        """Commit what the turn asks for, and only then let it out (ADR-0013)."""
        self._decide(self.engine.output.events)
        output = self.engine.settle()
        self.desk.resolve(output.processed)
        for peer, size_bytes in output.posted:
            self.desk.gate.post(peer, size_bytes)
        self._parts.store.apply(output.writes)
        self._parts.store.commit()
        self._dial(output.dials)
        self._send_frames(output)
        for work in (*output.watches, *output.deposits):
            self._submit(work)  # type: ignore[arg-type]  # mypy joins the two to object.
        calls, self._calls = self._calls, []
        for call in calls:
            call.end()
        self.desk.number()
        self.desk.tell()
        self.handlers.resolve()
        self._publish(output.events)
        self._end_flushes()
        if self.desk.has_untold:  # What was just told has led to a message that cannot be sent.
            self.more = True

    def rotate(self, endpoints: tuple[str, ...] | None, grace_s: float | None) -> PeerRecord:
        """Have another CURVE key from now on; return the record that bears it.

        Raises:
            KeyFileError, EndpointError: nothing has changed.
        """
        former = self.record
        both = self._parts.rekey(endpoints)
        self.record = self._parts.record_of(self.engine.issue_ms())
        if grace_s is None:
            grace_s = KEY_GRACE_S if both else KEY_HANDOVER_S
        # Then nobody would take its record any more.
        valid_s = (former.expires_ms - self._around.utc_ms()) / 1000
        self.engine.rotate(self.record, grace_s=max(min(grace_s, valid_s), 0.0))
        return self.record

    def emit(self, event: Event) -> None:
        """Publish ``event`` with those of this turn."""
        self._events.append(event)

    def end_waiting(self) -> None:
        """The loop has ended: so does everything that somebody waits for."""
        error = Cancelled("the service closed")
        self.desk.tell()  # Of what had ended before, if the commit has failed.
        self.desk.end([(receipt, error) for receipt in self.handlers.close()])
        self.desk.close()
        for future in self.flushes:
            future.set_exception(error)
        self.funding.close()
        for call in self._calls:  # After what they have begun, which has ended now.
            if not call.future.done():
                call.future.set_exception(error)

    # --- Inside ---------------------------------------------------------------------------------

    def _deliver(self, began_at: float) -> None:
        """Let handlers have what waits, for a while: others wait for the acks of this turn.

        Where others are connected, what was read for it since ``began_at`` is part of that while;
        but a quarter is left whatever was read.
        """
        engine, limits, monotonic = self.engine, self._parts.limits, self._around.monotonic
        at, ran_s = monotonic(), self._around.ran_s()
        until = at + limits.turn_max_s
        if engine.shared:
            most_s = limits.turn_shared_max_s
            if engine.serves_guests:
                most_s = limits.turn_guests_max_s
            until = max(began_at + most_s, at + most_s / 4)
        for pending in engine.deliveries(limits.turn_max_messages):
            reading_s = monotonic() - at
            if reading_s > limits.guest_reading_max_s:  # Or the system let another process run.
                ran_s, before_s = self._around.ran_s(), ran_s
                reading_s = min(reading_s, ran_s - before_s)
            if pending is not None:
                self.handlers.deliver(pending)
            since, at = at, monotonic()
            engine.took(at - since, reading_s)
            if at >= until:
                return

    def _run(self, command: Command) -> None:
        if isinstance(command, Receipt):
            self.desk.send(self.engine, command)
        elif isinstance(command, Call):
            self._calls.append(command)
            command.run(self.engine)
        else:
            command()

    def _renew_record(self, now: float, now_ms: int) -> None:
        """Issue a newer record when this one counts no more, or will not soon (REC-7, REC-8)."""
        whom = self._whom_to_tell(now, now_ms)
        if whom is not None:
            self.record = self._parts.record_of(self.engine.issue_ms())
            self.engine.renew(self.record, whom)

    def _whom_to_tell(self, now: float, now_ms: int) -> Told | None:
        """Return whom to tell of a newer record; None if none is needed."""
        record, offset_ms = self.record, now_ms - now * 1000
        if abs(offset_ms - self._clock_offset_ms) > self._skew_ms:  # The clock was set.
            self._clock_offset_ms = offset_ms
            return Told.NOBODY
        if self.engine.record_is_overtaken():
            return Told.MOVING
        return Told.ALL if now_ms >= (record.issued_ms + record.expires_ms) // 2 else None

    def _dial(self, dials: Iterable[Dial]) -> None:
        for dial in dials:
            self.more = True  # What follows is settled in the next turn.
            try:
                link = self._parts.transport.dial(dial.endpoint, dial.curve_key)
            except EndpointError as fault:
                self.engine.dial_failed(dial.peer, str(fault))
            else:
                self.engine.dialing(dial.peer, link)

    def _send_frames(self, output: EngineOutput) -> None:
        transport = self._parts.transport
        for link, frame in output.frames:
            transport.send(link, encode_frame(frame))  # False: a LinkDown follows.
        for link in output.trusted:
            transport.trust(link)
        for link in output.closes:
            transport.close_link(link)
        if output.former_ended:
            try:
                transport.end_former()
            except EndpointError as fault:  # What dials still works, and so does every other place.
                self._callback_failed("rotate_curve_key", fault)

    def _decide(self, events: Sequence[Event]) -> None:
        """Let the policy decide about channels proposed in this turn."""
        channels = self.engine.channels
        for event in list(events):
            if not isinstance(event, ChannelProposed) or event.channel not in channels.objectives:
                continue  # Or rejected by another participant in this turn, and forgotten.
            decision = self._ask_policy(event.channel)
            if channels.get(event.channel).status is not Status.UNAPPROVED:
                continue
            if isinstance(decision, Approve):
                try:
                    channels.approve(event.channel)
                except LocalError as fault:  # It cannot serve so many peers.
                    channels.reject(event.channel, RejectCode.DECLINED, str(fault))
            elif isinstance(decision, Reject):
                channels.reject(event.channel, RejectCode.DECLINED, decision.reason)

    def _ask_policy(self, channel: ChannelId) -> Approve | Reject | None:
        """Return what the policy says; None, and the application is told, if it fails."""
        objective = self.engine.channels.get(channel)
        proposal = proposal_of(objective, self._parts.identity.address)
        try:
            decision: object = self._parts.policy(proposal)
        except Exception as fault:  # noqa: BLE001  # The application's code; it is told.
            self._callback_failed("policy", fault)
            return None
        if decision is None or isinstance(decision, Approve | Reject):
            return decision
        kind = type(decision).__name__
        detail = f"must return Approve(), Reject(reason) or None, not {kind}"
        self._callback_failed("policy", InvalidValue("policy", detail))
        return None

    def _publish(self, events: list[Event]) -> None:
        own, self._events = self._events, []
        for event in (*own, *events):
            self.funding.on_event(event)
            for handler in self.event_handlers:
                try:
                    handler(event)
                except Exception as fault:  # noqa: BLE001  # The application's code; it is told.
                    if not isinstance(event, CallbackFailed):  # Or this would never end.
                        self._callback_failed("on_event", fault)

    def _callback_failed(self, callback: str, fault: Exception) -> None:
        _log.warning("%s raised", callback, exc_info=fault)
        self._events.append(CallbackFailed(callback, f"{type(fault).__name__}: {fault}"))
        self.more = True  # If this turn's were published already, the next one comes at once.

    def _end_flushes(self) -> None:
        if self.flushes and self.engine.unacked() == 0:
            flushes, self.flushes = self.flushes, []
            for future in flushes:
                future.set_result(None)
