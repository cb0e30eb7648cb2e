"""Threads that examine signatures together with the node's own thread."""

import os
import threading
from queue import SimpleQueue

from zmqp2p.engine.proofs import Proofs


class Helpers:
    """``count`` threads, begun when they are asked for the first time.

    `offer` and `close` are for one thread, the node's.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._offers: SimpleQueue[Proofs | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def offer(self, proofs: Proofs) -> None:
        """Let all who have nothing to do help with ``proofs``; what waits already is enough."""
        if not self._threads:
            self._threads = [self._begin(number) for number in range(self._count)]
        for _ in range(self._count - self._offers.qsize()):
            self._offers.put(proofs)

    def close(self) -> None:
        """Return when all threads have ended, which is soon: what was offered is not much."""
        for _ in self._threads:
            self._offers.put(None)
        for thread in self._threads:
            thread.join()

    def _begin(self, number: int) -> threading.Thread:
        name = f"zmqp2p-helper-{number}"
        thread = threading.Thread(target=self._help, name=name, daemon=True)
        thread.start()
        return thread

    def _help(self) -> None:
        while (proofs := self._offers.get()) is not None:
            proofs.work()


def helpers_of(most: int, cores: int | None = None) -> Helpers | None:
    """Return at most so many helpers, one for each core but the node's; None if there is none."""
    if cores is None:
        cores = os.cpu_count() or 1
    count = min(most, cores - 1)
    return Helpers(count) if count > 0 else None
