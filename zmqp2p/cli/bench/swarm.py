"""Many peers in one process: real connections, CURVE and frames, each with no node behind it.

A node for each would take more memory than what is measured. These peers dial, say HELLO, answer
PING and send DATA, all by one ROUTER: to the node under test each looks like any other peer. They
dial as a node does (`Caller`), again and again until the node has answered or when a link is lost.
They resend nothing but on a new link: as long as the node lives nothing is lost otherwise.
"""

import contextlib
import resource
import struct
import threading
from math import ceil
from queue import Empty, SimpleQueue
from random import Random
from time import perf_counter
from typing import Self

import zmq

from zmqp2p.cli.bench.caller import Caller
from zmqp2p.cli.bench.figures import outcome_of
from zmqp2p.cli.bench.puppet import Puppet
from zmqp2p.cli.bench.script import BenchFailed, Load, Outcome, Plan
from zmqp2p.engine.agenda import Agenda
from zmqp2p.errors import PeerError
from zmqp2p.ids import StreamDigest
from zmqp2p.limits import DEFAULT_LIMITS, Limits
from zmqp2p.records import PeerRecord
from zmqp2p.session.bucket import Bucket
from zmqp2p.transport.descriptors import descriptors_max
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

_TICK_S = 0.02  # How soon an order is seen.
_DESCRIPTORS_SHARE = 0.75  # For attempts of all peers at a time; then each may have fewer.
_PAUSE_S = 0.001
# Of all peers together. Each dial takes this one process 0.1 ms; 5,000 nodes that find nobody would
# begin 25,000 a second, and it would do nothing else, while the node has time to spare.
_DIALS_PER_S, _DIALS_BURST = 3_000.0, 256.0
_DRAIN_FRAMES = 1_000
_UP = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
)


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
        rng = Random()  # noqa: S311  # Jitter.
        attempts = int(_DESCRIPTORS_SHARE * descriptors_max() / plan.peers)
        limits = Limits(
            attempts_max_per_peer=min(max(attempts, 2), DEFAULT_LIMITS.attempts_max_per_peer)
        )
        self._callers = [Caller(record, rng, limits) for _ in self._peers]
        self._looks = Bucket(_DIALS_PER_S, _DIALS_BURST)
        self._agenda: Agenda[int] = Agenda()  # When to look at which caller.
        self._routes: dict[bytes, tuple[Puppet, int]] = {}  # With the number of the attempt.
        self._endpoints: dict[bytes, tuple[Puppet, int]] = {}
        self._odd = ""  # The first of them.
        self._waiting = 0  # Peers of the order in hand that are not done.
        self._latencies: list[float] = []
        self._done = threading.Event()
        self._orders: SimpleQueue[Load] = SimpleQueue()
        self._stop = False
        self._started = False  # Peers dial only from their first load on.
        self.lost = 0  # Links of connected peers that ended; the peers come again.
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
        self._close()
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
            with contextlib.suppress(Empty):
                load = self._orders.get_nowait()
                if load.hang_up:
                    self._hang_up()
                elif load.outage_s:
                    self._restart(load.outage_s)
                else:
                    self._begin_all(load)
            self._turn()

    def _turn(self) -> None:
        """Wait for a moment, and do what there is to do."""
        due = self._agenda.next()
        wait_s = _TICK_S if due is None else min(max(due - perf_counter(), _PAUSE_S), _TICK_S)
        ready = dict(self._poller.poll(ceil(wait_s * 1000)))
        if self._monitor in ready:
            self._drain_monitor()
        if self._socket in ready:
            self._drain()
        now = perf_counter()
        while self._looks.has(1.0, now) and (indices := self._agenda.due(now, 1)):
            self._looks.charge(1.0, now)
            self._tick(indices[0])

    def _begin_all(self, load: Load) -> None:
        for begun, peer in enumerate(self._peers):
            while begun - len(self._latencies) >= load.window and not self._stop:
                self._turn()
            peer.began, peer.waits = perf_counter(), True
            if self._started:
                self._send(peer, peer.batch(bytes(load.size_bytes), load.messages))
            else:
                self._tick(peer.index)
            self._drain()  # PINGs do not wait until all have begun.
        self._started = True

    def _hang_up(self) -> None:
        """End all links before the node does: what its peers do meanwhile is only reckoned."""
        self._close()
        self._open()
        self._agenda = Agenda()
        for peer in self._peers:
            peer.began, peer.waits = perf_counter(), True
            self._finish(peer)

    def _restart(self, outage_s: float) -> None:
        """The node is back: let each peer dial as a node does that waited."""
        began = perf_counter()
        for peer, caller in zip(self._peers, self._callers, strict=True):
            peer.began, peer.waits, peer.link = began, True, -1
            caller.restarted(began, outage_s)
            self._agenda.schedule(peer.index, caller.deadline())

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.ROUTER)
        for option in (zmq.LINGER, zmq.SNDHWM, zmq.RCVHWM):
            self._socket.set(option, 0)
        self._socket.set(zmq.RECONNECT_IVL, -1)  # Each dial is a new one, as a node's is.
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.CURVE_SERVERKEY, self._server_key)
        self._monitor = self._socket.get_monitor_socket(_EVENTS)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._routes.clear()
        self._endpoints.clear()

    def _close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()

    def _tick(self, index: int) -> None:
        peer, caller = self._peers[index], self._callers[index]
        attempt, ended = caller.tick(perf_counter())
        for each in ended:
            self._end(peer, each)
        if attempt is not None:
            self._dial(peer, attempt)
        self._agenda.schedule(index, caller.deadline())

    def _dial(self, peer: Puppet, attempt: int) -> None:
        route, endpoint = peer.route(attempt), self._endpoint(peer, attempt)
        self._routes[route] = self._endpoints[endpoint.encode()] = peer, attempt
        self._socket.set(zmq.CURVE_PUBLICKEY, peer.identity.curve_public)
        self._socket.set(zmq.CURVE_SECRETKEY, peer.identity.curve_secret)
        self._socket.set(zmq.CONNECT_ROUTING_ID, route)
        self._socket.connect(endpoint)

    def _endpoint(self, peer: Puppet, attempt: int) -> str:
        return f"tcp://{peer.source(attempt)}:0;{self._target}"

    def _end(self, peer: Puppet, attempt: int) -> None:
        endpoint = self._endpoint(peer, attempt)
        self._routes.pop(peer.route(attempt), None)
        self._endpoints.pop(endpoint.encode(), None)
        with contextlib.suppress(zmq.ZMQError):  # It has ended already.
            self._socket.disconnect(endpoint)

    def _drain_monitor(self) -> None:
        with contextlib.suppress(zmq.Again):
            for _ in range(_DRAIN_FRAMES):
                head, endpoint = self._monitor.recv_multipart(zmq.NOBLOCK)
                (event,) = struct.unpack_from("=H", head)
                known = self._endpoints.get(endpoint)
                if known is None:  # Ended here.
                    continue
                peer, attempt = known
                if event == _UP:
                    self._came_up(peer, attempt)
                else:
                    self._lost(peer, attempt)
                self._agenda.schedule(peer.index, self._callers[peer.index].deadline())

    def _came_up(self, peer: Puppet, attempt: int) -> None:
        others = self._callers[peer.index].came_up(attempt, perf_counter())
        for each in [attempt] if others is None else others:
            self._end(peer, each)
        if others is not None:
            self._say(peer, attempt, peer.hello())

    def _lost(self, peer: Puppet, attempt: int) -> None:
        in_use = attempt == peer.link
        if in_use:
            peer.link = -1
            self.lost += 1
        self._callers[peer.index].ended(attempt, perf_counter(), in_use=in_use)
        self._end(peer, attempt)

    def _drain(self) -> None:
        try:
            for _ in range(_DRAIN_FRAMES):
                route, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
                if route in self._routes:
                    self._take(*self._routes[route], decode_frame(parts))
        except zmq.Again:
            pass
        except PeerError as fault:
            self.faults += 1
            self._odd = self._odd or str(fault)

    def _take(self, peer: Puppet, attempt: int, frame: Frame) -> None:
        match frame:
            case Hello():
                if self._callers[peer.index].greeted(attempt):
                    self._greeted(peer, attempt, frame)
            case Ping(token):
                self._say(peer, attempt, Pong(token, peer.progress()))
            case Ack(progress) | Pong(_, progress) | Data(_, _, progress):
                if peer.take_ack(progress.ack):
                    self._finish(peer)
            case _:  # BYE, WHO, GAP: not what a peer in good standing is told.
                self.faults += 1
                self._odd = self._odd or str(frame)

    def _greeted(self, peer: Puppet, attempt: int, hello: Hello) -> None:
        peer.link = attempt
        peer.theirs = StreamDigest(hello.stream)
        if peer.unacked is None:
            self._finish(peer)
        else:
            self._say(peer, attempt, peer.unacked)

    def _finish(self, peer: Puppet) -> None:
        if peer.waits:
            peer.waits = False
            self._latencies.append(perf_counter() - peer.began)
            self._waiting -= 1
            if not self._waiting:
                self._done.set()

    def _send(self, peer: Puppet, data: Data) -> None:
        if peer.link >= 0:  # Or it is said when the peer is connected again.
            self._say(peer, peer.link, data)

    def _say(self, peer: Puppet, attempt: int, frame: Frame) -> None:
        with contextlib.suppress(zmq.ZMQError):  # The connection ended; the monitor will tell.
            self._socket.send_multipart((peer.route(attempt), *encode_frame(frame)))
