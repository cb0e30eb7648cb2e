"""One party: a process that sends its items, receives the other's, and may be killed at any time.

How it knows after a SIGKILL which item is next: from its own store. `send_message` gives items the
numbers 1, 2, 3, … of the stream to the peer, which has no other messages, and the store takes an
item in whole or not at all, before it leaves. So what was acknowledged plus what is in the outbox
is what was sent, and the item after it is next. An item that was handed to `send_message` and not
committed when the process died was never sent: it is made anew. That this count never falls below
what a receipt once called stored, the supervisor checks at each restart.

Writes one JSON object a line to its output: first what its store holds, then how far it is, the
same once more at the end. Ends in an orderly way when its input ends. Events go to
stderr, with the time of the monotonic clock.
"""

import json
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, closing
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.soak.items import Item, Ledger, make_item, read_sent, read_tally
from zmqp2p import Cancelled, Identity, Limits, P2PService, Receipt, ServiceClosed, approve_all
from zmqp2p.chain import SimulatedChain
from zmqp2p.events import Event
from zmqp2p.ids import ZERO_ADDRESS, Address
from zmqp2p.state import Allocation, AssetExit, destination_of

CLOSE_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker is to do; travels as JSON on its command line."""

    key: str  # The key file.
    store: str | None  # The store's file; None for memory.
    endpoint: str
    advertise: str | None
    peer: str  # The other's contact.
    messages: int  # To send, and to expect.
    seed: int
    report_interval_s: float
    limits: dict[str, Any] = field(default_factory=dict)
    chain: str | None = None  # A simulated chain's file: a channel is to be funded.
    proposes: bool = False  # By this party.

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> "Task":
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Report:
    """How far a worker is, in this run and those before it; the last three in this run only."""

    sent: int  # Handed to the service.
    stored: int  # Of those, how many a receipt calls stored,
    acked: int  # and how many acked.
    received: int
    channels: int  # Funded.
    reconnects: int
    resent: int
    tally: tuple[int, ...] = ()  # `Tally`, once everything expected has come.

    @classmethod
    def parse(cls, line: str) -> "Report":
        values = json.loads(line)
        return cls(**{**values, "tally": tuple(values["tally"])})

    def to_line(self) -> str:
        return json.dumps(asdict(self))


class Sender:
    """Sends items on a thread of its own and keeps their receipts; waits when the outbox is full.

    Receipts end in the order of sending, so only the oldest ones are looked at. Items of earlier
    runs have none: they are acked once a later item is, or nothing is left.
    """

    def __init__(self, p2p: P2PService, peer: Address, task: Task, already: int) -> None:
        self.sent = self.stored = already
        self.acked = 0  # At least; what earlier runs heard is not asked for.
        self._already = already
        self._ended = 0
        self._p2p = p2p
        self._peer = peer
        self._last = task.messages
        self._rng = Random(f"{task.seed} {task.key} {already}")
        self._unstored: deque[Receipt] = deque()
        self._unacked: deque[Receipt] = deque()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self, unacked: int) -> None:
        """Bring the counts up to date; raises what an item was refused with.

        ``unacked`` is what the service said just before.
        """
        if unacked == 0:  # Whatever this run has sent, the items before it are acked.
            self.acked = max(self.acked, self._already)
        while self._unstored and (self._unstored[0].stored or self._unstored[0].ended):
            self._unstored.popleft()
            self.stored += 1
        while self._unacked and self._unacked[0].ended:
            error = self._unacked.popleft().error
            if error is not None:
                raise error
            self._ended += 1
            self.acked = self._already + self._ended

    def _run(self) -> None:
        for number in range(self.sent + 1, self._last + 1):
            try:
                receipt = self._p2p.send_message(self._peer, make_item(number, self._rng))
            except (ServiceClosed, Cancelled):  # The supervisor ended the run early.
                return
            self._unstored.append(receipt)
            self._unacked.append(receipt)
            self.sent = number


def write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def log(event: Event | str) -> None:
    """Tell on stderr, which the supervisor keeps, what happens and when."""
    sys.stderr.write(f"{time.monotonic():.3f} {event}\n")


class Worker:
    """A running party."""

    def __init__(self, task: Task, stack: ExitStack) -> None:
        self._task = task
        self._stop = threading.Event()
        chain = None
        if task.chain is not None:
            chain = stack.enter_context(closing(SimulatedChain(task.chain)))
        log("starts")
        self._p2p = P2PService(
            task.endpoint,
            identity=Identity.load_or_create(Path(task.key)),
            store=task.store,
            chain=chain,
            policy=approve_all,
            advertise=None if task.advertise is None else [task.advertise],
            limits=Limits(**task.limits),
        )
        stack.callback(self._p2p.close, CLOSE_TIMEOUT_S)
        self._p2p.on_event(log)
        log("listens")
        peer = self._p2p.add_peer(task.peer)
        sent, self._before = self._resume(peer)
        log(f"sent {sent}, received {self._before}")
        self._ledger = Ledger(task.messages)
        self._p2p.on_message(self._ledger.take, message_type=Item)
        self._sender = Sender(self._p2p, peer, task, sent)
        self._peer = peer

    def _resume(self, peer: Address) -> tuple[int, int]:
        """Say what the store holds: how many were sent, and the highest number received."""
        if self._task.store is None:
            write(Report(0, 0, 0, 0, 0, 0, 0).to_line())
            return 0, 0
        store = Path(self._task.store)
        sent, received = read_sent(store, peer), read_tally(store).last
        write(Report(sent, sent, 0, received, 0, 0, 0).to_line())
        return sent, received

    def run(self) -> None:
        """Work until the input ends."""
        threading.Thread(target=self._watch_input, name="input", daemon=True).start()
        if self._task.proposes and not self._p2p.channels():
            self._propose()
        self._sender.start()
        while not self._stop.wait(self._task.report_interval_s):
            write(self._report().to_line())
        write(self._report().to_line())

    def _watch_input(self) -> None:
        sys.stdin.read()
        self._stop.set()

    def _propose(self) -> None:
        shares = ((self._p2p.address, 5), (self._peer, 7))
        allocations = tuple(Allocation(destination_of(who), amount) for who, amount in shares)
        self._p2p.fund_channel(self._peer, (AssetExit(ZERO_ADDRESS, allocations),))

    def _report(self) -> Report:
        (status,) = (status for status in self._p2p.peers() if status.address == self._peer)
        self._sender.look(status.unacked)
        funded = sum(channel.status.name == "COMPLETED" for channel in self._p2p.channels())
        return Report(
            self._sender.sent,
            self._sender.stored,
            self._sender.acked,
            max(self._ledger.received, self._before),
            funded,
            status.reconnects,
            status.resent,
            astuple(self._ledger.tally),
        )


def main(text: str) -> None:
    """Be a worker."""
    with ExitStack() as stack:
        Worker(Task.parse(text), stack).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
