"""Links, and the sessions they serve: which there are, and what time does to them.

What is said on a link goes to `Intake`, a HELLO on to `Introductions`; all links end by `Endings`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import assert_never

from zmqp2p.admission import Admission
from zmqp2p.codes import ByeCode
from zmqp2p.engine.agenda import Agenda
from zmqp2p.engine.conduct import Judge
from zmqp2p.engine.dialing import Dialing
from zmqp2p.engine.door import Door
from zmqp2p.engine.duplicates import Duplicates
from zmqp2p.engine.endings import Endings
from zmqp2p.engine.greetings import Greetings
from zmqp2p.engine.instant import Instant, Timer
from zmqp2p.engine.intake import Intake
from zmqp2p.engine.introductions import Introductions
from zmqp2p.engine.issuing import Issuing
from zmqp2p.engine.key_change import KeyChange
from zmqp2p.engine.me import Me, Told
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.peers import PeerManager
from zmqp2p.engine.reach import Reach
from zmqp2p.engine.reception import Reception
from zmqp2p.engine.session_book import SessionBook
from zmqp2p.engine.watch import LinkWatch
from zmqp2p.errors import UnknownPeer
from zmqp2p.events import PeerHandedOver
from zmqp2p.ids import Address, LinkId, address_text
from zmqp2p.limits import Limits
from zmqp2p.persistence import DropPeer, PeerSnapshot
from zmqp2p.records import Contact, PeerRecord, parse_contact
from zmqp2p.session.bucket import control_bucket, repeats_bucket
from zmqp2p.session.handshake import Link, LinkState
from zmqp2p.session.session import Session
from zmqp2p.wire.frames import Ping
from zmqp2p.wire.link import LinkDown, LinkEvent, LinkUp, Received, TurnedAway

_REPLACED = "the CURVE key of this link was replaced"


@dataclass(slots=True)
class Connections:
    """All links and sessions of a node.

    Invariant: each session's links are established links here; a peer is ``connected`` exactly
    while its session has a link. Whose progress is not stored yet is among the unsettled, so that
    no HELLO says more than what is committed with it.
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
    watch: LinkWatch = field(init=False)
    _keys: KeyChange = field(init=False)
    _endings: Endings = field(init=False)
    _greetings: Greetings = field(init=False)
    _duplicates: Duplicates = field(init=False)
    _intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        """Compose the parts: each knows only those made before it, but for what `Judge` bans by."""
        me, clock, limits, output, peers = self.me, self.clock, self.limits, self.output, self.peers
        links, unsettled, agenda = self.links, self.unsettled, self.agenda
        book = self.book = SessionBook(limits, self.rng, output, peers, self.forgotten)
        door = self.door = Door(clock, limits, output, peers)
        judge = self.judge = Judge(clock, limits, self.ban, door.keys)
        dialing = self.dialing = Dialing(
            clock, limits, output, peers, agenda, book.session, door.closed_until
        )
        issuing = self.issuing = Issuing(clock, limits, output)
        watch = self.watch = LinkWatch(clock, limits, book.sessions)
        keys = self._keys = KeyChange(me, clock, agenda, links, book, dialing)
        endings = self._endings = Endings(
            clock, output, peers, links, unsettled, book, door, judge, dialing, issuing, keys
        )
        greetings = self._greetings = Greetings(me, clock, output, links, book, door)
        duplicates = self._duplicates = Duplicates(
            me.signer.address, clock, limits, agenda, links, book.sessions, keys, endings
        )
        introductions = Introductions(
            clock=clock,
            limits=limits,
            output=output,
            peers=peers,
            unsettled=unsettled,
            book=book,
            door=door,
            dialing=dialing,
            watch=watch,
            keys=keys,
            reception=Reception(me, clock, limits, book, door),
            greetings=greetings,
            endings=endings,
            duplicates=duplicates,
        )
        self._intake = Intake(
            clock=clock,
            limits=limits,
            agenda=agenda,
            peers=peers,
            unsettled=unsettled,
            book=book,
            judge=judge,
            watch=watch,
            greetings=greetings,
            introductions=introductions,
            endings=endings,
        )

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
        self._endings.turn_away(() if heir is None else self.door.lineage.line(heir))

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
        self._endings.turn_away([contact.address])
        self.output.events.append(PeerHandedOver(old, contact.address))

    def forget(self, address: Address) -> Session:
        """End the links with ``address``, and know nothing of it any more; return its session."""
        for link in list(self.links.values()):
            if address in (link.peer, link.expected):
                self._endings.close(link, ByeCode.CLOSING, "this node forgets its session with you")
        session = self.book.drop(address)
        self._endings.forget_peer(address)
        self.output.dials = [dial for dial in self.output.dials if dial.peer != address]
        if session.kept:
            self.output.writes.append(DropPeer(address))
        return session

    # --- Who may be a peer ----------------------------------------------------------------------

    def ban(self, address: Address, seconds: float, reason: str) -> None:
        """Keep ``address`` out for so long, from now on."""
        self.door.ban(address, seconds, reason)
        self._endings.turn_away(self.door.lineage.line(address))

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
        self._endings.turn_away(known)
        for address in known:
            self._let_in_again(address)

    def _let_in_again(self, address: Address) -> None:
        if address in self.book.sessions:
            self.peers.let_in_again(self.peers.peer(address), self.clock.now)
            self.dialing.plan(address)

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
                    return self._intake.received(found, frames)
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
                    self._duplicates.tick(timer.key)

    def settle(self, *, shared: bool) -> None:
        """Put what all touched sessions ask for into the output, and plan their timers.

        ``shared``: guests have a small window, since others wait while it is emptied.
        """
        self.book.room.crowded = shared
        if self._greetings.due:
            self._greetings.answer()
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
                self._greetings.greet(link, link.peer)
            elif link.former:
                self._greetings.ask_who(link)

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
            self._endings.close(link, ByeCode.CLOSING, "the node stops")

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
            assert not session.has_progressed or self.unsettled.get(address) is session
        assert self.unsettled.keys() <= self.book.sessions.keys()

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
            self._endings.close(link, ByeCode.CLOSING, _REPLACED)
            return
        if not link.dialed and link.curve_key and self.door.keys.ask(link.curve_key, now):
            self._endings.refuse(
                link, ByeCode.NOT_ALLOWED, "ADM-1: this key was refused not long ago"
            )
            return
        if len(self.links) > self.limits.links_max:
            self._endings.close(link, ByeCode.TOO_MANY, "as many links as this node serves")
            return
        self.watch.plan(link)
        if expected is not None:
            self._greetings.greet(link, expected)

    def _down(self, event: LinkDown) -> None:
        why = f"{event.reason.value}: {event.detail}" if event.detail else event.reason.value
        link = self.links.get(event.link)
        if link is not None:
            self._endings.drop(link, why)
        else:
            self.dialing.went_down(event, why)

    def blame(self, address: Address, points: float, why: str) -> None:
        """A message of ``address`` shows that it does not play by the rules.

        Only if it is connected: then the link proves whose messages those are.
        """
        active = self.book.sessions[address].active
        if active is not None:
            self.judge.blame(self.links[active], points, why)

    # --- Timers ---------------------------------------------------------------------------------

    def _tick_link(self, link_id: LinkId) -> None:
        link = self.links.get(link_id)
        if link is None:
            return
        why, token = self.watch.look(link)
        if why:
            self.output.closes.append(link.id)
            self._endings.drop(link, why)
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
                self._endings.close(self.links[link], ByeCode.TOO_MANY, reason)
        self._intake.watch_parts(session)

    def _tick_grace(self) -> None:
        if self._keys.grace_is_over():
            self._end_former()
            self.output.former_ended = True

    def _end_former(self) -> None:
        """Close what is left of the links of this node's former key."""
        for link in list(self.links.values()):
            if link.former:
                self._endings.close(link, ByeCode.CLOSING, _REPLACED)
        self.me.former = None
