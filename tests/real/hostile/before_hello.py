"""Attacks of those who have not said who they are."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from tests.real.hostile.attacks import Attacker, attack
from tests.real.hostile.raw import HOUR_MS, Keys, Stranger, now_ms, tcp
from zmqp2p import limits
from zmqp2p.codes import ByeCode
from zmqp2p.ids import Seq, StreamDigest
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Ack, Bye, Ping, Who

IDLE = 2_000
# What a ZMTP 3.1 client with CURVE begins with (RFC 23), and the head of its HELLO command.
GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
HALF_OF_HELLO = b"\x04\xc8\x05HELLO\x01\x00" + bytes(72)
DRAIN_EVERY = 64
ENDLESS_MAX = 4_000  # Frames of 64 KiB: this machine is not to be brought down.


def _flood(attacker: Attacker, peer: Stranger, parts: list[tuple[bytes, ...]]) -> None:
    """Send ``parts`` round and round, as fast as they are taken, and read the answers."""
    number = 0
    while attacker.goes_on():
        if peer.push(parts[number % len(parts)]):
            attacker.count("messages")
        number += 1
        if number % DRAIN_EVERY == 0:
            attacker.count("answers", len(peer.drain()))


@attack("random bytes, one connection", told=("LinkRefused PROTOCOL_ERROR",))
def garbage(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    _flood(attacker, peer, [(os.urandom(attacker.rng.randrange(1, 400)),) for _ in range(256)])


@attack("random bytes, 50 connections", told=("LinkRefused PROTOCOL_ERROR",))
def garbage_from_many(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.stranger() for _ in range(50)]
    yield
    while attacker.goes_on():
        for peer in peers:
            attacker.count("messages", peer.push((os.urandom(100),)))
            attacker.count("answers", len(peer.drain()))


@attack("DATA, PING and ACK before HELLO: each could be answered with WHO")
def who_bait(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    bait = [peer.data((b"x" * 350,)), Ping(7), Ack(peer.progress())]
    _flood(attacker, peer, [encode_frame(frame) for frame in bait])


@attack("WHO bait, each from another connection, 200 of them")
def who_bait_from_many(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.stranger() for _ in range(200)]
    yield
    ping = encode_frame(Ping(7))
    while attacker.goes_on():
        for peer in peers:
            attacker.count("messages", peer.push(ping))
            attacker.count("answers", len(peer.drain()))


@attack("HELLO with an expired record, again and again", told=("LinkRefused RECORD_EXPIRED",))
def bye_bait(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    now = now_ms()
    record = peer.keys.record(issued_ms=now - 2 * HOUR_MS, expires_ms=now - HOUR_MS)
    _flood(attacker, peer, [encode_frame(peer.hello(record))])


@attack("BYE with a long reason, again and again: each is told to the application")
def bye_storm(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    _flood(attacker, peer, [encode_frame(Bye(ByeCode.NOT_ALLOWED, "your funds are lost " * 9))])


@attack(
    "HELLO with a signature of another node, again and again", told=("LinkRefused RECORD_INVALID",)
)
def forgery(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    mixed = peer.keys.record().encode()[:-65] + Keys().record().encode()[-65:]
    _flood(attacker, peer, [encode_frame(peer.hello(mixed))])


@attack("a new identity with each HELLO, over one connection")
def sybils(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    curve = (peer.keys.curve_public, peer.keys.curve_secret)
    while attacker.goes_on():
        frames = encode_frame(peer.hello(Keys(curve).record(endpoints=("tcp://127.0.0.1:9",) * 8)))
        for _ in range(2):  # The first ends the link of the last identity, the second is heard.
            attacker.count("messages", peer.push(frames))
        attacker.count("answers", len(peer.drain()))


@attack("frames of the greatest permitted size, garbage", told=("LinkRefused PROTOCOL_ERROR",))
def huge_frames(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    _flood(attacker, peer, [(os.urandom(limits.FRAME_MAX_BYTES - 64),)])


@attack("frames above the permitted size: each ends its connection")
def oversize(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    _flood(attacker, peer, [(bytes(4 * limits.FRAME_MAX_BYTES),)])


@attack("messages of 1,000 ZMTP frames")
def many_frames(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    _flood(attacker, peer, [(b"x",) * 1_000])


@attack("arrays nested as deep as a header is long", told=("LinkRefused PROTOCOL_ERROR",))
def deep_nesting(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    _flood(attacker, peer, [(b"\x91" * limits.HEADER_MAX_BYTES,), (b"\xdd\xff\xff\xff\xff",)])


@attack("routing ids announced by 200 connections, some of them twice")
def squatters(attacker: Attacker) -> Iterator[None]:
    keys = Keys()
    peers = [
        attacker.stranger(keys, routing_id=b"\0" + (n // 2).to_bytes(4) if n else b"x")
        for n in range(200)
    ]
    yield
    while attacker.goes_on():
        for peer in peers:
            attacker.count("messages", peer.say(Who()))
            peer.drain()


@attack("HELLO of a node that is not this one's, replayed with its own CURVE key")
def replay(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    stolen = replace(peer.hello(Keys().record()), next=Seq(9), base_digest=StreamDigest(bytes(16)))
    _flood(attacker, peer, [encode_frame(stolen)])
