"""The supervisor: two workers exchange items while they are disturbed, and nothing may go wrong."""

import queue
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from time import monotonic
from typing import Protocol

from tests.soak.items import Tally, read_tally
from tests.soak.party import News, Party, WorkerFailed

KILL_DELAY_MAX_S = 0.05  # From a worker's report to its kill: it must not hit the same code always.


class Disturbance(Protocol):
    """Something that goes wrong at times."""

    @property
    def next_at(self) -> float:
        """When `act` is to be called, monotonic seconds; infinity: never."""
        ...

    def act(self, progress: float) -> None:
        """Do what is due; ``progress`` is the delivered share of everything, 0 to 1."""
        ...

    def end(self) -> None:
        """Heal everything and do no more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to happen.

    ``kills`` are shares of the progress, 0 to 1, by party: each is killed so often, no sooner than
    that, and not before it has got further than when it was killed last; if that never comes, when
    everything is delivered ("idle").
    """

    messages: int  # In each direction.
    timeout_s: float
    kills: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    together: bool = False  # Both are killed whenever one is.
    channels: int = 0  # That must be funded on both sides at the end.
    seed: int = 0


@dataclass(slots=True)
class Outcome:
    """What came of it; both directions together."""

    expected: int
    sent: int
    acked: int
    tallies: tuple[Tally, Tally]
    resent: int
    reconnects: int
    kills: int
    idle_kills: int  # Of those, with nothing left to deliver.
    channels: tuple[int, int]
    worst_stall_s: float
    stalled_until: float  # Monotonic seconds, as in the workers' logs.
    duration_s: float
    faults: list[str] = field(default_factory=list)  # Broken promises, a timeout, a worker's end.

    @property
    def delivered(self) -> int:
        return sum(tally.count for tally in self.tallies)

    @property
    def lost(self) -> int:
        """Sent or to be sent, and not processed."""
        return sum(tally.lost(self.expected // 2) for tally in self.tallies)

    @property
    def doubled(self) -> int:
        return sum(tally.doubled for tally in self.tallies)

    @property
    def reordered(self) -> int:
        return sum(tally.reordered for tally in self.tallies)

    @property
    def corrupt(self) -> int:
        return sum(tally.corrupt for tally in self.tallies)

    @property
    def flawless(self) -> bool:
        """Whether everything came once, in order, unchanged, and was acked."""
        flaws = self.lost + self.doubled + self.reordered + self.corrupt
        complete = self.delivered == self.acked == self.sent == self.expected
        return flaws == 0 and complete and not self.faults


class _Stall:
    """The longest time for which a receiver got nothing while something was on its way to it."""

    def __init__(self) -> None:
        self.worst_s = self.worst_until = 0.0
        self._since = monotonic()
        self._received = 0

    def look(self, received: int, sent: int) -> None:
        now = monotonic()
        if sent > self._received and now - self._since > self.worst_s:
            self.worst_s, self.worst_until = now - self._since, now
        if received > self._received or received == sent:
            self._since, self._received = now, received


class Exchange:
    """One run of two parties. Runs once."""

    def __init__(
        self, parties: tuple[Party, Party], plan: Plan, disturbances: Sequence[Disturbance] = ()
    ) -> None:
        self._parties = parties
        self._plan = plan
        self._disturbances = disturbances
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._rng = Random(plan.seed)
        self._due = [sorted(kills, reverse=True) for kills in plan.kills]
        self._kill_at = [inf, inf]
        self._idle_kills = 0
        self._stalls = (_Stall(), _Stall())

    def run(self) -> Outcome:
        """Exchange everything, or give up at the plan's timeout; say what came of it."""
        began = monotonic()
        faults: list[str] = []
        with ExitStack() as stack:
            for disturbance in self._disturbances:
                stack.callback(disturbance.end)
            for party in self._parties:
                stack.callback(party.abandon)
                self._start(party)
            try:
                self._work(began + self._plan.timeout_s)
                duration_s = monotonic() - began
                for disturbance in self._disturbances:
                    disturbance.end()
                for party in self._parties:
                    party.finish()
            except (WorkerFailed, TimeoutError) as fault:
                faults.append(str(fault))
                duration_s = monotonic() - began
        return self._outcome(duration_s, faults)

    def _work(self, give_up_at: float) -> None:
        while not self._complete():
            now = monotonic()
            if now >= give_up_at:
                raise TimeoutError(f"not complete within {self._plan.timeout_s:g} s")
            self._act(now)
            wake_at = min(give_up_at, *self._kill_at, *(d.next_at for d in self._disturbances))
            with suppress(queue.Empty):
                self._take(self._news.get(timeout=max(wake_at - now, 0.001)))
            for party, stall, other in self._directions():
                stall.look(party.received, other.sent)

    def _complete(self) -> bool:
        killed = not any(self._due) and self._kill_at == [inf, inf]
        return killed and self._delivered()

    def _delivered(self) -> bool:
        """Whether both are up and know that everything has been delivered."""
        total = self._plan.messages
        return all(
            party.ready
            and party.sent == party.acked == party.received == total
            and party.channels >= self._plan.channels
            for party in self._parties
        )

    def _take(self, news: News) -> None:
        news.party.take(news)
        index = self._parties.index(news.party)
        due = self._due[index]
        if not due or self._kill_at[index] < inf or not news.party.ready:
            return
        idle = self._delivered()
        if idle or (news.party.moved and self._progress() >= due[-1]):
            at = monotonic() + self._rng.uniform(0, KILL_DELAY_MAX_S)
            for each in range(len(self._due)) if self._plan.together else (index,):
                self._idle_kills += idle
                self._due[each].pop()
                self._kill_at[each] = at

    def _act(self, now: float) -> None:
        due = [i for i, at in enumerate(self._kill_at) if at <= now]
        for index in due:  # All of them, before any is started again.
            self._parties[index].kill()
            self._kill_at[index] = inf
        for index in due:
            self._start(self._parties[index])
        for disturbance in self._disturbances:
            if disturbance.next_at <= now:
                disturbance.act(self._progress())

    def _start(self, party: Party) -> None:
        first, second = self._parties
        other = second if party is first else first
        party.start(self._news, other.acked)

    def _progress(self) -> float:
        received = sum(party.received for party in self._parties)
        return received / (2 * self._plan.messages)

    def _directions(self) -> Sequence[tuple[Party, _Stall, Party]]:
        (first, second), (at_first, at_second) = self._parties, self._stalls
        return ((first, at_first, second), (second, at_second, first))

    def _outcome(self, duration_s: float, faults: list[str]) -> Outcome:
        first, second = self._parties
        stall = max(self._stalls, key=lambda each: each.worst_s)
        return Outcome(
            expected=2 * self._plan.messages,
            sent=first.sent + second.sent,
            acked=first.acked + second.acked,
            tallies=(_tally(first), _tally(second)),
            resent=first.resent + second.resent,
            reconnects=first.reconnects + second.reconnects,
            kills=first.kills + second.kills,
            idle_kills=self._idle_kills,
            channels=(first.channels, second.channels),
            worst_stall_s=stall.worst_s,
            stalled_until=stall.worst_until,
            duration_s=duration_s,
            faults=[*faults, *first.broken, *second.broken],
        )


def _tally(party: Party) -> Tally:
    """Return the account: from the store's file if there is one, or as the worker said."""
    if party.task.store is not None:
        return read_tally(Path(party.task.store))
    return Tally(*party.tally)
