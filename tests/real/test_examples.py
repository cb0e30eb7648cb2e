"""The two examples as people run them: in any order, killed at any step and started again."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import pytest

from zmqp2p.chain import SimulatedChain

ROOT = Path(__file__).parents[2]
PATIENCE_S = 40.0
STEPS = {  # What each prints in an undisturbed run, first words.
    "alice": [
        "listens",
        "knows",
        "prefund_signed",
        "prefund_complete",
        "deposit_submitted",
        "funded_on_chain",
        "postfund_signed",
        "funded",
        "done",
    ],
    "bob": [
        "listens",
        "prefund_signed",
        "prefund_complete",
        "deposit_submitted",
        "funded_on_chain",
        "postfund_signed",
        "funded",
        "done",
    ],
}


def free_port() -> int:
    """Return a port nobody listens at, outside the range of outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Example:
    """An example's process; `said` is what it has printed, without its name."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.name = name
        self.said: list[str] = []
        self._command = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
        self._command += ["--folder", str(folder), "--port", str(port)]
        self.start()

    def start(self) -> None:
        """Start it, or start it again by the same command."""
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self._reader = Thread(target=self._read, args=(self._process, self._lines), daemon=True)
        self._reader.start()

    @staticmethod
    def _read(process: "subprocess.Popen[str]", lines: "SimpleQueue[str | None]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    def hear(self, deadline: float) -> str | None:
        """Return its next line; None at the end."""
        try:
            line = self._lines.get(timeout=max(deadline - time.monotonic(), 0.0))
        except Empty:
            pytest.fail(f"{self.name} said nothing more after {self.said}")
        if line is None:
            return None
        self.said.append(line.removeprefix(f"{self.name}: ").strip())
        return self.said[-1]

    def kill(self) -> None:
        """Kill it; what it printed meanwhile is not heard. Nothing happens if it has ended."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def finish(self, deadline: float) -> str:
        """Wait until it has ended well; return the id of the channel it reports."""
        while self.hear(deadline) is not None:
            pass
        assert self._process.stderr is not None
        errors = self._process.stderr.read()
        assert (self._process.wait(), errors) == (0, "")
        (channel,) = {line.split()[1] for line in self.said if line.startswith("funded 0x")}
        return channel


class Pair:
    """Alice and Bob in one folder, on ports of their own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._ports = {"alice": free_port(), "bob": free_port()}
        self._stack = stack
        self.deadline = time.monotonic() + PATIENCE_S

    def start(self, name: str) -> Example:
        """Start Alice or Bob; killed at the end of the test."""
        example = Example(name, self.folder, self._ports[name])
        self._stack.callback(example.kill)
        return example

    def check(self, alice: Example, bob: Example) -> str:
        """Check that both end well with one channel, each having paid once; return its id."""
        channels = {alice.finish(self.deadline), bob.finish(self.deadline)}
        with closing(SimulatedChain(self.folder / "chain.db")) as chain:
            made = [("0x" + each.channel.hex(), each.amount) for each in chain.deposits()]
        (channel,) = channels
        assert made == [(channel, 60), (channel, 40)]
        return channel


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(tmp_path / "demo", stack)


@pytest.mark.parametrize("first", ["alice", "bob"])
def test_either_may_be_started_first(pair: Pair, first: str) -> None:
    second = "bob" if first == "alice" else "alice"
    started = {first: pair.start(first)}
    assert started[first].hear(pair.deadline)
    started[second] = pair.start(second)
    pair.check(started["alice"], started["bob"])
    for name, example in started.items():
        assert [line.split(",")[0].split()[0] for line in example.said] == STEPS[name]


@pytest.mark.parametrize(
    ("victim", "lines"),
    [(name, count) for name, steps in STEPS.items() for count in range(1, len(steps))],
)
def test_either_may_be_killed_after_any_step_and_started_again(
    pair: Pair, victim: str, lines: int
) -> None:
    # By turns the one that is killed was the first or the second to start.
    order = ["alice", "bob"] if lines % 2 else ["bob", "alice"]
    started = {name: pair.start(name) for name in order}
    for _ in range(lines):
        assert started[victim].hear(pair.deadline)
    started[victim].kill()
    started[victim].start()
    pair.check(started["alice"], started["bob"])


def test_started_again_after_the_end_they_report_the_same_channel(pair: Pair) -> None:
    """What is funded stays so; nothing is proposed or paid again."""
    channel = pair.check(pair.start("alice"), pair.start("bob"))
    bob, alice = pair.start("bob"), pair.start("alice")
    assert pair.check(alice, bob) == channel
