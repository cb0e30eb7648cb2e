"""A process of the bench: ``python -m zmqp2p.cli.bench.worker PLAN``.

It obeys the lines on its stdin (see `zmqp2p.cli.bench.script`) and ends at once when that does.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from queue import SimpleQueue
from typing import Protocol

from zmqp2p.cli.bench import aio_side, floor, service_side, usage
from zmqp2p.cli.bench.busy import busy_threads
from zmqp2p.cli.bench.script import END, REPORT, Load, Outcome, Plan, Usage
from zmqp2p.cli.bench.swarm import Swarm
from zmqp2p.errors import P2PError

EXIT_ORPHANED = 3


class Role(Protocol):
    """One side of one kind, running from entry to exit."""

    @property
    def contact(self) -> str:
        """What a sender must be told to reach this receiver; empty of a sender."""
        ...

    @property
    def received(self) -> int:
        """How many messages have come."""
        ...

    @property
    def faults(self) -> int:
        """How many of them were not as they should be."""
        ...

    def run(self, load: Load) -> Outcome:
        """Send a load, and return once all of it is acked."""
        ...


def role_of(plan: Plan) -> AbstractContextManager[Role]:
    """Return what ``plan`` asks for; nothing runs before it is entered."""
    if plan.side == "swarm":
        return Swarm(plan)
    return _ROLES[plan.side, "floor" if plan.kind == "floor" else plan.face](plan)


_ROLES: dict[tuple[str, str], Callable[[Plan], AbstractContextManager[Role]]] = {
    ("receive", "floor"): floor.Receiver,
    ("receive", "blocking"): service_side.Receiver,
    ("receive", "asyncio"): aio_side.Receiver,
    ("send", "floor"): floor.Sender,
    ("send", "blocking"): service_side.Sender,
    ("send", "asyncio"): aio_side.Sender,
}


def work(plan: Plan) -> None:
    """Be the worker of ``plan`` until told to end."""
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_obey, args=(orders,), daemon=True).start()
    with role_of(plan) as role, busy_threads(plan.busy, plan.switch_ms / 1e3):
        _say({"ready": role.contact})
        for order in _until_end(orders):
            if order == REPORT:
                _say(asdict(used_by(role)))
            else:
                _say(asdict(role.run(Load.parse(order))))


def used_by(role: Role) -> Usage:
    """Return what ``role`` has received, and this process used."""
    return Usage(
        role.received,
        role.faults,
        usage.cpu_s(),
        usage.resident_bytes(),
        usage.peak_bytes(),
    )


def _until_end(orders: "SimpleQueue[str]") -> Iterator[str]:
    while (order := orders.get()) != END:
        yield order


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201  # To the parent.


def _obey(orders: "SimpleQueue[str]") -> None:
    # Unbuffered: a thread that waits inside a buffered reader blocks the interpreter's exit.
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        for line in stdin:
            order = line.decode("ascii").strip()
            orders.put(order)
            if order == END:
                return
    os._exit(EXIT_ORPHANED)


def main() -> None:
    """Run the worker that the argument describes; a `P2PError` is one line and exit code 1."""
    try:
        work(Plan.parse(sys.argv[1]))
    except P2PError as fault:
        sys.exit(f"{type(fault).__name__}: {fault}")


if __name__ == "__main__":
    main()
