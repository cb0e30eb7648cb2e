"""Many peers in one process: real connections, CURVE and frames, each with no node behind it.

A node for each would take more memory than what is measured. These peers dial, say HELLO, answer
PING and send DATA, all by one ROUTER: to the node under test each looks like any other peer. They
resend nothing: on loopback to a node that lives nothing is lost, and what is makes the bench fail.
"""

import os
import resource
import threading
import time
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Self

import zmq

from zmqp2p.cli.bench.figures import outcome_of
from zmqp2p.cli.bench.payloads import Opaque
from zmqp2p.cli.bench.script import BenchFailed, Load, Outcome, Plan
from zmqp2p.crypto import next_digest
from zmqp2p.errors import PeerError
from zmqp2p.identity import Identity
from zmqp2p.ids import INSTANCE_ID_SIZE, STREAM_ID_SIZE, InstanceId, Seq, StreamDigest, StreamId
from zmqp2p.messages import encode_message
from zmqp2p.records import PeerRecord
from zmqp2p.transport.options import make_context
from zmqp2p.wire.encoding import decode_frame, encode_frame
from zmqp2p.wire.frames import (
    VERSION,
    Ack,
    Data,
    Frame,
    Hello,
    Ping,
    Pong,
    Progress,
)

_TICK_MS = 20  # How soon an order is seen.
_DRAIN_FRAMES = 1_000
_RECORD_LIFE_MS = 3_600_000
_WINDOW = (1_000, 1_000_000)  # Nothing is sent to these peers.
_ROUTE_BYTES = 5  # libzmq's own routing ids have as many and begin with 0: these do not.


@dataclass(slots=True)
class _Peer:
    """One peer: it has sent, and been acked, everything up to a number of its stream."""

    identity: Identity
    route: bytes
    stream: StreamId
    digest: StreamDigest  # Of its stream after the last that it sent.
    theirs: StreamDigest = StreamDigest(b"")  # Of the node's stream, of which nothing has come.
    sent: int = 0
    acked: int = 0
    began: float = 0.0  # When it dialed, or sent what is not acked.
    waits: bool = False
    instance: InstanceId = field(default_factory=lambda: InstanceId(os.urandom(INSTANCE_ID_SIZE)))

    def hello(self) -> Hello:
        """Return what it says first: nobody has met it before."""
        now_ms = int(time.time() * 1000)
        key = self.identity.curve_public
        record = PeerRecord.issue(self.identity, key, (), now_ms, now_ms + _RECORD_LIFE_MS)
        return Hello(
            versions=(VERSION,),
            record=record.encode(),
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


def _peer(index: int) -> _Peer:
    stream = StreamId(os.urandom(STREAM_ID_SIZE))
    route = b"p" + index.to_bytes(_ROUTE_BYTES - 1)
    return _Peer(Identity.generate(), route, stream, StreamDigest(stream))


class Swarm:
    """``plan.peers`` peers of the node ``plan.contact``. The first load connects them."""

    contact = ""
    received = 0

    def __init__(self, plan: Plan) -> None:
        self.faults = 0  # Frames that a peer in good standing does not get.
        record = PeerRecord.parse(plan.contact)
        (self._endpoint,) = record.endpoints
        self._server_key = record.curve_key
        self._peers = {peer.route: peer for peer in map(_peer, range(plan.peers))}
        self._odd = ""  # The first of them.
        self._waiting = 0  # Peers of the order in hand that are not done.
        self._latencies: list[float] = []
        self._done = threading.Event()
        self._orders: SimpleQueue[Load] = SimpleQueue()
        self._stop = False
        self._connected = False
        self._thread = threading.Thread(target=self._serve, name="swarm", daemon=True)

    def __enter__(self) -> Self:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._context = make_context()
        self._socket = self._context.socket(zmq.ROUTER)
        for option in (zmq.LINGER, zmq.SNDHWM, zmq.RCVHWM):
            self._socket.set(option, 0)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()
        self._socket.close()
        self._context.term()

    def run(self, load: Load) -> Outcome:
        """Connect all peers; from then on let each send ``load.messages`` in one batch.

        As many as ``load.window`` do so at a time. Latency is from a peer's dial to the node's
        HELLO, or from its batch to the ack of all of it.
        """
        self._latencies = []
        self._waiting = len(self._peers)
        self._done.clear()
        started = perf_counter()
        self._orders.put(load)
        if not self._done.wait(load.timeout_s):
            left = f"{self._waiting} of {len(self._peers)} peers wait"
            raise BenchFailed(f"{left} after {load.timeout_s:g} s; {self._odd or 'no BYE, no WHO'}")
        return outcome_of(self._latencies, perf_counter() - started)

    # --- The thread that owns the socket --------------------------------------------------------

    def _serve(self) -> None:
        while not self._stop:
            try:
                load = self._orders.get_nowait()
            except Empty:
                pass
            else:
                self._begin_all(load)
            if self._socket.poll(_TICK_MS):
                self._drain()

    def _begin_all(self, load: Load) -> None:
        for begun, peer in enumerate(self._peers.values()):
            while begun - len(self._latencies) >= load.window and not self._stop:
                if self._socket.poll(_TICK_MS):
                    self._drain()
            self._begin(peer, load)
            self._drain()  # PINGs do not wait until all have begun.
        self._connected = True

    def _begin(self, peer: _Peer, load: Load) -> None:
        peer.began, peer.waits = perf_counter(), True
        if self._connected:
            self._say(peer, peer.batch(bytes(load.size_bytes), load.messages))
            return
        self._socket.set(zmq.CURVE_SERVERKEY, self._server_key)
        self._socket.set(zmq.CURVE_PUBLICKEY, peer.identity.curve_public)
        self._socket.set(zmq.CURVE_SECRETKEY, peer.identity.curve_secret)
        self._socket.set(zmq.CONNECT_ROUTING_ID, peer.route)
        self._socket.connect(self._endpoint)
        self._say(peer, peer.hello())

    def _drain(self) -> None:
        try:
            for _ in range(_DRAIN_FRAMES):
                route, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
                self._take(self._peers[route], decode_frame(parts))
        except zmq.Again:
            pass
        except PeerError as fault:
            self.faults += 1
            self._odd = self._odd or str(fault)

    def _take(self, peer: _Peer, frame: Frame) -> None:
        match frame:
            case Hello():
                peer.theirs = StreamDigest(frame.stream)
                self._finish(peer)
            case Ping(token):
                self._say(peer, Pong(token, peer.progress()))
            case Ack(progress) | Pong(_, progress) | Data(_, _, progress):
                peer.acked = max(peer.acked, progress.ack)
                if peer.acked == peer.sent and peer.sent:
                    self._finish(peer)
            case _:  # BYE, WHO, GAP: not what a peer in good standing is told.
                self.faults += 1
                self._odd = self._odd or str(frame)

    def _finish(self, peer: _Peer) -> None:
        if peer.waits:
            peer.waits = False
            self._latencies.append(perf_counter() - peer.began)
            self._waiting -= 1
            if not self._waiting:
                self._done.set()

    def _say(self, peer: _Peer, frame: Frame) -> None:
        self._socket.send_multipart((peer.route, *encode_frame(frame)))
