"""The receiving half: order, duplicates, gaps, the window and refusals."""

import pytest

from tests.frames import STREAM, chain, following, refusal_of
from zmqp2p import limits as bounds
from zmqp2p.codes import RefusalCode
from zmqp2p.errors import Contradiction, PeerError
from zmqp2p.ids import Seq
from zmqp2p.limits import Limits
from zmqp2p.session.inbox import Accepted, Inbox
from zmqp2p.session.room import InboxRoom
from zmqp2p.wire.frames import Refusal

START = chain(STREAM, b"all that was processed before")


START = chain(STREAM, b"all that was processed before")


def inbox_of(
    cursor: int = 0,
    refusals: tuple[Refusal, ...] = (),
    *,
    messages: int = 100,
    size_bytes: int = 1000,
) -> Inbox:
    """Return an inbox with room for ``messages`` of ``size_bytes`` in all."""
    limits = Limits(inbox_max_messages=messages, inbox_max_bytes=size_bytes)
    return Inbox(
        STREAM,
        (Seq(cursor), START),
        list(refusals),
        limits,
        InboxRoom(limits.inbox_total_max_bytes),
    )


def accept(inbox: Inbox, seq: int, *bodies: bytes) -> Accepted:
    """Take in a batch of a sender who agrees, and check the invariant."""
    accepted = inbox.accept(Seq(seq), bodies, following(inbox, Seq(seq), bodies))
    inbox.check()
    return accepted


def process(inbox: Inbox, *, refuse: bool = False) -> tuple[int, bytes]:
    """Take the next message and be done with it."""
    seq, body = inbox.take()
    assert body is not None
    inbox.check()
    if refuse:
        inbox.refuse(RefusalCode.PAYLOAD_INVALID, "no")
    else:
        assert inbox.done() == seq
    inbox.check()
    return seq, body


# --- Order --------------------------------------------------------------------------------------


def test_messages_are_handed_out_in_order() -> None:
    """SEQ-3."""
    inbox = inbox_of()
    assert accept(inbox, 1, b"1", b"2") is Accepted.NEW
    assert accept(inbox, 3, b"3") is Accepted.NEW
    assert inbox.received == 3
    assert [process(inbox) for _ in range(3)] == [(1, b"1"), (2, b"2"), (3, b"3")]
    assert not inbox.ready()


def test_it_goes_on_after_the_stored_cursor() -> None:
    inbox = inbox_of(cursor=7)
    assert accept(inbox, 8, b"8") is Accepted.NEW
    assert process(inbox) == (8, b"8")


def test_a_duplicate_is_known_and_not_kept() -> None:
    """SEQ-2: whether it waits, is in progress or is processed."""
    inbox = inbox_of()
    accept(inbox, 1, b"1", b"2", b"3")
    process(inbox)
    inbox.take()
    for seq in (1, 2, 3):
        assert accept(inbox, seq, b"again") is Accepted.KNOWN
    assert accept(inbox, 1, b"again", b"again", b"again") is Accepted.KNOWN
    inbox.done()
    assert process(inbox) == (3, b"3")


def test_of_a_batch_that_overlaps_only_the_new_part_is_kept() -> None:
    """SEQ-2."""
    inbox = inbox_of()
    accept(inbox, 1, b"1", b"2")
    assert accept(inbox, 2, b"again", b"3") is Accepted.NEW
    assert [process(inbox) for _ in range(3)] == [(1, b"1"), (2, b"2"), (3, b"3")]


def test_what_does_not_follow_is_a_gap_and_not_kept() -> None:
    """GAP-1."""
    inbox = inbox_of()
    assert accept(inbox, 2, b"2") is Accepted.GAP
    accept(inbox, 1, b"1")
    assert accept(inbox, 3, b"3") is Accepted.GAP
    assert inbox.received == 1
    assert process(inbox) == (1, b"1")
    assert not inbox.ready()


# --- In progress --------------------------------------------------------------------------------


def test_one_message_is_in_progress_at_a_time() -> None:
    """SEQ-3."""
    inbox = inbox_of()
    accept(inbox, 1, b"1", b"2")
    assert inbox.ready()
    inbox.take()
    assert not inbox.ready()
    inbox.done()
    assert inbox.ready()


def test_the_cursor_moves_when_a_message_is_done_not_when_it_is_taken() -> None:
    """ACK-3."""
    inbox = inbox_of()
    accept(inbox, 1, b"1")
    inbox.take()
    assert inbox.cursor == 0
    inbox.done()
    assert inbox.cursor == 1


def test_what_follows_can_be_looked_at_where_it_is() -> None:
    inbox = inbox_of()
    accept(inbox, 1, b"a", b"b", b"c")
    assert list(inbox.following(2)) == [(1, b"a"), (2, b"b")]
    inbox.take()
    assert list(inbox.following(9)) == [(2, b"b"), (3, b"c")]
    inbox.check()


def test_a_message_put_back_is_handed_out_again() -> None:
    inbox = inbox_of()
    accept(inbox, 1, b"1", b"2")
    inbox.take()
    inbox.put_back()
    inbox.check()
    assert [process(inbox), process(inbox)] == [(1, b"1"), (2, b"2")]


# --- The window ---------------------------------------------------------------------------------


def test_the_window_is_the_room_that_is_left() -> None:
    """WIN-1: what waits and what is in progress takes room until it is done."""
    inbox = inbox_of(messages=5, size_bytes=100)
    assert inbox.window() == (5, 100)
    accept(inbox, 1, b"1", b"22")
    assert inbox.window() == (3, 97)
    inbox.take()
    assert inbox.window() == (3, 97)
    inbox.done()
    assert inbox.window() == (4, 98)
    process(inbox, refuse=True)
    assert inbox.window() == (5, 100)


def test_a_full_inbox_offers_no_window() -> None:
    inbox = inbox_of(messages=2, size_bytes=3)
    accept(inbox, 1, b"1", b"22")
    assert inbox.window() == (0, 0)
    assert accept(inbox, 1, b"1", b"22") is Accepted.KNOWN


@pytest.mark.parametrize("bodies", [(b"1", b"2", b"3"), (b"1234",)])
def test_more_than_the_window_is_refused(bodies: tuple[bytes, ...]) -> None:
    """WIN-1: in messages or in bytes; nothing of it is kept."""
    inbox = inbox_of(messages=2, size_bytes=3)
    with pytest.raises(PeerError) as caught:
        accept(inbox, 1, *bodies)
    assert caught.value.rule == "WIN-1"
    inbox.check()
    assert inbox.received == 0
    assert accept(inbox, 1, b"1", b"22") is Accepted.NEW


def test_duplicates_do_not_count_against_the_window() -> None:
    inbox = inbox_of(messages=3, size_bytes=3)
    accept(inbox, 1, b"1", b"2")
    assert accept(inbox, 1, b"1", b"2", b"3") is Accepted.NEW


# --- Refusals -----------------------------------------------------------------------------------


def test_a_refused_message_is_processed_too() -> None:
    """REF-2."""
    inbox = inbox_of()
    accept(inbox, 1, b"1", b"2")
    inbox.take()
    refusal = inbox.refuse(RefusalCode.EXPIRED, "late")
    inbox.check()
    assert refusal == Refusal(Seq(1), RefusalCode.EXPIRED, "late")
    assert inbox.refusals == (refusal,)
    assert inbox.cursor == 1
    assert process(inbox) == (2, b"2")


def test_refusals_are_kept_until_they_were_heard() -> None:
    """REF-4."""
    inbox = inbox_of(3, (refusal_of(1), refusal_of(3)))
    assert list(inbox.refusals) == [refusal_of(1), refusal_of(3)]
    assert not inbox.forget_refusals(Seq(0))
    assert inbox.forget_refusals(Seq(2))
    assert list(inbox.refusals) == [refusal_of(3)]
    assert not inbox.forget_refusals(Seq(2))
    assert inbox.forget_refusals(Seq(3))
    assert list(inbox.refusals) == []


def test_processing_pauses_while_too_many_refusals_are_unheard() -> None:
    """REF-4: no more than 64 can travel, and none may be lost."""
    count = bounds.REFUSALS_MAX
    inbox = inbox_of(messages=200)
    accept(inbox, 1, *[b"x"] * (count + 1))
    for _ in range(count):
        process(inbox, refuse=True)
    assert not inbox.ready()
    inbox.forget_refusals(Seq(1))
    assert inbox.ready()
    process(inbox, refuse=True)
    assert len(inbox.refusals) == count


# --- The digest (RES-11) ------------------------------------------------------------------------


def test_the_digest_goes_with_the_cursor() -> None:
    """RES-11: it is that of what was processed, not of what waits or is in progress."""
    inbox = inbox_of()
    accept(inbox, 1, b"1", b"2")
    inbox.take()
    assert (inbox.cursor, inbox.digest) == (0, START)
    inbox.put_back()
    assert process(inbox) == (1, b"1")
    assert inbox.digest == chain(START, b"1")
    assert process(inbox, refuse=True) == (2, b"2")
    assert inbox.digest == chain(START, b"1", b"2")


def test_a_batch_that_does_not_follow_on_the_stream_is_not_kept() -> None:
    """RES-11: its sender has sent other messages before it than have come here."""
    inbox = inbox_of()
    accept(inbox, 1, b"1")
    before = inbox.window()
    with pytest.raises(Contradiction, match="message 3 does not follow on what came before it"):
        inbox.accept(Seq(2), (b"2", b"3"), chain(START, b"another 1", b"2", b"3"))
    inbox.check()
    assert (inbox.received, inbox.window()) == (1, before)
    assert accept(inbox, 2, b"2", b"3") is Accepted.NEW


def test_a_batch_whose_first_part_is_known_must_follow_on_it_too() -> None:
    """RES-11: a digest before the batch would not tell; the known part is not looked at again."""
    inbox = inbox_of()
    accept(inbox, 1, b"1", b"2")
    with pytest.raises(Contradiction):
        inbox.accept(Seq(2), (b"another 2", b"3"), chain(START, b"1", b"another 2", b"3"))
    inbox.check()
    assert inbox.received == 2


def test_a_batch_of_which_nothing_is_new_is_not_compared() -> None:
    """RES-11: it is answered with the digest at the cursor, by which its sender will know."""
    inbox = inbox_of()
    accept(inbox, 1, b"1", b"2")
    assert inbox.accept(Seq(1), (b"another",), chain(START, b"another")) is Accepted.KNOWN
    assert inbox.accept(Seq(9), (b"far",), chain(START, b"far")) is Accepted.GAP


def test_the_window_is_looked_at_before_anything_is_hashed() -> None:
    """WIN-1: a violation is the peer's fault; a contradiction is nobody's."""
    inbox = inbox_of(messages=1)
    with pytest.raises(PeerError, match="WIN-1"):
        inbox.accept(Seq(1), (b"1", b"2"), chain(START, b"wrong"))
