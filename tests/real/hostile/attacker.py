"""The attacking process: ``python -m tests.real.hostile.attacker``.

Its input is one line with its `Task`; it answers when it is prepared. At the next line it begins,
and says what it has done at the end; it holds its connections until its input ends.
"""

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from random import Random

from tests.real.hostile import before_hello, connections, listeners, storms, streams
from tests.real.hostile.attacks import ATTACKS, Attack, Attacker
from tests.real.hostile.raw import many_contexts
from zmqp2p.records import PeerRecord

MODULES = (before_hello, connections, storms, streams, listeners)  # Whose attacks fill the list.


@dataclass(frozen=True, slots=True)
class Task:
    """Which attack, on whom, for how long; travels as JSON."""

    name: str
    target: str  # The record of the node.
    seconds: float
    seed: int = 1

    def to_line(self) -> str:
        return json.dumps(asdict(self))


def all_attacks() -> list[Attack]:
    """Return every attack there is, in the order of the modules."""
    return list(ATTACKS.values())


def main() -> None:
    """Carry out one attack."""
    line = sys.stdin.readline()
    if not line:  # There is nothing to do.
        return
    task = Task(**json.loads(line))
    with ExitStack() as stack:
        target = PeerRecord.parse(task.target)
        attacker = Attacker(target, many_contexts(stack), stack, Random(task.seed))
        run = ATTACKS[task.name].run(attacker)
        next(run)
        _write({"names": attacker.names, "contacts": attacker.contacts})
        sys.stdin.readline()
        attacker.until = time.monotonic() + task.seconds
        for _ in run:
            raise AssertionError(f"{task.name} yields twice")
        _write({"done": dict(attacker.done)})
        sys.stdin.read()


def _write(value: dict[str, object]) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
