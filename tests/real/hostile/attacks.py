"""What an attack is, and the list of all.

An attack is a generator: what it prepares, a ``yield``, and then what it does while
`Attacker.goes_on`. It never waits for an answer without a limit: the same attack runs against a
socket that only swallows (`sink.py`), to tell what the load alone costs on this machine.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

import zmq

from tests.real.hostile.raw import Keys, Stranger
from zmqp2p.records import PeerRecord
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Frame

DRAIN_EVERY = 64

Run = Callable[["Attacker"], Iterator[None]]


@dataclass
class Attacker:
    """One attack under way in this process."""

    target: PeerRecord
    context: "zmq.Context[zmq.Socket[bytes]]"
    stack: ExitStack
    rng: Random
    until: float = float("inf")  # Monotonic seconds.
    done: Counter[str] = field(default_factory=Counter)  # How much of what.
    names: list[str] = field(default_factory=list)  # Of identities that the node has accepted.
    contacts: list[str] = field(default_factory=list)  # Where it listens, for the node to dial.

    def goes_on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self.until

    def stranger(self, keys: Keys | None = None, **settings: Any) -> Stranger:
        """Return a connection that is closed at the end."""
        made = Stranger(self.context, self.target, keys, **settings)
        self.stack.callback(made.close)
        return made

    def peer(self, keys: Keys | None = None, **hello: Any) -> Stranger:
        """Return a connection that has introduced itself."""
        made = self.stranger(keys)
        made.introduce(**hello)
        self.names.append("0x" + made.keys.signer.address.hex())
        return made

    def flood(self, peer: Stranger, *messages: Sequence[bytes]) -> None:
        """Send ``messages`` round and round, as fast as they are taken, and read the answers."""
        for number, parts in enumerate(itertools.cycle(messages)):
            if not self.goes_on():
                return
            self.count("messages", peer.push(parts))
            if number % DRAIN_EVERY == 0:
                self.count("answers", len(peer.drain()))

    def storm(self, peer: Stranger, *frames: Frame) -> None:
        """Say ``frames`` round and round."""
        self.flood(peer, *[encode_frame(frame) for frame in frames])

    def flood_each(self, peers: Sequence[Stranger], *messages: Sequence[bytes]) -> None:
        """Send one of ``messages`` over each of ``peers``, or the same over all, in turn."""
        pairs = list(zip(peers, itertools.cycle(messages), strict=False))
        while self.goes_on():
            for peer, parts in pairs:
                self.count("messages", peer.push(parts))
                self.count("answers", len(peer.drain()))

    def flood_deaf(self, peers: Sequence[Stranger], *messages: Sequence[bytes]) -> None:
        """As `flood_each`, but no answer is read."""
        pairs = list(zip(peers, itertools.cycle(messages), strict=False))
        while self.goes_on():
            for peer, parts in pairs:
                self.count("messages", peer.push(parts))

    def rest(self) -> None:
        """Do nothing more, and hold what is held."""
        threading.Event().wait(max(self.until - time.monotonic(), 0.0))

    def count(self, what: str, number: int = 1) -> None:
        self.done[what] += number


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """An attack, and what must be true of a node that withstood it."""

    name: str
    says: str  # What the attacker does, for people.
    run: Run
    victim: dict[str, Any] = field(default_factory=dict)  # Of its `Setting`, other than usual.
    mail: int = 0  # Messages that the node has for the attacker before it begins.
    stays: int = 0  # Descriptors that may stay open after it: libzmq's, and bounded.
    told: tuple[str, ...] = ()  # Events, one of which the node's application must have heard.


ATTACKS: dict[str, Attack] = {}


def attack(says: str, **settings: Any) -> Callable[[Run], Run]:
    """Put the decorated generator into the list, by its name; ``settings`` are of `Attack`."""

    def add(run: Run) -> Run:
        name = run.__name__
        ATTACKS[name] = Attack(name=name, says=says, run=run, **settings)
        return run

    return add
