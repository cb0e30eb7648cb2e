"""Strangers who take what a node has little of: connections, descriptors, memory."""

import errno
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from tests.real.hostile.raw import NULL_GREETING, READY, zmtp_frame
from tests.real.parties import PATIENCE_S, Note, Parties
from tests.real.transport_harness import (
    Network,
    Node,
    curve_pair,
    dial,
    open_descriptors,
    run,
)
from zmqp2p.limits import KIB, MIB
from zmqp2p.records import PeerRecord
from zmqp2p.transport import listener
from zmqp2p.transport.arrivals import Arrivals
from zmqp2p.transport.descriptors import bytes_read
from zmqp2p.transport.options import SocketLimits
from zmqp2p.transport.turnstile import TurnedBack, Turnstile
from zmqp2p.wire.link import Received, TurnedAway


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[Network]:
    made = Network("tcp4", tmp_path)
    yield made
    made.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Network]:
    made = Network("none", tmp_path)
    yield made
    made.close()


@pytest.fixture
def strangers() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def turned_away(node: Node) -> list[TurnedAway]:
    """Return what the node has said of connections that were shut down."""
    return [event for event in node.events if isinstance(event, TurnedAway)]


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def connect(strangers: ExitStack, endpoint: str, source: str = "127.0.0.1") -> socket.socket:
    """Open a connection that says nothing."""
    address = ("127.0.0.1", port_of(endpoint))
    made = strangers.enter_context(
        socket.create_connection(address, PATIENCE_S, source_address=(source, 0))
    )
    made.settimeout(PATIENCE_S)
    return made


def knock(strangers: ExitStack, endpoint: str, source: str) -> socket.socket:
    """Begin to connect; on loopback that is over at once, or the system has dropped it."""
    made = strangers.enter_context(socket.socket())
    made.bind((source, 0))
    made.setblocking(False)
    assert made.connect_ex(("127.0.0.1", port_of(endpoint))) == errno.EINPROGRESS
    return made


def curve_dealer(
    strangers: ExitStack, node: Node, endpoint: str
) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """Return a DEALER with a key of its own that connects to ``node`` once, and its monitor."""
    context = zmq.Context()
    strangers.callback(context.destroy, 0)
    secret, public = curve_pair()
    dealer = context.socket(zmq.DEALER)
    dealer.set(zmq.RECONNECT_IVL, -1)
    dealer.curve_serverkey = z85.encode(node.key)
    dealer.curve_publickey, dealer.curve_secretkey = z85.encode(public), z85.encode(secret)
    events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
    monitor = dealer.get_monitor_socket(events)
    strangers.callback(dealer.close, 0)
    strangers.callback(monitor.close, 0)
    dealer.connect(endpoint)
    return dealer, monitor


def drained(stranger: socket.socket) -> bool:
    """Read what the node says until it closes; False if it does not in time."""
    try:
        while stranger.recv(64 * KIB):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_a_peer_that_is_authenticated_and_mute_does_not_stay(
    tcp: Network, strangers: ExitStack
) -> None:
    """A ROUTER tells nothing of who sends nothing, and libzmq bounds only the handshake."""
    bob = tcp.node(bounds=SocketLimits(first_message_s=0.4))
    endpoint = bob.transport.listen(tcp.endpoint())
    up = 0
    monitors = [curve_dealer(strangers, bob, endpoint)[1] for _ in range(8)]
    run(bob, until=lambda: sum(each.count for each in turned_away(bob)) == 8)
    for monitor in monitors:
        assert monitor.poll(int(PATIENCE_S * 1000))
        monitor.recv_multipart()
        up += 1
        assert monitor.poll(int(PATIENCE_S * 1000))  # And then its end.
    assert up == 8
    assert {each.why for each in turned_away(bob)} == {"no message in time"}
    assert bob.ups == []


def test_a_stranger_who_never_speaks_zmtp_does_not_stay(tcp: Network, strangers: ExitStack) -> None:
    bob = tcp.node(bounds=SocketLimits(first_message_s=0.3))
    silent = connect(strangers, bob.transport.listen(tcp.endpoint()))
    run(bob, until=lambda: turned_away(bob))
    assert drained(silent)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is shut down, again and again")
def test_a_source_that_connects_too_fast_does_not_get_through_for_a_while(
    tcp: Network, strangers: ExitStack
) -> None:
    """Each connection costs libzmq's one thread, even one that is shut down at once."""
    bounds = SocketLimits(connects_per_s_per_source=100.0, connects_burst_per_source=2)
    bob = tcp.node(bounds=bounds)
    endpoint = bob.transport.listen(tcp.endpoint())
    flood = [connect(strangers, endpoint, "127.0.0.2") for _ in range(3)]
    run(bob, until=lambda: turned_away(bob))
    assert drained(flood[-1])
    dropped = knock(strangers, endpoint, "127.0.0.2")
    other = connect(strangers, endpoint, "127.0.0.3")  # Later, and it is there.
    assert other.getpeername()
    with pytest.raises(OSError, match="not connected"):
        dropped.getpeername()
    assert turned_away(bob) == [TurnedAway("127.0.0.2", "too fast from one source", 1)]
    run(bob, until=lambda: connected(dropped))  # TCP has tried again.


def come_and_go(endpoint: str, source: str) -> None:
    """Connect and reset: whose that was the system cannot say any more."""
    with ExitStack() as held:
        made = knock(held, endpoint, source)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def come_and_go_unseen(count: int, endpoint: str, source: str) -> None:
    """As many connections come, and are over for libzmq, too."""
    before = open_descriptors()
    for _ in range(count):
        come_and_go(endpoint, source)
    run(until=lambda: open_descriptors() <= before)


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors as Linux tells them")
def test_what_came_and_went_is_not_taken_for_who_has_its_descriptor_now(
    tcp: Network, strangers: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples: list[str] = []

    def turn_back(self: Turnstile, most: int, another: Callable[[TurnedBack], bool]) -> None:
        assert len(self.shunned) < most
        samples.append("127.0.1.0")
        while another(TurnedBack(samples[-1], over=True)):
            samples.append(f"127.0.1.{len(samples)}")

    monkeypatch.setattr(Turnstile, "turn_back", turn_back)
    bob = tcp.node(
        bounds=SocketLimits(connects_per_s_per_source=0.001, connects_burst_per_source=20)
    )
    endpoint = bob.transport.listen(tcp.endpoint())
    come_and_go_unseen(30, endpoint, "127.0.0.2")
    honest = connect(strangers, endpoint, "127.0.0.3")
    honest.setblocking(False)
    run(bob, until=lambda: turned_away(bob))
    told = Counter({each.source: each.count for each in turned_away(bob)})
    assert told.pop("unknown") == 28
    assert set(told) == set(samples)
    assert 20 < len(samples) <= 29  # As many as are heard of at once, and one more.
    with pytest.raises(BlockingIOError):  # It is not over.
        drained(honest)


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors as Linux tells them")
def test_that_connections_came_and_went_is_told_though_nobody_else_comes(
    tcp: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    told = Arrivals.told

    def noted(self: Arrivals) -> list[TurnedAway]:
        asked.append(self)
        return told(self)

    monkeypatch.setattr(Arrivals, "told", noted)
    bob = tcp.node(
        bounds=SocketLimits(connects_per_s_per_source=0.001, connects_burst_per_source=20)
    )
    come_and_go_unseen(3, bob.transport.listen(tcp.endpoint()), "127.0.0.2")
    run(bob, until=lambda: turned_away(bob))
    assert turned_away(bob) == [TurnedAway("unknown", "too fast from one source", 1)]
    bob.turn(0.2)
    assert len(asked) == 1  # There is nothing to look after.


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors as Linux tells them")
def test_of_ipc_it_is_known_whose_that_was(tmp_path: Path) -> None:
    with closing(Network("ipc", tmp_path)) as ipc:
        bob = ipc.node(
            bounds=SocketLimits(connects_per_s_per_source=0.001, connects_burst_per_source=20)
        )
        path = bob.transport.listen(ipc.endpoint()).removeprefix("ipc://")
        before = open_descriptors()
        for _ in range(30):
            with socket.socket(socket.AF_UNIX) as made:
                made.connect(path)
        run(until=lambda: open_descriptors() <= before)
        run(bob, until=lambda: turned_away(bob))
        assert turned_away(bob) == [TurnedAway("localhost", "too fast from one source", 10)]


@pytest.mark.parametrize(("too_many", "is_turned_back"), [(3, False), (4, True)])
def test_after_more_than_a_few_that_come_too_fast_what_waits_is_turned_back(
    tcp: Network,
    strangers: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
    *,
    too_many: int,
    is_turned_back: bool,
) -> None:
    told: list[bool] = []

    def turn_back(self: Turnstile, most: int, another: Callable[[TurnedBack], bool]) -> None:
        assert most
        assert self.shunned == {"127.0.0.2"}
        told.extend(another(TurnedBack("127.0.0.3", over=True)) for _ in range(4))
        assert self.shunned == {"127.0.0.2", "127.0.0.3"}

    monkeypatch.setattr(Turnstile, "turn_back", turn_back)
    monkeypatch.setattr(listener, "_FEW", (0.001, 3.0))
    bob = tcp.node(
        bounds=SocketLimits(connects_per_s_per_source=0.001, connects_burst_per_source=2)
    )
    endpoint = bob.transport.listen(tcp.endpoint())
    for _ in range(2 + too_many):
        connect(strangers, endpoint, "127.0.0.2")
    run(bob, until=lambda: sum(each.count for each in turned_away(bob)) >= too_many)
    dial(tcp.node(), bob, endpoint)
    # Once, and each stands for itself: it is known who was too fast.
    assert told == ([False, False, True, True] if is_turned_back else [])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is kept away")
def test_who_is_gone_before_anybody_looks_is_found_among_those_that_wait(
    tcp: Network, strangers: ExitStack
) -> None:
    bounds = SocketLimits(connects_per_s_per_source=1.0, connects_burst_per_source=20)
    bob = tcp.node(bounds=bounds)
    endpoint = bob.transport.listen(tcp.endpoint())

    def told() -> Counter[tuple[str, str]]:
        counts = Counter[tuple[str, str]]()
        for each in turned_away(bob):
            counts[each.source, each.why] += each.count
        return counts

    def found() -> bool:
        for _ in range(50):
            come_and_go(endpoint, "127.0.0.2")
        return ("127.0.0.2", "too fast from one source") in told()

    run(bob, until=found)
    with pytest.raises(OSError, match="not connected"):
        knock(strangers, endpoint, "127.0.0.2").getpeername()
    assert told()["unknown", "too fast from one source"]
    assert told()["127.0.0.2", "behind others that come too fast"] <= 2  # Each stands for ten.
    alice = tcp.node()
    dial(alice, bob, endpoint)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the newest are shut down")
def test_while_many_that_came_at_once_are_in_hand_others_wait_and_then_come_in(
    tcp: Network, strangers: ExitStack
) -> None:
    """So a restarted node serves all its peers, one after the other, and none is cut off."""
    bob = tcp.node(bounds=SocketLimits(unproven_at_once=8))
    alice = tcp.node()
    endpoint = bob.transport.listen(tcp.endpoint())
    first = [connect(strangers, endpoint, f"127.0.0.{2 + number}") for number in range(5)]
    waiting: list[socket.socket] = []

    def others_wait() -> bool:
        """Connect until one is not accepted at once."""
        knocking = strangers.enter_context(socket.socket())
        knocking.bind((f"127.0.1.{1 + len(waiting)}", 0))
        knocking.setblocking(False)
        assert knocking.connect_ex(("127.0.0.1", port_of(endpoint))) == errno.EINPROGRESS
        waiting.append(knocking)
        return not connected(knocking)

    run(bob, until=others_wait)
    for stranger in first:
        stranger.close()
    run(bob, until=lambda: connected(waiting[-1]))  # TCP has tried again.
    assert dial(alice, bob, endpoint)
    assert turned_away(bob) == []


def connected(stranger: socket.socket) -> bool:
    """Tell whether its connection is there."""
    try:
        return bool(stranger.getpeername())
    except OSError:
        return False


def test_a_message_without_end_is_cut_off(plain: Network, strangers: ExitStack) -> None:
    """FRM-1: libzmq keeps all its frames, below MAXMSGSIZE each, however many they are."""
    bob = plain.node()
    attacker = connect(strangers, bob.transport.listen(plain.endpoint()))
    attacker.sendall(NULL_GREETING + zmtp_frame(READY, command=True))
    attacker.setblocking(False)
    part = zmtp_frame(bytes(64 * KIB), more=True)
    heard, sent = b"", 0

    def shaken() -> bool:
        """Tell whether the handshake is over: before, libzmq takes no messages."""
        nonlocal heard
        with suppress(BlockingIOError):
            heard += attacker.recv(4 * KIB)
        return b"READY" in heard

    def pour() -> bool:
        """Send more, if the node still takes it; True once it has closed."""
        nonlocal sent
        try:
            sent += attacker.send(part[sent % len(part) :])
        except BlockingIOError:
            return False
        except (ConnectionResetError, BrokenPipeError):
            return True
        return False

    run(bob, until=shaken)
    run(bob, until=pour)
    run(bob, until=lambda: turned_away(bob))
    assert [each.why for each in turned_away(bob)] == ["a message without end"]
    assert sent < 64 * MIB
    assert bob.ups == []


def test_what_an_honest_peer_sends_is_counted_as_it_is_on_the_wire(tcp: Network) -> None:
    """A count that drifts would one day cut off a connection that did nothing wrong."""
    alice, bob = tcp.node(), tcp.node(bounds=SocketLimits(incomplete_max_bytes=16 * KIB))
    link = dial(alice, bob, bob.transport.listen(tcp.endpoint()))
    sizes = [0, 20, 221, 222, 223, 255, 256, 5_000]
    for number in range(20_000):
        assert alice.transport.send(link, [bytes(sizes[number % 8]), b"x"])
        if number % 50 == 0:
            alice.turn(0)
            bob.turn(0)
    run(alice, bob, until=lambda: sum(isinstance(e, Received) for e in bob.events) == 20_000)
    (arrival,) = bob.transport._arrivals._all  # type: ignore[attr-defined]  # noqa: SLF001
    drift = bytes_read(arrival.fd) - arrival.taken_bytes
    assert 0 <= drift < 1 * KIB  # The handshake.
    assert turned_away(bob) == []


def test_a_message_of_many_frames_ends_its_connection_at_once(
    tcp: Network, strangers: ExitStack
) -> None:
    """FRM-1. Raw, since our own transport does not send one."""
    bob = tcp.node()
    mallory, monitor = curve_dealer(strangers, bob, bob.transport.listen(tcp.endpoint()))
    for _ in range(50):
        mallory.send_multipart([b"x"] * 100)
    run(bob, until=lambda: bob.downs)
    assert monitor.poll(int(PATIENCE_S * 1000))  # The handshake.
    monitor.recv_multipart()
    assert monitor.poll(int(PATIENCE_S * 1000))  # The end.
    bob.turn(0.05)
    assert len(bob.ups) == 1
    assert len(bob.downs) == 1
    assert not any(isinstance(event, Received) for event in bob.events)


def test_a_node_with_few_descriptors_serves_its_peers_through_a_flood(
    tmp_path: Path, strangers: ExitStack
) -> None:
    """Without a bound of its own libzmq takes the last descriptor, and then nobody gets in."""
    argv = [sys.executable, "-m", "tests.real.crowded", "128"]
    child = strangers.enter_context(
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )
    strangers.callback(child.kill)
    assert child.stdout is not None
    record = PeerRecord.parse(child.stdout.readline().strip())
    parties = Parties(tmp_path)
    strangers.callback(parties.close)
    alice = parties.start("alice")
    alice.add_peer(record)
    alice.send_message(record.address, Note(1)).wait(PATIENCE_S)
    crowd = [
        connect(strangers, record.endpoints[0], f"127.0.1.{1 + number % 200}")
        for number in range(400)
    ]
    alice.send_message(record.address, Note(2)).wait(PATIENCE_S)
    carol = parties.start("carol")
    carol.add_peer(record)
    carol.send_message(record.address, Note(3)).wait(3 * PATIENCE_S)
    assert sum(drained(each) for each in crowd[:200]) == 200
    assert child.poll() is None
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(PATIENCE_S) == 0
