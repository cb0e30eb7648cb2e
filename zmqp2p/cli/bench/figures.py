"""Statistics: percentiles of latencies, medians of trials, ratios to the floor. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields

from zmqp2p.cli.bench.script import Outcome


@dataclass(frozen=True, slots=True)
class Trial:
    """One workload, run once: what the sender measured and what all its processes used."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    rate: float  # Acked messages, or channels, per second.
    cpu_s: float  # Per 10,000 messages, of all processes of the kind that are here.
    peak_mib: float  # The resident memory of the process that used most.
    fairness: float = 1.0  # Of several senders: the slowest one's rate to the fastest one's.


LOWER_IS_BETTER = ("p50_ms", "p95_ms", "p99_ms", "cpu_s")
_CPU_MESSAGES = 10_000


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of ``ordered``, ascending, that ``share`` of them do not exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def outcome_of(latencies_s: list[float], elapsed_s: float) -> Outcome:
    """Return the outcome of messages that took ``latencies_s``, at least one, in any order."""
    ordered = sorted(latencies_s)
    p50, p95, p99 = (percentile(ordered, share) * 1000 for share in (0.5, 0.95, 0.99))
    return Outcome(len(ordered), elapsed_s, p50, p95, p99, ordered[-1] * 1000)


def trial_of(outcomes: Sequence[Outcome], cpu_s: float, peak_bytes: int) -> Trial:
    """Return the trial that several senders took part in at the same time.

    Its latencies are those of the sender that fared worst: percentiles cannot be added up.
    """
    messages = sum(outcome.messages for outcome in outcomes)
    rates = [outcome.messages / outcome.elapsed_s for outcome in outcomes]
    return Trial(
        p50_ms=max(outcome.p50_ms for outcome in outcomes),
        p95_ms=max(outcome.p95_ms for outcome in outcomes),
        p99_ms=max(outcome.p99_ms for outcome in outcomes),
        max_ms=max(outcome.max_ms for outcome in outcomes),
        rate=messages / max(outcome.elapsed_s for outcome in outcomes),
        cpu_s=cpu_s * _CPU_MESSAGES / messages,
        peak_mib=peak_bytes / 2**20,
        fairness=min(rates) / max(rates),
    )


def median_of(trials: Sequence[Trial]) -> Trial:
    """Return the median of each figure by itself; the figures may come from different trials."""
    names = [field.name for field in fields(Trial)]
    return Trial(**{name: statistics.median(getattr(t, name) for t in trials) for name in names})


def ratios(measured: Trial, floor: Trial) -> dict[str, float]:
    """Return how many times the floor's cost each figure is: 1 is as good, 2 half as good.

    A rate's ratio is the floor's to the measured one, so that for all of them less is better.
    """
    found = {
        name: getattr(measured, name) / getattr(floor, name)
        for name in LOWER_IS_BETTER
        if getattr(floor, name) > 0
    }
    return {**found, "rate": floor.rate / measured.rate}
