"""The sending half: numbers, batches, windows, acknowledgements and the resend timer."""

from dataclasses import replace

import pytest

from tests.chance import seeded
from tests.frames import STREAM, agreeing, chain, progress_of, refusal_of
from zmqp2p import limits as bounds
from zmqp2p.errors import Contradiction, PeerError
from zmqp2p.ids import Seq
from zmqp2p.limits import Limits
from zmqp2p.session.outbox import Outbox, Processed
from zmqp2p.session.room import MESSAGE_BYTES
from zmqp2p.wire.frames import Progress

LIMITS = Limits(rto_initial_s=1.0, rto_min_s=0.05, rto_max_s=60.0)
WIDE = (10_000, 100_000_000)
START = chain(STREAM, b"all that was processed before")


def outbox_of(
    *bodies: bytes, acked: int = 0, window: tuple[int, int] | None = WIDE, new: bool = True
) -> Outbox:
    """Return an outbox on a link that offers ``window``, with ``bodies`` appended if ``new``.

    Otherwise they are what an earlier run stored.
    """
    before = (Seq(acked), START)
    outbox = Outbox(STREAM, before, [] if new else list(bodies), LIMITS, seeded(1))
    if window is not None:
        outbox.resume(Seq(acked), *window)
    for body in bodies if new else ():
        outbox.append(body)
    outbox.check()
    return outbox


def batches(outbox: Outbox, now: float = 0.0) -> list[tuple[int, int]]:
    """Take all that may leave, and return the first number and the length of each batch."""
    taken: list[tuple[int, int]] = []
    while (batch := outbox.take_batch(now)) is not None:
        outbox.check()
        taken.append((batch[0], len(batch[2])))
    return taken


def hear(outbox: Outbox, progress: Progress, now: float) -> Processed | None:
    """Take in the progress of a peer that agrees."""
    return outbox.acknowledge(agreeing(progress, outbox), now)


def receive(outbox: Outbox, received: int, now: float = 0.0, *, ack: int = 0) -> None:
    """Take in that the peer holds up to ``received``, and has processed up to ``ack``."""
    hear(outbox, progress_of(ack=ack, received=received, window=WIDE), now)
    outbox.check()


# --- Numbers and batches ------------------------------------------------------------------------


def test_messages_are_numbered_from_one_without_gaps() -> None:
    """SEQ-1."""
    outbox = outbox_of()
    assert [outbox.append(b"x") for _ in range(3)] == [1, 2, 3]
    assert (outbox.base, outbox.next, len(outbox), outbox.size_bytes) == (1, 4, 3, 3)


def test_a_stored_outbox_goes_on_where_it_was() -> None:
    outbox = outbox_of(b"four", b"five", acked=3, new=False)
    assert (outbox.base, outbox.next, outbox.size_bytes) == (4, 6, 8)
    assert outbox.body(Seq(5)) == b"five"
    assert outbox.append(b"six") == 6
    assert outbox.take_batch(0.0) == (
        4,
        chain(START, b"four", b"five", b"six"),
        [b"four", b"five", b"six"],
    )


def test_nothing_leaves_before_a_link_is_there() -> None:
    outbox = outbox_of(b"x", window=None)
    assert outbox.take_batch(0.0) is None
    assert outbox.deadline is None


def test_messages_leave_in_order_and_once() -> None:
    outbox = outbox_of(b"1", b"2")
    assert outbox.take_batch(0.0) == (1, chain(START, b"1", b"2"), [b"1", b"2"])
    outbox.append(b"3")
    assert outbox.take_batch(0.0) == (3, chain(START, b"1", b"2", b"3"), [b"3"])
    assert outbox.take_batch(0.0) is None


def test_a_batch_is_closed_at_256_messages() -> None:
    assert batches(outbox_of(*[b""] * 600)) == [(1, 256), (257, 256), (513, 88)]


def test_a_batch_is_closed_at_48_kib() -> None:
    """The message that would exceed it begins the next one."""
    kib = bytes(1024)
    assert batches(outbox_of(*[kib] * 100)) == [(1, 48), (49, 48), (97, 4)]
    assert batches(outbox_of(*[kib] * 47, kib + b"x", kib)) == [(1, 47), (48, 2)]


def test_a_large_body_travels_alone() -> None:
    bulk, large = bytes(bounds.BULK_MIN_BYTES), bytes(bounds.BULK_MIN_BYTES - 1)
    assert batches(outbox_of(b"1", bulk, bulk, b"4", large, b"6")) == [
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 3),
    ]


# --- The window ---------------------------------------------------------------------------------


def test_no_more_messages_leave_than_the_window_allows() -> None:
    """WIN-2."""
    outbox = outbox_of(*[b"x"] * 10, window=(3, 1000))
    assert batches(outbox) == [(1, 3)]
    hear(outbox, progress_of(received=2, window=(3, 1000)), 0.0)
    assert batches(outbox) == [(4, 2)]


def test_no_more_bytes_are_in_flight_than_the_window_allows() -> None:
    """WIN-2: what has left and was not received counts against it."""
    outbox = outbox_of(*[b"12345"] * 10, window=(100, 12))
    assert batches(outbox) == [(1, 2)]
    hear(outbox, progress_of(received=1, window=(100, 10)), 0.0)
    assert batches(outbox) == [(3, 1)]
    hear(outbox, progress_of(received=3, window=(100, 4)), 0.0)
    assert batches(outbox) == []
    hear(outbox, progress_of(ack=3, window=(100, 5)), 0.0)
    assert batches(outbox) == [(4, 1)]


def test_a_message_that_does_not_fit_lets_none_pass_it() -> None:
    outbox = outbox_of(b"1234567", b"1", window=(100, 6))
    assert batches(outbox) == []


def test_a_window_may_be_closed() -> None:
    outbox = outbox_of(b"x", window=(0, 1000))
    assert batches(outbox) == []
    hear(outbox, progress_of(window=(1, 1000)), 0.0)
    assert batches(outbox) == [(1, 1)]


def test_a_stale_window_is_not_used() -> None:
    """ACK-5: it counts from a number that lies behind, and would allow other than is meant."""
    outbox = outbox_of(*[b"x"] * 10, window=(4, 1000))
    batches(outbox)
    hear(outbox, progress_of(received=4, window=(2, 1000)), 0.0)
    hear(outbox, progress_of(received=3, window=(6, 1000)), 0.0)
    assert batches(outbox) == [(5, 2)]


# --- Acknowledgements ---------------------------------------------------------------------------


def test_what_was_processed_is_dropped() -> None:
    outbox = outbox_of(b"1", b"22", b"333")
    batches(outbox)
    processed = hear(outbox, progress_of(ack=2), 0.0)
    outbox.check()
    assert processed is not None
    assert (processed.first, processed.last, processed.size_bytes) == (1, 2, 3)
    assert processed.refused == {}
    assert (outbox.base, outbox.next, len(outbox), outbox.size_bytes) == (3, 4, 1, 3)


def test_what_was_received_only_is_kept() -> None:
    """ACK-3: received is in the peer's memory; a crash there loses it."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox)
    assert hear(outbox, progress_of(ack=0, received=2), 0.0) is None
    assert (outbox.base, len(outbox)) == (1, 2)
    outbox.resume(Seq(0), *WIDE)
    assert batches(outbox) == [(1, 2)]


def test_a_refusal_comes_with_the_ack_that_covers_it() -> None:
    """REF-2: with the body, so that its sender can tell what was refused."""
    outbox = outbox_of(b"1", b"2", b"3")
    batches(outbox)
    progress = progress_of(ack=2, refusals=(refusal_of(2),))
    processed = hear(outbox, progress, 0.0)
    assert processed is not None
    assert processed.refused == {2: (refusal_of(2), b"2")}


def test_the_reason_of_a_refusal_is_told_as_text_that_is_safe_to_show() -> None:
    """Receipts, events and logs show it."""
    outbox = outbox_of(b"1")
    batches(outbox)
    raw = replace(refusal_of(1), reason="\x1b[2J")
    processed = hear(outbox, progress_of(ack=1, refusals=(raw,)), 0.0)
    assert processed is not None
    assert processed.refused[Seq(1)][0].reason == r"\x1b[2J"


def test_a_refusal_that_is_repeated_is_reported_once() -> None:
    outbox = outbox_of(b"1", b"2")
    batches(outbox)
    hear(outbox, progress_of(ack=1, refusals=(refusal_of(1),)), 0.0)
    again = hear(outbox, progress_of(ack=2, refusals=(refusal_of(1), refusal_of(2))), 0.0)
    assert again is not None
    assert list(again.refused) == [2]


def test_an_ack_is_news_once() -> None:
    """ACK-4, ACK-5."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox)
    assert hear(outbox, progress_of(ack=2), 0.0) is not None
    assert hear(outbox, progress_of(ack=2), 0.0) is None
    assert hear(outbox, progress_of(ack=1), 0.0) is None
    outbox.check()
    assert outbox.base == 3


@pytest.mark.parametrize("ack", [0, 3])
def test_what_was_never_sent_cannot_be_acknowledged(ack: int) -> None:
    """ACK-1: processed or only received; a message that waits for the window was not sent."""
    outbox = outbox_of(b"1", b"2", b"3", window=(2, 1000))
    batches(outbox)
    with pytest.raises(PeerError) as caught:
        hear(outbox, progress_of(ack=ack, received=3), 0.0)
    assert caught.value.rule == "ACK-1"
    outbox.check()
    assert len(outbox) == 3
    hear(outbox, progress_of(ack=2), 0.0)


def test_what_an_earlier_run_stored_may_be_acknowledged() -> None:
    """It may have been sent before the restart."""
    outbox = outbox_of(b"1", b"2", new=False, window=None)
    outbox.append(b"3")
    processed = hear(outbox, progress_of(ack=2), 0.0)
    assert processed is not None
    assert processed.last == 2
    outbox.check()
    with pytest.raises(PeerError, match="ACK-1"):
        hear(outbox, progress_of(ack=3), 0.0)


def test_an_ack_beyond_what_left_on_this_link_moves_the_sending_on() -> None:
    """After a new link all is to be sent again; an ack may show that it need not be."""
    outbox = outbox_of(b"1", b"2", b"3")
    batches(outbox)
    outbox.resume(Seq(0), *WIDE)
    receive(outbox, 2)
    assert batches(outbox) == [(3, 1)]


# --- Going back ---------------------------------------------------------------------------------


def test_a_gap_is_answered_from_the_missing_number_on() -> None:
    """GAP-1."""
    outbox = outbox_of(b"1", b"2", b"3")
    batches(outbox)
    receive(outbox, 1)
    outbox.go_back()
    outbox.check()
    assert batches(outbox) == [(2, 2)]


def test_one_missing_number_is_gone_back_to_once() -> None:
    """GAP-1: each further batch shows the same gap; the timer sees to a second loss."""
    outbox = outbox_of(b"1", b"2", b"3")
    batches(outbox)
    outbox.go_back()
    assert batches(outbox) == [(1, 3)]
    outbox.go_back()
    assert batches(outbox) == []
    receive(outbox, 1)
    outbox.go_back()
    assert batches(outbox) == [(2, 2)]


def test_with_nothing_in_flight_there_is_nothing_to_go_back_to() -> None:
    outbox = outbox_of(b"1", b"2")
    outbox.go_back()
    batches(outbox)
    outbox.go_back()
    assert batches(outbox) == [(1, 2)]


def test_a_new_link_may_go_back_to_the_same_number() -> None:
    outbox = outbox_of(b"1", b"2")
    for _ in range(2):
        batches(outbox)
        outbox.go_back()
        assert batches(outbox) == [(1, 2)]
        outbox.resume(Seq(0), *WIDE)


# --- Links --------------------------------------------------------------------------------------


def test_a_new_link_resumes_after_what_was_processed() -> None:
    """RES-1: what was only received is sent again, since the peer may have lost it."""
    outbox = outbox_of(b"1", b"2", b"3")
    batches(outbox)
    receive(outbox, 3, ack=1)
    outbox.resume(Seq(1), *WIDE)
    outbox.check()
    assert batches(outbox) == [(2, 2)]


def test_a_new_link_does_not_resume_before_what_is_held() -> None:
    """Two links, of which the one that says HELLO last knows less."""
    outbox = outbox_of(b"1", b"2", b"3")
    batches(outbox)
    receive(outbox, 2, ack=2)
    outbox.resume(Seq(0), *WIDE)
    outbox.check()
    assert batches(outbox) == [(3, 1)]


def test_without_a_link_nothing_is_timed() -> None:
    """RTO-2: the HELLO of the next one resumes."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox)
    outbox.pause()
    outbox.check()
    assert outbox.deadline is None
    assert outbox.tick(1e9) == 0
    assert batches(outbox) == [(1, 2)]  # If the engine has another link: from the start.


# --- The timer ----------------------------------------------------------------------------------


def test_what_is_not_received_in_time_is_sent_again() -> None:
    """RTO-1, RTO-3."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox, now=10.0)
    assert outbox.deadline == 11.0
    assert outbox.tick(10.999) == 0
    assert outbox.tick(11.0) == 2
    outbox.check()
    assert batches(outbox, now=11.0) == [(1, 2)]
    assert outbox.deadline is not None
    assert 13.0 <= outbox.deadline <= 13.5  # Doubled, with jitter.


def test_what_was_received_is_not_sent_again() -> None:
    """A slow handler at the peer is no loss: only the network is timed."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox)
    receive(outbox, 2, now=0.5)
    assert outbox.deadline is None
    assert outbox.tick(1e9) == 0
    assert batches(outbox) == []


def test_the_timer_starts_anew_with_each_progress() -> None:
    """RFC 6298 5.3."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox, now=0.0)
    receive(outbox, 1, now=0.9)
    assert outbox.deadline == 1.9


def test_the_timer_runs_from_what_left_first() -> None:
    """RFC 6298 5.1: sending more does not postpone it."""
    outbox = outbox_of(b"1")
    batches(outbox, now=0.0)
    outbox.append(b"2")
    batches(outbox, now=0.6)
    assert outbox.deadline == 1.0


def test_stale_news_does_not_postpone_the_timer() -> None:
    """ACK-5."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox, now=0.0)
    receive(outbox, 1, now=0.2)
    deadline = outbox.deadline
    receive(outbox, 1, now=0.7)
    receive(outbox, 0, now=0.8)
    assert outbox.deadline == deadline


def test_a_round_trip_is_measured() -> None:
    """RTO-1: from the first batch's leaving to the news that all of it has arrived."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox, now=1.0)
    receive(outbox, 1, now=1.1)
    assert outbox.timer.smoothed_s is None
    receive(outbox, 2, now=1.25)
    assert outbox.timer.smoothed_s == 0.25


def test_one_round_trip_is_measured_at_a_time() -> None:
    outbox = outbox_of(b"1")
    batches(outbox, now=0.0)
    outbox.append(b"2")
    batches(outbox, now=0.5)
    receive(outbox, 2, now=0.75)
    assert outbox.timer.smoothed_s == 0.75
    outbox.append(b"3")
    batches(outbox, now=1.0)
    receive(outbox, 3, now=1.75)
    assert outbox.timer.smoothed_s == 0.75


def test_what_was_sent_twice_is_not_measured() -> None:
    """RTO-1 (Karn): nobody can tell which of the two was answered."""
    outbox = outbox_of(b"1")
    batches(outbox, now=0.0)
    outbox.tick(1.0)
    batches(outbox, now=1.0)
    receive(outbox, 1, now=1.1)
    assert outbox.timer.smoothed_s is None


def test_a_batch_is_measured_by_what_is_new_in_it() -> None:
    """Karn: message 1 goes out again together with 2, which is sent for the first time."""
    outbox = outbox_of(b"1", window=(1, 1000))
    batches(outbox, now=0.0)
    outbox.go_back()
    outbox.append(b"2")
    hear(outbox, progress_of(window=WIDE), 0.1)
    assert batches(outbox, now=0.2) == [(1, 2)]
    receive(outbox, 1, now=0.3)
    assert outbox.timer.smoothed_s is None
    receive(outbox, 2, now=0.6)
    assert outbox.timer.smoothed_s == pytest.approx(0.4)


@pytest.mark.parametrize("interruption", ["pause", "go_back", "resume", "tick"])
def test_a_measurement_is_given_up_when_it_is_interrupted(interruption: str) -> None:
    """The time without a link is no round trip, and what is sent twice is not measured (Karn)."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox, now=0.0)
    match interruption:
        case "pause":
            outbox.pause()
        case "go_back":
            outbox.go_back()
        case "resume":
            outbox.resume(Seq(0), *WIDE)
        case _:
            outbox.tick(1.0)
    batches(outbox, now=2.0)
    receive(outbox, 2, now=5.0)
    assert outbox.timer.smoothed_s is None


def test_after_a_timeout_one_batch_probes_until_something_arrives() -> None:
    """RTO-3: a full window into a network that loses everything would only make it worse."""
    outbox = outbox_of(*[b""] * 600)
    batches(outbox)
    outbox.tick(1.0)
    assert batches(outbox, now=1.0) == [(1, 256)]
    receive(outbox, 1, now=1.2)
    assert batches(outbox, now=1.2) == [(257, 256), (513, 88)]


def test_a_new_link_ends_the_probing() -> None:
    outbox = outbox_of(*[b""] * 600)
    batches(outbox)
    outbox.tick(1.0)
    outbox.resume(Seq(0), *WIDE)
    assert batches(outbox, now=1.0) == [(1, 256), (257, 256), (513, 88)]


def test_progress_ends_the_back_off() -> None:
    outbox = outbox_of(b"1", b"2", b"3")
    batches(outbox, now=0.0)
    outbox.tick(1.0)
    batches(outbox, now=1.0)
    receive(outbox, 1, now=1.5)
    assert outbox.deadline == 2.5


# --- Progress, and pauses of this node ----------------------------------------------------------


def test_what_is_under_way_stalls_from_when_it_left_or_something_arrived() -> None:
    """LIV-5."""
    outbox = outbox_of(*[b"x"] * 600)
    seen = [outbox.stalled_since]
    batches(outbox, 1.0)
    seen.append(outbox.stalled_since)
    receive(outbox, 300, 2.0)
    seen.append(outbox.stalled_since)
    receive(outbox, 300, 2.5, ack=200)  # That it processes is not news of what is under way.
    seen.append(outbox.stalled_since)
    receive(outbox, 600, 3.0)
    seen.append(outbox.stalled_since)
    assert seen == [None, 1.0, 2.0, 2.0, None]


def test_sending_again_is_no_progress() -> None:
    """LIV-5: or a stall would never be seen, since the timer runs out before."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox, 1.0)
    for at in (2.0, 4.5, 9.9):
        outbox.tick(at)
        batches(outbox, at)
        assert outbox.stalled_since == 1.0
    outbox.go_back()
    batches(outbox, 10.0)
    assert outbox.stalled_since == 1.0


def test_nothing_stalls_without_a_link_and_a_new_one_begins_anew() -> None:
    """RTO-2, LIV-5."""
    outbox = outbox_of(b"1")
    batches(outbox, 1.0)
    outbox.pause()
    assert outbox.stalled_since is None
    outbox.resume(Seq(0), *WIDE)
    assert outbox.stalled_since is None
    batches(outbox, 5.0)
    assert outbox.stalled_since == 5.0


def test_what_the_window_holds_back_does_not_stall() -> None:
    """LIV-5: a peer that is slow."""
    outbox = outbox_of(b"1", b"2", window=(1, 1000))
    batches(outbox, 1.0)
    hear(outbox, progress_of(received=1, window=(0, 0)), 1.5)
    assert batches(outbox, 2.0) == []
    assert outbox.stalled_since is None


def test_after_a_pause_the_timer_starts_again_and_what_was_timed_does_not_count() -> None:
    """LIV-6."""
    outbox = outbox_of(b"1")
    batches(outbox, 1.0)
    assert outbox.deadline == 2.0
    outbox.postpone(100.0, 101.5)
    assert (outbox.deadline, outbox.stalled_since) == (102.5, 101.0)
    assert outbox.tick(102.0) == 0
    receive(outbox, 1, 102.0)
    assert outbox.timer.smoothed_s is None


def test_a_timer_is_put_off_once_until_it_starts_again() -> None:
    """LIV-6: a node that is always late must send again all the same."""
    outbox = outbox_of(b"1")
    outbox.postpone(5.0, 0.5)
    batches(outbox, 1.0)
    outbox.postpone(5.0, 8.0)
    outbox.postpone(5.0, 16.0)
    assert outbox.deadline == 9.0
    assert outbox.tick(16.0) == 1
    batches(outbox, 16.0)
    outbox.postpone(5.0, 30.0)
    assert (outbox.deadline or 0.0) > 30.0


# --- The digest (RES-11) ------------------------------------------------------------------------


def test_the_digest_is_known_at_all_that_is_held_and_where_the_peer_has_come_to() -> None:
    """RES-11."""
    outbox = outbox_of(b"1", b"2", b"3")
    batches(outbox)
    assert outbox.digest_at(Seq(0)) == START
    assert outbox.digest_at(Seq(3)) == chain(START, b"1", b"2", b"3")
    assert outbox.digest_at(Seq(4)) is None
    receive(outbox, 2, ack=2)
    assert outbox.digest_at(Seq(1)) is None
    assert outbox.digest_at(Seq(2)) == chain(START, b"1", b"2")
    assert outbox.append(b"4") == 4
    assert outbox.digest_at(Seq(4)) == chain(START, b"1", b"2", b"3", b"4")


def test_a_stored_outbox_goes_on_with_the_digest_where_it_was() -> None:
    """RES-11."""
    outbox = outbox_of(b"four", acked=3, new=False)
    outbox.append(b"five")
    assert outbox.digest_at(Seq(5)) == chain(START, b"four", b"five")


def test_each_batch_comes_with_the_digest_at_its_end() -> None:
    """RES-11: also of the first of several that leave in one turn, and when it is sent again."""
    bulk = bytes(bounds.BULK_MIN_BYTES)
    outbox = outbox_of(b"1", bulk, b"3")
    expected = [(1, [b"1"]), (2, [bulk]), (3, [b"3"])]
    sent = [b"1", bulk, b"3"]
    for _ in range(2):
        for seq, bodies in expected:
            assert outbox.take_batch(0.0) == (seq, chain(START, *sent[:seq]), bodies)
        outbox.go_back()


@pytest.mark.parametrize("ack", [0, 1, 2])
def test_an_ack_of_other_messages_than_were_sent_changes_nothing(ack: int) -> None:
    """RES-11: at the base - 1 too, where nothing is new."""
    outbox = outbox_of(b"1", b"2", b"3")
    batches(outbox)
    other = progress_of(ack=ack, received=3, digest=chain(START, b"another"), window=(0, 0))
    with pytest.raises(Contradiction) as caught:
        outbox.acknowledge(other, 0.0)
    assert str(caught.value) == f"RES-11: other messages up to {ack} than were sent"
    outbox.check()
    assert (outbox.base, len(outbox)) == (1, 3)
    outbox.append(b"4")
    assert batches(outbox) == [(4, 1)]  # Neither received nor the window has changed.


def test_an_ack_from_before_what_is_held_is_not_compared() -> None:
    """RES-11, ACK-5: late news of another link; the digest there is not known any more."""
    outbox = outbox_of(b"1", b"2")
    batches(outbox)
    receive(outbox, 2, ack=2)
    assert outbox.acknowledge(progress_of(ack=1, digest=chain(b"any")), 0.0) is None


# --- What a peer can have sent again (RTO-4) ----------------------------------------------------

BODY = bytes(bounds.BULK_MIN_BYTES)
WINDOW = 200  # Messages of 32 KiB: 6.25 MiB.
MOST_BYTES = LIMITS.resend_burst_bytes + WINDOW * bounds.BULK_MIN_BYTES


def left_bytes(outbox: Outbox, now: float) -> int:
    """Let leave what may, and return how many bytes."""
    total = 0
    while (batch := outbox.take_batch(now)) is not None:
        total += sum(map(len, batch[2]))
    outbox.check()
    return total


def test_a_storm_of_gaps_has_only_so_much_sent_again() -> None:
    """Each says that one message more has come, and asks for all that follow it."""
    outbox = outbox_of(*[BODY] * WINDOW)
    total = left_bytes(outbox, 0.0)
    for received in range(1, WINDOW):
        receive(outbox, received, now=0.1)
        outbox.go_back()
        total += left_bytes(outbox, 0.1)
    assert total <= MOST_BYTES
    assert total > LIMITS.resend_burst_bytes - bounds.BODY_MAX_BYTES


def test_a_window_that_opens_and_shuts_has_only_so_much_sent_again() -> None:
    outbox = outbox_of(*[BODY] * WINDOW)
    total = left_bytes(outbox, 0.0)
    for _ in range(500):
        hear(outbox, progress_of(ack=0, received=0, window=(0, 0)), 0.1)
        hear(outbox, progress_of(ack=0, received=0, window=WIDE), 0.1)
        total += left_bytes(outbox, 0.1)
    assert total <= MOST_BYTES


def test_small_messages_sent_again_count_for_what_they_cost() -> None:
    outbox, sent = outbox_of(*[b"x"] * 5_000), 0
    for _ in range(500):
        sent += left_bytes(outbox, 0.0)
        hear(outbox, progress_of(ack=0, received=0, window=(0, 0)), 0.0)
        hear(outbox, progress_of(ack=0, received=0, window=WIDE), 0.0)
    assert sent < 5_000 + LIMITS.resend_burst_bytes // MESSAGE_BYTES


def test_new_links_have_only_so_much_sent_again() -> None:
    outbox, total = outbox_of(*[BODY] * WINDOW), 0
    for _ in range(50):
        outbox.resume(Seq(0), *WIDE)
        total += left_bytes(outbox, 0.0)
    assert total <= MOST_BYTES


def test_who_has_had_too_much_again_has_the_rest_in_time() -> None:
    """Nothing is lost by it: what is not sent at once is sent a little later."""
    outbox = outbox_of(*[BODY] * WINDOW)
    for _ in range(50):
        left_bytes(outbox, 0.0)
        outbox.resume(Seq(0), *WIDE)
    assert left_bytes(outbox, 0.0) == 0
    assert left_bytes(outbox, 10.0) == 640 * bounds.KIB // len(BODY) * len(BODY) - len(BODY)


def test_who_reads_may_have_as_much_again_as_it_acks() -> None:
    """An ack has the digest of the stream, which nobody knows who has not read it."""
    outbox = outbox_of(*[BODY] * WINDOW)
    for _ in range(50):
        left_bytes(outbox, 0.0)
        outbox.resume(Seq(0), *WIDE)
    receive(outbox, 40, ack=40)
    total = 0
    for _ in range(5):
        total += left_bytes(outbox, 0.0)
        outbox.resume(Seq(40), *WIDE)
    assert total == pytest.approx(2 * 40 * len(BODY), abs=2 * len(BODY))


def test_small_messages_that_are_acked_earn_what_they_cost() -> None:
    """Else many resets would slow down an honest peer, whose messages are small, for good."""
    outbox, step = outbox_of(*[b"x"] * 150_000), 2_000
    again_bytes = 0
    for acked in range(0, 150_000 - 2 * step, step):
        for _ in range(2):  # A link, and another one after a reset; half of it is acked.
            outbox.resume(Seq(acked), 2 * step, 1_000_000)
            again_bytes += 2 * step * MESSAGE_BYTES
            assert left_bytes(outbox, 0.0) == 2 * step
        receive(outbox, acked + step, ack=acked + step)
    assert again_bytes > 2 * LIMITS.resend_burst_bytes


def test_what_a_timeout_sends_again_leaves_in_any_case_and_once() -> None:
    outbox = outbox_of(*[BODY] * WINDOW)
    for _ in range(50):
        left_bytes(outbox, 0.0)
        outbox.resume(Seq(0), *WIDE)
    left_bytes(outbox, 2.0)
    deadline = outbox.deadline
    assert deadline is not None
    assert outbox.tick(deadline) > 0
    outbox._again.charge(1e9, deadline)  # noqa: SLF001  # Nothing is left.
    assert left_bytes(outbox, deadline) == len(BODY)
    hear(outbox, progress_of(ack=0, received=0, window=(0, 0)), deadline)
    hear(outbox, progress_of(ack=0, received=0, window=WIDE), deadline)
    assert left_bytes(outbox, deadline) == 0


def test_what_was_never_sent_is_not_held_up() -> None:
    outbox = outbox_of(*[BODY] * WINDOW)
    outbox._again.charge(1e9, 0.0)  # noqa: SLF001  # Nothing is left.
    assert left_bytes(outbox, 0.0) == WINDOW * len(BODY)
