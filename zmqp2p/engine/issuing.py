"""When this node issues its records: each later than all that still count, whatever its clock did.

A record that was issued too far in the future counts with nobody until its time comes (REC-8), but
one that was issued before it, only a little ahead, counts with everybody. So it is not enough to
know the last one: the instants of the earlier ones are remembered too, durably, before any is seen.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from zmqp2p.engine.instant import Instant
from zmqp2p.engine.output import EngineOutput
from zmqp2p.limits import ISSUED_KEPT_S, ISSUED_MAX, REISSUE_MIN_S, Limits
from zmqp2p.persistence import DropIssued, PutIssued
from zmqp2p.session.bucket import Bucket


@dataclass(slots=True)
class Issuing:
    """Decides when the next record is issued, and when another one is needed.

    Invariant: the instants that are remembered ascend, and are at most `ISSUED_MAX`.
    """

    clock: Instant
    limits: Limits
    output: EngineOutput
    _issued_ms: list[int] = field(default_factory=list)
    _shown_ms: int = 0  # Of the record that is shown now.
    _refused: bool = False
    _refusals: Bucket = field(default_factory=lambda: Bucket(1 / REISSUE_MIN_S, 1.0))

    def load(self, issued_ms: Iterable[int]) -> None:
        """Take up what earlier runs have issued."""
        self._issued_ms = sorted(issued_ms)

    def next_ms(self) -> int:
        """Return when the next record is to be issued, milliseconds since 1970, UTC."""
        earlier = [at_ms + 1 for at_ms in self._issued_ms if self._counts(at_ms)]
        return max([self.clock.utc_ms, *earlier])

    def issued(self, at_ms: int) -> None:
        """A record was issued at ``at_ms``; it is not seen before that is stored."""
        self._shown_ms, self._refused = at_ms, False
        self.output.writes.append(PutIssued(at_ms))
        from_ms = self.clock.utc_ms - int(ISSUED_KEPT_S * 1000)
        known_ms = {*self._issued_ms, at_ms}
        self._issued_ms = sorted(each for each in known_ms if each >= from_ms)
        if len(self._issued_ms) > ISSUED_MAX:
            del self._issued_ms[self._least_missed()]
        dropped = known_ms.difference(self._issued_ms)
        self.output.writes += [DropIssued(each) for each in sorted(dropped)]

    def refused(self) -> None:
        """A peer that was dialed says that a newer record than that shown is known.

        This node may know nothing of it: its store may be new. So another one is issued, but not
        often: a peer that lies must not make this node sign and write without end.
        """
        self._refused |= self._refusals.take(1, self.clock.now)

    def is_overtaken(self) -> bool:
        """Whether the record that is shown counts less than another: a newer one is needed.

        An earlier one was issued in the future, which has come or was the present all the time.
        """
        if self._refused:
            return True
        later = bisect_right(self._issued_ms, self._shown_ms)
        return later < len(self._issued_ms) and self._counts(self._issued_ms[later])

    def check(self) -> None:
        """Assert the invariant."""
        assert self._issued_ms == sorted(set(self._issued_ms))
        assert len(self._issued_ms) <= ISSUED_MAX

    def _counts(self, at_ms: int) -> bool:
        return at_ms <= self.clock.utc_ms + int(self.limits.clock_skew_max_s * 1000)

    def _least_missed(self) -> int:
        """Return the place of the instant that is followed soonest by another.

        If just those two lie on either side of what counts, one record is not late enough, and
        that is found out as soon as the other one counts too.
        """
        times = self._issued_ms
        return min(range(len(times) - 1), key=lambda place: times[place + 1] - times[place])
