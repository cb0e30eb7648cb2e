"""Connections that libzmq never lets go of: the listening socket is renewed, and the honest return.

Two strangers announce one routing id. libzmq never reads the second, and when its queue is full
does not even notice that it has ended.
"""

import errno
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from tests.real.transport_harness import Network, Node, Pair, curve_pair, dial, join, run
from zmqp2p.errors import EndpointError
from zmqp2p.ids import LinkId
from zmqp2p.transport import SocketLimits, ZmqTransport
from zmqp2p.transport.listener import Listener
from zmqp2p.wire.link import DownReason, LinkEvent, LinkUp, TurnedAway

QUEUE = 4
STUCK = 3
QUICK = SocketLimits(
    accepted_queue_messages=QUEUE,
    first_message_s=0.3,
    listener_renewal_min_s=0.0,
    stuck_s=0.1,
    stuck_connections_max=STUCK,
    mute_per_s_per_source=1e6,  # The honest have the same address here.
)

PATIENT = SocketLimits(  # Who is never read, and does not fill its queue, ends.
    accepted_queue_messages=8 * QUEUE, listener_renewal_min_s=0.0, unread_connections_max=2
)


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[Network]:
    network = Network("tcp4", tmp_path)
    yield network
    network.close()


@pytest.fixture
def squatters() -> "Iterator[Squatters]":
    made = Squatters()
    yield made
    made.close()


def pair_of(network: Network, bounds: SocketLimits) -> Pair:
    """Return Alice and Bob, who listens within ``bounds``, joined."""
    alice, bob = network.node(), network.node(bounds=bounds)
    endpoint = bob.transport.listen(network.endpoint())
    return greeted(alice, bob, endpoint)


def greeted(alice: Node, bob: Node, endpoint: str) -> Pair:
    """Return the two with a new link on which Bob has heard Alice."""
    known = len(bob.ups)
    at_alice = dial_again(alice, bob, endpoint)
    alice.transport.send(at_alice, [b"hello"])
    run(alice, bob, until=lambda: len(bob.ups) > known)
    return Pair(alice, bob, endpoint, at_alice, bob.ups[-1].link)


def dial_again(alice: Node, bob: Node, endpoint: str) -> LinkId:
    """Dial until it succeeds, as a node does, and return the link."""
    while True:
        link = alice.transport.dial(endpoint, bob.key)
        if isinstance(first_of(link, alice, bob), LinkUp):
            return link


def first_of(link: LinkId, alice: Node, bob: Node) -> LinkEvent:
    """Return what Alice hears first of ``link``."""
    run(alice, bob, until=lambda: any(event.link == link for event in alice.events))
    return next(event for event in alice.events if event.link == link)


def has_ended(node: Node, link: LinkId) -> bool:
    """Whether ``node`` was told so."""
    return any(down.link == link for down in node.downs)


def heard(node: Node, count: int) -> bool:
    """Whether ``node`` has received so many messages."""
    return len(node.received()) == count


def descriptors() -> int:
    """Return how many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Squatters:
    """Strangers' connections that all announce one routing id."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._secret, self._public = map(z85.encode, curve_pair())

    def squat(self, pair: Pair, count: int) -> None:
        """Make so many more connections to Bob, and let each say a lot."""
        for _ in range(count):
            socket = self.connect(pair, zmq.EVENT_HANDSHAKE_SUCCEEDED)
            for _ in range(4 * QUEUE):
                socket.send(b"x", zmq.NOBLOCK)

    def connect(self, pair: Pair, until: int) -> zmq.Socket[bytes]:
        """Connect to Bob, and wait for an event of the handshake."""
        socket = self._context.socket(zmq.DEALER)
        self._sockets.append(socket)
        socket.linger = 0
        socket.reconnect_ivl = -1
        socket.routing_id = b"the same"
        socket.curve_serverkey = z85.encode(pair.bob.key)
        socket.curve_publickey, socket.curve_secretkey = self._public, self._secret
        with socket.get_monitor_socket(until) as watch:
            socket.connect(pair.endpoint)
            run(pair.bob, until=partial(watch.poll, 0))
            socket.disable_monitor()
        return socket

    def close(self) -> None:
        for socket in self._sockets:
            socket.close()
        self._context.destroy(linger=0)


def test_a_clogged_listener_is_renewed_and_its_peers_come_back(
    tcp: Network, squatters: Squatters
) -> None:
    pair = pair_of(tcp, QUICK)
    before = descriptors()
    squatters.squat(pair, 1 + STUCK)
    pair.run(partial(has_ended, pair.bob, pair.at_bob))
    ended = {down.link: down for down in pair.bob.downs}
    assert ended[pair.at_bob].reason is DownReason.CLOSED
    assert "renewed" in ended[pair.at_bob].detail
    squatters.close()
    pair.run(partial(has_ended, pair.alice, pair.at_alice))
    again = greeted(pair.alice, pair.bob, pair.endpoint)
    again.run(lambda: descriptors() <= before)


def test_few_that_do_not_end_are_no_reason(tcp: Network, squatters: Squatters) -> None:
    pair = pair_of(tcp, QUICK)
    squatters.squat(pair, STUCK)
    for _ in range(60):
        pair.bob.turn(0.01)
    pair.alice.transport.send(pair.at_alice, [b"undisturbed"])
    pair.run(lambda: (b"undisturbed",) in pair.bob.received(pair.at_bob))


def test_connections_that_come_and_go_and_say_nothing_clog_it_too(
    tcp: Network, squatters: Squatters
) -> None:
    pair = pair_of(tcp, PATIENT)
    squatters.squat(pair, 3)
    squatters.close()
    pair.run(partial(has_ended, pair.bob, pair.at_bob))
    greeted(pair.alice, pair.bob, pair.endpoint)


def test_a_source_alone_does_not_bring_it_about(tcp: Network, squatters: Squatters) -> None:
    """Its handshakes are refused before they can leave anything behind."""
    bounds = replace(PATIENT, mute_burst_per_source=2, mute_per_s_per_source=1e-6)
    pair = pair_of(tcp, bounds)
    pair.bob.transport.trust(pair.at_bob)
    squatters.squat(pair, 1)  # Whose id it is.
    pair.run(lambda: len(pair.bob.ups) > 1)  # It is heard, and does not count.
    squatters.squat(pair, 2)
    squatters.connect(pair, zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    pair.alice.transport.send(pair.at_alice, [b"undisturbed"])
    pair.run(lambda: (b"undisturbed",) in pair.bob.received(pair.at_bob))
    told = TurnedAway("127.0.0.1", "says nothing after its handshakes", 1)
    pair.run(lambda: told in pair.bob.events)
    greeted(pair.alice, pair.bob, pair.endpoint)  # A contact is let in all the same.


def test_who_speaks_and_hangs_up_at_once_has_said_something(tcp: Network) -> None:
    """Its end may be told before its message is read."""
    alice = tcp.node()
    bob = tcp.node(bounds=SocketLimits(mute_burst_per_source=2, mute_per_s_per_source=1e-6))
    endpoint = bob.transport.listen(tcp.endpoint())
    for count in range(1, 31):
        link = dial(alice, bob, endpoint)
        alice.transport.send(link, [b"x"])
        alice.transport.close_link(link)
        run(alice, bob, until=partial(heard, bob, count))
    assert not [event for event in bob.events if isinstance(event, TurnedAway)]


def test_connections_that_come_and_are_heard_and_go_do_not(tcp: Network) -> None:
    pair = pair_of(tcp, PATIENT)
    for _ in range(4):
        again = greeted(pair.alice, pair.bob, pair.endpoint)
        pair.alice.transport.close_link(again.at_alice)
        pair.run(partial(has_ended, pair.bob, again.at_bob))
    for _ in range(30):
        pair.bob.turn(0.01)
    pair.alice.transport.send(pair.at_alice, [b"undisturbed"])
    pair.run(lambda: (b"undisturbed",) in pair.bob.received(pair.at_bob))


def test_a_listener_that_cannot_be_opened_at_once_is_opened_later(
    tcp: Network,
    squatters: Squatters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There may be no descriptor left: that is what the attack is about."""
    pair = pair_of(tcp, QUICK)
    squatters.squat(pair, 1 + STUCK)
    faults = [OSError(errno.EMFILE, "none left"), EndpointError("in use")]
    original = Listener._bind  # noqa: SLF001  # It fails as the system makes it fail.

    def bind(self: Listener, *args: object) -> object:
        if faults:
            raise faults.pop()
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Listener, "_bind", bind)
    pair.run(partial(has_ended, pair.bob, pair.at_bob))
    run(pair.bob, until=lambda: not faults)
    greeted(pair.alice, pair.bob, pair.endpoint)


def test_with_a_new_key_it_is_not_opened_twice(tcp: Network) -> None:
    pair = join(tcp)
    transport = pair.bob.transport
    assert isinstance(transport, ZmqTransport)
    (listener,) = transport._listeners  # noqa: SLF001
    transport._listen_again(listener.endpoint)  # noqa: SLF001  # As its timer would.
    assert transport._listeners == [listener]  # noqa: SLF001
