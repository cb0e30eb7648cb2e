"""Attacks of those who have not said who they are, with frames."""

import os
from collections.abc import Iterator

from tests.real.hostile.attacks import Attacker, attack
from tests.real.hostile.raw import HOUR_MS, Keys, now_ms
from zmqp2p import limits
from zmqp2p.codes import ByeCode
from zmqp2p.limits import DEFAULT_LIMITS
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Ack, Bye, Ping, Who

PROTOCOL_ERROR = "LinkRefused PROTOCOL_ERROR"


@attack("random bytes, one connection", told=(PROTOCOL_ERROR,))
def garbage(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    attacker.flood(peer, *[(os.urandom(attacker.rng.randrange(1, 400)),) for _ in range(256)])


@attack("random bytes, 50 connections", told=(PROTOCOL_ERROR,))
def garbage_from_many(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.stranger() for _ in range(50)]
    yield
    attacker.flood_each(peers, (b"\xc1" + os.urandom(100),))


@attack("DATA, PING and ACK before HELLO: each could be answered with WHO")
def who_bait(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    attacker.storm(peer, peer.data((b"x" * 350,)), Ping(7), Ack(peer.progress()))


@attack("PING before HELLO, from each of 200 connections")
def who_bait_from_many(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.stranger() for _ in range(200)]
    yield
    attacker.flood_each(peers, encode_frame(Ping(7)))


@attack("HELLO with an expired record, again and again", told=("LinkRefused RECORD_EXPIRED",))
def expired(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    now = now_ms()
    record = peer.keys.record(issued_ms=now - 2 * HOUR_MS, expires_ms=now - HOUR_MS)
    attacker.storm(peer, peer.hello(record))


@attack("HELLO signed by another, again and again", told=("LinkRefused RECORD_INVALID",))
def wrong_signer(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    mixed = peer.keys.record().encode()[:-65] + Keys().record().encode()[-65:]
    attacker.storm(peer, peer.hello(mixed))


@attack("HELLO of another, with its valid record", told=("LinkRefused KEY_MISMATCH",))
def replayed_record(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    attacker.storm(peer, peer.hello(Keys().record()))


@attack("BYE with a long reason, again and again: each could be told to the application")
def bye_storm(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    attacker.storm(peer, Bye(ByeCode.NOT_ALLOWED, "your funds are lost " * 9))


@attack("a new identity with each HELLO, over one connection")
def sybils(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    curve = (peer.keys.curve_public, peer.keys.curve_secret)
    endpoints = ("tcp://127.0.0.1:9",) * limits.ENDPOINTS_MAX
    while attacker.goes_on():
        hello = encode_frame(peer.hello(Keys(curve).record(endpoints=endpoints)))
        for _ in range(2):  # The first ends the link of the identity before, the second is heard.
            attacker.count("messages", peer.push(hello))
        attacker.count("answers", len(peer.drain()))


@attack("frames of the greatest permitted size, of garbage", told=(PROTOCOL_ERROR,))
def huge_frames(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    attacker.flood(peer, (b"\xc1" + os.urandom(limits.FRAME_MAX_BYTES - 64),))


@attack("frames above the permitted size: each ends its connection")
def oversize(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    attacker.flood(peer, (bytes(4 * limits.FRAME_MAX_BYTES),))


@attack("messages of 1,000 ZMTP frames")
def many_frames(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    attacker.flood(peer, (b"x",) * 1_000)


@attack("arrays nested as deep as a header is long", told=(PROTOCOL_ERROR,))
def deep_nesting(attacker: Attacker) -> Iterator[None]:
    peer = attacker.stranger()
    yield
    claims = b"\xdd\xff\xff\xff\xff" * 1_000
    attacker.flood(peer, (b"\x91" * limits.HEADER_MAX_BYTES,), (claims,))


# Of these connections libzmq lets go when the listening socket is opened anew.
@attack(
    "routing ids of one's own choice, each by two connections, 200 in all",
    victim={"limits": {"first_message_s": 2.0, "listener_renewal_min_s": 1.0}},
    stays=DEFAULT_LIMITS.stuck_connections_max,
)
def squatters(attacker: Attacker) -> Iterator[None]:
    keys = Keys()
    ids = [bytes([1 + number // 2]) for number in range(200)]
    peers = [attacker.stranger(keys, routing_id=each) for each in ids]
    yield
    attacker.flood_each(peers, encode_frame(Who()))
