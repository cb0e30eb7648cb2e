"""The workloads, and what of them may be chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from zmqp2p.cli.bench.script import KINDS, Face, Kind, Load, Payload
from zmqp2p.limits import MIB

FAN_IN = "fan-in"  # Of several senders.

# Sustained loads last a second or two; the window is what a sender may have unacked.
_LOADS: Mapping[str, Load] = {
    "pingpong": Load(messages=1_000, window=1),
    "burst": Load(messages=1_000, window=1_000),
    "sustained": Load(messages=100_000, window=4_096),
    "paced": Load(messages=3_000, window=1, rate=1_000.0),
    "bulk": Load(messages=100, window=16, size_bytes=MIB),
    FAN_IN: Load(messages=20_000, window=1_024),
    "fund": Load(messages=200, window=50, channels=True),
}
NAMES = tuple(_LOADS)
DEFAULT = ("pingpong", "burst", "sustained", "paced", "bulk")

_WINDOWED = ("sustained", "bulk", FAN_IN, "fund")
_SIGNED_SHARE = 5  # A signature costs some 60 us to verify: so many times fewer when sustained.
_WARM_UP_CHANNELS = 5
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
    size_bytes: int | None = None  # Of an opaque body.
    peers: int = 4  # Senders, of fan-in.
    busy: int = 0  # Threads that compute all the time, in each process.
    switch_ms: float = 5.0  # The interpreters' switch interval.
    timeout_s: float = 60.0  # For one load.
    connect: Mapping[Kind, str] = field(default_factory=dict)  # Contacts of remote receivers.

    def payload_of(self, workload: str) -> Payload:
        """Return what ``workload`` sends: a bulk message is opaque, whatever was chosen."""
        return "opaque" if workload == "bulk" else self.payload

    def kinds(self, workload: str) -> tuple[Kind, ...]:
        """Return what is measured: there is no plain way to fund a channel, as a floor of it."""
        return KINDS if self.floor and workload != "fund" else ("zmqp2p",)

    def senders(self, workload: str) -> int:
        """Return how many peers send at the same time."""
        return self.peers if workload == FAN_IN else 1

    def load(self, workload: str) -> Load:
        """Return the load of each sender."""
        load = replace(_LOADS[workload], timeout_s=self.timeout_s)
        if self.payload_of(workload) == "signed" and workload in ("sustained", FAN_IN):
            load = replace(load, messages=load.messages // _SIGNED_SHARE)
        if self.messages is not None:
            load = replace(load, messages=self.messages)
        if self.size_bytes is not None:
            load = replace(load, size_bytes=self.size_bytes)
        if self.window is not None and workload in _WINDOWED:
            load = replace(load, window=self.window)
        if self.rate is not None and load.rate:
            load = replace(load, rate=self.rate)
        return load

    def warm_up(self, workload: str) -> Load:
        """Return what every sender sends before it is measured."""
        load = self.load(workload)
        if load.channels:
            return replace(load, messages=min(load.messages, _WARM_UP_CHANNELS))
        return replace(_WARM_UP, timeout_s=self.timeout_s)
