"""Attacks of those who have said who they are: valid keys, a valid record, and ill will."""

from collections.abc import Iterator
from dataclasses import replace

from tests.frames import chain
from tests.real.hostile.attacks import Attacker, attack
from tests.real.hostile.before_hello import DRAIN_EVERY, _flood
from tests.real.hostile.raw import HOUR_MS, Stranger, now_ms
from tests.real.parties import Note
from zmqp2p import codec, limits
from zmqp2p.ids import InstanceId, Seq, StreamDigest, StreamId
from zmqp2p.messages import encode_message
from zmqp2p.session.parts import split
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Ack, Bulk, Data, Frame, Gap, Ping, Pong, Who

MAIL = 5_000


def _storm(attacker: Attacker, peer: Stranger, *frames: Frame) -> None:
    _flood(attacker, peer, [encode_frame(frame) for frame in frames])


def _stream(attacker: Attacker, peer: Stranger, bodies: tuple[bytes, ...]) -> None:
    """Send DATA as fast as the node takes it, within its window, and let refusals go."""
    acked, number, left = 0, 0, 16_384
    while attacker.goes_on():
        if left >= len(bodies):
            data = peer.data(bodies, base=acked + 1)
            while attacker.goes_on() and not peer.say(data):
                pass
            attacker.count("messages", len(bodies))
        number += 1
        if left < len(bodies) or number % 8 == 0:
            for heard in peer.drain():
                if isinstance(heard, Ack | Data | Pong | Gap):
                    acked = heard.progress.ack
                    left_after = heard.progress.received + heard.progress.window_messages
                    left = left_after - peer.seq + 1
                    attacker.count("answers")
            if left < len(bodies):
                peer.say(Ack(peer.progress(base=acked + 1)))
        left -= len(bodies) if left >= len(bodies) else 0


@attack("HELLO at line rate, good each time; it reads the answers")
def hello_storm(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    _storm(attacker, peer, peer.hello())


@attack("HELLO at line rate, and reads nothing: the answers pile up")
def hello_deaf(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(4)]
    yield
    hellos = [encode_frame(peer.hello()) for peer in peers]
    while attacker.goes_on():
        for peer, hello in zip(peers, hellos, strict=True):
            attacker.count("messages", peer.push(hello))


@attack("PING at line rate")
def ping_storm(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    _storm(attacker, peer, Ping(1), Ping(2))


@attack("64 messages refused, never heard of; then PING without reading the answers")
def refusals_deaf(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(8)]
    yield
    for peer in peers:
        peer.say(peer.data((b"\xff" * 100,) * limits.REFUSALS_MAX))
    frames = [encode_frame(peer.hello(next=Seq(65))) for peer in peers]
    while attacker.goes_on():
        for peer, frame in zip(peers, frames, strict=True):
            attacker.count("messages", peer.push(frame))


@attack("GAP at line rate, with 5,000 messages for it on the way", mail=MAIL)
def gap_storm(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    _storm(attacker, peer, Gap(peer.progress()))


@attack("a window of none and of all in turn: 5,000 messages are sent again each time", mail=MAIL)
def window_flaps(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    shut = replace(peer.progress(), window_messages=0, window_bytes=0)
    while attacker.goes_on():
        attacker.count("messages", peer.say(Ack(shut)) + peer.say(Ack(peer.progress())))
        for _ in range(64):
            if peer.hear() is None:
                break
            attacker.count("answers")


@attack("reads nothing and acknowledges nothing, with 5,000 messages for it; PINGs", mail=MAIL)
def never_acks(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    ping = encode_frame(Ping(1))
    while attacker.goes_on():
        attacker.count("messages", peer.push(ping))


@attack("WHO at line rate")
def who_storm(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    _storm(attacker, peer, Who())


@attack("messages of one byte, 256 in a batch, at line rate: each is refused")
def one_byte_messages(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    _stream(attacker, peer, (b"\x00",) * limits.BATCH_MAX_MESSAGES)


@attack("good messages at line rate: the application handles each")
def good_messages(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    body = encode_message(Note(0, "x"))
    _stream(attacker, peer, (body,) * limits.BATCH_MAX_MESSAGES)


@attack("good messages at line rate, by 20 identities")
def good_messages_of_many(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(20)]
    yield
    bodies = (encode_message(Note(0, "x")),) * limits.BATCH_MAX_MESSAGES
    while attacker.goes_on():
        for peer in peers:
            if peer.seq < 16_000 or attacker.rng.random() < 0.1:
                attacker.count("messages", len(bodies) * peer.say(peer.data(bodies)))
            peer.drain()


@attack("bodies of 256 KiB at line rate, each a good message")
def large_messages(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    body = encode_message(Note(0, "x" * (limits.BODY_MAX_BYTES - 20)))
    while attacker.goes_on():
        digest = chain(peer.digest, body)
        bulk = Bulk(peer.seq, digest, peer.progress(), body)
        if peer.say(bulk):
            peer.digest, peer.seq = digest, Seq(peer.seq + 1)
            attacker.count("messages")
        attacker.count("answers", len(peer.drain()))


@attack("first parts of messages of 16 MiB, by 20 identities, and never the last one")
def partial_messages(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(20)]
    yield
    text = "x" * (limits.MESSAGE_MAX_BYTES - 100)
    parts = split(encode_message(Note(0, text)))[:-1]
    for part in parts:
        for peer in peers:
            digest = chain(peer.digest, part)
            bulk = Bulk(peer.seq, digest, peer.progress(), part)
            if attacker.goes_on() and peer.say(bulk):
                peer.digest, peer.seq = digest, Seq(peer.seq + 1)
                attacker.count("messages")
            peer.drain()
    while attacker.goes_on():
        for peer in peers:
            peer.say(Ping(1))
            peer.hear(0.01)


@attack("acknowledges what was never sent", told=("LinkRefused PROTOCOL_ERROR",))
def acks_the_unsent(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    _storm(attacker, peer, peer.hello(), Ack(peer.progress(ack=9)))


@attack(
    "the same number with other contents",
    told=("LinkRefused DATA_LOSS", "DataLossDetected", "LinkRefused PROTOCOL_ERROR"),
)
def reused_numbers(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    frames = [peer.hello(), peer.data((encode_message(Note(0, "one")),))]
    for number in range(8):
        body = encode_message(Note(number, "other"))
        digest = chain(StreamDigest(peer.stream), body)
        frames.append(Data(Seq(2), digest, peer.progress(), (body,)))
    _storm(attacker, peer, *frames)


@attack("numbers far beyond the window")
def jumps(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    frames = [
        Data(Seq(2**n), StreamDigest(bytes(16)), peer.progress(), (b"x",)) for n in range(2, 53)
    ]
    _storm(attacker, peer, peer.hello(), *frames)


@attack("more messages than the window permits", told=("LinkRefused PROTOCOL_ERROR",))
def overfills(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    bodies = (encode_message(Note(0, "x" * 100)),) * limits.BATCH_MAX_MESSAGES
    frames = [encode_frame(peer.data(bodies)) for _ in range(200)]
    hello = encode_frame(peer.hello())
    while attacker.goes_on():
        for frame in frames:
            attacker.count("messages", peer.push(frame))
        peer.push(hello)
        peer.drain()


@attack("HELLO with one stream and another in turn: the inbox begins anew each time")
def stream_flaps(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    streams = [StreamId(attacker.rng.randbytes(16)) for _ in range(2)]
    hellos = [peer.hello(stream=one, base_digest=StreamDigest(one)) for one in streams]
    _storm(attacker, peer, *hellos)


@attack("HELLO of a new run each time: an incarnation higher")
def incarnation_flaps(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    incarnation = 1
    while attacker.goes_on():
        incarnation += 1
        instance = InstanceId(attacker.rng.randbytes(8))
        attacker.count("messages", peer.say(peer.hello(incarnation=incarnation, instance=instance)))
        if incarnation % DRAIN_EVERY == 0:
            peer.drain()


@attack("HELLO with a newer record each time: the contact is stored each time")
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


@attack("50 links of one identity, each of them saying PING")
def many_links(attacker: Attacker) -> Iterator[None]:
    first = attacker.peer()
    peers = [attacker.stranger(first.keys) for _ in range(50)]
    yield
    for peer in peers:
        peer.say(first.hello())
    ping = encode_frame(Ping(3))
    while attacker.goes_on():
        for peer in peers:
            attacker.count("messages", peer.push(ping))
            peer.drain()


@attack("garbage after a good HELLO, again and again", told=("LinkRefused PROTOCOL_ERROR",))
def turncoat(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    _flood(attacker, peer, [encode_frame(peer.hello()), (b"\xc1" * 300,)])


@attack("messages of 131,000 items, 128 KiB each: a node takes 50 ms to read one")
def costly_messages(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    body = codec.encode((7001, (0,) * 131_000))
    while attacker.goes_on():
        digest = chain(peer.digest, body)
        if attacker.done["messages"] < 150 and peer.say(
            Bulk(peer.seq, digest, peer.progress(), body)
        ):
            peer.digest, peer.seq = digest, Seq(peer.seq + 1)
            attacker.count("messages")
        peer.drain()
