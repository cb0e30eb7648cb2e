"""How often something may happen: a burst, then so often, whoever asks however often."""

from zmqp2p.engine.rate import Rate, Rates


def allowed(rate: Rate, at: float, asked: int) -> int:
    """Return how many of so many are let through at one instant."""
    return sum(rate.allows(at) for _ in range(asked))


def test_a_burst_at_once_and_then_so_many_each_second() -> None:
    rate = Rate(per_s=2.0, burst=5)
    assert allowed(rate, 100.0, 50) == 5
    assert allowed(rate, 100.4, 50) == 0
    assert allowed(rate, 101.0, 50) == 2
    assert allowed(rate, 200.0, 50) == 5  # No more than a burst is ever saved up.


def test_what_was_refused_is_not_paid_for() -> None:
    rate = Rate(per_s=1.0, burst=1)
    assert allowed(rate, 0.0, 1000) == 1
    assert allowed(rate, 1.0, 1000) == 1


def test_a_clock_that_stands_still_gives_nothing() -> None:
    rate = Rate(per_s=1.0, burst=1)
    assert allowed(rate, 5.0, 1) == 1
    assert allowed(rate, 4.0, 1) == 0


def test_one_source_does_not_use_up_what_is_for_all() -> None:
    rates = Rates(each=(1.0, 2), total=(1.0, 4))
    assert sum(rates.allows("mallory", 0.0) for _ in range(100)) == 2
    assert [rates.allows("alice", 0.0) for _ in range(3)] == [True, True, False]
    assert not rates.allows("carol", 0.0)  # The four for all are gone.


def test_sources_that_are_made_up_are_not_all_remembered() -> None:
    rates = Rates(each=(1.0, 1), total=(1e9, 1e9))
    for number in range(5_000):
        assert rates.allows(str(number), 0.0)
    rates.check()
    assert not rates.allows("4999", 0.0)
    assert rates.allows("0", 0.0)  # Forgotten: it is as if it had never come.
