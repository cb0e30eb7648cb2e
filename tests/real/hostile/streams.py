"""Attacks of those who have said who they are, with messages."""

from collections.abc import Iterator, Sequence

from tests.frames import chain
from tests.real.hostile.attacks import Attacker, attack
from tests.real.hostile.before_hello import PROTOCOL_ERROR
from tests.real.hostile.raw import Stranger
from tests.real.parties import Note
from zmqp2p import codec, limits
from zmqp2p.ids import Seq, StreamDigest
from zmqp2p.messages import encode_message
from zmqp2p.session.parts import split
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Ack, Bulk, Data, Frame, Gap, Ping, Pong

WINDOW = limits.DEFAULT_LIMITS.inbox_max_messages
WINDOW_BYTES = limits.DEFAULT_LIMITS.inbox_max_bytes
NOTE = encode_message(Note(0, "x"))
_AT_ONCE = 3


def _within_window(
    attacker: Attacker, peers: Sequence[Stranger], bodies: tuple[bytes, ...]
) -> None:
    """Send batches as fast as the node permits; who is refused lets it know that it heard."""
    permitted, acked = {peer: _first_window(peer) for peer in peers}, dict.fromkeys(peers, 0)
    said = dict(acked)  # Once each: RAT-1 ends the link of whoever has nothing new to say.
    while attacker.goes_on():
        for peer in peers:
            for heard in peer.drain():
                if isinstance(heard, Ack | Data | Pong | Gap):
                    acked[peer] = heard.progress.ack
                    permitted[peer] = heard.progress.received + heard.progress.window_messages
            left = permitted[peer] - peer.seq + 1
            if left <= 0:
                if said[peer] != acked[peer] and peer.say(Ack(peer.progress(base=acked[peer] + 1))):
                    said[peer] = acked[peer]
                continue
            batch = bodies[:left]
            data = peer.data(batch, base=acked[peer] + 1)
            said[peer] = acked[peer]
            while attacker.goes_on() and not peer.say(data):
                pass
            attacker.count("messages", len(batch))


def _first_window(peer: Stranger) -> int:
    """Return what its HELLO permits; a sink says none."""
    return peer.theirs.window_messages if peer.theirs is not None else WINDOW


def _bulk(peer: Stranger, body: bytes) -> bool:
    """Send one large body as the next of the stream."""
    digest = chain(peer.digest, body)
    if not peer.say(Bulk(peer.seq, digest, peer.progress(), body)):
        return False
    peer.digest, peer.seq = digest, Seq(peer.seq + 1)
    return True


@attack("messages of one byte, 256 in a batch, at line rate: each is refused")
def one_byte_messages(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    _within_window(attacker, [peer], (b"\x00",) * limits.BATCH_MAX_MESSAGES)


@attack("good messages at line rate: the application handles each")
def good_messages(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    _within_window(attacker, [peer], (NOTE,) * limits.BATCH_MAX_MESSAGES)


@attack("good messages at line rate, by 20 identities")
def good_messages_of_many(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(20)]
    yield
    _within_window(attacker, peers, (NOTE,) * limits.BATCH_MAX_MESSAGES)


@attack("as good_messages_of_many, all within one window and at once")
def bursts(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(20)]
    yield
    bodies = (NOTE,) * limits.BATCH_MAX_MESSAGES
    for _ in range(WINDOW // len(bodies)):
        for peer in peers:
            if attacker.goes_on():
                attacker.count("messages", len(bodies) * peer.say(peer.data(bodies)))
    attacker.rest()


@attack("good messages of 256 KiB at line rate, as many as a window holds, again and again")
def large_messages(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    body = encode_message(Note(0, "x" * (limits.BODY_MAX_BYTES - 20)))
    begun, window_bytes = 0, WINDOW_BYTES
    if peer.theirs is not None:  # A sink says none.
        window_bytes = peer.theirs.window_bytes
    while attacker.goes_on():
        for heard in peer.drain():
            if isinstance(heard, Ack | Pong):
                begun = peer.seq - 1 - heard.progress.received
                window_bytes = heard.progress.window_bytes
        if (begun + 1) * len(body) <= window_bytes and _bulk(peer, body):
            begun += 1
            attacker.count("messages")


@attack("the dearest messages, 8,192 items: a node takes 3 ms to read one; ten ids, three at once")
def costly_messages(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(10)]
    yield
    body = codec.encode((7001, *[((),)] * ((codec.ITEMS_MAX - 2) // 2)))
    acked = dict.fromkeys(peers, 0)
    while attacker.goes_on():
        for peer in peers:
            for heard in peer.drain():
                if isinstance(heard, Ack | Data | Pong | Gap):
                    acked[peer] = heard.progress.ack
            if peer.seq - acked[peer] <= _AT_ONCE:
                data = peer.data((body,), base=acked[peer] + 1)
                attacker.count("messages", peer.say(data))


@attack("all parts but the last of messages of 16 MiB, by 20 identities")
def partial_messages(attacker: Attacker) -> Iterator[None]:
    peers = [attacker.peer() for _ in range(20)]
    yield
    text = "x" * (limits.MESSAGE_MAX_BYTES - 100)
    for part in split(encode_message(Note(0, text)))[:-1]:
        for peer in peers:
            attacker.count("messages", attacker.goes_on() and _bulk(peer, part))
            peer.drain()
    ping = encode_frame(Ping(1))
    while attacker.goes_on():
        for peer in peers:
            peer.push(ping)
            peer.hear(0.01)


@attack(
    "the same numbers with other contents",
    told=("LinkRefused DATA_LOSS", "DataLossDetected", PROTOCOL_ERROR),
)
def reused_numbers(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    frames: list[Frame] = [peer.hello(), peer.data((NOTE,))]
    for number in range(8):
        body = encode_message(Note(number, "other"))
        digest = chain(StreamDigest(peer.stream), body)
        frames.append(Data(Seq(2), digest, peer.progress(), (body,)))
    attacker.storm(peer, *frames)


@attack("numbers far beyond what follows")
def jumps(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    nothing, progress = StreamDigest(bytes(16)), peer.progress()
    beyond = [Data(Seq(2**n), nothing, progress, (b"x",)) for n in range(2, 53)]
    attacker.storm(peer, peer.hello(), *beyond)


@attack("more messages than the window permits, again and again", told=(PROTOCOL_ERROR,))
def overfills(attacker: Attacker) -> Iterator[None]:
    peer = attacker.peer()
    yield
    bodies = (encode_message(Note(0, "x" * 100)),) * limits.BATCH_MAX_MESSAGES
    frames: list[Frame] = [peer.data(bodies) for _ in range(200)]
    attacker.storm(peer, peer.hello(), *frames)
