"""Places for handlers that end later (on an executor, an event loop): so many, and no more.

A handler on the node's own thread needs none. Who finds no place waits in line, its stream with it;
a place that becomes free is promised to the first in line, so that nobody can overtake it.

Contacts, whom the application has added, come first in line, and guests never have all places: they
may be many, and know what makes a handler take long.
"""

from collections import Counter, OrderedDict

from zmqp2p.ids import Address


class Slots:
    """Counts handlers in progress, and keeps the line of peers whose next message needs a place.

    A place is a guest's, or is not, as its peer was when it asked, until it is left.
    Invariant: places taken and promised are at most ``most``, those of guests ``guests_most``. A
    contact waits only if they are ``most``, a guest only if either bound is reached.
    """

    def __init__(self, most: int, guests_most: int) -> None:
        assert 0 < guests_most <= most
        self._most, self._guests_most = most, guests_most
        self._taken = 0
        self._guests: Counter[Address] = Counter()  # Places of guests, promised ones too.
        self.promised: set[Address] = set()
        self._contacts_line: OrderedDict[Address, None] = OrderedDict()  # The first one first.
        self._guests_line: OrderedDict[Address, None] = OrderedDict()

    @property
    def crowded(self) -> bool:
        """Whether somebody waits."""
        return bool(self._contacts_line or self._guests_line)

    def waits(self, peer: Address) -> bool:
        """Whether ``peer`` stands in line."""
        return peer in self._contacts_line or peer in self._guests_line

    def take(self, peer: Address, *, guest: bool) -> bool:
        """Take a place for a message of ``peer``; if there is none, line up and return False."""
        if peer in self.promised:
            self.promised.discard(peer)
        elif not self._has_place(guest=guest):
            (self._guests_line if guest else self._contacts_line)[peer] = None
            return False
        elif guest:
            self._guests[peer] += 1
        self._taken += 1
        return True

    def leave(self, peer: Address) -> Address | None:
        """A handler of ``peer`` has ended: return the peer to whom a place is promised, if any."""
        self._taken -= 1
        return self._free(peer)

    def forfeit(self, peer: Address) -> Address | None:
        """``peer`` has not taken the place promised to it, if one was: return who is next."""
        if peer not in self.promised:
            return None
        self.promised.discard(peer)
        return self._free(peer)

    def welcome(self, peer: Address) -> Address | None:
        """``peer`` is a contact now: if it waits, then with those. Return who has a place by it."""
        if peer not in self._guests_line:
            return None
        del self._guests_line[peer]
        self._contacts_line[peer] = None
        return self._promise()

    def check(self) -> None:
        """Assert the invariant."""
        used = self._taken + len(self.promised)
        assert 0 <= self._taken <= used <= self._most
        guests = self._guests.total()
        assert 0 <= guests <= min(used, self._guests_most)
        assert not self._contacts_line or used == self._most
        assert not self._guests_line or used == self._most or guests == self._guests_most
        assert self.promised.isdisjoint([*self._contacts_line, *self._guests_line])
        assert self._contacts_line.keys().isdisjoint(self._guests_line)

    def _has_place(self, *, guest: bool) -> bool:
        if self._taken + len(self.promised) >= self._most:
            return False
        return not guest or self._guests.total() < self._guests_most

    def _free(self, peer: Address) -> Address | None:
        """A place of ``peer`` is free."""
        self._guests[peer] -= 1
        if self._guests[peer] <= 0:
            del self._guests[peer]  # Or there was none: it was a contact's.
        return self._promise()

    def _promise(self) -> Address | None:
        for line, guest in ((self._contacts_line, False), (self._guests_line, True)):
            if line and self._has_place(guest=guest):
                peer, _ = line.popitem(last=False)
                self.promised.add(peer)
                if guest:
                    self._guests[peer] += 1
                return peer
        return None
