"""The fault proxy does to a connection what it is told, and nothing else."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest

from tests.real.faults.proxy import CONNECTIONS_MAX, HOLE, PASS, FaultProxy, Flow, Way

PATIENCE_S = 5.0
A_MOMENT_S = 0.05  # For what must not happen: long enough for loopback.


@dataclass
class Line:
    """One connection through a proxy, both ends of it."""

    proxy: FaultProxy
    server: socket.socket
    stack: ExitStack
    client: socket.socket
    far: socket.socket

    def again(self) -> tuple[socket.socket, socket.socket]:
        """Connect once more; return both ends."""
        return dial(self.proxy, self.server, self.stack)


def dial(
    proxy: FaultProxy, server: socket.socket, stack: ExitStack
) -> tuple[socket.socket, socket.socket]:
    client = knock(proxy, stack)
    far, _ = server.accept()
    far.settimeout(PATIENCE_S)
    return client, stack.enter_context(far)


def knock(proxy: FaultProxy, stack: ExitStack) -> socket.socket:
    """Connect to the proxy, whether or not it lets anything through."""
    port = int(proxy.endpoint.rpartition(":")[2])
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))


@pytest.fixture
def line() -> Iterator[Line]:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.settimeout(PATIENCE_S)
        proxy = FaultProxy(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        stack.enter_context(proxy)
        yield Line(proxy, server, stack, *dial(proxy, server, stack))


def read(connection: socket.socket, count: int) -> bytes:
    """Read exactly so many bytes."""
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        assert more, f"ended after {data!r}"
        data += more
    return data


def read_all(connection: socket.socket) -> bytes:
    """Read until the end, whether it is orderly or a reset."""
    data = b""
    try:
        while more := connection.recv(65_536):
            data += more
    except ConnectionResetError:
        pass
    return data


def have_been(proxy: FaultProxy, count: int) -> bool:
    return proxy.resets == count


def swallowed(proxy: FaultProxy, way: Way, count: int) -> bool:
    return proxy.swallowed_bytes[way] == count


def taken(proxy: FaultProxy, count: int) -> bool:
    return proxy.taken_bytes[Way.THERE] >= count


def says_nothing(connection: socket.socket) -> bool:
    connection.settimeout(A_MOMENT_S)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    return False


def test_it_passes_everything_both_ways_and_the_end_of_each(line: Line) -> None:
    line.client.sendall(b"there")
    assert read(line.far, 5) == b"there"
    line.client.shutdown(socket.SHUT_WR)
    assert line.far.recv(1) == b""
    line.far.sendall(b"back")
    assert read(line.client, 4) == b"back"
    line.far.close()
    assert line.client.recv(1) == b""
    assert line.proxy.resets == 0
    assert line.proxy.passed_bytes == {Way.THERE: 5, Way.BACK: 4}


def test_an_end_that_is_reset_resets_the_other(line: Line) -> None:
    line.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    line.client.close()
    with pytest.raises(ConnectionResetError):
        line.far.recv(1)


def test_a_reset_ends_both_ends_and_serves_the_next(line: Line) -> None:
    line.proxy.reset()
    for end in (line.client, line.far):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    client, far = line.again()
    client.sendall(b"x")
    assert read(far, 1) == b"x"
    assert (line.proxy.connections, line.proxy.resets) == (2, 1)


def test_whoever_dials_while_it_refuses_is_reset(line: Line) -> None:
    line.proxy.refuse(True)
    for end in (line.client, line.far):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    with pytest.raises(ConnectionResetError):  # While it connects, or after.
        knock(line.proxy, line.stack).recv(1)
    line.proxy.refuse(False)
    client, far = line.again()
    client.sendall(b"x")
    assert read(far, 1) == b"x"


def test_resets_come_at_intervals_until_they_are_stopped(line: Line) -> None:
    line.proxy.reset_every(0.02)
    for count in range(1, 4):
        assert line.proxy.until(partial(have_been, line.proxy, count), PATIENCE_S)
        line.again()
    line.proxy.reset_every(None)
    client, _ = line.again()
    assert says_nothing(client)


def test_a_half_close_ends_one_way_only(line: Line) -> None:
    line.proxy.half_close(Way.THERE)
    assert line.far.recv(1) == b""
    line.client.sendall(b"unheard")
    line.far.sendall(b"heard")
    assert read(line.client, 5) == b"heard"
    line.far.close()
    assert line.client.recv(1) == b""


@pytest.mark.parametrize("way", list(Way))
def test_a_black_hole_swallows_one_way_and_healing_resets_what_lost_something(
    way: Way, line: Line
) -> None:
    line.proxy.set(HOLE, way)
    ends = (line.client, line.far) if way is Way.THERE else (line.far, line.client)
    sender, receiver = ends
    sender.sendall(b"gone")
    assert line.proxy.until(lambda: line.proxy.swallowed_bytes[way] == 4, PATIENCE_S)
    receiver.sendall(b"heard")
    assert read(sender, 5) == b"heard"
    assert says_nothing(receiver)
    line.proxy.set(PASS)
    assert read_all(receiver) == b""


def test_a_black_hole_swallows_what_was_delayed_when_it_opened(line: Line) -> None:
    line.proxy.set(Flow(delay_s=0.05))
    line.client.sendall(b"late")
    assert read(line.far, 4) == b"late"
    line.client.sendall(b"gone")
    line.far.sendall(b"gone")
    line.proxy.set(HOLE)
    for way in Way:
        assert line.proxy.until(partial(swallowed, line.proxy, way, 4), PATIENCE_S)


@pytest.mark.parametrize("orderly", [True, False])
def test_a_black_hole_hides_that_the_other_end_is_gone(orderly: bool, line: Line) -> None:
    line.proxy.set(HOLE)
    if not orderly:
        line.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    line.far.close()
    assert says_nothing(line.client)
    line.proxy.set(PASS)
    line.client.settimeout(PATIENCE_S)
    assert read_all(line.client) == b""


def test_who_dials_a_black_hole_is_accepted_and_hears_nothing(line: Line) -> None:
    line.proxy.set(HOLE)
    client = knock(line.proxy, line.stack)
    client.sendall(b"hello?")
    assert says_nothing(client)
    line.proxy.set(PASS)
    client.settimeout(PATIENCE_S)
    assert read_all(client) == b""


def test_a_connection_that_lost_nothing_survives_a_black_hole(line: Line) -> None:
    line.proxy.set(HOLE)
    line.proxy.set(PASS)
    line.client.sendall(b"x")
    assert read(line.far, 1) == b"x"


def test_what_is_delayed_comes_later_and_in_order(line: Line) -> None:
    line.proxy.set(Flow(delay_s=0.1), Way.THERE)
    since = time.monotonic()
    line.client.sendall(b"first")
    assert line.proxy.until(lambda: line.proxy.taken_bytes[Way.THERE] == 5, PATIENCE_S)
    line.proxy.set(PASS)
    line.client.sendall(b"second")
    assert read(line.far, 11) == b"firstsecond"
    assert time.monotonic() - since >= 0.1


def test_a_throttled_flow_takes_its_time(line: Line) -> None:
    line.proxy.set(Flow(bytes_per_s=200_000), Way.THERE)
    sent = bytes(range(256)) * 200
    since = time.monotonic()
    line.client.sendall(sent)
    assert read(line.far, len(sent)) == sent
    assert 0.2 < time.monotonic() - since < PATIENCE_S
    line.far.sendall(sent)  # The other way is free.
    assert read(line.client, len(sent)) == sent


def test_a_cut_lets_so_many_bytes_through_and_happens_once(line: Line) -> None:
    line.proxy.set(Flow(cut_after_bytes=7), Way.THERE)
    line.client.sendall(b"0123")
    assert read(line.far, 4) == b"0123"
    line.client.sendall(b"456789")
    assert read_all(line.far) == b"456"
    with pytest.raises(ConnectionResetError):
        line.client.recv(1)
    client, far = line.again()
    client.sendall(b"0123456789")
    assert read(far, 10) == b"0123456789"


def test_a_source_has_to_wait_when_its_sink_does_not_read(line: Line) -> None:
    """Or the proxy would grow without bound."""
    line.client.setblocking(False)
    sent = 0
    chunk = bytes(1 << 20)
    pace = time.monotonic() + PATIENCE_S
    while time.monotonic() < pace:
        try:
            sent += line.client.send(chunk)
        except BlockingIOError:
            if not line.proxy.until(partial(taken, line.proxy, sent), 0.1):
                break
    assert sent < 64 << 20


def test_more_connections_than_it_serves_are_reset(line: Line) -> None:
    for _ in range(CONNECTIONS_MAX - 1):
        line.again()
    with pytest.raises(ConnectionResetError):
        knock(line.proxy, line.stack).recv(1)


def test_who_dials_while_nobody_listens_behind_it_is_reset(line: Line) -> None:
    line.server.close()
    with pytest.raises(ConnectionResetError):
        knock(line.proxy, line.stack).recv(1)


def test_closing_it_resets_everything_and_may_be_repeated(line: Line) -> None:
    line.proxy.set(HOLE)
    held = knock(line.proxy, line.stack)
    assert line.proxy.until(lambda: line.proxy.connections == 2, PATIENCE_S)
    line.proxy.close()
    line.proxy.close()
    for end in (held, line.client, line.far):
        assert read_all(end) == b""
