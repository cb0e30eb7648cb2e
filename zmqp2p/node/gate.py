"""How much may wait in the outboxes: a limit for each peer, and one for all together.

Counted on the caller's thread, so that a fast sender waits (or is told) before anything piles up.
What is counted is what the outboxes hold, from earlier runs and of channels too, and what is on its
way there. Channels are never held up: their messages are few, and funds may hang on them.

Guests, who came by themselves, have a share of it: one and the same may be many of them, ask for
answers, and never ack one. So they cannot keep this node from sending to its contacts.
"""

import threading
from collections.abc import Callable
from time import monotonic

from zmqp2p.errors import Backpressure, DeliveryTimeout, ServiceClosed, TooLarge
from zmqp2p.ids import Address, address_text
from zmqp2p.limits import Limits
from zmqp2p.session.parts import space_of

_NOTHING = (0, 0)


class OutboxGate:
    """Messages and bytes that wait for the acks of each peer, and of all.

    A message that goes in parts is counted as these are in the outbox. Invariant: what is counted
    for a peer is what its outbox holds and what is on its way there.
    """

    def __init__(self, limits: Limits, is_guest: Callable[[Address], bool]) -> None:
        """Ask ``is_guest``, on any thread, whether a peer came by itself."""
        self._limits = limits
        self._is_guest = is_guest
        self._waiting: dict[Address, tuple[int, int]] = {}  # Bodies and bytes; none that is empty.
        self._bodies = self._bytes = 0  # The sums.
        # Of these: who was a guest when something began to wait for it, until nothing does.
        self._guests: set[Address] = set()
        self._guests_bodies = self._guests_bytes = 0
        self._lock = threading.Lock()  # Taken directly where nobody waits: a condition costs more.
        self._room = threading.Condition(self._lock)
        self._closed = False

    def enter(self, peer: Address, size_bytes: int, timeout_s: float | None) -> None:
        """Count one message in, waiting until there is room; ``timeout_s`` 0 does not wait.

        Raises:
            TooLarge: there never is room for it.
            Backpressure: full, and ``timeout_s`` is 0.
            DeliveryTimeout: still full after ``timeout_s``. Nothing was sent.
            ServiceClosed: the service closed meanwhile.
        """
        space = space_of(size_bytes)
        with self._lock:
            if self._full(peer, *space):
                self._wait(peer, space, timeout_s)
            self._count(peer, *space)

    def withdraw(self, peer: Address, size_bytes: int) -> None:
        """Count one message out again that was not sent after all."""
        self.leave(peer, *space_of(size_bytes))

    def post(self, peer: Address, size_bytes: int) -> None:
        """Count one message in that is in the outbox whether or not there is room."""
        with self._lock:
            self._count(peer, *space_of(size_bytes))

    def load(self, peer: Address, bodies: int, size_bytes: int) -> None:
        """Count in what an earlier run has left in the outbox."""
        with self._lock:
            self._count(peer, bodies, size_bytes)

    def leave(self, peer: Address, bodies: int, size_bytes: int) -> None:
        """Count out what the peer has processed."""
        with self._lock:
            self._count(peer, -bodies, -size_bytes)
            self._room.notify_all()

    def waiting(self, peer: Address) -> tuple[int, int]:
        """Return how many bodies, of how many bytes, are counted for ``peer``."""
        with self._lock:
            return self._waiting.get(peer, (0, 0))

    def close(self) -> None:
        """Nobody needs to wait any more."""
        with self._lock:
            self._closed = True
            self._room.notify_all()

    def check(self) -> None:
        """Assert the invariant."""
        with self._lock:
            assert all(bodies > 0 <= size for bodies, size in self._waiting.values())
            assert self._bodies == sum(bodies for bodies, _ in self._waiting.values())
            assert self._bytes == sum(size for _, size in self._waiting.values())
            guests = [self._waiting[peer] for peer in self._guests]
            assert self._guests_bodies == sum(bodies for bodies, _ in guests)
            assert self._guests_bytes == sum(size for _, size in guests)

    def _wait(self, peer: Address, space: tuple[int, int], timeout_s: float | None) -> None:
        """Return once there is room; under the lock, but for the waiting."""
        end_at = None if timeout_s is None else monotonic() + timeout_s
        while full := self._full(peer, *space):
            if self._closed:
                raise ServiceClosed("the service is closed")
            self._check_possible(peer, space)
            if timeout_s == 0:
                raise Backpressure(f"{full} is full")
            left_s = None if end_at is None else end_at - monotonic()
            if left_s is not None and left_s <= 0:
                raise DeliveryTimeout(f"{full} was full for {timeout_s:g} s; not sent")
            self._room.wait(left_s)

    def _count(self, peer: Address, bodies: int, size_bytes: int) -> None:
        before, before_bytes = self._waiting.get(peer, _NOTHING)
        if not before and self._is_guest(peer):
            self._guests.add(peer)
        if peer in self._guests:
            self._guests_bodies += bodies
            self._guests_bytes += size_bytes
        self._bodies += bodies
        self._bytes += size_bytes
        if before + bodies:
            self._waiting[peer] = (before + bodies, before_bytes + size_bytes)
        else:
            self._waiting.pop(peer, None)
            self._guests.discard(peer)

    def _full(self, peer: Address, more: int, more_bytes: int) -> str:
        """Return what is too full for one more message; empty if nothing is."""
        limits = self._limits
        bodies, size_bytes = self._waiting.get(peer, _NOTHING)
        if (
            bodies + more > limits.outbox_max_messages
            or size_bytes + more_bytes > limits.outbox_max_bytes
        ):
            return f"the outbox to {address_text(peer)}"
        if (
            self._bodies + more > limits.outbox_total_max_messages
            or self._bytes + more_bytes > limits.outbox_total_max_bytes
        ):
            return "what may wait for all peers together"
        if (
            self._guests_bodies + more > limits.outbox_guests_max_messages
            or self._guests_bytes + more_bytes > limits.outbox_guests_max_bytes
        ) and self._is_guest(peer):
            return "what may wait for all peers together that were not added"
        return ""

    def _check_possible(self, peer: Address, space: tuple[int, int]) -> None:
        """Raise TooLarge for a message that does not even fit into empty outboxes."""
        limits = self._limits
        bodies = min(limits.outbox_max_messages, limits.outbox_total_max_messages)
        size_bytes = min(limits.outbox_max_bytes, limits.outbox_total_max_bytes)
        if self._is_guest(peer):
            bodies = min(bodies, limits.outbox_guests_max_messages)
            size_bytes = min(size_bytes, limits.outbox_guests_max_bytes)
        if space[0] > bodies or space[1] > size_bytes:
            raise TooLarge(f"{space[1]} bytes are more than the outboxes may hold here")
