"""How a peer with no node behind it dials: by the rules and with the waits of a real node."""

from math import inf
from random import Random

from zmqp2p.engine.peers import PeerManager
from zmqp2p.engine.redial import Failure, jittered, wait_s
from zmqp2p.ids import LinkId
from zmqp2p.limits import DEFAULT_LIMITS, Limits
from zmqp2p.records import PeerRecord

_DIAL_TIMEOUT_S = 15.0  # As `SocketLimits.dial_timeout_s`: nothing was heard of an attempt.


class Caller:
    """Decides when one peer dials the node, and which of its attempts it ends; pure.

    Attempts have numbers, from 0 on. Times are those of one monotonic clock.
    """

    def __init__(self, record: PeerRecord, rng: Random, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._rng = rng
        self._manager = PeerManager(limits, rng)
        self._manager.learn(record, wanted=True, now=0.0)
        self._node = self._manager.peer(record.address)
        self._begun = 0
        self._greeted_by = inf

    def deadline(self) -> float | None:
        """Return when to `tick` next."""
        oldest = next(iter(self._node.dialing.values()), inf) + _DIAL_TIMEOUT_S
        dial_at = self._manager.dial_at(self._node, has_mail=False)
        at = min(oldest, self._greeted_by, inf if dial_at is None else dial_at)
        return None if at == inf else at

    def tick(self, now: float) -> tuple[int | None, list[int]]:
        """Return the attempt that begins now, if one does, and those that are to be ended."""
        ended: list[int] = []
        node, manager = self._node, self._manager
        if node.greeting is not None and now >= self._greeted_by:
            ended.append(node.greeting)
            self._lose("no HELLO", Failure.ANSWERED, now)
        for link in [each for each, at in node.dialing.items() if now >= at + _DIAL_TIMEOUT_S]:
            ended.append(link)
            manager.attempt_failed(node, link, "no answer", now, Failure.REFUSED)
        at = manager.dial_at(node, has_mail=False)
        if at is None or at > now or not manager.may_dial(node, len(node.dialing), now):
            return None, ended
        _, given_up = manager.begin(node, now, 0.0)
        if given_up is not None:
            ended.append(given_up)
        attempt, self._begun = self._begun, self._begun + 1
        manager.dialing(node, LinkId(attempt), now)
        return attempt, ended

    def came_up(self, attempt: int, now: float) -> list[int] | None:
        """The handshake of ``attempt`` is over: return the others, to be ended.

        None if it is not needed: it is to be ended itself.
        """
        link = LinkId(attempt)
        if link not in self._node.dialing:
            return None
        began_at, others = self._manager.came_up(self._node, link)
        self._greeted_by = now + max(self._limits.hello_timeout_s, now - began_at)
        return list(others)

    def greeted(self, attempt: int) -> bool:
        """The node has answered HELLO; False if it is not the attempt for which that was waited."""
        if self._node.greeting != attempt:
            return False
        self._manager.established(self._node)
        self._greeted_by = inf
        return True

    def ended(self, attempt: int, now: float, *, in_use: bool) -> None:
        """A connection has ended; ``in_use``: the one on which the peer is connected."""
        if LinkId(attempt) in self._node.dialing:
            kind = Failure.ANSWERED  # Somebody accepted, or it would be no connection.
            self._manager.attempt_failed(self._node, LinkId(attempt), "cut", now, kind)
        elif in_use or self._node.greeting == attempt:
            self._lose("lost", Failure.LOST if in_use else Failure.ANSWERED, now)

    def restarted(self, now: float, outage_s: float) -> None:
        """The node was gone for so long and is back; all dials meanwhile were refused.

        They cost the node nothing, and are only reckoned: the wait that is left is what counts.
        """
        node = self._node
        self._manager.called_off(node, "")
        self._lose("lost", Failure.LOST, now)
        gone_s = jittered(wait_s(Failure.LOST, 0.0, self._limits), self._rng)
        while gone_s < outage_s:
            gone_s += jittered(wait_s(Failure.REFUSED, gone_s, self._limits), self._rng)
        node.gone_since, node.tried_at = now - outage_s, now
        node.next_dial_at = now + gone_s - outage_s

    def check(self) -> None:
        """Assert what must hold."""
        self._manager.check()

    def _lose(self, why: str, kind: Failure, now: float) -> None:
        self._manager.failed(self._node, why, now, kind)
        self._greeted_by = inf
