"""What was read and is to be told: the node takes in so much at a time, contacts' frames first.

A listener's socket is read as libzmq has it, a message of each connection in turn, whosever it is.
To take one in may be fifty times as much work as to read it: 20 guests with 256 messages in each of
their frames had a contact wait for 12 ms whenever it said something. So frames of guests are read
ahead, and wait here: for contacts' frames, and among each other by work.

That is memory, so it is bounded; full, nothing is read of what listeners accepted until there is
room, and connections have equal parts of it again.
"""

from collections import deque

from zmqp2p.engine.lane import Lane
from zmqp2p.ids import LinkId
from zmqp2p.wire.link import LinkDown, LinkEvent, Received

HELD_MAX_FRAMES = 1_024
HELD_MAX_BYTES = 8 * 1024 * 1024
_LEAST_SHARE = 4  # Guests have a fourth of a turn, however much contacts say.


class News:
    """Events of links, in order within each; those of some may let others go first.

    Invariant: what is held is within the bounds, but for the last frame, and counted; of each link
    of which something is held, one turn is in the lane.
    """

    def __init__(self) -> None:
        self._at_once: list[LinkEvent] = []
        self._at_once_us = 0
        self._held: dict[LinkId, deque[tuple[LinkEvent, int]]] = {}
        self._lane: Lane[LinkId, LinkId] = Lane()
        self._tickets = 0
        self.frames = self._size_bytes = 0  # Held.

    def __bool__(self) -> bool:
        return bool(self._at_once or self._held)

    @property
    def full(self) -> bool:
        """Whether nothing more is to be read that would have to wait."""
        return self.frames >= HELD_MAX_FRAMES or self._size_bytes >= HELD_MAX_BYTES

    def tell(self, event: LinkEvent, work_us: int = 0) -> None:
        """Tell ``event`` the next time; after what is held of its link, if something is."""
        if event.link in self._held:
            self._put(event, work_us)
            return
        self._at_once.append(event)
        self._at_once_us += work_us
        if isinstance(event, LinkDown):
            self._lane.forget(event.link)

    def hold(self, event: Received, work_us: int) -> None:
        """Tell ``event`` when it is its link's turn."""
        if event.link not in self._held:
            self._held[event.link] = deque()
            self._queue(event.link)
        self._put(event, work_us)

    def release(self, link: LinkId) -> None:
        """What is held of ``link`` lets nobody go first any more."""
        for event, work_us in self._drop(link):
            self.tell(event, work_us)

    def forget(self, link: LinkId) -> None:
        """Tell nothing of ``link``, which has ended, that was not told."""
        self._drop(link)
        self._lane.forget(link)
        if self._at_once:
            self._at_once[:] = [event for event in self._at_once if event.link != link]

    def take(self, most_us: int) -> list[LinkEvent]:
        """Return what is to be told now: of what is held, as much as fits into ``most_us``.

        One at least, and a fourth of it, whatever else there is.
        """
        taken, self._at_once = self._at_once, []
        left_us = max(most_us - self._at_once_us, most_us // _LEAST_SHARE)
        self._at_once_us = 0
        while left_us > 0 and self._held:
            link = self._lane.pop()
            event, work_us = self._held[link].popleft()
            self._count(event, -1)
            left_us -= work_us
            taken.append(event)
            self._lane.worked(link, work_us)
            if self._held[link]:
                self._queue(link)
                continue
            del self._held[link]
            if isinstance(event, LinkDown):
                self._lane.forget(link)
        self._settle()
        return taken

    def check(self) -> None:
        """Assert the invariant."""
        held = [event for events in self._held.values() for event, _ in events]
        frames = [event.frames for event in held if isinstance(event, Received)]
        assert self.frames == len(frames)
        assert self._size_bytes == sum(sum(map(len, each)) for each in frames)
        assert all(self._held.values())
        assert sorted(link for _, _, link in self._lane.heap) == sorted(self._held)
        assert self._held or not self._lane.remembered

    def _put(self, event: LinkEvent, work_us: int) -> None:
        self._held[event.link].append((event, work_us))
        self._count(event, 1)

    def _queue(self, link: LinkId) -> None:
        self._tickets += 1
        self._lane.push(link, link, self._tickets)

    def _drop(self, link: LinkId) -> deque[tuple[LinkEvent, int]]:
        held = self._held.pop(link, None)
        if held is None:
            return deque()
        self._lane.take_if(lambda one: one == link)
        for event, _ in held:
            self._count(event, -1)
        self._settle()
        return held

    def _settle(self) -> None:
        """Nobody is ahead of anybody when nothing is held."""
        if not self._held and self._lane.remembered:
            self._lane = Lane()

    def _count(self, event: LinkEvent, frames: int) -> None:
        if isinstance(event, Received):
            self.frames += frames
            self._size_bytes += frames * sum(map(len, event.frames))
