"""Sources that connect too fast, and of whom the system itself drops what asks for a connection.

libzmq accepts whoever comes, and each connection costs its one thread, which carries everybody's
frames, even if it is shut down at once: of a source that never stops this would be all that it
does. So for a while the SYN segments of such a source are dropped by a filter on the listening
socket, before there is a connection. To that source it is as if the network had lost them; an
honest peer at the same address tries again after a second, as TCP does.

A filter is a program of the classic BPF, and needs no privilege. A connection inherits the filter
of its time; so it only looks at segments that open one. Linux only: elsewhere connections are shut
down once they are there.

Until it is known who is too fast, a thousand connections may wait in the system's queue. Those are
taken out of it and reset here, at a sixth of what it costs to have libzmq accept them. That also
tells whose they are: once libzmq has closed one, as it does if its peer has, nobody can say.
"""

import contextlib
import ctypes
import ipaddress
import os
import select
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zmqp2p.transport.descriptors import UNKNOWN_SOURCE, borrowed, source_at

SHUN_S = 0.5  # What a rate gains in so long comes in at once: 50 connections, 40 ms of a thread.
SOURCES_MAX = 64  # Shunned at a time; whoever comes fast besides is shut down.

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # On all that Python runs on but SPARC and PA-RISC.
_FILTER_WORKS = sys.platform == "linux"
# Operations of the classic BPF (linux/filter.h): load, and, shift, jump if equal, return.
_LOAD_BYTE, _LOAD_WORD, _AND, _SHIFT, _IF_EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x74, 0x15, 0x06
_PASS, _DROP = 0xFFFF_FFFF, 0
_NETWORK_HEADER = -0x10_0000 & 0xFFFF_FFFF  # SKF_NET_OFF; else offsets are from the TCP header on.
_TCP_FLAGS_AT, _SYN, _SYN_AND_ACK = 13, 0x02, 0x12
_IPV4_SOURCE_AT, _IPV6_SOURCE_AT = 12, 8
_IPV6 = 6
EVERYBODY = None
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)  # Where it is not told, only a reset is.
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with an RST, and keep nothing of it.

_Instruction = tuple[int, int, int, int]  # Operation, jumps if true and if false, operand.
_IF_OPENING: list[_Instruction] = [  # Whatever is no SYN segment passes.
    (_LOAD_BYTE, 0, 0, _TCP_FLAGS_AT),
    (_AND, 0, 0, _SYN_AND_ACK),
    (_IF_EQUAL, 1, 0, _SYN),
    (_RETURN, 0, 0, _PASS),
]


@dataclass(frozen=True, slots=True)
class TurnedBack:
    """A connection that was reset before libzmq could accept it."""

    source: str
    over: bool  # Before it was reset.


class Turnstile:
    """Who is shunned at one listening socket, and until when. Times are monotonic seconds.

    Invariant: at most `SOURCES_MAX` sources are shunned.
    """

    def __init__(self) -> None:
        self._closed = False  # To everybody.
        self._fd: int | None = None  # Of the listening socket.
        self._until: dict[str, float] = {}

    def listens(self, fd: int) -> None:
        """The socket listens; ``fd`` is its descriptor."""
        self._fd = fd
        os.set_blocking(fd, False)  # Or libzmq's thread waits for one that was turned back.

    def turn_back(self, most: int, another: Callable[["TurnedBack"], bool]) -> None:
        """Reset up to ``most`` connections that wait to be accepted, the oldest first.

        ``another`` is told of each, and tells whether there is to be another one.
        """
        if self._fd is None:
            return
        with borrowed(self._fd) as listening:
            if listening is None:
                return
            listening.setblocking(False)  # Python has a timeout of its own, the process's default.
            for _ in range(most):
                try:
                    connection, address = listening.accept()
                except ConnectionAbortedError:  # That is how some systems tell of one that is over.
                    continue
                except OSError:  # None waits; or there is no descriptor for it, nor for libzmq.
                    return
                source = UNKNOWN_SOURCE if address is None else source_at(address)
                if not another(TurnedBack(source, over=_reset(connection))):
                    return

    def shun(self, source: str, now: float) -> float | None:
        """Have ``source`` be dropped; return when to `relent`. None if that is not possible."""
        known = source in self._until or _condition(source) is None
        if self._fd is None or known or len(self._until) >= SOURCES_MAX:
            return None
        self._until[source] = now + SHUN_S
        self._apply(self._fd)
        return self._until[source]

    def close(self) -> bool:
        """Have everybody be dropped until `open`; False if that is so, or not possible."""
        if self._closed or self._fd is None:
            return False
        self._closed = True
        self._apply(self._fd)
        return True

    def open(self) -> None:
        """Drop only those who are shunned."""
        self._closed = False
        if self._fd is not None:
            self._apply(self._fd)

    def relent(self, now: float) -> None:
        """Let those whose time is over come again."""
        over = [source for source, until in self._until.items() if until <= now]
        for source in over:
            del self._until[source]
        if over and self._fd is not None:
            self._apply(self._fd)

    @property
    def shunned(self) -> frozenset[str]:
        """Who is shunned."""
        return frozenset(self._until)

    def check(self) -> None:
        """Assert the invariant."""
        assert len(self._until) <= SOURCES_MAX

    def _apply(self, fd: int) -> None:
        if not _FILTER_WORKS:
            return
        with borrowed(fd) as listening, contextlib.suppress(OSError):  # Or they are shut down.
            if listening is None or listening.family == socket.AF_UNIX:
                return
            if not self._until and not self._closed:
                listening.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
                return
            code = program(EVERYBODY if self._closed else self._until)
            buffer = ctypes.create_string_buffer(code)
            size = len(code) // struct.calcsize("=HBBI")
            described = struct.pack("HP", size, ctypes.addressof(buffer))
            listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def _reset(connection: socket.socket) -> bool:
    """Close it, and keep nothing of it; return whether it was over already."""
    with connection:
        look = select.poll()
        look.register(connection, _PEER_CLOSED)
        over = bool(look.poll(0))
        with contextlib.suppress(OSError):  # Some systems do not let it be set on what is over.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return over


def program(sources: Iterable[str] | None) -> bytes:
    """Return the filter that drops the SYN segments of ``sources``, and nothing else.

    None is `EVERYBODY`.
    """
    if sources is EVERYBODY:
        return _assembled([*_IF_OPENING, (_RETURN, 0, 0, _DROP)])
    conditions = [each for each in map(_condition, sources) if each is not None]
    ipv4 = [step for version, steps in conditions if version != _IPV6 for step in steps]
    ipv6 = [step for version, steps in conditions if version == _IPV6 for step in steps]
    steps: list[_Instruction] = [
        *_IF_OPENING,
        (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
        (_SHIFT, 0, 0, 4),
        (_IF_EQUAL, len(ipv4) + 1, 0, _IPV6),
        *ipv4,
        (_RETURN, 0, 0, _PASS),
        *ipv6,
        (_RETURN, 0, 0, _PASS),
    ]
    return _assembled(steps)


def _assembled(steps: Iterable[_Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _condition(source: str) -> tuple[int, list[_Instruction]] | None:
    """Return the IP version and the steps that drop ``source``; None if it has no IP address."""
    try:
        network = ipaddress.ip_network(source)
    except ValueError:
        return None
    packed = network.network_address.packed
    first = _IPV4_SOURCE_AT if network.version != _IPV6 else _IPV6_SOURCE_AT
    words = [int.from_bytes(packed[at : at + 4]) for at in (0, 4)[: network.prefixlen // 32]]
    steps: list[_Instruction] = []
    for number, word in enumerate(words):
        left = 2 * (len(words) - number) - 1  # Steps after this comparison.
        steps.append((_LOAD_WORD, 0, 0, (_NETWORK_HEADER + first + 4 * number) & 0xFFFF_FFFF))
        steps.append((_IF_EQUAL, 0, left, word))
    return network.version, [*steps, (_RETURN, 0, 0, _DROP)]
