"""The floor: what plain pyzmq costs for the same work, written by hand as its user would.

A DEALER sends one ZeroMQ message each; a ROUTER reads what is there, handles it, and answers with
one cumulative ack for the batch. One thread in each process, which is also the application's: no
message crosses a thread. CURVE is on or off as for zmqp2p. What is to be durable goes to an
append-only file in one write with one fdatasync for each batch, the cheapest honest way: the
sender's messages before they are sent, the receiver's cursor before it acks. Nothing is resent,
found twice, bounded or recovered here: that is what the ratio pays for.
"""

import os
import select
import threading
from contextlib import ExitStack
from time import perf_counter
from typing import Any, Self

import zmq

from zmqp2p.cli.bench.figures import outcome_of
from zmqp2p.cli.bench.payloads import BenchMessage, Source, Tally, bodies
from zmqp2p.cli.bench.script import BenchFailed, Load, Outcome, Plan
from zmqp2p.engine.proofs import signer_of
from zmqp2p.identity import Identity
from zmqp2p.messages import decode_message

BATCH_MESSAGES = 256  # Read at most before acking: a window's latency is that of its batches.
_SEND_MESSAGES = 1_024  # Written to disk at a time.
_NUMBER_BYTES = 8
_IDLE_S = 0.1  # How soon a receiver sees that it is to end.
_LINGER_MS = 200


class _Socket:
    """A socket without high-water marks: the window bounds what is in it."""

    def __init__(self, kind: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(kind)
        self.socket.set(zmq.SNDHWM, 0)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.set(zmq.LINGER, _LINGER_MS)
        self._descriptor = int(self.socket.get(zmq.FD))

    def wait(self, timeout_s: float) -> bool:
        """Return whether there is something to read, after at most ``timeout_s``."""
        end_at = perf_counter() + timeout_s
        # The descriptor says only that something has changed since it was last looked at.
        while not int(self.socket.get(zmq.EVENTS)) & zmq.POLLIN:
            left_s = end_at - perf_counter()
            if left_s <= 0:
                return False
            select.select([self._descriptor], (), (), left_s)
        return True

    def close(self) -> None:
        self.socket.close()
        self._context.term()


class _Log:
    """A file that is only appended to; without a path nothing is kept."""

    def __init__(self, path: str | None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._descriptor = None if path is None else os.open(path, flags, 0o600)

    def append(self, rows: bytes) -> None:
        """Return once ``rows`` are on the disk."""
        if self._descriptor is not None:
            os.write(self._descriptor, rows)
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


class Receiver:
    """Handles what comes on a thread of its own, which does nothing else."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tally = Tally()
        self._stop = False
        self._identity = Identity.generate()
        self._thread = threading.Thread(target=self._serve, name="floor")
        self._stack = ExitStack()
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        self._socket = _Socket(zmq.ROUTER)
        self._stack.callback(self._socket.close)
        self._log = _Log(self._plan.store)
        self._stack.callback(self._log.close)
        if self._plan.secure:
            self._socket.socket.set(zmq.CURVE_SERVER, 1)
            self._socket.socket.set(zmq.CURVE_SECRETKEY, self._identity.curve_secret)
        self._socket.socket.bind(self._plan.endpoint)
        endpoint = bytes(self._socket.socket.get(zmq.LAST_ENDPOINT)).decode()
        shown = self._plan.advertise or endpoint
        self.contact = f"{self._identity.curve_public.hex()}@{shown}"
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()
        self._stack.close()
        if self._failure is not None:
            raise self._failure

    @property
    def received(self) -> int:
        """How many messages have come."""
        return self._tally.received

    @property
    def faults(self) -> int:
        """How many of them were not as they should be."""
        return self._tally.faults

    def run(self, load: Load) -> Outcome:
        """A receiver sends nothing."""
        raise BenchFailed(f"a receiver was told to send {load}")

    def _serve(self) -> None:
        while not self._stop:
            if self._socket.wait(_IDLE_S):
                self._turn()

    def _turn(self) -> None:
        receive, send = self._socket.socket.recv, self._socket.socket.send
        last: dict[bytes, bytes] = {}
        try:
            for _ in range(BATCH_MESSAGES):
                route = receive(zmq.NOBLOCK)
                data = receive(zmq.NOBLOCK)
                last[route] = data[:_NUMBER_BYTES]
                self._handle(route, data)
        except zmq.Again:
            pass
        self._log.append(b"".join(last.values()))
        for route, number in last.items():
            send(route, zmq.SNDMORE)
            send(number)

    def _handle(self, route: bytes, data: bytes) -> None:
        if self._plan.payload == "opaque":
            self._tally.count(route, int.from_bytes(data[:_NUMBER_BYTES]))
            return
        proposal: Any = decode_message(data[_NUMBER_BYTES:]).message
        # Whom CURVE has authenticated, an application would have looked up when the link came up.
        sender = proposal.state.fixed.participants[0]
        self._tally.take(sender, proposal, signer_of(proposal))


class Sender:
    """Sends and takes acks on the thread that calls `run`."""

    contact = ""
    received = 0
    faults = 0

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stack = ExitStack()
        self._sent = 0  # In all loads, as the two below.
        self._acked = 0

    def __enter__(self) -> Self:
        server_key, _, endpoint = self._plan.contact.partition("@")
        identity = Identity.generate()
        self._socket = _Socket(zmq.DEALER)
        self._stack.callback(self._socket.close)
        self._log = _Log(self._plan.store)
        self._stack.callback(self._log.close)
        if self._plan.secure:
            self._socket.socket.set(zmq.CURVE_SERVERKEY, bytes.fromhex(server_key))
            self._socket.socket.set(zmq.CURVE_PUBLICKEY, identity.curve_public)
            self._socket.socket.set(zmq.CURVE_SECRETKEY, identity.curve_secret)
        self._socket.socket.connect(endpoint)
        self._source = Source(self._plan.payload, identity, Identity.generate().address)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, load: Load) -> Outcome:
        """Send a load, and return once all of it is acked."""
        messages = self._source.make(load)
        encoded = bodies(messages) if self._plan.payload == "signed" else _plain(messages, load)
        began = [0.0] * load.messages  # When each was sent, or due.
        latencies: list[float] = []
        first, started = self._acked, perf_counter()
        end_at = started + load.timeout_s
        sent = 0
        while len(latencies) < load.messages:
            if perf_counter() > end_at:
                raise BenchFailed(f"{len(latencies)} of {load.messages} acked in time")
            allowed, patience_s = self._allowed(load, started, sent, len(latencies))
            now = perf_counter()
            for index in range(sent, allowed):
                began[index] = started + index / load.rate if load.rate else now
            self._send([next(encoded) for _ in range(sent, allowed)])
            sent = allowed
            if self._socket.wait(patience_s):
                acked = self._take_acks() - first
                now = perf_counter()
                latencies += [now - at for at in began[len(latencies) : acked]]
        return outcome_of(latencies, perf_counter() - started)

    def _allowed(self, load: Load, started: float, sent: int, acked: int) -> tuple[int, float]:
        """Return how many messages may be sent by now, and how long then to wait for acks."""
        if not load.rate:
            allowed = min(load.messages, acked + load.window, sent + _SEND_MESSAGES)
            full = allowed in (load.messages, acked + load.window)
            return allowed, load.timeout_s if full else 0.0
        now = perf_counter()
        due = min(load.messages, int((now - started) * load.rate) + 1)
        next_at = started + due / load.rate
        return due, load.timeout_s if due == load.messages else max(next_at - now, 0.0)

    def _send(self, batch: list[bytes]) -> None:
        if not batch:
            return
        numbered = []
        for body in batch:
            self._sent += 1
            numbered.append(self._sent.to_bytes(_NUMBER_BYTES) + body)
        self._log.append(b"".join(numbered))
        send = self._socket.socket.send
        for data in numbered:
            send(data)

    def _take_acks(self) -> int:
        receive = self._socket.socket.recv
        try:
            while True:
                self._acked = int.from_bytes(receive(zmq.NOBLOCK))
        except zmq.Again:
            return self._acked


def _plain(messages: list[BenchMessage], load: Load) -> "Any":
    """Return bytes as large as an opaque message's body: nobody encodes what is bytes already."""
    return iter([bytes(load.size_bytes)] * len(messages))
