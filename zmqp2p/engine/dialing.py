"""Dials: when each begins, what becomes of it, and which are needed no longer.

`PeerManager` decides whom to dial and when; this carries it out, through the turn's output.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from zmqp2p.engine.agenda import Agenda
from zmqp2p.engine.instant import Instant, Timer
from zmqp2p.engine.output import Dial, EngineOutput
from zmqp2p.engine.peers import Peer, PeerManager
from zmqp2p.engine.redial import Failure
from zmqp2p.ids import Address, LinkId
from zmqp2p.limits import Limits
from zmqp2p.records import PeerRecord
from zmqp2p.session.session import Session
from zmqp2p.wire.link import DownReason, LinkDown

_NOT_ALLOWED = "not_allowed: banned, or not admitted by this node's policy"
_ANSWERS = (DownReason.WRONG_KEY, DownReason.DENIED, DownReason.NOT_ZP2P)


class Attempt(NamedTuple):
    """A dial that came up: to whom, and when it began."""

    peer: Address
    began_at: float


@dataclass(slots=True)
class Dialing:
    """The dials under way.

    Invariant: exactly those of which the `PeerManager` says so.
    """

    clock: Instant
    limits: Limits
    output: EngineOutput
    peers: PeerManager
    agenda: Agenda[Timer]
    session: Callable[[Address], Session]
    closed_until: Callable[[Address], float | None]  # None for whoever may be a peer.
    _attempts: dict[LinkId, Address] = field(default_factory=dict)

    def plan(self, address: Address) -> None:
        """See to it that ``address`` is dialed when it is time, if it is to be dialed."""
        self.agenda.schedule(Timer("dial", address), self._at(self.peers.peer(address)))

    def begun(self, address: Address, link: LinkId) -> None:
        """The dial that was asked for is under way as ``link``."""
        peer = self.peers.peer(address)
        if peer.connected and not peer.moving:  # It was asked for to move, and that is done.
            self.output.closes.append(link)
            return
        self.peers.dialing(peer, link, self.clock.now)
        self._attempts[link] = address
        self.plan(address)

    def failed(self, address: Address, why: str, kind: Failure) -> None:
        """A dial could not begin, or the last link to ``address`` ended."""
        self.peers.failed(self.peers.peer(address), why, self.clock.now, kind)
        self.plan(address)

    def not_begun(self, address: Address, why: str, kind: Failure) -> None:
        """A dial could not begin. A peer that was to be moved is connected still."""
        peer = self.peers.peer(address)
        if not peer.moving:
            self.failed(address, why, kind)
            return
        self.peers.move_failed(peer, kind, self.clock.now)
        self.plan(address)

    def came_up(self, link: LinkId) -> Attempt | None:
        """``link`` is up: return the attempt it was, and end the others; None if it was none."""
        address = self._attempts.pop(link, None)
        if address is None:
            return None
        began_at, others = self.peers.came_up(self.peers.peer(address), link)
        self.give_up(others)
        return Attempt(address, began_at)

    def went_down(self, event: LinkDown, why: str) -> None:
        """A link that never was up is gone."""
        address = self._attempts.pop(event.link, None)
        if address is None:  # Given up: the peer has come in by another link meanwhile.
            return
        kind = Failure.ANSWERED if event.reason in _ANSWERS else Failure.REFUSED
        peer = self.peers.peer(address)
        self.peers.attempt_failed(peer, event.link, why, self.clock.now, kind)
        self.plan(address)

    def call_off(self, address: Address) -> None:
        """``address`` may not be a peer any more: end what is under way to reach it."""
        peer = self.peers.peers.get(address)
        if peer is not None and peer.dialing:
            self.give_up(self.peers.called_off(peer, _NOT_ALLOWED))

    def give_up(self, links: list[LinkId]) -> None:
        """End attempts that are not needed any more."""
        for link in links:
            del self._attempts[link]
            self.output.closes.append(link)

    def forget(self, address: Address) -> None:
        """Nobody wants ``address``, but it may have been dialed to move it to another key."""
        self.give_up(self.peers.forget(address))

    def tick(self, address: Address) -> None:
        """Dial ``address`` if it is time, and nothing came between."""
        peer = self.peers.peer(address)
        at = self._at(peer)
        if at is None:
            return
        if at > self.clock.now:
            self.agenda.schedule(Timer("dial", address), at)
            return
        closed_until = self.closed_until(address)
        if closed_until is not None:
            peer.why_not = peer.why_not or _NOT_ALLOWED
            if math.isfinite(closed_until):
                self.agenda.schedule(Timer("dial", address), closed_until)
            return
        if self.peers.may_dial(peer, len(self._attempts), self.clock.now):
            self._dial(peer)
        else:
            self.agenda.schedule(Timer("dial", address), peer.next_dial_at)

    def check(self) -> None:
        """Assert the invariant."""
        under_way = {link for peer in self.peers.peers.values() for link in peer.dialing}
        assert under_way == self._attempts.keys()

    def _at(self, peer: Peer) -> float | None:
        has_mail = len(self.session(peer.address).outbox) > 0
        return self.peers.dial_at(peer, has_mail=has_mail)

    def _dial(self, peer: Peer) -> None:
        assert peer.contact is not None
        contact = peer.contact
        if isinstance(contact, PeerRecord) and self.clock.utc_ms >= contact.expires_ms:
            why = "record_expired: the record of this peer has expired; add a newer one"
            self.not_begun(peer.address, why, Failure.DENIED)
            return
        rtt_s = self.session(peer.address).outbox.timer.smoothed_s or 0.0
        endpoint, given_up = self.peers.begin(peer, self.clock.now, rtt_s)
        if given_up is not None:
            self.give_up([given_up])
        self.output.dials.append(Dial(peer.address, endpoint, contact.curve_key))
