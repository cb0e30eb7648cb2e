"""The frames that travel between two nodes, as values (docs/spec/zp2p-1.md, "Frames").

A frame says what one node tells another; `zmqp2p.wire.encoding` turns it into bytes and back.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.ids import InstanceId, Seq, StreamDigest, StreamId

NEWEST_RECORD = 1  # Extension of HELLO: the sender's newest record, on a link of a former key.
VERSION = 1
"""The protocol version this package speaks."""


class Kind(IntEnum):
    """The first item of every header. Even: must be understood. Odd: may be ignored (FRM-4)."""

    HELLO = 2
    DATA = 4
    BULK = 6
    ACK = 8
    PING = 10
    PONG = 12
    BYE = 14
    WHO = 16
    GAP = 18


@dataclass(frozen=True, slots=True)
class Refusal:
    """Message ``seq`` was refused for good: part of the acknowledgement that covers it (REF-2)."""

    seq: Seq
    code: RefusalCode
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the sender of a frame has come with the receiver's stream, and with its own.

    ``ack`` is processed for good, and ``digest`` is that of the receiver's stream there (RES-11).
    ``received`` is the last number it holds without a gap, in memory only. It takes
    ``window_messages`` more after ``received``, of ``window_bytes`` in all.
    """

    base: Seq  # Of the sender's own stream: the lowest number not acknowledged to it.
    ack: Seq
    digest: StreamDigest
    received: Seq
    refusals: tuple[Refusal, ...]
    window_messages: int
    window_bytes: int


@dataclass(frozen=True, slots=True)
class Hello:
    """First on every link, from both ends: who I am, and from where to resume."""

    versions: tuple[int, ...]
    record: bytes  # The sender's signed peer record, encoded.
    incarnation: int
    instance: InstanceId
    stream: StreamId  # Of the sender's messages to the receiver.
    base: Seq
    base_digest: StreamDigest  # Of the same stream, at base - 1.
    next: Seq
    seen_stream: StreamId  # Of the receiver's messages to the sender; empty if it knows none.
    cursor: Seq
    seen_digest: StreamDigest  # Of that stream at the cursor; empty if it knows none.
    heard: Seq  # The highest base that the receiver has said for that stream.
    refusals: tuple[Refusal, ...]
    window_messages: int
    window_bytes: int
    extensions: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Data:
    """Messages ``seq``, ``seq + 1`` and so on; ``digest`` is the stream's after the last."""

    seq: Seq
    digest: StreamDigest
    progress: Progress
    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Bulk:
    """Message ``seq`` alone, of `BULK_MIN_BYTES` or more: its body is never copied into a batch."""

    seq: Seq
    digest: StreamDigest  # Of the stream after it.
    progress: Progress
    body: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """Progress with no DATA to ride on."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Gap:
    """Progress, and: what came does not follow on ``received``; go back to ``received + 1``."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? Answered by a PONG with the same token."""

    token: int


@dataclass(frozen=True, slots=True)
class Pong:
    """I am; and my progress, so that no lost window update can stall a stream."""

    token: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class Bye:
    """The link ends here."""

    code: ByeCode
    reason: str


@dataclass(frozen=True, slots=True)
class Who:
    """A frame came over a link that has not said HELLO: say it."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A frame of an unknown odd kind: nothing happens (FRM-4)."""

    kind: int


Frame = Hello | Data | Bulk | Ack | Gap | Ping | Pong | Bye | Who | Ignored
