"""Ports for nodes that are started again and again in the same place."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from os import getpid

# Below the ephemeral ports: who dials one of those while nobody listens may reach itself.
_FIRST, _COUNT = 20_000, 12_000


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Yield ports of 127.0.0.1 that nobody else gets, also while no node listens on them.

    They stay bound, but a socket with SO_REUSEADDR, as libzmq's are, may listen on them. Each
    process begins its search elsewhere.
    """
    with ExitStack() as stack:
        found: list[int] = []
        for step in range(_COUNT):
            port = _FIRST + (getpid() * 16 + step) % _COUNT
            if _reserve(stack, port):
                found.append(port)
            if len(found) == count:
                break
        else:
            raise OSError(f"fewer than {count} free ports")
        yield found


def _reserve(stack: ExitStack, port: int) -> bool:
    with ExitStack() as undo:
        holder = undo.enter_context(socket.socket())
        try:
            holder.bind(("127.0.0.1", port))  # Without SO_REUSEADDR: fails if anybody has it.
        except OSError:
            return False
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stack.enter_context(undo.pop_all())
    return True
