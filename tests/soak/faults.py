"""What goes wrong in a soak: connections are reset, and the network lets nothing through."""

from collections.abc import Sequence
from math import inf
from random import Random
from time import monotonic

from tests.real.faults.proxy import HOLE, PASS, FaultProxy, Way

RESET_PAUSE_S = (0.3, 1.5)  # From one to the next, at random between these.
PARTITION_PAUSE_S = (4.0, 10.0)
PARTITION_S = (0.3, 3.0)


class Resets:
    """All connections are reset at random intervals."""

    def __init__(self, proxies: Sequence[FaultProxy], rng: Random) -> None:
        self._proxies = proxies
        self._rng = rng
        self.count = 0
        self.next_at = monotonic() + rng.uniform(*RESET_PAUSE_S)

    def act(self, _progress: float) -> None:
        for proxy in self._proxies:
            proxy.reset()
        self.count += 1
        self.next_at = monotonic() + self._rng.uniform(*RESET_PAUSE_S)

    def end(self) -> None:
        self.next_at = inf


class Partitions:
    """Black holes between the first party and the second, one way or both, that end again.

    ``first`` and ``second`` are the proxies in front of them: what the first sends goes there
    through ``second``, and back through ``first``.
    """

    def __init__(self, first: FaultProxy, second: FaultProxy, rng: Random) -> None:
        self._first = first
        self._second = second
        self._rng = rng
        self._open = False
        self.count = 0
        self.next_at = monotonic() + rng.uniform(*PARTITION_PAUSE_S)

    def act(self, _progress: float) -> None:
        if self._open:
            self._heal()
            self.next_at = monotonic() + self._rng.uniform(*PARTITION_PAUSE_S)
            return
        self._open = True
        self.count += 1
        silent = self._rng.choice([(True, True), (True, False), (False, True)])
        for ways in [pair for pair, cut in zip(self._paths(), silent, strict=True) if cut]:
            for proxy, way in ways:
                proxy.set(HOLE, way)
        self.next_at = monotonic() + self._rng.uniform(*PARTITION_S)

    def end(self) -> None:
        self._heal()
        self.next_at = inf

    def _heal(self) -> None:
        self._open = False
        for proxy in (self._first, self._second):
            proxy.set(PASS)

    def _paths(self) -> Sequence[Sequence[tuple[FaultProxy, Way]]]:
        """From the first to the second, and from the second to the first."""
        return (
            ((self._second, Way.THERE), (self._first, Way.BACK)),
            ((self._first, Way.THERE), (self._second, Way.BACK)),
        )
