"""The token bucket: what it permits at once, and what in the long run."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from zmqp2p.session.bucket import Bucket


def test_it_permits_a_burst_at_once_and_then_the_rate() -> None:
    bucket = Bucket(8.0, 5.0)
    assert [bucket.take(1.0, 100.0) for _ in range(6)] == [True] * 5 + [False]
    assert not bucket.take(1.0, 100.12)
    assert bucket.take(1.0, 100.125)
    assert not bucket.take(1.0, 100.125)


def test_it_holds_no_more_than_the_burst_however_long_nothing_is_taken() -> None:
    bucket = Bucket(8.0, 5.0)
    assert bucket.take(5.0, 0.0)
    assert not bucket.has(5.001, 1e9)
    assert bucket.take(5.0, 1e9)


def test_what_is_charged_beyond_it_is_paid_for_later() -> None:
    bucket = Bucket(8.0, 5.0)
    bucket.charge(13.0, 0.0)
    assert not bucket.has(0.0, 0.9)
    assert bucket.has(0.0, 1.0)


def test_what_is_earned_counts_up_to_the_burst() -> None:
    bucket = Bucket(8.0, 5.0)
    assert bucket.take(5.0, 0.0)
    bucket.earn(3.0)
    assert not bucket.has(3.001, 0.0)
    bucket.earn(30.0)
    assert not bucket.has(5.001, 0.0)
    assert bucket.take(5.0, 0.0)


def test_a_rate_without_end_always_suffices() -> None:
    bucket = Bucket(inf, inf)
    bucket.charge(1e12, 0.0)
    assert bucket.take(1e12, 0.0)


def test_time_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = Bucket(8.0, 1.0)
    assert bucket.take(1.0, 5.0)
    assert not bucket.take(1.0, 4.0)
    assert not bucket.take(1.0, 5.0)


@given(
    st.floats(0.1, 1000.0),
    st.floats(1.0, 1000.0),
    st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 100.0)), max_size=50),
)
def test_never_more_than_rate_and_burst(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    """Whatever is asked for and when."""
    bucket, now, taken = Bucket(rate, burst), 0.0, 0.0
    for later_s, tokens in steps:
        now += later_s
        taken += tokens if bucket.take(tokens, now) else 0.0
        assert taken <= (rate * now + burst) * (1 + 1e-9)
