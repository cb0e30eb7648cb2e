"""What is ZeroMQ's own: strangers on both ends of a connection, CURVE, descriptors, processes."""

import gc
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.real.transport_harness import (
    PATIENCE_S,
    Network,
    Node,
    curve_pair,
    dial,
    join,
    open_descriptors,
    run,
)
from zmqp2p.errors import EndpointError, InvalidValue, ServiceClosed
from zmqp2p.ids import CurveKey, LinkId
from zmqp2p.transport import SocketLimits, ZmqTransport, news
from zmqp2p.transport.arrivals import Arrivals
from zmqp2p.transport.endpoints import listen_ports, parse_listen
from zmqp2p.transport.links import CONGESTED, TURN_SHARED_MAX_WORK_US, Links, Portion, Shared
from zmqp2p.transport.listener import Listener
from zmqp2p.transport.monitor import LISTEN_EVENTS, Monitor
from zmqp2p.transport.news import Backlog, News
from zmqp2p.transport.options import CurvePair, make_context
from zmqp2p.transport.probe import WRONG_KEY, GreetingProbe
from zmqp2p.transport.reactor import Reactor
from zmqp2p.transport.zap import ZapHandler, admit_everyone
from zmqp2p.transport.zeromq import Security
from zmqp2p.wire.link import DownReason, LinkDown, LinkUp, Received
from zmqp2p.wire.work import work_us

HASTY = SocketLimits(connect_timeout_s=0.1, handshake_timeout_s=0.15, dial_timeout_s=0.5)
# A ZMTP 3.0 client with mechanism NULL (RFC 23), and its READY as a DEALER.
GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
COMMAND, MORE, LAST = b"\x04", b"\x01", b"\x00"


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[Network]:
    network = Network("tcp4", tmp_path)
    yield network
    network.close()


@pytest.fixture
def null(tmp_path: Path) -> Iterator[Network]:
    network = Network("none", tmp_path)
    yield network
    network.close()


@pytest.fixture
def raw() -> Iterator["Raw"]:
    made = Raw()
    yield made
    made.close()


class Raw:
    """Plain sockets, and ZeroMQ sockets of a stranger's program."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self._closing = ExitStack()
        self._secret, self.key = curve_pair()

    def zmq_socket(self, kind: int, server_key: bytes | None = None) -> "zmq.Socket[bytes]":
        """Return a socket with CURVE as a client, or without."""
        made = self._closing.enter_context(self.context.socket(kind))
        made.linger = 1000
        if server_key is not None:
            made.curve_serverkey = server_key
            made.curve_publickey = self.key
            made.curve_secretkey = self._secret
        return made

    def zmq_listener(
        self, mechanism: str, kind: int = zmq.ROUTER
    ) -> tuple[str, "zmq.Socket[bytes]"]:
        """Return a socket that listens, and where."""
        made = self.zmq_socket(kind)
        if mechanism == "CURVE":
            made.curve_server = True
            made.curve_secretkey = self._secret
        if mechanism == "PLAIN":
            made.plain_server = True
        port = made.bind_to_random_port("tcp://127.0.0.1", 10_000, 32_000)
        return f"tcp://127.0.0.1:{port}", made

    def tcp_listener(self, serve: Callable[[socket.socket, int], None], backlog: int = 8) -> str:
        """Serve each connection (with its number) in a thread; closing is up to ``serve``."""
        listener = self._closing.enter_context(closing(socket.socket()))
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)

        def accept() -> None:
            with suppress(OSError):  # The listener is shut down at the end.
                for number in range(100):
                    connection, _ = listener.accept()
                    self._closing.callback(connection.close)
                    serve(connection, number)

        thread = threading.Thread(target=accept)
        thread.start()
        self._closing.callback(thread.join)
        self._closing.callback(listener.shutdown, socket.SHUT_RDWR)
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    def connect(self, endpoint: str) -> socket.socket:
        """Return a plain connection."""
        port = int(endpoint.rpartition(":")[2])
        made = socket.create_connection(("127.0.0.1", port), timeout=10)
        return self._closing.enter_context(made)

    def close(self) -> None:
        """Close everything."""
        self._closing.close()
        self.context.destroy(linger=0)


def frame(flag: bytes, body: bytes) -> bytes:
    """Return a short ZMTP frame."""
    return flag + bytes((len(body),)) + body


def null_client(raw: Raw, node: Node, endpoint: str, properties: bytes = READY) -> socket.socket:
    """Return a plain socket that has finished a NULL handshake with ``node``."""
    client = raw.connect(endpoint)
    client.sendall(GREETING + frame(COMMAND, properties))
    client.setblocking(False)
    received = bytearray()

    def ready() -> bool:
        with suppress(BlockingIOError):
            received.extend(client.recv(1000))
        return b"READY" in received

    run(node, until=ready)
    client.setblocking(True)
    return client


def heard(node: Node, count: int) -> Callable[[], bool]:
    """Return the question whether ``node`` has received ``count`` messages."""
    return lambda: len(node.received()) == count


def lost(node: Node, count: int) -> Callable[[], bool]:
    """Return the question whether ``node`` has seen ``count`` links end."""
    return lambda: len(node.downs) == count


def say_nothing(_: socket.socket, __: int) -> None:
    """Accept, and be silent."""


def say(reply: bytes) -> Callable[[socket.socket, int], None]:
    def serve(connection: socket.socket, _: int) -> None:
        connection.sendall(reply)

    return serve


def hang_up(connection: socket.socket, _: int) -> None:
    """Close at once, in the orderly way."""
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def hang_up_once(connection: socket.socket, number: int) -> None:
    """Close the first connection, say nothing on the others."""
    if number == 0:
        hang_up(connection, number)


def echo(connection: socket.socket, _: int) -> None:
    """Send back whatever comes: what a connection to oneself looks like."""
    while data := connection.recv(4096):
        connection.sendall(data)
    connection.close()


def verdict(node: Node, endpoint: str, key: CurveKey) -> tuple[DownReason, str]:
    """Dial and return why it failed."""
    link = node.transport.dial(endpoint, key)
    run(node, until=lambda: node.downs)
    assert node.ups == []
    assert [down.link for down in node.downs] == [link]
    return node.downs[0].reason, node.downs[0].detail


# --- Whatever may listen where we dial ----------------------------------------------------------


@pytest.mark.parametrize("security", ["tcp4", "none"])
@pytest.mark.parametrize(
    ("serve", "detail"),
    [
        (say_nothing, "says nothing"),
        (say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), ""),
        (say(b"SSH-2.0-OpenSSH_9.2p1\r\n"), ""),
        (say(bytes(range(256))), ""),
        (say(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"X" * 300), ""),
        (hang_up, "during the handshake"),
    ],
)
def test_what_speaks_something_else_is_told_from_a_dead_peer(
    security: str,
    serve: Callable[[socket.socket, int], None],
    detail: str,
    raw: Raw,
    tmp_path: Path,
) -> None:
    network = Network(security, tmp_path)
    node = network.node(bounds=HASTY)
    reason, told = verdict(node, raw.tcp_listener(serve), raw.key)
    network.close()
    assert reason is DownReason.NOT_ZP2P
    assert detail in told


@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN"])
def test_a_listener_without_curve_is_not_taken_for_a_wrong_key(
    mechanism: str, tcp: Network, raw: Raw
) -> None:
    endpoint, _ = raw.zmq_listener(mechanism)
    reason, detail = verdict(tcp.node(), endpoint, raw.key)
    assert reason is DownReason.NOT_ZP2P
    assert mechanism in detail or "another security mechanism" in detail


def test_a_node_without_curve_never_talks_to_one_with_it(tcp: Network, null: Network) -> None:
    secure, open_node = tcp.node(), null.node()
    endpoint = secure.transport.listen(tcp.endpoint())
    open_node.transport.dial(endpoint, secure.key)
    run(secure, open_node, until=lambda: open_node.downs)
    assert open_node.downs[0].reason is DownReason.NOT_ZP2P
    detail = open_node.downs[0].detail
    assert "CURVE" in detail or "another security mechanism" in detail
    assert secure.events == []


def test_a_probe_that_gets_no_answer_ends_too(tcp: Network, raw: Raw) -> None:
    node = tcp.node(bounds=SocketLimits(dial_timeout_s=0.2))
    reason, _ = verdict(node, raw.tcp_listener(hang_up_once), raw.key)
    assert reason is DownReason.NOT_ZP2P


def test_a_dial_can_be_closed_while_it_is_probed(tcp: Network, raw: Raw) -> None:
    probed = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        hang_up_once(connection, number)
        if number == 1:
            probed.set()

    node = tcp.node()
    link = node.transport.dial(raw.tcp_listener(serve), raw.key)
    run(node, until=probed.is_set)
    assert not node.transport.send(link, [b"x"])
    node.turn()
    assert [(down.link, down.reason) for down in node.downs] == [(link, DownReason.LOST)]


@pytest.mark.parametrize("bounds", [HASTY, SocketLimits(dial_timeout_s=0.1)])
def test_a_listener_that_drops_connects_silently_is_unreachable(
    bounds: SocketLimits, tcp: Network
) -> None:
    """A full accept queue drops them, as a firewall does; nothing is answered at all."""
    node = tcp.node(bounds=bounds)
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        started = time.monotonic()
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        reason, _ = verdict(node, endpoint, node.key)
    assert reason is DownReason.UNREACHABLE
    assert time.monotonic() - started < 2.0


def test_a_dial_of_which_nothing_is_heard_is_given_up(tcp: Network, raw: Raw) -> None:
    """There are cases in which libzmq tells nothing at all (#4588)."""
    node = tcp.node(bounds=SocketLimits(dial_timeout_s=0.1))
    assert verdict(node, raw.tcp_listener(say_nothing), raw.key) == (
        DownReason.NOT_ZP2P,
        "accepts, but does not finish a handshake",
    )


def test_what_speaks_zmtp_1_is_no_listener(null: Network, raw: Raw) -> None:
    """Without CURVE libzmq falls back to it; messages of it tell nothing about their sender."""
    empty_identity, message = b"\x01\x00", b"\x06\x00hello"
    node = null.node()
    link = node.transport.dial(raw.tcp_listener(say(empty_identity + message)), raw.key)
    run(node, until=lambda: node.downs)
    assert node.received() == []
    assert [(down.link, down.reason) for down in node.downs] == [(link, DownReason.NOT_ZP2P)]
    assert "no listener" in node.downs[0].detail


def test_a_dial_that_is_up_is_not_given_up(tcp: Network) -> None:
    alice, bob = tcp.node(bounds=SocketLimits(dial_timeout_s=0.1)), tcp.node()
    dial(alice, bob, bob.transport.listen(tcp.endpoint()))
    until = time.monotonic() + 0.15
    run(alice, bob, until=lambda: time.monotonic() > until)
    assert alice.downs == []


def test_a_connection_to_oneself_ends(tcp: Network, raw: Raw) -> None:
    """Dialing a dead local port in the ephemeral range can connect to itself."""
    reason, _ = verdict(tcp.node(bounds=HASTY), raw.tcp_listener(echo), raw.key)
    assert reason in (DownReason.NOT_ZP2P, DownReason.WRONG_KEY)


def test_a_connection_to_oneself_without_curve_ends_with_its_first_message(
    null: Network, raw: Raw
) -> None:
    node = null.node()
    link = node.transport.dial(raw.tcp_listener(echo), raw.key)
    node.transport.send(link, [b"hello"])
    run(node, until=lambda: node.downs)
    assert node.received() == []
    assert [(down.reason, down.detail) for down in node.downs] == [
        (DownReason.NOT_ZP2P, "connected to itself, or to what is no listener")
    ]


@pytest.mark.parametrize("count", [3, 5])
def test_a_listener_that_sends_more_than_two_frames_is_hung_up_on(
    count: int, tcp: Network, raw: Raw
) -> None:
    node = tcp.node()
    endpoint, listener = raw.zmq_listener("CURVE")
    link = node.transport.dial(endpoint, raw.key)
    node.transport.send(link, [b"hello"])
    run(node, until=lambda: listener.poll(0))
    routing_id, _ = listener.recv_multipart()
    listener.send_multipart([routing_id, b"fine"])
    listener.send_multipart([routing_id, *[b"x"] * count])
    run(node, until=lambda: node.downs)
    assert node.received() == [(b"fine",)]
    assert [(down.reason, down.detail) for down in node.downs] == [
        (DownReason.NOT_ZP2P, "more than two frames")
    ]


def test_a_listener_that_sends_too_large_a_frame_is_lost(tcp: Network, raw: Raw) -> None:
    """After a protocol error libzmq tells only half of what it tells otherwise."""
    node = tcp.node(bounds=SocketLimits(frame_max_bytes=1000))
    endpoint, listener = raw.zmq_listener("CURVE")
    link = node.transport.dial(endpoint, raw.key)
    node.transport.send(link, [b"hello"])
    run(node, until=lambda: listener.poll(0))
    routing_id, _ = listener.recv_multipart()
    listener.send_multipart([routing_id, b"fine"])
    listener.send_multipart([routing_id, bytes(1001)])
    run(node, until=lambda: node.downs)
    assert node.received() == [(b"fine",)]
    assert [down.reason for down in node.downs] == [DownReason.LOST]


def test_a_link_that_is_lost_does_not_come_back_by_itself(tcp: Network) -> None:
    pair = join(tcp)
    pair.bob.transport.close()
    run(pair.alice, until=lambda: pair.alice.downs)
    carol = tcp.node()
    carol.transport.listen(pair.endpoint)
    until = time.monotonic() + 0.2
    run(pair.alice, carol, until=lambda: time.monotonic() > until)
    assert len(pair.alice.events) == 2
    assert carol.events == []


@pytest.mark.parametrize("at", ["tcp://[fe80::1%nosuch0]:9000", "tcp://255.255.255.255:9000"])
def test_an_address_that_the_system_refuses_is_unreachable(at: str, tcp: Network) -> None:
    node = tcp.node(bounds=HASTY)
    assert verdict(node, at, node.key)[0] is DownReason.UNREACHABLE


# --- Whoever may dial where we listen -----------------------------------------------------------


def test_a_peer_that_sends_more_than_two_frames_ends_its_link_and_no_other(
    tcp: Network, raw: Raw
) -> None:
    pair = join(tcp)
    stranger = raw.zmq_socket(zmq.DEALER, pair.bob.key)
    stranger.connect(pair.endpoint)
    stranger.send_multipart([b"1", b"2"])
    pair.run(lambda: len(pair.bob.ups) == 2)
    stranger.send_multipart([b"1", b"2", b"3", b"4"])
    pair.run(lambda: pair.bob.downs)
    bad = pair.bob.ups[1].link
    assert [(down.link, down.reason, down.detail) for down in pair.bob.downs] == [
        (bad, DownReason.NOT_ZP2P, "more than two frames")
    ]
    assert pair.bob.received(bad) == [(b"1", b"2")]
    pair.alice.transport.send(pair.at_alice, [b"undisturbed"])
    pair.run(lambda: (b"undisturbed",) in pair.bob.received(pair.at_bob))
    assert len(pair.bob.ups) == 2  # No frame of the bad message was taken for a routing id.


def test_a_peer_that_sends_too_large_a_frame_ends_its_link_and_no_other(
    tcp: Network, raw: Raw
) -> None:
    pair = join(tcp)
    stranger = raw.zmq_socket(zmq.DEALER, pair.bob.key)
    stranger.connect(pair.endpoint)
    stranger.send(b"small")
    pair.run(lambda: len(pair.bob.ups) == 2)
    stranger.send(bytes(SocketLimits().frame_max_bytes + 1))
    pair.run(lambda: pair.bob.downs)
    assert [down.link for down in pair.bob.downs] == [pair.bob.ups[1].link]


def test_a_routing_id_that_passes_to_another_key_is_another_link(tcp: Network, raw: Raw) -> None:
    """A routing id is a claim: what counts is the key that CURVE has proven."""
    bob = tcp.node(bounds=SocketLimits(grace_s=5.0))  # The end of the first is not yet told.
    endpoint = bob.transport.listen(tcp.endpoint())
    other = Raw()
    keys = []
    for number, program in enumerate((raw, other), start=1):
        stranger = program.zmq_socket(zmq.DEALER, bob.key)
        stranger.routing_id = b"same"
        stranger.connect(endpoint)
        stranger.send(b"hello")
        run(bob, until=heard(bob, number))
        stranger.close()
        keys.append(program.key)
        bob.turn(0.05)
    other.close()
    assert [up.curve_key for up in bob.ups] == keys
    assert [type(event) for event in bob.events] == [LinkUp, Received, LinkDown, LinkUp, Received]
    assert bob.downs[0].link == bob.ups[0].link
    assert bob.downs[0].reason is DownReason.LOST


def test_a_routing_id_in_use_cannot_be_taken_over(tcp: Network, raw: Raw) -> None:
    """Whoever announces the id of another does not get what is sent to it."""
    bob = tcp.node()
    endpoint = bob.transport.listen(tcp.endpoint())
    owner = raw.zmq_socket(zmq.DEALER, bob.key)
    thief = raw.zmq_socket(zmq.DEALER, bob.key)
    for stranger in (owner, thief):
        stranger.routing_id = b"same"
        with stranger.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as watch:
            stranger.connect(endpoint)
            run(bob, until=partial(watch.poll, 0))
            stranger.disable_monitor()
        stranger.send(b"mine")
        run(bob, until=bob.received)
    bob.transport.send(bob.ups[0].link, [b"secret"])
    run(bob, until=lambda: owner.poll(0))
    assert not thief.poll(0)
    assert len(bob.ups) == 1


def test_a_routing_id_that_is_free_again_does_not_make_another_the_peer(
    tcp: Network, raw: Raw
) -> None:
    """TRN-3: what the second one sends is not the first's, though his link has not ended yet."""
    bob = tcp.node(bounds=SocketLimits(grace_s=60.0))
    endpoint = bob.transport.listen(tcp.endpoint())
    owner, other = (raw.zmq_socket(zmq.DEALER, bob.key) for _ in range(2))
    other.curve_secretkey, other.curve_publickey = curve_pair()
    owner.routing_id = other.routing_id = b"same"
    owner.connect(endpoint)
    owner.send(b"mine")
    run(bob, until=bob.received)
    owner.close()
    transport: Any = bob.transport
    (listener,) = transport._listeners  # noqa: SLF001
    run(bob, until=lambda: not listener._by_fd)  # noqa: SLF001  # It has heard of the end.
    other.connect(endpoint)
    other.send(b"not his")
    run(bob, until=lambda: len(bob.received()) == 2)
    first, second = bob.ups
    assert first.curve_key == raw.key != second.curve_key
    assert bob.received(first.link) == [(b"mine",)]
    assert [down.link for down in bob.downs] == [first.link]


def test_a_user_id_that_a_peer_gives_itself_is_ignored(null: Network, raw: Raw) -> None:
    bob = null.node()
    endpoint = bob.transport.listen(null.endpoint())
    ready = READY + b"\x07User-Id" + struct.pack(">I", 64) + b"aa" * 32
    client = null_client(raw, bob, endpoint, ready)
    client.sendall(frame(LAST, b"x"))
    run(bob, until=bob.received)
    assert bob.ups[0].curve_key is None


def test_a_peer_that_dies_within_a_message_breaks_nothing(null: Network, raw: Raw) -> None:
    pair = join(null)
    client = null_client(raw, pair.bob, pair.endpoint)
    client.sendall(frame(LAST, b"whole") + frame(MORE, b"half"))
    pair.run(lambda: len(pair.bob.ups) == 2)
    client.close()
    pair.run(lambda: pair.bob.downs)
    pair.alice.transport.send(pair.at_alice, [b"head", b"body"])
    pair.run(lambda: (b"head", b"body") in pair.bob.received(pair.at_bob))
    assert pair.bob.received(pair.bob.ups[1].link) == [(b"whole",)]


def test_a_peer_that_was_gone_before_it_was_heard_is_lost_too(null: Network, raw: Raw) -> None:
    bob = null.node()
    endpoint = bob.transport.listen(null.endpoint())
    first = null_client(raw, bob, endpoint)
    first.sendall(frame(LAST, b"1") + frame(LAST, b"2"))
    first.shutdown(socket.SHUT_WR)
    assert first.recv(1000) == b""  # libzmq has read it all, and has closed its side.
    run(bob, until=lambda: bob.downs)
    assert [type(event) for event in bob.events] == [LinkUp, Received, Received, LinkDown]


def test_connections_that_follow_each_other_on_one_descriptor_are_told_apart(
    null: Network, raw: Raw
) -> None:
    """The next connection often has the descriptor of the last, which says who hung up."""
    bob = null.node()
    endpoint = bob.transport.listen(null.endpoint())
    for number in range(1, 6):
        gone = null_client(raw, bob, endpoint)
        gone.sendall(frame(LAST, b"gone"))
        gone.close()
        stays = null_client(raw, bob, endpoint)
        stays.sendall(frame(LAST, b"stays"))
        run(bob, until=lost(bob, 2 * number - 1))
        assert bob.transport.send(bob.ups[-1].link, [b"you there"])
        stays.close()
        run(bob, until=lost(bob, 2 * number))
    for up in bob.ups:
        assert len(bob.received(up.link)) == 1


def test_a_send_to_a_peer_that_has_just_gone_is_refused_once(tcp: Network) -> None:
    pair = join(tcp)
    pair.alice.transport.close()
    deadline = time.monotonic() + 10.0
    while pair.bob.transport.send(pair.at_bob, [b"x"]):
        assert time.monotonic() < deadline
    run(pair.bob, until=lambda: pair.bob.downs)
    assert [(down.link, down.reason) for down in pair.bob.downs] == [(pair.at_bob, DownReason.LOST)]


def test_nobody_is_admitted_while_the_node_does_not_ask_for_news(tcp: Network) -> None:
    """It fails closed: without an answer to ZAP there is no handshake."""
    alice, bob = tcp.node(bounds=HASTY), tcp.node()
    endpoint = bob.transport.listen(tcp.endpoint())
    assert verdict(alice, endpoint, bob.key)[0] is DownReason.NOT_ZP2P


def test_nobody_is_admitted_where_there_is_nobody_to_ask(tcp: Network, raw: Raw) -> None:
    """Libzmq would let every key in if the domain were not enforced."""
    alice, bob = tcp.node(), tcp.node()
    endpoint = bob.transport.listen(tcp.endpoint())
    made: Any = bob.transport
    made._zap.close()  # noqa: SLF001
    elsewhere, reactor = raw.context, made._reactor  # noqa: SLF001
    made._zap = ZapHandler(elsewhere, reactor, admit_everyone, curve=True)  # noqa: SLF001
    link = alice.transport.dial(endpoint, bob.key)
    run(alice, bob, until=lambda: alice.downs or alice.ups)
    assert [down.link for down in alice.downs] == [link]
    assert alice.ups == bob.ups == []


def storm(endpoint: str) -> None:
    """Cause more monitor events than libzmq holds; its I/O thread stops at some 2,000."""
    port = int(endpoint.rpartition(":")[2])
    for _ in range(1_200):
        with socket.socket() as stranger:
            stranger.connect(("127.0.0.1", port))
            stranger.send(b"GET / HTTP/1.1\r\n\r\n")


def test_a_stranger_causes_two_events_and_no_more(raw: Raw) -> None:
    """Of some 2,000 unread ones libzmq's thread stops: a turn may take a while."""
    reactor = Reactor()
    watched = raw.zmq_socket(zmq.ROUTER)
    monitor = Monitor(raw.context, reactor, watched, LISTEN_EVENTS)
    port = watched.bind_to_random_port("tcp://127.0.0.1", 10_000, 32_000)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.send(b"GET / HTTP/1.1\r\n\r\n")
    told: list[int] = []
    give_up_at = time.monotonic() + 10.0
    while told.count(int(zmq.EVENT_DISCONNECTED)) < 20:
        assert time.monotonic() < give_up_at
        told += [event for event, _ in monitor.drain()]
    assert told.count(int(zmq.EVENT_LISTENING)) == 1  # The socket's own.
    assert len(told) == 40 + 1
    monitor.close()
    reactor.close()


def test_a_storm_of_strangers_does_not_stop_the_node(tcp: Network) -> None:
    """Whoever dials from the same address as they do is let in, if they may come so fast."""
    alice = tcp.node()
    bob = tcp.node(
        bounds=SocketLimits(connects_per_s_per_source=1e6, connects_burst_per_source=10**6)
    )
    endpoint = bob.transport.listen(tcp.endpoint())
    storm(endpoint)
    dial(alice, bob, endpoint)
    assert bob.ups == []


def test_a_node_can_be_closed_amid_a_storm_of_strangers(tcp: Network) -> None:
    bob = tcp.node()
    storm(bob.transport.listen(tcp.endpoint()))
    started = time.monotonic()
    bob.transport.close()
    assert time.monotonic() < started + 2.0


BATCH = b"\xdc\x01\x00" + bytes(256)  # As DATA with 256 messages: three are a turn.


def test_what_guests_say_waits_and_what_contacts_say_does_not(
    tcp: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While there are others. What waits is in tests/unit/test_transport_news.py."""
    held: list[LinkId] = []

    def hold(told: News, event: LinkUp | Received, work_us: int, backlog: Backlog) -> None:
        held.append(event.link)
        hold_it(told, event, work_us, backlog)

    hold_it = News.hold
    monkeypatch.setattr(News, "hold", hold)
    pair = join(tcp)
    bob, guest = pair.bob, tcp.node()
    assert held == [pair.at_bob]  # It came up; else it was alone.
    at_guest = dial(guest, bob, pair.endpoint)

    def say_something() -> list[LinkId]:
        """Both say something; return of whom it waited."""
        expected = len(bob.received()) + 2
        held.clear()
        assert pair.alice.transport.send(pair.at_alice, (b"a",))
        assert guest.transport.send(at_guest, (b"g",))
        run(pair.alice, bob, guest, until=lambda: len(bob.received()) == expected)
        return sorted(held)

    say_something()
    assert say_something() == [pair.at_bob, bob.ups[1].link]
    bob.transport.trust(pair.at_bob)
    assert say_something() == [bob.ups[1].link]


class Overfull:
    """Bob, who is told in a turn a tenth of what may wait; Alice and a guest have dialed him."""

    def __init__(self, network: Network, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(news, "HELD_MAX_US", 10 * TURN_SHARED_MAX_WORK_US)
        self.most = 0  # Work, of one turn.
        self.pair = join(network, bounds=SocketLimits(grace_s=1e-6))
        self.bob, self.guest = self.pair.bob, network.node()
        self.at_guest = dial(self.guest, self.bob, self.pair.endpoint)
        assert self.guest.transport.send(self.at_guest, (b"g",))
        run(self.guest, self.bob, until=lambda: len(self.bob.received()) == 2)
        self.link = self.bob.ups[1].link
        self.said = 1
        listeners = self.bob.transport._listeners  # type: ignore[attr-defined]  # noqa: SLF001
        self.backlog: Backlog = listeners[0]._backlog  # noqa: SLF001  # What it is about.

    def say(self, count: int) -> None:
        """Let the guest say so much that is dear."""
        for _ in range(count):
            number = self.said.to_bytes(4)
            assert self.guest.transport.send(self.at_guest, (number, BATCH))
            self.said += 1

    def turn(self) -> None:
        """Give Bob a turn."""
        before = len(self.bob.events)
        self.bob.turn()
        told = [each for each in self.bob.events[before:] if isinstance(each, Received)]
        self.most = max(self.most, sum(work_us(each.frames) for each in told))
        assert self.backlog.work_us <= news.HELD_MAX_US

    def fill(self) -> None:
        """Have the guest's frames wait until no more are read."""
        self.say(400)
        give_up_at = time.monotonic() + PATIENCE_S
        nearly = news.HELD_MAX_US - TURN_SHARED_MAX_WORK_US  # What a turn tells is told then.
        while self.backlog.work_us < nearly:
            assert time.monotonic() < give_up_at
            self.guest.turn(0.0)
            self.turn()

    def heard(self) -> int:
        """Return how much Bob was told of what the guest has said, in its order."""
        frames = self.bob.received(self.link)[1:]
        assert [each[0] for each in frames] == [n.to_bytes(4) for n in range(1, len(frames) + 1)]
        return len(frames) + 1


@pytest.fixture
def overfull(tcp: Network, monkeypatch: pytest.MonkeyPatch) -> Overfull:
    return Overfull(tcp, monkeypatch)


def test_nothing_is_read_of_a_listener_while_too_much_waits(overfull: Overfull) -> None:
    """And it is read when there is room again: nothing is lost, and a turn is short."""
    overfull.fill()
    assert overfull.heard() < overfull.said
    while overfull.heard() < overfull.said:
        overfull.turn()
    assert overfull.most < 2 * TURN_SHARED_MAX_WORK_US


def test_guests_at_one_listener_do_not_close_the_other_one(
    overfull: Overfull, tcp: Network
) -> None:
    contact, bob = tcp.node(), overfull.bob
    other = bob.transport.listen("tcp://127.0.0.1:0")
    at_contact = contact.transport.dial(other, bob.key)
    run(contact, bob, until=lambda: contact.ups)
    assert contact.transport.send(at_contact, (b"c",))
    run(contact, bob, until=lambda: len(bob.ups) == 3)
    bob.transport.trust(bob.ups[2].link)
    for expected in range(2, 8):
        overfull.fill()
        assert contact.transport.send(at_contact, (b"c",))
        before = overfull.heard()
        while len(bob.received(bob.ups[2].link)) < expected:
            overfull.say(4)
            overfull.guest.turn(0.0)
            contact.turn(0.0)
            overfull.turn()
        assert overfull.heard() >= before


def test_a_guest_that_is_found_to_be_a_contact_is_told_first_but_makes_no_turn_long(
    overfull: Overfull,
) -> None:
    alice, bob, other = overfull.pair.alice, overfull.bob, overfull.pair.at_bob
    queues = bob.transport._links.news._queues  # type: ignore[attr-defined]  # noqa: SLF001
    for _ in range(400):
        assert alice.transport.send(overfull.pair.at_alice, (b"a", BATCH))
    overfull.say(400)
    many = [overfull.link, other]

    def waiting() -> bool:
        return all(each in queues and len(queues[each].events) > 4 for each in many)

    run(alice, overfull.guest, bob, until=waiting)
    bob.transport.trust(overfull.link)
    before = overfull.heard(), len(bob.received(other))
    overfull.turn()
    told = overfull.heard() - before[0], len(bob.received(other)) - before[1]
    assert told == (4, 1)  # Without trust it would be two of each.
    while overfull.heard() < overfull.said:
        overfull.turn()
    assert overfull.most < 2 * TURN_SHARED_MAX_WORK_US


def test_a_send_that_fails_is_the_end_of_the_link_whatever_waits_of_it(overfull: Overfull) -> None:
    overfull.fill()
    bob, before = overfull.bob, overfull.heard()
    while bob.transport.send(overfull.link, (bytes(2_000),)):
        pass
    overfull.turn()
    assert bob.downs == [LinkDown(overfull.link, DownReason.CONGESTED, CONGESTED.detail)]
    assert overfull.heard() == before


def test_what_comes_over_a_link_that_was_closed_takes_time_too(
    overfull: Overfull, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped, but it was read."""
    read: list[int] = []
    monkeypatch.setattr(Portion, "add", lambda _, work_us: read.append(work_us))
    overfull.bob.transport.close_link(overfull.link)
    for _ in range(10):
        assert overfull.guest.transport.send(overfull.at_guest, (b"g", bytes(100_000)))
    run(overfull.guest, overfull.bob, until=lambda: len(read) == 10)
    assert min(read) > 100
    assert overfull.heard() == 1


def test_what_a_guest_said_before_it_hung_up_is_told_first(overfull: Overfull) -> None:
    overfull.fill()
    overfull.say(1)
    overfull.guest.transport.close_link(overfull.at_guest)
    while not overfull.bob.downs:
        overfull.turn()
    assert overfull.heard() == overfull.said
    assert overfull.bob.downs[0].reason is DownReason.LOST


def test_a_link_that_comes_while_others_wait_is_told_with_its_first_message(
    overfull: Overfull, tcp: Network
) -> None:
    """Its time to say HELLO begins then."""
    overfull.fill()
    late, bob = tcp.node(), overfull.bob
    at_late = late.transport.dial(overfull.pair.endpoint, bob.key)
    while not late.ups:
        late.turn(0.0)
        overfull.turn()
    overfull.fill()
    assert late.transport.send(at_late, (b"l",))
    while len(bob.ups) < 3:
        overfull.say(4)
        overfull.guest.turn(0.0)
        late.turn(0.0)
        overfull.turn()
    assert (b"l",) in bob.received(bob.ups[2].link)


def test_a_link_that_waits_when_the_key_is_replaced_is_of_the_former_one(tcp: Network) -> None:
    pair = join(tcp)
    bob, guest = pair.bob, tcp.node()
    at_guest = dial(guest, bob, pair.endpoint)
    assert guest.transport.send(at_guest, (b"g",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(News, "take", lambda _news, _most_us: [])
        waiting = bob.transport._links.news  # type: ignore[attr-defined]  # noqa: SLF001
        run(guest, bob, until=lambda: waiting)
    bob.transport.rekey(CurvePair(*curve_pair()), [pair.endpoint], lambda: None)
    run(bob, until=lambda: len(bob.ups) == 2)
    assert [up.former for up in bob.ups] == [False, True]


# --- Endpoints ----------------------------------------------------------------------------------


def test_a_port_of_choice_is_not_one_that_a_dial_may_get(tcp: Network) -> None:
    endpoint = tcp.node().transport.listen("tcp://127.0.0.1:0")
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert 10_000 <= int(endpoint.rpartition(":")[2]) < lowest


@pytest.mark.parametrize(
    ("listen", "reach"),
    [
        ("tcp://*:0", "tcp://127.0.0.1"),
        ("tcp://0.0.0.0:0", "tcp://localhost"),
        ("tcp://localhost:0", "tcp://127.0.0.1"),
        ("tcp://[::]:0", "tcp://127.0.0.1"),
        ("tcp://[::]:0", "tcp://[::1]"),
    ],
)
def test_wildcards_and_localhost_can_be_listened_at(listen: str, reach: str, tcp: Network) -> None:
    alice, bob = tcp.node(), tcp.node()
    real = bob.transport.listen(listen)
    assert real.rpartition(":")[0] == listen.rpartition(":")[0]
    link = dial(alice, bob, f"{reach}:{real.rpartition(':')[2]}")
    alice.transport.send(link, [b"x"])
    run(alice, bob, until=bob.received)
    assert bob.ups[0].remote == ("::1" if "::1" in reach else "127.0.0.1")


def test_an_address_that_is_not_ours_cannot_be_listened_at(tcp: Network) -> None:
    for endpoint in ("tcp://192.0.2.1:0", "tcp://192.0.2.1:12345", "ipc:///no/such/folder/socket"):
        with pytest.raises(EndpointError, match=endpoint):
            tcp.node().transport.listen(endpoint)


def test_the_socket_file_of_a_dead_process_is_no_matter(tcp: Network, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    alice, bob = tcp.node(), tcp.node()
    dial(alice, bob, bob.transport.listen(f"ipc://{path}"))
    bob.transport.close()
    assert not path.exists()


def test_a_file_that_is_no_socket_is_not_removed(tcp: Network, tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("dear Bob")
    with pytest.raises(EndpointError, match="no socket"):
        tcp.node().transport.listen(f"ipc://{path}")
    assert path.read_text() == "dear Bob"


def test_a_listener_with_a_full_backlog_is_alive(tcp: Network, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(path)
        busy.listen(0)
        for _ in range(3):
            caller = stack.enter_context(socket.socket(socket.AF_UNIX))
            caller.setblocking(False)
            caller.connect_ex(path)
        with pytest.raises(EndpointError, match="in use"):
            tcp.node().transport.listen(f"ipc://{path}")


def test_an_ipc_socket_of_another_kind_is_left_alone(tcp: Network, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(EndpointError, match=str(path)):
            tcp.node().transport.listen(f"ipc://{path}")
    assert path.exists()


def test_an_ipc_path_through_a_file_is_refused(tcp: Network, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EndpointError, match="Not a directory"):
        tcp.node().transport.listen(f"ipc://{tmp_path}/file/socket")


@pytest.mark.parametrize("endpoint", ["tcp://*:0", "tcp://0.0.0.0:0", "tcp://[::]:0"])
def test_without_curve_the_node_stays_on_this_machine(endpoint: str, null: Network) -> None:
    node = null.node()
    with pytest.raises(EndpointError, match="this machine only"):
        node.transport.listen(endpoint)
    with pytest.raises(EndpointError, match="this machine only"):
        node.transport.dial("tcp://192.0.2.1:9000", node.key)


def test_without_curve_other_machines_must_be_asked_for(tmp_path: Path) -> None:
    secret, public = curve_pair()
    transport = ZmqTransport(
        curve_secret=secret, curve_public=public, security="none", allow_insecure_remote=True
    )
    with closing(transport):
        assert transport.listen("tcp://0.0.0.0:0").startswith("tcp://0.0.0.0:")
        assert transport.listen(f"ipc://{tmp_path}/socket")


# --- Keys, descriptors, processes ---------------------------------------------------------------


def test_keys_and_security_are_checked() -> None:
    secret, public = curve_pair()
    _, foreign = curve_pair()
    wrong: list[tuple[str, bytes, CurveKey, str]] = [
        ("curve_secret", b"short", public, "curve"),
        ("curve_public", secret, CurveKey(b"short"), "curve"),
        ("curve_public", secret, foreign, "none"),
        ("security", secret, public, "plain"),
    ]
    for named, one, other, security in wrong:
        level: Security = security  # type: ignore[assignment]
        with pytest.raises(InvalidValue, match=named):
            ZmqTransport(curve_secret=one, curve_public=other, security=level)


def threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Have every attempt to open something fail after ``count`` of them.

    With 0 also where something is closed meanwhile: the lowest numbers are all in use.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probes = [os.dup(0) for _ in range(count + 1)]  # The lowest free numbers.
    for probe in probes:
        os.close(probe)
    limit = probes[-1] if count else 3  # Not 0: then poll(2) fails, and libzmq aborts.
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def bare_parts() -> Iterator[Shared]:
    """Give what the sockets of a transport share, without the transport."""
    shared = Shared(
        make_context(), Reactor(), Links(), SocketLimits(), None, Arrivals(SocketLimits(), 1_000)
    )
    yield shared
    shared.reactor.close()
    shared.context.destroy()


def test_close_leaves_no_descriptor_no_thread_and_no_file(tmp_path: Path, raw: Raw) -> None:
    silent = raw.tcp_listener(say_nothing)
    suspect = raw.tcp_listener(hang_up_once)
    gc.collect()
    before = open_descriptors(), threads()
    network = Network("ipc", tmp_path)
    for _ in range(3):
        pair = join(network)
        pair.alice.transport.dial(silent, raw.key)
        pair.alice.transport.dial(suspect, raw.key)
        pair.alice.transport.dial("ipc:///nobody", raw.key)
        pair.alice.turn(0.05)
    network.close()
    raw.close()
    gc.collect()
    assert open_descriptors() <= before[0]
    assert threads() <= before[1]
    assert list(tmp_path.iterdir()) == []


def test_dialing_and_hanging_up_leaks_nothing(tcp: Network) -> None:
    pair = join(tcp)
    counts = []
    for number in range(1, 4):
        for _ in range(20):
            link = dial(pair.alice, pair.bob, pair.endpoint)
            pair.alice.transport.send(link, [b"x"])  # Who says nothing may not come so often.
            pair.alice.transport.close_link(link)
        dead = pair.alice.transport.dial("tcp://127.0.0.1:9", pair.bob.key)
        pair.run(lost(pair.alice, number))
        assert pair.alice.downs[-1].link == dead
        counts.append(open_descriptors())
    pair.run(lambda: open_descriptors() <= counts[0] + 4)  # libzmq's threads close a bit later.


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_node_without_descriptors_left_fails_to_dial_and_goes_on(
    count: int, tcp: Network
) -> None:
    """Whatever it is that cannot be opened any more: a socket, its monitor, the connection."""
    pair = join(tcp)
    with descriptors_left(count):
        link = pair.alice.transport.dial(pair.endpoint, pair.bob.key)
        run(pair.alice, until=lambda: pair.alice.downs)
    assert [(down.link, down.reason) for down in pair.alice.downs] == [
        (link, DownReason.UNREACHABLE)
    ]
    dial(pair.alice, pair.bob, pair.endpoint)


def test_a_dial_that_fails_at_once_is_told_at_once(tcp: Network) -> None:
    node = tcp.node()
    node.turn(0)
    with descriptors_left(0):
        node.transport.dial("tcp://127.0.0.1:9", node.key)
        started = time.monotonic()
        node.turn(5.0)
    assert node.downs
    assert time.monotonic() < started + 2.0


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_node_without_descriptors_left_fails_to_listen_and_says_so(
    count: int, tcp: Network
) -> None:
    node = tcp.node()
    with (
        descriptors_left(count),
        pytest.raises(EndpointError, match="Too many open files"),
    ):
        node.transport.listen("tcp://127.0.0.1:0")
    assert node.transport.listen("tcp://127.0.0.1:0")


def test_a_dial_that_cannot_be_probed_ends_too(tcp: Network, raw: Raw) -> None:
    hung_up = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        hang_up(connection, number)
        hung_up.set()

    node = tcp.node()
    endpoint = raw.tcp_listener(serve)
    link = node.transport.dial(endpoint, raw.key)
    hung_up.wait()
    with descriptors_left(0):
        run(node, until=lambda: node.downs)
    assert [(down.link, down.reason) for down in node.downs] == [(link, DownReason.NOT_ZP2P)]


def test_a_port_that_is_taken_is_passed_over() -> None:
    with bare_parts() as shared:
        first = Listener(shared, parse_listen("tcp://127.0.0.1:0"), listen_ports(64))
        busy = first.endpoint.port
        free = next(port for port in listen_ports(2) if port != busy)
        second = Listener(shared, parse_listen("tcp://127.0.0.1:0"), [busy, free])
        assert second.endpoint.port == free
        with pytest.raises(EndpointError, match="no free port"):
            Listener(shared, parse_listen("tcp://127.0.0.1:0"), [busy, free])
        first.close()
        second.close()


def test_an_error_that_nobody_expects_is_not_taken_for_a_lost_peer() -> None:
    with bare_parts() as shared:
        listener = Listener(shared, parse_listen("tcp://127.0.0.1:0"), listen_ports(64))
        listener.close()
        with pytest.raises(zmq.ZMQError, match=r"not a socket|non-socket"):
            listener.send(b"id", [b"x"])


def test_a_flood_of_handshakes_leaves_other_sockets_their_turn() -> None:
    request = [b"1.0", b"7", b"zmqp2p", b"192.0.2.1", b"", b"CURVE", bytes(32)]
    with bare_parts() as shared:
        handler = ZapHandler(shared.context, shared.reactor, admit_everyone, curve=True)
        with shared.context.socket(zmq.DEALER) as asker:
            asker.connect("inproc://zeromq.zap.01")
            for _ in range(300):
                asker.send_multipart([b"", *request])
            assert handler.serve()
            assert not handler.serve()
            assert [asker.recv_multipart()[3] for _ in range(300)] == [b"200"] * 300
        handler.close()


def test_a_greeting_may_come_in_pieces() -> None:
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        endpoint = parse_listen(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        with closing(GreetingProbe(endpoint)) as probe:
            connection, _ = listener.accept()
            with connection:
                assert probe.advance() is None
                assert probe.sent
                for piece in (greeting[:10], greeting[10:31]):
                    connection.sendall(piece)
                    select.select([probe.fd], [], [], 10.0)
                    assert probe.advance() is None
                    assert probe.advance() is None  # Nothing new.
                connection.sendall(greeting[31:])
                select.select([probe.fd], [], [], 10.0)
                assert probe.advance() == WRONG_KEY


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_cannot_use_the_transport(tcp: Network) -> None:
    """It would seem to work there, and nothing would leave."""
    pair = join(tcp)
    transport = pair.alice.transport
    calls: list[Callable[[], object]] = [
        lambda: transport.wait(0),
        lambda: transport.send(pair.at_alice, [b"x"]),
        lambda: transport.close_link(pair.at_alice),
        lambda: transport.listen("tcp://127.0.0.1:0"),
        lambda: transport.dial(pair.endpoint, pair.bob.key),
        transport.wake,
        transport.close,
    ]
    child = os.fork()
    if child == 0:
        refused = 0
        for call in calls:
            try:
                call()
            except ServiceClosed:
                refused += 1
        os._exit(0 if refused == len(calls) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert transport.send(pair.at_alice, [b"the parent goes on"])
    pair.run(lambda: len(pair.bob.received()) == 2)


ROUTING_ID_PROGRAM = """
import zmq
from zmqp2p.transport.options import seed_routing_ids
seed_routing_ids()
context = zmq.Context()
router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
router.bind("inproc://x")
dealer.connect("inproc://x")
dealer.send(b"")
print(router.recv().hex())
context.destroy(linger=0)
"""


def test_routing_ids_differ_from_process_to_process() -> None:
    """Those of libzmq are the same in every process: who guesses the next one can squat it."""
    ids = [
        subprocess.run(
            [sys.executable, "-c", ROUTING_ID_PROGRAM], check=True, capture_output=True, timeout=30
        ).stdout
        for _ in range(2)
    ]
    assert ids[0] != ids[1]


def test_link_ids_are_never_used_twice(tcp: Network) -> None:
    node = tcp.node()
    links: list[LinkId] = []
    for _ in range(20):
        links.append(node.transport.dial("tcp://127.0.0.1:9", node.key))
        node.transport.close_link(links[-1])
    assert len(set(links)) == 20
