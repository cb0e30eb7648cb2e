"""Busy threads compute while the block runs, and leave the interpreter as it was."""

import sys
import threading

import pytest

from zmqp2p.cli.bench.busy import busy_threads


def test_they_run_until_the_block_ends_with_the_interval_that_was_asked_for() -> None:
    before, interval = threading.active_count(), sys.getswitchinterval()
    with busy_threads(2, 0.001):
        assert threading.active_count() == before + 2
        assert sys.getswitchinterval() == pytest.approx(0.001)
    assert threading.active_count() == before
    assert sys.getswitchinterval() == interval


def test_they_end_when_the_block_fails() -> None:
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no"), busy_threads(1, 0.005):
        raise RuntimeError("no")
    assert threading.active_count() == before
