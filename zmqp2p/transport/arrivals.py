"""Connections that listeners accepted: how many there may be, of whom, and for how long unproven.

libzmq accepts whoever comes, and bounds nothing but the time of a handshake. So each accepted
connection is counted here, from the monitor's event on, and those beyond a bound are to be shut
down: most of them before the handshake has cost anything. No sockets here: verdicts only.
"""

from collections import Counter
from dataclasses import dataclass, field

from zmqp2p.engine.rate import Rates
from zmqp2p.transport.descriptors import Remote
from zmqp2p.transport.options import FRAMES_MAX, SocketLimits
from zmqp2p.transport.rush import Rush
from zmqp2p.wire.link import TurnedAway

_SHARE = 0.75  # Of all connections that one source may have, where descriptors are few.
_TOLD_MAX = 64  # Sources told of at a time; what else there is goes under `_OTHERS`.
_OTHERS = "others"
_DROPPED_MAX = 64  # More than a batch of acks and PINGs; at line rate they take 2 ms.
_BLAME = 9.0  # Connections, besides the one. Who is to blame for each has a hundredth of a core.


@dataclass(slots=True, eq=False)
class Arrival:
    """An accepted connection, until its end was told."""

    fd: int
    remote: Remote
    source: str
    accepted_at: float  # Monotonic seconds.
    proven: bool = False  # A whole message came: the handshake is over, and ZAP let it in.
    leaving: bool = False  # It is, or will be, shut down: nothing that it still says counts.
    taken_bytes: int = 0  # Of the messages handed over, as they were on the wire.
    routing_id: bytes = b""  # Of the link that was given up.
    dropped: int = 0  # Messages that came when it was leaving.
    shut_at: float | None = None  # Since when libzmq ought to see that it has ended.


@dataclass(slots=True)
class Arrivals:
    """All accepted connections of one transport; ``descriptors`` is how many a process may open.

    Invariant: the counts are those of the connections in it; no more are unproven than may be.
    """

    bounds: SocketLimits
    descriptors: int
    _all: dict[Arrival, None] = field(default_factory=dict)
    _unproven: dict[Arrival, None] = field(default_factory=dict)  # Oldest first.
    _by_source: Counter[str] = field(default_factory=Counter)
    _unproven_by_source: Counter[str] = field(default_factory=Counter)
    _turned_away: Counter[tuple[str, str]] = field(default_factory=Counter)  # By source and why.
    _rush: Rush = field(init=False)
    _rates: Rates = field(init=False)

    def __post_init__(self) -> None:
        self._rush = Rush(self.bounds.unproven_at_once)
        each = (self.bounds.connects_per_s_per_source, float(self.bounds.connects_burst_per_source))
        self._rates = Rates(each, (float("inf"), float("inf")))

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

    def is_too_fast(self, source: str, now: float) -> bool:
        """Whether one more connection of ``source`` would come too fast."""
        return self._rates.is_spent(source, now)

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

    def prove(self, arrival: Arrival) -> None:
        """A whole message has come over it."""
        if not arrival.proven:
            arrival.proven = True
            self._rush.end(arrival)
            self._forget_unproven(arrival)

    def turn_away(self, arrival: Arrival, why: str) -> None:
        """It is to be shut down, and that is to be told."""
        self.leave(arrival)
        key = (arrival.source, why)
        if key not in self._turned_away and len(self._turned_away) >= _TOLD_MAX:
            key = (_OTHERS, why)
        self._turned_away[key] += 1

    def leave(self, arrival: Arrival) -> None:
        """It is to be shut down: it is no longer one that waits to be proven."""
        arrival.leaving = True
        self._rush.end(arrival)
        self._forget_unproven(arrival)

    def went(self, arrival: Arrival) -> None:
        """It has ended."""
        del self._all[arrival]
        self._rush.end(arrival)
        self._forget_unproven(arrival)
        _less(self._by_source, arrival.source)

    def overdue(self, now: float) -> list[Arrival]:
        """Return those that had their time to send a first message; they are to be shut down."""
        late: list[Arrival] = []
        for arrival in self._unproven:
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
        self._rush.check()
        assert self._by_source == Counter(arrival.source for arrival in self._all)
        assert self._unproven_by_source == Counter(each.source for each in self._unproven)
        assert all(not each.proven and not each.leaving for each in self._unproven)
        assert len(self._unproven) <= self.bounds.unproven_max

    def _beyond(self, arrival: Arrival, now: float) -> tuple[str, Arrival | None]:
        """Return what bound a new arrival exceeds, and who goes for it."""
        bounds, source = self.bounds, arrival.source
        most = min(bounds.connections_max, self.descriptors // 2)
        if not self._rates.allows(source, now):
            return "too fast from one source", arrival
        if self._by_source[source] > min(
            bounds.connections_max_per_source, max(int(_SHARE * most), 1)
        ):
            return "too many of one source", arrival
        # The oldest goes, not the newest: or those that say nothing would keep everybody out.
        if self._unproven_by_source[source] > bounds.unproven_max_per_source:
            return "too many unproven of one source", self._oldest_of(source)
        if self._rush.is_full(now):
            return "too many at once", arrival
        oldest = next(iter(self._unproven))  # It may be this one.
        if len(self._unproven) > bounds.unproven_max:
            return "too many unproven", oldest
        if len(self._all) > most:
            return "too many", oldest
        return "", None

    def _oldest_of(self, source: str) -> Arrival:
        return next(each for each in self._unproven if each.source == source)

    def _forget_unproven(self, arrival: Arrival) -> None:
        if arrival in self._unproven:
            del self._unproven[arrival]
            _less(self._unproven_by_source, arrival.source)


def _less(counter: Counter[str], source: str) -> None:
    counter[source] -= 1
    if not counter[source]:
        del counter[source]
