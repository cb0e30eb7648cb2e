"""How badly peers have behaved lately, and when it is enough.

Points are given for what is proven to be a peer's: it came over a link on which CURVE authenticated
its key, and breaks a rule that no honest implementation breaks. So nobody can be made to look bad
by somebody else. Points for what an honest node may do in bad luck (its store was rolled back, its
record has expired) are so few that at the pace of its redials they never add up to a ban: see
docs/adr/ADR-0021-limits-after-authentication.md, which has the sums.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import pow  # noqa: A004  # Unlike **, it says that it returns a float.
from typing import Generic, TypeVar

from zmqp2p.engine.bans import Bans
from zmqp2p.engine.instant import Instant
from zmqp2p.ids import Address, CurveKey
from zmqp2p.limits import Limits
from zmqp2p.session.handshake import Link
from zmqp2p.wire.encoding import clip_reason

K = TypeVar("K")


VIOLATION_POINTS = 10.0  # Broke a rule of the wire: no honest node does, ten times in a row.
FORGERY_POINTS = 10.0  # A message not signed by its sender, or that no node can have encoded.
UNWELCOME_POINTS = 1.0  # A HELLO that was refused. An honest node asks again after some 5 s.
CONTRADICTION_POINTS = 1.0  # A store was rolled back, here or there; likewise.


@dataclass(slots=True)
class _Standing:
    points: float
    at: float  # When they were counted.
    bans: int = 0  # In a row.


class Conduct(Generic[K]):
    """Points by what names their subjects: an address, or a CURVE key.

    Pure: ``now`` is monotonic seconds. Points halve every `Limits.conduct_half_life_s`.
    Invariant: at most ``most`` subjects are remembered; who was good for longest makes room.
    """

    def __init__(self, limits: Limits, most: int) -> None:
        self._limits = limits
        self._most = most
        self._standings: dict[K, _Standing] = {}  # Whoever was blamed last comes last.

    def blame(self, subject: K, points: float, now: float) -> float | None:
        """Add ``points``; return for how many seconds to ban the subject, if it is enough.

        Each ban is twice as long as the one before, until the subject has been good for the time
        of the longest.
        """
        limits = self._limits
        standing = self._standings.pop(subject, None)
        if standing is None or now - standing.at > limits.ban_max_s + self._ban_s(standing):
            standing = _Standing(0.0, now)
        standing.points = self._decayed(standing, now) + points
        standing.at = now
        if len(self._standings) >= self._most:
            del self._standings[next(iter(self._standings))]
        self._standings[subject] = standing
        if standing.points < limits.conduct_max_points:
            return None
        standing.points = 0.0
        standing.bans += 1
        return self._ban_s(standing)

    def points(self, subject: K, now: float) -> float:
        """Return the points of ``subject`` as they are now."""
        standing = self._standings.get(subject)
        return 0.0 if standing is None else self._decayed(standing, now)

    def check(self) -> None:
        """Assert the invariant."""
        assert len(self._standings) <= self._most
        for standing in self._standings.values():
            assert 0.0 <= standing.points < self._limits.conduct_max_points

    def _ban_s(self, standing: _Standing) -> float:
        if standing.bans == 0:
            return 0.0
        return min(self._limits.ban_min_s * 2.0 ** (standing.bans - 1), self._limits.ban_max_s)

    def _decayed(self, standing: _Standing, now: float) -> float:
        half_lives = (now - standing.at) / self._limits.conduct_half_life_s
        return standing.points * pow(0.5, half_lives)


@dataclass(slots=True)
class Judge:
    """Blames whoever is proven to have done something, and has those banned for whom it is enough.

    A peer is known by its address once its HELLO was accepted; before that, who dialed us is known
    by its CURVE key. Where CURVE proves nothing (security "none"), nobody is to blame.
    """

    clock: Instant
    limits: Limits
    ban: Callable[[Address, float, str], None]  # Its links are closed with it.
    keys: Bans[CurveKey]
    _addresses: Conduct[Address] = field(init=False)
    _keys: Conduct[CurveKey] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nobody to blame."""
        self._addresses = Conduct(self.limits, self.limits.peers_max)
        self._keys = Conduct(self.limits, self.limits.bans_max)

    def blame(self, link: Link, points: float, why: str) -> None:
        """Give ``points`` to who is at the other end of ``link``, which may be closed by now."""
        key, now = link.curve_key, self.clock.now
        if key is None:
            return
        if link.peer is not None:
            ban_s = self._addresses.blame(link.peer, points, now)
            if ban_s is not None:
                self.ban(link.peer, ban_s, clip_reason(f"too many violations, the last one: {why}"))
        elif not link.dialed:  # The key that was dialed is the application's to choose.
            ban_s = self._keys.blame(key, points, now)
            if ban_s is not None:
                self.keys.add(key, now + ban_s, f"too many violations, the last one: {why}")

    def points(self, address: Address) -> float:
        """Return how many points ``address`` has now."""
        return self._addresses.points(address, self.clock.now)

    def check(self) -> None:
        """Assert the invariant."""
        self._addresses.check()
        self._keys.check()
