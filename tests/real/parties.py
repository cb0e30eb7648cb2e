"""Nodes that talk over real sockets, and ways to wait for what they do.

Nothing here sleeps: a `Journal` wakes whoever waits for an entry. Only what tells nobody when it
changes (a peer's status) is looked at again and again, until a deadline.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from zmqp2p import Delivery, Identity, Limits, P2PService, PeerStatus, message
from zmqp2p.events import Event
from zmqp2p.ids import ZERO_ADDRESS, Address, ChannelId
from zmqp2p.state import Allocation, AssetExit, Outcome, destination_of

T = TypeVar("T")
E = TypeVar("E")

PATIENCE_S = 15.0  # Longer than anything here takes on a busy machine.
LOOPBACK = "tcp://127.0.0.1:0"
LOOK_AGAIN_S = 0.01
# As the defaults, but impatient: what a test waits for comes soon, or not at all.
HASTY = Limits(
    redial_max_s=0.2,
    handler_retry_min_s=0.005,
    handler_retry_max_s=0.02,
    subscribe_grace_s=0.2,
    deposit_retry_min_s=0.01,
    deposit_retry_max_s=0.1,
)


@message(7001)
@dataclass(frozen=True)
class Note:
    """The tests' own message."""

    number: int
    text: str = ""


@message(7002)
@dataclass(frozen=True)
class Answer:
    """What is sent in reply to a `Note`."""

    number: int


class Journal(Generic[T]):
    """What was noted so far, oldest first; noted on one thread, awaited on another."""

    def __init__(self) -> None:
        self._entries: list[T] = []
        self._changed = threading.Condition()

    def __call__(self, entry: T) -> None:
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()

    @property
    def entries(self) -> list[T]:
        with self._changed:
            return list(self._entries)

    def until(self, wanted: Callable[[list[T]], object], timeout_s: float = PATIENCE_S) -> list[T]:
        """Wait until ``wanted(entries)``; fail with the last entries if that is never true."""
        with self._changed:
            if not self._changed.wait_for(lambda: wanted(self._entries), timeout_s):
                raise AssertionError(f"{len(self._entries)} entries, last {self._entries[-5:]}")
            return list(self._entries)

    def count(self, number: int) -> list[T]:
        """Wait for ``number`` entries, and return them all."""
        return self.until(lambda entries: len(entries) >= number)

    def first(self, kind: type[E]) -> E:
        """Wait for an entry of a kind, and return the first."""
        entries = self.until(lambda known: any(isinstance(entry, kind) for entry in known))
        return next(entry for entry in entries if isinstance(entry, kind))


def until(look: Callable[[], T], wanted: Callable[[T], object], timeout_s: float = PATIENCE_S) -> T:
    """Look again and again until ``wanted(look())``, and return that; fail at the deadline."""
    give_up_at = time.monotonic() + timeout_s
    pace = threading.Event()  # Never set: it paces the looks.
    while not wanted(seen := look()):
        assert time.monotonic() < give_up_at, seen
        pace.wait(LOOK_AGAIN_S)
    return seen


def status_of(service: P2PService, peer: Address) -> PeerStatus:
    """Return how things stand with a peer that is known."""
    return next(status for status in service.peers() if status.address == peer)


def until_connected(service: P2PService, peer: Address) -> PeerStatus:
    return until(lambda: status_of(service, peer), lambda status: status.connected)


def until_why_not(service: P2PService, peer: Address, text: str) -> PeerStatus:
    """Wait until the reason why ``peer`` is not connected contains ``text``."""
    return until(lambda: status_of(service, peer), lambda status: text in status.why_not)


def numbers_into(journal: Journal[int]) -> Callable[[Delivery], None]:
    """Return a handler that notes the number of each `Note`."""

    def handle(delivery: Delivery) -> None:
        journal(delivery.message.number)

    return handle


def events_of(service: P2PService) -> Journal[Event]:
    """Return a journal of what ``service`` tells from now on."""
    journal: Journal[Event] = Journal()
    service.on_event(journal)
    return journal


def outcome_of(*shares: tuple[Address, int], asset: Address = ZERO_ADDRESS) -> Outcome:
    """Return the outcome in which each pays in, and gets back, so much of one asset."""
    allocations = tuple(Allocation(destination_of(who), amount) for who, amount in shares)
    return (AssetExit(asset, allocations),)


UNKNOWN_CHANNEL = ChannelId(b"\x42" * 32)


class Parties:
    """Makes services, each with the identity of its name, and closes them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._identities: dict[str, Identity] = {}
        self._closing = ExitStack()

    def identity(self, name: str) -> Identity:
        return self._identities.setdefault(name, Identity.generate())

    def address(self, name: str) -> Address:
        return self.identity(name).address

    def store(self, name: str) -> Path:
        """Return where ``name`` keeps its store."""
        return self.folder / f"{name}.db"

    def start(self, name: str, endpoint: str | None = LOOPBACK, **settings: Any) -> P2PService:
        """Start the node of ``name``, with the limits `HASTY` unless others are given."""
        settings.setdefault("limits", HASTY)
        service = P2PService(endpoint, identity=self.identity(name), **settings)
        self.close_later(service)
        return service

    def restart(self, name: str, old: P2PService, **settings: Any) -> P2PService:
        """Start ``name`` where ``old`` listened, on its SQLite store."""
        (endpoint,) = old.record.endpoints
        settings.setdefault("store", self.store(name))
        return self.start(name, endpoint, **settings)

    def pair(self, **settings: Any) -> tuple[P2PService, P2PService]:
        """Return Alice, who knows Bob, and Bob."""
        alice, bob = self.start("alice", **settings), self.start("bob", **settings)
        alice.add_peer(bob.record)
        return alice, bob

    def close_later(self, service: P2PService) -> None:
        self._closing.callback(service.close)

    def close(self) -> None:
        self._closing.close()


def open_files() -> list[str]:
    """Return what this process's descriptors are, sorted, but for those that come and go."""
    names = []
    for descriptor in _descriptors():
        try:
            names.append(str(descriptor.readlink()))
        except FileNotFoundError:  # The one with which the folder was read.
            continue
    return sorted(names)


def _descriptors() -> Iterator[Path]:
    yield from Path("/proc/self/fd").iterdir()
