"""An honest pair, one of which is attacked; what that costs, and what the node tells of it.

Three processes: the victim, the honest node (here), the attacker. On a machine with few cores the
attacker takes time that an attacker elsewhere would not: he runs with the priority of everybody,
and `Arena.control` tells what his work alone costs, with the same attack on a socket that swallows.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from tests.real.hostile.attacker import Task
from tests.real.hostile.attacks import Attack
from tests.real.hostile.children import child
from tests.real.hostile.cores import give_node_its_core, give_way, keep_off_its_core
from tests.real.hostile.traffic import Traffic
from tests.real.hostile.victim import Setting
from tests.real.parties import until, until_connected
from zmqp2p import Identity, P2PService
from zmqp2p.ids import address_text
from zmqp2p.records import PeerRecord

ATTACKER = "tests.real.hostile.attacker"
LOOK_S = 0.02
SLACK_DESCRIPTORS = 2  # SQLite opens and closes files of its own.
RSS_MAX_BYTES = 64 * 1024 * 1024
FILE_MAX_BYTES = 16 * 1024 * 1024  # The store's write-ahead log alone has up to 4 MiB.


class Peak:
    """The most that something was, looked at again and again on a thread."""

    def __init__(self, look: Callable[[], int]) -> None:
        self.first = self.most = look()
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peak")
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            self.most = max(self.most, self._look())

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self.most - self.first


@dataclass(kw_only=True)
class Outcome:
    """What an attack did; latencies in seconds."""

    latencies: list[float]
    arrived: bool  # Each honest message, once and in order.
    rss_growth_bytes: int
    file_growth_bytes: int
    descriptors: tuple[int, int, int]  # Before, at most, and after.
    cores: tuple[float, float]  # That the victim and the attacker used meanwhile.
    done: dict[str, int]  # By the attacker.
    names: list[str]  # Of the identities with which he was accepted.
    events: dict[str, int]  # Told to the victim's application, by name.
    examples: dict[str, list[str]] = field(default_factory=dict)
    peers: dict[str, str] = field(default_factory=dict)  # Why not connected, by name.

    def faults(self, attack: Attack) -> list[str]:
        """Return what must not be, but for times."""
        before, _, after = self.descriptors
        said = {
            "honest messages are missing, twice or out of order": not self.arrived,
            f"RSS grew by {self.rss_growth_bytes} bytes": self.rss_growth_bytes > RSS_MAX_BYTES,
            f"the store grew by {self.file_growth_bytes}": self.file_growth_bytes > FILE_MAX_BYTES,
            f"{after} descriptors are open, {before} were": after > before + _slack(attack),
            f"none of {attack.told} was told": not self._was_told(attack),
            "the attacker is not in the status": not self._is_named(),
            "the attacker did nothing": not self.done,
        }
        return [fault for fault, applies in said.items() if applies]

    def _was_told(self, attack: Attack) -> bool:
        return not attack.told or any(name in self.events for name in attack.told)

    def _is_named(self) -> bool:
        return all(name in self.peers for name in self.names)


def _slack(attack: Attack) -> int:
    return SLACK_DESCRIPTORS + attack.stays


class Arena:
    """One victim, and one honest node that is connected to it."""

    def __init__(
        self, folder: Path, stack: ExitStack, *, stranger: bool = True, **setting: Any
    ) -> None:
        """``stranger``: the victim has not added the honest node, which is a guest as others."""
        self._folder = folder
        told = Setting(key=str(folder / "victim.key"), store=str(folder / "victim.db"), **setting)
        self.victim = stack.enter_context(
            child("tests.real.hostile.victim", told.to_text(), place=give_node_its_core)
        )
        keep_off_its_core(0)
        self._attacker = stack.enter_context(child(ATTACKER, place=give_way))  # Starts meanwhile.
        self.record = PeerRecord.parse(self.victim.read())
        alice = P2PService(None, identity=Identity.generate(), security=told.security)
        self.alice = stack.enter_context(alice)
        self.alice.add_peer(self.record)
        until_connected(self.alice, self.record.address)
        if not stranger:
            self.victim.ask(f"add {self.alice.record}")
        self.traffic = Traffic(self.alice, self.record.address)

    def control(self, attack: Attack, seconds: float, per_s: float) -> list[float]:
        """Return the latencies while the attack goes on elsewhere, on a socket that swallows."""
        with (
            child("tests.real.hostile.sink", place=give_way) as sink,
            child(ATTACKER, place=give_way) as attacker,
        ):
            attacker.ask(Task(attack.name, sink.read(), seconds).to_line())
            attacker.tell("go")
            latencies = self.traffic.during(seconds, per_s)
            attacker.read()
        return latencies

    def attack(self, attack: Attack, seconds: float, per_s: float = 200.0) -> Outcome:
        """Let the honest work through the attack; wait until its traces are gone. Once."""
        files = self._file_bytes()
        with self._watched() as (rss, descriptors):
            attacker = self._attacker
            prepared = attacker.ask(Task(attack.name, str(self.record), seconds).to_line())
            self._prepare(attack, prepared)
            cpu_s, since = (self.victim.cpu_s, attacker.cpu_s), monotonic()
            attacker.tell("go")
            latencies = self.traffic.during(seconds, per_s)
            done = json.loads(attacker.read())["done"]
            took_s = monotonic() - since
            cores = (
                (self.victim.cpu_s - cpu_s[0]) / took_s,
                (attacker.cpu_s - cpu_s[1]) / took_s,
            )
            report = self._report(attack)  # Its peers may be forgotten later.
            attacker.end()
        after = self._settled(descriptors.first + _slack(attack))
        heard = self.victim.ask("report")["heard"]
        return Outcome(
            latencies=latencies,
            arrived=self._arrived(heard[address_text(self.alice.address)]),
            rss_growth_bytes=rss.growth,
            file_growth_bytes=self._file_bytes() - files,
            descriptors=(descriptors.first, descriptors.most, after),
            cores=cores,
            done=done,
            names=prepared["names"],
            events=report["events"],
            examples=report["examples"],
            peers=report["peers"],
        )

    def _report(self, attack: Attack) -> dict[str, Any]:
        """Return what the victim tells, once it has read what shows the attack, or at last."""
        report: dict[str, Any] = {}

        def ask() -> bool:
            report.update(self.victim.ask("report"))
            return not attack.told or any(name in report["events"] for name in attack.told)

        with suppress(AssertionError):  # It has not read it in time; what is missing is told.
            until(ask, bool)
        return report

    @contextmanager
    def _watched(self) -> Iterator[tuple[Peak, Peak]]:
        rss = Peak(lambda: self.victim.rss_bytes)
        descriptors = Peak(lambda: self.victim.descriptors)
        try:
            yield rss, descriptors
        finally:
            rss.end()
            descriptors.end()

    def _prepare(self, attack: Attack, prepared: dict[str, Any]) -> None:
        for name in prepared["names"] if attack.mail else []:
            self.victim.ask(f"mail {name} {attack.mail}")
        for contact in prepared["contacts"]:
            self.victim.ask(f"add {contact}")

    def _settled(self, most: int) -> int:
        """Return how many descriptors the victim has once the attacker's are gone, or at last."""
        try:
            return until(lambda: self.victim.descriptors, lambda now: now <= most)
        except AssertionError:
            return self.victim.descriptors

    def _arrived(self, heard: tuple[int, int, int]) -> bool:
        count, last, amiss = heard
        return count == self.traffic.sent == self.traffic.acked == last + 1 and amiss == 0

    def _file_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("victim.db*"))
