"""The workloads, and what of them may be chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from zmqp2p.cli.bench.script import Face, Load, Payload

MIB = 2**20

# Sustained loads last a second or two; the window is what a sender may have unacked.
_LOADS: Mapping[str, Load] = {
    "pingpong": Load(messages=1_000, window=1),
    "burst": Load(messages=1_000, window=1_000),
    "sustained": Load(messages=100_000, window=4_096),
    "paced": Load(messages=3_000, window=1, rate=1_000.0),
    "bulk": Load(messages=100, window=16, size_bytes=MIB),
    "fan-in": Load(messages=20_000, window=1_024),
}
NAMES = tuple(_LOADS)
DEFAULT = ("pingpong", "burst", "sustained", "paced", "bulk")

_SIGNED_SHARE = 5  # A signature costs some 60 us to verify: so many times fewer when sustained.
_WARM_UP = Load(messages=200, window=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user has chosen; None and 0 leave a workload's own figure."""

    store: str = "memory"
    secure: bool = True
    payload: Payload = "opaque"
    face: Face = "blocking"
    trials: int = 5
    floor: bool = True
    messages: int | None = None
    window: int | None = None
    rate: float | None = None
    peers: int = 4  # Senders, of fan-in.
    timeout_s: float = 60.0  # For one load.
    connect: str | None = None  # The record of a remote receiver.

    def payload_of(self, workload: str) -> Payload:
        """Return what ``workload`` sends: a bulk message is opaque, whatever was chosen."""
        return "opaque" if workload == "bulk" else self.payload

    def senders(self, workload: str) -> int:
        """Return how many peers send at the same time."""
        return self.peers if workload == "fan-in" else 1

    def load(self, workload: str) -> Load:
        """Return the load of each sender."""
        load = replace(_LOADS[workload], timeout_s=self.timeout_s)
        if self.payload_of(workload) == "signed" and workload in ("sustained", "fan-in"):
            load = replace(load, messages=load.messages // _SIGNED_SHARE)
        if self.messages is not None:
            load = replace(load, messages=self.messages)
        if self.window is not None and workload in ("sustained", "bulk", "fan-in"):
            load = replace(load, window=self.window)
        if self.rate is not None and load.rate:
            load = replace(load, rate=self.rate)
        return load

    def warm_up(self) -> Load:
        """Return what every sender sends before it is measured."""
        return replace(_WARM_UP, timeout_s=self.timeout_s)
