"""The watch over links: when to look at each, and how long it may be silent or make no progress."""

from dataclasses import dataclass, field

from zmqp2p.engine.agenda import Rounds
from zmqp2p.engine.instant import Instant
from zmqp2p.ids import Address, LinkId
from zmqp2p.limits import Limits
from zmqp2p.session.handshake import Link
from zmqp2p.session.session import Session


@dataclass(frozen=True, slots=True)
class LinkWatch:
    """Says which link to look at now, and which has died."""

    clock: Instant
    limits: Limits
    sessions: dict[Address, Session]
    rounds: Rounds[LinkId] = field(default_factory=Rounds)

    def due(self, links: int) -> list[LinkId]:
        """Return which of so many links are to be looked at now; each is to be planned again."""
        return self.rounds.due(self.clock.now, links / self.limits.ping_interval_s)

    def plan(self, link: Link) -> None:
        """Look at ``link`` when there may be something to do."""
        self._plan(link, self._silence_s(link), self._stalled_since(link))

    def look(self, link: Link) -> tuple[str, int | None]:
        """Return why ``link`` is given up, or empty; and the token of the PING that is due.

        If it is not given up, the next look at it is planned.
        """
        now = self.clock.now
        silence_s, stalled_since = self._silence_s(link), self._stalled_since(link)
        why = link.expired(now, silence_s, stalled_since)
        if why:
            if link.peer is not None and not link.measured:
                self.sessions[link.peer].outbox.timer.died_unmeasured()
            return why, None
        token = link.ping(now) if link.ping_due(now, self.limits) else None
        self._plan(link, silence_s, stalled_since)
        return "", token

    def _plan(self, link: Link, silence_s: float, stalled_since: float | None) -> None:
        at = link.deadline(self.limits, silence_s, stalled_since)
        self.rounds.schedule(link.id, at)

    def _silence_s(self, link: Link) -> float:
        """How long ``link`` may be silent, or make no progress (LIV-4)."""
        if link.peer is None:
            return self.limits.silence_slow_max_s
        timer = self.sessions[link.peer].outbox.timer
        return timer.silence_s() if link.measured else timer.unmeasured_silence_s()

    def _stalled_since(self, link: Link) -> float | None:
        """Since when what was sent on ``link`` makes no progress (LIV-5)."""
        session = None if link.peer is None else self.sessions[link.peer]
        if session is None or session.active != link.id:
            return None
        return session.outbox.stalled_since
