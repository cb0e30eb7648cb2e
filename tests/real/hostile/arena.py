"""An honest pair, one of which is attacked, and what it costs the other to be heard."""

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.real.hostile.attacks import Attack
from tests.real.hostile.victim import Setting
from tests.real.parties import Note, until, until_connected
from zmqp2p import Identity, P2PService
from zmqp2p.ids import Address, address_text
from zmqp2p.records import PeerRecord

ROOT = Path(__file__).parents[3]
TEXT = "x" * 340  # With its number, a message of about 350 bytes.
END_S = 20.0
RSS_LOOK_S = 0.02


@dataclass
class Child:
    """A process of ours that answers lines with lines of JSON."""

    process: "subprocess.Popen[str]"

    def read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
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
def child(module: str, *words: str) -> Iterator[Child]:
    """Start ``python -m module words``; it is ended at the end."""
    made = Child(
        subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    )
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.end()


@dataclass
class Traffic:
    """Messages from the honest node to the victim, at a steady pace, each with its latency."""

    service: P2PService
    to: Address
    sent: int = 0
    acked: int = 0

    def during(self, seconds: float, per_s: float) -> list[float]:
        """Send for so long; return the seconds from send to ack of each, `inf` if none came.

        The pace does not wait for answers: a stall is seen by every message that falls into it.
        """
        latencies: list[float] = []
        due = time.monotonic()
        end, pace = due + seconds, threading.Event()
        receipts = []
        while due < end:
            pace.wait(max(due - time.monotonic(), 0))
            index, due_at = len(latencies), due
            latencies.append(math.inf)

            def note(_: object, index: int = index, due_at: float = due_at) -> None:
                latencies[index] = time.monotonic() - due_at
                self.acked += 1

            receipt = self.service.send_message(self.to, Note(self.sent, TEXT))
            self.sent += 1
            receipt.add_done_callback(note)
            receipts.append(receipt)
            due += 1 / per_s
        give_up_at = time.monotonic() + END_S
        while not all(receipt.ended for receipt in receipts) and time.monotonic() < give_up_at:
            pace.wait(0.01)
        return latencies


class Peak:
    """The most that something was, looked at again and again on a thread."""

    def __init__(self, look: Callable[[], int]) -> None:
        self.most = look()
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peak")
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(RSS_LOOK_S):
            self.most = max(self.most, self._look())

    def end(self) -> int:
        self._over.set()
        self._thread.join()
        self.most = max(self.most, self._look())
        return self.most


@dataclass
class Outcome:
    """What an attack did."""

    name: str
    quiet: list[float]
    control: list[float]
    attacked: list[float]
    arrived: bool  # Each message, once and in order.
    rss_growth_bytes: int
    file_growth_bytes: int
    descriptors: tuple[int, int, int]  # Before, at most, after.
    cpu: float  # Of a core, of the victim, while attacked.
    report: dict[str, Any] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


def percentile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of ``values`` are."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else math.nan


class Arena:
    """One victim, and one honest node that is connected to it."""

    def __init__(self, folder: Path, stack: ExitStack, **setting: Any) -> None:
        self.store = folder / "victim.db"
        told = Setting(key=str(folder / "victim.key"), store=str(self.store), **setting)
        self.victim = stack.enter_context(child("tests.real.hostile.victim", told.to_text()))
        self.record = PeerRecord.parse(self.victim.read())
        self.alice = stack.enter_context(P2PService(None, identity=Identity.generate(), security=told.security))
        self.alice.add_peer(self.record)
        until_connected(self.alice, self.record.address)
        self.traffic = Traffic(self.alice, self.record.address)

    def file_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.store.parent.glob("victim.db*"))

    def run(
        self, attack: Attack, seconds: float, *, per_s: float = 200.0, control: bool = False
    ) -> Outcome:
        """Measure quiet, then while the attack goes on; wait until its traces are gone."""
        self.traffic.during(0.5, per_s)  # Warm.
        quiet = self.traffic.during(seconds, per_s)
        swallowed = self._control(attack, seconds, per_s) if control else []
        before = (self.victim.rss_bytes, self.file_bytes(), self.victim.descriptors)
        with child(
            "tests.real.hostile.attacker", attack.name, str(self.record), str(seconds), "1"
        ) as attacker:
            prepared = json.loads(attacker.read())
            self._prepare(attack, prepared)
            rss = Peak(lambda: self.victim.rss_bytes)
            descriptors = Peak(lambda: self.victim.descriptors)
            cpu, since = self.victim.cpu_s, time.monotonic()
            attacker.tell("go")
            attacked = self.traffic.during(seconds, per_s)
            cpu = (self.victim.cpu_s - cpu) / (time.monotonic() - since)
            done = json.loads(attacker.read())["done"]
            growth = rss.end() - before[0]
            most = descriptors.end()
        after = self._settled(before[2])
        report = self.victim.ask("report")
        return Outcome(
            attack.name,
            quiet,
            swallowed,
            attacked,
            self._arrived(report),
            growth,
            self.file_bytes() - before[1],
            (before[2], most, after),
            cpu,
            report,
            done,
            prepared["names"],
        )

    def _prepare(self, attack: Attack, prepared: dict[str, Any]) -> None:
        for name in prepared["names"] if attack.mail else []:
            self.victim.ask(f"mail {name} {attack.mail}")
        for contact in prepared["contacts"]:
            self.victim.ask(f"add {contact}")

    def _control(self, attack: Attack, seconds: float, per_s: float) -> list[float]:
        with (
            child("tests.real.hostile.sink") as sink,
            child(
                "tests.real.hostile.attacker", attack.name, sink.read(), str(seconds), "1"
            ) as attacker,
        ):
            attacker.read()
            attacker.tell("go")
            latencies = self.traffic.during(seconds, per_s)
            attacker.read()
        return latencies

    def _settled(self, before: int) -> int:
        """Return how many descriptors the victim has once the attacker's are gone, or at last."""
        try:
            return until(lambda: self.victim.descriptors, lambda now: now <= before + 2)
        except AssertionError:
            return self.victim.descriptors

    def _arrived(self, report: dict[str, Any]) -> bool:
        count, last, amiss = report["heard"][address_text(self.alice.address)]
        return bool(
            count == self.traffic.sent == self.traffic.acked and last == count - 1 and amiss == 0
        )
