"""Sources whose connects the system drops: the filter, run here step by step, and real sockets."""

import errno
import ipaddress
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from zmqp2p.transport.turnstile import (
    EVERYBODY,
    SHUN_S,
    SOURCES_MAX,
    TurnedBack,
    Turnstile,
    program,
)

SYN, ACK, PUSH = 0x02, 0x10, 0x08
NETWORK_HEADER = -0x10_0000
PASSED, DROPPED = 0xFFFF_FFFF, 0


def verdict(code: bytes, source: str, flags: int = SYN) -> int:
    """Run a filter on a segment from ``source``, as the kernel would."""
    address = ipaddress.ip_address(source)
    head = bytes([address.version << 4]) + bytes(11 if address.version == 4 else 7)
    network, segment = head + address.packed, bytes(13) + bytes([flags]) + bytes(6)
    steps = list(struct.iter_unpack("=HBBI", code))
    accumulator = at = 0
    while True:
        operation, if_true, if_false, operand = steps[at]
        at += 1
        signed = operand - (operand >> 31 << 32)
        data, offset = (network, signed - NETWORK_HEADER) if signed < 0 else (segment, signed)
        match operation:
            case 0x30:
                accumulator = data[offset]
            case 0x20:
                accumulator = int.from_bytes(data[offset : offset + 4])
            case 0x54:
                accumulator &= operand
            case 0x74:
                accumulator >>= operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"{operation:#x} is no operation that is used")


SHUNNED = ("192.0.2.1", "2001:db8:1:2::/64", "198.51.100.7", "2001:db8:1:3::/64")


@pytest.mark.parametrize(
    ("source", "dropped"),
    [
        ("192.0.2.1", True),
        ("198.51.100.7", True),
        ("192.0.2.2", False),
        ("2001:db8:1:2::1", True),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:3::1", True),
        ("2001:db8:1:4::1", False),
        ("2001:db8:2:2::1", False),
        ("c000:201::1", False),  # Begins with the bytes of 192.0.2.1.
    ],
)
def test_of_those_that_are_shunned_what_opens_a_connection_is_dropped(
    source: str, *, dropped: bool
) -> None:
    code = program(SHUNNED)
    assert verdict(code, source) == (DROPPED if dropped else PASSED)
    for flags in (ACK, ACK | PUSH, SYN | ACK):  # A connection that there is inherits the filter.
        assert verdict(code, source, flags) == PASSED


def test_a_filter_has_room_for_as_many_as_are_shunned() -> None:
    """Jumps reach 255 steps."""
    code = program([f"192.0.2.{n}" for n in range(SOURCES_MAX)] + ["2001:db8::/64"])
    assert verdict(code, f"192.0.2.{SOURCES_MAX - 1}") == DROPPED
    assert verdict(code, "2001:db8::1") == DROPPED
    assert verdict(code, "2001:db8:1::1") == PASSED
    assert verdict(code, "192.0.2.200") == PASSED


def test_who_has_no_ip_address_is_not_shunned() -> None:
    sut = Turnstile()
    sut.listens(os.open(os.devnull, os.O_RDONLY))
    assert sut.shun("localhost", 0.0) is None
    assert sut.shun("", 0.0) is None
    assert not sut.shunned
    assert verdict(program(["localhost"]), "127.0.0.1") == PASSED


def test_only_so_many_are_shunned_at_a_time_and_each_once() -> None:
    with closing(socket.socket()) as listening:
        sut = Turnstile()
        assert sut.shun("192.0.2.1", 0.0) is None  # It does not listen yet.
        sut.listens(listening.fileno())
        assert sut.shun("192.0.2.1", 1.0) == 1.0 + SHUN_S
        assert sut.shun("192.0.2.1", 1.1) is None
        until = [sut.shun(f"198.51.100.{n}", 1.1) for n in range(100)]
        assert sum(each is not None for each in until) == SOURCES_MAX - 1
        sut.check()
        sut.relent(1.0 + SHUN_S)
        assert "192.0.2.1" not in sut.shunned
        assert len(sut.shunned) == SOURCES_MAX - 1
        sut.relent(1.1 + SHUN_S)
        assert not sut.shunned


def test_a_socket_that_is_closed_or_no_ip_is_let_be() -> None:
    one, other = socket.socketpair()
    with one, other:
        sut = Turnstile()
        sut.listens(one.fileno())
        assert sut.shun("192.0.2.1", 0.0) is not None
    sut.relent(SHUN_S)
    assert not sut.shunned


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as made:
        made.setblocking(False)
        yield made


def knock(at: socket.socket, source: str) -> socket.socket:
    """Begin to connect; over loopback that is over at once, or it is dropped."""
    made = socket.socket()
    made.bind((source, 0))
    made.setblocking(False)
    assert made.connect_ex(at.getsockname()) == errno.EINPROGRESS
    return made


def came(at: socket.socket) -> list[str]:
    """Return where those come from that have connected."""
    sources: list[str] = []
    while True:
        try:
            connection, (source, _) = at.accept()
        except BlockingIOError:
            return sources
        with connection:
            sources.append(source)


@pytest.mark.skipif(sys.platform != "linux", reason="filters are Linux's")
def test_a_source_that_is_shunned_does_not_get_through_and_others_do(
    listening: socket.socket,
) -> None:
    sut = Turnstile()
    sut.listens(listening.fileno())
    sut.shun("127.0.0.2", 0.0)
    with knock(listening, "127.0.0.2"), knock(listening, "127.0.0.3"):
        assert came(listening) == ["127.0.0.3"]
    sut.relent(SHUN_S)
    with knock(listening, "127.0.0.2"):
        assert came(listening) == ["127.0.0.2"]


@pytest.mark.parametrize("source", ["192.0.2.1", "2001:db8::1"])
def test_everybody_may_be_dropped(source: str) -> None:
    code = program(EVERYBODY)
    assert verdict(code, source) == DROPPED
    for flags in (ACK, ACK | PUSH, SYN | ACK):
        assert verdict(code, source, flags) == PASSED


@pytest.mark.skipif(sys.platform != "linux", reason="filters are Linux's")
def test_while_it_is_closed_nobody_gets_through_and_then_those_who_are_not_shunned(
    listening: socket.socket,
) -> None:
    sut = Turnstile()
    assert not sut.close()  # It does not listen yet.
    sut.open()
    sut.listens(listening.fileno())
    sut.shun("127.0.0.2", 0.0)
    assert sut.close()
    assert not sut.close()
    with knock(listening, "127.0.0.3"):
        assert came(listening) == []
    sut.relent(SHUN_S)  # That is for its source only.
    with knock(listening, "127.0.0.2"):
        assert came(listening) == []
    sut.shun("127.0.0.2", 1.0)
    sut.open()
    with knock(listening, "127.0.0.2"), knock(listening, "127.0.0.3"):
        assert came(listening) == ["127.0.0.3"]
    sut.relent(1.0 + SHUN_S)
    with knock(listening, "127.0.0.2"):
        assert came(listening) == ["127.0.0.2"]


def wait_in(queue: socket.socket, *sources: str) -> list[socket.socket]:
    """Have connections of these wait to be accepted."""
    return [knock(queue, source) for source in sources]


def is_reset(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_what_waits_is_turned_back_until_one_is_to_be_let_in(listening: socket.socket) -> None:
    sut = Turnstile()
    sut.listens(listening.fileno())
    fast, slow = "127.0.0.2", "127.0.0.3"
    waiting = wait_in(listening, fast, fast, slow, fast, slow)
    turned_back: list[str] = []

    def another(one: TurnedBack) -> bool:
        assert not one.over
        turned_back.append(one.source)
        return one.source == fast

    sut.turn_back(10, another)
    assert turned_back == [fast, fast, slow]
    assert came(listening) == [fast, slow]
    assert [is_reset(each) for each in waiting] == [True, True, True, False, False]
    for each in waiting:
        each.close()


class Took:
    """Keeps what is turned back, and wants another one each time."""

    def __init__(self) -> None:
        self.all: list[TurnedBack] = []

    def __call__(self, one: TurnedBack) -> bool:
        self.all.append(one)
        return True


def test_no_more_are_turned_back_than_was_said_nor_than_wait(listening: socket.socket) -> None:
    sut, took = Turnstile(), Took()
    sut.listens(listening.fileno())
    waiting = wait_in(listening, *(f"127.0.0.{n}" for n in range(1, 6)))
    sut.turn_back(3, took)
    assert [each.source for each in took.all] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    sut.turn_back(3, took)
    assert [each.source for each in took.all[3:]] == ["127.0.0.4", "127.0.0.5"]
    for each in waiting:
        each.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only a reset is told")
@pytest.mark.parametrize("said", [b"", b"x", bytes(10_000)])
@pytest.mark.parametrize("reset", [False, True])
def test_whose_a_connection_was_is_known_even_if_it_is_over(
    listening: socket.socket, said: bytes, *, reset: bool
) -> None:
    sut, took = Turnstile(), Took()
    sut.listens(listening.fileno())
    for each in wait_in(listening, "127.0.0.2"):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
        each.send(said)
        each.close()
    sut.turn_back(1, took)
    assert took.all == [TurnedBack("127.0.0.2", over=True)]


def test_who_waits_and_has_said_something_is_not_over(listening: socket.socket) -> None:
    sut, took = Turnstile(), Took()
    sut.listens(listening.fileno())
    for each, said in zip(wait_in(listening, "127.0.0.2", "127.0.0.3"), (b"", b"x"), strict=True):
        each.send(said)
        sut.turn_back(1, took)
        assert is_reset(each)
        each.close()
    assert took.all == [TurnedBack("127.0.0.2", over=False), TurnedBack("127.0.0.3", over=False)]


def test_what_some_systems_say_of_one_that_is_over(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it was aborted, that it has no address, and that no option of it can be set."""
    sut, took = Turnstile(), Took()
    sut.listens(listening.fileno())
    one, other = socket.socketpair()
    other.close()
    said: Iterator[object] = iter([ConnectionAbortedError(), (one, None), BlockingIOError()])

    def accept(_: socket.socket) -> object:
        told = next(said)
        if isinstance(told, OSError):
            raise told
        return told

    def setsockopt(*_: object) -> None:
        raise OSError(errno.EINVAL, "invalid")

    monkeypatch.setattr(socket.socket, "accept", accept)
    monkeypatch.setattr(socket.socket, "setsockopt", setsockopt)
    sut.turn_back(10, took)
    assert took.all == [TurnedBack("unknown", over=True)]
    assert one.fileno() < 0
    assert next(said, None) is None


def test_it_does_not_wait_as_long_as_other_sockets_of_the_process(
    listening: socket.socket,
) -> None:
    sut, took = Turnstile(), Took()
    sut.listens(listening.fileno())
    socket.setdefaulttimeout(60.0)
    try:
        began = time.monotonic()
        sut.turn_back(1, took)
        assert time.monotonic() < began + 30.0
    finally:
        socket.setdefaulttimeout(None)
    assert took.all == []


def test_nothing_is_turned_back_where_nothing_listens() -> None:
    sut = Turnstile()
    sut.turn_back(1, lambda _: pytest.fail("there is none"))
    with socket.create_server(("127.0.0.1", 0)) as made:
        sut.listens(made.fileno())
    sut.turn_back(1, lambda _: pytest.fail("there is none"))


def test_who_listens_does_not_wait_for_one_that_was_turned_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as made:
        assert os.get_blocking(made.fileno())
        Turnstile().listens(made.fileno())
        assert not os.get_blocking(made.fileno())


def test_of_ipv6_it_is_the_network_that_is_turned_back() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as made:
        sut = Turnstile()
        sut.listens(made.fileno())
        with socket.create_connection(made.getsockname()[:2]):
            took = Took()
            sut.turn_back(1, took)
    assert took.all == [TurnedBack("::/64", over=False)]
