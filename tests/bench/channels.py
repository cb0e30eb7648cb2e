# ruff: noqa: T201  # A program: it prints for people, and its two processes to each other.
"""How fast many channels open at once between two nodes, each a process of its own.

``python -m tests.bench.channels [N]`` opens N channels (200 by default) from Alice to Bob with
SQLite stores, CURVE on loopback TCP and one simulated chain, as fast as `fund_channel` returns. It
exits 0 only if both sides report all N funded and the chain holds each deposit once. A channel's
time is from the call of `fund_channel` to the event that it is funded, on Alice's side; the total
is from the first call until both sides have all channels and every message is acknowledged. Put the
machine, the commit and the output together when citing a figure.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import IO

from zmqp2p import Identity, P2PService, approve_all
from zmqp2p.chain import SimulatedChain
from zmqp2p.cli.verdict import messages_sent
from zmqp2p.events import ChannelFunded, Event
from zmqp2p.ids import ZERO_ADDRESS, Address, ChannelId
from zmqp2p.state import Allocation, AssetExit, Outcome, destination_of

TIMEOUT_S = 300.0
SHARES = (60, 40)


@dataclass
class Funded:
    """Which channels a node has reported funded, and when, in monotonic seconds."""

    count: int
    at: dict[ChannelId, float] = field(default_factory=dict)
    all: threading.Event = field(default_factory=threading.Event)

    def on_event(self, event: Event) -> None:
        """Take in an event, on the node's thread."""
        if isinstance(event, ChannelFunded):
            self.at[event.channel] = monotonic()
            if len(self.at) == self.count:
                self.all.set()


def serve(folder: Path, count: int) -> None:
    """Be Bob: print the record, approve ``count`` channels, stay until stdin ends."""
    funded = Funded(count)
    with (
        closing(SimulatedChain(folder / "chain.db")) as chain,
        P2PService(
            "tcp://127.0.0.1:0",
            identity=Identity.load_or_create(folder / "bob.key"),
            store=folder / "bob.db",
            chain=chain,
            policy=approve_all,
        ) as p2p,
    ):
        p2p.on_event(funded.on_event)
        print(p2p.record, flush=True)
        if funded.all.wait(TIMEOUT_S):
            p2p.flush(TIMEOUT_S)
        print(len(funded.at), flush=True)
        sys.stdin.read()


@dataclass
class Run:
    """What Alice measured, in seconds, and what both sides and the chain say."""

    opening_s: float
    total_s: float
    each_s: list[float]
    funded: tuple[int, int]  # Of Alice and Bob.
    deposits: Counter[tuple[ChannelId, int]]
    messages: int = 0  # Of both sides; known once both stores are closed.


def measure(folder: Path, count: int) -> Run:
    """Open ``count`` channels with a Bob in a process of his own."""
    command = [sys.executable, "-m", "tests.bench.channels", str(count), "--serve", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bob:
        assert bob.stdin is not None
        assert bob.stdout is not None
        try:
            run = open_all(folder, count, bob.stdout)
            bob.stdin.close()
            bob.wait()
        finally:
            bob.kill()  # Nothing happens if he has ended.
    run.messages = sum(messages_sent(folder / f"{who}.db") for who in ("alice", "bob"))
    return run


def open_all(folder: Path, count: int, bob: IO[str]) -> Run:
    """Be Alice: open the channels and wait for both sides; ``bob`` is what he prints."""
    funded = Funded(count)
    with (
        closing(SimulatedChain(folder / "chain.db")) as chain,
        P2PService(
            "tcp://127.0.0.1:0",
            identity=Identity.load_or_create(folder / "alice.key"),
            store=folder / "alice.db",
            chain=chain,
        ) as p2p,
    ):
        p2p.on_event(funded.on_event)
        peer = p2p.add_peer(bob.readline())
        outcome = outcome_of(p2p.address, peer)
        asked: dict[ChannelId, float] = {}
        began = monotonic()
        for _ in range(count):
            asked_at = monotonic()
            asked[p2p.fund_channel(peer, outcome).channel_id] = asked_at
        opening_s = monotonic() - began
        if funded.all.wait(TIMEOUT_S):
            p2p.flush(TIMEOUT_S)
        by_bob = int(bob.readline())
        total_s = monotonic() - began
        deposits = Counter((made.channel, made.amount) for made in chain.deposits())
    each_s = [funded.at[channel] - asked[channel] for channel in asked if channel in funded.at]
    return Run(opening_s, total_s, each_s, (len(funded.at), by_bob), deposits)


def outcome_of(alice: Address, bob: Address) -> Outcome:
    """Return who deposits what in each channel."""
    shares = zip((alice, bob), SHARES, strict=True)
    allocations = tuple(Allocation(destination_of(who), amount) for who, amount in shares)
    return (AssetExit(ZERO_ADDRESS, allocations),)


def report(count: int, run: Run) -> bool:
    """Print the figures; return whether everything is as it must be."""
    paid_once = len(run.deposits) == 2 * count and set(run.deposits.values()) == {1}
    print(f"channels        {count}, funded: alice {run.funded[0]}, bob {run.funded[1]}")
    print(f"total           {run.total_s:.2f} s, {count / run.total_s:.0f} channels/s")
    print(f"fund_channel    returned {count} times in {run.opening_s:.2f} s")
    if len(run.each_s) > 1:
        p95_s = statistics.quantiles(run.each_s, n=20)[-1]
        print(f"per channel     median {statistics.median(run.each_s):.3f} s, p95 {p95_s:.3f} s")
    print(f"messages        {run.messages}, {run.messages / count:.2f} per channel")
    print(f"deposits        {run.deposits.total()}, each made once: {'yes' if paid_once else 'NO'}")
    return paid_once and run.funded == (count, count)


def main() -> None:
    """Run the benchmark, or Bob's side of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.channels")
    parser.add_argument("count", type=int, nargs="?", default=200, metavar="N")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count < 1:
        parser.error("N must be 1 or more")
    if options.serve is not None:
        serve(options.serve, options.count)
        return
    with tempfile.TemporaryDirectory(prefix="zmqp2p-bench-") as folder:
        sys.exit(0 if report(options.count, measure(Path(folder), options.count)) else 1)


if __name__ == "__main__":
    main()
