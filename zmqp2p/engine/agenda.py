"""When what must be looked at again: one heap for every timer of a node.

A deadline usually moves later (each frame heard postpones a link's). So an entry is only a
promise to look: whoever is due says when to look next, and no timer is ever cancelled.
"""

import heapq
from typing import Generic, TypeVar

K = TypeVar("K")


class Agenda(Generic[K]):
    """Keys by the instant to look at them, monotonic seconds.

    Invariant: each key in ``_at`` has one live heap entry, that with its instant; others are stale
    and at most as many as there were re-schedulings to an earlier instant.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._at: dict[K, float] = {}
        self._count = 0  # Breaks ties, so that keys need no order.

    def schedule(self, key: K, at: float | None) -> None:
        """Look at ``key`` at ``at`` or earlier; None, or later than planned, changes nothing."""
        if at is None or at >= self._at.get(key, float("inf")):
            return
        self._at[key] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))

    def next(self) -> float | None:
        """Return the earliest instant, or None."""
        while self._heap:
            at, _, key = self._heap[0]
            if self._at.get(key) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> list[K]:
        """Remove and return the keys whose instant has come."""
        keys: list[K] = []
        while (at := self.next()) is not None and at <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._at[key]
            keys.append(key)
        return keys
