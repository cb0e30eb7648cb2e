"""Attacks of those who have said who they are, with frames that a node answers or acts upon."""

from collections.abc import Iterator
from dataclasses import replace

from tests.real.hostile.attacks import DRAIN_EVERY, Attacker, attack
from tests.real.hostile.before_hello import PROTOCOL_ERROR
from tests.real.hostile.raw import HOUR_MS, now_ms
from zmqp2p import limits
from zmqp2p.ids import InstanceId, Seq, StreamDigest, StreamId
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Ack, Gap, Ping, Who

MAIL = 5_000


@attack("HELLO at line rate, good each time; the answers are read")
def hello_storm(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    attacker.storm(peer, peer.hello())


@attack("HELLO at line rate by four identities that read no answer: the answers pile up")
def hello_deaf(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(4)]
    yield
    attacker.flood_deaf(peers, *[encode_frame(peer.hello()) for peer in peers])


@attack("as hello_deaf, and each answer has 64 refusals that are never heard of")
def refusals_deaf(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(8)]
    yield
    for peer in peers:
        peer.say(peer.data((b"\xff" * 100,) * limits.REFUSALS_MAX))
    attacker.flood_deaf(peers, *[encode_frame(peer.hello(next=Seq(65))) for peer in peers])


@attack("PING at line rate")
def ping_storm(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    attacker.storm(peer, Ping(1), Ping(2))


@attack("ACKs that say nothing new at line rate, by 20 identities", told=(PROTOCOL_ERROR,))
def idle_acks(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(20)]
    yield
    attacker.flood_each(peers, *[encode_frame(Ack(peer.progress())) for peer in peers])


@attack("WHO at line rate")
def who_storm(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    attacker.storm(peer, Who())


@attack("GAP at line rate, with 5,000 messages on the way to it", mail=MAIL)
def gap_storm(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    attacker.storm(peer, Gap(peer.progress()))


@attack("a window of none and of all in turn, with 5,000 messages that could be sent", mail=MAIL)
def window_flaps(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    shut = replace(peer.progress(), window_messages=0, window_bytes=0)
    attacker.storm(peer, Ack(shut), Ack(peer.progress()))


@attack("PING at line rate; reads and acknowledges none of 5,000 messages", mail=MAIL)
def never_acks(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    attacker.flood_deaf([peer], encode_frame(Ping(1)))


@attack("acknowledges what was never sent, again and again", told=(PROTOCOL_ERROR,))
def acks_the_unsent(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    attacker.storm(peer, peer.hello(), Ack(peer.progress(ack=9)))


@attack("HELLO with one stream and another in turn: the inbox begins anew each time")
def stream_flaps(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    streams = [StreamId(attacker.rng.randbytes(16)) for _ in range(2)]
    hellos = [peer.hello(stream=one, base_digest=StreamDigest(one)) for one in streams]
    attacker.storm(peer, *hellos)


@attack("HELLO of a new run each time: an incarnation higher")
def incarnation_flaps(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    incarnation = 1
    while attacker.goes_on():
        incarnation += 1
        instance = InstanceId(attacker.rng.randbytes(8))
        said = peer.say(peer.hello(incarnation=incarnation, instance=instance))
        attacker.count("messages", said)
        if incarnation % DRAIN_EVERY == 0:
            peer.drain()


@attack("HELLO with a newer record each time: the contact could be stored each time")
def record_flaps(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    issued = now_ms()
    while attacker.goes_on():
        issued += 1
        endpoints = tuple(f"tcp://192.0.2.{n}:{issued % 60_000 + 1}" for n in range(1, 9))
        record = peer.keys.record(
            issued_ms=issued, expires_ms=issued + HOUR_MS, endpoints=endpoints
        )
        attacker.count("messages", peer.say(peer.hello(record)))
        if issued % DRAIN_EVERY == 0:
            peer.drain()


@attack("50 links of one identity, each of them saying PING", told=(PROTOCOL_ERROR,))
def many_links(attacker: Attacker) -> Iterator[None]:
    first = attacker.peer()
    peers = [attacker.stranger(first.keys) for _ in range(50)]
    yield
    for peer in peers:
        peer.say(first.hello())
    attacker.flood_each(peers, encode_frame(Ping(3)))


@attack("garbage after a good HELLO, again and again", told=(PROTOCOL_ERROR,))
def turncoat(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    attacker.flood(peer, encode_frame(peer.hello()), (b"\xc1" * 300,))
