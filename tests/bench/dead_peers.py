# ruff: noqa: T201  # A program: it prints for people.
"""What it costs to look for many dead peers, and how soon one that lives is found among them.

``python -m tests.bench.dead_peers [N] [--until S]`` gives a node N dead peers (1,000 by default)
and default limits, and prints which share of a core it takes, in spans of ten seconds from the
start until S (70 by default): once where nobody listens (a RST at once), once where nobody answers
(a listener whose queue is full: the kernel drops what comes). After each, one more peer is
connected and restarted ten times; its node does not dial. The time is from its listening to its
being connected again. It exits 0 only if each span takes less than `SHARE_MAX` of a core, and the
medians of the times are below `FOUND_S`. Put the machine, the commit and the output together when
citing a figure.
"""

import argparse
import socket
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from time import monotonic, process_time

from tests.real.faults.ports import reserved_ports
from tests.real.parties import until_connected
from zmqp2p import Identity, P2PService, PeerUri
from zmqp2p.events import Event, PeerConnected
from zmqp2p.ids import Address
from zmqp2p.store import MemoryStore

SHARE_MAX = 0.25
FOUND_S = 0.1
SPAN_S = 10.0
PAUSE_S = 0.5  # For which the peer that lives is down.
TRIALS = 10
BACKLOG = 4
TIMEOUT_S = 30.0


@contextmanager
def refusing() -> Iterator[str]:
    """Yield an endpoint where nobody listens."""
    with reserved_ports(1) as (port,):
        yield f"tcp://127.0.0.1:{port}"


@contextmanager
def silent() -> Iterator[str]:
    """Yield an endpoint where whoever connects hears nothing, not even a refusal."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=BACKLOG))
        for _ in range(BACKLOG + 4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def dead_peers(endpoint: str, count: int) -> list[PeerUri]:
    """Return so many peers at one endpoint; none of them is there."""
    curve_key = Identity.generate().curve_public
    return [PeerUri(Address(n.to_bytes(20)), curve_key, endpoint) for n in range(1, count + 1)]


def shares(node: P2PService, peers: list[PeerUri], until_s: float) -> list[float]:
    """Let ``node`` look for ``peers``; return its share of a core, span by span."""
    for peer in peers:
        node.add_peer(peer)
    found = []
    began_at = monotonic()
    while monotonic() - began_at < until_s:
        since, used_s = monotonic(), process_time()
        threading.Event().wait(SPAN_S)
        found.append((process_time() - used_s) / (monotonic() - since))
    return found


class Found:
    """Whether, and when, a peer was connected."""

    def __init__(self, peer: Address) -> None:
        self._peer = peer
        self._event = threading.Event()
        self._at = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, PeerConnected) and event.peer == self._peer:
            self._at = monotonic()
            self._event.set()

    def wait(self) -> float:
        """Return when it was."""
        if not self._event.wait(TIMEOUT_S):
            raise TimeoutError("the peer that lives is not found")
        return self._at

    def reset(self) -> None:
        """Forget it."""
        self._event.clear()


def restarts(node: P2PService) -> list[float]:
    """Return how soon ``node`` is connected to a peer again that is restarted."""
    identity = Identity.generate()
    found = Found(identity.address)
    node.on_event(found)
    times = []
    with reserved_ports(1) as (port,):
        endpoint = f"tcp://127.0.0.1:{port}"
        with P2PService(endpoint, identity=identity, store=MemoryStore()) as peer:
            node.add_peer(peer.record)
            until_connected(node, identity.address)
        for _ in range(TRIALS):
            threading.Event().wait(PAUSE_S)
            found.reset()
            with P2PService(endpoint, identity=identity, store=MemoryStore()):
                listens_at = monotonic()
                times.append(found.wait() - listens_at)
    return times


def main() -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.dead_peers")
    parser.add_argument("count", type=int, nargs="?", default=1_000, metavar="N")
    parser.add_argument("--until", type=float, default=70.0, metavar="S")
    options = parser.parse_args()
    met = True
    for name, place in (("refused", refusing), ("silent", silent)):
        alone = P2PService(None, identity=Identity.generate(), store=MemoryStore())
        with place() as endpoint, closing(alone) as node:
            taken = shares(node, dead_peers(endpoint, options.count), options.until)
            print(f"{name}: {options.count} peers, share of a core in each {SPAN_S:g} s:", end=" ")
            print(*(f"{100 * share:.1f} %" for share in taken), flush=True)
            times = restarts(node)
        median_s = statistics.median(times)
        print(f"{name}: a living peer found after {median_s:.3f} s", end=" ")
        print(f"({min(times):.3f} to {max(times):.3f}, {len(times)} samples)", flush=True)
        met = met and max(taken) < SHARE_MAX and median_s < FOUND_S
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
