"""Frames for tests: short constructors, and hypothesis strategies for every frame there is."""

from hypothesis import strategies as st

from zmqp2p import limits
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.ids import InstanceId, Seq, StreamId
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


def progress_of(
    *,
    base: int = 1,
    ack: int = 0,
    received: int | None = None,
    window: tuple[int, int] = (1000, 1_000_000),
    refusals: tuple[Refusal, ...] = (),
) -> Progress:
    """Return a progress; ``received`` is ``ack`` unless it is given."""
    held = ack if received is None else received
    return Progress(Seq(base), Seq(ack), Seq(held), refusals, *window)


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
        next=next_,
        seen_stream=seen,
        cursor=cursor,
        refusals=draw(refusals_up_to(cursor)),
        window_messages=draw(numbers),
        window_bytes=draw(numbers),
        extensions=draw(st.dictionaries(odd_keys, st.binary(max_size=20), max_size=EXTENSIONS_MAX)),
    )


bodies = st.binary(max_size=40)
bulk_bodies = st.sampled_from([limits.BULK_MIN_BYTES, limits.BULK_MIN_BYTES + 1]).map(bytes)
datas = st.builds(Data, seqs, progresses(), st.lists(bodies, min_size=1, max_size=5).map(tuple))
bulks = st.builds(Bulk, seqs, progresses(), bulk_bodies)
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
