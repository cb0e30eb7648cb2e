"""The attacking process: ``python -m tests.real.hostile.attacker NAME RECORD SECONDS SEED``.

Prints one line of JSON when it is prepared, begins when a line of input comes, and prints what it
has done at the end; it holds its connections until its input ends.
"""

import json
import sys
import time
from contextlib import ExitStack
from random import Random

from tests.real.hostile import after_hello, before_hello, connections, listeners
from tests.real.hostile.attacks import ATTACKS, Attacker
from tests.real.hostile.raw import many_contexts
from zmqp2p.records import PeerRecord

MODULES = (before_hello, after_hello, connections, listeners)


def main(name: str, record: str, seconds: str, seed: str) -> None:
    """Carry out one attack."""
    with ExitStack() as stack:
        target = PeerRecord.parse(record)
        attacker = Attacker(target, many_contexts(stack), stack, Random(int(seed)))
        run = ATTACKS[name].run(attacker)
        next(run)
        _write({"names": attacker.names, "contacts": attacker.contacts})
        sys.stdin.readline()
        attacker.until = time.monotonic() + float(seconds)
        for _ in run:
            pass
        _write({"done": dict(attacker.done)})
        sys.stdin.read()


def _write(value: dict[str, object]) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
