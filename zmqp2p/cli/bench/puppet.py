"""A peer that is not there: what it would say, by the protocol, with no node behind it."""

import os
import sys
import time
from dataclasses import dataclass, field

from zmqp2p.cli.bench.payloads import Opaque
from zmqp2p.crypto import next_digest
from zmqp2p.identity import Identity
from zmqp2p.ids import INSTANCE_ID_SIZE, STREAM_ID_SIZE, InstanceId, Seq, StreamDigest, StreamId
from zmqp2p.messages import encode_message
from zmqp2p.records import PeerRecord
from zmqp2p.wire.frames import VERSION, Data, Hello, Progress

_RECORD_LIFE_MS = 3_600_000
_SOURCES = 250  # Of one peer.
_WINDOW = (1_000, 1_000_000)  # Nothing is sent to these peers.


@dataclass(slots=True)
class Puppet:
    """One such peer: it sends a batch, and the next one when all of it was acked."""

    index: int
    identity: Identity
    stream: StreamId
    digest: StreamDigest  # Of its stream after the last that it sent,
    acked_digest: StreamDigest  # and after the last batch of which all was acked.
    theirs: StreamDigest = StreamDigest(b"")  # Of the node's stream, of which nothing has come.
    sent: int = 0
    acked: int = 0
    began: float = 0.0  # When it dialed, or sent what is not acked.
    waits: bool = False
    link: int = -1  # The attempt on which it has heard the node's HELLO.
    unacked: Data | None = None  # Sent again on a new link.
    instance: InstanceId = field(default_factory=lambda: InstanceId(os.urandom(INSTANCE_ID_SIZE)))

    def hello(self) -> Hello:
        """Return what it says first on a link."""
        now_ms = int(time.time() * 1000)
        key = self.identity.curve_public
        record = PeerRecord.issue(self.identity, key, (), now_ms, now_ms + _RECORD_LIFE_MS)
        return Hello(
            versions=(VERSION,),
            record=record.encode(),
            incarnation=1,
            instance=self.instance,
            stream=self.stream,
            base=Seq(self.acked + 1),
            base_digest=self.acked_digest,
            next=Seq(self.sent + 1),
            seen_stream=StreamId(b""),  # Nothing came, and the node may have another one by now.
            cursor=Seq(0),
            seen_digest=StreamDigest(b""),
            heard=Seq(1),
            refusals=(),
            window_messages=_WINDOW[0],
            window_bytes=_WINDOW[1],
        )

    def progress(self) -> Progress:
        """Return how far it is."""
        return Progress(Seq(self.acked + 1), Seq(0), self.theirs, Seq(0), (), *_WINDOW)

    def batch(self, filler: bytes, count: int) -> Data:
        """Return its next ``count`` messages."""
        first = Seq(self.sent + 1)
        numbers = range(first, first + count)
        bodies = tuple(encode_message(Opaque(number, filler)) for number in numbers)
        for body in bodies:
            self.digest = next_digest(self.digest, body)
        self.sent += count
        self.unacked = Data(first, self.digest, self.progress(), bodies)
        return self.unacked

    def take_ack(self, ack: Seq) -> bool:
        """Take note of how far the node is; return whether that is news, and all of a batch."""
        if self.unacked is None or ack < self.sent:
            return False
        self.acked, self.acked_digest, self.unacked = self.sent, self.digest, None
        return True

    def source(self, attempt: int) -> str:
        """Return the address that it dials from: one for each peer and attempt, as far as it goes.

        A node bounds what one source may do. Only Linux has all of 127.0.0.0/8.
        """
        if not sys.platform.startswith("linux"):
            return "127.0.0.1"
        high, low = divmod(self.index, 250)
        return f"127.{1 + attempt % _SOURCES}.{high}.{1 + low}"

    def route(self, attempt: int) -> bytes:
        """Return libzmq's name for a connection; its own ones begin with 0, this one does not."""
        return b"\1" + attempt.to_bytes(4) + self.index.to_bytes(4)

    @classmethod
    def make(cls, index: int) -> "Puppet":
        """Return one of many: nobody has met it before."""
        stream = StreamId(os.urandom(STREAM_ID_SIZE))
        digest = StreamDigest(stream)
        return cls(index, Identity.generate(), stream, digest, digest)
