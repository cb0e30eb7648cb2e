"""The numbers of RFC 6298, computed by hand."""

import pytest

from tests.chance import Least, Most
from zmqp2p.limits import Limits
from zmqp2p.session.rto import ResendTimer

LIMITS = Limits(rto_initial_s=1.0, rto_min_s=0.05, rto_max_s=60.0)


def timer_of(*samples_s: float) -> ResendTimer:
    """Return a timer without jitter that has seen ``samples_s``."""
    timer = ResendTimer(LIMITS, Least())
    for sample_s in samples_s:
        timer.sample(sample_s)
    return timer


def test_before_any_measurement_the_timeout_is_the_initial_one() -> None:
    timer = timer_of()
    assert timer.smoothed_s is None
    assert timer.timeout_s() == 1.0


def test_the_first_measurement_gives_three_times_itself() -> None:
    """RTO-1; RFC 6298 2.2: SRTT = R, RTTVAR = R / 2, RTO = SRTT + 4 RTTVAR."""
    timer = timer_of(0.1)
    assert timer.smoothed_s == 0.1
    assert timer.timeout_s() == pytest.approx(0.3)


def test_later_measurements_are_smoothed() -> None:
    """RFC 6298 2.3: first RTTVAR, with the old SRTT, and then SRTT."""
    timer = timer_of(0.1, 0.2)
    variation_s = 0.75 * 0.05 + 0.25 * 0.1
    assert timer.smoothed_s == pytest.approx(0.875 * 0.1 + 0.125 * 0.2)
    assert timer.timeout_s() == pytest.approx(0.1125 + 4 * variation_s)
    timer.sample(0.05)
    variation_s = 0.75 * variation_s + 0.25 * (0.1125 - 0.05)
    smoothed_s = 0.875 * 0.1125 + 0.125 * 0.05
    assert timer.smoothed_s == pytest.approx(smoothed_s)
    assert timer.timeout_s() == pytest.approx(smoothed_s + 4 * variation_s)


def test_the_timeout_is_never_below_its_floor() -> None:
    assert timer_of(*[0.001] * 50).timeout_s() == 0.05


def test_each_expiry_doubles_the_timeout() -> None:
    """RTO-1; RFC 6298 5.5."""
    timer = timer_of(0.1)
    for factor in (1, 2, 4, 8):
        assert timer.timeout_s() == pytest.approx(0.3 * factor)
        timer.expired()


def test_the_floor_is_doubled_too() -> None:
    timer = timer_of(*[0.001] * 50)
    timer.expired()
    assert timer.timeout_s() == pytest.approx(0.1)


def test_the_timeout_is_never_above_its_ceiling() -> None:
    """And the doubling stops there, or it would overflow after a thousand times."""
    timer = timer_of(0.1)
    for _ in range(2000):
        timer.expired()
        assert timer.timeout_s() <= 60.0
    assert timer.timeout_s() == 60.0
    timer.sample(0.1)
    assert timer.timeout_s() < 1.0


def test_a_huge_measurement_is_capped_without_back_off() -> None:
    timer = timer_of(100.0)
    assert timer.timeout_s() == 60.0
    timer.sample(0.1)
    assert timer.timeout_s() == 60.0  # The smoothing remembers; the back-off must not go below 1.


def test_a_measurement_ends_the_back_off() -> None:
    timer = timer_of(0.1)
    timer.expired()
    timer.sample(0.1)
    assert timer.timeout_s() == pytest.approx(0.1 + 4 * 0.75 * 0.05)


def test_progress_ends_the_back_off_and_measures_nothing() -> None:
    timer = timer_of(0.1)
    timer.expired()
    timer.progressed()
    assert timer.timeout_s() == pytest.approx(0.3)


def test_only_a_backed_off_timeout_is_jittered_and_only_upwards() -> None:
    """So that two peers do not resend in step; by a quarter at most."""
    timer = ResendTimer(LIMITS, Most())
    assert timer.timeout_s() == 1.0
    timer.expired()
    assert timer.timeout_s() == pytest.approx(2.5)


# --- How long a link may be silent --------------------------------------------------------------

LIVENESS = Limits(silence_max_s=1.5, silence_slow_max_s=20.0)


def silence_of(*samples_s: float) -> float:
    """Return how long a link may be silent after ``samples_s``, with default timers."""
    timer = ResendTimer(LIVENESS, Least())
    for sample_s in samples_s:
        timer.sample(sample_s)
    return timer.silence_s()


def test_a_link_may_be_silent_for_three_timeouts_but_no_less_than_the_limit() -> None:
    """LIV-4."""
    assert silence_of(*[0.1] * 50) == 1.5
    assert silence_of(0.5) == pytest.approx(3 * 1.5)
    assert silence_of(*[2.0] * 100) == pytest.approx(6.0, abs=0.1)
    assert silence_of(10.0) == 20.0


def test_the_back_off_does_not_lengthen_the_silence() -> None:
    """LIV-4: it grows because nothing comes."""
    timer = ResendTimer(LIVENESS, Least())
    timer.sample(0.01)
    for _ in range(10):
        timer.expired()
    assert timer.silence_s() == 1.5


def test_before_it_is_measured_a_link_has_two_seconds_and_then_twice_as_long() -> None:
    """LIV-4: until an answer comes."""
    timer = ResendTimer(LIVENESS, Least())
    limits_s = []
    for _ in range(5):
        limits_s.append(timer.unmeasured_silence_s())
        timer.died_unmeasured()
    assert limits_s == [2.0, 4.0, 8.0, 16.0, 20.0]
    timer.sample(0.01)
    assert timer.unmeasured_silence_s() == 2.0
    timer.sample(3.0)
    assert timer.unmeasured_silence_s() == timer.silence_s() > 3.0
    assert timer.samples == 2
