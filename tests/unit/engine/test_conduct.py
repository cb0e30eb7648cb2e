"""Points for bad conduct: they add up, they decay, and bans grow longer."""

import pytest

from zmqp2p.engine.conduct import (
    CONTRADICTION_POINTS,
    FORGERY_POINTS,
    UNWELCOME_POINTS,
    VIOLATION_POINTS,
    Conduct,
)
from zmqp2p.limits import Limits

LIMITS = Limits()
HALF_LIFE_S = LIMITS.conduct_half_life_s


def conduct(most: int = 100) -> Conduct[str]:
    """Return one in which nobody was blamed."""
    return Conduct(LIMITS, most)


def test_points_add_up_and_halve_with_time() -> None:
    scores = conduct()
    scores.blame("eve", 40.0, 0.0)
    scores.blame("eve", 10.0, HALF_LIFE_S)
    assert scores.points("eve", HALF_LIFE_S) == pytest.approx(30.0)
    assert scores.points("eve", 2 * HALF_LIFE_S) == pytest.approx(15.0)
    assert scores.points("bob", HALF_LIFE_S) == 0.0
    scores.check()


def test_ten_violations_at_once_are_a_ban_and_nine_are_not() -> None:
    scores = conduct()
    bans = [scores.blame("eve", VIOLATION_POINTS, 0.0) for _ in range(10)]
    assert bans == [None] * 9 + [LIMITS.ban_min_s]
    assert scores.points("eve", 0.0) == 0.0
    scores.check()


def test_each_ban_is_twice_as_long_as_the_one_before_up_to_the_longest() -> None:
    scores, now, bans = conduct(), 0.0, []
    for _ in range(9):
        ban_s = scores.blame("eve", 100.0, now)
        assert ban_s is not None
        bans.append(ban_s)
        now += ban_s + 1.0
    assert bans[:4] == [60.0, 120.0, 240.0, 480.0]
    assert bans[-1] == LIMITS.ban_max_s


def test_who_was_good_for_long_enough_begins_anew() -> None:
    scores = conduct()
    assert scores.blame("eve", 100.0, 0.0) == 60.0
    end = LIMITS.ban_min_s + LIMITS.ban_max_s
    assert scores.blame("eve", 100.0, end) == 120.0
    assert scores.blame("eve", 100.0, end + 120.0 + LIMITS.ban_max_s + 1.0) == 60.0


@pytest.mark.parametrize("points", [UNWELCOME_POINTS, CONTRADICTION_POINTS])
def test_bad_luck_at_the_pace_of_redials_is_never_a_ban(points: float) -> None:
    """A denied node asks again after 2.5 to 5 s, and its peer dials it at that pace too."""
    scores, worst = conduct(), 0.0
    for step in range(10_000):
        now = step * LIMITS.redial_denied_s / 4
        assert scores.blame("bob", points, now) is None
        worst = max(worst, scores.points("bob", now))
    assert 60.0 < worst < 75.0


def test_bad_luck_at_line_rate_is_a_ban() -> None:
    scores = conduct()
    bans = [scores.blame("eve", UNWELCOME_POINTS, step / 100) for step in range(102)]
    assert [ban for ban in bans if ban] == [LIMITS.ban_min_s]


def test_forgeries_weigh_like_violations() -> None:
    assert FORGERY_POINTS == VIOLATION_POINTS


def test_only_so_many_are_remembered_and_the_best_behaved_are_forgotten() -> None:
    scores = conduct(most=2)
    for who in ("a", "b", "a", "c"):
        scores.blame(who, 50.0 if who != "a" else 30.0, 0.0)
        scores.check()
    assert [scores.points(who, 0.0) for who in "abc"] == [60.0, 0.0, 50.0]
