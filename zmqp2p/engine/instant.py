"""The present, and what is to happen at a time."""

from dataclasses import dataclass
from typing import NamedTuple

from zmqp2p.ids import Address


@dataclass(slots=True)
class Instant:
    """The present of a loop turn: monotonic seconds, and milliseconds since 1970, UTC."""

    now: float
    utc_ms: int


class Timer(NamedTuple):  # Made and hashed in every turn: a quarter of a frozen dataclass.
    """What an agenda entry is about."""

    what: str  # session, parts, dial, duplicate or grace.
    key: Address  # Of `grace` this node's own address.
