"""What peers say on links: whether it may be said then, how much of it, and who acts upon it.

Every fault of a peer ends here, as a BYE on its link; none goes further up.
"""

from dataclasses import dataclass

from zmqp2p.codes import ByeCode
from zmqp2p.engine.admission import Unwelcome
from zmqp2p.engine.agenda import Agenda
from zmqp2p.engine.conduct import UNWELCOME_POINTS, VIOLATION_POINTS, Judge
from zmqp2p.engine.costs import COSTS, IDLE_COST, count
from zmqp2p.engine.endings import Endings
from zmqp2p.engine.greetings import Greetings
from zmqp2p.engine.instant import Instant, Timer
from zmqp2p.engine.introductions import Introductions
from zmqp2p.engine.peers import PeerManager
from zmqp2p.engine.session_book import SessionBook
from zmqp2p.engine.watch import LinkWatch
from zmqp2p.errors import Contradiction, PeerError
from zmqp2p.ids import Address
from zmqp2p.limits import Limits
from zmqp2p.session.handshake import TABLE, Action, Link, LinkState
from zmqp2p.session.resume import Hold
from zmqp2p.session.session import Session
from zmqp2p.wire.encoding import decode_frame, is_pong, pong_tail
from zmqp2p.wire.frames import (
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

_MESSAGES = (Data, Bulk)  # A union would be made anew for each frame.
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


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes in frames, as the table of the handshake has it."""

    clock: Instant
    limits: Limits
    agenda: Agenda[Timer]
    peers: PeerManager
    unsettled: dict[Address, Session]
    book: SessionBook
    judge: Judge
    watch: LinkWatch
    greetings: Greetings
    introductions: Introductions
    endings: Endings

    def received(self, link: Link, parts: tuple[bytes, ...]) -> Session | None:
        """Take in a frame; return the session that may now have messages to process.

        The only place where a peer's mistake is caught.
        """
        if link.echo is not None and self._is_echo(link, parts):
            return None
        try:
            frame = decode_frame(parts)
            if not self._comes_too_early(link, frame, sum(map(len, parts))):
                return self._frame(link, frame)
        except Unwelcome as fault:
            self.endings.refuse(link, fault.code, str(fault))
            if fault.code not in (ByeCode.NOT_ALLOWED, ByeCode.TOO_MANY):  # Not its own doing.
                self.judge.blame(link, UNWELCOME_POINTS, str(fault))
        except Contradiction as fault:
            self.endings.hold(link, Hold(ByeCode.DATA_LOSS, str(fault)))
        except PeerError as fault:
            self.endings.refuse(link, ByeCode.PROTOCOL_ERROR, str(fault))
            self.judge.blame(link, VIOLATION_POINTS, str(fault))
        return None

    def watch_parts(self, session: Session) -> None:
        """See to it that a message that comes in parts is looked at after a while (WIN-4)."""
        if session.assembles:
            at = self.clock.now + self.limits.parts_grace_s / 2
            self.agenda.schedule(Timer("parts", session.peer), at)

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

    def _frame(self, link: Link, frame: Frame) -> Session | None:
        count(link.controls, COSTS.get(type(frame), IDLE_COST), self.clock.now)
        if isinstance(frame, Ignored):
            return None
        match _action(link, frame):
            case Action.PROCESS:
                return self._process(link, frame)
            case Action.INTRODUCE:
                return self.introductions.introduce(link, frame)
            case Action.ASK_WHO:
                self.greetings.ask_who(link)
            case Action.SAY_HELLO:
                self.greetings.say_hello_again(link)
            case Action.CLOSE:
                self.endings.bye(link, frame)
            case Action.IGNORE:
                pass
            case _:
                raise PeerError("HEL-3", f"{type(frame).__name__} before HELLO")
        return None

    def _comes_too_early(self, link: Link, frame: Frame, size_bytes: int) -> bool:
        """Give up a link on which too much comes before HELLO; True if that is so (HEL-9)."""
        if link.state is LinkState.ESTABLISHED or isinstance(frame, Hello | Bye):
            return False
        link.came_early(size_bytes)
        if link.early <= self.limits.early_frames_max:
            return False
        # Without BYE: a dialer that was forgotten amid much traffic comes again at once.
        why = f"HEL-9: more than {self.limits.early_frames_max} frames before HELLO"
        self.endings.refuse_unsaid(link, ByeCode.PROTOCOL_ERROR, why)
        return True

    def _process(self, link: Link, frame: Frame) -> Session:
        now = self.clock.now
        assert link.peer is not None
        session = self.book.sessions[link.peer]
        self._hear(link, session, frame.token if isinstance(frame, Pong) else None)
        if isinstance(frame, _MESSAGES):
            link.moved_at = now
        timer, before = session.outbox.timer, session.inbox.received
        said = session.heard if isinstance(frame, Ack) else 0
        session.receive(link.id, frame, now)  # type: ignore[arg-type]  # The table lets no other in.
        if isinstance(frame, _MESSAGES):
            self.watch_parts(session)
            if session.inbox.received == before:
                count(link.repeats, 1.0, now)
        elif isinstance(frame, Ack) and session.heard == said:
            count(link.controls, IDLE_COST - COSTS[Ack], now)
        if not link.measured and timer.samples > link.samples_before:
            link.measured = True  # The limit of its silence is shorter now.
            self.watch.plan(link)
        if isinstance(frame, Pong):
            link.echo = pong_tail(frame.progress)
        if session.unsettled:
            self.unsettled[link.peer] = session
        return session


def _action(link: Link, frame: Frame) -> Action:
    action = TABLE[link.state, _KINDS[type(frame)]]
    # It may have accepted our HELLO; what it says does not count until it has answered (RES-3).
    return Action.IGNORE if link.doubted and action is Action.VIOLATION else action
