"""What a HELLO means for the two streams of a session: go on from where, or do not go on.

A node restored from an old copy of its store that silently goes on signing is how channel funds
are lost. So before anything flows, both sides compare what they remember (rules RES-1 to RES-10).
"""

from dataclasses import dataclass

from zmqp2p.codes import ByeCode
from zmqp2p.ids import InstanceId, Seq, StreamId
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


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on: the peer has processed ``acked`` of ours; with ``restart`` its stream begins anew."""

    acked: Seq
    restart: tuple[StreamId, Seq] | None


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
    """RES-5, RES-10: their stream must still hold what this node has not processed, and no more."""
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
    return None


def _check_ours(mine: Memory, hello: Hello) -> Resume | Hold:
    """RES-6: they must not have processed what was never sent, nor forgotten what they had."""
    anew = hello.stream != mine.in_stream
    restart = (hello.stream, Seq(hello.base - 1)) if anew else None
    if hello.seen_stream != mine.out_stream:
        return Resume(Seq(mine.out_base - 1), restart)  # RES-1: they start at our base.
    # Not compared with the next number: a rolled-back outbox may have been appended to since.
    if hello.cursor > mine.out_sent:
        detail = f"you have processed {hello.cursor}, I have sent up to {mine.out_sent}"
        return Hold(ByeCode.DATA_LOSS, f"my outbox was rolled back: {detail}")
    if hello.cursor < mine.out_base - 1 and not _is_same_run(mine, hello):
        detail = f"you have processed {hello.cursor}, I hold from {mine.out_base}"
        return Hold(ByeCode.DATA_LOSS, f"you were rolled back: {detail}")
    return Resume(max(hello.cursor, Seq(mine.out_base - 1)), restart)


def _is_same_run(mine: Memory, hello: Hello) -> bool:
    """A run that was seen cannot have been rolled back: its HELLO is older than its last frames.

    With two links that happens: frames of one overtake the HELLO of the other.
    """
    return hello.instance == mine.instance
