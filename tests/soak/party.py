"""The supervisor's view of one worker: starts it, kills it, reads what it reports."""

import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.soak.worker import Report, Task

END_TIMEOUT_S = 30.0
_ERROR_MAX_CHARS = 4_000
ROOT = Path(__file__).parents[2]  # From where `python -m tests.soak.worker` finds the package.


class WorkerFailed(Exception):
    """A worker ended by itself, or said what it must never say."""


@dataclass(frozen=True, slots=True)
class News:
    """A line of a worker's run ``run``; without a report it has ended."""

    party: "Party"
    run: int
    report: Report | None


@dataclass(eq=False)
class Party:
    """One worker over all its runs.

    ``sent``, ``stored``, ``acked`` and ``received`` are the highest that any run reported;
    ``reconnects`` and ``resent`` the sums of what the runs reported last.
    """

    name: str
    task: Task
    errors: Path  # Where the worker's stderr goes.
    prefix: tuple[str, ...] = ()  # Of its command line: runs it elsewhere.
    runs: int = 0
    kills: int = 0
    ready: bool = False  # This run has said what its store holds,
    moved: bool = False  # and has got further since.
    sent: int = 0
    stored: int = 0
    acked: int = 0
    received: int = 0
    channels: int = 0
    tally: tuple[int, ...] = ()
    broken: list[str] = field(default_factory=list)  # What was promised and not kept.
    _counts: dict[int, tuple[int, int]] = field(default_factory=dict)
    _floor: tuple[int, int] = (0, 0)  # Sent and received that the store of this run must hold.
    _process: subprocess.Popen[str] | None = None
    _reader: threading.Thread | None = None

    def start(self, news: "queue.SimpleQueue[News]", promised: int) -> None:
        """Start a run; the other says that ``promised`` items were acked by this party."""
        self.runs += 1
        self.ready = self.moved = False
        self._floor = (self.stored, promised) if self.task.store is not None else (0, 0)
        command = [*self.prefix, sys.executable, "-m", "tests.soak.worker", self.task.to_text()]
        with self.errors.open("a") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
            )
        stdout = self._process.stdout
        assert stdout is not None
        self._reader = threading.Thread(
            target=_read, args=(self, self.runs, stdout, news), name=f"{self.name}-reader"
        )
        self._reader.start()

    def kill(self) -> None:
        """SIGKILL the worker. Its news end with one that has no report."""
        assert self._process is not None
        self.kills += 1
        os.kill(self._process.pid, signal.SIGKILL)
        self._ended()

    def take(self, news: News) -> None:
        """Take in what a worker said; raises WorkerFailed if it ended by itself."""
        if news.run != self.runs:  # Read after it was killed: true all the same.
            if news.report is not None:
                self._advance(news.run, news.report)
            return
        if news.report is None:
            raise WorkerFailed(f"{self.name} ended by itself\n{self.complaint()}")
        further = self._advance(news.run, news.report)
        if self.ready:
            self.moved = self.moved or further
        else:
            self.ready = True
            self._check_promises(news.report)

    def finish(self) -> None:
        """Let the worker end in an orderly way; raises WorkerFailed if it does not."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            status = process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = None
        self.abandon()
        if status != 0:
            raise WorkerFailed(f"{self.name} ended with {status}\n{self.complaint()}")

    def abandon(self) -> None:
        """Make sure that the worker is gone, whatever its state."""
        if self._process is not None:
            self._process.kill()
            self._ended()

    @property
    def reconnects(self) -> int:
        return sum(reconnects for reconnects, _ in self._counts.values())

    @property
    def resent(self) -> int:
        return sum(resent for _, resent in self._counts.values())

    def complaint(self) -> str:
        """Return the end of what the worker wrote to stderr."""
        return self.errors.read_text()[-_ERROR_MAX_CHARS:]

    def _ended(self) -> None:
        """The worker was killed, or is about to end: leave neither process nor pipe nor thread."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        if self._reader is not None:
            self._reader.join()  # It closes the other pipe.

    def _check_promises(self, first: Report) -> None:
        """What was stored or acked before a kill must be in the store after it."""
        sent, received = self._floor
        if first.stored < sent:
            self.broken.append(f"{self.name}: {sent} were stored, {first.stored} are")
        if first.received < received:
            self.broken.append(f"{self.name}: {received} were acked, {first.received} are there")

    def _advance(self, run: int, report: Report) -> bool:
        further = report.received > self.received or report.acked > self.acked
        self.sent = max(self.sent, report.sent)
        self.stored = max(self.stored, report.stored)
        self.acked = max(self.acked, report.acked)
        self.received = max(self.received, report.received)
        self.channels = max(self.channels, report.channels)
        self.tally = report.tally or self.tally
        self._counts[run] = (report.reconnects, report.resent)
        return further


def _read(party: Party, run: int, lines: IO[str], news: "queue.SimpleQueue[News]") -> None:
    """Pass on a run's lines until it ends; the last line of a killed run may be cut."""
    for line in lines:
        if line.endswith("\n"):
            news.put(News(party, run, Report.parse(line)))
    news.put(News(party, run, None))
    lines.close()
