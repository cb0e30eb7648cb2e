"""``zmqp2p demo`` as a process: it succeeds, and leaves nothing behind however it ends."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


class Demo:
    """A running demo whose temporary folder is in ``folder``."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        # A shell starts what it puts into the background with SIGINT ignored; that is inherited.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "zmqp2p", "demo", *arguments],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        signal.signal(signal.SIGINT, before)

    def parties(self) -> list[int]:
        """Return a descriptor of each party's process, once both have made their keys."""
        assert self.process.stdout is not None
        found: list[int] = []
        while len(found) < 2:
            step = json.loads(self.process.stdout.readline())
            if step["what"] == "keys_made":
                found.append(os.pidfd_open(step["pid"]))
        return found

    def end(self) -> None:
        """Kill it, and let go of its pipes."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def demo(tmp_path: Path, stack: ExitStack) -> Demo:
    """Return a demo that was just started and prints JSON."""
    started = Demo(tmp_path, "--json")
    stack.callback(started.end)
    return started


def test_the_demo_shows_a_funded_channel_and_leaves_nothing(
    tmp_path: Path, stack: ExitStack
) -> None:
    demo = Demo(tmp_path)
    stack.callback(demo.end)
    out, errors = demo.process.communicate(timeout=PATIENCE_S)
    assert (demo.process.returncode, errors) == (0, "")
    assert "\nFunded.\n" in out
    assert "signed by both parties; both signatures verified here" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_ends_its_parties_and_leaves_nothing(
    demo: Demo, tmp_path: Path, stack: ExitStack, number: signal.Signals
) -> None:
    parties = demo.parties()
    for party in parties:
        stack.callback(os.close, party)
    demo.process.send_signal(number)
    _, errors = demo.process.communicate(timeout=PATIENCE_S)
    assert (demo.process.returncode, errors) == (130, "interrupted\n")
    assert len(select.select(parties, [], [], 0)[0]) == 2, "a party is still running"
    assert list(tmp_path.iterdir()) == []


def test_the_parties_of_a_killed_demo_end_by_themselves(demo: Demo, stack: ExitStack) -> None:
    parties = demo.parties()
    for party in parties:
        stack.callback(os.close, party)
    demo.process.kill()
    for party in parties:
        assert select.select([party], [], [], PATIENCE_S)[0], "a party outlives its parent"
