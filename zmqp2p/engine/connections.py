"""Links, and the sessions they serve: who may speak, who is silent, which link to use.

Every fault of a peer ends here, as a BYE on its link; none goes further up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import assert_never

from zmqp2p.admission import Admission
from zmqp2p.codes import ByeCode
from zmqp2p.engine.admission import Unwelcome
from zmqp2p.engine.agenda import Agenda
from zmqp2p.engine.conduct import (
    CONTRADICTION_POINTS,
    UNWELCOME_POINTS,
    VIOLATION_POINTS,
    Judge,
)
from zmqp2p.engine.dialing import Dialing
from zmqp2p.engine.door import Door
from zmqp2p.engine.instant import Instant, Timer
from zmqp2p.engine.issuing import Issuing
from zmqp2p.engine.key_change import KeyChange
from zmqp2p.engine.me import Me, Told
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.peers import PATIENT_CODES, PeerManager
from zmqp2p.engine.reach import Reach, reach_of
from zmqp2p.engine.reception import Reception
from zmqp2p.engine.redial import Failure
from zmqp2p.engine.session_book import SessionBook
from zmqp2p.engine.watch import LinkWatch
from zmqp2p.errors import Contradiction, PeerError, UnknownPeer
from zmqp2p.events import (
    DataLossDetected,
    LinkRefused,
    PeerConnected,
    PeerDisconnected,
    PeerHandedOver,
    SessionForgotten,
)
from zmqp2p.ids import Address, LinkId, address_text
from zmqp2p.limits import REASON_MAX_BYTES, Limits
from zmqp2p.persistence import DropPeer, PeerSnapshot
from zmqp2p.records import Contact, PeerRecord, parse_contact
from zmqp2p.render import printable
from zmqp2p.session.bucket import Bucket, control_bucket, repeats_bucket
from zmqp2p.session.handshake import TABLE, Action, Link, LinkState
from zmqp2p.session.resume import Hold
from zmqp2p.session.session import Session
from zmqp2p.wire.encoding import decode_frame, is_pong, pong_tail
from zmqp2p.wire.frames import (
    NEWEST_RECORD,
    Ack,
    Bulk,
    Bye,
    Data,
    Frame,
    Gap,
    Hello,
    Ignored,
    Kind,
    Ping,
    Pong,
    Who,
)
from zmqp2p.wire.link import LinkDown, LinkEvent, LinkUp, Received, TurnedAway

_KINDS: dict[type, Kind] = {
    Hello: Kind.HELLO,
    Data: Kind.DATA,
    Bulk: Kind.BULK,
    Ack: Kind.ACK,
    Gap: Kind.GAP,
    Ping: Kind.PING,
    Pong: Kind.PONG,
    Bye: Kind.BYE,
    Who: Kind.WHO,
}
_FIRST_PING_S = 0.02  # After HELLO; messages that are acknowledged by then make it needless.
_REPLACED = "the CURVE key of this link was replaced"
_WHO_INTERVAL_S = 0.2  # How often one link is asked, or told again, who is there.


@dataclass(slots=True)
class Connections:
    """All links and sessions of a node.

    Invariant: each session's links are established links here; a peer is ``connected`` exactly
    while its session has a link.
    """

    me: Me
    clock: Instant
    limits: Limits
    rng: Random
    output: EngineOutput
    peers: PeerManager
    forgotten: Callable[[Session], None]  # Told of each session that is dropped.
    links: dict[LinkId, Link] = field(default_factory=dict)
    agenda: Agenda[Timer] = field(default_factory=Agenda)
    unsettled: dict[Address, Session] = field(default_factory=dict)
    book: SessionBook = field(init=False)
    door: Door = field(init=False)
    judge: Judge = field(init=False)
    dialing: Dialing = field(init=False)
    issuing: Issuing = field(init=False)
    _reception: Reception = field(init=False)
    watch: LinkWatch = field(init=False)
    _keys: KeyChange = field(init=False)
    _answers: dict[LinkId, Address] = field(default_factory=dict)  # HELLOs due at the turn's end.

    def __post_init__(self) -> None:
        me, clock, limits, output, peers = self.me, self.clock, self.limits, self.output, self.peers
        self.book = SessionBook(limits, self.rng, output, peers, self.forgotten)
        self.door = Door(clock, limits, output, peers)
        self.judge = Judge(clock, limits, self.ban, self.door.keys)
        self.dialing = Dialing(
            clock, limits, output, peers, self.agenda, self.book.session, self.door.closed_until
        )
        self.issuing = Issuing(clock, limits, output)
        self._reception = Reception(me, clock, limits, self.book, self.door)
        self.watch = LinkWatch(clock, limits, self.book.sessions)
        self._keys = KeyChange(me, clock, self.agenda, self.links, self.book, self.dialing)

    # --- Loading and contacts -------------------------------------------------------------------

    def load(self, memory: dict[Address, PeerSnapshot]) -> None:
        """Take up what an earlier run remembered."""
        for address, snapshot in memory.items():
            if snapshot.contact:
                contact = parse_contact(snapshot.contact)
                self.peers.learn(contact, wanted=snapshot.dial, now=self.clock.now)
            if self.door.lineage.was_handed_over(address):  # The application had added it.
                self.peers.peer(address).came_from = Reach.MACHINE
            self.book.begin(address, snapshot)
            if not snapshot.contact:
                self.book.strangers.add(address)
            self.dialing.plan(address)

    def add_contact(self, contact: Contact) -> None:
        """Remember how to reach a peer, and keep a link to it from now on."""
        address = contact.address
        self.book.strangers.discard(address)
        if not self.peers.peer(address).wanted:
            links = self.book.session(address).links
            self.output.trusted += [link for link in links if not self.links[link].dialed]
        heir = self.door.lineage.restore(address)
        news = self.peers.learn(contact, wanted=True, now=self.clock.now)
        session = self.book.session(address)
        session.belong(guest=False)
        session.keep()
        if not self.book.keep(session) and news:
            self.book.store_contact(address)
        self.dialing.plan(address)
        self._turn_away(() if heir is None else self.door.lineage.line(heir))

    def hand_over(self, old: Address, contact: Contact) -> None:
        """Keep a link to ``contact`` instead of to ``old``, whose session stays as it is.

        Raises:
            UnknownPeer: no link is to be kept to ``old``: perhaps it was handed over already.
        """
        if not self.peers.unwant(old):
            raise UnknownPeer(f"{address_text(old)} was not added, or was handed over before")
        self.book.store_contact(old)
        self.add_contact(contact)
        self.door.hand_over(old, contact.address)
        self._turn_away([contact.address])
        self.output.events.append(PeerHandedOver(old, contact.address))

    def forget(self, address: Address) -> Session:
        """End the links with ``address``, and know nothing of it any more; return its session."""
        for link in list(self.links.values()):
            if address in (link.peer, link.expected):
                self._close(link, ByeCode.CLOSING, "this node forgets its session with you")
        session = self.book.drop(address)
        self._forget_peer(address)
        self.output.dials = [dial for dial in self.output.dials if dial.peer != address]
        if session.kept:
            self.output.writes.append(DropPeer(address))
        return session

    # --- Who may be a peer ----------------------------------------------------------------------

    def ban(self, address: Address, seconds: float, reason: str) -> None:
        """Keep ``address`` out for so long, from now on."""
        self.door.ban(address, seconds, reason)
        self._turn_away(self.door.lineage.line(address))

    def unban(self, address: Address) -> bool:
        """Let ``address`` in again, if the policy does; False if it was not banned."""
        was_banned = self.door.unban(address)
        for each in self.door.lineage.line(address):
            self._let_in_again(each)
        return was_banned

    def set_admission(self, admission: Admission) -> None:
        """Decide by ``admission`` who may be a peer, those who are peers already included."""
        self.door.set_admission(admission)
        known = list(self.book.sessions)
        self._turn_away(known)
        for address in known:
            self._let_in_again(address)

    def _let_in_again(self, address: Address) -> None:
        if address in self.book.sessions:
            self.peers.let_in_again(self.peers.peer(address), self.clock.now)
            self.dialing.plan(address)

    def _turn_away(self, addresses: Iterable[Address]) -> None:
        """Close what there is with those of ``addresses`` that may not be peers any more (ADM-2).

        Looks through the links once, however many addresses there are.
        """
        reasons = {one: why for one in addresses if (why := self.door.why_not(one))}
        for address in reasons:
            self.dialing.call_off(address)
        for link in list(self.links.values()) if reasons else ():
            whom = link.peer or link.expected
            if whom in reasons:
                self._refuse(link, ByeCode.NOT_ALLOWED, f"ADM-2: {reasons[whom]}")

    # --- What the transport says ----------------------------------------------------------------

    def take(self, event: LinkEvent) -> Session | None:
        """Take in one event; return the session that may now have messages to process."""
        match event:
            case LinkUp():
                self._up(event)
            case LinkDown():
                self._down(event)
            case TurnedAway():
                self.door.turned_away(event)
            case Received(link, frames):
                found = self.links.get(link)
                if found is not None:
                    return self._received(found, frames)
            case _:
                assert_never(event)
        return None

    # --- Time -----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look at everything whose time has come."""
        for link_id in self.watch.due(len(self.links)):
            self._tick_link(link_id)
        for timer in self.agenda.due(self.clock.now):
            if timer.what != "grace" and timer.key not in self.book.sessions:
                continue  # It was forgotten.
            match timer.what:
                case "session":
                    self._tick_session(timer.key)
                case "parts":
                    self._tick_parts(timer.key)
                case "dial":
                    self.dialing.tick(timer.key)
                case "grace":
                    self._tick_grace()
                case _:
                    self._end_duplicate(timer.key)

    def settle(self, *, shared: bool) -> None:
        """Put what all touched sessions ask for into the output, and plan their timers.

        ``shared``: guests have a small window, since others wait while it is emptied.
        """
        self.book.room.crowded = shared
        for link_id, address in self._answers.items():
            if link_id in self.links:
                self.output.frames.append((link_id, self._hello(self.links[link_id], address)))
        self._answers.clear()
        for address, session in self.unsettled.items():
            sent = session.outbox.sent_most
            session.settle(self.clock.now)
            self.book.keep(session)
            # Each message is answered: received, and processed.
            earned = 2 * (session.outbox.sent_most - sent)
            session.controls.earn(earned, self.limits.repeats_burst_frames)
            self.agenda.schedule(Timer("session", address), session.deadline)
        self.unsettled.clear()

    def overslept(self, by_s: float) -> None:
        """Take note that this node did not run for so long; others are not to blame (LIV-6).

        Each link goes on with what was left of its limit, and nothing is sent again for it.
        """
        for link in self.links.values():
            link.postpone(by_s)
        for address, session in self.book.sessions.items():
            session.postpone(by_s, self.clock.now)
            self.agenda.schedule(Timer("session", address), session.deadline)
        self.peers.postpone(by_s)

    def renew(self, whom: Told) -> None:
        """There is another record to show; ``whom`` of those that are connected to tell at once.

        By a HELLO where this node dialed, by the answer to one where it listened. Those who denied
        this node may have done so for its last record: they are asked again.
        """
        for address in self.peers.retry_denied(self.clock.now):
            self.dialing.plan(address)
        for link in list(self.links.values()):
            told = whom is Told.ALL or (whom is Told.MOVING and link.former)
            if not told or link.peer is None:
                continue
            if link.dialed:
                self._greet(link, link.peer)
            elif link.former:
                self._ask_who(link)

    def rotate(self, record: PeerRecord, grace_s: float) -> None:
        """Move all links to the CURVE key of ``record``; those of the key before may go on so long.

        Each peer is told over the links there are.
        """
        self._end_former()  # Of an earlier rotation.
        self._keys.begin(record, grace_s)
        self.renew(Told.MOVING)
        for address in self.book.sessions:
            self._keys.move(address)

    def say_goodbye(self) -> None:
        """Tell every peer that this node stops."""
        for link in list(self.links.values()):
            self._close(link, ByeCode.CLOSING, "the node stops")

    def check(self) -> None:
        """Assert the invariant."""
        self.peers.check()
        self.dialing.check()
        self.book.check()
        self.door.check()
        self.judge.check()
        self.issuing.check()
        for address, session in self.book.sessions.items():
            assert all(self.links[link].peer == address for link in session.links)
            assert self.peers.peer(address).connected == bool(session.links)

    # --- Links ----------------------------------------------------------------------------------

    def _up(self, event: LinkUp) -> None:
        now = self.clock.now
        attempt = self.dialing.came_up(event.link)
        expected, hello_within_s = None, self.limits.hello_timeout_s
        if attempt is not None:
            expected = attempt.peer
            hello_within_s = max(hello_within_s, now - attempt.began_at)
        elif event.dialed:  # Another attempt was up before it, in this same turn.
            self.output.closes.append(event.link)
            return
        link = Link(
            id=event.link,
            dialed=event.dialed,
            curve_key=event.curve_key,
            remote=event.remote,
            expected=expected,
            state=LinkState.GREETED if event.dialed else LinkState.SILENT,
            opened_at=now,
            heard_at=now,
            pinged_at=now,
            greeted_at=now,
            hello_within_s=hello_within_s,
            former=event.former,
            crowded=event.crowded,
            controls=control_bucket(self.limits),
            repeats=repeats_bucket(self.limits),
        )
        self.links[link.id] = link
        if link.former and self.me.former is None:
            self._close(link, ByeCode.CLOSING, _REPLACED)
            return
        if not link.dialed and link.curve_key and self.door.keys.ask(link.curve_key, now):
            self._refuse(link, ByeCode.NOT_ALLOWED, "ADM-1: this key was refused not long ago")
            return
        if len(self.links) > self.limits.links_max:
            self._close(link, ByeCode.TOO_MANY, "as many links as this node serves")
            return
        self.watch.plan(link)
        if expected is not None:
            self._greet(link, expected)

    def _down(self, event: LinkDown) -> None:
        why = f"{event.reason.value}: {event.detail}" if event.detail else event.reason.value
        link = self.links.get(event.link)
        if link is not None:
            self._drop(link, why)
        else:
            self.dialing.went_down(event, why)

    def _received(self, link: Link, parts: tuple[bytes, ...]) -> Session | None:
        """The only place where a peer's mistake is caught."""
        if link.echo is not None and self._is_echo(link, parts):
            return None
        try:
            frame = decode_frame(parts)
            if not self._comes_too_early(link, frame, sum(map(len, parts))):
                return self._frame(link, frame)
        except Unwelcome as fault:
            self._refuse(link, fault.code, str(fault))
            if fault.code not in (ByeCode.NOT_ALLOWED, ByeCode.TOO_MANY):  # Not its own doing.
                self.judge.blame(link, UNWELCOME_POINTS, str(fault))
        except Contradiction as fault:
            self._hold(link, Hold(ByeCode.DATA_LOSS, str(fault)))
        except PeerError as fault:
            self._refuse(link, ByeCode.PROTOCOL_ERROR, str(fault))
            self.judge.blame(link, VIOLATION_POINTS, str(fault))
        return None

    def _is_echo(self, link: Link, parts: tuple[bytes, ...]) -> bool:
        """Take in the PONG to the last PING if it says what the one before said; or return False.

        There is nothing else to hear of an idle peer, and of many of them it is much: so it is not
        decoded, but compared with the encoding of what was decoded before.
        """
        assert link.peer is not None
        assert link.echo is not None
        session = self.book.sessions[link.peer]
        token = link.ping_token
        if token not in link.pings or session.unsettled or not is_pong(parts, token, link.echo):
            return False
        self._hear(link, session, link.ping_token)
        return True

    def _hear(self, link: Link, session: Session, pong: int | None) -> None:
        """Something came over ``link``; ``pong`` is the token if it was a PONG."""
        now = self.clock.now
        link.heard_at = now
        self.peers.peers[session.peer].last_seen_ms = self.clock.utc_ms
        if pong is None:
            link.spoke_at = now
            return
        rtt_s = link.answered(pong, now)
        if rtt_s is not None:
            session.outbox.timer.sample(rtt_s)

    def blame(self, address: Address, points: float, why: str) -> None:
        """A message of ``address`` shows that it does not play by the rules.

        Only if it is connected: then the link proves whose messages those are.
        """
        active = self.book.sessions[address].active
        if active is not None:
            self.judge.blame(self.links[active], points, why)

    def _frame(self, link: Link, frame: Frame) -> Session | None:
        self._count(link.controls, _COSTS.get(type(frame), _IDLE_COST))
        if isinstance(frame, Ignored):
            return None
        match _action(link, frame):
            case Action.PROCESS:
                return self._process(link, frame)
            case Action.INTRODUCE:
                return self._introduce(link, frame)
            case Action.ASK_WHO:
                self._ask_who(link)
            case Action.SAY_HELLO:
                self._say_hello_again(link)
            case Action.CLOSE:
                self._bye(link, frame)
            case Action.IGNORE:
                pass
            case _:
                raise PeerError("HEL-3", f"{type(frame).__name__} before HELLO")
        return None

    def _count(self, bucket: Bucket, frames: float) -> None:
        """Count frames that bring nothing new; nobody needs many (RAT-1)."""
        if not bucket.take(frames, self.clock.now):
            raise PeerError("RAT-1", "more frames that bring nothing new than anybody needs")

    def _comes_too_early(self, link: Link, frame: Frame, size_bytes: int) -> bool:
        """Give up a link on which too much comes before HELLO; True if that is so (HEL-9)."""
        if link.state is LinkState.ESTABLISHED or isinstance(frame, Hello | Bye):
            return False
        link.came_early(size_bytes)
        if link.early <= self.limits.early_frames_max:
            return False
        # Without BYE: a dialer that was forgotten amid much traffic comes again at once.
        why = f"HEL-9: more than {self.limits.early_frames_max} frames before HELLO"
        self.door.tell(_refusal(link, ByeCode.PROTOCOL_ERROR, why))
        self.output.closes.append(link.id)
        self._drop(link, why)
        return True

    def _ask_who(self, link: Link) -> None:
        due = self.clock.now >= link.asked_at + _WHO_INTERVAL_S
        if due and self.door.may_answer(link.remote):
            link.asked_at = self.clock.now
            self.output.frames.append((link.id, Who()))

    def _say_hello_again(self, link: Link) -> None:
        peer = link.peer or link.expected
        if link.dialed and peer and self.clock.now >= link.told_at + _WHO_INTERVAL_S:
            link.told_at = self.clock.now
            self._greet(link, peer)

    def _process(self, link: Link, frame: Frame) -> Session:
        now = self.clock.now
        assert link.peer is not None
        session = self.book.sessions[link.peer]
        self._hear(link, session, frame.token if isinstance(frame, Pong) else None)
        if isinstance(frame, Data | Bulk):
            link.moved_at = now
        timer, before = session.outbox.timer, session.inbox.received
        said = session.heard if isinstance(frame, Ack) else 0
        session.receive(link.id, frame, now)  # type: ignore[arg-type]  # The table lets no other in.
        if isinstance(frame, Data | Bulk):
            self._watch_parts(session)
            if session.inbox.received == before:
                self._count(link.repeats, 1.0)
        elif isinstance(frame, Ack) and session.heard == said:
            self._count(link.controls, _IDLE_COST - _COSTS[Ack])
        if not link.measured and timer.samples > link.samples_before:
            link.measured = True  # The limit of its silence is shorter now.
            self.watch.plan(link)
        if isinstance(frame, Pong):
            link.echo = pong_tail(frame.progress)
        if session.unsettled:
            self.unsettled[link.peer] = session
        return session

    # --- Introductions --------------------------------------------------------------------------

    def _greet(self, link: Link, address: Address) -> None:
        link.greeted_at = self.clock.now
        self.output.frames.append((link.id, self._hello(link, address)))

    def _hello(self, link: Link, address: Address) -> Hello:
        """Return the HELLO for ``link``: its record bears the key that the link has (IDN-1)."""
        me = self.me
        assert me.record is not None
        session = self.book.session(address)
        self.unsettled[address] = session
        if not link.former:
            return session.hello(me.record.encode(), me.incarnation, me.instance)
        assert me.former is not None
        hello = session.hello(me.former.encode(), me.incarnation, me.instance)
        return replace(hello, extensions={NEWEST_RECORD: me.record.encode()})

    def _introduce(self, link: Link, frame: Frame) -> Session | None:
        assert isinstance(frame, Hello)
        now, record = self.clock.now, self._reception.welcome(link, frame)
        address = record.address
        newest = self._reception.newest(frame, record)
        session = self.book.session(address)
        if link.controls is not session.controls:  # From now on those of the peer, on all links.
            link.controls = session.controls
            self._count(link.controls, _COSTS[Hello])
        forgotten = session.forgotten_by(frame)
        hold = session.establish(link.id, frame, now)
        if hold is not None:
            self._held_off(link, address, hold, frame)
            return None
        if forgotten:
            self._alarm(SessionForgotten(address, forgotten))
        if link.dialed and link.state is LinkState.GREETED:
            session.outbox.timer.sample(now - link.greeted_at)
            link.measured = True
        for other in [i for i in session.links if session.is_other_run(i, frame.instance)]:
            self._forget(self.links[other])  # An earlier run's frames must not pass for this one's.
            self.output.closes.append(other)
        link.shown = record
        if not link.dialed:
            self._answers[link.id] = address  # Once in a turn, however often it was said.
            self.peers.peer(address).came_from = reach_of(link.remote)
        self._established(link, session, newest)
        return session

    def _held_off(self, link: Link, address: Address, hold: Hold, hello: Hello) -> None:
        """What ``address`` says in its HELLO cannot be gone on from."""
        if hold.code is ByeCode.STORE_ROLLED_BACK and not link.doubted:
            self._doubt(link, address)
            return
        link.peer = address
        if not link.dialed:  # So that the other side sees for itself what it lacks.
            self.output.frames.append((link.id, self._hello(link, address)))
        self._hold(link, hold, hello)

    def _doubt(self, link: Link, address: Address) -> None:
        """Ask an older run whether it still lives, by having it say HELLO again (RES-3).

        The HELLO of a run that has ended may be read after that of the next one: two links have no
        order. Nobody answers for it then, and the link is given up.
        """
        link.doubted = True
        if link.dialed:
            self._greet(link, address)
        else:
            self.output.frames.append((link.id, Who()))

    def _established(self, link: Link, session: Session, record: PeerRecord) -> None:
        now, address = self.clock.now, record.address
        again = link.state is LinkState.ESTABLISHED
        link.state, link.peer = LinkState.ESTABLISHED, address
        link.heard_at = link.spoke_at = now
        if not again:
            # The first PING comes soon: until it is answered, nothing is known of the path.
            link.pinged_at = now - self.limits.ping_interval_s + _FIRST_PING_S
            link.samples_before = session.outbox.timer.samples
        self.watch.plan(link)
        peer = self.peers.peer(address)
        counts = not self._reception.is_from_future(peer.contact)
        if self.peers.learn(record, wanted=False, now=now, known_counts=counts):
            self.book.store_contact(address)
        self.book.met(address)
        peer.last_seen_ms = self.clock.utc_ms
        if not peer.connected:
            peer.told = self.door.may_tell_of(address, alarm=False)
            if peer.told:
                self.output.events.append(PeerConnected(address, link.remote))
        if not again:
            self.dialing.give_up(self.peers.established(peer))
            if peer.wanted and not link.dialed:
                link.crowded = False
                self.output.trusted.append(link.id)
        if len(session.links) > 1:
            self._end_oldest(session, link)
            at = now + self.limits.duplicate_grace_s
            self.agenda.schedule(Timer("duplicate", address), at)
        self.unsettled[address] = session
        self._keys.move(address)

    # --- Endings --------------------------------------------------------------------------------

    def _bye(self, link: Link, frame: Frame) -> None:
        """The peer ends this link, or refuses it."""
        assert isinstance(frame, Bye)
        reason = printable(frame.reason, REASON_MAX_BYTES)  # Statuses, events and logs show it.
        peer = link.peer or link.expected
        if frame.code not in (ByeCode.CLOSING, ByeCode.DUPLICATE_LINK):
            self.door.tell(_refusal(link, frame.code, reason))
            if peer is not None and frame.code in _LOSS_CODES:
                self._alarm(DataLossDetected(peer, f"the peer says: {reason}"))
        if frame.code is ByeCode.RECORD_SUPERSEDED and link.dialed and not link.former:
            self.issuing.refused()
        self.output.closes.append(link.id)
        self._drop(link, f"{frame.code.name.lower()}: {reason}", frame.code)
        if peer is not None and frame.code in _LOSS_CODES:
            session = self.book.session(peer)
            session.hold(frame.code, f"the peer says: {reason}")
            self.unsettled[peer] = session
            self.judge.blame(link, CONTRADICTION_POINTS, f"it says: {reason}")

    def _refuse(self, link: Link, code: ByeCode, reason: str) -> None:
        """The peer broke a rule, or may not come in."""
        self.door.tell(_refusal(link, code, reason))
        self._close(link, code, reason)

    def _hold(self, link: Link, hold: Hold, hello: Hello | None = None) -> None:
        """A store was rolled back, or runs twice: refuse the link, and tell the application."""
        assert link.peer is not None
        session = self.book.session(link.peer)
        self._alarm(DataLossDetected(link.peer, hold.reason))
        self._refuse(link, hold.code, f"RES-7: {hold.reason}")
        if hold.code is ByeCode.DATA_LOSS:  # Of both stores, whichever link it showed on.
            for other in list(session.links):
                self._close(self.links[other], hold.code, hold.reason)
        session.hold(hold.code, hold.reason, hello)
        self.unsettled[link.peer] = session
        self.judge.blame(link, CONTRADICTION_POINTS, hold.reason)

    def _alarm(self, event: DataLossDetected | SessionForgotten) -> None:
        if self.door.may_tell_of(event.peer, alarm=True):
            self.output.events.append(event)

    def _close(self, link: Link, code: ByeCode, reason: str) -> None:
        """Say goodbye on ``link`` and forget it."""
        known = link.dialed or link.peer is not None
        if known or self.door.may_answer(link.remote):
            self.output.frames.append((link.id, Bye(code, reason)))
        self.output.closes.append(link.id)
        self._drop(link, f"{code.name.lower()}: {reason}", code)

    def _drop(self, link: Link, why: str, code: ByeCode | None = None) -> None:
        """``link`` is gone; if it was the last to its peer, plan to dial."""
        self._forget(link)
        address = link.peer or link.expected
        if address is None:
            return
        peer, session = self.peers.peer(address), self.book.session(address)
        if peer.greeting == link.id:
            peer.greeting = None
        if session.links:
            if peer.moving and link.state is not LinkState.ESTABLISHED:
                kind = Failure.DENIED if code in PATIENT_CODES else Failure.ANSWERED
                self.peers.move_failed(peer, kind, self.clock.now)
            self._keys.move(address)
            return
        if peer.connected and (peer.told or peer.wanted):
            self.output.events.append(PeerDisconnected(address, why))
        kind = Failure.LOST if link.state is LinkState.ESTABLISHED else Failure.ANSWERED
        self.dialing.failed(address, why, Failure.DENIED if code in PATIENT_CODES else kind)
        gone = self.book.pass_by(address)
        if gone is not None:
            self._forget_peer(gone)

    def _forget_peer(self, address: Address) -> None:
        """There is no session with ``address`` any more."""
        self.unsettled.pop(address, None)
        self.dialing.forget(address)

    def _forget(self, link: Link) -> None:
        del self.links[link.id]
        if link.peer is not None:
            session = self.book.sessions[link.peer]
            session.lose(link.id)
            self.unsettled[link.peer] = session

    # --- Timers ---------------------------------------------------------------------------------

    def _tick_link(self, link_id: LinkId) -> None:
        link = self.links.get(link_id)
        if link is None:
            return
        why, token = self.watch.look(link)
        if why:
            self.output.closes.append(link.id)
            self._drop(link, why)
        elif token is not None:
            self.output.frames.append((link.id, Ping(token)))

    def _tick_session(self, address: Address) -> None:
        session = self.book.sessions[address]
        session.tick(self.clock.now)
        self.unsettled[address] = session
        self.agenda.schedule(Timer("session", address), session.deadline)

    def _tick_parts(self, address: Address) -> None:
        """See to it that a message in parts does not keep others' waiting for ever (WIN-4)."""
        session, now = self.book.sessions[address], self.clock.now
        if session.hogs(now):
            session.stand_back(now)
            for link in list(session.links):
                reason = "WIN-4: a message in parts comes too slowly, and others wait"
                self._close(self.links[link], ByeCode.TOO_MANY, reason)
        self._watch_parts(session)

    def _watch_parts(self, session: Session) -> None:
        if session.assembles:
            at = self.clock.now + self.limits.parts_grace_s / 2
            self.agenda.schedule(Timer("parts", session.peer), at)

    def _end_oldest(self, session: Session, newest: Link) -> None:
        """Of more links than anybody needs, end the one not used for longest (DUP-2).

        Each is read in its turn, as are those of other peers: a hundred would be a hundred turns.
        """
        if len(session.links) <= self.limits.links_max_per_peer:
            return
        accepted = [link for i in session.links if not (link := self.links[i]).dialed]
        oldest = next((link for link in accepted if link is not newest), None)
        if oldest is not None:  # Those dialed from here are few, and end by themselves.
            self._close(oldest, ByeCode.DUPLICATE_LINK, "your newer links are used")

    def _end_duplicate(self, address: Address) -> None:
        """Both sides dialed: the higher address gives up the link it dialed (DUP-1)."""
        links = [self.links[i] for i in self.book.sessions[address].links]
        fresh = [link for link in links if not self._keys.is_replaced(link)]
        for link in links:
            if link.dialed and fresh and link not in fresh:
                self._close(link, ByeCode.DUPLICATE_LINK, "a link of newer keys is used")
        mine = [link for link in fresh if link.dialed]
        if len(fresh) > 1 and mine and self.me.signer.address > address:
            self._close(mine[0], ByeCode.DUPLICATE_LINK, "your link is used")

    def _tick_grace(self) -> None:
        if self._keys.grace_is_over():
            self._end_former()
            self.output.former_ended = True

    def _end_former(self) -> None:
        """Close what is left of the links of this node's former key."""
        for link in list(self.links.values()):
            if link.former:
                self._close(link, ByeCode.CLOSING, _REPLACED)
        self.me.former = None


# What frames count for RAT-1. DATA and BULK only if they bring nothing new; an ACK that does not
# counts as every other frame. A peer that has nothing to say sends two of those in a second.
_COSTS: dict[type, float] = {Hello: 50.0, Data: 0.0, Bulk: 0.0, Ack: 1.0, Bye: 0.0}
_IDLE_COST = 10.0
_LOSS_CODES = (ByeCode.DATA_LOSS, ByeCode.STORE_ROLLED_BACK, ByeCode.DUPLICATE_INSTANCE)


def _refusal(link: Link, code: ByeCode, reason: str) -> LinkRefused:
    return LinkRefused(link.peer or link.expected, link.remote, code, reason, link.curve_key)


def _action(link: Link, frame: Frame) -> Action:
    action = TABLE[link.state, _KINDS[type(frame)]]
    # It may have accepted our HELLO; what it says does not count until it has answered (RES-3).
    return Action.IGNORE if link.doubted and action is Action.VIOLATION else action
