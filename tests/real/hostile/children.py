"""Processes of ours: asked by a line of input, and measured from outside."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]  # From where ``python -m tests…`` finds everything.
END_S = 20.0


@dataclass
class Child:
    """A process of ours that answers lines with lines of JSON."""

    module: str
    process: "subprocess.Popen[str]"

    def read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.module} ended with {self.process.wait()}")
        return line.rstrip("\n")

    def ask(self, line: str) -> Any:
        """Send a line and return the answer."""
        self.tell(line)
        return json.loads(self.read())

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """End its input, and wait until it is gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            return self.process.wait(END_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()

    @property
    def rss_bytes(self) -> int:
        """What it holds in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    @property
    def cpu_s(self) -> float:
        """What it has used of a core."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    @property
    def descriptors(self) -> int:
        """How many it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@contextmanager
def child(module: str, *words: str, place: Callable[[int], None]) -> Iterator[Child]:
    """Start ``python -m module words``; it is ended at the end.

    ``place`` is told its pid before it does anything.
    """
    made = Child(
        module,
        subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ),
    )
    try:
        place(made.process.pid)
        yield made
    finally:
        if made.process.poll() is None:
            made.end()
