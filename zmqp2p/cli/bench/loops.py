"""How a sender sends: by a window, or by the clock. Whatever it sends with, and whatever the time.

Sending by the clock has no coordinated omission: a message that leaves late, because the one before
took long, has waited since it was due, and that counts.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from time import perf_counter
from typing import Protocol, TypeVar

from zmqp2p.cli.bench.figures import outcome_of
from zmqp2p.cli.bench.script import BenchFailed, Load, Outcome

M = TypeVar("M")


class Sent(Protocol):
    """What becomes of a message: a `zmqp2p.Receipt`."""

    ended: bool

    @property
    def error(self) -> Exception | None:
        """How it ended if not acked."""
        ...

    def wait(self, timeout_s: float | None = None) -> None:
        """Return once it is acked; raises if it will not be."""
        ...

    def add_done_callback(self, callback: "Callable[[Sent], None]") -> None:
        """Call ``callback`` when it ends, on another thread, or now."""
        ...


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as a sender sees it, in seconds."""

    now: Callable[[], float] = perf_counter
    sleep: Callable[[float], None] = time.sleep


CLOCK = Clock()


def windowed(
    send: Callable[[M], Sent], messages: Sequence[M], load: Load, clock: Clock = CLOCK
) -> Outcome:
    """Send with at most ``load.window`` not acked; raises what a message ended with instead."""
    pending: deque[tuple[float, Sent]] = deque()
    latencies: list[float] = []

    def take_oldest() -> None:
        began, sent = pending.popleft()
        sent.wait(load.timeout_s)
        latencies.append(clock.now() - began)

    started = clock.now()
    for message in messages:
        began = clock.now()
        pending.append((began, send(message)))
        while pending and (pending[0][1].ended or len(pending) >= load.window):
            take_oldest()
    while pending:
        take_oldest()
    return outcome_of(latencies, clock.now() - started)


def paced(
    send: Callable[[M], Sent], messages: Sequence[M], load: Load, clock: Clock = CLOCK
) -> Outcome:
    """Send ``load.rate`` messages a second; raises what a message ended with instead.

    Raises:
        BenchFailed: not all are acked ``load.timeout_s`` after the last was sent.
    """
    acks = _Acks(len(messages), clock)
    started = clock.now()
    for index, message in enumerate(messages):
        due = started + index / load.rate
        early_s = due - clock.now()
        if early_s > 0:
            clock.sleep(early_s)
        acks.expect(send(message), due)
    return outcome_of(acks.latencies(load.timeout_s), clock.now() - started)


class _Acks:
    """Notes when each of ``count`` messages is acked, on whatever thread that is told."""

    def __init__(self, count: int, clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._latencies: list[float] = []
        self._errors: list[Exception] = []
        self._all = Event()

    def expect(self, sent: Sent, due: float) -> None:
        """Note how long after ``due`` it is acked."""

        def ended(sent: Sent) -> None:
            if sent.error is not None:
                self._errors.append(sent.error)
            self._latencies.append(self._clock.now() - due)
            if len(self._latencies) == self._count:
                self._all.set()

        sent.add_done_callback(ended)

    def latencies(self, timeout_s: float) -> list[float]:
        """Wait for all, and return how long each took."""
        if not self._all.wait(timeout_s):
            raise BenchFailed(f"{len(self._latencies)} of {self._count} acked in {timeout_s:g} s")
        if self._errors:
            raise self._errors[0]
        return self._latencies
