"""What libzmq tells about connections: socket monitor events, and what they mean for a dial."""

import errno
import itertools
import struct
from dataclasses import dataclass
from enum import Enum, auto

import zmq

from zmqp2p.transport.options import descriptor
from zmqp2p.transport.reactor import Reactor, Serve
from zmqp2p.wire.link import DownReason

DIAL_EVENTS = int(
    zmq.EVENT_CONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
LISTEN_EVENTS = int(
    zmq.EVENT_LISTENING
    | zmq.EVENT_ACCEPTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
)

PASSED = 0  # No event of libzmq's: one that was accepted, and whose end is told later on.
_ACCEPTED, _DISCONNECTED = int(zmq.EVENT_ACCEPTED), int(zmq.EVENT_DISCONNECTED)
_NUMBERS = itertools.count()  # Names of inproc endpoints; process-wide, though contexts differ.


class Monitor:
    """The monitor of one socket.

    It must be drained in the loop: after some 2,000 unread events libzmq's I/O thread stops, and
    with it every link. So only the events that are needed are subscribed to.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        reactor: Reactor,
        watched: "zmq.Socket[bytes]",
        events: int,
    ) -> None:
        self._reactor = reactor
        self._watched = watched
        self._serve: Serve | None = None
        endpoint = f"inproc://zmqp2p-monitor-{next(_NUMBERS)}"
        self._socket = context.socket(zmq.PAIR)
        self._socket.set(zmq.LINGER, 0)
        try:
            watched.monitor(endpoint, events)
            self._socket.connect(endpoint)
        except zmq.ZMQError:
            self._socket.close()
            raise
        self._fd = descriptor(self._socket)

    def watch(self, serve: Serve) -> None:
        """Have the loop call ``serve`` when there are events."""
        self._serve = serve
        self._reactor.watch(self._fd, serve)

    def drain(self) -> list[tuple[int, int]]:
        """Return all pending events as (event, value); a connection takes longer than a read."""
        events: list[tuple[int, int]] = []
        while True:
            try:
                head = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return events
            self._socket.recv(zmq.NOBLOCK)  # The endpoint's text.
            event, value = struct.unpack("=Hi", head)
            events.append((event, value))

    def close(self) -> None:
        """Stop monitoring. The watched socket must still be open."""
        if self._serve is not None:
            self._reactor.unwatch(self._fd, self._serve)
        self.drain()  # An I/O thread that waits for room here would hold a lock that we need next.
        self._watched.monitor(None, 0)
        self._socket.close()


def with_passed(events: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ``events``, with `PASSED` where one was accepted whose end is among them, too."""
    told: list[tuple[int, int]] = []
    ended: set[int] = set()
    for event, fd in reversed(events):
        passed = event == _ACCEPTED and fd in ended
        told.append((PASSED if passed else event, fd))
        if event == _DISCONNECTED:
            ended.add(fd)
    return told[::-1]


class Turn(Enum):
    """A turn for the better, or the end, of a connection that was dialed."""

    UP = auto()  # The handshake succeeded.
    ENDED = auto()  # The connection that was up is lost; received messages may still wait.
    FLUSHED = auto()  # ... and libzmq's I/O thread will add none.
    SUSPECT = auto()  # Closed during a CURVE handshake: a wrong key, or no CURVE at all.


@dataclass(frozen=True, slots=True)
class DialFailure:
    """Why a dial failed, as `LinkDown` will tell it."""

    reason: DownReason
    detail: str


# Integers, because pyzmq's enums hash by name: a table of them would not find the number.
_ENDS = {int(zmq.EVENT_DISCONNECTED): Turn.ENDED, int(zmq.EVENT_CONNECT_RETRIED): Turn.FLUSHED}


class DialProgress:
    """What has become of one dial, from the events of its socket's monitor. Pure.

    The sequences were measured with libzmq 4.3.5; the table is in docs/adr (transport).
    """

    def __init__(self, *, curve: bool) -> None:
        self._curve = curve
        self._connected = False
        self._up = False

    def observe(self, event: int, value: int) -> Turn | DialFailure | None:
        """Take one monitor event; returns what it changes."""
        if event == zmq.EVENT_CONNECTED:
            self._connected = True
            return None
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._up = True
            return Turn.UP
        if self._up:
            return _ENDS.get(event)
        return self._failure(event, value)

    def give_up(self) -> DialFailure:
        """Return what to say of a dial of which nothing decisive was heard in time."""
        if self._connected:
            return DialFailure(DownReason.NOT_ZP2P, "accepts, but does not finish a handshake")
        return DialFailure(DownReason.UNREACHABLE, "the connect was not answered in time")

    def _failure(self, event: int, value: int) -> Turn | DialFailure | None:
        if not self._connected:  # CLOSED or CONNECT_RETRIED.
            return DialFailure(
                DownReason.UNREACHABLE, "nobody listens there, or the connect was not answered"
            )
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return DialFailure(
                DownReason.DENIED, f"the listener does not admit us (status {value})"
            )
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return DialFailure(DownReason.NOT_ZP2P, _protocol_detail(value))
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            return self._cut_short(value)
        return DialFailure(DownReason.NOT_ZP2P, "what answers does not speak ZMTP")

    def _cut_short(self, error: int) -> Turn | DialFailure:
        if error == errno.EAGAIN:
            return DialFailure(DownReason.NOT_ZP2P, "accepts, but says nothing in time")
        if self._curve:
            return Turn.SUSPECT
        return DialFailure(
            DownReason.NOT_ZP2P, "closed during the handshake: it may want CURVE (security)"
        )


def _protocol_detail(value: int) -> str:
    if value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        return "speaks ZMTP with another security mechanism"
    return f"speaks ZMTP wrongly (libzmq protocol error {value:#x})"
