"""A network between two nodes that breaks as it is told: a TCP proxy, run by one thread.

Each direction has a `Flow`, which can be changed while connections are open: delay, throttle, a
black hole, a cut after so many bytes. Connections can be reset (RST, at once or at intervals),
refused, and half closed (FIN in one direction). Everything is bounded: what waits, and how many
connections.
"""

import queue
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Self

CONNECTIONS_MAX = 64  # `select` takes descriptors below 1024 only.
WAITING_MAX_BYTES = 1 << 18  # Per connection and direction; then the source has to wait.
_CHUNK_BYTES = 1 << 16
_THROTTLE_STEP_S = 0.02  # A throttled flow leaves in portions of so much time.
_ORDER_TIMEOUT_S = 10.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all: close sends RST.


class Way(Enum):
    """A direction, as seen from whoever dials the proxy."""

    THERE = "there"
    BACK = "back"


@dataclass(frozen=True, slots=True)
class Flow:
    """How the network treats what goes one way; by default it passes everything."""

    delay_s: float = 0.0  # Each byte, so much later; the order stays.
    bytes_per_s: float | None = None
    # Whatever is sent disappears, ends of connections too; nobody is told. When the flow changes,
    # connections that lost something are reset: TCP would never let them go on.
    swallow: bool = False
    cut_after_bytes: int | None = None  # Then the connection that sends is reset; once.


PASS = Flow()
HOLE = Flow(swallow=True)


@dataclass(eq=False, slots=True)
class _Pipe:
    """One direction of one connection.

    Invariant: ``waiting_bytes`` is the size of ``waiting``, at most a chunk above the bound.
    """

    way: Way
    source: socket.socket
    sink: socket.socket
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)  # Due at, what.
    waiting_bytes: int = 0
    ready_at: float = 0.0  # When a throttled flow may go on.
    ended: bool = False  # The source has closed, or its end was swallowed.
    shut: bool = False  # The sink was told that nothing more comes.
    lost: bool = False  # Something was swallowed.

    @property
    def reads(self) -> bool:
        return not self.ended and (self.shut or self.waiting_bytes < WAITING_MAX_BYTES)

    def due_at(self) -> float | None:
        """When the next bytes may leave."""
        return max(self.waiting[0][0], self.ready_at) if self.waiting else None

    def keep(self, data: bytes, due_at: float) -> None:
        self.waiting.append((due_at, data))
        self.waiting_bytes += len(data)

    def write(self, most_bytes: int) -> int:
        """Send up to so many bytes of what is due first; return how many went."""
        due_at, data = self.waiting.popleft()
        try:
            sent = self.sink.send(data[:most_bytes])
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.waiting.appendleft((due_at, data[sent:]))
        self.waiting_bytes -= sent
        return sent

    def discard(self) -> int:
        """Forget what waits; return how many bytes it was."""
        size_bytes, self.waiting_bytes = self.waiting_bytes, 0
        self.waiting.clear()
        return size_bytes

    def finish(self) -> None:
        """Pass on the end, once everything before it has left."""
        if self.ended and not self.waiting and not self.shut and not self.lost:
            self.shut = True
            self.sink.shutdown(socket.SHUT_WR)


class FaultProxy:
    """Forwards connections to ``target`` (``tcp://127.0.0.1:port``) as `set` and the others say.

    Every public method may be called on any thread and returns once it has taken effect.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS_MAX)
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._waker, self._wake = socket.socketpair()
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]]
        self._orders = queue.SimpleQueue()
        self._flows = dict.fromkeys(Way, PASS)
        self._cut_after: dict[Way, int | None] = dict.fromkeys(Way)
        self._pipes: list[_Pipe] = []
        self._held: list[socket.socket] = []  # Accepted in a black hole.
        self._reset_every_s: float | None = None
        self._reset_at: float | None = None
        self._refusing = False
        self._closed = False
        self._changed = threading.Condition()
        self.connections = 0  # Accepted so far.
        self.resets = 0  # Connections reset so far.
        self.taken_bytes = dict.fromkeys(Way, 0)
        self.passed_bytes = dict.fromkeys(Way, 0)
        self.swallowed_bytes = dict.fromkeys(Way, 0)
        self._thread = threading.Thread(target=self._run, name="fault-proxy")
        self._thread.start()

    # --- Orders ---------------------------------------------------------------------------------

    def set(self, flow: Flow, *ways: Way) -> None:
        """Treat what goes ``ways`` (both, if none is named) as ``flow`` says."""
        self._order(partial(self._set_flow, flow, ways or tuple(Way)))

    def reset(self) -> None:
        """Reset all connections; new ones are served."""
        self._order(self._reset_all)

    def refuse(self, refusing: bool) -> None:
        """Reset all connections and whatever is dialed from now on; or serve again."""
        self._order(partial(self._set_refusing, refusing))

    def reset_every(self, interval_s: float | None) -> None:
        """Reset all connections at intervals; None stops that."""
        self._order(partial(self._plan_resets, interval_s))

    def half_close(self, way: Way) -> None:
        """Tell each connection's far end that nothing more comes this way, and see to that."""
        self._order(partial(self._half_close, way))

    def until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``reached()``, looking whenever a count changes; False at the timeout."""
        with self._changed:
            return self._changed.wait_for(reached, timeout_s)

    def close(self) -> None:
        """Reset everything and end the thread. Idempotent."""
        if self._thread.is_alive():
            self._order(self._end)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _order(self, action: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put((action, done))
        self._wake.send(b"!")
        if not done.wait(_ORDER_TIMEOUT_S):
            raise TimeoutError("the proxy's thread does not answer")

    # --- The thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            self._turn(monotonic())
        for one in (self._listener, self._waker, self._wake):
            one.close()

    def _turn(self, now: float) -> None:
        readers = [pipe.source for pipe in self._pipes if pipe.reads]
        due = [pipe for pipe in self._pipes if pipe.waiting and _reached(pipe.due_at(), now)]
        writers = [pipe.sink for pipe in due]
        listeners = [self._listener, self._waker]
        ready, free, _ = select.select([*listeners, *readers], writers, [], self._patience_s(now))
        now = monotonic()
        readable, writable = set(ready), set(free)
        for pipe in list(self._pipes):
            if pipe in self._pipes:  # Not reset with an earlier one.
                self._serve(pipe, now, pipe.source in readable, pipe.sink in writable)
        if self._listener in readable:
            self._accept()
        if _reached(self._reset_at, now):
            self._reset_all()
            self._plan_resets(self._reset_every_s)
        if self._waker in readable:
            self._waker.recv(1)
            action, done = self._orders.get()
            action()
            done.set()

    def _patience_s(self, now: float) -> float | None:
        times = [self._reset_at, *(pipe.due_at() for pipe in self._pipes)]
        ahead = [at - now for at in times if at is not None and at > now]
        return min(ahead) if ahead else None

    def _serve(self, pipe: _Pipe, now: float, readable: bool, writable: bool) -> None:
        try:
            if readable and pipe.reads:
                self._read(pipe, now)
            if writable and _reached(pipe.due_at(), now):
                self._write(pipe, now)
            pipe.finish()
        except OSError:
            self._end_badly(pipe)
        if all(one.ended and not one.waiting and not one.lost for one in self._both(pipe)):
            self._forget(pipe, reset=False)

    def _read(self, pipe: _Pipe, now: float) -> None:
        flow = self._flows[pipe.way]
        data = pipe.source.recv(_CHUNK_BYTES)
        pipe.ended = not data
        self._count(self.taken_bytes, pipe.way, len(data))
        if flow.swallow:
            pipe.lost = True
            self._count(self.swallowed_bytes, pipe.way, len(data))
        elif data and not pipe.shut:
            pipe.keep(data, now + flow.delay_s)

    def _write(self, pipe: _Pipe, now: float) -> None:
        if self._flows[pipe.way].swallow:  # What was delayed when the hole opened.
            self._count(self.swallowed_bytes, pipe.way, pipe.discard())
            pipe.lost = True
            return
        rate = self._flows[pipe.way].bytes_per_s
        left = self._cut_after[pipe.way]
        most = _CHUNK_BYTES if rate is None else max(1, int(rate * _THROTTLE_STEP_S))
        sent = pipe.write(most if left is None else min(most, left))
        if rate is not None:
            pipe.ready_at = now + sent / rate
        self._count(self.passed_bytes, pipe.way, sent)
        if left is not None:
            self._cut_after[pipe.way] = left - sent
            if left == sent:
                self._cut_after[pipe.way] = None
                self._forget(pipe, reset=True)

    def _count(self, counts: dict[Way, int], way: Way, more: int) -> None:
        with self._changed:
            counts[way] += more
            self._changed.notify_all()

    def _end_badly(self, pipe: _Pipe) -> None:
        """One end was reset: so is the other, but for what a black hole hides."""
        hidden = [one for one in self._both(pipe) if self._flows[one.way].swallow]
        if hidden:
            for one in self._both(pipe):
                one.lost = one.ended = True
                one.discard()
            return
        self._forget(pipe, reset=True)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        with self._changed:
            self.connections += 1
            self._changed.notify_all()
        if self._refusing or len(self._pipes) // 2 + len(self._held) >= CONNECTIONS_MAX:
            _reset(client)
        elif self._flows[Way.THERE].swallow:
            self._held.append(client)
        else:
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=1)
        except OSError:
            _reset(client)
            return
        for one in (client, server):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pipes += [_Pipe(Way.THERE, client, server), _Pipe(Way.BACK, server, client)]

    # --- Orders, on the thread ------------------------------------------------------------------

    def _set_flow(self, flow: Flow, ways: tuple[Way, ...]) -> None:
        for way in ways:
            self._flows[way] = flow
            self._cut_after[way] = flow.cut_after_bytes
        if any(self._flows[way].swallow for way in Way):
            return
        for pipe in [pipe for pipe in self._pipes if pipe.lost]:
            self._forget(pipe, reset=True)
        held, self._held = self._held, []
        for client in held:
            _reset(client)

    def _reset_all(self) -> None:
        for pipe in list(self._pipes):
            self._forget(pipe, reset=True)

    def _set_refusing(self, refusing: bool) -> None:
        self._refusing = refusing
        if refusing:
            self._reset_all()

    def _plan_resets(self, interval_s: float | None) -> None:
        self._reset_every_s = interval_s
        self._reset_at = None if interval_s is None else monotonic() + interval_s

    def _half_close(self, way: Way) -> None:
        for pipe in self._pipes:
            if pipe.way is way and not pipe.shut:
                pipe.shut = True
                pipe.discard()
                with suppress(OSError):  # The far end may be gone already.
                    pipe.sink.shutdown(socket.SHUT_WR)

    def _end(self) -> None:
        self._reset_all()
        for client in self._held:
            _reset(client)
        self._held.clear()
        self._closed = True

    # --- Connections ----------------------------------------------------------------------------

    def _both(self, pipe: _Pipe) -> list[_Pipe]:
        return [one for one in self._pipes if one.source in (pipe.source, pipe.sink)]

    def _forget(self, pipe: _Pipe, *, reset: bool) -> None:
        """Close both sides of the pipe's connection, with RST or FIN."""
        both = self._both(pipe)
        if not both:
            return
        self._pipes = [one for one in self._pipes if one not in both]
        for one in (pipe.source, pipe.sink):
            if reset:
                _reset(one)
            else:
                one.close()
        with self._changed:
            self.resets += reset
            self._changed.notify_all()


def _reached(at: float | None, now: float) -> bool:
    return at is not None and at <= now


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):  # It may have been reset by its other end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()
