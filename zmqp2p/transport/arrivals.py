"""Connections that listeners accepted: how many there may be, of whom, and for how long unproven.

libzmq accepts whoever comes, and bounds nothing but the time of a handshake. So each accepted
connection is counted here, from the monitor's event on, and those beyond a bound are to be shut
down: most of them before the handshake has cost anything. No sockets here: verdicts only.

Places are shared so that a contact, whom the application has added, always finds one, whoever else
comes, from wherever. Nothing tells it from others before its HELLO. So what is known not to be a
contact's, a guest's, has three quarters at most; the rest is for those of whom it is not known, and
among them the oldest makes room for the next.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from math import inf

from zmqp2p.engine.rate import Rates, source_of
from zmqp2p.ids import CurveKey
from zmqp2p.limits import CONNECTIONS_GUESTS_SHARE
from zmqp2p.transport.descriptors import UNKNOWN_SOURCE, Remote
from zmqp2p.transport.options import FRAMES_MAX, SocketLimits
from zmqp2p.transport.rush import Rush
from zmqp2p.wire.link import TurnedAway

_SHARE = 0.75  # Of all connections that one source may have, where descriptors are few.
_TOLD_MAX = 64  # Sources told of at a time; what else there is goes under `_OTHERS`.
_OTHERS = "others"
_DROPPED_MAX = 64  # More than a batch of acks and PINGs; at line rate they take 2 ms.
_KEYS_MAX = 4_096  # Of contacts, remembered: the one that was trusted least recently goes first.
_STUCK = 120.0  # Handshakes that one that never ends counts for: it holds a descriptor for good.
_MORE = 9.0  # Connections, besides itself, that one counts for if nobody knows whose it was.
_TOO_FAST = "too fast from one source"
_BLAME = 9.0  # Connections, besides the one. Who is to blame for each has a hundredth of a core.


@dataclass(slots=True, eq=False)
class Arrival:
    """An accepted connection, until its end was told."""

    fd: int
    remote: Remote
    source: str
    accepted_at: float  # Monotonic seconds.
    proven: bool = False  # A whole message came: the handshake is over, and ZAP let it in.
    trusted: bool = False  # It is a contact's.
    leaving: bool = False  # It is, or will be, shut down: nothing that it still says counts.
    taken_bytes: int = 0  # Of the messages handed over, as they were on the wire.
    routing_id: bytes = b""  # Of the link that was given up.
    dropped: int = 0  # Messages that came when it was leaving.
    shut_at: float | None = None  # Since when libzmq ought to see that it has ended.
    stuck: bool = False  # It has not, though it had time to.


@dataclass(slots=True)
class Arrivals:
    """All accepted connections of one transport; ``descriptors`` is how many a process may open.

    Invariant: the counts are those of the connections in it; no more are unproven, or guests',
    than may be.
    """

    bounds: SocketLimits
    descriptors: int
    _all: dict[Arrival, None] = field(default_factory=dict)
    # Those that may have to go for others, who has waited longest first: nothing has come of them,
    # or they have a place only if they are contacts'.
    _unproven: dict[Arrival, None] = field(default_factory=dict)
    _guests: dict[Arrival, None] = field(default_factory=dict)  # Not trusted yet; oldest first.
    _contacts: set[Arrival] = field(default_factory=set)
    _by_source: Counter[str] = field(default_factory=Counter)  # Without those that are trusted.
    _unproven_by_source: Counter[str] = field(default_factory=Counter)
    _guests_by_source: Counter[str] = field(default_factory=Counter)
    _turned_away: Counter[tuple[str, str]] = field(default_factory=Counter)  # By source and why.
    _contact_keys: OrderedDict[CurveKey, None] = field(default_factory=OrderedDict)
    _rush: Rush = field(init=False)
    _rates: Rates = field(init=False)
    _mute: Rates = field(init=False)  # Handshakes after which nothing was said, so far or ever.

    def __post_init__(self) -> None:
        self._rush = Rush(self.bounds.unproven_at_once)
        each = (self.bounds.connects_per_s_per_source, float(self.bounds.connects_burst_per_source))
        self._rates = Rates(each, (inf, inf))
        each = (self.bounds.mute_per_s_per_source, self.bounds.mute_burst_per_source)
        self._mute = Rates(each, (inf, inf))

    @property
    def places(self) -> int:
        """How many connections there may be."""
        return min(self.bounds.connections_max, self.descriptors // 2)

    def __len__(self) -> int:
        return len(self._all)

    def holds(self, arrival: Arrival) -> bool:
        """Whether it has not ended."""
        return arrival in self._all

    def came(self, arrival: Arrival, now: float) -> Arrival | None:
        """Take in a connection; return which is to be shut down: itself, an older one, or none."""
        source = arrival.source
        self._all[arrival] = None
        self._unproven[arrival] = None
        self._by_source[source] += 1
        self._unproven_by_source[source] += 1
        self._rush.begin(arrival, now)
        why, victim = self._beyond(arrival, now)
        if victim is not None:
            self.turn_away(victim, why)
        return victim

    def passed(self, source: str, now: float) -> bool:
        """One of ``source`` has come and gone; return whether it may come that fast."""
        if self._may_come(source, now):
            return True
        self._tell(source, _TOO_FAST)
        return False

    def may_greet(self, key: CurveKey | None, address: str, now: float) -> bool:
        """Whether a handshake of ``key`` at ``address`` may succeed; it counts until it is heard.

        Each of them may be one that libzmq never lets go of (transport/clog.py). So a source may
        not make many after which nothing is said; a contact that was here before is not held up
        by others at its address.
        """
        source = source_of(address)
        if self._mute.allows(source, now) or key in self._contact_keys:
            return True
        self._tell(source, "says nothing after its handshakes")
        return False

    def heard(self, address: str) -> None:
        """Something was said after a handshake at ``address``, be it that it has ended since."""
        self._mute.give_back(source_of(address))

    def stick(self, now: float) -> None:
        """Have the sources of those that do not end make fewer handshakes, for long.

        Else the next one from there may be one more.
        """
        for arrival in self._all:
            overdue = arrival.shut_at is not None and now >= arrival.shut_at + self.bounds.stuck_s
            if overdue and not arrival.stuck:
                arrival.stuck = True
                self._mute.charge(arrival.source, _STUCK, now)

    def is_too_fast(self, source: str, now: float) -> bool:
        """Whether one more connection of ``source`` would come too fast."""
        return self._rates.is_spent(source, now)

    def turned_back(self, source: str, now: float, *, for_many: bool) -> bool:
        """One was turned back before it was accepted; return whether its source is too fast.

        ``for_many``: it stands for some of which nobody knows whose they were.
        """
        if self._rates.is_spent(source, now):
            self._tell(source, _TOO_FAST)
            return True
        self._rates.charge(source, 1.0 + _MORE * for_many, now)
        self._tell(source, "behind others that come too fast")
        return False

    def is_crowded(self, now: float) -> bool:
        """Whether the next ones had better not be accepted until it `has_room`."""
        return self._rush.is_crowded(now)

    def has_room(self, now: float) -> bool:
        """Whether, after it was crowded, others may come."""
        return self._rush.has_room(now)

    def blame(self, arrival: Arrival, now: float) -> None:
        """It was more than a connection costs: its source may open fewer for a while."""
        self._rates.charge(arrival.source, _BLAME, now)

    def goes_on(self, arrival: Arrival, now: float) -> bool:
        """A message came over it that is dropped; whether it is to be shut down now for that.

        Till then what was sent to it last has time to leave.
        """
        arrival.dropped += 1
        if arrival.dropped != _DROPPED_MAX:
            return False
        self.blame(arrival, now)
        return True

    def prove(self, arrival: Arrival) -> bool:
        """A whole message has come over it; return whether it may stay if it is a guest's.

        If not, and it is not trusted soon, it may have to go for another one.
        """
        if not (arrival.proven or arrival.trusted or arrival.leaving):
            arrival.proven = True
            self._rush.end(arrival)
            self._forget_place(arrival)
            if self._has_place_for_guest(arrival.source):
                self._guests[arrival] = None
                self._guests_by_source[arrival.source] += 1
            else:  # The last to go: whose it is will be known when its message is read.
                self._unproven[arrival] = None
                self._unproven_by_source[arrival.source] += 1
        return arrival not in self._unproven

    def trust(self, arrival: Arrival, key: CurveKey | None = None) -> Arrival | None:
        """It is a contact's, and goes for nobody; return whom that leaves no room for, if any.

        That is the newest guest's: those that are served are not to be driven out by newcomers.
        """
        if arrival not in self._all or arrival.leaving or arrival.trusted:
            return None
        self._forget_place(arrival)
        arrival.trusted = True
        self._contacts.add(arrival)
        self._remember(key)
        _less(self._by_source, arrival.source)
        if len(self._guests) <= self._guests_max:
            return None
        newest = next(reversed(self._guests))
        self.turn_away(newest, "a contact needs the place")
        return newest

    def turn_away(self, arrival: Arrival, why: str) -> None:
        """It is to be shut down, and that is to be told."""
        self.leave(arrival)
        self._tell(arrival.source, why)

    def leave(self, arrival: Arrival) -> None:
        """It is to be shut down: it has no place any more."""
        arrival.leaving = True
        self._rush.end(arrival)
        self._forget_place(arrival)

    def went(self, arrival: Arrival) -> None:
        """It has ended."""
        del self._all[arrival]
        self._rush.end(arrival)
        self._forget_place(arrival)
        if not arrival.trusted:
            _less(self._by_source, arrival.source)

    def overdue(self, now: float) -> list[Arrival]:
        """Return those that had their time to send a first message; they are to be shut down."""
        late: list[Arrival] = []
        for arrival in self._unproven:
            if arrival.proven:
                continue  # Its link has a deadline (HEL-7).
            if now < arrival.accepted_at + self.bounds.first_message_s:
                break
            late.append(arrival)
        for arrival in late:
            self.turn_away(arrival, "no message in time")
        return late

    def hoards(self, arrival: Arrival, read_bytes: int, *, drained: bool) -> bool:
        """Whether so much was read of it, and not handed over, that it can be no message (FRM-1).

        libzmq keeps the frames of a message until the last one has come, however many they are. So
        it is to be shut down. Unless ``drained``, a queue of whole messages may wait to be read.
        """
        bounds = self.bounds
        most = bounds.incomplete_max_bytes
        if not drained:
            most += bounds.accepted_queue_messages * FRAMES_MAX * bounds.frame_max_bytes
        if arrival.leaving or read_bytes - arrival.taken_bytes <= most:
            return False
        self.turn_away(arrival, "a message without end")
        return True

    def told(self) -> list[TurnedAway]:
        """Return what was turned away since the last time, for the application."""
        told = [TurnedAway(*key, count) for key, count in self._turned_away.items()]
        self._turned_away.clear()
        return told

    def check(self) -> None:
        """Assert the invariant."""
        untrusted = [each for each in self._all if not each.trusted]
        assert self._by_source == Counter(each.source for each in untrusted)
        self._rush.check()
        assert self._unproven_by_source == Counter(each.source for each in self._unproven)
        assert self._guests_by_source == Counter(each.source for each in self._guests)
        assert len(self._contact_keys) <= _KEYS_MAX
        self._mute.check()
        placed = [*self._unproven, *self._guests, *self._contacts]
        assert set(placed) == {each for each in self._all if not each.leaving}
        assert len(set(placed)) == len(placed)
        assert all(each.trusted for each in self._contacts)
        assert len(self._unproven) <= self.bounds.unproven_max
        assert len(self._guests) <= self._guests_max
        for guests in self._guests_by_source.values():
            assert guests <= int(CONNECTIONS_GUESTS_SHARE * self._places_per_source)

    def _tell(self, source: str, why: str) -> None:
        key = (source, why)
        if key not in self._turned_away and len(self._turned_away) >= _TOLD_MAX:
            key = (_OTHERS, why)
        self._turned_away[key] += 1

    def _remember(self, key: CurveKey | None) -> None:
        if key is not None:
            self._contact_keys.pop(key, None)
            self._contact_keys[key] = None
            if len(self._contact_keys) > _KEYS_MAX:
                self._contact_keys.popitem(last=False)

    @property
    def _guests_max(self) -> int:
        return int(CONNECTIONS_GUESTS_SHARE * (self.places - len(self._contacts)))

    @property
    def _places_per_source(self) -> int:
        return min(self.bounds.connections_max_per_source, max(int(_SHARE * self.places), 1))

    def _has_place_for_guest(self, source: str) -> bool:
        of_source = self._guests_by_source[source]
        most_of_source = int(CONNECTIONS_GUESTS_SHARE * self._places_per_source)
        return of_source < most_of_source and len(self._guests) < self._guests_max

    def _beyond(self, arrival: Arrival, now: float) -> tuple[str, Arrival | None]:
        """Return what bound a new arrival exceeds, and who goes for it."""
        bounds, source = self.bounds, arrival.source
        if not self._may_come(source, now):
            return _TOO_FAST, arrival
        # The oldest goes, not the newest: or those that say nothing would keep everybody out. It
        # is the newest where no other is unproven: contacts have all places, or others leave.
        if self._by_source[source] > self._places_per_source:
            return "too many of one source", self._oldest_of(source)
        if self._unproven_by_source[source] > bounds.unproven_max_per_source:
            return "too many unproven of one source", self._oldest_of(source)
        if self._rush.is_full(now):
            return "too many at once", arrival
        if len(self._unproven) > bounds.unproven_max:
            return "too many unproven", self._oldest_of_greediest()
        if len(self._all) > self.places:
            return "too many", self._oldest_of_greediest()
        return "", None

    def _may_come(self, source: str, now: float) -> bool:
        if not self._rates.allows(source, now):
            return False
        if source == UNKNOWN_SOURCE:  # Peers stay: it is rare that one is over at once.
            self._rates.charge(source, _MORE, now)
        return True

    def _oldest_of(self, source: str) -> Arrival:
        return next(each for each in self._unproven if each.source == source)

    def _oldest_of_greediest(self) -> Arrival:
        """Return the oldest of the sources with most: it costs an enemy sources, not speed."""
        counts = self._unproven_by_source
        most = max(counts.values())
        return next(each for each in self._unproven if counts[each.source] == most)

    def _forget_place(self, arrival: Arrival) -> None:
        self._contacts.discard(arrival)
        if arrival in self._unproven:
            del self._unproven[arrival]
            _less(self._unproven_by_source, arrival.source)
        if arrival in self._guests:
            del self._guests[arrival]
            _less(self._guests_by_source, arrival.source)


def _less(counter: Counter[str], source: str) -> None:
    counter[source] -= 1
    if not counter[source]:
        del counter[source]


@dataclass(slots=True)
class Sweep:
    """Which connections that wait to be accepted are turned back, when some came too fast."""

    arrivals: Arrivals
    unknown: int  # So many too many there were of which nobody knows whose they were.
    now: float  # Monotonic seconds.

    def another(self, source: str, *, over: bool) -> bool:
        """One of ``source`` was turned back; return whether the next one is to be, too.

        If the source is not too fast it may have been an honest peer's. Peers stay; so if it was
        ``over`` it tells who is too fast where that is not known, and the next one is looked at.
        """
        telling = over and self.unknown > 0
        self.unknown -= telling
        return self.arrivals.turned_back(source, self.now, for_many=telling) or telling
