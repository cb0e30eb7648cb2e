"""A network between two nodes that a test can cut: a TCP proxy, run by one thread."""

import queue
import select
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all: close sends RST.


class Mode(Enum):
    """What the network does."""

    PASS = "pass"
    HOLE = "hole"  # Whatever is sent disappears, the end of a connection too, until it heals.
    CUT = "cut"  # Connections are reset, new ones at once.
    CLOSED = "closed"


@dataclass(eq=False)
class _Pipe:
    """One direction of one connection."""

    source: socket.socket
    sink: socket.socket
    waiting: bytes = b""

    def read(self) -> bool:
        """Take in what has come; False at the end."""
        try:
            self.waiting = self.source.recv(_CHUNK_BYTES)
        except OSError:
            return False
        return bool(self.waiting)

    def write(self) -> bool:
        """Send what fits; False if that is not possible any more."""
        try:
            self.waiting = self.waiting[self.sink.send(self.waiting) :]
        except OSError:
            return False
        return True


class Proxy:
    """Forwards connections to ``target`` (``tcp://127.0.0.1:port``), as long as it may."""

    def __init__(self, target: str) -> None:
        self._target = ("127.0.0.1", int(target.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._orders: queue.SimpleQueue[tuple[Mode, threading.Event]] = queue.SimpleQueue()
        self._waker, self._wake = socket.socketpair()
        self._mode = Mode.PASS
        self._pipes: list[_Pipe] = []
        self._held: list[socket.socket] = []  # Accepted in a hole.
        self._thread = threading.Thread(target=self._run, name="test-proxy")
        self._thread.start()

    def hold(self) -> None:
        """Let everything disappear from now on."""
        self._order(Mode.HOLE)

    def cut(self) -> None:
        """Reset all connections, and whatever is dialed from now on."""
        self._order(Mode.CUT)

    def resume(self) -> None:
        """Heal: what was held goes on, new connections work."""
        self._order(Mode.PASS)

    def close(self) -> None:
        self._order(Mode.CLOSED)
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

    def _order(self, mode: Mode) -> None:
        done = threading.Event()
        self._orders.put((mode, done))
        self._wake.send(b"!")
        assert done.wait(10)

    def _run(self) -> None:
        while self._mode is not Mode.CLOSED:
            self._turn()
        for one in (self._listener, self._waker, self._wake):
            one.close()

    def _turn(self) -> None:
        passing = self._mode is Mode.PASS
        readers = [pipe.source for pipe in self._pipes if passing and not pipe.waiting]
        writers = [pipe.sink for pipe in self._pipes if passing and pipe.waiting]
        ready, free, _ = select.select([self._listener, self._waker, *readers], writers, [])
        for pipe in list(self._pipes):
            reads = pipe.source in ready and pipe.source in readers and not pipe.waiting
            if (reads and not pipe.read()) or (pipe.sink in free and not pipe.write()):
                self._end(pipe)
        if self._listener in ready:
            self._accept()
        if self._waker in ready:
            self._waker.recv(1)
            self._obey(*self._orders.get())

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._mode is Mode.PASS:
            self._connect(client)
        elif self._mode is Mode.HOLE:
            self._held.append(client)
        else:
            _reset(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=1)
        except OSError:
            _reset(client)
            return
        for one in (client, server):
            one.setblocking(False)
        self._pipes += [_Pipe(client, server), _Pipe(server, client)]

    def _obey(self, mode: Mode, done: threading.Event) -> None:
        self._mode = mode
        held, self._held = self._held, []
        if mode is Mode.HOLE:
            self._held = held
        for client in held:
            if mode is Mode.PASS:
                self._connect(client)
            elif mode is not Mode.HOLE:
                _reset(client)
        if mode in (Mode.CUT, Mode.CLOSED):
            for pipe in list(self._pipes):
                self._end(pipe)
        done.set()

    def _end(self, pipe: _Pipe) -> None:
        """End both directions of the pipe's connection."""
        ends = {pipe.source, pipe.sink}
        self._pipes = [one for one in self._pipes if one.source not in ends]
        for one in ends:
            _reset(one)


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()
