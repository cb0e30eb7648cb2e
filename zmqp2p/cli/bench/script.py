"""What the bench's parent and its workers agree on: a worker's plan, orders, and what comes back.

A worker prints one JSON object for each order that it reads, and one before the first: ``ready``.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from zmqp2p.errors import P2PError

Kind = Literal["zmqp2p", "floor"]
Side = Literal["receive", "send", "swarm"]
Payload = Literal["opaque", "signed"]
Face = Literal["blocking", "asyncio"]

KINDS: tuple[Kind, ...] = ("zmqp2p", "floor")
REPORT = "report"  # An order: say what was received, and used of CPU and memory.
END = "end"  # An order: close and exit. The end of stdin without it means the parent is gone.


class BenchFailed(P2PError):
    """A message was lost, a worker failed, or something took too long. No figure counts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one worker is: one side of one kind, as its parent starts it."""

    kind: Kind
    side: Side
    payload: Payload = "opaque"
    face: Face = "blocking"
    store: str | None = None  # A new file; None keeps everything in memory.
    secure: bool = True  # CURVE.
    endpoint: str = "tcp://127.0.0.1:0"  # Where a receiver listens.
    advertise: str | None = None  # Where others reach it, if that differs.
    contact: str = ""  # Of the receiver, for a sender: what that said when it was ready.
    peers: int = 0  # Of a swarm; of a receiver, how many newcomers it expects.
    key: str | None = None  # The key file of a receiver that is started again; None: a new key.
    chain: str | None = None  # The file of a simulated chain, to fund channels on.
    busy: int = 0  # Threads beside it in its process, that compute all the time.
    switch_ms: float = 5.0  # The interpreter's switch interval.

    def line(self) -> str:
        """Return the plan as one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> "Plan":
        """Return the plan that is written in ``line``."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class Load:
    """An order to a sender: one workload, once.

    At most ``window`` messages are on their way at a time. With a rate they are sent by the clock
    instead, whatever comes back, and latency counts from the instant that one was due.
    """

    messages: int
    window: int
    rate: float = 0.0  # Per second; 0: as fast as the window lets them.
    size_bytes: int = 350  # Of a body, if opaque.
    timeout_s: float = 60.0  # For all of it.
    channels: bool = False  # Fund channels instead of sending messages: what is counted is these.
    hang_up: bool = False  # Of a swarm: all links end, and nobody dials until the outage is over.
    outage_s: float = 0.0  # Of a swarm: its node was gone for so long and is back: all redial.

    def line(self) -> str:
        """Return the order as one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> "Load":
        """Return the load that is written in ``line``."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sender measured: every message was acked, each after its handler had run."""

    messages: int
    elapsed_s: float  # From the first `send` to the last ack.
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What a worker has received and used since it started."""

    received: int
    faults: int  # Messages out of order, seen before, or not signed by their sender.
    cpu_s: float
    resident_bytes: int  # Now.
    peak_bytes: int  # Resident memory at its highest.


def parse_answer(who: str, line: str) -> dict[str, Any]:
    """Return what the worker ``who`` answered; raises `BenchFailed` if it is no answer."""
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise BenchFailed(f"{who} printed what is no answer: {line[:200]!r}")
    return answer
