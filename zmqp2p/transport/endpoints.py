"""Endpoints, read strictly: ``tcp://ADDRESS:PORT``, ``tcp://[IPV6]:PORT`` and ``ipc://PATH``.

Addresses are numeric, because libzmq resolves host names in its I/O thread, which blocks every
link. ``localhost`` is 127.0.0.1. Ports for listening are chosen outside the ephemeral range: a
dial to a dead port inside it can connect to itself.
"""

import ipaddress
import re
import secrets
import socket
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from zmqp2p.errors import EndpointError

IPC_PATH_MAX_BYTES = 107  # sun_path, without its final zero.
PORT_MAX = 65_535
_LISTEN_PORT_MIN = 10_000
_LISTEN_PORT_MAX = 32_767
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TCP = re.compile(r"tcp://(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([^\[\]:]+)):([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint that was checked.

    ``host`` is a numeric address without brackets (tcp) or a path (ipc), ``port`` 0 for ipc.
    """

    text: str
    scheme: Literal["tcp", "ipc"]
    host: str
    port: int = 0
    ipv6: bool = False
    local: bool = True  # Not reachable from other machines.

    @property
    def address(self) -> str:
        """The endpoint as libzmq is given it, without names."""
        if self.scheme == "ipc":
            return f"ipc://{self.host}"
        host = f"[{self.host}]" if self.ipv6 else self.host
        return f"tcp://{host}:{self.port}"

    def with_port(self, port: int) -> "Endpoint":
        """Return the same endpoint with ``port``, the host written as before."""
        text = f"{self.text.rpartition(':')[0]}:{port}"
        return replace(self, text=text, port=port)


def parse_listen(text: str) -> Endpoint:
    """Read an endpoint to listen at: port 0 and the wildcard addresses are allowed.

    Raises:
        EndpointError: malformed.
    """
    return _parse(text, listen=True)


def parse_dial(text: str) -> Endpoint:
    """Read an endpoint to dial: one address, one port.

    Raises:
        EndpointError: malformed, a wildcard, a host name, or port 0.
    """
    return _parse(text, listen=False)


def _parse(text: str, *, listen: bool) -> Endpoint:
    if type(text) is not str:
        raise EndpointError(f"an endpoint is text, not {type(text).__name__}")
    if text.startswith("ipc://"):
        return _parse_ipc(text)
    if not text.startswith("tcp://"):
        raise EndpointError(f"{text!r}: must begin with tcp:// or ipc://")
    return _parse_tcp(text, listen=listen)


def _parse_ipc(text: str) -> Endpoint:
    path = text.removeprefix("ipc://")
    size = len(path.encode("utf-8", "surrogateescape"))
    if not 0 < size <= IPC_PATH_MAX_BYTES:
        raise EndpointError(f"{text!r}: the path must have 1 to {IPC_PATH_MAX_BYTES} bytes")
    # "*" is libzmq's wildcard; "@" its abstract namespace, which has no file permissions.
    if path[0] in "*@" or not path.isprintable():
        raise EndpointError(f"{text!r}: not the path of a file")
    return Endpoint(text, "ipc", path)


def _parse_tcp(text: str, *, listen: bool) -> Endpoint:
    match = _TCP.fullmatch(text)
    if match is None:
        raise EndpointError(f"{text!r}: must be tcp://ADDRESS:PORT or tcp://[IPV6]:PORT")
    bracketed, plain, digits = match.groups()
    port = int(digits)
    if not (0 if listen else 1) <= port <= PORT_MAX or str(port) != digits:
        raise EndpointError(f"{text!r}: the port is out of range")
    named = {"localhost": "127.0.0.1", "*": "0.0.0.0"}  # noqa: S104 - asked for in so many words.
    host = bracketed or named.get(plain, plain)
    try:
        address = ipaddress.IPv6Address(host) if bracketed else ipaddress.IPv4Address(host)
    except ValueError as fault:
        raise EndpointError(
            f"{text!r}: a numeric address is needed; resolve names first"
        ) from fault
    if not listen and address.is_unspecified:
        raise EndpointError(f"{text!r}: a wildcard cannot be dialed")
    return Endpoint(text, "tcp", host, port, bool(bracketed), address.is_loopback)


def listen_ports(count: int, told_in: Path = _EPHEMERAL_RANGE) -> list[int]:
    """Return up to ``count`` random ports to try, below the ephemeral range if there is room.

    ``told_in`` is the file in which Linux tells that range, its two ends.
    """
    most = min(_LISTEN_PORT_MAX, _ephemeral_min(told_in) - 1)
    if most < _LISTEN_PORT_MIN:  # The whole range is ephemeral here: nothing safer is left.
        most = _LISTEN_PORT_MAX
    ports = range(_LISTEN_PORT_MIN, most + 1)
    return secrets.SystemRandom().sample(ports, min(count, len(ports)))


def _ephemeral_min(told_in: Path) -> int:
    """Return the lowest port that the system gives to outgoing connections."""
    if not told_in.exists():
        return PORT_MAX  # Not Linux: the range begins at 49152 (RFC 6335).
    return int(told_in.read_text().split()[0])


def check_ipc_free(endpoint: Endpoint) -> None:
    """Make sure that nobody listens at an ipc endpoint; a dead process's socket file is no matter.

    libzmq removes whatever is at the path before it binds: a live node would be cut off, and a
    file that is no socket would be lost.

    Raises:
        EndpointError: somebody listens there, or something else is in the way.
        OSError: the system does not let us look.
    """
    path = Path(endpoint.host)
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise EndpointError(f"{endpoint.text!r}: a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(endpoint.host)
        except ConnectionRefusedError:
            return  # Left behind by a dead process.
        except BlockingIOError:
            pass  # Alive, with a full backlog.
    raise EndpointError(f"{endpoint.text!r}: in use")


class SocketFile:
    """The file of a bound ipc endpoint. libzmq leaves it behind when it stops listening."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._path = Path(endpoint.host).absolute()  # The working directory may change.
        self._identity = self._look()

    def remove(self) -> None:
        """Remove the file, unless it is another's by now, or gone."""
        if self._look() == self._identity:
            self._path.unlink(missing_ok=True)

    def _look(self) -> tuple[int, int] | None:
        if not self._path.exists():
            return None
        status = self._path.stat()
        return status.st_dev, status.st_ino
