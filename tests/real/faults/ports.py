"""Ports for nodes that are started again and again in the same place."""

import socket
from os import getpid

# Below the ephemeral ports: who dials one of those while nobody listens may reach itself.
_FIRST, _COUNT = 20_000, 12_000


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 on which nobody listens now; another process starts elsewhere."""
    found: list[int] = []
    for step in range(_COUNT):
        port = _FIRST + (getpid() * 16 + step) % _COUNT
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} free ports")
