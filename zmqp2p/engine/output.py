"""What the engine asks its node to do, as values, drained once per loop turn."""

from dataclasses import dataclass, field

from zmqp2p.events import Event
from zmqp2p.ids import Address, ChannelId, CurveKey, LinkId
from zmqp2p.objectives.base import Deposit
from zmqp2p.session.session import Output


@dataclass(frozen=True, slots=True)
class Dial:
    """Start one attempt to reach ``peer``; report the link, or that it could not start."""

    peer: Address
    endpoint: str
    curve_key: CurveKey


@dataclass(frozen=True, slots=True)
class Watch:
    """Ask the chain what ``channel`` holds of each of ``assets``, and report it."""

    channel: ChannelId
    assets: tuple[Address, ...]


@dataclass(slots=True)
class EngineOutput(Output):
    """First commit all ``writes``; then the rest may leave, ``closes`` after the frames."""

    dials: list[Dial] = field(default_factory=list)
    trusted: list[LinkId] = field(default_factory=list)  # Accepted ones, contacts'.
    closes: list[LinkId] = field(default_factory=list)
    deposits: list[Deposit] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    former_ended: bool = False  # Stop listening with the former CURVE key, after the closes.
    events: list[Event] = field(default_factory=list)
    posted: list[tuple[Address, int]] = field(default_factory=list)  # By channels: to whom, bytes.

    def take(self) -> "EngineOutput":
        """Return what has gathered. Whoever holds this object goes on writing into it."""
        taken = EngineOutput(
            self.writes,
            self.frames,
            self.processed,
            self.dials,
            self.trusted,
            self.closes,
            self.deposits,
            self.watches,
            self.former_ended,
            self.events,
            self.posted,
        )
        self.__init__()  # type: ignore[misc]  # As new.
        return taken
