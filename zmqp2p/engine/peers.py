"""PeerManager: whom this node knows, whom it dials, when, and why it is not connected.

Pure: it decides; the node dials. Each attempt is a fresh connection; between attempts it waits
twice as long each time, with jitter of its own, because libzmq's is the same in every process.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from zmqp2p.codes import ByeCode
from zmqp2p.ids import Address, LinkId
from zmqp2p.limits import Limits
from zmqp2p.records import Contact, PeerRecord

# The peer will answer the same until somebody does something: ask again, but rarely.
_PATIENT_CODES = frozenset(ByeCode) - {ByeCode.CLOSING, ByeCode.DUPLICATE_LINK}


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """How things stand with one peer, for people and programs."""

    address: Address
    connected: bool
    why_not: str  # Empty when connected, or when no link is wanted.
    rtt_s: float | None  # Smoothed; None before the first measurement.
    unacked: int  # Messages sent or waiting that the peer has not processed.
    unacked_bytes: int
    last_seen_ms: int | None  # When a frame last came, UTC; None in this run not yet.
    endpoints: tuple[str, ...]
    reconnects: int  # How often a session was resumed in this run.
    resent: int  # Messages sent again by the resend timer.


@dataclass(slots=True)
class Peer:
    """What the manager keeps of one peer. Times are monotonic seconds."""

    address: Address
    contact: Contact | None = None
    wanted: bool = False  # The application added it: keep a link up.
    dialing: LinkId | None = None
    attempts: int = 0
    next_dial_at: float = 0.0
    why_not: str = ""
    connected: bool = False
    connects: int = 0
    last_seen_ms: int | None = None


@dataclass(slots=True)
class PeerManager:
    """The address book and the redial schedule.

    Invariant: a peer that is being dialed is not connected, and has a contact.
    """

    limits: Limits
    rng: Random
    peers: dict[Address, Peer] = field(default_factory=dict)

    def peer(self, address: Address) -> Peer:
        """Return the entry of ``address``, made on demand."""
        return self.peers.setdefault(address, Peer(address))

    def learn(self, contact: Contact, *, wanted: bool, now: float) -> bool:
        """Take in a contact; True if it is news that must be stored.

        A record replaces an older record and any URI; a URI replaces only a URI, since a record
        says more and is signed.
        """
        peer = self.peer(contact.address)
        news = wanted and not peer.wanted
        peer.wanted = peer.wanted or wanted
        if self._replaces(contact, peer.contact):
            peer.contact = contact
            peer.attempts, peer.next_dial_at = 0, now
            news = True
        return news

    def dial_at(self, peer: Peer, *, has_mail: bool) -> float | None:
        """Return when to dial ``peer``, or None if not: connected, dialing, or not wanted."""
        wanted = peer.wanted or has_mail
        if peer.connected or peer.dialing is not None or not wanted:
            return None
        if peer.contact is None or not peer.contact.endpoints:
            return None
        return peer.next_dial_at

    def next_endpoint(self, peer: Peer) -> str:
        """Return the endpoint to try now; each attempt takes the next one."""
        assert peer.contact is not None
        return peer.contact.endpoints[peer.attempts % len(peer.contact.endpoints)]

    def failed(self, peer: Peer, why: str, now: float, code: ByeCode | None = None) -> None:
        """An attempt failed or a link ended: plan the next attempt."""
        peer.dialing = None
        peer.connected = False
        peer.why_not = why
        longest_s = self.limits.redial_max_s
        wait_s = min(self.limits.redial_min_s * 2.0 ** min(peer.attempts, 30), longest_s)
        if code in _PATIENT_CODES:
            wait_s = longest_s
        peer.attempts += 1
        peer.next_dial_at = now + wait_s * (0.5 + 0.5 * self.rng.random())

    def established(self, peer: Peer) -> None:
        """A session with ``peer`` is up."""
        peer.dialing = None
        if not peer.connected:  # Not for a second link: both sides may dial at once.
            peer.connects += 1
        peer.connected = True
        peer.attempts = 0
        peer.why_not = ""

    def wanted(self) -> Iterator[Peer]:
        """Return the peers that the application added."""
        return (peer for peer in self.peers.values() if peer.wanted)

    def check(self) -> None:
        """Assert the invariant."""
        for peer in self.peers.values():
            assert not (peer.connected and peer.dialing is not None)
            assert peer.dialing is None or peer.contact is not None

    @staticmethod
    def _replaces(new: Contact, old: Contact | None) -> bool:
        if old is None:
            return True
        if isinstance(old, PeerRecord):
            return isinstance(new, PeerRecord) and new.supersedes(old)
        return new != old
