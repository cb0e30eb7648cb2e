"""How long to wait before a peer is dialed again, and how many dials all peers may cost together.

Pure. The wait is a share of the time for which the peer has been gone: 1 % where nobody listens or
nobody answers, so that redialing adds at most so much to an outage; 10 % where somebody answers,
but not as a peer. A peer that says BYE and why is asked again after a fixed while.
"""

from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import assert_never

from zmqp2p.limits import Limits

_AGES_S = (4.0, 32.0, 256.0)  # Gone for less than so long: one group of peers, with its own budget.
_SHARE = 0.01
_ANSWERED_SHARE = 0.1
_BURST = 16  # Dials that may start at once, before the rate counts.


class Failure(Enum):
    """How an attempt, or a link, came to its end."""

    LOST = "lost"  # A link that was up: it may just have been reset.
    REFUSED = "refused"  # Nobody listens there, and that was said at once.
    SILENT = "silent"  # No answer to the connect: an outage, or a long way.
    ANSWERED = "answered"  # Somebody answers, but the link did not come about.
    DENIED = "denied"  # The peer said BYE: it will say the same until somebody does something.


def wait_s(failure: Failure, gone_s: float, limits: Limits) -> float:
    """Return the longest wait for the next attempt; half of it is the shortest."""
    match failure:
        case Failure.LOST:
            wanted_s = limits.redial_min_s
        case Failure.REFUSED:
            wanted_s = max(limits.redial_refused_s, _SHARE * gone_s)
        case Failure.SILENT:
            wanted_s = max(limits.redial_silent_s, _SHARE * gone_s)
        case Failure.ANSWERED:
            share_s = min(_ANSWERED_SHARE * gone_s, limits.redial_denied_s)
            wanted_s = max(limits.redial_refused_s, share_s)
        case Failure.DENIED:
            wanted_s = limits.redial_denied_s
        case _:
            assert_never(failure)
    return min(wanted_s, limits.redial_max_s)


def jittered(longest_s: float, rng: Random) -> float:
    """Return a wait of half of ``longest_s`` to all of it: peers must not dial in step."""
    return longest_s * (0.5 + 0.5 * rng.random())


class DialBudgets:
    """A budget for each age: one that has just gone does not wait for the many that went before."""

    def __init__(self, per_s: float) -> None:
        self._budgets = [DialBudget(per_s) for _ in range(len(_AGES_S) + 1)]

    def take(self, now: float, gone_s: float) -> float:
        """Take the next slot for a peer that has been gone for so long; return when it is."""
        age = sum(gone_s >= age_s for age_s in _AGES_S)
        return self._budgets[age].take(now)


@dataclass(slots=True)
class DialBudget:
    """Slots for dials, at a bounded rate, first come, first served.

    Invariant: in any span of t seconds at most ``per_s * t`` slots and a burst are given.
    """

    per_s: float
    _free_at: float = float("-inf")  # The next slot, unless that is long past.

    def take(self, now: float) -> float:
        """Take the next slot; return when it is, which may be now."""
        slot = max(self._free_at, now - (_BURST - 1) / self.per_s)
        self._free_at = slot + 1 / self.per_s
        return max(slot, now)
