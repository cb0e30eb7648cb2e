"""How much may wait for one peer: the application's share of the outbox, counted as it is sent.

Counted on the caller's thread, so that a fast sender waits (or is told) before anything piles up.
"""

import threading
from time import monotonic

from zmqp2p.errors import Backpressure, DeliveryTimeout, ServiceClosed
from zmqp2p.ids import Address, address_text
from zmqp2p.limits import Limits


class OutboxGate:
    """Messages and bytes per peer that were sent by the application and have not ended."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: dict[Address, tuple[int, int]] = {}
        self._room = threading.Condition()
        self._closed = False

    def enter(self, peer: Address, size_bytes: int, timeout_s: float | None) -> None:
        """Count one message in, waiting until there is room; ``timeout_s`` 0 does not wait.

        Raises:
            Backpressure: full, and ``timeout_s`` is 0.
            DeliveryTimeout: still full after ``timeout_s``. Nothing was sent.
            ServiceClosed: the service closed meanwhile.
        """
        end_at = None if timeout_s is None else monotonic() + timeout_s
        with self._room:
            while not self._fits(peer, size_bytes):
                if self._closed:
                    raise ServiceClosed("the service is closed")
                if timeout_s == 0:
                    raise Backpressure(f"the outbox to {address_text(peer)} is full")
                left_s = None if end_at is None else end_at - monotonic()
                if left_s is not None and left_s <= 0:
                    raise DeliveryTimeout(f"the outbox was full for {timeout_s:g} s; not sent")
                self._room.wait(left_s)
            messages, waiting_bytes = self._waiting.get(peer, (0, 0))
            self._waiting[peer] = (messages + 1, waiting_bytes + size_bytes)

    def leave(self, peer: Address, messages: int, size_bytes: int) -> None:
        """Count out messages that have ended."""
        with self._room:
            before, before_bytes = self._waiting.get(peer, (0, 0))
            if before <= messages:
                self._waiting.pop(peer, None)
            else:
                self._waiting[peer] = (before - messages, before_bytes - size_bytes)
            self._room.notify_all()

    def close(self) -> None:
        """Nobody needs to wait any more."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    def _fits(self, peer: Address, size_bytes: int) -> bool:
        messages, waiting_bytes = self._waiting.get(peer, (0, 0))
        return (
            messages < self._limits.outbox_max_messages
            and waiting_bytes + size_bytes <= self._limits.outbox_max_bytes
        )
