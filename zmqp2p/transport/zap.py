"""The ZAP handler (ZeroMQ RFC 27): who may connect, asked by libzmq before a handshake ends.

Served from memory inside the loop, never by a thread: libzmq asks serially for the whole context,
and a slow answer would hold up every new peer. It fails closed: what is not understood is refused.
"""

from collections.abc import Callable, Sequence

import zmq

from zmqp2p.ids import CURVE_KEY_SIZE, CurveKey
from zmqp2p.transport.options import ZAP_DOMAIN, descriptor
from zmqp2p.transport.reactor import Reactor

Admit = Callable[[CurveKey | None, str], bool]
"""Decides on the peer's CURVE key (None without CURVE) and IP address ("localhost" over ipc)."""

_ENDPOINT = "inproc://zeromq.zap.01"  # Fixed by RFC 27.
_VERSION = b"1.0"
_FIELDS = 6  # version, request id, domain, address, routing id, mechanism; then the credentials.
_TURN_MAX = 256  # Requests answered before other sockets have their turn.


def admit_everyone(curve_key: CurveKey | None, address: str) -> bool:  # noqa: ARG001
    """Let every key in: identity is checked by the session, from the signed record."""
    return True


def plain_address(address: str) -> str:
    """Return the peer address that libzmq tells as an IP address, or "localhost" for ipc.

    A dual-stack listener writes IPv4 addresses as IPv6 ones. Over ipc the text names the user,
    the group and the process of the peer.
    """
    if address.startswith("localhost"):
        return "localhost"
    return address.removeprefix("::ffff:") if "." in address else address


def answer(request: Sequence[bytes], admit: Admit, *, curve: bool) -> list[bytes]:
    """Return the reply to a ZAP ``request``; its User-Id is the hex of the client's CURVE key."""
    request_id = request[1] if len(request) > 1 else b""
    refusal = _why_not(request, curve=curve)
    if refusal is not None:
        return [_VERSION, request_id, b"400", refusal, b"", b""]
    key = CurveKey(request[_FIELDS]) if curve else None
    if not admit(key, plain_address(request[3].decode("ascii", "replace"))):
        return [_VERSION, request_id, b"400", b"not admitted", b"", b""]
    user = b"" if key is None else key.hex().encode()
    return [_VERSION, request_id, b"200", b"OK", user, b""]


def _why_not(request: Sequence[bytes], *, curve: bool) -> bytes | None:
    if len(request) < _FIELDS or request[0] != _VERSION:
        return b"malformed request"
    if request[2] != ZAP_DOMAIN:
        return b"wrong domain"
    if request[5] != (b"CURVE" if curve else b"NULL"):
        return b"wrong mechanism"
    credentials = request[_FIELDS:]
    if [len(item) for item in credentials] != ([CURVE_KEY_SIZE] if curve else []):
        return b"malformed credentials"
    return None


class ZapHandler:
    """Answers the ZAP requests of one context. To be made before any socket is bound."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        reactor: Reactor,
        admit: Admit,
        *,
        curve: bool,
    ) -> None:
        self._reactor = reactor
        self._admit = admit
        self._curve = curve
        self._socket = context.socket(zmq.REP)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(_ENDPOINT)
        self._fd = descriptor(self._socket)
        reactor.watch(self._fd, self.serve)

    def serve(self) -> bool:
        """Answer what was asked; returns True if more may wait."""
        for _ in range(_TURN_MAX):
            try:
                request = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            self._socket.send_multipart(
                answer(request, self._admit, curve=self._curve), zmq.NOBLOCK
            )
        return True

    def close(self) -> None:
        """Close the socket; from then on every handshake fails."""
        self._reactor.unwatch(self._fd, self.serve)
        self._socket.close()
