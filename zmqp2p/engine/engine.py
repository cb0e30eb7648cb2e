"""The engine: where delivery meets meaning. Pure: it is fed events and asked what to do.

A turn: `begin`, `take` each event, `tick`, work through `deliveries`, then `settle` and carry out
the output: the writes in one transaction, and only after the commit whatever leaves the node or is
told to the application's code. Only receipts of what is ``processed`` end before (ADR-0013).
"""

from collections.abc import Iterable, Iterator
from random import Random

from zmqp2p.admission import Admission
from zmqp2p.codes import RefusalCode
from zmqp2p.engine.agenda import Agenda
from zmqp2p.engine.bans import Bans
from zmqp2p.engine.channels import Channels, Holding
from zmqp2p.engine.conduct import FORGERY_POINTS
from zmqp2p.engine.connections import Connections
from zmqp2p.engine.dead_letters import DeadLetters
from zmqp2p.engine.door import Defences
from zmqp2p.engine.foresight import Foresight
from zmqp2p.engine.instant import Instant
from zmqp2p.engine.line import MESSAGE_US, SIGNATURE_US, Line, Rank, Service
from zmqp2p.engine.me import Me, Told
from zmqp2p.engine.outcomes import Ended, Outcomes, Waiting
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.peers import Peer, PeerManager, PeerStatus
from zmqp2p.engine.pending import Pending
from zmqp2p.engine.proofs import Proof, Proofs
from zmqp2p.engine.redial import Failure
from zmqp2p.engine.router import MessageRouter, Nobody, Route, ToSubscriber
from zmqp2p.engine.signing import SigningLedger
from zmqp2p.engine.slots import Slots
from zmqp2p.errors import DecodeError, LocalError, RefuseMessage, UnknownPeer
from zmqp2p.events import MessageRefused, MessageUndelivered
from zmqp2p.ids import Address, ChannelId, CurveKey, LinkId, MessageId, Seq, StreamId, address_text
from zmqp2p.limits import HANDLERS_GUESTS_SHARE, READ_AHEAD_MAX, Limits
from zmqp2p.messages import ProtocolMessage, message_of, read_body
from zmqp2p.objectives.base import Deposit
from zmqp2p.persistence import Snapshot
from zmqp2p.records import Contact, PeerRecord
from zmqp2p.session.session import Session
from zmqp2p.state import FixedPart, Outcome
from zmqp2p.wire.encoding import clip_reason
from zmqp2p.wire.link import LinkEvent


class Engine:
    """All sessions, peers and channels of one node."""

    def __init__(
        self, me: Me, memory: Snapshot, limits: Limits, rng: Random, *, funding: bool
    ) -> None:
        self.output = EngineOutput()
        self.router = MessageRouter(funding=funding)
        self._memory: Snapshot | None = memory
        self._limits = limits
        self._clock = Instant(0.0, 0)
        self._me = me
        self._line = Line(limits)
        peers = PeerManager(limits, rng)
        self._connections = Connections(
            self._me, self._clock, limits, rng, self.output, peers, self._line.forget
        )
        self._issuing = self._connections.issuing
        self._issuing.load(memory.issued_ms)
        self._ledger = SigningLedger(me.signer, self.output)
        self._channels = Channels(self._ledger, limits, self.output, self)
        self._outcomes = Outcomes(self._connections)
        self.dead_letters = DeadLetters(
            limits, self.output, self._clock, self._route, self.is_guest
        )
        guests_most = max(int(limits.handlers_max * HANDLERS_GUESTS_SHARE), 1)
        self._slots = Slots(limits.handlers_max, guests_most)
        self._foresight = Foresight(self.router, limits)
        self._late: set[int] = set()  # Subscriptions whose handlers need a place.
        self._failed: dict[Address, Pending] = {}  # The last attempt, of those that wait.
        self._retries: Agenda[Address] = Agenda()
        self._held: set[Address] = set()  # Wait for their retry.
        self._rested_at = 0.0  # When guests may send again what takes long to read.
        self._work_left_us = 0.0  # In `deliveries`, as is the next.
        self._service: Service | None = None
        self._grace_until = 0.0  # Until then a message without a subscriber waits for one.

    # --- A turn ---------------------------------------------------------------------------------

    def start(self, record: PeerRecord) -> None:
        """Take up what the store remembers, under the record this node shows from now on."""
        memory, self._memory = self._memory, None
        assert memory is not None
        self._me.record = record
        self._issuing.issued(record.issued_ms)
        self._grace_until = self._clock.now + self._limits.subscribe_grace_s
        self._connections.door.lineage.load(memory.hand_overs)
        self._connections.load(memory.peers)
        self._ledger.load(memory.signed)
        self._outcomes.load(memory)
        self.dead_letters.load(memory.dead_letters)
        self._channels.load(memory.objectives)

    def begin(self, now: float, utc_ms: int) -> None:
        """A turn begins: ``now`` in monotonic seconds, ``utc_ms`` since 1970."""
        overslept_s = self._overslept_s(now)
        self._clock.now, self._clock.utc_ms = now, utc_ms
        if overslept_s > 0:
            self._connections.overslept(overslept_s)

    def take(self, event: LinkEvent) -> None:
        """Take in what happened on a link. Never raises, whatever a peer sends."""
        session = self._connections.take(event)
        if session is not None:
            self._offer(session)

    def tick(self) -> None:
        """Do what time demands."""
        now = self._clock.now
        self._connections.tick()
        self._channels.tick(now)
        for address in self._retries.due(now):
            self._held.discard(address)
            self._look_again(address)

    def settle(self) -> EngineOutput:
        """End the turn: return what to do, and begin a new output."""
        self._end_service()
        self._outcomes.gather()
        for address, processed in self.output.processed:
            for refusal, body in processed.refused.values():
                lost = MessageUndelivered(address, refusal.seq, refusal.code, refusal.reason)
                self.output.events.append(lost)
                self._channels.refused(address, body, refusal)
        self._connections.settle(shared=self.shared)
        self._outcomes.turn_over()
        self._foresight.turn_over()
        return self.output.take()

    def issue_ms(self) -> int:
        """Return when this node's next record must be issued, ms since 1970, UTC (REC-8)."""
        return self._issuing.next_ms()

    def record_is_overtaken(self) -> bool:
        """Whether peers may know a record of this node that counts more than the one it shows."""
        return self._issuing.is_overtaken()

    def renew(self, record: PeerRecord, whom: Told) -> None:
        """Show ``record`` to peers from now on; ``whom`` to tell of those that are connected."""
        self._issuing.issued(record.issued_ms)
        self._me.record = record
        self._connections.renew(whom)

    def hand_over(self, old: Address, contact: Contact) -> None:
        """Keep a link to ``contact`` instead of to ``old``; raises UnknownPeer (HND-3)."""
        self._connections.hand_over(old, contact)

    def rotate(self, record: PeerRecord, *, grace_s: float) -> None:
        """Show ``record``, which bears another CURVE key, and move all links to that key (IDN-5).

        After ``grace_s`` seconds nothing of the former key is left.
        """
        self._issuing.issued(record.issued_ms)
        self._connections.rotate(record, grace_s)

    def deadline(self) -> float | None:
        """Return when `tick` has something to do, monotonic seconds; at once if work is left."""
        if self._line:
            return self._clock.now
        connections = self._connections
        agendas = (
            connections.watch.rounds,
            connections.agenda,
            self._channels.retries,
            self._retries,
        )
        due = [at for agenda in agendas if (at := agenda.next()) is not None]
        return min(due, default=None)

    def say_goodbye(self) -> None:
        """Tell all peers that this node stops."""
        self._connections.say_goodbye()

    # --- Sending --------------------------------------------------------------------------------

    def send(self, peer: Address, body: bytes) -> tuple[Seq, StreamId]:
        """Take a message into the outbox; return its number and stream.

        Raises:
            UnknownPeer: there is no contact and no session for ``peer``.
        """
        session = self._connections.book.sessions.get(peer)
        if session is None:
            raise UnknownPeer(f"{address_text(peer)} is not known: add_peer first")
        seq = session.send(body)
        self._connections.unsettled[peer] = session
        if session.active is None:
            self._connections.dialing.plan(peer)
        return seq, session.outbox.stream

    def fate(self, message_id: MessageId) -> Waiting | Ended:
        """Return what became of a message that was sent; see `Outcomes.fate`."""
        return self._outcomes.fate(message_id)

    # --- Processing -----------------------------------------------------------------------------

    def subscribe(
        self, message_type: type | None, channel: ChannelId | None, *, late: bool = False
    ) -> int:
        """Add a subscription; what waited for one is looked at again. Raises InvalidValue.

        ``late``: its handlers may end in a later turn; of these only so many run at a time.
        """
        key = self.router.subscribe(message_type, channel)
        if late:
            self._late.add(key)
        for address in self._held:
            self._retries.schedule(address, self._clock.now)
        return key

    def unsubscribe(self, key: int) -> None:
        """End a subscription. Its messages wait a while for another one."""
        self.router.unsubscribe(key)
        self._late.discard(key)
        self._grace_until = self._clock.now + self._limits.subscribe_grace_s

    def deliveries(self, most: int) -> Iterator[Pending | None]:
        """Yield messages for the application, fair between peers, in order within each.

        None after a message that is dealt with already, so that whoever has a clock can stop.
        Processes up to ``most`` messages; fewer if they are large, or bear signatures to check, or
        if only guests wait after a contact was served: the rest has the next turn.
        Each one yielded must be ended by `complete`, `refuse` or `retry`, at once or later.
        """
        self._end_service()
        self._line.promote(self._clock.now)
        self._work_left_us = most * MESSAGE_US
        while self._work_left_us > 0 and (service := self._line.next()) is not None:
            self._service, session = service, service.session
            while self._work_left_us > 0 and self._may_deliver(session):
                pending = self._deliver(service)
                if self._slots.promised:
                    self._forfeit(session)
                yield pending
                if not self._line.may_go_on(service):
                    break
            self._end_service()
            if service.rank is Rank.CONTACT and self._line.has_only_guests:
                return  # The contact waits for this turn's ack; the guests have the next.

    def took(self, took_s: float, reading_s: float = 0.0) -> None:
        """What `deliveries` yielded last took so long: it counts towards its sender's share.

        ``reading_s`` of it were over before the application had it. A guest that makes others wait
        by that rests: all such guests together take a small share of the time.
        """
        service, limits = self._service, self._limits
        assert service is not None
        service.work_us += took_s * 1e6
        if reading_s > limits.guest_reading_max_s and not service.contact and self.shared:
            self._rested_at = max(self._rested_at, self._clock.now)
            self._rested_at += reading_s / limits.guest_reading_share
            self._hold_until(service.session, self._rested_at)

    def _end_service(self) -> None:
        """Put who is served back in line, if it has more: whoever drains may stop at any time."""
        service, self._service = self._service, None
        if service is None:
            return
        self._line.end(service, self._clock.now)
        self._forfeit(service.session)
        self._offer(service.session)

    def _forfeit(self, session: Session) -> None:
        """Let another have the place kept for ``session``, if its message has needed none."""
        self._promised(self._slots.forfeit(session.peer))

    @property
    def shared(self) -> bool:
        """Whether a turn must be short: others are connected than who sends without end.

        Where all of them do, none minds how long a turn is.
        """
        connected, most = self._connections.peers.connected, self._line.in_excess_most
        return connected > 1 and (connected > most or connected > len(self._busy()))

    @property
    def serves_guests(self) -> bool:
        """Whether none waits but guests, and who is beyond its rate, and a contact may send."""
        contacts = self._connections.peers.contacts_connected
        if not (contacts and self._line.has_only_guests):
            return False
        return contacts > sum(peer.wanted for peer in self._busy())

    def _busy(self) -> list[Peer]:
        """Return who is connected and sends without end, beyond its rate."""
        known = self._connections.peers.peers
        beyond = [known.get(address) for address in self._line.in_excess(self._clock.now)]
        return [peer for peer in beyond if peer is not None and peer.connected]

    def awaits(self, pending: Pending) -> bool:
        """Whether an answer for ``pending`` counts: its stream, or the peer's run, may be over."""
        session = self._connections.book.sessions.get(pending.sender)
        return session is not None and session.inbox is pending.inbox

    def ahead(self, pending: Pending) -> list[Pending]:
        """Return what follows on ``pending`` and will go to the same handler after it, whatever.

        It stays in the inbox. Of it only that is in progress which `complete` is told of.
        """
        found: list[Pending] = []
        service = self._service
        assert service is not None
        following = iter(()) if self.crowded else self._foresight.following(pending)
        while (
            self._work_left_us > 0
            and self._line.may_look_ahead(service)
            and (then := next(following, None)) is not None
        ):
            pending, items = then
            self._work_left_us -= service.count(len(pending.body))
            self._work_left_us -= service.count_items(items)
            found.append(pending)
        return found

    def read_ahead(self, pending: Pending) -> Proofs | None:
        """Read what follows on ``pending``, which is handed out now, if nothing is read already.

        Return its signatures, if it has any, for whoever can examine them. Of all streams that
        wait, so much is read that it soon has its turn.
        """
        return self._foresight.read_ahead(pending, READ_AHEAD_MAX // (1 + self._line.waiting))

    @property
    def crowded(self) -> bool:
        """Whether some wait for a handler's place: none may have more than one message then."""
        return self._slots.crowded

    def complete(self, pending: Pending, then: Pending | None = None) -> None:
        """The application has processed it; its handler goes on with ``then``, found `ahead`."""
        session = self._ended(pending, well=True) if then is None else self._still(pending)
        if session is None:
            return
        session.done()
        if then is not None:
            seq, _ = session.inbox.take()
            assert seq == then.seq
        if not session.queued:
            self._offer(session)

    def refuse(self, pending: Pending, code: RefusalCode, reason: str) -> None:
        """The application will never process it."""
        session = self._ended(pending)
        if session is not None:
            session.keep()  # It has done something for it, and must not be asked again.
            self._refuse(session, code, reason)
            self._offer(session)

    def retry(self, pending: Pending, reason: str, error: str = "") -> None:
        """The application failed: try again after a while, or give up after the last attempt.

        Then the message is a dead letter, with ``error``, and refused with ``reason``.
        """
        if pending.attempt >= self._limits.handler_attempts:
            if self.awaits(pending):
                self.dead_letters.bury(pending.failed(error, self._clock.utc_ms))
            self.refuse(pending, RefusalCode.HANDLER_FAILED, reason)
            return
        session = self._ended(pending)
        if session is None:
            return
        self._failed[pending.sender] = pending
        wait_s = self._limits.handler_retry_min_s * 2.0 ** (pending.attempt - 1)
        wait_s = min(wait_s, self._limits.handler_retry_max_s)
        self._wait(session, self._clock.now + wait_s)

    def put_back(self, pending: Pending) -> None:
        """The application did not get to it: hand it out again, to whoever subscribes then."""
        session = self._ended(pending)
        if session is not None:
            self._failed[pending.sender] = pending._replace(attempt=pending.attempt - 1)
            self._wait(session, self._clock.now)

    # --- Peers ----------------------------------------------------------------------------------

    def add_contact(self, contact: Contact) -> None:
        """Know a peer, and keep a link to it."""
        self._connections.add_contact(contact)
        self._promised(self._slots.welcome(contact.address))

    def forget_peer(self, peer: Address) -> None:
        """Know nothing of ``peer`` any more.

        Raises:
            UnknownPeer: nothing is known of it.
            LocalError: something waits for it, or of it, which would be lost.
        """
        session = self._connections.book.sessions.get(peer)
        if session is None:
            raise UnknownPeer(f"{address_text(peer)} is not known")
        if len(session.outbox):
            raise LocalError("messages to this peer wait")
        served = self._service is not None and self._service.session is session
        if served or not session.inbox.is_idle:
            raise LocalError("messages of this peer are not processed yet")
        if any(letter.sender == peer for letter in self.dead_letters.all().values()):
            raise LocalError("dead letters of this peer are kept: redrive or discard them first")
        if self._channels.are_open_with(peer):
            raise LocalError("a channel with this peer is being funded, or waits for a decision")
        self._outcomes.gather()  # It looks up whose messages were processed in this turn.
        gone = self._connections.forget(peer)
        self._outcomes.forget(peer, gone.outbox.stream)

    def knows(self, peer: Address) -> bool:
        """Whether messages to ``peer`` can be taken."""
        return peer in self._connections.book.sessions

    def room(self) -> int:
        """Return how many peers more there may be, those only named in a channel included."""
        return self._limits.peers_max - self._connections.book.placed()

    def is_guest(self, peer: Address) -> bool:
        """Whether ``peer`` came by itself: the application has not added it. On any thread."""
        known = self._connections.peers.peers.get(peer)
        return known is None or not known.wanted

    def post(self, to: Address, body: bytes) -> None:
        """Send what a channel asks for; a participant may be known by the proposal only."""
        self._connections.book.begin_stranger(to)
        self.send(to, body)
        self.output.posted.append((to, len(body)))

    def dialing(self, peer: Address, link: LinkId) -> None:
        """A dial in the output is under way."""
        self._connections.dialing.begun(peer, link)

    def dial_failed(self, peer: Address, why: str) -> None:
        """A dial in the output could not start."""
        self._connections.dialing.not_begun(peer, why, Failure.ANSWERED)

    def unacked(self) -> int:
        """Return how many messages, to all peers, are not processed yet."""
        return sum(len(session.outbox) for session in self._connections.book.sessions.values())

    def peer_statuses(self) -> list[PeerStatus]:
        """Return how things stand with every known peer."""
        return [self._status(session) for session in self._connections.book.sessions.values()]

    # --- Who may be a peer ----------------------------------------------------------------------

    def guard(self, admission: Admission, barred: Bans[CurveKey]) -> None:
        """Let in whom ``admission`` does, put keys to refuse into ``barred``. Before `start`."""
        self._connections.door.admission = admission
        self._connections.door.keys = barred

    def set_admission(self, admission: Admission) -> None:
        """Decide by ``admission`` from now on; those who may not be peers any more are closed."""
        self._connections.set_admission(admission)

    def ban(self, peer: Address, seconds: float, reason: str) -> None:
        """Keep ``peer`` out for so long; what there is with it is closed."""
        self._connections.ban(peer, seconds, reason)

    def unban(self, peer: Address) -> bool:
        """End the ban of ``peer``; False if it was not banned."""
        return self._connections.unban(peer)

    def defences(self) -> Defences:
        """Return what was refused in this run."""
        return self._connections.door.defences()

    # --- Channels -------------------------------------------------------------------------------

    @property
    def channels(self) -> Channels:
        """The objectives, to propose, approve, reject and look up."""
        return self._channels

    def deposited(self, holdings: Iterable[Holding], block: int) -> None:
        """The chain has confirmed deposits, all those up to ``block``."""
        self._channels.deposited(holdings, block)

    def transaction_failed(self, deposit: Deposit) -> None:
        """The chain refused a deposit, or could not be asked."""
        self._channels.transaction_failed(deposit, self._clock.now)

    def propose(self, fixed: FixedPart, outcome: Outcome, app_data: bytes) -> ChannelId:
        """Open a channel; every other participant must be known.

        Raises:
            UnknownPeer: a participant has no contact and no session.
            InvalidValue: it cannot be funded safely, or was opened before.
            SignedAlready: another state of it is signed.
        """
        for participant in fixed.participants:
            if participant != self._me.signer.address and not self.knows(participant):
                raise UnknownPeer(f"{address_text(participant)} is not known: add_peer first")
        return self._channels.propose(fixed, outcome, app_data)

    def check(self) -> None:
        """Assert every invariant; for simulations and tests."""
        self._connections.check()
        self._channels.check()
        self._outcomes.check()
        self.dead_letters.check()
        self._slots.check()
        self._foresight.check()
        self._line.check()

    # --- Inside ---------------------------------------------------------------------------------

    def _deliver(self, service: Service) -> Pending | None:
        session = service.session
        seq, body = session.inbox.take()
        self._connections.unsettled[session.peer] = session
        size_bytes = 0 if body is None else len(body)
        self._work_left_us -= service.count(size_bytes)
        if body is None or len(body) > self._limits.message_max_bytes:
            reason = f"larger than {self._limits.message_max_bytes} bytes"
            self._refuse(session, RefusalCode.TOO_LARGE, reason)
            return None
        proof, foresight = None, self._foresight
        try:
            if foresight.ahead and (read := foresight.recall(session.inbox, seq)) is not None:
                _, _, envelope, items, proof = read
                self._work_left_us -= service.count_items(items)
            else:
                value, items = read_body(body)
                self._work_left_us -= service.count_items(items)
                envelope = message_of(value)
        except DecodeError as fault:
            if fault.rule == "MSG-2":
                self._nobody(session, Nobody(RefusalCode.TYPE_UNKNOWN, str(fault)))
            else:
                self._refuse(session, RefusalCode.DECODE_FAILED, str(fault))
            if fault.rule.startswith("ENC"):  # Not another version of a message: no message.
                self._connections.blame(session.peer, FORGERY_POINTS, str(fault))
            return None
        if envelope.deadline_ms is not None and self._clock.utc_ms > envelope.deadline_ms:
            self._refuse(session, RefusalCode.EXPIRED, "the deadline has passed")
            return None
        return self._dispatch(session, seq, body, envelope.message, proof)

    def _dispatch(
        self, session: Session, seq: Seq, body: bytes, message: object, proof: Proof | None
    ) -> Pending | None:
        route = self.router.route(message, self._channels.objectives)
        if isinstance(route, ToSubscriber):
            late = route.key in self._late
            if late and not self._slots.take(session.peer, guest=self.is_guest(session.peer)):
                session.inbox.put_back()
                return None
            attempt = self._attempt(session, seq)
            sender, inbox = session.peer, session.inbox
            return Pending(sender, seq, body, message, route.key, attempt, inbox, late, proof)
        if isinstance(route, Nobody):
            self._nobody(session, route)
            return None
        assert isinstance(message, ProtocolMessage)
        assert self._service is not None
        self._work_left_us -= self._service.count_more(SIGNATURE_US)
        try:
            self._channels.receive(session.peer, message)
        except RefuseMessage as fault:
            self._refuse(session, fault.code, fault.reason)
            if fault.code is RefusalCode.SIGNATURE_INVALID:
                self._connections.blame(session.peer, FORGERY_POINTS, str(fault))
        else:
            session.done()
        return None

    def _route(self, message: object) -> Route:
        return self.router.route(message, self._channels.objectives)

    def _attempt(self, session: Session, seq: Seq) -> int:
        """Return which attempt at message ``seq`` this is: 1, if the last one was at another."""
        last = self._failed.pop(session.peer, None)
        if last is None or last.inbox is not session.inbox or last.seq != seq:
            return 1
        return last.attempt + 1

    def _nobody(self, session: Session, route: Nobody) -> None:
        """Refuse it; but shortly after the start its subscriber may be about to come."""
        if route.final or self._clock.now >= self._grace_until:
            self._refuse(session, route.code, route.reason)
        else:
            self._wait(session, self._grace_until)

    def _wait(self, session: Session, at: float) -> None:
        """The message in progress waits, and its stream with it, until ``at``."""
        session.inbox.put_back()
        self._hold_until(session, at)

    def _hold_until(self, session: Session, at: float) -> None:
        self._held.add(session.peer)
        self._retries.schedule(session.peer, at)

    def _refuse(self, session: Session, code: RefusalCode, reason: str) -> None:
        refusal = session.refuse(code, clip_reason(reason))
        self._connections.unsettled[session.peer] = session
        self.output.events.append(
            MessageRefused(session.peer, refusal.seq, refusal.code, refusal.reason)
        )

    def _overslept_s(self, now: float) -> float:
        """Return how long this node did not run though it should have; 0 for what is nothing.

        Stopped, in a debugger, or behind a handler that holds its thread: what peers sent meanwhile
        was not read, and the PINGs that were due did not leave. Of each turn an interval counts all
        the same, or a node that is always late would never give a link up.
        """
        limits = self._limits
        ran_until = self._clock.now + limits.ping_interval_s
        if now - ran_until < limits.silence_max_s / 2:  # Three PINGs allow for that.
            return 0.0
        due_at = self.deadline()
        late_s = 0.0 if due_at is None else now - max(due_at, ran_until)
        return late_s if late_s >= limits.silence_max_s / 2 else 0.0

    def _ended(self, pending: Pending, *, well: bool = False) -> Session | None:
        """Its handler is done, for now: give its place to others, and return as `_still`."""
        if pending.late:
            self._foresight.learn(pending.inbox, well=well)
            self._promised(self._slots.leave(pending.sender))
        elif not well or pending.proof is not None:
            self._foresight.learn(pending.inbox, well=well)
        return self._still(pending)

    def _still(self, pending: Pending) -> Session | None:
        """Return the session of a message in progress, if its stream is still the one."""
        session = self._connections.book.sessions.get(pending.sender)
        if session is None or session.inbox is not pending.inbox:
            return None  # A run that is over; its sender may be forgotten (HEL-8).
        self._connections.unsettled[pending.sender] = session
        return session

    def _look_again(self, address: Address) -> None:
        """What waited of ``address`` may be handed out now, if it is there still.

        Another run of the peer sends it anew, and a peer that only passes by may be forgotten
        (HEL-8): then what failed is of no use, and may be large.
        """
        session, failed = self._connections.book.sessions.get(address), self._failed.get(address)
        if failed is not None and not self.awaits(failed):
            del self._failed[address]
        if session is not None:
            self._offer(session)

    def _offer(self, session: Session) -> None:
        """Put ``session`` in line if it has something to process, once."""
        if not session.queued and self._may_deliver(session):
            contact = self._connections.peers.peer(session.peer).wanted
            self._line.offer(session, self._clock.now, contact=contact)

    def _may_deliver(self, session: Session) -> bool:
        """Whether the next message of ``session`` can be looked at: nothing holds it up."""
        peer = session.peer
        ready = session.inbox.ready() and peer not in self._held
        return ready and not self._slots.waits(peer)

    def _promised(self, peer: Address | None) -> None:
        """A place for a handler is kept for ``peer``, if it still needs one."""
        while peer is not None:
            session = self._connections.book.sessions.get(peer)
            if session is not None:  # Else it is forgotten, with what waited (HEL-8).
                self._offer(session)
            needed = session is not None and session.queued
            peer = None if needed else self._slots.forfeit(peer)

    def _status(self, session: Session) -> PeerStatus:
        peer = self._connections.peers.peer(session.peer)
        return PeerStatus(
            address=session.peer,
            connected=peer.connected,
            why_not=_why_not(session, peer),
            held="" if session.held is None else session.held.reason,
            rtt_s=session.outbox.timer.smoothed_s,
            unacked=len(session.outbox),
            unacked_bytes=session.outbox.size_bytes,
            last_seen_ms=peer.last_seen_ms,
            endpoints=peer.contact.endpoints if peer.contact is not None else (),
            reconnects=max(peer.connects - 1, 0),
            resent=session.resent,
            waiting=session.inbox.waiting,
            beyond_rate=self._line.beyond_rate(session.peer, self._clock.now),
            points=self._connections.judge.points(session.peer),
        )


def _why_not(session: Session, peer: Peer) -> str:
    if peer.connected:
        return ""
    if peer.contact is None and len(session.outbox):
        return "unknown: there is mail for this peer, but no record or URI of it; add_peer"
    return peer.why_not
