# ruff: noqa: T201  # A program: it prints for people, and its processes to each other.
"""How soon a broken link is noticed, and how soon messages flow again; medians.

``python -m tests.bench.recovery [--trials N] [--outage S]`` measures with default limits, two
processes that send each other a message every 10 ms, and what they print with the time of the
monotonic clock, which all processes of a machine share:

* On two hosts (network namespaces; takes root), for S seconds without a RST: the time until each
  side says that it is disconnected, and from healing until each receives again. Once by pulling one
  host's cable, so that its own kernel knows; once by a wire that goes dark, where nobody knows.
* On loopback, a process that is killed and started again after a pause: the time from its listening
  to the first ack of a message to it. Once where each dials the other, once where only the other
  dials.

What looking for many dead peers costs, `tests.bench.dead_peers` tells. This program exits 0 only if
every median meets its target. ``--limits`` takes other limits, as JSON. Put the machine, the commit
and the output together when citing a figure.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import IO, Any

from tests.real.faults.ports import reserved_ports
from tests.real.namespaces.hosts import ADDRESSES, DARK, FAIR, Hosts, unavailable
from zmqp2p import Identity, Limits, P2PService, PeerUri, message
from zmqp2p.events import Event, PeerConnected, PeerDisconnected

SEND_INTERVAL_S = 0.01
TIMEOUT_S = 30.0
STEADY_COUNT = 50  # Messages that have come before something is broken.
STEADY_S = 1.5  # And so long: where both dialed, one of the two links is given up after 1 s.
NAMES = ("alice", "bob")
NOTICED_S, HEALED_S, SERVED_S = 2.0, 0.5, 0.1  # The targets.


@message(7110)
@dataclass(frozen=True)
class Beat:
    """What the two send each other."""

    number: int


# --- The child ----------------------------------------------------------------------------------


def serve(text: str) -> None:
    """Send a message every 10 ms, and say what happens when; until the input ends."""
    task = json.loads(text)
    stop = threading.Event()
    threading.Thread(target=watch_input, args=(stop,), daemon=True).start()
    with P2PService(
        task["endpoint"],
        identity=Identity.load_or_create(task["key"]),
        store=task["store"],
        limits=Limits(**task["limits"]),
    ) as p2p:
        say("listens")
        p2p.on_event(say_event)
        p2p.on_message(lambda _: say("received"), message_type=Beat)
        peer = Identity.load_or_create(task["peer_key"]).address
        if task["contact"]:
            p2p.add_peer(task["contact"])
        number = 0
        while not stop.wait(SEND_INTERVAL_S):
            if any(status.address == peer for status in p2p.peers()):
                receipt = p2p.send_message(peer, Beat(number))
                receipt.add_done_callback(lambda ended: say("acked") if ended.acked else None)
                number += 1


def watch_input(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def say(what: str) -> None:
    """Print one line, in one call: several threads print."""
    sys.stdout.write(f"{what} {monotonic()}\n")
    sys.stdout.flush()


def say_event(event: Event) -> None:
    """Print what the trials wait for."""
    if isinstance(event, PeerConnected):
        say("connected")
    elif isinstance(event, PeerDisconnected):
        say("disconnected")


# --- The parent's view of a child ---------------------------------------------------------------


@dataclass
class Child:
    """One node, over all its runs: what it said, and when."""

    command: list[str]
    entries: list[tuple[str, float]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    process: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None

    def start(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout is not None
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self.reader.start()

    def kill(self) -> None:
        """End the process with SIGKILL. Nothing happens if there is none."""
        if self.process is not None and self.process.stdin is not None:
            self.process.kill()
            self.process.stdin.close()
            self.process.wait()
        if self.reader is not None:
            self.reader.join()

    def when(self, what: str, after: float, count: int = 1) -> float:
        """Wait until it has said ``what`` so often since ``after``; return when it did."""

        def found() -> list[float]:
            return [at for said, at in self.entries if said == what and at > after]

        with self.changed:
            if not self.changed.wait_for(lambda: len(found()) >= count, TIMEOUT_S):
                raise TimeoutError(f"never said {what!r}; last: {self.entries[-5:]}")
            return found()[count - 1]

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            what, _, at = line.strip().partition(" ")
            with self.changed:
                self.entries.append((what, float(at)))
                self.changed.notify_all()
        lines.close()


@contextmanager
def children(
    endpoints: list[str],
    limits: dict[str, Any],
    *,
    prefixes: tuple[tuple[str, ...], ...] = ((), ()),
    mutual: bool = True,
) -> Iterator[tuple[Child, Child]]:
    """Start both nodes; without ``mutual`` only the first dials."""
    with tempfile.TemporaryDirectory(prefix="zmqp2p-bench-") as folder, ExitStack() as stack:
        keys = [str(Path(folder) / f"{name}.key") for name in NAMES]
        identities = [Identity.load_or_create(key) for key in keys]
        made = []
        for index, name in enumerate(NAMES):
            other = identities[1 - index]
            contact = str(PeerUri(other.address, other.curve_public, endpoints[1 - index]))
            task = {
                "key": keys[index],
                "peer_key": keys[1 - index],
                "store": str(Path(folder) / f"{name}.db"),
                "endpoint": endpoints[index] if mutual or index == 1 else None,
                "contact": contact if mutual or index == 0 else "",
                "limits": limits,
            }
            program = [sys.executable, "-m", "tests.bench.recovery", "--serve", json.dumps(task)]
            made.append(Child([*prefixes[index], *program]))
            stack.callback(made[-1].kill)
            made[-1].start()
        yield made[0], made[1]


# --- Trials -------------------------------------------------------------------------------------


@dataclass
class Figure:
    """One thing that is measured, in seconds."""

    name: str
    target_s: float
    samples_s: list[float] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        return statistics.median(self.samples_s)

    def __str__(self) -> str:
        met = "met" if self.median_s <= self.target_s else "MISSED"
        spread = f"{min(self.samples_s):.3f} to {max(self.samples_s):.3f}"
        return (
            f"{self.name:<58} {self.median_s:>7.3f} s  ({spread}, {len(self.samples_s)} samples)"
            f"  target {self.target_s:g} s: {met}"
        )


def outages(options: argparse.Namespace, how: str) -> list[Figure]:
    """Measure outages of two hosts' link."""
    noticed = [Figure(f"{how}: noticed by {name}", NOTICED_S) for name in NAMES]
    healed = [Figure(f"{how}: {name} receives after healing", HEALED_S) for name in NAMES]
    with Hosts() as hosts:
        breaks, heals = _switches(hosts)[how]
        endpoints = [f"tcp://{address}:7901" for address in ADDRESSES]
        prefixes = (hosts.prefix(0), hosts.prefix(1))
        with children(endpoints, options.limits, prefixes=prefixes) as both:
            for _ in range(options.trials):
                began_at = monotonic()
                for child in both:
                    child.when("received", began_at, STEADY_COUNT)
                threading.Event().wait(STEADY_S)
                broken_at = monotonic()
                breaks()
                for child, figure in zip(both, noticed, strict=True):
                    figure.samples_s.append(child.when("disconnected", broken_at) - broken_at)
                threading.Event().wait(max(broken_at + options.outage - monotonic(), 0))
                healed_at = monotonic()
                heals()
                for child, figure in zip(both, healed, strict=True):
                    figure.samples_s.append(child.when("received", healed_at) - healed_at)
    return [*noticed, *healed]


def _switches(hosts: Hosts) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    return {
        "unplugged": (lambda: hosts.link(0, up=False), lambda: hosts.link(0, up=True)),
        "dark": (lambda: hosts.set(DARK), lambda: hosts.set(FAIR)),
    }


def restarts(options: argparse.Namespace, *, mutual: bool, pause_s: float) -> Figure:
    """Measure how soon a process that was killed and started again is served."""
    how = "each dials" if mutual else "only dialed"
    figure = Figure(f"killed, down for {pause_s:g} s, {how}: first ack after listening", SERVED_S)
    with ExitStack() as stack:
        ports = stack.enter_context(reserved_ports(len(NAMES)))
        endpoints = [f"tcp://127.0.0.1:{port}" for port in ports]
        alice, bob = stack.enter_context(children(endpoints, options.limits, mutual=mutual))
        for _ in range(options.trials):
            alice.when("acked", monotonic(), STEADY_COUNT)
            bob.kill()
            killed_at = monotonic()
            threading.Event().wait(pause_s)
            bob.start()
            listens_at = bob.when("listens", killed_at)
            figure.samples_s.append(alice.when("acked", listens_at) - listens_at)
    return figure


def main() -> int:
    """Run the benchmark, or one child of it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.recovery")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--outage", type=float, default=10.0, metavar="S")
    parser.add_argument("--limits", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--only", choices=("outages", "restarts"))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return 0
    figures = []
    if options.only != "restarts":
        reason = unavailable()
        for how in () if reason else ("unplugged", "dark"):
            figures += show(outages(options, how))
        if reason:
            print(f"outages: not measured, {reason}")
    if options.only != "outages":
        for mutual in (True, False):
            for pause_s in (0.2, 3.0):
                figures += show([restarts(options, mutual=mutual, pause_s=pause_s)])
    return 0 if all(figure.median_s <= figure.target_s for figure in figures) else 1


def show(figures: list[Figure]) -> list[Figure]:
    """Print figures, and return them."""
    for figure in figures:
        print(figure, flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
