"""What was read and is to be told: the node takes in so much at a time, contacts' frames first.

A listener's socket is read as libzmq has it, a message of each connection in turn, whosever it is.
To take one in may be twenty times as much work as to read it: 20 guests with 256 messages in each
of their frames had a contact wait for 12 ms whenever it said something. So frames of guests are
read ahead, and wait here: for contacts' frames, and among each other by work.

That is memory, and time: who has just come, be it a contact, waits with them until it is known. So
it is bounded, for each listener; full, nothing more is read of it until there is room, and its
connections have equal parts again.
"""

from collections import deque
from dataclasses import dataclass, field

from zmqp2p.engine.lane import Lane
from zmqp2p.ids import LinkId
from zmqp2p.wire.link import LinkDown, LinkEvent, LinkUp, Received, of_former_key

# Of one listener. At a fourth of the time (see below) they are told within half a second, which is
# well within a HELLO's and a PONG's time; and 180 frames of 256 messages.
HELD_MAX_US = 100_000
HELD_MAX_BYTES = 8 * 1024 * 1024
_LEAST_SHARE = 4  # Guests have a fourth of a turn, however much contacts say.


@dataclass(slots=True)
class Backlog:
    """How much is held of one listener's links."""

    work_us: int = 0
    size_bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether nothing more is to be read that may have to wait."""
        return self.work_us >= HELD_MAX_US or self.size_bytes >= HELD_MAX_BYTES

    def count(self, work_us: int, size_bytes: int) -> None:
        """Count so much in, or out."""
        self.work_us += work_us
        self.size_bytes += size_bytes


@dataclass(slots=True, eq=False)
class _Queue:
    """What is held of one link, oldest first, each with how much work it will be, microseconds."""

    link: LinkId
    backlog: Backlog
    lane: "Lane[LinkId, _Queue]"
    events: deque[tuple[LinkEvent, int]] = field(default_factory=deque)

    def put(self, event: LinkEvent, work_us: int) -> None:
        """Add an event."""
        self.events.append((event, work_us))
        self.backlog.count(work_us, _size_bytes(event))

    def pop(self) -> tuple[LinkEvent, int]:
        """Take the oldest out."""
        event, work_us = self.events.popleft()
        self.backlog.count(-work_us, -_size_bytes(event))
        return event, work_us


class News:
    """Events of links, in order within each; those of some may let others go first.

    Invariant: what is held is counted in its backlog; each queue is not empty, and stands in its
    lane once. An entry of another lane, or of a queue that is no more, is passed over.
    """

    def __init__(self) -> None:
        self._at_once: list[tuple[LinkEvent, int]] = []  # Each with its work.
        self._queues: dict[LinkId, _Queue] = {}
        self._contacts: Lane[LinkId, _Queue] = Lane()  # Of which something was held before.
        self._guests: Lane[LinkId, _Queue] = Lane()
        self._tickets = 0

    def __bool__(self) -> bool:
        return bool(self._at_once or self._queues)

    def tell(self, event: LinkEvent, work_us: int = 0) -> None:
        """Tell ``event`` the next time; after what is held of its link, if something is."""
        queue = self._queues.get(event.link)
        if queue is not None:
            queue.put(event, work_us)
            return
        self._at_once.append((event, work_us))
        self._leave(event)

    def hold(self, event: LinkUp | Received, work_us: int, backlog: Backlog) -> None:
        """Tell ``event``, of a listener with ``backlog``, when it is its link's turn."""
        queue = self._queues.get(event.link)
        if queue is None:
            queue = self._queues[event.link] = _Queue(event.link, backlog, self._guests)
            self._stand(queue)
        queue.put(event, work_us)

    def trust(self, link: LinkId) -> None:
        """``link`` is a contact's: what is held of it waits for no guest's any more."""
        queue = self._queues.get(link)
        if queue is not None and queue.lane is self._guests:
            queue.lane = self._contacts
            self._stand(queue)

    def drop(self, link: LinkId) -> None:
        """Nothing of what is held of ``link`` is of use any more but that it was up."""
        queue = self._queues.pop(link, None)
        while queue is not None and queue.events:
            event, _ = queue.pop()
            if isinstance(event, LinkUp):
                self._at_once.append((event, 0))

    def rekeyed(self) -> None:
        """Links of which nothing was told yet are of the key that this node had before."""
        self._at_once = [(of_former_key(event), work_us) for event, work_us in self._at_once]
        for queue in self._queues.values():
            for index, (event, work_us) in enumerate(queue.events):
                queue.events[index] = of_former_key(event), work_us

    def forget(self, link: LinkId) -> None:
        """Tell nothing of ``link``, which has ended, that was not told."""
        self.drop(link)
        self._forget_work(link)
        if self._at_once:
            self._at_once[:] = [each for each in self._at_once if each[0].link != link]

    def take(self, most_us: int) -> list[LinkEvent]:
        """Return what is to be told now: of what is held, as much as fits into ``most_us``.

        Of guests one at least, and a fourth of it, whatever else there is.
        """
        at_once, self._at_once = self._at_once, []
        taken = [event for event, _ in at_once]
        if self._queues:
            left_us = most_us - sum(work_us for _, work_us in at_once)
            left_us = self._take(self._contacts, left_us, taken)
            self._take(self._guests, max(left_us, most_us // _LEAST_SHARE), taken)
        return taken

    def check(self) -> None:
        """Assert the invariant."""
        backlogs = {id(queue.backlog): queue.backlog for queue in self._queues.values()}
        for key, backlog in backlogs.items():
            held = [queue for queue in self._queues.values() if id(queue.backlog) == key]
            events = [each for queue in held for each in queue.events]
            assert backlog.work_us == sum(work_us for _, work_us in events)
            assert backlog.size_bytes == sum(_size_bytes(event) for event, _ in events)
        for lane in (self._contacts, self._guests):
            standing = [queue for _, _, queue in lane.heap if self._stands(queue, lane)]
            expected = [queue for queue in self._queues.values() if queue.lane is lane]
            assert sorted(map(id, standing)) == sorted(map(id, expected))
        assert all(queue.events for queue in self._queues.values())

    def _take(self, lane: "Lane[LinkId, _Queue]", left_us: int, taken: list[LinkEvent]) -> int:
        """Take out of ``lane`` what fits into ``left_us``; return what is left of that."""
        while left_us > 0 and lane.heap:
            queue = lane.pop()
            if not self._stands(queue, lane):
                continue
            event, work_us = queue.pop()
            taken.append(event)
            left_us -= work_us
            lane.worked(queue.link, work_us)
            if queue.events:
                self._stand(queue)
            else:
                del self._queues[queue.link]
                self._leave(event)
        return left_us

    def _stands(self, queue: _Queue, lane: "Lane[LinkId, _Queue]") -> bool:
        return queue.lane is lane and self._queues.get(queue.link) is queue

    def _stand(self, queue: _Queue) -> None:
        self._tickets += 1
        queue.lane.push(queue.link, queue, self._tickets)

    def _leave(self, event: LinkEvent) -> None:
        if isinstance(event, LinkDown):
            self._forget_work(event.link)

    def _forget_work(self, link: LinkId) -> None:
        """Let nothing be remembered of ``link``, which has ended."""
        self._contacts.forget(link)
        self._guests.forget(link)


def _size_bytes(event: LinkEvent) -> int:
    return sum(map(len, event.frames)) if isinstance(event, Received) else 0
