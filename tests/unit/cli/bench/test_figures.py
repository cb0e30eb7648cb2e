"""Statistics of the bench, with values known beforehand."""

import pytest

from zmqp2p.cli.bench.figures import (
    Trial,
    median_of,
    outcome_of,
    percentile,
    ratios,
    trial_of,
)
from zmqp2p.cli.bench.script import Outcome


def trial(value: float) -> Trial:
    return Trial(value, value, value, value, value, value, value)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1), (0.0, 1)]
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    share: float, expected: float
) -> None:
    assert percentile(range(1, 101), share) == expected


def test_percentiles_of_few_values_are_among_them() -> None:
    assert [percentile([7.0], share) for share in (0.5, 0.99)] == [7.0, 7.0]
    assert [percentile([1.0, 9.0], share) for share in (0.5, 0.51, 0.99)] == [1.0, 9.0, 9.0]


def test_latencies_may_come_in_any_order() -> None:
    latencies = [number / 1000 for number in range(100, 0, -1)]
    outcome = outcome_of(latencies, 2.0)
    assert (outcome.messages, outcome.elapsed_s) == (100, 2.0)
    times = outcome.p50_ms, outcome.p95_ms, outcome.p99_ms, outcome.max_ms
    assert times == pytest.approx((50.0, 95.0, 99.0, 100.0))


def test_several_senders_count_together_and_the_slowest_tells_the_latency() -> None:
    fast, slow = Outcome(3_000, 1.0, 1, 2, 3, 4), Outcome(3_000, 2.0, 0.5, 5, 6, 7)
    found = trial_of([fast, slow], cpu_s=1.5, peak_bytes=3 * 2**20)
    assert found == Trial(1, 5, 6, 7, rate=3_000.0, cpu_s=2.5, peak_mib=3.0, fairness=0.5)


def test_each_figure_has_its_own_median() -> None:
    first = Trial(1, 20, 3, 4, 50, 6, 7)
    second = Trial(2, 30, 1, 4, 10, 9, 7)
    third = Trial(3, 10, 2, 4, 20, 8, 7)
    assert median_of([first, second, third]) == Trial(2, 20, 2, 4, 20, 8, 7)


def test_a_ratio_says_how_many_times_the_floors_cost_it_is_also_of_rates() -> None:
    measured = Trial(2, 6, 8, 1, rate=50, cpu_s=3, peak_mib=1)
    floor = Trial(1, 2, 4, 1, rate=200, cpu_s=2, peak_mib=1)
    expected = {"p50_ms": 2.0, "p95_ms": 3.0, "p99_ms": 2.0, "rate": 4.0, "cpu_s": 1.5}
    assert ratios(measured, floor) == expected


def test_what_the_floor_used_too_little_of_to_be_measured_has_no_ratio() -> None:
    floor = Trial(1, 1, 1, 1, rate=1, cpu_s=0, peak_mib=1)
    assert "cpu_s" not in ratios(trial(1), floor)
