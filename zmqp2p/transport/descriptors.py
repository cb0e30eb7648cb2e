"""What the system knows of a connection that libzmq accepted, and how it is closed from outside.

A ROUTER cannot close one connection. But its monitor tells each connection's descriptor, and a
shutdown of that is to libzmq as if the peer had closed. Only libzmq's thread ever closes the
descriptor itself.
"""

import array
import contextlib
import resource
import socket
import struct
import sys
import termios
from collections.abc import Iterator
from fcntl import ioctl

from zmqp2p.engine import rate
from zmqp2p.transport.zap import plain_address

LOCAL_SOURCE = "localhost"  # All of ipc: whoever may open the socket file is one source.
UNKNOWN_SOURCE = "unknown"  # Of what was over before anybody looked: the system has forgotten it.

Remote = tuple[object, ...]
"""The two ends of a connection, as the system names them."""

_MANY = 1 << 30
_INFO_BYTES = 192
_BYTES_RECEIVED = struct.Struct("=Q")
_BYTES_RECEIVED_AT = 128  # tcpi_bytes_received, in Linux since 4.1.


def descriptors_max() -> int:
    """Return how many descriptors this process may have open."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY if most == resource.RLIM_INFINITY else most


def remote_of(fd: int) -> Remote | None:
    """Return what tells the connection of ``fd`` from a later one; None if it is over already."""
    with borrowed(fd) as connection:
        return None if connection is None else _ends(connection)


def source_of(remote: Remote) -> str:
    """Return who counts as one source: an IP address, an IPv6 network, or all of ipc."""
    return source_at(remote[1])


def source_at(peer: object) -> str:
    """Return the source at a peer's end, as the system names that."""
    if isinstance(peer, tuple) and peer:
        return rate.source_of(plain_address(str(peer[0])))
    return LOCAL_SOURCE


def shut_down(fd: int, remote: Remote) -> bool:
    """Close the connection between ``remote``; False if ``fd`` is another's by now.

    Between the look and the act libzmq could close it and somebody else be given the same number:
    two system calls in a row, and then another connection is lost, which a session survives. A
    duplicate would exclude that, but to close a duplicate of a file drops SQLite's locks on it.
    """
    with borrowed(fd) as connection:
        if connection is None or _ends(connection) != remote:
            return False
        with contextlib.suppress(OSError):  # The peer was faster.
            connection.shutdown(socket.SHUT_RDWR)
        return True


def bytes_read(fd: int) -> int:
    """Return how many bytes libzmq has read of a TCP connection; 0 where that is not known.

    Known on Linux, and not of ipc.
    """
    if not sys.platform.startswith("linux"):
        return 0
    connection = None
    try:
        # Told what it is, Python asks the system less. What is something else has no TCP_INFO.
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=fd)
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        unread = array.array("i", [0])
        ioctl(fd, termios.FIONREAD, unread)
    except OSError:
        return 0
    finally:
        if connection is not None:
            connection.detach()
    if len(info) < _BYTES_RECEIVED_AT + _BYTES_RECEIVED.size:
        return 0
    received = int(_BYTES_RECEIVED.unpack_from(info, _BYTES_RECEIVED_AT)[0])
    return received - unread[0]


@contextlib.contextmanager
def borrowed(fd: int) -> Iterator[socket.socket | None]:
    """Lend the descriptor as a socket that does not own it; None if it is no open socket."""
    try:
        connection = socket.socket(fileno=fd)
    except OSError:  # Closed, or a file by now.
        yield None
        return
    try:
        yield connection
    finally:
        connection.detach()


def _ends(connection: socket.socket) -> Remote | None:
    try:
        return connection.getsockname(), connection.getpeername()
    except OSError:  # Not connected any more.
        return None
