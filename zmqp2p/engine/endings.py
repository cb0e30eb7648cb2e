"""How links end: closed, refused or held from here, ended by the peer, or lost."""

from collections.abc import Iterable
from dataclasses import dataclass

from zmqp2p.codes import ByeCode
from zmqp2p.engine.conduct import CONTRADICTION_POINTS, Judge
from zmqp2p.engine.dialing import Dialing
from zmqp2p.engine.door import Door
from zmqp2p.engine.instant import Instant
from zmqp2p.engine.issuing import Issuing
from zmqp2p.engine.key_change import KeyChange
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.peers import PATIENT_CODES, PeerManager
from zmqp2p.engine.redial import Failure
from zmqp2p.engine.session_book import SessionBook
from zmqp2p.events import DataLossDetected, LinkRefused, PeerDisconnected
from zmqp2p.ids import Address, InstanceId, LinkId
from zmqp2p.limits import REASON_MAX_BYTES
from zmqp2p.render import printable
from zmqp2p.session.handshake import Link, LinkState
from zmqp2p.session.resume import Hold
from zmqp2p.session.session import Session
from zmqp2p.wire.frames import Bye, Frame, Hello

_LOSS_CODES = (ByeCode.DATA_LOSS, ByeCode.STORE_ROLLED_BACK, ByeCode.DUPLICATE_INSTANCE)


@dataclass(slots=True)
class Endings:
    """Takes links out of ``links`` and of their sessions, and says so to whom it concerns.

    There is no other way out, so that the session, the next dial and the events always follow.
    One call comes back: whom ``judge`` has banned is turned away. It is always the last thing done.
    """

    clock: Instant
    output: EngineOutput
    peers: PeerManager
    links: dict[LinkId, Link]
    unsettled: dict[Address, Session]
    book: SessionBook
    door: Door
    judge: Judge
    dialing: Dialing
    issuing: Issuing
    keys: KeyChange

    # --- By the peer ----------------------------------------------------------------------------

    def bye(self, link: Link, frame: Frame) -> None:
        """The peer ends this link, or refuses it."""
        assert isinstance(frame, Bye)
        reason = printable(frame.reason, REASON_MAX_BYTES)  # Statuses, events and logs show it.
        peer = link.peer or link.expected
        if frame.code not in (ByeCode.CLOSING, ByeCode.DUPLICATE_LINK):
            self.door.tell(_refusal(link, frame.code, reason))
            if peer is not None and frame.code in _LOSS_CODES:
                self.door.alarm(DataLossDetected(peer, f"the peer says: {reason}"))
        if frame.code is ByeCode.RECORD_SUPERSEDED and link.dialed and not link.former:
            self.issuing.refused()
        self.output.closes.append(link.id)
        self.drop(link, f"{frame.code.name.lower()}: {reason}", frame.code)
        if peer is not None and frame.code in _LOSS_CODES:
            self.book.session(peer).hold(frame.code, f"the peer says: {reason}")
            self.judge.blame(link, CONTRADICTION_POINTS, f"it says: {reason}")

    # --- From here ------------------------------------------------------------------------------

    def close(self, link: Link, code: ByeCode, reason: str) -> None:
        """Say goodbye on ``link`` and forget it."""
        known = link.dialed or link.peer is not None
        if known or self.door.may_answer(link.remote):
            self.output.frames.append((link.id, Bye(code, reason)))
        self.output.closes.append(link.id)
        self.drop(link, f"{code.name.lower()}: {reason}", code)

    def refuse(self, link: Link, code: ByeCode, reason: str) -> None:
        """The peer broke a rule, or may not come in."""
        self.door.tell(_refusal(link, code, reason))
        self.close(link, code, reason)

    def refuse_unsaid(self, link: Link, code: ByeCode, why: str) -> None:
        """Refuse ``link`` without BYE."""
        self.door.tell(_refusal(link, code, why))
        self.output.closes.append(link.id)
        self.drop(link, why)

    def turn_away(self, addresses: Iterable[Address]) -> None:
        """Close what there is with those of ``addresses`` that may not be peers any more (ADM-2).

        Looks through the links once, however many addresses there are.
        """
        reasons = {one: why for one in addresses if (why := self.door.why_not(one))}
        for address in reasons:
            self.dialing.call_off(address)
        for link in list(self.links.values()) if reasons else ():
            whom = link.peer or link.expected
            if whom in reasons:
                self.refuse(link, ByeCode.NOT_ALLOWED, f"ADM-2: {reasons[whom]}")

    def hold(self, link: Link, hold: Hold, hello: Hello | None = None) -> None:
        """A store was rolled back, or runs twice: refuse the link, and tell the application."""
        assert link.peer is not None
        session = self.book.session(link.peer)
        self.door.alarm(DataLossDetected(link.peer, hold.reason))
        self.refuse(link, hold.code, f"RES-7: {hold.reason}")
        if hold.code is ByeCode.DATA_LOSS:  # Of both stores, whichever link it showed on.
            for other in list(session.links):
                self.close(self.links[other], hold.code, hold.reason)
        session.hold(hold.code, hold.reason, hello)
        self.judge.blame(link, CONTRADICTION_POINTS, hold.reason)

    def end_other_runs(self, session: Session, instance: InstanceId) -> None:
        """End the links of other runs of the peer than ``instance``, without a word."""
        for other in [i for i in session.links if session.is_other_run(i, instance)]:
            self._forget(self.links[other])  # An earlier run's frames must not pass for this one's.
            self.output.closes.append(other)

    # --- However it came about ------------------------------------------------------------------

    def drop(self, link: Link, why: str, code: ByeCode | None = None) -> None:
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
            self.keys.move(address)
            return
        if peer.connected and (peer.told or peer.wanted):
            self.output.events.append(PeerDisconnected(address, why))
        kind = Failure.LOST if link.state is LinkState.ESTABLISHED else Failure.ANSWERED
        self.dialing.failed(address, why, Failure.DENIED if code in PATIENT_CODES else kind)
        gone = self.book.pass_by(address)
        if gone is not None:
            self.forget_peer(gone)

    def forget_peer(self, address: Address) -> None:
        """There is no session with ``address`` any more."""
        self.unsettled.pop(address, None)
        self.dialing.forget(address)

    def _forget(self, link: Link) -> None:
        del self.links[link.id]
        if link.peer is not None:
            session = self.book.sessions[link.peer]
            session.lose(link.id)
            self.unsettled[link.peer] = session


def _refusal(link: Link, code: ByeCode, reason: str) -> LinkRefused:
    return LinkRefused(link.peer or link.expected, link.remote, code, reason, link.curve_key)
