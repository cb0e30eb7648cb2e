"""How much may wait in the outboxes: a limit for each peer, and one for all together.

Counted on the caller's thread, so that a fast sender waits (or is told) before anything piles up.
What is counted is what the outboxes hold, from earlier runs and of channels too, and what is on its
way there. Channels are never held up: their messages are few, and funds may hang on them.
"""

import threading
from time import monotonic

from zmqp2p.errors import Backpressure, DeliveryTimeout, ServiceClosed, TooLarge
from zmqp2p.ids import Address, address_text
from zmqp2p.limits import Limits


class OutboxGate:
    """Messages and bytes that wait for the acks of each peer, and of all."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: dict[Address, tuple[int, int]] = {}
        self._messages = self._bytes = 0  # Of all peers.
        self._room = threading.Condition()
        self._closed = False

    def enter(self, peer: Address, size_bytes: int, timeout_s: float | None) -> None:
        """Count one message in, waiting until there is room; ``timeout_s`` 0 does not wait.

        Raises:
            TooLarge: there never is room for it.
            Backpressure: full, and ``timeout_s`` is 0.
            DeliveryTimeout: still full after ``timeout_s``. Nothing was sent.
            ServiceClosed: the service closed meanwhile.
        """
        if size_bytes > min(self._limits.outbox_max_bytes, self._limits.outbox_total_max_bytes):
            raise TooLarge(f"{size_bytes} bytes are more than an outbox may hold here")
        end_at = None if timeout_s is None else monotonic() + timeout_s
        with self._room:
            while not self._fits(peer, size_bytes):
                if self._closed:
                    raise ServiceClosed("the service is closed")
                if timeout_s == 0:
                    raise Backpressure(f"{self._full(peer, size_bytes)} is full")
                left_s = None if end_at is None else end_at - monotonic()
                if left_s is not None and left_s <= 0:
                    full = self._full(peer, size_bytes)
                    raise DeliveryTimeout(f"{full} was full for {timeout_s:g} s; not sent")
                self._room.wait(left_s)
            self._count(peer, 1, size_bytes)

    def add(self, peer: Address, messages: int, size_bytes: int) -> None:
        """Count in messages that are in the outbox whether or not there is room."""
        with self._room:
            self._count(peer, messages, size_bytes)

    def leave(self, peer: Address, messages: int, size_bytes: int) -> None:
        """Count out messages that the peer has processed, or that were not sent after all."""
        with self._room:
            self._count(peer, -messages, -size_bytes)
            self._room.notify_all()

    def waiting(self, peer: Address) -> tuple[int, int]:
        """Return how many messages, of how many bytes, are counted for ``peer``."""
        with self._room:
            return self._waiting.get(peer, (0, 0))

    def close(self) -> None:
        """Nobody needs to wait any more."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    def check(self) -> None:
        """Assert the invariant: nothing is counted out that was not counted in."""
        with self._room:
            assert all(messages > 0 for messages, _ in self._waiting.values())
            assert all(size_bytes >= 0 for _, size_bytes in self._waiting.values())
            sums = [sum(column) for column in zip(*self._waiting.values(), strict=True)] or [0, 0]
            assert [self._messages, self._bytes] == sums

    def _count(self, peer: Address, messages: int, size_bytes: int) -> None:
        before, before_bytes = self._waiting.get(peer, (0, 0))
        if before + messages:
            self._waiting[peer] = (before + messages, before_bytes + size_bytes)
        else:
            self._waiting.pop(peer, None)
        self._messages += messages
        self._bytes += size_bytes

    def _fits(self, peer: Address, size_bytes: int) -> bool:
        return self._fits_peer(peer, size_bytes) and (
            self._messages < self._limits.outbox_total_max_messages
            and self._bytes + size_bytes <= self._limits.outbox_total_max_bytes
        )

    def _fits_peer(self, peer: Address, size_bytes: int) -> bool:
        messages, waiting_bytes = self._waiting.get(peer, (0, 0))
        return (
            messages < self._limits.outbox_max_messages
            and waiting_bytes + size_bytes <= self._limits.outbox_max_bytes
        )

    def _full(self, peer: Address, size_bytes: int) -> str:
        if self._fits_peer(peer, size_bytes):
            return "what may wait for all peers together"
        return f"the outbox to {address_text(peer)}"
