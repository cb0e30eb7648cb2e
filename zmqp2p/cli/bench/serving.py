"""``zmqp2p bench --serve``: the receiving side on a machine of its own, and the way to it.

A server's address is one word: what reaches the node, a comma, and what reaches the floor.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from zmqp2p.cli.bench import worker
from zmqp2p.cli.bench.script import KINDS, BenchFailed, Kind, Plan
from zmqp2p.cli.bench.workloads import Settings
from zmqp2p.transport.endpoints import parse_listen


@contextmanager
def serving(
    settings: Settings, endpoint: str, advertise: str | None, store: str | None
) -> Iterator[str]:
    """Receive at ``endpoint``, and at its next port for the floor; gives the server's address.

    ``advertise`` is where others reach the endpoint, if that is not what it says. ``store`` is the
    beginning of new files' names; None keeps everything in memory.
    """
    plan = Plan(
        kind="zmqp2p",
        side="receive",
        payload=settings.payload,
        face=settings.face,
        secure=settings.secure,
        endpoint=endpoint,
        advertise=advertise,
        store=None if store is None else f"{store}.db",
    )
    floor = replace(
        plan,
        kind="floor",
        endpoint=_next_port(endpoint),
        advertise=None if advertise is None else _next_port(advertise),
        store=None if store is None else f"{store}.log",
    )
    with ExitStack() as stack:
        roles = [stack.enter_context(worker.role_of(each)) for each in (plan, floor)]
        yield ",".join(role.contact for role in roles)


def _next_port(endpoint: str) -> str:
    parsed = parse_listen(endpoint)
    if parsed.scheme == "ipc":
        return f"{endpoint}-floor"
    return parsed.with_port(parsed.port + 1 if parsed.port else 0).text


def contacts_of(address: str) -> Mapping[Kind, str]:
    """Return the way to each kind of receiver from what a server has printed.

    Raises:
        BenchFailed: it is not that.
    """
    contacts = address.strip().split(",")
    if len(contacts) != len(KINDS) or not all(contacts):
        raise BenchFailed("--connect takes what zmqp2p bench --serve has printed: two parts")
    return dict(zip(KINDS, contacts, strict=True))
