"""Two parties on two hosts that exchange items, and fund a channel meanwhile."""

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

from tests.real.namespaces.hosts import ADDRESSES, Hosts
from tests.soak.exchange import Disturbance, Exchange, Plan
from tests.soak.party import Party
from tests.soak.worker import Task
from zmqp2p import Identity, PeerUri

NAMES = ("alice", "bob")
PORT = 7901


def exchange_between(
    hosts: Hosts,
    folder: Path,
    plan: Plan,
    *,
    limits: dict[str, Any],
    disturbances: Sequence[Disturbance] = (),
) -> Exchange:
    """Return an exchange of items between parties on two hosts; the first proposes a channel."""
    identities = [Identity.load_or_create(folder / f"{name}.key") for name in NAMES]
    endpoints = [f"tcp://{address}:{PORT}" for address in ADDRESSES]

    def party(index: int) -> Party:
        other = identities[1 - index]
        name = NAMES[index]
        task = Task(
            key=str(folder / f"{name}.key"),
            store=str(folder / f"{name}.db"),
            endpoint=endpoints[index],
            advertise=None,
            peer=str(PeerUri(other.address, other.curve_public, endpoints[1 - index])),
            messages=plan.messages,
            seed=plan.seed,
            report_interval_s=0.02,
            limits=limits,
            chain=str(folder / "chain.db"),
            proposes=plan.channels > 0 and index == 0,
        )
        return Party(name, task, folder / f"{name}.err", hosts.prefix(index))

    return Exchange((party(0), party(1)), plan, disturbances)


class Outage:
    """Once, when part of the exchange is done, the network breaks and heals; nobody is told."""

    def __init__(
        self,
        breaks: Callable[[], None],
        heals: Callable[[], None],
        *,
        at_progress: float,
        duration_s: float,
    ) -> None:
        self._breaks, self._heals = breaks, heals
        self._at_progress = at_progress
        self._duration_s = duration_s
        self._look_s = 0.01
        self.began_at = self.healed_at = inf
        self.next_at = monotonic()

    def act(self, progress: float) -> None:
        if self.began_at < inf:
            self.end()
        elif progress >= self._at_progress:
            self._breaks()
            self.began_at = monotonic()
            self.next_at = self.began_at + self._duration_s
        else:
            self.next_at = monotonic() + self._look_s

    def end(self) -> None:
        if self.began_at < inf and self.healed_at == inf:
            self._heals()
            self.healed_at = monotonic()
        self.next_at = inf
