"""Attacks of those who open connections and hardly say a thing, or never come to an end."""

import socket
from collections.abc import Iterator
from contextlib import suppress

from tests.real.hostile.attacks import Attacker, attack
from tests.real.hostile.raw import SEND_S, Keys, Stranger, tcp, without_curve, zmtp_frame
from zmqp2p.wire.frames import Ping

IDLE = 2_000
# What a ZMTP 3.1 client with CURVE begins with (RFC 23), and the head of its HELLO command.
GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
HALF_OF_HELLO = b"\x04\xc8\x05HELLO\x01\x00" + bytes(72)
PART = bytes(64 * 1024)
LONG_MAX_BYTES = 256 * 1024 * 1024  # This machine is not to be brought down.


@attack("2,000 TCP connections that say nothing")
def idle_tcp(attacker: Attacker) -> Iterator[None]:
    yield
    _hold(attacker, b"")


@attack("2,000 TCP connections that stop amid CURVE's first command")
def half_handshakes(attacker: Attacker) -> Iterator[None]:
    yield
    _hold(attacker, GREETING + HALF_OF_HELLO)


@attack("2,000 TCP connections that speak another protocol")
def not_zmtp(attacker: Attacker) -> Iterator[None]:
    yield
    _hold(attacker, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


@attack("as idle_tcp, and the node may have 256 descriptors", victim={"descriptors": 256})
def descriptors_used_up(attacker: Attacker) -> Iterator[None]:
    yield
    _hold(attacker, b"")


def _hold(attacker: Attacker, greeting: bytes) -> None:
    while attacker.goes_on() and attacker.done["connections"] < IDLE:
        with suppress(OSError):  # The node may refuse, or have hung up.
            held = attacker.stack.enter_context(tcp(attacker.target))
            attacker.count("connections")
            held.sendall(greeting)
    attacker.rest()


@attack("2,000 CURVE connections that shake hands and never say a thing")
def idle_curve(attacker: Attacker) -> Iterator[None]:
    yield
    keys = Keys()
    while attacker.goes_on() and attacker.done["connections"] < IDLE:
        attacker.stranger(keys, queue=1)
        attacker.count("connections")
    attacker.rest()


@attack("TCP connections, opened and closed as fast as it goes")
def churn_tcp(attacker: Attacker) -> Iterator[None]:
    yield
    while attacker.goes_on():
        with suppress(OSError):
            tcp(attacker.target).close()
            attacker.count("connections")


@attack("CURVE connections, opened, one PING, and closed, as fast as it goes")
def churn_curve(attacker: Attacker) -> Iterator[None]:
    yield
    keys = Keys()
    while attacker.goes_on():
        peers = [Stranger(attacker.context, attacker.target, keys) for _ in range(16)]
        for peer in peers:
            peer.say(Ping(1))
        for peer in peers:
            peer.hear(0.1)
            peer.close()
            attacker.count("connections")


@attack("two messages of 4,000 ZMTP frames, 256 MiB each")
def long_messages(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.stranger() for _ in range(2)]
    yield
    for peer in peers:
        for _ in range(LONG_MAX_BYTES // len(PART)):
            peer.begin(PART)
        attacker.count("messages", peer.push((b"the last one",)))
    attacker.rest()


@attack("one message of ever more ZMTP frames, and never the last", victim={"security": "none"})
def endless_message(attacker: Attacker) -> Iterator[None]:
    """By hand, since ZeroMQ keeps a message until it ends; CURVE would make no difference."""
    yield
    part = zmtp_frame(PART, more=True)
    while attacker.goes_on() and attacker.done["bytes"] < LONG_MAX_BYTES:
        with suppress(ConnectionError), without_curve(attacker.target) as connection:
            attacker.count("connections")
            _send_for_ever(attacker, connection, part)


def _send_for_ever(attacker: Attacker, connection: socket.socket, part: bytes) -> None:
    connection.settimeout(SEND_S)
    left = memoryview(part)
    while attacker.goes_on() and attacker.done["bytes"] < LONG_MAX_BYTES:
        with suppress(TimeoutError):
            sent = connection.send(left)
            attacker.count("bytes", sent)
            left = left[sent:] or memoryview(part)
    attacker.rest()
