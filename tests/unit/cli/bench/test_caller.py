"""A peer with no node behind it dials as one that has: overlapping, jittered, till it is in."""

from itertools import pairwise
from random import Random

from tests.engine_world import LOW, record_of
from zmqp2p.cli.bench.caller import Caller


def caller() -> Caller:
    """Return one that has not dialed yet."""
    return Caller(record_of(LOW), Random(0))


def dial(sut: Caller) -> tuple[float, int, list[int]]:
    """Let the next attempt begin; return when, which, and those that it ends."""
    ended: list[int] = []
    while True:
        at = sut.deadline()
        assert at is not None
        attempt, more = sut.tick(at)
        sut.check()
        ended += more
        if attempt is not None:
            return at, attempt, ended


def test_while_nobody_answers_attempts_overlap_and_the_oldest_goes_on() -> None:
    sut = caller()
    begun = [dial(sut) for _ in range(6)]
    assert [attempt for _, attempt, _ in begun] == [0, 1, 2, 3, 4, 5]
    assert [ended for _, _, ended in begun] == [[], [], [], [], [1], [2]]
    waits = [after[0] - before[0] for before, after in pairwise(begun)]
    assert all(0.125 <= wait <= 0.25 for wait in waits)
    assert len(set(waits)) == len(waits)


def test_the_first_attempt_that_is_up_is_used_and_the_others_end() -> None:
    sut = caller()
    for _ in range(3):
        at, _, _ = dial(sut)
    assert sut.came_up(1, at) == [0, 2]
    assert sut.came_up(2, at) is None  # It is not needed any more.
    assert not sut.greeted(2)
    assert sut.greeted(1)
    assert sut.deadline() is None


def test_who_is_not_answered_after_a_handshake_dials_again() -> None:
    sut = caller()
    at, attempt, _ = dial(sut)
    assert sut.came_up(attempt, at) == []
    late, again, ended = dial(sut)
    assert (again, ended) == (1, [0])
    assert late > at + 2.0
    assert not sut.greeted(0)


def test_an_attempt_of_which_nothing_is_heard_is_given_up() -> None:
    sut = caller()
    began_at, _, _ = dial(sut)
    ended: list[int] = []
    while 0 not in ended:
        at, _, ended = dial(sut)
    assert began_at + 15.0 <= at < began_at + 16.0


def test_a_connection_that_is_cut_is_followed_by_another() -> None:
    sut = caller()
    at, attempt, _ = dial(sut)
    sut.ended(attempt, at, in_use=False)
    sut.check()
    again_at, attempt, _ = dial(sut)
    assert again_at <= at + 0.08
    sut.came_up(attempt, again_at)
    sut.ended(attempt, again_at, in_use=False)
    again_at, attempt, _ = dial(sut)
    sut.came_up(attempt, again_at)
    assert sut.greeted(attempt)
    sut.ended(attempt - 1, 50.0, in_use=False)  # That was over already.
    assert sut.deadline() is None
    sut.ended(attempt, 50.0, in_use=True)
    assert 50.0 < dial(sut)[0] <= 50.02


def test_after_an_outage_the_wait_is_what_was_left_of_the_last_one() -> None:
    """Those that were refused all the time do not dial in step when it ends."""
    waits = []
    for seed in range(50):
        sut = Caller(record_of(LOW), Random(seed))
        at, attempt, _ = dial(sut)
        sut.came_up(attempt, at)
        sut.greeted(attempt)
        sut.restarted(100.0, 3.0)
        sut.check()
        waits.append(dial(sut)[0] - 100.0)
    assert 0 <= min(waits) < 0.02
    assert 0.05 < max(waits) <= 0.08


def test_after_a_long_outage_the_next_attempt_is_a_hundredth_of_it_away() -> None:
    sut = caller()
    at, attempt, _ = dial(sut)
    sut.came_up(attempt, at)
    sut.greeted(attempt)
    sut.restarted(1_000.0, 100.0)
    first_at, second_at = dial(sut)[0], dial(sut)[0]
    assert 1_000.0 <= first_at <= 1_001.0
    assert 0.5 <= second_at - first_at <= 1.01
