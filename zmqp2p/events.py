"""What a node tells its application, as values. Subscribe with ``p2p.on_event``."""

from dataclasses import dataclass

from zmqp2p.codes import ByeCode, RefusalCode, RejectCode
from zmqp2p.ids import Address, ChannelId, CurveKey, MessageId, Seq


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A session with ``peer`` is established (again).

    Of a peer that came by itself there are only so many of these, and of alarms; what is more is
    counted in ``defences().untold``.
    """

    peer: Address
    remote: str


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """No link to ``peer``, which was told to be connected, is left; ``reason`` says why.

    Messages to it wait.
    """

    peer: Address
    reason: str


@dataclass(frozen=True, slots=True)
class PeerHandedOver:
    """The application accepted that who was ``old`` is ``new``: a policy of its own may follow."""

    old: Address
    new: Address


@dataclass(frozen=True, slots=True)
class LinkRefused:
    """A link was refused: by this node, or by the peer with a BYE."""

    peer: Address | None  # None if who it was was never proven.
    remote: str
    code: ByeCode
    reason: str
    curve_key: CurveKey | None = None  # Which the other side has proven, under CURVE.
    untold: int = 0  # Refusals of that source before this one that had no event of their own.


@dataclass(frozen=True, slots=True)
class ConnectionsRefused:
    """Connections of ``source`` were shut down, ``count`` of them, before they said who they are.

    ``source`` is an IP address, an IPv6 network, "localhost" for ipc, or "others". It is "unknown"
    for those that came too fast and ended by themselves before it was known whose they were.
    """

    source: str
    why: str
    count: int


@dataclass(frozen=True, slots=True)
class DataLossDetected:
    """A store was rolled back, on this side or the peer's; the session is held."""

    peer: Address
    detail: str


@dataclass(frozen=True, slots=True)
class SessionForgotten:
    """``peer`` came with a store that does not know this session; it was begun anew with it.

    That store was lost, replaced or recovered, or is a copy from before the two nodes met. What
    ``peer`` had processed is not sent again, and what it sends now may be what it sent before.
    """

    peer: Address
    detail: str


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """The node refused message ``seq`` from ``peer``; the peer is told."""

    peer: Address
    seq: Seq
    code: RefusalCode
    reason: str


@dataclass(frozen=True, slots=True)
class MessageFailed:
    """The handler of a message from ``peer`` failed on every attempt; the message was refused.

    ``kept``: it is among ``p2p.dead_letters()``. Not if these are as many as `Limits` say.
    """

    peer: Address
    message_id: MessageId
    error: str
    kept: bool


@dataclass(frozen=True, slots=True)
class MessageUndelivered:
    """The peer refused message ``seq`` of this node; its receipt, if there is one, says so too."""

    peer: Address
    seq: Seq
    code: RefusalCode
    reason: str


@dataclass(frozen=True, slots=True)
class ChannelProposed:
    """A channel waits for approval: call ``p2p.approve`` or ``p2p.reject``."""

    channel: ChannelId
    proposer: Address


@dataclass(frozen=True, slots=True)
class ChannelStep:
    """A channel's objective moved; for progress displays. ``step`` is one word, ``detail`` text."""

    channel: ChannelId
    step: str  # prefund_signed, prefund_complete, deposit_submitted, funded_on_chain, …
    detail: str


@dataclass(frozen=True, slots=True)
class ChannelFunded:
    """Every participant has signed the postfund state and the chain holds all the funds."""

    channel: ChannelId


@dataclass(frozen=True, slots=True)
class ChannelRejected:
    """Participant ``by`` rejected the channel; nothing was or will be deposited for it."""

    channel: ChannelId
    by: Address
    code: RejectCode
    reason: str


@dataclass(frozen=True, slots=True)
class CallbackFailed:
    """The application's own code raised; ``callback`` says which, ``error`` what."""

    callback: str
    error: str


@dataclass(frozen=True, slots=True)
class ChainFailed:
    """The chain refused a deposit or could not be asked; it is tried again."""

    channel: ChannelId | None  # None if it was not about one channel.
    error: str


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The event loop was too slow: ``count`` events that came here were not kept for this handler.

    With asyncio only, see `Limits.events_waiting_max`. None of them was a `DataLossDetected` or
    `SessionForgotten`, unless one of the same peer waited already, or of thousands of peers.
    """

    count: int


Event = (
    PeerConnected
    | PeerDisconnected
    | PeerHandedOver
    | LinkRefused
    | ConnectionsRefused
    | DataLossDetected
    | SessionForgotten
    | MessageRefused
    | MessageFailed
    | MessageUndelivered
    | ChannelProposed
    | ChannelStep
    | ChannelFunded
    | ChannelRejected
    | CallbackFailed
    | ChainFailed
    | EventsLost
)
