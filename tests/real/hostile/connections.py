"""Attacks of those who open connections and hardly say a thing, or never come to an end."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

from tests.real.hostile.attacks import Attacker, attack
from tests.real.hostile.raw import Keys, Stranger, tcp, without_curve, zmtp_frame
from zmqp2p.wire.frames import Ping

IDLE = 2_000
# What a ZMTP 3.1 client with CURVE begins with (RFC 23), and the head of its HELLO command.
GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
HALF_OF_HELLO = b"\x04\xc8\x05HELLO\x01\x00" + bytes(72)
ENDLESS_MAX_BYTES = 512 * 1024 * 1024  # This machine is not to be brought down.


@attack("2,000 TCP connections that say nothing")
def idle_tcp(attacker: Attacker) -> Iterator[None]:
    yield
    _hold(attacker, b"")


@attack("2,000 TCP connections that stop amid CURVE's first command")
def half_handshakes(attacker: Attacker) -> Iterator[None]:
    yield
    _hold(attacker, GREETING + HALF_OF_HELLO)


@attack("2,000 TCP connections with a greeting of another protocol")
def not_zmtp(attacker: Attacker) -> Iterator[None]:
    yield
    _hold(attacker, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


def _hold(attacker: Attacker, greeting: bytes) -> None:
    held: list[socket.socket] = []
    while attacker.goes_on():
        if len(held) < IDLE:
            with suppress(OSError):
                held.append(attacker.stack.enter_context(tcp(attacker.target)))
                held[-1].sendall(greeting)
                attacker.count("connections")
        else:
            attacker.rng.random()
            select_pause()


def select_pause() -> None:
    """Give the core away for a moment."""
    os.sched_yield()


@attack("CURVE connections that finish the handshake and never say HELLO, up to 2,000")
def idle_curve(attacker: Attacker) -> Iterator[None]:
    yield
    keys = Keys()
    while attacker.goes_on():
        if attacker.done["connections"] < IDLE:
            attacker.stranger(keys, queue=1)
            attacker.count("connections")
        else:
            select_pause()


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



@attack(
    "one message of ever more ZMTP frames that never ends, 64 KiB each (up to 512 MiB)",
    victim={"security": "none"},
)
def endless_message(attacker: Attacker) -> Iterator[None]:
    """By hand: ZeroMQ would keep the message until it ends. CURVE changes nothing about it."""
    yield
    part = zmtp_frame(bytes(64 * 1024), more=True)
    connection = attacker.stack.enter_context(without_curve(attacker.target))
    while attacker.goes_on():
        if attacker.done["bytes"] >= ENDLESS_MAX_BYTES:
            select_pause()
            continue
        try:
            connection.sendall(part)
        except OSError:  # Hung up on: again.
            connection = attacker.stack.enter_context(without_curve(attacker.target))
            attacker.count("hung up on")
        attacker.count("bytes", len(part))


@attack("one message of many frames, 256 MiB in all, by each of two connections")
def long_messages(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.stranger() for _ in range(2)]
    yield
    part = bytes(64 * 1024)
    for peer in peers:
        for _ in range(4_000):
            peer.begin(part)
        attacker.count("messages", peer.push((b"end",)))
    while attacker.goes_on():
        select_pause()
