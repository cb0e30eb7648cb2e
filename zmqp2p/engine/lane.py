"""Start-time fair queueing: whose next piece of work is the one to do. Pure."""

import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Lane(Generic[K, T]):
    """Items of users by the work at which each user's next one begins, the least first.

    That is where the work done for the user so far ends, or here if that is past: who had nothing
    to do has no credit for it. ``heap`` is for looking at only.
    """

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, T]] = []
        self._at = 0.0  # Where the item begins that was taken out last.
        self._ends: dict[K, float] = {}  # Where each one's work ends.

    def push(self, user: K, item: T, ticket: int) -> None:
        """Let ``item`` of ``user`` stand in its place; of those that begin together, by ticket."""
        starts_at = max(self._at, self._ends.get(user, 0.0))
        heapq.heappush(self.heap, (starts_at, ticket, item))

    def pop(self) -> T:
        """Take out what is next."""
        if len(self.heap) == 1:
            self._ends.clear()  # Nobody is ahead of anybody.
        self._at, _, item = heapq.heappop(self.heap)
        return item

    def worked(self, user: K, work: float) -> None:
        """Note that so much was done for ``user``, whose item was taken out last."""
        self._ends[user] = self._at + work

    @property
    def remembered(self) -> int:
        """For how many users it is known what was done."""
        return len(self._ends)

    def forget(self, user: K) -> None:
        """Nothing counts any more of what was done for ``user``, of whom nothing stands here."""
        self._ends.pop(user, None)

    def take_if(self, ready: Callable[[T], bool]) -> list[T]:
        """Take out those for which ``ready`` holds, in their order."""
        stay: list[tuple[float, int, T]] = []
        taken: list[tuple[float, int, T]] = []
        for entry in self.heap:
            (taken if ready(entry[2]) else stay).append(entry)
        if taken:
            heapq.heapify(stay)
            self.heap[:] = stay  # In place: others know it by reference.
        return [item for _, _, item in sorted(taken, key=lambda entry: entry[:2])]
