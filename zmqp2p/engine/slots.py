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
        self.promised: set[Address] = set()
        self.line: OrderedDict[Address, None] = OrderedDict()  # Who waits, the first one first.

    def take(self, peer: Address) -> bool:
        """Take a place for a message of ``peer``; if there is none, line up and return False."""
        if peer in self.promised:
            self.promised.discard(peer)
        elif self._taken + len(self.promised) >= self._most:
            self.line[peer] = None
            return False
        self._taken += 1
        return True

    def leave(self) -> Address | None:
        """A handler has ended: return the peer to whom its place is promised, if one waits."""
        self._taken -= 1
        return self._promise()

    def forfeit(self, peer: Address) -> Address | None:
        """``peer`` has not taken the place promised to it, if one was: return who is next."""
        if peer not in self.promised:
            return None
        self.promised.discard(peer)
        return self._promise()

    def check(self) -> None:
        """Assert the invariant."""
        used = self._taken + len(self.promised)
        assert 0 <= self._taken <= used <= self._most
        assert not self.line or used == self._most
        assert self.promised.isdisjoint(self.line)

    def _promise(self) -> Address | None:
        if not self.line:
            return None
        peer, _ = self.line.popitem(last=False)
        self.promised.add(peer)
        return peer
