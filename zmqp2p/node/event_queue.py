"""Events on their way from the node's thread to an event loop that may be slower than they come.

The blocking face needs none: a handler that is slow holds up its node, and so what causes events.
"""

from collections import deque
from dataclasses import dataclass, field
from threading import Lock

from zmqp2p.events import DataLossDetected, Event, EventsLost, SessionForgotten
from zmqp2p.ids import Address

_Alarm = DataLossDetected | SessionForgotten  # What is told nowhere else, or must not be missed.
_Key = tuple[type[_Alarm], Address]


@dataclass(slots=True)
class _Gap:
    """Where events are missing: how many, and the alarms among them, which are not."""

    lost: int = 0
    alarms: list[_Alarm] = field(default_factory=list)


class EventQueue:
    """Holds so many events, and as many alarms; what is more is counted, and told in its place.

    Of alarms of one kind about one peer a full queue keeps the first. Thread-safe.
    Invariant: at most ``most`` wait, besides at most ``most`` alarms.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[Event | _Gap] = deque()
        self._alarms: set[_Key] = set()  # Those in gaps.
        self._lock = Lock()

    def put(self, event: Event) -> bool:
        """Add ``event``; return whether nothing waited before, so that somebody must be woken."""
        with self._lock:
            was_idle = not self._waiting
            if len(self._waiting) < self._most:
                self._waiting.append(event)
            else:
                self._put_into_gap(event)
            return was_idle

    def take(self) -> tuple[Event, bool]:
        """Return the oldest event, and whether more wait. One must be there."""
        with self._lock:
            first = self._waiting.popleft()
            if isinstance(first, _Gap):
                alarms = first.alarms
                self._alarms -= {(type(alarm), alarm.peer) for alarm in alarms}
                told = [EventsLost(first.lost), *alarms] if first.lost else alarms
                self._waiting.extendleft(reversed(told))
                first = self._waiting.popleft()
            assert not isinstance(first, _Gap)
            return first, bool(self._waiting)

    def _put_into_gap(self, event: Event) -> None:
        gap = self._waiting[-1]
        if not isinstance(gap, _Gap):
            gap = _Gap()
            self._waiting.append(gap)
        if isinstance(event, _Alarm) and len(self._alarms) < self._most:
            key = type(event), event.peer
            if key not in self._alarms:
                self._alarms.add(key)
                gap.alarms.append(event)
                return
        gap.lost += 1
