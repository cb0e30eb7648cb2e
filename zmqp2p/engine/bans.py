"""Bans: who may not come in for a while, and why."""

import heapq
import itertools
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Ban:
    """Until when (monotonic seconds) somebody may not come in, and why."""

    until: float
    reason: str


class Bans(Generic[K]):
    """Bans by what names their subjects: an address, or a CURVE key.

    Pure: time comes in as ``now``, monotonic seconds.
    Invariant: at most ``most`` are kept; the one that would end first makes room.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._bans: dict[K, Ban] = {}
        # By their ends, so that who comes by the hundred a second does not have all looked through;
        # a number breaks ties. What was lifted or replaced stays until it is more than half.
        self._ends: list[tuple[float, int, K]] = []
        self._numbers = itertools.count()

    def add(self, subject: K, until: float, reason: str) -> None:
        """Ban ``subject``. It replaces an earlier ban, whichever of them ends later."""
        self._bans.pop(subject, None)
        while len(self._bans) >= self._most:
            ends_at, _, first = heapq.heappop(self._ends)
            if self._is_live(first, ends_at):
                del self._bans[first]
        self._bans[subject] = Ban(until, reason)
        heapq.heappush(self._ends, (until, next(self._numbers), subject))
        if len(self._ends) > 2 * self._most:
            self._ends = [(ban.until, next(self._numbers), s) for s, ban in self._bans.items()]
            heapq.heapify(self._ends)

    def lift(self, subject: K) -> bool:
        """End the ban of ``subject``; False if there is none."""
        return self._bans.pop(subject, None) is not None

    def ask(self, subject: K, now: float) -> Ban | None:
        """Return the ban under which ``subject`` is; None if it may come in."""
        ban = self._bans.get(subject)
        if ban is None or now < ban.until:
            return ban
        del self._bans[subject]
        return None

    def live(self, now: float) -> dict[K, Ban]:
        """Return the bans that are not over, and forget the others."""
        self._bans = {subject: ban for subject, ban in self._bans.items() if now < ban.until}
        return dict(self._bans)

    def clear(self) -> None:
        """End them all."""
        self._bans.clear()

    def check(self) -> None:
        """Assert the invariant."""
        assert len(self._bans) <= self._most
        assert len(self._ends) <= 2 * self._most
        known = {(until, subject) for until, _, subject in self._ends}
        assert all((ban.until, subject) in known for subject, ban in self._bans.items())

    def _is_live(self, subject: K, until: float) -> bool:
        """Whether an entry of `_ends` tells of a ban that is kept."""
        ban = self._bans.get(subject)
        return ban is not None and ban.until == until
