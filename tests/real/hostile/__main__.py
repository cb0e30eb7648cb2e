# ruff: noqa: T201  # A program: it prints for people.
"""Hostile."""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.real.hostile import attacker as _attacker
from tests.real.hostile.arena import Arena, Outcome, percentile
from tests.real.hostile.attacks import ATTACKS


def row(outcome: Outcome) -> str:
    q, c, a = (
        percentile(v, 0.95) * 1000 for v in (outcome.quiet, outcome.control, outcome.attacked)
    )
    return (
        f"{outcome.name:<24} {q:7.2f} {c:7.2f} {a:8.2f} {a / q:7.1f}x max {max(outcome.attacked) * 1000:7.0f} "
        f"rss {outcome.rss_growth_bytes / 2**20:6.1f}M file {outcome.file_growth_bytes / 2**10:7.0f}K "
        f"fd {outcome.descriptors} cpu {outcome.cpu:4.2f} {'arrived' if outcome.arrived else 'LOST'} "
        f"{outcome.done} {outcome.report['events']} peers {outcome.report['peers_known']}"
    )


def main() -> int:
    assert _attacker.MODULES
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    for name in options.names or ATTACKS:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            arena = Arena(Path(folder), stack, **ATTACKS[name].victim)
            outcome = arena.run(ATTACKS[name], options.seconds, control=options.control)
            print(row(outcome), flush=True)
            if options.verbose:
                print(outcome.report["examples"], outcome.report["peers"], outcome.names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
