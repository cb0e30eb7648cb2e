"""Who is next: the peers whose messages wait to be processed, and what each may ask for.

Between peers, fairness is by work, not by messages (engine/lane.py). A peer with one small message
is not held up by another's thousand, nor by one that is dear.

Three lanes. *Contacts*, whom the application added, and *guests*, who came by themselves, share the
node whatever their numbers: identities cost nothing, so guests must not crowd out contacts by being
many. A peer beyond its rate (a token bucket for messages and one for bytes) is in *excess*: it has
what the others leave. So a rate costs nobody anything while the node has time, and nothing is ever
lost by it: messages wait, and the window tells their sender so.
"""

from dataclasses import dataclass
from enum import Enum

from zmqp2p.engine.lane import Lane
from zmqp2p.ids import Address
from zmqp2p.limits import Limits
from zmqp2p.session.bucket import Bucket
from zmqp2p.session.session import Session

# Work, in microseconds, as measured on the project's reference machine (docs/adr/README.md).
MESSAGE_US = 20.0  # Decode a small message, find who takes it, hand it over.
_RUN_US = 1_000.0  # Of one peer, before it is looked who else waits, where that does not matter.
SIGNATURE_US = 130.0  # Hash a state, recover its signer, and go on with a channel.
_ITEM_US = 0.4  # Of a message with many: 0.3 to decode those of the dearest kind, 0.1 of most.
_FEW_ITEMS = 32  # Are in the work of every message; most have fewer.
_BYTES_PER_US = 200.0
_CONTACTS_SHARE = 3.0  # Of each four parts of work; guests have the fourth if there are contacts.


class Rank(Enum):
    """Which lane a peer stands in."""

    CONTACT = "contact"
    GUEST = "guest"
    EXCESS = "excess"

    __hash__ = object.__hash__  # Looked up for every message; Enum's own runs in Python.


@dataclass(slots=True)
class Service:
    """What a session has had since it was taken out of the line."""

    session: Session
    rank: Rank
    contact: bool
    messages: float = 0.0  # Ordinary ones that are as much work, their bytes apart.
    size_bytes: int = 0
    work_us: float = 0.0

    def count(self, size_bytes: int) -> float:
        """Count a message that is looked at; return how much work that is, microseconds."""
        self.messages += 1
        self.size_bytes += size_bytes
        work_us = MESSAGE_US + size_bytes / _BYTES_PER_US
        self.work_us += work_us
        return work_us

    def count_items(self, items: int) -> float:
        """Count what many items cost that the message counted last has; return how much."""
        return self.count_more(items * _ITEM_US) if items > _FEW_ITEMS else 0.0

    def count_more(self, work_us: float) -> float:
        """Count that one was more work than others of its size; return how much."""
        self.messages += work_us / MESSAGE_US
        self.work_us += work_us
        return work_us


class _Account:
    """A peer's rate: how much it may ask for, and where it stood last."""

    def __init__(self, limits: Limits, *, contact: bool) -> None:
        self.contact = contact
        self.rank = Rank.CONTACT if contact else Rank.GUEST
        if contact:
            rates = limits.contact_rate_messages, limits.contact_rate_bytes
        else:
            rates = limits.guest_rate_messages, limits.guest_rate_bytes
        self._messages = Bucket(rates[0], rates[0] * limits.rate_burst_s)
        self._bytes = Bucket(rates[1], rates[1] * limits.rate_burst_s)

    def rank_at(self, now: float) -> Rank:
        """Return the lane to stand in."""
        if not self._messages.has(1.0, now) or not self._bytes.has(0.0, now):
            return Rank.EXCESS
        return Rank.CONTACT if self.contact else Rank.GUEST

    def charge(self, messages: float, size_bytes: int, now: float) -> None:
        """Count messages that were processed; not in excess, which costs nobody anything."""
        if self.rank is not Rank.EXCESS:
            self._messages.charge(messages, now)
            self._bytes.charge(size_bytes, now)


class Line:
    """The sessions with something to process, and the rates of all peers.

    Pure: ``now`` is monotonic seconds.
    Invariant: a session that is `queued` stands in one lane, once, or is served; no other does. It
    has an account. Whom the node forgets is to be forgotten here too: identities cost nothing.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lanes: dict[Rank, Lane[Address, Session]] = {rank: Lane() for rank in Rank}
        self._heaps = [lane.heap for lane in self._lanes.values()]  # Asked for every message.
        # The two classes take turns as the peers in a lane do; excess waits until both are empty.
        self._ends = {Rank.CONTACT: 0.0, Rank.GUEST: 0.0}
        self._at = 0.0
        self._accounts: dict[Address, _Account] = {}
        self._excess: set[Address] = set()  # Were so when they last stood in line; see `in_excess`.
        self._tickets = 0  # Who came first stands first, other things being equal.

    def __bool__(self) -> bool:
        return any(self._heaps)

    @property
    def waiting(self) -> int:
        """How many sessions wait, without the one that is served."""
        return sum(map(len, self._heaps))

    @property
    def has_only_guests(self) -> bool:
        """Whether somebody waits, and none of them is a contact within its rate."""
        return bool(self) and not self._lanes[Rank.CONTACT].heap

    def offer(self, session: Session, now: float, *, contact: bool) -> None:
        """Let ``session``, which does not stand in line, be handed out when it is its turn."""
        assert not session.queued
        session.queued = True
        account = self._accounts.get(session.peer)
        if account is None or account.contact != contact:
            account = self._accounts[session.peer] = _Account(self._limits, contact=contact)
        self._stand(session, account.rank_at(now))

    def promote(self, now: float) -> None:
        """Let those in excess whose rate has caught up stand among the others again."""
        lane = self._lanes[Rank.EXCESS]
        if not lane.heap:
            return
        for session in lane.take_if(lambda one: self._rank(one, now) is not Rank.EXCESS):
            self._stand(session, self._rank(session, now))

    def next(self) -> Service | None:
        """Begin to serve who is next; None if nobody waits. Until `end` it stays `queued`."""
        contacts, guests = self._lanes[Rank.CONTACT].heap, self._lanes[Rank.GUEST].heap
        if contacts and guests:
            ahead = self._ends[Rank.CONTACT] <= self._ends[Rank.GUEST]
            rank = Rank.CONTACT if ahead else Rank.GUEST
        elif contacts or guests:
            rank = Rank.CONTACT if contacts else Rank.GUEST
        else:
            rank = Rank.EXCESS
        lane = self._lanes[rank]
        if not lane.heap:
            return None
        self._at = max(self._at, self._ends.get(rank, 0.0))
        session = lane.pop()
        account = self._accounts[session.peer]
        account.rank = rank
        return Service(session, rank, account.contact)

    def may_go_on(self, service: Service) -> bool:
        """Whether it may have one more: nobody else waits, or all are in excess."""
        return service.work_us < _RUN_US and (service.rank is Rank.EXCESS or not self)

    def may_look_ahead(self, service: Service) -> bool:
        """Whether what follows may be handed out together: for a while, even if others wait."""
        return service.work_us < _RUN_US or not self

    def end(self, service: Service, now: float) -> None:
        """It was served for now: count what it had. If it has more, offer it again."""
        session = service.session
        session.queued = False
        account = self._accounts[session.peer]
        account.charge(service.messages, service.size_bytes, now)
        rank = account.rank
        self._lanes[rank].worked(session.peer, service.work_us)
        if rank in self._ends:
            share = _CONTACTS_SHARE if rank is Rank.CONTACT else 1.0
            self._ends[rank] += service.work_us / share
            other = Rank.GUEST if rank is Rank.CONTACT else Rank.CONTACT
            if not self._lanes[other].heap:  # It is idle: that is no credit.
                self._at = max(self._at, self._ends[rank])

    def forget(self, session: Session) -> None:
        """Nobody knows its peer any more: nothing is kept of it.

        It is not served just now: then a message of it is in progress.
        """
        for lane in self._lanes.values():
            if session.queued:
                lane.take_if(lambda one: one is session)
            lane.forget(session.peer)
        session.queued = False
        self._accounts.pop(session.peer, None)
        self._excess.discard(session.peer)

    @property
    def in_excess_most(self) -> int:
        """How many `in_excess` returns at most; costs nothing."""
        return len(self._excess)

    def in_excess(self, now: float) -> set[Address]:
        """Return who waits in excess, or waits for nothing and is beyond its rate still.

        Not just who is beyond it now: who sends without end is within it for moments, too.
        """
        waiting = {session.peer for _, _, session in self._lanes[Rank.EXCESS].heap}
        for peer in self._excess - waiting:
            if not self.beyond_rate(peer, now):
                self._excess.discard(peer)
        return self._excess

    def beyond_rate(self, peer: Address, now: float) -> bool:
        """Whether ``peer`` has had more than its rate, so that others go first."""
        account = self._accounts.get(peer)
        return account is not None and account.rank_at(now) is Rank.EXCESS

    def check(self) -> None:
        """Assert the invariant."""
        standing = [session for lane in self._lanes.values() for _, _, session in lane.heap]
        assert len({session.peer for session in standing}) == len(standing)
        assert all(session.queued for session in standing)
        assert {session.peer for session in standing} <= self._accounts.keys()
        assert self._excess <= self._accounts.keys()
        assert len(standing) == sum(map(len, self._heaps))

    def _rank(self, session: Session, now: float) -> Rank:
        return self._accounts[session.peer].rank_at(now)

    def _stand(self, session: Session, rank: Rank) -> None:
        lane = self._lanes[rank]
        if not lane.heap and rank in self._ends:  # It was idle: that is no credit.
            self._ends[rank] = max(self._ends[rank], self._at)
        if rank is Rank.EXCESS:
            self._excess.add(session.peer)
        else:
            self._excess.discard(session.peer)
        self._tickets += 1
        lane.push(session.peer, session, self._tickets)
