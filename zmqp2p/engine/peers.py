"""PeerManager: whom this node knows, whom it dials, when, and why it is not connected.

Pure: it decides; the node dials. Each attempt is a fresh connection. While nobody answers, attempts
overlap: the oldest may take its time, on a long way, and the others come and go, so that one of
them finds a network that has healed. Waits are jittered here, because libzmq's jitter is the same
in every process.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from zmqp2p.codes import ByeCode
from zmqp2p.engine.reach import Reach, leads_out
from zmqp2p.engine.redial import DialBudgets, Failure, jittered, wait_s
from zmqp2p.ids import Address, LinkId
from zmqp2p.limits import Limits
from zmqp2p.records import Contact, PeerRecord

_LONG_WAY = 2.0  # Round trips between attempts: three of them then last for a handshake of five.
# The peer will answer the same until somebody does something: ask again, but rarely.
PATIENT_CODES = frozenset(ByeCode) - {ByeCode.CLOSING, ByeCode.DUPLICATE_LINK}


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """How things stand with one peer, for people and programs."""

    address: Address
    connected: bool
    why_not: str  # Empty when connected, or when no link is wanted.
    held: str  # Why nothing is processed: a store was rolled back (RES-7); empty if that is not so.
    rtt_s: float | None  # Smoothed; None before the first measurement.
    unacked: int  # Messages sent or waiting that the peer has not processed.
    unacked_bytes: int
    last_seen_ms: int | None  # When a frame last came, UTC; None in this run not yet.
    endpoints: tuple[str, ...]
    reconnects: int  # How often a session was resumed in this run.
    resent: int  # Messages sent again by the resend timer.
    waiting: int = 0  # Messages of the peer that are here and not processed yet.
    beyond_rate: bool = False  # It sends more than `Limits` grant it, and has what others leave.
    points: float = 0.0  # For misconduct; `Limits.conduct_max_points` are a ban.


@dataclass(slots=True)
class Peer:
    """What the manager keeps of one peer. Times are monotonic seconds."""

    address: Address
    contact: Contact | None = None
    wanted: bool = False  # The application added it: keep a link up.
    # Where it was when it came in last. Unknown after a restart: then not here, but perhaps near.
    came_from: Reach = Reach.SITE
    asked: bool = False  # A dial was asked for; which link it is, the node has not said yet.
    dialing: dict[LinkId, float] = field(default_factory=dict)  # Since when; the oldest first.
    greeting: LinkId | None = None  # The attempt that came up first, until its HELLO is answered.
    attempts: int = 0
    next_dial_at: float = 0.0
    has_slot: bool = False  # `next_dial_at` is paid for.
    gone_since: float = 0.0
    tried_at: float = float("-inf")  # When an attempt began last.
    denied: bool = False  # It said BYE, and why.
    why_not: str = ""
    connected: bool = False
    told: bool = False  # That it is connected, the application was.
    moving: bool = False  # Connected, by links of a key that was replaced: dialed all the same.
    connects: int = 0
    last_seen_ms: int | None = None


@dataclass(slots=True)
class PeerManager:
    """The address book and the redial schedule.

    Invariant: a peer that is being dialed is not connected, or moving, and has a contact; once an
    attempt is up, no other goes on; at most `attempts_max_per_peer` are under way.
    """

    limits: Limits
    rng: Random
    peers: dict[Address, Peer] = field(default_factory=dict)
    connected: int = 0  # How many are.
    contacts: int = 0  # How many are wanted.
    contacts_connected: int = 0  # How many are both.
    _budgets: DialBudgets = field(init=False)

    def __post_init__(self) -> None:
        """Begin with full budgets."""
        self._budgets = DialBudgets(self.limits.dials_per_s)

    def peer(self, address: Address) -> Peer:
        """Return the entry of ``address``, made on demand."""
        found = self.peers.get(address)
        if found is None:
            found = self.peers[address] = Peer(address)
        return found

    def forget(self, address: Address) -> list[LinkId]:
        """Drop the entry of a peer that nobody wants and with which nothing was exchanged.

        Returns the attempts to reach it, which are not needed any more.
        """
        gone = self.peers.pop(address)
        self.contacts -= gone.wanted
        return list(gone.dialing)

    def learn(
        self, contact: Contact, *, wanted: bool, now: float, known_counts: bool = True
    ) -> bool:
        """Take in a contact; True if it is news that must be stored.

        A record replaces an older record and any URI; a URI replaces only a URI, since a record
        says more and is signed. A known record may not count, since it is from the future (REC-8).
        """
        peer = self.peer(contact.address)
        news = wanted and not peer.wanted
        self.contacts += news
        self.contacts_connected += news and peer.connected
        peer.wanted = peer.wanted or wanted
        if self._replaces(contact, peer.contact if known_counts else None):
            peer.contact = contact
            self._start_over(peer, now)
            news = True
        return news

    def unwant(self, address: Address) -> bool:
        """Keep no link to a peer any more; False if none was to be kept."""
        peer = self.peers.get(address)
        if peer is None or not peer.wanted:
            return False
        peer.wanted = False
        self.contacts -= 1
        self.contacts_connected -= peer.connected
        peer.came_from = Reach.MACHINE  # Where it is, the application has said.
        return True

    def dial_at(self, peer: Peer, *, has_mail: bool) -> float | None:
        """Return when to dial ``peer``, or None if not: connected, about to be, or not wanted."""
        wanted = peer.wanted or has_mail or peer.moving
        linked = peer.connected and not peer.moving
        if linked or peer.asked or peer.greeting is not None or not wanted:
            return None
        return peer.next_dial_at if _endpoints_of(peer) else None

    def may_dial(self, peer: Peer, under_way: int, now: float) -> bool:
        """Whether ``peer``, whose time has come, may be dialed now; else put it off.

        ``under_way`` is how many attempts to all peers are.
        """
        if peer.dialing and under_way >= self.limits.attempts_max:
            peer.next_dial_at = now + self._jittered(self.limits.redial_silent_s)
            return False
        if not peer.has_slot:
            peer.next_dial_at = self._budgets.take(now, now - peer.gone_since)
            peer.has_slot = True
        return peer.next_dial_at <= now

    def begin(self, peer: Peer, now: float, rtt_s: float) -> tuple[str, LinkId | None]:
        """An attempt begins; return the endpoint to try, and which attempt must make room.

        Each takes the next endpoint. ``rtt_s`` is the way's last known round trip, or 0: on a long
        way the next attempt comes later. The oldest attempt is never the one to go.
        """
        endpoints = _endpoints_of(peer)
        if now - peer.tried_at > 2 * self.limits.redial_max_s:
            peer.gone_since = now  # Nobody has looked for it: a while that says nothing.
        endpoint = endpoints[peer.attempts % len(endpoints)]
        peer.asked, peer.has_slot = True, False
        peer.attempts += 1
        peer.tried_at = now
        silence_s = wait_s(Failure.SILENT, now - peer.gone_since, self.limits)
        wanted_s = max(silence_s, min(_LONG_WAY * rtt_s, self.limits.redial_denied_s))
        peer.next_dial_at = now + self._jittered(wanted_s)
        if len(peer.dialing) < self.limits.attempts_max_per_peer:
            return endpoint, None
        given_up = list(peer.dialing)[1]
        del peer.dialing[given_up]
        return endpoint, given_up

    def dialing(self, peer: Peer, link: LinkId, now: float) -> None:
        """The attempt that began is under way as ``link``."""
        peer.asked = False
        peer.dialing[link] = now

    def came_up(self, peer: Peer, link: LinkId) -> tuple[float, list[LinkId]]:
        """``link`` is up first; return when it began, and the attempts that are not needed now."""
        began_at = peer.dialing.pop(link)
        others = list(peer.dialing)
        peer.dialing.clear()
        peer.greeting = link
        return began_at, others

    def attempt_failed(self, peer: Peer, link: LinkId, why: str, now: float, kind: Failure) -> None:
        """One attempt came to nothing; the others go on.

        One that was not answered at once was waited for long enough: the next is planned already.
        """
        began_at = peer.dialing.pop(link)
        peer.why_not = why
        soon = now - began_at < self.limits.redial_silent_s
        if kind is Failure.ANSWERED or soon:
            self._plan(peer, kind, now)

    def called_off(self, peer: Peer, why: str) -> list[LinkId]:
        """``peer`` is not to be reached any more; return the attempts under way."""
        links = list(peer.dialing)
        peer.dialing.clear()
        peer.why_not = why
        return links

    def failed(self, peer: Peer, why: str, now: float, kind: Failure) -> None:
        """A link ended, or an attempt could not begin: plan the next attempt."""
        if peer.connected:
            self._start_over(peer, now)
            self.connected -= 1
            self.contacts_connected -= peer.wanted
        peer.asked, peer.greeting = False, None
        peer.connected = peer.moving = False
        peer.denied = kind is Failure.DENIED
        peer.why_not = why
        self._plan(peer, kind, now)

    def move(self, peer: Peer, now: float, *, needed: bool) -> list[LinkId]:
        """A connected peer needs a link of newer keys, or needs none any more; begin now.

        Return the attempts that are not needed any more.
        """
        begins, ends = needed and not peer.moving, peer.moving and not needed
        peer.moving = needed
        if begins:
            self._start_over(peer, now)
        if not ends:
            return []
        others = list(peer.dialing)
        peer.dialing.clear()
        peer.asked, peer.greeting = False, None
        return others

    def move_failed(self, peer: Peer, kind: Failure, now: float) -> None:
        """A try to move ``peer`` came to nothing; its links go on, and so does the trying."""
        peer.asked = False
        self._plan(peer, kind, now)

    def established(self, peer: Peer) -> list[LinkId]:
        """A session with ``peer`` is up; return the attempts that are not needed any more."""
        others = list(peer.dialing)
        peer.dialing.clear()
        peer.asked, peer.greeting, peer.has_slot = False, None, False
        if not peer.connected:  # Not for a second link: both sides may dial at once.
            peer.connects += 1
            self.connected += 1
            self.contacts_connected += peer.wanted
        peer.connected = True
        peer.attempts = 0
        peer.denied = False
        peer.why_not = ""
        return others

    def retry_denied(self, now: float) -> list[Address]:
        """What was held against this node has changed: ask those who denied it again, now."""
        denied = [peer for peer in self.peers.values() if peer.denied]
        for peer in denied:
            self._start_over(peer, now)
        return [peer.address for peer in denied]

    def let_in_again(self, peer: Peer, now: float) -> None:
        """``peer`` may be one again, or still: if it was turned away, it is dialed at once."""
        if peer.denied and not peer.connected:
            self._start_over(peer, now)

    def postpone(self, by_s: float) -> None:
        """Take note that this node did not run for so long: nobody was looked for meanwhile."""
        for peer in self.peers.values():
            peer.gone_since += by_s

    def wanted(self) -> Iterator[Peer]:
        """Return the peers that the application added."""
        return (peer for peer in self.peers.values() if peer.wanted)

    def check(self) -> None:
        """Assert the invariant."""
        assert self.connected == sum(peer.connected for peer in self.peers.values())
        assert self.contacts == sum(peer.wanted for peer in self.peers.values())
        both = sum(peer.wanted and peer.connected for peer in self.peers.values())
        assert self.contacts_connected == both
        for peer in self.peers.values():
            under_way = bool(peer.dialing) or peer.asked or peer.greeting is not None
            assert not (peer.connected and under_way and not peer.moving)
            assert peer.connected or not peer.moving
            assert not under_way or peer.contact is not None
            assert not (peer.greeting is not None and peer.dialing)
            assert len(peer.dialing) + peer.asked <= self.limits.attempts_max_per_peer

    def _start_over(self, peer: Peer, now: float) -> None:
        peer.attempts, peer.next_dial_at, peer.gone_since = 0, now, now
        peer.has_slot = peer.denied = False

    def _plan(self, peer: Peer, kind: Failure, now: float) -> None:
        wanted_s = wait_s(kind, now - peer.gone_since, self.limits)
        peer.has_slot = False
        peer.next_dial_at = now + self._jittered(wanted_s)

    def _jittered(self, longest_s: float) -> float:
        return jittered(longest_s, self.rng)

    @staticmethod
    def _replaces(new: Contact, old: Contact | None) -> bool:
        if old is None:
            return True
        if isinstance(old, PeerRecord):
            return isinstance(new, PeerRecord) and new.supersedes(old)
        return new != old


def _endpoints_of(peer: Peer) -> tuple[str, ...]:
    """Return where ``peer`` may be dialed: of who came by himself only where others get to as well.

    Whatever listens there would be connected to, by the word of a stranger.
    """
    if peer.contact is None:
        return ()
    endpoints = peer.contact.endpoints
    return endpoints if peer.wanted else tuple(e for e in endpoints if leads_out(e, peer.came_from))
