"""Processes that are stopped (SIGSTOP) and go on: as in a debugger, or on a machine that sleeps.

For 3 s; with ZMQP2P_LONG=1 in the environment for 10 s.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic

import pytest

from tests.bench.recovery import STEADY_COUNT, STEADY_S, Child, children
from tests.real.faults.ports import reserved_ports

PAUSE_S = 10.0 if os.environ.get("ZMQP2P_LONG") == "1" else 3.0  # The limit of silence is 1.5 s.
SOON_S = 3.0

Pair = tuple[Child, Child]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two nodes with default limits that send each other a message every 10 ms."""
    with ExitStack() as stack:
        ports = stack.enter_context(reserved_ports(2))
        endpoints = [f"tcp://127.0.0.1:{port}" for port in ports]
        both = stack.enter_context(children(endpoints, {}))
        for child in both:
            child.when("received", 0.0, STEADY_COUNT)
        threading.Event().wait(STEADY_S)
        yield both
        for child in both:
            tell(child, signal.SIGCONT)


def tell(child: Child, what: signal.Signals) -> None:
    assert child.process is not None
    child.process.send_signal(what)


def said(child: Child, what: str, since: float) -> int:
    """Return how often ``child`` has said ``what``."""
    return sum(word == what and at >= since for word, at in child.entries)


def test_a_link_survives_that_both_of_its_ends_are_stopped(pair: Pair) -> None:
    """LIV-6: the machine slept. Neither takes the other for dead, and nothing is dialed anew."""
    began_at = monotonic()
    for child in pair:
        tell(child, signal.SIGSTOP)
    threading.Event().wait(PAUSE_S)
    woken_at = monotonic()
    for child in pair:
        tell(child, signal.SIGCONT)
    for child in pair:
        assert child.when("received", woken_at, STEADY_COUNT) - woken_at < SOON_S
        assert child.when("acked", woken_at, STEADY_COUNT) - woken_at < SOON_S
        assert said(child, "disconnected", began_at) == said(child, "connected", began_at) == 0


def test_a_process_that_was_stopped_is_served_again_when_it_goes_on(pair: Pair) -> None:
    """LIV-2: the other one has given it up meanwhile, and looks for it."""
    alice, bob = pair
    began_at = monotonic()
    tell(bob, signal.SIGSTOP)
    assert alice.when("disconnected", began_at) - began_at < SOON_S
    threading.Event().wait(began_at + PAUSE_S - monotonic())
    woken_at = monotonic()
    tell(bob, signal.SIGCONT)
    for child in pair:
        assert child.when("received", woken_at, STEADY_COUNT) - woken_at < SOON_S
        assert child.when("acked", woken_at, STEADY_COUNT) - woken_at < SOON_S
    assert said(alice, "connected", began_at) >= 1
