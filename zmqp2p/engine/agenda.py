"""When what must be looked at again: one heap for every timer of a node.

A deadline usually moves later (each frame heard postpones a link's). So an entry is only a
promise to look: whoever is due says when to look next, and no timer is ever cancelled.
"""

import heapq
from math import ceil, floor, inf
from typing import Generic, TypeVar

K = TypeVar("K")
_GRAINS_PER_S = 32  # A power of two: what is rounded to it is exact, and never before its time.
_ROUND_MIN = 32  # Spreading fewer is not worth it.
_ROUND_MAX_S = 0.25  # After a longer time than this, what was missed is spread all the same.


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

    def due(self, now: float, most: float = inf) -> list[K]:
        """Remove and return the keys whose instant has come, the earliest first, up to ``most``."""
        keys: list[K] = []
        heap, planned = self._heap, self._at
        while heap and heap[0][0] <= now and len(keys) < most:
            at, _, key = heapq.heappop(heap)
            if planned.get(key) == at:  # Else it is stale.
                del planned[key]
                keys.append(key)
        return keys


class Rounds(Generic[K]):
    """An agenda for many keys of which none is urgent: they are looked at together, in rounds.

    A round is due 32 times a second. So the thread that sleeps until then wakes up as often for
    ten thousand links as for a hundred, and what each look brings about is one batch. Keys that
    came to be due all at once, as after a pause, are spread over several rounds.
    """

    def __init__(self) -> None:
        self._agenda: Agenda[K] = Agenda()
        self._not_before = 0.0  # Not all that were due had their look.
        self._last_at = 0.0  # When `due` was asked last.

    def schedule(self, key: K, at: float) -> None:
        """Look at ``key`` in a round at or after ``at``; later than planned changes nothing."""
        self._agenda.schedule(key, at)

    def next(self) -> float | None:
        """Return when the next round is."""
        at = self._agenda.next()
        return (
            None if at is None else max(ceil(at * _GRAINS_PER_S) / _GRAINS_PER_S, self._not_before)
        )

    def due(self, now: float, per_s: float) -> list[K]:
        """Remove and return the keys whose instant has come; in one round not too many.

        ``per_s`` is how many there are in a second if they are spread well: twice as many have
        their look, also if the thread is late for its rounds, or it would fall behind for ever.
        """
        if now < self._not_before:
            return []
        since_s = min(max(now - self._last_at, 1 / _GRAINS_PER_S), _ROUND_MAX_S)
        self._last_at = now
        most = max(ceil(2 * per_s * since_s), _ROUND_MIN)
        keys = self._agenda.due(now, most)
        if len(keys) >= most:
            self._not_before = (floor(now * _GRAINS_PER_S) + 1) / _GRAINS_PER_S
        return keys
