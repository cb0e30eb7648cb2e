"""Tell a wrong CURVE key from a listener that has no CURVE at all.

libzmq says the same of both: the connection was closed during the handshake. The ZMTP greeting
(RFC 23) names the mechanism in the clear, so one more plain connection settles it.
"""

import errno
import socket

from zmqp2p.transport.endpoints import Endpoint
from zmqp2p.transport.monitor import DialFailure
from zmqp2p.wire.link import DownReason

# Signature and version 3.0. Not the whole greeting: a listener that has seen our mechanism may
# close before it has told its own.
_OPENING = b"\xff" + bytes(7) + b"\x01\x7f" + b"\x03\x00"
_MECHANISM = slice(12, 32)
_SIGNATURE_FIRST, _SIGNATURE_LAST = 0, 9

WRONG_KEY = DialFailure(DownReason.WRONG_KEY, "the listener does not hold the CURVE key dialed")
NOT_ZMTP = DialFailure(DownReason.NOT_ZP2P, "closes the connection during the handshake")


class GreetingProbe:
    """One non-blocking connection that reads a ZMTP greeting.

    Raises:
        OSError: no socket can be made.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        tcp = socket.AF_INET6 if endpoint.ipv6 else socket.AF_INET
        self._socket = socket.socket(socket.AF_UNIX if endpoint.scheme == "ipc" else tcp)
        self._socket.setblocking(False)
        self._received = b""
        self._sent = False
        self._socket.connect_ex(
            endpoint.host if endpoint.scheme == "ipc" else (endpoint.host, endpoint.port)
        )

    @property
    def fd(self) -> int:
        """The descriptor to watch: for writing until the opening is `sent`, then for reading."""
        return self._socket.fileno()

    @property
    def sent(self) -> bool:
        """True once the opening has left and the greeting is awaited."""
        return self._sent

    def advance(self) -> DialFailure | None:
        """Go on as far as possible; returns the verdict once there is one."""
        try:
            if not self._sent:
                self._socket.send(_OPENING)
                self._sent = True
                return None
            chunk = self._socket.recv(_MECHANISM.stop - len(self._received))
        except OSError as fault:
            return None if fault.errno in (errno.EAGAIN, errno.EINPROGRESS) else NOT_ZMTP
        self._received += chunk
        if chunk and len(self._received) < _MECHANISM.stop:
            return None
        return read_greeting(self._received)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def read_greeting(greeting: bytes) -> DialFailure:
    """Return what the first bytes that a listener sends say about a failed CURVE handshake."""
    if len(greeting) < _MECHANISM.stop:
        return NOT_ZMTP
    if greeting[_SIGNATURE_FIRST] != 0xFF or greeting[_SIGNATURE_LAST] != 0x7F:  # noqa: PLR2004
        return DialFailure(DownReason.NOT_ZP2P, "what answers does not speak ZMTP")
    mechanism = greeting[_MECHANISM].rstrip(b"\0")
    if mechanism == b"CURVE":
        return WRONG_KEY
    name = mechanism.decode("ascii", "replace")
    return DialFailure(DownReason.NOT_ZP2P, f"speaks ZMTP with mechanism {name!r}, not CURVE")
