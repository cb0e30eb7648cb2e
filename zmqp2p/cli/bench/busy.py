"""Threads of Python code that never rest, as an application may have: what they cost messages."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def busy_threads(count: int, switch_s: float) -> Iterator[None]:
    """Run ``count`` threads that compute all the time, until the block ends.

    ``switch_s`` is how long a thread may keep the interpreter when others want it
    (`sys.setswitchinterval`).
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(switch_s)
    done = threading.Event()
    threads = [threading.Thread(target=_compute, args=(done,), daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)


def _compute(done: threading.Event) -> None:
    while not done.is_set():
        sum(range(100))
