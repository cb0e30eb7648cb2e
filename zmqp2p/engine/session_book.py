"""The sessions of a node: with whom, which of them the store knows, and which are forgotten."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.peers import PeerManager
from zmqp2p.ids import Address, StreamId
from zmqp2p.limits import PEERS_GUESTS_SHARE, Limits
from zmqp2p.persistence import PeerSnapshot, PutContact
from zmqp2p.session.room import InboxRoom
from zmqp2p.session.session import Session


@dataclass(slots=True)
class SessionBook:
    """All sessions of a node.

    Invariant: each has its stream and shares the room for messages that wait; those that have
    passed are sessions that the store does not know, and not too many.
    """

    limits: Limits
    rng: Random
    output: EngineOutput
    peers: PeerManager
    forgotten: Callable[[Session], None]  # Told of each session that is dropped.
    sessions: dict[Address, Session] = field(default_factory=dict)
    streams: dict[StreamId, Address] = field(default_factory=dict)  # Of the outboxes.
    # Named in a channel, never met: they must not take the places of peers that are there.
    strangers: set[Address] = field(default_factory=set)
    unkept: set[Address] = field(default_factory=set)  # Sessions that the store does not know.
    # Those of them that have no link any more, as they went: only so many are remembered.
    passed: dict[Address, None] = field(default_factory=dict)
    room: InboxRoom = field(init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self.room = InboxRoom(limits.inbox_total_max_bytes, limits.inbox_guests_max_bytes)

    def session(self, address: Address) -> Session:
        """Return the session with ``address``, made on demand."""
        found = self.sessions.get(address)
        return found if found is not None else self.begin(address, PeerSnapshot())

    def begin(self, address: Address, memory: PeerSnapshot) -> Session:
        """Begin the session with ``address``, with what an earlier run remembered of it."""
        session = Session(address, memory, self.output, self.limits, self.rng)
        session.share_room(self.room)
        session.belong(guest=not self.peers.peer(address).wanted)
        self.sessions[address] = session
        self.streams[session.outbox.stream] = address
        if not session.kept:
            self.unkept.add(address)
        return session

    def begin_stranger(self, address: Address) -> None:
        """Begin the session with a participant that is known by name only, if there is none."""
        if address not in self.sessions:
            self.begin(address, PeerSnapshot())
            self.strangers.add(address)

    def met(self, address: Address) -> None:
        """``address`` is here: no stranger, and it has not passed."""
        self.strangers.discard(address)
        self.passed.pop(address, None)

    def placed(self) -> int:
        """Return how many peers take a place: those that are gone for nothing do not (HEL-8)."""
        return len(self.sessions) - len(self.passed)

    def has_room_for(self, address: Address) -> bool:
        """Whether ``address`` has a place, or there is one for it as a guest (HEL-6)."""
        if address in self.sessions and address not in self.passed:
            return True
        there = self.placed() - len(self.strangers)
        guests_max = max(int(PEERS_GUESTS_SHARE * self.limits.peers_max), 1)
        return there < self.limits.peers_max and there - self.peers.contacts < guests_max

    def keep(self, session: Session) -> bool:
        """If ``session`` has just become one that is stored, store the contact too."""
        if not session.kept or session.peer not in self.unkept:
            return False
        self.unkept.discard(session.peer)
        self.passed.pop(session.peer, None)
        if self.peers.peer(session.peer).contact is not None:
            self.store_contact(session.peer)
        return True

    def store_contact(self, address: Address) -> None:
        """Store how to reach ``address``, if its session is one that is stored."""
        if address in self.unkept:
            return
        peer = self.peers.peer(address)
        self.output.writes.append(PutContact(address, str(peer.contact), peer.wanted))

    def pass_by(self, address: Address) -> Address | None:
        """A peer went; return which one is forgotten now, if any.

        If nothing was exchanged with it, it is remembered for a while only, so that it can be sent
        something all the same: of many, who went first is forgotten.
        """
        if address not in self.unkept or not self.sessions[address].inbox.is_idle:
            return None
        self.passed[address] = None
        if len(self.passed) <= self.limits.passers_max:
            return None
        gone = next(iter(self.passed))
        self.drop(gone)
        return gone

    def drop(self, address: Address) -> Session:
        """Forget the session with ``address``, which has no link, and return it."""
        self.passed.pop(address, None)
        self.unkept.discard(address)
        self.strangers.discard(address)
        session = self.sessions.pop(address)
        del self.streams[session.outbox.stream]
        session.inbox.close()
        self.forgotten(session)
        return session

    def check(self) -> None:
        """Assert the invariant."""
        assert self.unkept == {a for a, session in self.sessions.items() if not session.kept}
        assert self.passed.keys() <= self.unkept
        assert len(self.passed) <= self.limits.passers_max
        assert set(self.streams.values()) == self.sessions.keys()
        assert self.peers.peers.keys() <= self.sessions.keys()
        assert all(not self.peers.peer(address).wanted for address in self.strangers)
        assert all(not self.peers.peer(address).wanted for address in self.passed)
        for address, session in self.sessions.items():
            session.check()
            assert not (session.links and address in self.passed)
