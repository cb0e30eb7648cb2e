"""The decision table of a resumption: every combination of what the two sides remember."""

from dataclasses import replace

import pytest

from tests.frames import INSTANCE, OTHER_INSTANCE, OTHER_STREAM, STREAM, chain
from zmqp2p.codes import ByeCode
from zmqp2p.ids import InstanceId, Seq, StreamId
from zmqp2p.session.resume import Hold, Memory, Resume, resume
from zmqp2p.wire.frames import Hello

MINE = StreamId(b"m" * 16)

# Wherever the two digests of a stream are compared here, they are the same unless a test says so.
OF_MINE, OF_THEIRS, ANOTHER = chain(MINE), chain(STREAM), chain(OTHER_STREAM)

# I have sent them 1 to 9, of which they have acknowledged 4; of theirs I have processed 6.
MEMORY = Memory(
    out_stream=MINE,
    out_base=Seq(5),
    out_sent=Seq(9),
    in_stream=STREAM,
    cursor=Seq(6),
    incarnation=3,
    instance=INSTANCE,
    in_base=Seq(4),
    out_digest=OF_MINE,
    in_digest=OF_THEIRS,
)
HELLO = Hello(
    versions=(1,),
    record=b"",
    incarnation=3,
    instance=INSTANCE,
    stream=STREAM,
    base=Seq(4),
    base_digest=OF_THEIRS,
    next=Seq(9),
    seen_stream=MINE,
    cursor=Seq(7),
    seen_digest=OF_MINE,
    heard=Seq(5),
    refusals=(),
    window_messages=100,
    window_bytes=1000,
)


def code_of(decision: Resume | Hold) -> ByeCode:
    """Return why it is held."""
    assert isinstance(decision, Hold), decision
    return decision.code


def test_both_go_on_from_what_the_other_has_processed() -> None:
    """RES-1."""
    assert resume(MEMORY, HELLO) == Resume(Seq(7), anew=False)


# --- The run (RES-3, RES-4) ---------------------------------------------------------------------


def test_a_later_incarnation_is_a_restart() -> None:
    hello = replace(HELLO, incarnation=4, instance=OTHER_INSTANCE)
    assert resume(MEMORY, hello) == Resume(Seq(7), anew=False)


def test_an_earlier_incarnation_is_a_store_that_was_rolled_back() -> None:
    """RES-3: even if nothing seems to be missing, and whatever the instance."""
    for instance in (INSTANCE, OTHER_INSTANCE):
        decision = resume(MEMORY, replace(HELLO, incarnation=2, instance=instance))
        assert code_of(decision) is ByeCode.STORE_ROLLED_BACK


def test_one_incarnation_with_two_instances_is_two_nodes_with_one_identity() -> None:
    """RES-4."""
    decision = resume(MEMORY, replace(HELLO, instance=OTHER_INSTANCE))
    assert code_of(decision) is ByeCode.DUPLICATE_INSTANCE


def test_a_peer_met_for_the_first_time_may_be_in_any_incarnation() -> None:
    """RES-4: with nothing to compare, even 0 is no second copy."""
    unknown = replace(MEMORY, incarnation=0, instance=InstanceId(b""))
    for incarnation in (0, 1, 2**64 - 1):
        hello = replace(HELLO, incarnation=incarnation)
        assert resume(unknown, hello) == Resume(Seq(7), anew=False)


def test_a_peer_that_counts_from_zero_is_told_from_its_copy() -> None:
    """RES-4: once known, 0 is an incarnation like any other."""
    known = replace(MEMORY, incarnation=0)
    assert resume(known, replace(HELLO, incarnation=0)) == Resume(Seq(7), anew=False)
    decision = resume(known, replace(HELLO, incarnation=0, instance=OTHER_INSTANCE))
    assert code_of(decision) is ByeCode.DUPLICATE_INSTANCE


# --- Their stream (RES-2, RES-5) ----------------------------------------------------------------


@pytest.mark.parametrize("base", [1, 6, 7])
def test_their_stream_goes_on_while_they_hold_what_i_have_not_processed(base: int) -> None:
    """RES-5: I have processed 6; from 7 on at the latest they must hold it."""
    assert resume(MEMORY, replace(HELLO, base=Seq(base))) == Resume(Seq(7), anew=False)


def test_if_they_have_dropped_what_i_miss_my_store_was_rolled_back() -> None:
    """RES-5."""
    decision = resume(MEMORY, replace(HELLO, base=Seq(8)))
    assert code_of(decision) is ByeCode.DATA_LOSS
    assert isinstance(decision, Hold)
    assert decision.reason == "I was rolled back: you hold from 8, I have processed 6"


def test_if_they_never_sent_what_i_have_processed_their_outbox_was_rolled_back() -> None:
    """RES-5: they would use a number a second time, and I would take the message for known."""
    restarted = replace(HELLO, incarnation=4, instance=OTHER_INSTANCE)
    assert resume(MEMORY, replace(restarted, next=Seq(7))) == Resume(Seq(7), anew=False)
    decision = resume(MEMORY, replace(restarted, next=Seq(6)))
    assert code_of(decision) is ByeCode.DATA_LOSS
    assert isinstance(decision, Hold)
    assert decision.reason == (
        "your outbox was rolled back: your next number is 6, I have processed 6"
    )


@pytest.mark.parametrize("base", [1, 8])
def test_a_stream_that_i_do_not_know_begins_at_its_base(base: int) -> None:
    """RES-2: whatever I have processed of the old one."""
    hello = replace(HELLO, stream=OTHER_STREAM, base=Seq(base))
    assert resume(MEMORY, hello) == Resume(Seq(7), anew=True)
    new = replace(MEMORY, in_stream=StreamId(b""), cursor=Seq(0))
    assert resume(new, hello) == Resume(Seq(7), anew=True)


# --- My stream (RES-1, RES-6) -------------------------------------------------------------------


@pytest.mark.parametrize("seen", [b"", OTHER_STREAM])
def test_if_they_do_not_know_my_stream_it_begins_at_my_base(seen: bytes) -> None:
    """RES-1: their cursor then says nothing about it."""
    hello = replace(HELLO, seen_stream=StreamId(seen), cursor=Seq(99 if seen else 0))
    assert resume(MEMORY, hello) == Resume(Seq(4), anew=False)


@pytest.mark.parametrize("cursor", [4, 9])
def test_my_stream_goes_on_within_what_i_sent_and_hold(cursor: int) -> None:
    """RES-6."""
    assert resume(MEMORY, replace(HELLO, cursor=Seq(cursor))) == Resume(Seq(cursor), anew=False)


def test_if_they_have_processed_what_i_never_sent_my_outbox_was_rolled_back() -> None:
    """RES-6."""
    decision = resume(MEMORY, replace(HELLO, cursor=Seq(10)))
    assert code_of(decision) is ByeCode.DATA_LOSS
    assert isinstance(decision, Hold)
    assert decision.reason == (
        "my outbox was rolled back: you have processed 10, I have sent up to 9"
    )


def test_if_they_forgot_what_they_had_processed_they_were_rolled_back() -> None:
    """RES-6: they acknowledged 4, so I no longer hold it."""
    restarted = replace(HELLO, incarnation=4, instance=OTHER_INSTANCE)
    assert resume(MEMORY, replace(restarted, cursor=Seq(4))) == Resume(Seq(4), anew=False)
    decision = resume(MEMORY, replace(restarted, cursor=Seq(3)))
    assert code_of(decision) is ByeCode.DATA_LOSS
    assert isinstance(decision, Hold)
    assert decision.reason == "you were rolled back: you have processed 3, I hold from 5"


def test_a_hello_that_was_overtaken_by_frames_of_another_link_is_no_alarm() -> None:
    """RES-5, RES-6: a run that was seen cannot be rolled back; what it has said since holds."""
    late = replace(HELLO, base=Seq(1), next=Seq(5), cursor=Seq(2))
    assert resume(MEMORY, late) == Resume(Seq(4), anew=False)


def test_the_same_run_of_the_peer_is_no_excuse_for_my_own_store() -> None:
    """RES-5, RES-6: it is this node that may have been rolled back since."""
    for hello in (replace(HELLO, base=Seq(8)), replace(HELLO, cursor=Seq(10))):
        assert code_of(resume(MEMORY, hello)) is ByeCode.DATA_LOSS


# --- The order of the checks --------------------------------------------------------------------


def test_a_wrong_run_is_told_before_its_streams_are_looked_at() -> None:
    """The code that says most: a rolled-back store explains every gap in the streams."""
    hello = replace(HELLO, incarnation=2, base=Seq(8), cursor=Seq(10))
    assert code_of(resume(MEMORY, hello)) is ByeCode.STORE_ROLLED_BACK


def test_a_gap_in_their_stream_is_told_before_one_in_mine() -> None:
    decision = resume(MEMORY, replace(HELLO, base=Seq(8), cursor=Seq(10)))
    assert isinstance(decision, Hold)
    assert decision.reason.startswith("I was rolled back")


def test_a_new_stream_of_theirs_does_not_excuse_a_gap_in_mine() -> None:
    hello = replace(HELLO, stream=OTHER_STREAM, cursor=Seq(10))
    assert code_of(resume(MEMORY, hello)) is ByeCode.DATA_LOSS


def test_a_stream_that_is_held_from_an_earlier_number_than_before_was_rolled_back() -> None:
    """RES-10: what was appended to the old copy must not pass for what this node has processed."""
    memory = replace(MEMORY, in_base=Seq(5))
    again = replace(HELLO, incarnation=4, instance=OTHER_INSTANCE, next=Seq(12))
    assert code_of(resume(memory, again)) is ByeCode.DATA_LOSS
    assert resume(memory, replace(again, base=Seq(5))) == Resume(Seq(7), anew=False)
    assert resume(memory, replace(HELLO, next=Seq(12))) == Resume(Seq(7), anew=False)  # Overtaken.


# --- The highest base heard, and digests (RES-10, RES-11) ---------------------------------------


def reason_of(decision: Resume | Hold) -> str:
    """Return why it is held, in words."""
    assert code_of(decision) is ByeCode.DATA_LOSS
    assert isinstance(decision, Hold)
    return decision.reason


def test_if_they_have_heard_a_higher_base_than_mine_my_outbox_was_rolled_back() -> None:
    """RES-10: whatever run they are in; a refusal that they have forgotten would become an ack."""
    for instance, incarnation in ((INSTANCE, 3), (OTHER_INSTANCE, 4)):
        hello = replace(HELLO, heard=Seq(6), instance=instance, incarnation=incarnation)
        assert reason_of(resume(MEMORY, hello)) == (
            "my outbox was rolled back: you have heard that I hold from 6, I hold from 5"
        )
    assert resume(MEMORY, replace(HELLO, heard=Seq(5))) == Resume(Seq(7), anew=False)


def test_if_they_have_processed_other_messages_than_i_have_sent_one_of_us_was_rolled_back() -> None:
    """RES-11: the numbers alone agree."""
    decision = resume(MEMORY, replace(HELLO, seen_digest=ANOTHER))
    assert reason_of(decision) == (
        "one of us was rolled back: what you have processed up to 7 is not what I have sent"
    )


def test_if_their_messages_are_others_than_i_have_processed_one_of_us_was_rolled_back() -> None:
    """RES-11: they hold from just after my cursor, so that both know the digest there."""
    decision = resume(MEMORY, replace(HELLO, base=Seq(7), base_digest=ANOTHER))
    assert reason_of(decision) == (
        "one of us was rolled back: your messages up to 6 are not those that I have processed"
    )


def test_what_one_side_does_not_know_any_more_is_not_compared() -> None:
    """RES-11: the other side compares then, with what it has heard from here."""
    assert resume(MEMORY, replace(HELLO, base_digest=ANOTHER)) == Resume(Seq(7), anew=False)
    late = replace(HELLO, cursor=Seq(2), seen_digest=ANOTHER)
    assert resume(replace(MEMORY, out_digest=None), late) == Resume(Seq(4), anew=False)


def test_of_another_stream_nothing_is_compared() -> None:
    """RES-10, RES-11: what they heard and processed of it says nothing about mine."""
    hello = replace(HELLO, seen_stream=OTHER_STREAM, seen_digest=ANOTHER, heard=Seq(99))
    assert resume(MEMORY, hello) == Resume(Seq(4), anew=False)
    anew = replace(HELLO, stream=OTHER_STREAM, base=Seq(7), base_digest=ANOTHER)
    assert resume(MEMORY, anew) == Resume(Seq(7), anew=True)
