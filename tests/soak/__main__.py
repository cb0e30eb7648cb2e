# ruff: noqa: T201  # A program: it prints for people.
"""A soak: two processes send each other N messages while everything breaks.

``python -m tests.soak --messages N --faults resets,partitions,kills --kills K`` sends N messages of
about 100 bytes in each direction, between two nodes on loopback, each behind a fault proxy. Resets
(RST) come every 0.3 to 1.5 s; partitions, one way or both, every 4 to 10 s for 0.3 to 3 s; each
process is killed (SIGKILL) K times, at moments spread at random over the progress of the whole. The
receivers count in the transaction that acknowledges a message, and their stores are read at the
end. It exits 0 only if nothing was lost, doubled, reordered or changed, everything was acked, and
no store forgot at a restart what it had promised. A failing run is repeated with its seed: the
faults come in the same order, though not at the same instruction.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.soak.exchange import Outcome
from tests.soak.loopback import Settings, Soak, soak

FAULTS = ("resets", "partitions", "kills")


def main() -> int:
    """Run the program; return its exit status."""
    settings, folder = _arguments()
    print(f"seed            {settings.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="zmqp2p-soak-") as scratch:
        with soak(folder or Path(scratch), settings) as made:
            outcome = made.exchange.run()
        print(report(outcome, made))
    return 0 if outcome.flawless else 1


def report(outcome: Outcome, made: Soak) -> str:
    """Return the table of figures."""
    rows = {
        "sent": outcome.sent,
        "delivered": outcome.delivered,
        "acked": outcome.acked,
        "lost": outcome.lost,
        "doubled": outcome.doubled,
        "reordered": outcome.reordered,
        "corrupt": outcome.corrupt,
        "resent": outcome.resent,
        "reconnects": outcome.reconnects,
        "kills": f"{outcome.kills}, with nothing under way {outcome.idle_kills}",
        "resets": 0 if made.resets is None else made.resets.count,
        "partitions": 0 if made.partitions is None else made.partitions.count,
        "worst stall": f"{outcome.worst_stall_s:.2f} s, until {outcome.stalled_until:.3f}",
        "time": f"{outcome.duration_s:.1f} s",
        "rate": f"{outcome.delivered / outcome.duration_s:.0f} msg/s",
    }
    lines = [f"{name:<15} {value}" for name, value in rows.items()]
    lines += [f"FAULT           {fault}" for fault in outcome.faults]
    lines.append(f"result          {'flawless' if outcome.flawless else 'FAILED'}")
    return "\n".join(lines)


def _arguments() -> tuple[Settings, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--messages", type=int, default=20_000, help="in each direction")
    parser.add_argument("--faults", default=",".join(FAULTS), help="of resets,partitions,kills")
    parser.add_argument("--kills", type=int, default=5, help="SIGKILLs of each process")
    parser.add_argument("--seed", type=int, help="of the faults; random if not given")
    parser.add_argument("--store", choices=("sqlite", "memory"), default="sqlite")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds, for all of it")
    parser.add_argument("--folder", type=Path, help="for keys and stores, which then stay")
    options = parser.parse_args()
    faults = set(filter(None, options.faults.split(",")))
    if not faults <= set(FAULTS):
        parser.error(f"--faults must be of {', '.join(FAULTS)}")
    if options.messages < 1 or options.kills < 0 or options.timeout <= 0:
        parser.error("--messages and --timeout must be more than 0, --kills not less")
    kills = options.kills if "kills" in faults else 0
    if kills and options.store == "memory":
        parser.error("a memory store does not survive its process: no kills with --store memory")
    seed = int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed
    settings = Settings(
        messages=options.messages,
        timeout_s=options.timeout,
        seed=seed,
        resets="resets" in faults,
        partitions="partitions" in faults,
        kills=(kills, kills),
        in_memory=options.store == "memory",
    )
    return settings, options.folder


if __name__ == "__main__":
    sys.exit(main())
