"""What a HELLO means for the two streams of a session: go on from where, or do not go on.

A node restored from an old copy of its store that silently goes on signing is how channel funds
are lost. So before anything flows, both sides compare what they remember (rules RES-1 to RES-11).
"""

from dataclasses import dataclass

from zmqp2p.codes import ByeCode
from zmqp2p.ids import InstanceId, Seq, StreamDigest, StreamId
from zmqp2p.wire.frames import Hello


@dataclass(frozen=True, slots=True)
class Memory:
    """What this node remembers of a session."""

    out_stream: StreamId
    out_base: Seq
    out_sent: Seq  # The highest number that may ever have left.
    in_stream: StreamId  # Empty: nothing was ever received.
    cursor: Seq
    incarnation: int  # The highest of the peer that was seen, 0 if none.
    instance: InstanceId
    in_base: Seq = Seq(1)  # The highest base of the peer's stream that it has said.
    # Of my stream at the cursor that the HELLO says; None if it is not known (any more).
    out_digest: StreamDigest | None = None
    in_digest: StreamDigest = StreamDigest(b"")  # Of the peer's stream at my cursor.


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on: the peer has processed ``acked`` of ours; with ``anew`` its stream begins at base."""

    acked: Seq
    anew: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """Do not go on: the link is refused with ``code``, and the application is told."""

    code: ByeCode
    reason: str


def resume(mine: Memory, hello: Hello) -> Resume | Hold:
    """Compare what both sides remember; pure."""
    return _check_run(mine, hello) or _check_theirs(mine, hello) or _check_ours(mine, hello)


def _check_run(mine: Memory, hello: Hello) -> Hold | None:
    """RES-3, RES-4: an older incarnation is a rolled-back store, an equal one a second copy."""
    if not mine.instance:  # Met for the first time.
        return None
    if hello.incarnation < mine.incarnation:
        detail = f"incarnation {hello.incarnation} after {mine.incarnation}"
        return Hold(ByeCode.STORE_ROLLED_BACK, f"your store is older than you were: {detail}")
    if hello.incarnation == mine.incarnation and hello.instance != mine.instance:
        return Hold(ByeCode.DUPLICATE_INSTANCE, "two nodes run with your identity")
    return None


def _check_theirs(mine: Memory, hello: Hello) -> Hold | None:
    """RES-5, 10, 11: their stream must still hold what I have not processed, and no more."""
    if hello.stream != mine.in_stream:
        return None
    if hello.base > mine.cursor + 1:
        detail = f"you hold from {hello.base}, I have processed {mine.cursor}"
        return Hold(ByeCode.DATA_LOSS, f"I was rolled back: {detail}")
    if hello.base < mine.in_base and not _is_same_run(mine, hello):
        detail = f"you hold from {hello.base}, and held from {mine.in_base} before"
        return Hold(ByeCode.DATA_LOSS, f"your outbox was rolled back: {detail}")  # RES-10.
    if hello.next <= mine.cursor and not _is_same_run(mine, hello):
        detail = f"your next number is {hello.next}, I have processed {mine.cursor}"
        return Hold(ByeCode.DATA_LOSS, f"your outbox was rolled back: {detail}")
    if hello.base == mine.cursor + 1 and hello.base_digest != mine.in_digest:
        detail = f"your messages up to {mine.cursor} are not those that I have processed"
        return Hold(ByeCode.DATA_LOSS, f"one of us was rolled back: {detail}")
    return None


def _check_ours(mine: Memory, hello: Hello) -> Resume | Hold:
    """RES-6, 10, 11: they have processed what was sent and nothing else, and forgotten nothing."""
    anew = hello.stream != mine.in_stream
    if hello.seen_stream != mine.out_stream:
        return Resume(Seq(mine.out_base - 1), anew)  # RES-1: they start at our base.
    # Not compared with the next number: a rolled-back outbox may have been appended to since.
    if hello.cursor > mine.out_sent:
        detail = f"you have processed {hello.cursor}, I have sent up to {mine.out_sent}"
        return Hold(ByeCode.DATA_LOSS, f"my outbox was rolled back: {detail}")
    if hello.cursor < mine.out_base - 1 and not _is_same_run(mine, hello):
        detail = f"you have processed {hello.cursor}, I hold from {mine.out_base}"
        return Hold(ByeCode.DATA_LOSS, f"you were rolled back: {detail}")
    if hello.heard > mine.out_base:
        detail = f"you have heard that I hold from {hello.heard}, I hold from {mine.out_base}"
        return Hold(ByeCode.DATA_LOSS, f"my outbox was rolled back: {detail}")
    if mine.out_digest is not None and hello.seen_digest != mine.out_digest:
        detail = f"what you have processed up to {hello.cursor} is not what I have sent"
        return Hold(ByeCode.DATA_LOSS, f"one of us was rolled back: {detail}")
    return Resume(max(hello.cursor, Seq(mine.out_base - 1)), anew)


def _is_same_run(mine: Memory, hello: Hello) -> bool:
    """A run that was seen cannot have been rolled back: its HELLO is older than its last frames.

    With two links that happens: frames of one overtake the HELLO of the other.
    """
    return hello.instance == mine.instance
