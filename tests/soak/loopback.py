"""Two parties on this machine, each behind a fault proxy."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.real.faults.ports import reserved_ports
from tests.real.faults.proxy import FaultProxy
from tests.soak.exchange import Exchange, Plan
from tests.soak.faults import Partitions, Resets
from tests.soak.party import Party
from tests.soak.worker import Task
from zmqp2p import Identity, PeerUri

NAMES = ("alice", "bob")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A soak. ``kills`` is how often each party is killed."""

    messages: int  # In each direction.
    timeout_s: float
    seed: int
    resets: bool = False
    partitions: bool = False
    kills: tuple[int, int] = (0, 0)
    kills_together: bool = False  # Both at once, each time.
    in_memory: bool = False
    report_interval_s: float = 0.02
    limits: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Soak:
    """What was set up: an exchange to run, and what disturbs it."""

    exchange: Exchange
    resets: Resets | None
    partitions: Partitions | None


@contextmanager
def soak(folder: Path, settings: Settings) -> Iterator[Soak]:
    """Set up a soak in ``folder``; proxies and workers are gone afterwards."""
    rng = Random(settings.seed)
    with ExitStack() as stack:
        ports = stack.enter_context(reserved_ports(len(NAMES)))
        endpoints = [f"tcp://127.0.0.1:{port}" for port in ports]
        proxies = [stack.enter_context(FaultProxy(endpoint)) for endpoint in endpoints]
        shown = [proxy.endpoint for proxy in proxies]
        parties = _parties(folder, settings, endpoints, shown)
        resets = Resets(proxies, rng) if settings.resets else None
        partitions = Partitions(proxies[0], proxies[1], rng) if settings.partitions else None
        plan = Plan(
            messages=settings.messages,
            timeout_s=settings.timeout_s,
            kills=_kills(settings, rng),
            together=settings.kills_together,
            seed=settings.seed,
        )
        disturbances = [one for one in (resets, partitions) if one is not None]
        yield Soak(Exchange(parties, plan, disturbances), resets, partitions)


def _kills(settings: Settings, rng: Random) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # Not at the very end: there everything may be delivered before the last ones come.
    moments = (tuple(rng.uniform(0, 0.9) for _ in range(kills)) for kills in settings.kills)
    first, second = moments
    return (first, first) if settings.kills_together else (first, second)


def _parties(
    folder: Path, settings: Settings, endpoints: list[str], shown: list[str]
) -> tuple[Party, Party]:
    identities = [Identity.load_or_create(folder / f"{name}.key") for name in NAMES]
    uris = [
        str(PeerUri(who.address, who.curve_public, endpoint))
        for who, endpoint in zip(identities, shown, strict=True)
    ]

    def party(index: int) -> Party:
        name = NAMES[index]
        task = Task(
            key=str(folder / f"{name}.key"),
            store=None if settings.in_memory else str(folder / f"{name}.db"),
            endpoint=endpoints[index],
            advertise=shown[index],
            peer=uris[1 - index],
            messages=settings.messages,
            seed=settings.seed,
            report_interval_s=settings.report_interval_s,
            limits=settings.limits,
        )
        return Party(name, task, folder / f"{name}.err")

    return party(0), party(1)
