"""Many peers in one process: real connections, CURVE and frames, each with no node behind it.

A node for each would take more memory than what is measured. These peers dial, say HELLO, answer
PING and send DATA, all by one ROUTER: to the node under test each looks like any other peer. They
resend nothing: on loopback to a node that lives nothing is lost, and what is makes the bench fail.
"""

import resource
import threading
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Self

import zmq

from zmqp2p.cli.bench.figures import outcome_of
from zmqp2p.cli.bench.puppet import Puppet
from zmqp2p.cli.bench.script import BenchFailed, Load, Outcome, Plan
from zmqp2p.errors import PeerError
from zmqp2p.ids import StreamDigest
from zmqp2p.records import PeerRecord
from zmqp2p.transport.options import make_context
from zmqp2p.wire.encoding import decode_frame, encode_frame
from zmqp2p.wire.frames import (
    Ack,
    Data,
    Frame,
    Hello,
    Ping,
    Pong,
)

_TICK_MS = 20  # How soon an order is seen.
_DRAIN_FRAMES = 1_000


class Swarm:
    """``plan.peers`` peers of the node ``plan.contact``. The first load connects them."""

    contact = ""
    received = 0

    def __init__(self, plan: Plan) -> None:
        self.faults = 0  # Frames that a peer in good standing does not get.
        record = PeerRecord.parse(plan.contact)
        (endpoint,) = record.endpoints
        self._target = endpoint.removeprefix("tcp://")
        self._server_key = record.curve_key
        self._peers = [Puppet.make(index) for index in range(plan.peers)]
        self._routes: dict[bytes, Puppet] = {}
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
        self._open()
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
        for begun, peer in enumerate(self._peers):
            while begun - len(self._latencies) >= load.window and not self._stop:
                if self._socket.poll(_TICK_MS):
                    self._drain()
            self._begin(peer, load)
            self._drain()  # PINGs do not wait until all have begun.
        self._connected = True

    def _begin(self, peer: Puppet, load: Load) -> None:
        peer.began, peer.waits = perf_counter(), True
        if self._connected:
            self._say(peer, peer.batch(bytes(load.size_bytes), load.messages))
            return
        self._dial(peer)

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.ROUTER)
        for option in (zmq.LINGER, zmq.SNDHWM, zmq.RCVHWM):
            self._socket.set(option, 0)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.CURVE_SERVERKEY, self._server_key)
        self._routes.clear()

    def _dial(self, peer: Puppet) -> None:
        route = peer.route(peer.attempts)
        self._routes[route] = peer
        self._socket.set(zmq.CURVE_PUBLICKEY, peer.identity.curve_public)
        self._socket.set(zmq.CURVE_SECRETKEY, peer.identity.curve_secret)
        self._socket.set(zmq.CONNECT_ROUTING_ID, route)
        self._socket.connect(self._endpoint(peer, peer.attempts))
        peer.attempts += 1
        peer.link = route
        self._say(peer, peer.hello())

    def _endpoint(self, peer: Puppet, attempt: int) -> str:
        return f"tcp://{peer.source(attempt)}:0;{self._target}"

    def _drain(self) -> None:
        try:
            for _ in range(_DRAIN_FRAMES):
                route, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
                peer, frame = self._routes[route], decode_frame(parts)
                self._take(peer, frame)
        except zmq.Again:
            pass
        except PeerError as fault:
            self.faults += 1
            self._odd = self._odd or str(fault)

    def _take(self, peer: Puppet, frame: Frame) -> None:
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

    def _finish(self, peer: Puppet) -> None:
        if peer.waits:
            peer.waits = False
            self._latencies.append(perf_counter() - peer.began)
            self._waiting -= 1
            if not self._waiting:
                self._done.set()

    def _say(self, peer: Puppet, frame: Frame) -> None:
        self._socket.send_multipart((peer.link, *encode_frame(frame)))
