"""What a transport tells the engine about its connections (links), as values.

They live below the engine, so that the pure part never imports a transport.
"""

from dataclasses import dataclass, replace
from enum import Enum

from zmqp2p.ids import CurveKey, LinkId


class DownReason(Enum):
    """Why a link ended, or never came up; each is a different answer to "why not connected?"."""

    UNREACHABLE = "unreachable"  # Nobody listens there, no route, or no answer to the connect.
    WRONG_KEY = "wrong_key"  # The listener does not hold the CURVE key that was dialed.
    DENIED = "denied"  # The listener's ZAP handler refused our key or address.
    NOT_ZP2P = "not_zp2p"  # Something else speaks there: no ZMTP, no CURVE, or it says nothing.
    LOST = "lost"  # An established connection ended.
    CONGESTED = "congested"  # The transport's queue is full: the peer does not read.
    CLOSED = "closed"  # This node closed it.


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A connection is authenticated and can carry frames."""

    link: LinkId
    curve_key: CurveKey | None  # As CURVE proved it on this very connection; None without CURVE.
    remote: str  # For people: the dialed endpoint, or the peer's IP address.
    dialed: bool  # True if this node dialed it.
    former: bool = False  # This node's end has the CURVE key that it had before the last `rekey`.
    crowded: bool = False  # Guests have as many connections as they may: it is for a contact only.


@dataclass(frozen=True, slots=True)
class Received:
    """One ZMTP message came over ``link``: its frames, without the routing id."""

    link: LinkId
    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LinkDown:
    """``link`` is gone for good; also the answer to a dial that failed."""

    link: LinkId
    reason: DownReason
    detail: str


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """So many connections of one source were shut down: most before there was a link of them."""

    source: str
    why: str
    count: int
    link: LinkId = LinkId(0)  # None: no link is ever numbered so.


LinkEvent = LinkUp | Received | LinkDown | TurnedAway


def of_former_key(event: LinkEvent) -> LinkEvent:
    """Return ``event``, not yet told, as it is after this node's key was replaced."""
    return replace(event, former=True) if isinstance(event, LinkUp) else event
