"""How long a peer is waited for, and how many dials all peers may cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqp2p.engine.redial import DialBudget, DialBudgets, Failure, wait_s
from zmqp2p.limits import DEFAULT_LIMITS, Limits

MINUTE, HOUR = 60.0, 3600.0


@pytest.mark.parametrize(
    ("failure", "waits_s"),
    [
        (Failure.LOST, [0.02, 0.02, 0.02, 0.02]),
        (Failure.REFUSED, [0.08, 0.1, 3.0, 30.0]),
        (Failure.SILENT, [0.25, 0.25, 3.0, 30.0]),
        (Failure.ANSWERED, [0.08, 1.0, 5.0, 5.0]),
        (Failure.DENIED, [5.0, 5.0, 5.0, 5.0]),
    ],
)
def test_the_wait_is_a_share_of_the_time_for_which_the_peer_has_been_gone(
    failure: Failure, waits_s: list[float]
) -> None:
    """At most 1 % where nobody answers, 10 % where somebody else does, and nothing where denied."""
    gone_s = (0.0, 10.0, 5 * MINUTE, HOUR)
    assert [wait_s(failure, one, DEFAULT_LIMITS) for one in gone_s] == pytest.approx(waits_s)


@pytest.mark.parametrize("failure", Failure)
def test_no_wait_is_longer_than_the_longest(failure: Failure) -> None:
    limits = Limits(redial_min_s=0.01, redial_max_s=0.05)
    assert wait_s(failure, HOUR, limits) <= 0.05


def test_a_budget_lets_a_few_start_at_once_and_then_keeps_its_rate() -> None:
    budget = DialBudget(100.0)
    slots = [budget.take(50.0) for _ in range(20)]
    assert slots[:16] == [50.0] * 16
    assert slots[16:] == pytest.approx([50.01, 50.02, 50.03, 50.04])


def test_a_budget_that_was_not_used_is_no_larger_for_it() -> None:
    budget = DialBudget(100.0)
    budget.take(0.0)
    assert [budget.take(1000.0) for _ in range(17)][15:] == pytest.approx([1000.0, 1000.01])


def test_each_age_of_absence_has_a_budget_of_its_own() -> None:
    budgets = DialBudgets(100.0)
    for gone_s in (0.0, 3.9, 4.0, 31.9, 32.0, 255.9, 256.0, 1e6):
        slots = [budgets.take(50.0, gone_s) for _ in range(8)]
        assert slots == [50.0] * 8
    assert budgets.take(50.0, 5.0) == pytest.approx(50.01)


@given(st.lists(st.floats(0.0, 0.2), max_size=200), st.floats(0.0, 2.0))
def test_in_no_span_are_there_more_slots_than_the_rate_and_a_burst(
    pauses_s: list[float], span_s: float
) -> None:
    budget, now, slots = DialBudget(100.0), 10.0, []
    for pause_s in pauses_s:
        now += pause_s
        slot = budget.take(now)
        assert slot >= now
        slots.append(slot)
    assert slots == sorted(slots)
    for first in slots:
        within = [slot for slot in slots if first <= slot < first + span_s]
        assert len(within) <= 100.0 * span_s + 17
