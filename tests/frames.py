"""Frames for tests: short constructors, and hypothesis strategies for every frame there is."""

from dataclasses import replace

from hypothesis import strategies as st

from zmqp2p import limits
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.crypto import next_digest
from zmqp2p.ids import InstanceId, Seq, StreamDigest, StreamId
from zmqp2p.session.inbox import Inbox
from zmqp2p.session.outbox import Outbox
from zmqp2p.session.session import Session, SessionFrame
from zmqp2p.wire.encoding import EXTENSIONS_MAX, NUMBER_MAX, VERSIONS_MAX
from zmqp2p.wire.frames import (
    Ack,
    Bulk,
    Bye,
    Data,
    Frame,
    Gap,
    Hello,
    Ignored,
    Ping,
    Pong,
    Progress,
    Refusal,
    Who,
)

STREAM = StreamId(b"s" * 16)
OTHER_STREAM = StreamId(b"t" * 16)
INSTANCE = InstanceId(b"instance")
OTHER_INSTANCE = InstanceId(b"another.")
UNSAID = StreamDigest(b"?" * 16)
"""A digest that a test does not choose: see `honest`."""


def chain(start: bytes, *bodies: bytes) -> StreamDigest:
    """Return the digest of a stream after ``bodies`` more; ``start`` is its id at first."""
    digest = StreamDigest(start)
    for body in bodies:
        digest = next_digest(digest, body)
    return digest


def progress_of(  # noqa: PLR0913  # Each field matters to some test.
    *,
    base: int = 1,
    ack: int = 0,
    received: int | None = None,
    window: tuple[int, int] = (1000, 1_000_000),
    refusals: tuple[Refusal, ...] = (),
    digest: StreamDigest = UNSAID,
) -> Progress:
    """Return a progress; ``received`` is ``ack`` unless it is given."""
    held = ack if received is None else received
    return Progress(Seq(base), Seq(ack), digest, Seq(held), refusals, *window)


def honest(frame: SessionFrame, session: Session) -> SessionFrame:
    """Return ``frame`` of a peer that agrees with ``session``: with the digests left `UNSAID`.

    Those that the session has nothing to compare with stay as they are.
    """
    match frame:
        case Data(seq, digest, progress, bodies):
            digest = following(session.inbox, seq, bodies) if digest == UNSAID else digest
            return Data(seq, digest, agreeing(progress, session.outbox), bodies)
        case Bulk(seq, digest, progress, body):
            digest = following(session.inbox, seq, (body,)) if digest == UNSAID else digest
            return Bulk(seq, digest, agreeing(progress, session.outbox), body)
        case Ack(progress):
            return Ack(agreeing(progress, session.outbox))
        case Gap(progress):
            return Gap(agreeing(progress, session.outbox))
        case Pong(token, progress):
            return Pong(token, agreeing(progress, session.outbox))
        case _:
            return frame


def honest_hello(hello: Hello, session: Session | None) -> Hello:
    """Do the same for a HELLO; without a session it is to somebody never met."""
    base, seen = hello.base_digest, hello.seen_digest
    if base == UNSAID and hello.base == 1:
        base = StreamDigest(hello.stream)
    elif base == UNSAID and session is not None and hello.base == session.inbox.cursor + 1:
        base = session.inbox.digest
    if seen == UNSAID and not hello.seen_stream:
        seen = StreamDigest(b"")
    elif seen == UNSAID and session is not None and hello.seen_stream == session.outbox.stream:
        seen = session.outbox.digest_at(hello.cursor) or UNSAID
    return replace(hello, base_digest=base, seen_digest=seen)


def following(inbox: Inbox, seq: Seq, bodies: tuple[bytes, ...]) -> StreamDigest:
    """Return the digest after a batch that goes on with what ``inbox`` has received."""
    new = max(inbox.received + 1 - seq, 0)
    return chain(inbox._received_digest, *bodies[new:])  # noqa: SLF001  # As the peer counts.


def agreeing(progress: Progress, outbox: Outbox) -> Progress:
    """Return ``progress`` of a peer that has processed what ``outbox`` has sent."""
    if progress.digest != UNSAID:
        return progress
    return replace(progress, digest=outbox.digest_at(progress.ack) or UNSAID)


def refusal_of(
    seq: int, code: RefusalCode = RefusalCode.PAYLOAD_INVALID, reason: str = "no"
) -> Refusal:
    """Return a refusal of message ``seq``."""
    return Refusal(Seq(seq), code, reason)


# --- Strategies ---------------------------------------------------------------------------------

numbers = st.one_of(st.integers(0, 3), st.integers(0, NUMBER_MAX), st.just(NUMBER_MAX))
seqs = numbers.filter(bool).map(Seq)
reasons = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)  # At most 4 bytes each.
stream_ids = st.binary(min_size=16, max_size=16).map(StreamId)
digests = st.binary(min_size=16, max_size=16).map(StreamDigest)


@st.composite
def refusals_up_to(draw: st.DrawFn, ack: int) -> tuple[Refusal, ...]:
    """Return ascending refusals of numbers up to ``ack``."""
    if ack == 0:
        return ()
    chosen = draw(st.sets(st.integers(1, ack), max_size=4))
    codes = st.sampled_from(RefusalCode)
    return tuple(Refusal(Seq(seq), draw(codes), draw(reasons)) for seq in sorted(chosen))


@st.composite
def progresses(draw: st.DrawFn) -> Progress:
    """Return progress that may travel."""
    ack, received = sorted((draw(numbers), draw(numbers)))
    return Progress(
        base=draw(seqs),
        ack=Seq(ack),
        digest=draw(digests),
        received=Seq(received),
        refusals=draw(refusals_up_to(ack)),
        window_messages=draw(numbers),
        window_bytes=draw(numbers),
    )


@st.composite
def hellos(draw: st.DrawFn) -> Hello:
    """Return HELLOs that may travel; the record is any bytes, since the engine judges it."""
    base, next_ = sorted((draw(seqs), draw(seqs)))
    seen = draw(st.one_of(st.just(StreamId(b"")), stream_ids))
    cursor = Seq(draw(numbers)) if seen else Seq(0)
    odd_keys = st.integers(0, 2**62).map(lambda number: 2 * number + 1)
    return Hello(
        versions=tuple(draw(st.lists(numbers, min_size=1, max_size=VERSIONS_MAX))),
        record=draw(st.binary(max_size=300)),
        incarnation=draw(numbers),
        instance=InstanceId(draw(st.binary(min_size=8, max_size=8))),
        stream=draw(stream_ids),
        base=base,
        base_digest=draw(digests),
        next=next_,
        seen_stream=seen,
        cursor=cursor,
        seen_digest=draw(digests) if seen else StreamDigest(b""),
        heard=draw(seqs),
        refusals=draw(refusals_up_to(cursor)),
        window_messages=draw(numbers),
        window_bytes=draw(numbers),
        extensions=draw(st.dictionaries(odd_keys, st.binary(max_size=20), max_size=EXTENSIONS_MAX)),
    )


bodies = st.binary(max_size=40)
bulk_bodies = st.sampled_from([limits.BULK_MIN_BYTES, limits.BULK_MIN_BYTES + 1]).map(bytes)
batches = st.lists(bodies, min_size=1, max_size=5).map(tuple)
datas = st.builds(Data, seqs, digests, progresses(), batches)
bulks = st.builds(Bulk, seqs, digests, progresses(), bulk_bodies)
acks = st.builds(Ack, progresses())
gaps = st.builds(Gap, progresses())
pings = st.builds(Ping, numbers)
pongs = st.builds(Pong, numbers, progresses())
byes = st.builds(Bye, st.sampled_from(ByeCode), reasons)
whos = st.just(Who())
ignored = st.integers(0, 2**62).map(lambda number: Ignored(2 * number + 1))

frames: st.SearchStrategy[Frame] = st.one_of(
    hellos(), datas, bulks, acks, gaps, pings, pongs, byes, whos, ignored
)
