"""What a node must remember, as values: writes it asks for, snapshots it starts from.

The pure part never calls a store. It returns writes; the node applies all writes of one loop turn
in one transaction, commits, and only then lets a frame leave.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from zmqp2p.ids import (
    Address,
    ChannelId,
    InstanceId,
    MessageId,
    Seq,
    StateHash,
    StreamDigest,
    StreamId,
    TurnNum,
)

# --- Writes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PutContact:
    """Remember how to reach ``peer``; replaces what was remembered."""

    peer: Address
    contact: str  # The text of a record ("zp2p:…") or a URI ("zp2p://…").
    dial: bool  # True if the application added the peer: connect to it after a restart too.


@dataclass(frozen=True, slots=True)
class PutOutStream:
    """Begin the stream of messages to ``peer``; nothing is acknowledged yet."""

    peer: Address
    stream: StreamId


class PutMessage(NamedTuple):  # Made for every message: half the cost of a frozen dataclass.
    """Append one message to the outbox of ``peer``."""

    peer: Address
    seq: Seq
    body: bytes


@dataclass(frozen=True, slots=True)
class DropMessages:
    """Forget the outbox of ``peer`` up to and including ``through``, which the peer processed."""

    peer: Address
    through: Seq
    digest: StreamDigest  # Of this node's stream after ``through``.


@dataclass(frozen=True, slots=True)
class PutCursor:
    """All messages of ``peer``'s ``stream`` up to and including ``cursor`` are processed.

    ``digest`` is the stream's there. ``base`` is the highest that the peer has said to hold from;
    it only rises (RES-10).
    """

    peer: Address
    stream: StreamId
    cursor: Seq
    digest: StreamDigest
    base: Seq = Seq(1)


@dataclass(frozen=True, slots=True)
class PutRefusal:
    """Message ``seq`` of ``peer``'s stream was refused; repeated until the peer has heard it."""

    peer: Address
    seq: Seq
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class DropRefusals:
    """Forget the refusals to ``peer`` up to and including ``through``: it has heard them."""

    peer: Address
    through: Seq


@dataclass(frozen=True, slots=True)
class PutUndelivered:
    """The peer refused message ``seq`` of this node's ``stream``: its receipt must say so."""

    stream: StreamId
    seq: Seq
    code: int  # A `RefusalCode`.
    reason: str


@dataclass(frozen=True, slots=True)
class DropUndelivered:
    """Forget which messages of ``stream`` were refused, up to ``through``: its new floor."""

    stream: StreamId
    through: Seq


@dataclass(frozen=True, slots=True)
class PastStream:
    """A stream to ``peer`` that was given up: the peer has processed up to ``acked``."""

    peer: Address
    acked: Seq
    last: Seq  # The highest number that was given in it.


@dataclass(frozen=True, slots=True)
class PutPastStream:
    """``stream`` is not used any more; receipts of its messages can still be asked for."""

    stream: StreamId
    past: PastStream


@dataclass(frozen=True, slots=True)
class DropPastStream:
    """Forget a stream that was given up long ago, and what became of its messages."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class FailedMessage:
    """A message from ``sender`` whose handler failed, and was refused: a dead letter."""

    sender: Address
    stream: StreamId
    seq: Seq
    body: bytes
    attempts: int
    error: str  # What the handler raised at the last one.
    at_ms: int  # When that was, milliseconds since 1970, UTC.


@dataclass(frozen=True, slots=True)
class PutDeadLetter:
    """Keep a message that failed, or how it failed once more."""

    message_id: MessageId
    failed: FailedMessage


@dataclass(frozen=True, slots=True)
class DropDeadLetter:
    """Forget a message that failed."""

    message_id: MessageId


@dataclass(frozen=True, slots=True)
class PutPeerRun:
    """The newest run of ``peer`` seen: its store's counter and the random id of the run."""

    peer: Address
    incarnation: int
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Held:
    """Why a session is held, and how far the peer said to be: what `recover` shows (RES-7).

    ``base`` and ``next`` are of the peer's stream, ``cursor`` and ``digest`` of this node's; zeros
    and empty where the peer said nothing of the stream known here.
    """

    code: int  # A `ByeCode`.
    reason: str
    base: Seq = Seq(0)
    next: Seq = Seq(0)
    cursor: Seq = Seq(0)
    digest: StreamDigest = StreamDigest(b"")


@dataclass(frozen=True, slots=True)
class PutHold:
    """The session with ``peer`` is held. To be looked at: a HELLO is judged anew each time."""

    peer: Address
    held: Held


@dataclass(frozen=True, slots=True)
class DropHold:
    """The session with ``peer`` goes on."""

    peer: Address


@dataclass(frozen=True, slots=True)
class DropPeer:
    """Forget all that is stored of ``peer``, and what became of messages to it."""

    peer: Address


@dataclass(frozen=True, slots=True)
class PutObjective:
    """Store an objective; replaces what was stored for the channel."""

    channel: ChannelId
    data: bytes


@dataclass(frozen=True, slots=True)
class DropObjective:
    """Forget an objective in which this node never signed anything."""

    channel: ChannelId


@dataclass(frozen=True, slots=True)
class PutSigned:
    """Remember a state that was signed, in place of one of a lower turn. Never dropped."""

    channel: ChannelId
    turn_num: TurnNum
    state_hash: StateHash


@dataclass(frozen=True, slots=True)
class PutIncarnation:
    """Count the runs on this store from ``incarnation`` on."""

    incarnation: int


@dataclass(frozen=True, slots=True)
class PutChainCursor:
    """All chain events up to and including block ``block`` are processed."""

    block: int


@dataclass(frozen=True, slots=True)
class PutIssued:
    """A record of this node was issued at that instant, milliseconds since 1970, UTC."""

    issued_ms: int


@dataclass(frozen=True, slots=True)
class DropIssued:
    """It need not be remembered any more that a record was issued at that instant."""

    issued_ms: int


@dataclass(frozen=True, slots=True)
class PutHandOver:
    """The application accepted that who was ``old`` is ``new`` now."""

    old: Address
    new: Address


@dataclass(frozen=True, slots=True)
class DropHandOver:
    """``old`` is itself again."""

    old: Address


Write = (
    PutContact
    | PutOutStream
    | PutMessage
    | DropMessages
    | PutCursor
    | PutRefusal
    | DropRefusals
    | PutUndelivered
    | DropUndelivered
    | PutPastStream
    | DropPastStream
    | PutDeadLetter
    | DropDeadLetter
    | PutPeerRun
    | PutHold
    | DropHold
    | DropPeer
    | PutObjective
    | DropObjective
    | PutSigned
    | PutIncarnation
    | PutChainCursor
    | PutIssued
    | DropIssued
    | PutHandOver
    | DropHandOver
)

# --- Snapshots ----------------------------------------------------------------------------------


@dataclass(slots=True)
class PeerSnapshot:
    """Everything remembered of one peer. Empty bytes and zeros mean "nothing yet"."""

    contact: str = ""
    dial: bool = False
    out_stream: StreamId = StreamId(b"")
    acked: Seq = Seq(0)  # Highest own message that the peer has processed.
    acked_digest: StreamDigest = StreamDigest(b"")  # Of the own stream there.
    messages: list[tuple[Seq, bytes]] = field(default_factory=list)  # Ascending from acked + 1.
    in_stream: StreamId = StreamId(b"")
    cursor: Seq = Seq(0)
    cursor_digest: StreamDigest = StreamDigest(b"")  # Of the peer's stream there.
    in_base: Seq = Seq(1)  # The highest base that the peer has said for that stream.
    refusals: list[tuple[Seq, int, str]] = field(default_factory=list)  # Ascending.
    incarnation: int = 0
    instance: InstanceId = InstanceId(b"")
    held: Held | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    """The highest turn of a channel that this node has signed, and the hash of that state."""

    turn_num: TurnNum
    state_hash: StateHash


@dataclass(slots=True)
class Snapshot:
    """Everything a node remembers, as its last commit left it."""

    incarnation: int  # Of this run; higher than that of any earlier run on this store.
    chain_cursor: int = 0
    issued_ms: list[int] = field(default_factory=list)  # Of this node's records, ascending.
    hand_overs: dict[Address, Address] = field(default_factory=dict)  # Who is whom now.
    peers: dict[Address, PeerSnapshot] = field(default_factory=dict)
    objectives: dict[ChannelId, bytes] = field(default_factory=dict)
    signed: dict[ChannelId, Signed] = field(default_factory=dict)
    dead_letters: dict[MessageId, FailedMessage] = field(default_factory=dict)  # Oldest first.
    # This node's messages that peers refused: stream, number, code, reason; oldest first.
    undelivered: list[tuple[StreamId, Seq, int, str]] = field(default_factory=list)
    floors: dict[StreamId, Seq] = field(default_factory=dict)  # Nothing is known up to there.
    past_streams: dict[StreamId, PastStream] = field(default_factory=dict)  # Oldest first.
