"""Nodes made of a transport and nothing else, for the tests of transports."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from zmqp2p.ids import CurveKey, LinkId
from zmqp2p.transport import MemoryNetwork, MemoryTransport, Transport, ZmqTransport
from zmqp2p.transport.options import SocketLimits
from zmqp2p.transport.zap import Admit, admit_everyone
from zmqp2p.transport.zeromq import Security
from zmqp2p.wire.link import LinkDown, LinkEvent, LinkUp, Received

PATIENCE_S = 10.0
KINDS = ("tcp4", "tcp6", "ipc", "none", "memory")


def curve_pair() -> tuple[bytes, CurveKey]:
    """Return a fresh CURVE key pair, secret and public, 32 raw bytes each."""
    public, secret = zmq.curve_keypair()
    return z85.decode(secret), CurveKey(z85.decode(public))


@dataclass
class Node:
    """A transport, its key, and the events it has told so far."""

    transport: Transport
    key: CurveKey
    events: list[LinkEvent] = field(default_factory=list)

    def turn(self, timeout_s: float = 0.005) -> None:
        """Wait for events once."""
        self.events += self.transport.wait(timeout_s)

    @property
    def ups(self) -> list[LinkUp]:
        """Return what links came up."""
        return [event for event in self.events if isinstance(event, LinkUp)]

    @property
    def downs(self) -> list[LinkDown]:
        """Return what links ended."""
        return [event for event in self.events if isinstance(event, LinkDown)]

    def received(self, link: LinkId | None = None) -> list[tuple[bytes, ...]]:
        """Return the messages of ``link``, or of all links."""
        return [
            event.frames
            for event in self.events
            if isinstance(event, Received) and link in (None, event.link)
        ]


def run(*nodes: Node, until: Callable[[], object]) -> None:
    """Give the nodes their turns until something is true; fail if it never is."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < give_up_at, [node.events[-5:] for node in nodes]
        for node in nodes:
            node.turn()


class Network:
    """Makes nodes of one kind of transport that can reach each other, and closes them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._folder = folder
        self._memory = MemoryNetwork()
        self._made = 0
        self._closing = ExitStack()

    def node(self, admit: Admit = admit_everyone, bounds: SocketLimits | None = None) -> Node:
        """Return a new node that is closed with the network."""
        self._made += 1
        secret, public = curve_pair()
        transport: Transport
        if self.kind == "memory":
            transport = MemoryTransport(
                self._memory, curve_public=public, host=f"host{self._made}", admit=admit
            )
        else:
            security: Security = "none" if self.kind == "none" else "curve"
            transport = ZmqTransport(
                curve_secret=secret,
                curve_public=public,
                security=security,
                admit=admit,
                bounds=bounds or SocketLimits(),
            )
        self._closing.callback(transport.close)
        return Node(transport, public)

    def endpoint(self) -> str:
        """Return an endpoint to listen at."""
        self._made += 1
        return {
            "tcp4": "tcp://127.0.0.1:0",
            "tcp6": "tcp://[::1]:0",
            "ipc": f"ipc://{self._folder}/socket{self._made}",
            "none": "tcp://127.0.0.1:0",
            "memory": f"mem://node{self._made}",
        }[self.kind]

    def key_of(self, node: Node) -> CurveKey | None:
        """Return the key that a link to ``node`` should bear."""
        return None if self.kind == "none" else node.key

    @property
    def first_address(self) -> str:
        """What a listener hears of where the node that was made first dials from."""
        known = {"tcp6": "::1", "ipc": "localhost", "memory": "host1"}
        return known.get(self.kind, "127.0.0.1")

    def close(self) -> None:
        """Close all nodes."""
        self._closing.close()


@dataclass
class Pair:
    """Alice, who dialed, and Bob, who listens; both know their link."""

    alice: Node
    bob: Node
    endpoint: str
    at_alice: LinkId
    at_bob: LinkId

    def run(self, until: Callable[[], object]) -> None:
        """Give both their turns until something is true."""
        run(self.alice, self.bob, until=until)


def dial(alice: Node, bob: Node, endpoint: str) -> LinkId:
    """Dial until the link is up."""
    link = alice.transport.dial(endpoint, bob.key)
    run(alice, bob, until=lambda: any(up.link == link for up in alice.ups))
    return link


def join(
    network: Network, hello: Sequence[bytes] = (b"hello",), bounds: SocketLimits | None = None
) -> Pair:
    """Return two nodes with a link that is up at both and has carried one message."""
    alice, bob = network.node(), network.node(bounds=bounds)
    endpoint = bob.transport.listen(network.endpoint())
    at_alice = dial(alice, bob, endpoint)
    assert alice.transport.send(at_alice, hello)
    run(alice, bob, until=bob.received)
    return Pair(alice, bob, endpoint, at_alice, bob.ups[0].link)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
