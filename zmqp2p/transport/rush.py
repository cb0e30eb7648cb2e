"""Whether more connections come at once than are served soon: a restarted node's peers all do.

A handshake takes libzmq's one thread about a millisecond, and those under way share it. If all that
come are let in, or the oldest go for the newest, none is done in time: each is given up by its peer
or here, and comes again, for ever. (Of 1,000 peers, 32,000 dials for 10 s, and 10,000 for good.) So
those that are in hand are served first, and others are kept waiting where it costs nothing.

That is for honest peers, of which something comes within a second. If as many are older, they are
of a flood that says nothing; then the rules of `Arrivals` count, by which nobody is kept out.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

_STEP_S = 0.25  # Connections are counted by when they came, in steps of this;
_YOUNG_STEPS = 4  # those of the last so many steps are young.


@dataclass(slots=True)
class Rush:
    """The connections in hand, at most ``most`` young ones; times are monotonic seconds.

    Invariant: the counts are those of the connections in hand.
    """

    most: int
    _since: dict[Hashable, int] = field(default_factory=dict)  # In steps.
    _came: Counter[int] = field(default_factory=Counter)  # How many in which step.

    def begin(self, connection: Hashable, now: float) -> None:
        """A connection has come."""
        step = self._since[connection] = int(now / _STEP_S)
        self._came[step] += 1

    def end(self, connection: Hashable) -> None:
        """A message has come over it, or it has ended, or will be; once is enough."""
        step = self._since.pop(connection, None)
        if step is not None:
            self._came[step] -= 1
            if not self._came[step]:
                del self._came[step]

    def is_full(self, now: float) -> bool:
        """Whether there are more than may be: the newest is to go, before it costs anything."""
        return self._exceeds(self.most, now)

    def is_crowded(self, now: float) -> bool:
        """Whether it is time to keep others waiting; it takes a moment till that is so."""
        return self._exceeds(self.most // 2, now)

    def has_room(self, now: float) -> bool:
        """Whether, after it was crowded, others may come; there is work for a moment still."""
        return not self._exceeds(self.most // 4, now)

    def check(self) -> None:
        """Assert the invariant."""
        assert self._came == Counter(self._since.values())

    def _exceeds(self, most: int, now: float) -> bool:
        step = int(now / _STEP_S)
        young = sum(self._came[each] for each in range(step + 1 - _YOUNG_STEPS, step + 1))
        return young > max(most, len(self._since) - young)
