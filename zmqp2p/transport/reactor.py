"""Readiness: which socket must be read next, and how long the thread may sleep.

``zmq.FD`` is edge-like: a send or an option read can swallow its signal while messages wait. So a
source that was touched is marked and is served before the next sleep, whatever its descriptor says.
"""

import heapq
import itertools
import os
import selectors
import threading
import time
from collections.abc import Callable

Serve = Callable[[], bool]
"""Reads what there is, bounded; returns True if something is left."""


class Reactor:
    """Descriptors, marks, timers and the wake-up of one thread.

    All methods but `wake` belong to that thread. Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ready: dict[Serve, None] = {}  # A set that keeps its order.
        self._fired: set[Serve] = set()  # Readable in this turn.
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = itertools.count()  # Orders timers of one instant; callables do not compare.
        # Nothing may be written after the pipe is closed. Reentrant: a signal handler may `wake`
        # the very thread that holds it.
        self._wake_lock = threading.RLock()
        self._wake_due = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)

    def watch(self, fd: int, serve: Serve, events: int = selectors.EVENT_READ) -> None:
        """Call ``serve`` when ``fd`` is readable (or as ``events`` says); it is marked at first."""
        self._selector.register(fd, events, serve)
        self._ready[serve] = None

    def unwatch(self, fd: int, serve: Serve) -> None:
        """Forget ``fd``, to be called before it is closed; ``serve`` is not called any more."""
        self._selector.unregister(fd)
        self._ready.pop(serve, None)
        self._fired.discard(serve)

    def mark(self, serve: Serve) -> None:
        """Have `catch_up` call ``serve`` before the thread sleeps again."""
        self._ready[serve] = None

    def is_marked(self, serve: Serve) -> bool:
        """Tell whether ``serve`` is due, so that something may be left to read."""
        return serve in self._ready

    def call_at(self, at: float, call: Callable[[], None]) -> None:
        """Call ``call`` once at ``at`` or soon after. Whether it still matters is its business."""
        heapq.heappush(self._timers, (at, next(self._ticket), call))

    def catch_up(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Serve what is marked, once; what then has something left stays marked, as the last.

        When there is ``enough``, the others keep their places: next time they are the first.
        """
        for serve in list(self._ready):
            if enough():
                return
            if serve in self._ready:  # Not forgotten by the one before it.
                del self._ready[serve]
                self._serve(serve)

    def turn(self, until: float | None) -> bool:
        """Sleep until something is ready, a timer is due or ``until``; serve it once.

        Does not sleep if something is marked, and leaves that to `catch_up`, so that between two
        calls of `catch_up` no source is served twice.

        Returns:
            True if `wake` was called.
        """
        woken = False
        fired: list[Serve] = []
        for key, _ in self._selector.select(self._pause_s(until)):
            if key.data is None:
                woken = True
            elif key.data not in self._ready:
                fired.append(key.data)
        if woken:
            self._clear_wake()
        self._fired = set(fired)
        for serve in fired:
            if serve in self._fired:  # Not forgotten by the one before it.
                self._serve(serve)
        self._run_timers()
        return woken

    def wake(self) -> None:
        """Make the current or next `turn` return True; any thread, any number of times."""
        with self._wake_lock:
            if not self._wake_due and self._wake_write >= 0:
                self._wake_due = True
                os.write(self._wake_write, b"\0")  # At most one byte waits: it cannot block.

    def close(self) -> None:
        """Close the selector and the pipe; `wake` does nothing from then on."""
        with self._wake_lock:
            os.close(self._wake_write)
            self._wake_write = -1
        self._selector.close()
        os.close(self._wake_read)
        self._ready.clear()
        self._timers.clear()

    def _serve(self, serve: Serve) -> None:
        if serve():
            self._ready[serve] = None

    def _pause_s(self, until: float | None) -> float | None:
        """Return how long to sleep; None is for ever. The selector rounds up to milliseconds."""
        if self._ready:
            return 0.0
        if self._timers:
            first = self._timers[0][0]
            until = first if until is None else min(until, first)
        return None if until is None else max(0.0, until - time.monotonic())

    def _clear_wake(self) -> None:
        with self._wake_lock:
            os.read(self._wake_read, 1)
            self._wake_due = False

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
