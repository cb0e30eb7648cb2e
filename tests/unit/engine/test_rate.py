"""How often something may happen: a burst, then so often, whoever asks however often."""

from zmqp2p.engine.rate import Rates


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


def test_what_is_charged_besides_is_missing_later() -> None:
    """Who misbehaves pays for several, and is not forgotten for it."""
    rates = Rates(each=(1.0, 2), total=(1e9, 1e9))
    assert not rates.is_spent("mallory", 0.0)  # Never heard of.
    assert rates.allows("mallory", 0.0)
    assert not rates.is_spent("mallory", 0.0)
    rates.charge("mallory", 5.0, 0.0)
    assert rates.is_spent("mallory", 4.9)
    assert not rates.allows("mallory", 4.9)
    assert rates.allows("mallory", 5.0)
    assert rates.is_spent("mallory", 5.0)
    assert not rates.is_spent("alice", 5.0)
