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
_WINDOW = (1_000, 1_000_000)  # Nothing is sent to these peers.


@dataclass(slots=True)
class Puppet:
    """One such peer: it has sent, and been acked, everything up to a number of its stream."""

    index: int
    identity: Identity
    stream: StreamId
    digest: StreamDigest  # Of its stream after the last that it sent.
    theirs: StreamDigest = StreamDigest(b"")  # Of the node's stream, of which nothing has come.
    sent: int = 0
    acked: int = 0
    began: float = 0.0  # When it dialed, or sent what is not acked.
    waits: bool = False
    attempts: int = 0  # Dials of this run of the node.
    link: bytes = b""  # The route of the one on which it has heard the node's HELLO.
    instance: InstanceId = field(default_factory=lambda: InstanceId(os.urandom(INSTANCE_ID_SIZE)))

    def hello(self) -> Hello:
        """Return what it says first on a link; all that it has sent was acked."""
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
            base_digest=self.digest,
            next=Seq(self.sent + 1),
            seen_stream=StreamId(self.theirs),  # Nothing came: its digest is its id.
            cursor=Seq(0),
            seen_digest=self.theirs,
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
        return Data(first, self.digest, self.progress(), bodies)

    def source(self, attempt: int) -> str:
        """Return the address that it dials from: one for each peer and attempt, as far as it goes.

        A node bounds what one source may do. Only Linux has all of 127.0.0.0/8.
        """
        if not sys.platform.startswith("linux"):
            return "127.0.0.1"
        high, low = divmod(self.index, 250)
        return f"127.{1 + attempt}.{high}.{1 + low}"

    def route(self, attempt: int) -> bytes:
        """Return libzmq's name for a connection; its own ones begin with 0, this one does not."""
        return bytes([1 + attempt]) + self.index.to_bytes(4)

    @classmethod
    def make(cls, index: int) -> "Puppet":
        """Return one of many: nobody has met it before."""
        stream = StreamId(os.urandom(STREAM_ID_SIZE))
        return cls(index, Identity.generate(), stream, StreamDigest(stream))
