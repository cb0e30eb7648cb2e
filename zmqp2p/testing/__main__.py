"""Run scenarios under many seeds: ``python -m zmqp2p.testing --seeds 20000``."""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from time import monotonic

from zmqp2p.testing.scenarios import SCENARIOS, play

_CHUNK = 20  # Seeds for one process at a time.


def main() -> int:
    """Run the program; return its exit status."""
    options = _arguments()
    logging.getLogger("zmqp2p").addHandler(logging.NullHandler())
    if options.seed is not None:
        return _one(options.seed, options.scenario or "messages", trace=options.trace)
    return _many(options)


def _one(seed: int, scenario: str, *, trace: bool) -> int:
    print(f"seed {seed}, scenario {scenario}")  # noqa: T201  # A program: it prints.
    world = play(seed, scenario, print if trace else None)
    print(f"clean: {world.steps} steps, {world.now:.1f} s, {world.counts}")  # noqa: T201
    return 0


def _many(options: argparse.Namespace) -> int:
    names = [options.scenario] if options.scenario else list(SCENARIOS)
    seeds = range(options.first, options.first + options.seeds)
    jobs = ((names[seed % len(names)], seed) for seed in seeds)
    began, done = monotonic(), 0
    sums: Counter[str] = Counter()
    failures: list[str] = []
    with ProcessPoolExecutor(options.processes) as pool:
        for counts, failed in pool.map(_chunk, _chunks(jobs)):
            sums.update(counts)
            failures += failed
            for failure in failed:  # At once: the rest may take an hour.
                print(f"\r{failure}")  # noqa: T201
            done += int(counts["seeds"])
            print(f"\r{done}/{len(seeds)} seeds, {len(failures)} failed", end="", flush=True)  # noqa: T201
    print()  # noqa: T201
    for name, number in sorted(sums.items()):
        print(f"{name:<14} {number:,.0f}")  # noqa: T201
    print(f"{'time':<14} {monotonic() - began:.0f} s")  # noqa: T201
    print(f"{'result':<14} {len(failures)} failed" if failures else f"{'result':<14} clean")  # noqa: T201
    return 1 if failures else 0


def _chunks(jobs: Iterator[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    while chunk := list(islice(jobs, _CHUNK)):
        yield chunk


def _chunk(jobs: list[tuple[str, int]]) -> tuple[Counter[str], list[str]]:
    logging.getLogger("zmqp2p").addHandler(logging.NullHandler())
    sums: Counter[str] = Counter()
    failures: list[str] = []
    for scenario, seed in jobs:
        sums["seeds"] += 1
        try:
            world = play(seed, scenario)
        except AssertionError as fault:
            failures.append(replay(scenario, seed, fault))
            continue
        sums.update(world.counts)
        sums.update(steps=world.steps, sent=world.account.sent, processed=world.account.processed)
        sums.update(frames_lost=world.network.lost, deposits=len(world.chain.deposits))
        sums.update(virtual_s=int(world.now))
    return sums, failures


def replay(scenario: str, seed: int, fault: AssertionError) -> str:
    """Return the line that says how to see a failure again."""
    command = f"python -m zmqp2p.testing --scenario {scenario} --seed {seed} --trace"
    return f"{command}\n    {type(fault).__name__}: {fault}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m zmqp2p.testing", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many to run")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--scenario", choices=list(SCENARIOS))
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--trace", action="store_true", help="with --seed: print each step")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
