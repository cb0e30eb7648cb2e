"""The bench's parent: starts workers, lets the two kinds take turns, and believes no worker."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from zmqp2p.cli.bench.figures import Trial, median_of, ratios, trial_of
from zmqp2p.cli.bench.script import (
    END,
    REPORT,
    BenchFailed,
    Kind,
    Load,
    Outcome,
    Plan,
    Side,
    Usage,
    parse_answer,
)
from zmqp2p.cli.bench.workloads import Settings
from zmqp2p.cli.children import Child

WORKER_COMMAND = (sys.executable, "-m", "zmqp2p.cli.bench.worker")

START_MAX_S = 30.0
_REPORT_MAX_S = 10.0
SLACK = 2  # Times a load's own time: its messages are made, and signed, before that begins.
_END_MAX_S = 10.0

Progress = Callable[[str], None]
"""Called with what is about to run, before each trial."""


@dataclass(frozen=True, slots=True)
class Row:
    """One workload with one setting: what zmqp2p and the floor did, trial by trial."""

    workload: str
    settings: Settings
    load: Load
    trials: dict[Kind, list[Trial]]

    def median(self, kind: Kind) -> Trial | None:
        """Return the medians of a kind; None if it was not run."""
        return median_of(self.trials[kind]) if kind in self.trials else None

    def ratios(self) -> dict[str, float]:
        """Return the ratios of the medians to the floor's; empty without a floor."""
        measured, floor = self.median("zmqp2p"), self.median("floor")
        return ratios(measured, floor) if measured and floor else {}


def measure(
    workload: str,
    settings: Settings,
    folder: Path,
    progress: Progress,
    command: tuple[str, ...] = WORKER_COMMAND,
) -> Row:
    """Run ``workload`` in ``folder``; no process is left when this returns or raises.

    Raises:
        BenchFailed: a message was lost, a worker failed, or it took too long.
    """
    kinds = settings.kinds(workload)
    load = settings.load(workload)
    trials: dict[Kind, list[Trial]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        groups = {}
        for kind in kinds:
            group = _Group(workload, kind, settings, folder, command)
            groups[kind] = stack.enter_context(group.running())
            group.run(settings.warm_up(workload))
        for number in range(settings.trials):
            for kind in kinds:  # In turns: what else the machine does hits both.
                progress(f"{workload} {kind} {number + 1}/{settings.trials}")
                trials[kind].append(groups[kind].run(load))
        for group in groups.values():
            group.end()
    return Row(workload, settings, load, trials)


class Worker:
    """A worker process, asked and answering one line at a time."""

    def __init__(self, name: str, plan: Plan, folder: Path, command: tuple[str, ...]) -> None:
        self.name = name
        self._lines: SimpleQueue[tuple[str, str | None]] = SimpleQueue()
        log = folder / f"{name}.log"
        self.child = Child(name, (*command, plan.line()), log, self._lines)

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Return its next line; raises `BenchFailed` if there is none in time."""
        try:
            _, line = self._lines.get(timeout=timeout_s)
        except Empty:
            words = self.child.last_words()
            raise BenchFailed(f"{self.name} is not done in {timeout_s:g} s.{words}") from None
        if line is None:
            code = self.child.exit_code(_END_MAX_S)
            words = self.child.last_words() or " It wrote nothing to stderr."
            raise BenchFailed(f"{self.name} ended with exit code {code}.{words}")
        return parse_answer(self.name, line)

    def tell(self, order: str) -> None:
        """Give an order; its answer is to be taken."""
        self.child.tell(order)

    def run(self, load: Load) -> Outcome:
        """Give it a load, and return what it has measured."""
        self.tell(load.line())
        return Outcome(**self.answer(SLACK * load.timeout_s))

    def usage(self) -> Usage:
        """Return what it has received and used since it started."""
        self.tell(REPORT)
        return Usage(**self.answer(_REPORT_MAX_S))

    def end(self) -> None:
        """Let it close; raises `BenchFailed` if it does not do so well and in time."""
        self.tell(END)
        code = self.child.exit_code(_END_MAX_S)
        if code != 0:
            raise BenchFailed(f"{self.name} ended with {code}.{self.child.last_words()}")


class _Group:
    """All processes of one kind: a receiver, unless that is remote, and its senders."""

    def __init__(
        self,
        workload: str,
        kind: Kind,
        settings: Settings,
        folder: Path,
        command: tuple[str, ...],
    ) -> None:
        self._name = f"{workload}-{kind}"
        self._kind = kind
        self._payload = settings.payload_of(workload)
        self._count = settings.senders(workload)
        self._funds = settings.load(workload).channels
        self._settings = settings
        self._folder = folder
        self._command = command
        self._receivers: list[Worker] = []
        self._senders: list[Worker] = []
        self._sent = 0

    @contextmanager
    def running(self) -> "Iterator[_Group]":
        """Start the processes, and end them in any case."""
        with ExitStack() as stack:
            contact = self._settings.connect.get(self._kind)
            if contact is None:
                receiver = self._start("receive", 0, "", stack)
                self._receivers.append(receiver)
                contact = str(receiver.answer(START_MAX_S)["ready"])
            for index in range(self._count):
                self._senders.append(self._start("send", index, contact, stack))
            for sender in self._senders:
                sender.answer(START_MAX_S)
            yield self

    def run(self, load: Load) -> Trial:
        """Let all senders send ``load`` at the same time, and see that all of it has come."""
        before = self._usage()
        for sender in self._senders:
            sender.tell(load.line())
        end_at = monotonic() + SLACK * load.timeout_s
        outcomes = [Outcome(**s.answer(max(end_at - monotonic(), 0.0))) for s in self._senders]
        after = self._usage()
        self._check(load, outcomes)
        cpu_s = sum(u.cpu_s for u in after) - sum(u.cpu_s for u in before)
        return trial_of(outcomes, cpu_s, max(u.peak_bytes for u in after))

    def end(self) -> None:
        """Let all close, the senders first."""
        for worker in (*self._senders, *self._receivers):
            worker.end()

    def _usage(self) -> list[Usage]:
        return [worker.usage() for worker in (*self._senders, *self._receivers)]

    def _check(self, load: Load, outcomes: Sequence[Outcome]) -> None:
        expected = load.messages * len(self._senders)
        self._sent += expected
        acked = sum(outcome.messages for outcome in outcomes)
        if acked != expected:
            raise BenchFailed(f"{self._name}: {acked} of {expected} acked")
        for receiver in self._receivers:
            usage = receiver.usage()
            if usage.received != self._sent or usage.faults:
                detail = f"{usage.received} of {self._sent} received, {usage.faults} faulty"
                raise BenchFailed(f"{self._name}: {detail}")

    def _start(self, side: Side, index: int, contact: str, stack: ExitStack) -> Worker:
        name = f"{self._name}-{side}-{index}"
        durable = self._settings.store == "sqlite"
        plan = Plan(
            kind=self._kind,
            side=side,
            payload=self._payload,
            face=self._settings.face,
            store=str(self._folder / f"{name}.db") if durable else None,
            secure=self._settings.secure,
            contact=contact,
            chain=str(self._folder / "chain.db") if self._funds else None,
            busy=self._settings.busy,
            switch_ms=self._settings.switch_ms,
        )
        worker = Worker(name, plan, self._folder, self._command)
        stack.callback(worker.child.end)
        return worker
