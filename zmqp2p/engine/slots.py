"""Places for handlers that end later (on an executor, an event loop): so many, and no more.

A handler on the node's own thread needs none. Who finds no place waits in line, its stream with it;
a place that becomes free is promised to the first in line, so that nobody can overtake it.
"""

from collections import OrderedDict

from zmqp2p.ids import Address


class Slots:
    """Counts handlers in progress, and keeps the line of peers whose next message needs a place.

    Invariant: places taken and promised are at most ``most``; somebody waits only if they are all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._promised: set[Address] = set()
        self._line: OrderedDict[Address, None] = OrderedDict()

    def take(self, peer: Address) -> bool:
        """Take a place for a message of ``peer``; if there is none, line up and return False."""
        if peer in self._promised:
            self._promised.discard(peer)
        elif self._taken + len(self._promised) >= self._most:
            self._line[peer] = None
            return False
        self._taken += 1
        return True

    def leave(self) -> Address | None:
        """A handler has ended: return the peer to whom its place is promised, if one waits."""
        self._taken -= 1
        return self._promise()

    def forfeit(self, peer: Address) -> Address | None:
        """``peer`` has not taken the place promised to it, if one was: return who is next."""
        if peer not in self._promised:
            return None
        self._promised.discard(peer)
        return self._promise()

    def waits(self, peer: Address) -> bool:
        """Whether ``peer`` stands in line."""
        return peer in self._line

    def check(self) -> None:
        """Assert the invariant."""
        used = self._taken + len(self._promised)
        assert 0 <= self._taken <= used <= self._most
        assert not self._line or used == self._most
        assert self._promised.isdisjoint(self._line)

    def _promise(self) -> Address | None:
        if not self._line:
            return None
        peer, _ = self._line.popitem(last=False)
        self._promised.add(peer)
        return peer
