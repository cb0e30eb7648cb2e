"""Socket options are what they are said to be, and endpoints are read strictly."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from zmqp2p import limits
from zmqp2p.errors import EndpointError, InvalidValue, ServiceClosed
from zmqp2p.ids import CurveKey
from zmqp2p.transport import options
from zmqp2p.transport.endpoints import (
    Endpoint,
    SocketFile,
    listen_ports,
    parse_dial,
    parse_listen,
)
from zmqp2p.transport.options import CurvePair, SocketLimits

# A key pair of zmq_curve(7), raw.
SECRET = bytes.fromhex("8e0bdd697628b91d8f245587ee95c5b04d48963f79259877b49cd9063aead3b7")
PUBLIC = CurveKey(bytes.fromhex("54fcba24e93249969316fb617c872bb0c1d1ff14800427c594cbfacf1bc2d652"))
PAIR = CurvePair(SECRET, PUBLIC)
BOUNDS = SocketLimits()


def made_with(kind: int, table: options.Options, *names: int) -> list[int | bytes]:
    """Return what a socket says its options are after ``table`` was applied."""
    with options.make_context() as context, context.socket(kind) as socket:
        options.apply(socket, table)
        return [socket.get(name) for name in names]


def test_a_listener_is_an_encrypting_server_that_asks_zap() -> None:
    table = options.listener_options(BOUNDS, PAIR, ipv6=False)
    names = (zmq.MECHANISM, zmq.CURVE_SERVER, zmq.ZAP_DOMAIN)
    assert made_with(zmq.ROUTER, table, *names) == [zmq.CURVE, 1, b"zmqp2p"]
    assert table[zmq.CURVE_SECRETKEY] == SECRET
    assert table[zmq.ZAP_ENFORCE_DOMAIN] == 1


def test_a_listener_without_curve_asks_zap_too() -> None:
    table = options.listener_options(BOUNDS, None, ipv6=False)
    assert made_with(zmq.ROUTER, table, zmq.MECHANISM, zmq.ZAP_DOMAIN) == [zmq.NULL, b"zmqp2p"]
    assert table[zmq.ZAP_ENFORCE_DOMAIN] == 1


def test_a_listener_never_hands_a_routing_id_over_and_never_drops_silently() -> None:
    table = options.listener_options(BOUNDS, PAIR, ipv6=False)
    assert table[zmq.ROUTER_HANDOVER] == 0
    assert table[zmq.ROUTER_MANDATORY] == 1


def test_a_listener_has_the_kernel_clear_away_peers_that_vanished() -> None:
    names = (zmq.TCP_KEEPALIVE, zmq.TCP_KEEPALIVE_IDLE, zmq.TCP_KEEPALIVE_INTVL)
    table = options.listener_options(BOUNDS, PAIR, ipv6=False)
    assert made_with(
        zmq.ROUTER, table, *names, zmq.TCP_KEEPALIVE_CNT, zmq.TCP_MAXRT, zmq.BACKLOG
    ) == [1, 30, 10, 3, 30_000, 1_024]


def test_a_dialer_pins_the_key_of_the_listener_and_connects_once() -> None:
    server_key = CurveKey(b"\7" * 32)
    table = options.dialer_options(BOUNDS, PAIR, server_key, ipv6=False)
    assert made_with(zmq.DEALER, table, zmq.MECHANISM, zmq.CURVE_SERVER) == [zmq.CURVE, 0]
    keys = (zmq.CURVE_SERVERKEY, zmq.CURVE_PUBLICKEY, zmq.CURVE_SECRETKEY)
    assert [table[name] for name in keys] == [server_key, PUBLIC, SECRET]
    assert made_with(zmq.DEALER, table, zmq.RECONNECT_IVL, zmq.CONNECT_TIMEOUT) == [3_600_000, 4000]


def test_a_dialer_without_curve_gives_no_key_away() -> None:
    table = options.dialer_options(BOUNDS, None, PUBLIC, ipv6=False)
    assert made_with(zmq.DEALER, table, zmq.MECHANISM) == [zmq.NULL]
    assert set(table.values()) & {PUBLIC, SECRET} == set()


@pytest.mark.parametrize("ipv6", [False, True])
def test_every_socket_is_bounded(*, ipv6: bool) -> None:
    expected = {
        zmq.LINGER: 0,
        zmq.SNDHWM: 20_000,
        zmq.MAXMSGSIZE: limits.FRAME_MAX_BYTES,
        zmq.HANDSHAKE_IVL: 10_000,
        zmq.HEARTBEAT_IVL: 0,
        zmq.IPV6: int(ipv6),
    }
    listener = options.listener_options(BOUNDS, PAIR, ipv6=ipv6)
    dialer = options.dialer_options(BOUNDS, PAIR, PUBLIC, ipv6=ipv6)
    assert made_with(zmq.ROUTER, listener, *expected) == list(expected.values())
    assert made_with(zmq.DEALER, dialer, *expected) == list(expected.values())


def test_the_largest_body_fits_into_a_frame_that_is_encrypted() -> None:
    assert SocketLimits().frame_max_bytes >= limits.BODY_MAX_BYTES + 33


def test_a_context_has_room_for_three_sockets_per_peer() -> None:
    with options.make_context() as context:
        assert context.get(zmq.MAX_SOCKETS) >= 3 * limits.DEFAULT_LIMITS.peers_max
        assert context.get(zmq.IO_THREADS) == 1


@pytest.mark.parametrize(
    ("duration_s", "expected_ms"), [(0.5, 500), (0.0001, 1), (0.0, 1), (1.0001, 1001), (2, 2000)]
)
def test_durations_are_rounded_up_to_milliseconds(duration_s: float, expected_ms: int) -> None:
    """A zero would mean "no limit" to libzmq."""
    assert options.to_ms(duration_s) == expected_ms


@pytest.mark.parametrize(
    ("field", "secret", "public"),
    [
        ("curve_secret", SECRET[:31], PUBLIC),
        ("curve_secret", "x" * 32, PUBLIC),
        ("curve_public", SECRET, PUBLIC[:31]),
        ("curve_public", SECRET, CurveKey(SECRET)),
    ],
)
def test_keys_must_be_whole_and_belong_together(
    field: str, secret: bytes, public: CurveKey
) -> None:
    with pytest.raises(InvalidValue) as refusal:
        CurvePair(secret, public)
    assert refusal.value.field == field


def test_the_secret_is_not_shown() -> None:
    assert repr(PAIR) == f"CurvePair(public={PUBLIC.hex()})"


def test_sockets_are_refused_in_another_process() -> None:
    options.check_process(os.getpid())
    with pytest.raises(ServiceClosed, match="another process"):
        options.check_process(os.getpid() + 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp://127.0.0.1:9000", Endpoint("", "tcp", "127.0.0.1", 9000)),
        ("tcp://127.255.0.9:65535", Endpoint("", "tcp", "127.255.0.9", 65535)),
        ("tcp://localhost:1", Endpoint("", "tcp", "127.0.0.1", 1)),
        ("tcp://192.0.2.7:1", Endpoint("", "tcp", "192.0.2.7", 1, local=False)),
        ("tcp://[::1]:9000", Endpoint("", "tcp", "::1", 9000, ipv6=True)),
        ("tcp://[2001:db8::7]:1", Endpoint("", "tcp", "2001:db8::7", 1, ipv6=True, local=False)),
        ("tcp://[fe80::1%eth0]:1", Endpoint("", "tcp", "fe80::1%eth0", 1, ipv6=True, local=False)),
        ("ipc:///run/node", Endpoint("", "ipc", "/run/node")),
        ("ipc://node", Endpoint("", "ipc", "node")),
    ],
)
def test_endpoints_that_can_be_dialed(text: str, expected: Endpoint) -> None:
    assert parse_dial(text) == parse_listen(text) == replace(expected, text=text)


@pytest.mark.parametrize(
    ("text", "address", "local"),
    [
        ("tcp://*:0", "tcp://0.0.0.0:0", False),
        ("tcp://0.0.0.0:5", "tcp://0.0.0.0:5", False),
        ("tcp://[::]:0", "tcp://[::]:0", False),
        ("tcp://localhost:0", "tcp://127.0.0.1:0", True),
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0", True),
    ],
)
def test_endpoints_that_can_only_be_listened_at(text: str, address: str, *, local: bool) -> None:
    parsed = parse_listen(text)
    assert (parsed.address, parsed.local) == (address, local)
    with pytest.raises(EndpointError):
        parse_dial(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:080",
        "tcp://127.0.0.1:٣",  # A digit, but not an ASCII one.
        "tcp://127.0.0.1:80 ",
        "tcp://127.0.0.1:80;127.0.0.1:81",
        "tcp://127.1:80",
        "tcp://127.0.0.01:80",
        "tcp://example.org:80",
        "tcp://*:*",
        "tcp://eth0:80",
        "tcp://::1:80",
        "tcp://[::1:80",
        "tcp://[127.0.0.1]:80",
        "tcp://[::g]:80",
        "tcp://[::1%]:80",
        "TCP://127.0.0.1:80",
        "inproc://x",
        "ipc://",
        "ipc://*",
        "ipc://@abstract",
        "ipc:///run/a\0b",
        "ipc:///run/a\nb",
        "ipc://" + "x" * 108,
        "ipc://" + "ä" * 54,
        b"tcp://127.0.0.1:80",
    ],
)
def test_malformed_endpoints_are_refused(text: str) -> None:
    for parse in (parse_listen, parse_dial):
        with pytest.raises(EndpointError):
            parse(text)


def test_an_ipc_path_of_full_length_is_taken() -> None:
    assert parse_dial("ipc://" + "x" * 107).host == "x" * 107


def test_the_real_port_takes_the_place_of_zero() -> None:
    assert parse_listen("tcp://*:0").with_port(77).text == "tcp://*:77"
    real = parse_listen("tcp://[::1]:0").with_port(77)
    assert real == parse_listen("tcp://[::1]:77")
    assert real.address == "tcp://[::1]:77"


def test_an_ipc_address_is_its_path() -> None:
    assert parse_dial("ipc:///run/node").address == "ipc:///run/node"


@pytest.mark.parametrize(
    ("ephemeral", "most"),
    [
        ("32768\t60999\n", 32_767),
        ("16384\t60999\n", 16_383),
        ("1024\t65000\n", 32_767),
        (None, 32_767),
    ],
)
def test_ports_to_listen_at_are_below_those_of_outgoing_connections(
    ephemeral: str | None, most: int, tmp_path: Path
) -> None:
    """If there is room below them: else a dial to a dead port could connect to itself."""
    told = tmp_path / "range"
    if ephemeral is not None:
        told.write_text(ephemeral)
    ports = listen_ports(64, told)
    assert len(set(ports)) == 64
    assert min(ports) >= 10_000
    assert max(ports) <= most
    assert len(listen_ports(100_000, told)) == most - 10_000 + 1


def test_a_socket_file_that_is_anothers_by_now_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.touch()
    other = path.with_name("other")
    other.touch()
    mine = SocketFile(parse_listen(f"ipc://{path}"))
    other.rename(path)
    mine.remove()
    assert path.exists()
    SocketFile(parse_listen(f"ipc://{path}")).remove()
    assert not path.exists()
    mine.remove()


def test_a_nodes_limits_are_those_of_its_sockets() -> None:
    made = options.socket_limits(limits.Limits(connections_max=7, first_message_s=3.0))
    assert made == SocketLimits(connections_max=7, first_message_s=3.0)
    made = options.socket_limits(limits.Limits(links_max=6))  # Or guests would have all links.
    assert made == SocketLimits(connections_max=6)
