"""Many peers in one process: real connections, CURVE and frames, each with no node behind it.

A node for each would take more memory than what is measured. These peers dial, say HELLO, answer
PING and send DATA, all by one ROUTER: to the node under test each looks like any other peer. They
resend nothing: on loopback to a node that lives nothing is lost, and what is makes the bench fail.
"""

import contextlib
import heapq
import resource
import threading
from queue import Empty, SimpleQueue
from random import Random
from time import perf_counter
from typing import Self

import zmq

from zmqp2p.cli.bench.figures import outcome_of
from zmqp2p.cli.bench.puppet import Puppet
from zmqp2p.cli.bench.script import BenchFailed, Load, Outcome, Plan
from zmqp2p.engine.redial import Failure, jittered
from zmqp2p.engine.redial import wait_s as wait_s_of
from zmqp2p.errors import PeerError
from zmqp2p.ids import StreamDigest
from zmqp2p.limits import DEFAULT_LIMITS
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
_ATTEMPTS_MAX = 100  # Of one peer after an outage, one after the other: a minute and more.
_LIMITS = DEFAULT_LIMITS  # What the peers' nodes would have.


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
        self._rng = Random()  # noqa: S311  # Jitter.
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
        HELLO, or from its batch to the ack of all of it. After an outage: from its end to HELLO.
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
                if load.outage_s:
                    self._redial_all(load.outage_s)
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

    def _redial_all(self, outage_s: float) -> None:
        """Let each dial as a node does that found nobody for so long, and has just lost its link.

        Those dials that were refused meanwhile cost the node nothing, and are only reckoned. While
        one is not answered others follow, as in `zmqp2p.engine.peers`.
        """
        self._socket.close()
        self._open()
        began = perf_counter()
        due: list[tuple[float, int]] = []
        for peer in self._peers:
            peer.began, peer.waits, peer.attempts = began, True, 0
            due.append((began + self._wait_left_s(outage_s), peer.index))
        heapq.heapify(due)
        while due and not self._stop:
            pause_s = max(due[0][0] - perf_counter(), 0.0)
            if self._socket.poll(min(int(pause_s * 1000), _TICK_MS)):
                self._drain()
            while due and due[0][0] <= perf_counter():
                peer = self._peers[heapq.heappop(due)[1]]
                if peer.waits and peer.attempts < _ATTEMPTS_MAX:
                    if peer.attempts >= _LIMITS.attempts_max_per_peer:
                        self._end(peer, peer.attempts - _LIMITS.attempts_max_per_peer)
                    self._dial(peer)
                    wait_s = jittered(wait_s_of(Failure.SILENT, outage_s, _LIMITS), self._rng)
                    heapq.heappush(due, (perf_counter() + wait_s, peer.index))
                    self._drain()

    def _wait_left_s(self, outage_s: float) -> float:
        """Return how long a peer that was refused all the time waits yet, at the outage's end."""
        gone_s = jittered(wait_s_of(Failure.LOST, 0.0, _LIMITS), self._rng)
        while gone_s < outage_s:
            gone_s += jittered(wait_s_of(Failure.REFUSED, gone_s, _LIMITS), self._rng)
        return gone_s - outage_s

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.ROUTER)
        for option in (zmq.LINGER, zmq.SNDHWM, zmq.RCVHWM):
            self._socket.set(option, 0)
        self._socket.set(zmq.RECONNECT_IVL, -1)  # Each dial is a new one, as a node's is.
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
                if isinstance(frame, Hello) and peer.waits:
                    self._keep(peer, route)
                if route == peer.link or peer.waits:
                    self._take(peer, frame)
        except zmq.Again:
            pass
        except PeerError as fault:
            self.faults += 1
            self._odd = self._odd or str(fault)

    def _keep(self, peer: Puppet, route: bytes) -> None:
        """The node has answered on one of its connections: end the others."""
        peer.link = route
        for attempt in range(peer.attempts):
            if peer.route(attempt) != route:
                self._end(peer, attempt)

    def _end(self, peer: Puppet, attempt: int) -> None:
        with contextlib.suppress(zmq.ZMQError):  # It has ended already.
            self._socket.disconnect(self._endpoint(peer, attempt))

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
