# ruff: noqa: T201  # A program: it prints for people.
"""What each attack costs the honest: ``python -m tests.real.hostile [NAME…] [--seconds S]``.

For each attack a fresh victim (a process of its own on a core of its own, with its store on disk)
and an honest node that sends it 200 messages of 350 bytes a second. The two have added each other,
as participants of a channel do; with ``--stranger`` the victim has not added the honest node, which
has then no more than its part of what all guests have. Printed are the P95 of the
times from when a message was due to its ack: quiet; under the load alone (the same attacker, at a
socket that swallows); under attack. The attacker, and that socket, have what the honest node leaves
of the other cores (`cores.py`): how much the victim and the attacker used is the last column.

It exits 0 only if everything arrived once and in order, the victim's RSS grew by less than 64 MiB,
its file by less than 16 MiB, its descriptors came back, it told of the attacker, and the P95 under
attack stayed within `P95_TIMES` of the quiet one. What the load alone does (it is felt where two
cores are one with two threads, and by the honest node, which needs its core too) is no doing of the
victim: up to `LOAD_TIMES` of that is allowed where it is more.

Every message is one commit, and a disk that others use makes each of them, and the quiet figure
too, whatever it is: measure on a machine that does nothing else, or with TMPDIR in memory, where
what is left is the node.
Put the machine, the commit and the output together when citing a figure.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.real.hostile.arena import Arena, Outcome
from tests.real.hostile.attacker import all_attacks
from tests.real.hostile.attacks import Attack
from tests.real.hostile.traffic import percentile
from tests.real.parties import PATIENCE_S

P95_TIMES = 5.0
LOAD_TIMES = 1.5
WARM_S = 0.5
HEADER = (
    f"{'P95 in ms of':<24} {'quiet':>7} {'load':>7} {'attack':>8} {'times':>6} {'worst':>7} "
    f"{'RSS MiB':>8} {'file KiB':>8} {'fds':>14} {'cores':>9}"
)


def main() -> int:
    """Run the program; return its exit status."""
    attacks, options = _arguments()
    print(HEADER, flush=True)
    fine = True
    for attack in attacks:
        fine = _measure(attack, options) and fine
    return 0 if fine else 1


def _measure(attack: Attack, options: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory(prefix="zmqp2p-hostile-") as folder, ExitStack() as stack:
        arena = Arena(Path(folder), stack, stranger=options.stranger, **attack.victim)
        arena.traffic.during(WARM_S, options.rate)
        quiet = percentile(arena.traffic.during(options.seconds, options.rate), 0.95)
        load = percentile(arena.control(attack, options.seconds, options.rate), 0.95)
        outcome = arena.attack(attack, options.seconds, options.rate)
    p95 = percentile(outcome.latencies, 0.95)
    faults = outcome.faults(attack)
    if p95 > max(P95_TIMES * quiet, LOAD_TIMES * load):
        faults.append(f"P95 is {p95 / quiet:.1f} times the quiet one, {p95 / load:.1f} the load's")
    print(_row(attack, (quiet, load, p95), outcome), flush=True)
    if options.verbose:
        print(f"    {attack.says}; did {outcome.done}; told {outcome.events}")
    for fault in faults:
        print(f"    FAILED {fault}", flush=True)
    return not faults


def _row(attack: Attack, p95s: tuple[float, float, float], outcome: Outcome) -> str:
    quiet, load, p95 = (1000 * each for each in p95s)
    fds = "/".join(map(str, outcome.descriptors))
    cores = "/".join(f"{each:.2f}" for each in outcome.cores)
    return (
        f"{attack.name:<24} {quiet:7.2f} {load:7.2f} {p95:8.2f} {p95 / quiet:6.1f} "
        f"{1000 * max(outcome.latencies):7.0f} {outcome.rss_growth_bytes / 2**20:8.1f} "
        f"{outcome.file_growth_bytes / 2**10:8.0f} {fds:>14} {cores:>9}"
    )


def _arguments() -> tuple[list[Attack], argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="python -m tests.real.hostile")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of attacks; all if none is given")
    parser.add_argument("--list", action="store_true", help="say what the attacks are, and end")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    parser.add_argument("--rate", type=float, default=200.0, help="honest messages a second")
    parser.add_argument("--stranger", action="store_true", help="the victim has not added it")
    parser.add_argument("--verbose", action="store_true", help="say what was done and told")
    options = parser.parse_args()
    attacks = {attack.name: attack for attack in all_attacks()}
    if options.list:
        for attack in attacks.values():
            print(f"{attack.name:<24} {attack.says}")
        parser.exit()
    if not set(options.names) <= set(attacks):
        parser.error(f"no such attack: {', '.join(set(options.names) - set(attacks))}")
    if not 0 < options.seconds <= 2 * PATIENCE_S or not 0 < options.rate <= 1_000:
        parser.error("--seconds must be above 0 and at most 30, --rate at most 1000")
    return [attacks[name] for name in options.names or attacks], options


if __name__ == "__main__":
    sys.exit(main())
