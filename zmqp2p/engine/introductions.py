"""What becomes of a HELLO: the peer is there, or its session is held, or it is asked again."""

from dataclasses import dataclass

from zmqp2p.codes import ByeCode
from zmqp2p.engine.costs import COSTS, count
from zmqp2p.engine.dialing import Dialing
from zmqp2p.engine.door import Door
from zmqp2p.engine.duplicates import Duplicates
from zmqp2p.engine.endings import Endings
from zmqp2p.engine.greetings import Greetings
from zmqp2p.engine.instant import Instant
from zmqp2p.engine.key_change import KeyChange
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.peers import PeerManager
from zmqp2p.engine.reach import reach_of
from zmqp2p.engine.reception import Reception
from zmqp2p.engine.session_book import SessionBook
from zmqp2p.engine.watch import LinkWatch
from zmqp2p.events import PeerConnected, SessionForgotten
from zmqp2p.ids import Address
from zmqp2p.limits import Limits
from zmqp2p.records import PeerRecord
from zmqp2p.session.handshake import Link, LinkState
from zmqp2p.session.resume import Hold
from zmqp2p.session.session import Session
from zmqp2p.wire.frames import Frame, Hello

_FIRST_PING_S = 0.02  # After HELLO; messages that are acknowledged by then make it needless.


@dataclass(frozen=True, slots=True)
class Introductions:
    """Joins links to sessions, of those that `Reception` lets in."""

    clock: Instant
    limits: Limits
    output: EngineOutput
    peers: PeerManager
    unsettled: dict[Address, Session]
    book: SessionBook
    door: Door
    dialing: Dialing
    watch: LinkWatch
    keys: KeyChange
    reception: Reception
    greetings: Greetings
    endings: Endings
    duplicates: Duplicates

    def introduce(self, link: Link, frame: Frame) -> Session | None:
        """The peer says HELLO: return the session that it begins or goes on with, if it does."""
        assert isinstance(frame, Hello)
        now, record = self.clock.now, self.reception.welcome(link, frame)
        address = record.address
        newest = self.reception.newest(frame, record)
        session = self.book.session(address)
        if link.controls is not session.controls:  # From now on those of the peer, on all links.
            link.controls = session.controls
            count(link.controls, COSTS[Hello], now)
        forgotten = session.forgotten_by(frame)
        hold = session.establish(link.id, frame, now)
        if hold is not None:
            self._held_off(link, address, hold, frame)
            return None
        if forgotten:
            self.door.alarm(SessionForgotten(address, forgotten))
        if link.dialed and link.state is LinkState.GREETED:
            session.outbox.timer.sample(now - link.greeted_at)
            link.measured = True
        self.endings.end_other_runs(session, frame.instance)
        link.shown = record
        if not link.dialed:
            self.greetings.due[link.id] = address  # Once in a turn, however often it was said.
            self.peers.peer(address).came_from = reach_of(link.remote)
        self._established(link, session, newest)
        return session

    def _held_off(self, link: Link, address: Address, hold: Hold, hello: Hello) -> None:
        """What ``address`` says in its HELLO cannot be gone on from."""
        if hold.code is ByeCode.STORE_ROLLED_BACK and not link.doubted:
            self.greetings.doubt(link, address)
            return
        link.peer = address
        if not link.dialed:  # So that the other side sees for itself what it lacks.
            self.greetings.say_hello(link, address)
        self.endings.hold(link, hold, hello)

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
        counts = not self.reception.is_from_future(peer.contact)
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
        self.duplicates.established(session, link)
        self.unsettled[address] = session
        self.keys.move(address)
