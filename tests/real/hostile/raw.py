"""A peer that plays by no rules: raw ZeroMQ sockets, frames of any contents, plain TCP.

It shares the package's encoding and keys: what it says is wrong only where it is meant to be.
"""

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from random import Random
from typing import Any

import zmq
from zmq.utils import z85

from tests.frames import chain
from zmqp2p.crypto import SecretKey
from zmqp2p.ids import (
    INSTANCE_ID_SIZE,
    STREAM_ID_SIZE,
    CurveKey,
    InstanceId,
    Seq,
    StreamDigest,
    StreamId,
)
from zmqp2p.records import PeerRecord
from zmqp2p.wire.encoding import decode_frame, encode_frame
from zmqp2p.wire.frames import Data, Frame, Hello, Progress

HOUR_MS = 3_600_000
ANSWER_S = 1.0  # Longer than a node that has anything to say takes to say it.
SEND_S = 0.05  # How long a full queue is waited for before the deadline is looked at again.
MANY_SOCKETS = 8_000
SOURCE = "127.0.0.2"  # Where attackers come from: not from where the honest do.
# What a ZMTP 3.0 client without security begins with, and its READY as a DEALER (RFC 23).
NULL_GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"


def now_ms() -> int:
    """Return the wall clock's milliseconds."""
    return int(time.time() * 1000)


class Keys:
    """Somebody's two keys; the CURVE pair may be another one's, or shared."""

    def __init__(self, curve: tuple[bytes, bytes] | None = None) -> None:
        self.signer = SecretKey.generate()
        self.curve_public, self.curve_secret = curve or zmq.curve_keypair()  # Z85, as pyzmq does.

    @property
    def curve_key(self) -> CurveKey:
        return CurveKey(z85.decode(self.curve_public))

    def record(self, **changes: Any) -> PeerRecord:
        """Return a record that is good but for ``changes`` of what `PeerRecord.issue` takes."""
        issued_ms = now_ms()
        fields: dict[str, Any] = {
            "curve_key": self.curve_key,
            "endpoints": (),
            "issued_ms": issued_ms,
            "expires_ms": issued_ms + HOUR_MS,
            **changes,
        }
        return PeerRecord.issue(self.signer, **fields)


class Stranger:
    """One DEALER with CURVE to a node; nothing is said that it is not told to say."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        target: PeerRecord,
        keys: Keys | None = None,
        *,
        routing_id: bytes | None = None,
        queue: int = 1_000,
    ) -> None:
        self.keys = keys or Keys()
        self.stream = StreamId(Random().randbytes(STREAM_ID_SIZE))
        self.instance = InstanceId(Random().randbytes(INSTANCE_ID_SIZE))
        self.seq = Seq(1)  # Of the next message.
        self.digest = StreamDigest(self.stream)
        self.theirs: Hello | None = None
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, queue)
        self._socket.setsockopt(zmq.RCVHWM, queue)
        self._socket.setsockopt(zmq.SNDTIMEO, int(SEND_S * 1000))
        self._socket.setsockopt(zmq.RECONNECT_IVL, 10)
        self._socket.curve_serverkey = z85.encode(target.curve_key)
        self._socket.curve_publickey = self.keys.curve_public
        self._socket.curve_secretkey = self.keys.curve_secret
        if routing_id is not None:
            self._socket.routing_id = routing_id
        self._socket.connect(f"tcp://{SOURCE}:0;{target.endpoints[0].removeprefix('tcp://')}")

    # --- Speaking -------------------------------------------------------------------------------

    def push(self, parts: Sequence[bytes]) -> bool:
        """Send one ZMTP message; False if the queue stayed full for `SEND_S`."""
        try:
            self._socket.send_multipart(parts, copy=True)
        except zmq.Again:
            return False
        return True

    def begin(self, part: bytes) -> bool:
        """Send a ZMTP frame of a message that goes on."""
        try:
            self._socket.send(part, zmq.SNDMORE)
        except zmq.Again:
            return False
        return True

    def say(self, frame: Frame) -> bool:
        """Send one frame."""
        return self.push(encode_frame(frame))

    def hello(self, record: PeerRecord | bytes | None = None, **changes: Any) -> Hello:
        """Return a HELLO of a first meeting, good but for ``changes``."""
        shown = self.keys.record() if record is None else record
        made = Hello(
            versions=(1,),
            record=shown if isinstance(shown, bytes) else shown.encode(),
            incarnation=1,
            instance=self.instance,
            stream=self.stream,
            base=Seq(1),
            base_digest=StreamDigest(self.stream),
            next=Seq(1),
            seen_stream=StreamId(b""),
            cursor=Seq(0),
            seen_digest=StreamDigest(b""),
            heard=Seq(1),
            refusals=(),
            window_messages=16_384,
            window_bytes=1 << 24,
        )
        return replace(made, **changes)

    def introduce(self, **changes: Any) -> bool:
        """Say HELLO and wait for theirs; False if it does not come."""
        self.say(self.hello(**changes))
        heard = self.until(Hello)
        self.theirs = heard if isinstance(heard, Hello) else None
        return self.theirs is not None

    def progress(self, *, base: int = 1, ack: int = 0, received: int | None = None) -> Progress:
        """Return the progress of one that has processed ``ack`` of what the node sent.

        Its digest is right for an ack of 0 only.
        """
        stream = self.theirs.stream if self.theirs is not None else bytes(STREAM_ID_SIZE)
        held = ack if received is None else received
        return Progress(Seq(base), Seq(ack), StreamDigest(stream), Seq(held), (), 16_384, 1 << 24)

    def data(self, bodies: tuple[bytes, ...], base: int = 1) -> Data:
        """Return the next batch of its stream."""
        self.digest = chain(self.digest, *bodies)
        made = Data(self.seq, self.digest, self.progress(base=base), bodies)
        self.seq = Seq(self.seq + len(bodies))
        return made

    # --- Listening ------------------------------------------------------------------------------

    def hear(self, timeout_s: float = 0.0) -> Frame | None:
        """Return what comes next within ``timeout_s``."""
        if not self._socket.poll(int(timeout_s * 1000 + 0.999)):
            return None
        return decode_frame(self._socket.recv_multipart())

    def until(self, kind: type, timeout_s: float = ANSWER_S) -> Frame | None:
        """Return the next frame of ``kind``, dropping others."""
        give_up_at = time.monotonic() + timeout_s
        while (left_s := give_up_at - time.monotonic()) > 0:
            heard = self.hear(left_s)
            if isinstance(heard, kind):
                return heard
        return None

    def drain(self) -> list[Frame]:
        """Return whatever has come."""
        heard = []
        while (frame := self.hear()) is not None:
            heard.append(frame)
        return heard

    def close(self) -> None:
        self._socket.close()


def tcp(target: PeerRecord) -> socket.socket:
    """Return a plain connection to the node."""
    host, _, port = target.endpoints[0].removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=ANSWER_S, source_address=(SOURCE, 0))


def without_curve(target: PeerRecord) -> socket.socket:
    """Return a connection to a node without CURVE that has shaken hands, to send ZMTP by hand."""
    made = tcp(target)
    made.sendall(NULL_GREETING)
    made.sendall(zmtp_frame(READY, command=True))
    return made


def zmtp_frame(payload: bytes, *, more: bool = False, command: bool = False) -> bytes:
    """Return ``payload`` as ZMTP 3 puts it on the wire (RFC 23)."""
    flags = more * 1 + 2 + command * 4
    return bytes([flags]) + len(payload).to_bytes(8) + payload


def many_contexts(stack: ExitStack) -> "zmq.Context[zmq.Socket[bytes]]":
    """Return a context with room for thousands of sockets, ended with ``stack``."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, MANY_SOCKETS)
    stack.callback(context.destroy, linger=0)
    return context


def router(
    context: "zmq.Context[zmq.Socket[bytes]]", keys: Keys
) -> tuple["zmq.Socket[bytes]", PeerRecord]:
    """Return a ROUTER with CURVE that listens, and the record by which it is dialed."""
    made = context.socket(zmq.ROUTER)
    made.setsockopt(zmq.LINGER, 0)
    made.setsockopt(zmq.ROUTER_MANDATORY, 1)
    made.curve_server = True
    made.curve_secretkey = keys.curve_secret
    port = made.bind_to_random_port("tcp://127.0.0.1", 10_000, 32_000)
    return made, keys.record(endpoints=(f"tcp://127.0.0.1:{port}",))
