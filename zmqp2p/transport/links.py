"""What links have in common: the table of live ones, how much is read, fast socket calls.

pyzmq's convenience calls cost more than libzmq itself. `FastSocket` binds the base-class calls
once, and flags are plain integers: arithmetic on pyzmq's enums costs 0.5 us each time.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import zmq

from zmqp2p.errors import InvalidValue
from zmqp2p.ids import LinkId
from zmqp2p.transport.arrivals import Arrivals
from zmqp2p.transport.news import News
from zmqp2p.transport.options import FRAMES_MAX, CurvePair, SocketLimits
from zmqp2p.transport.reactor import Reactor
from zmqp2p.wire.link import DownReason, LinkDown

# Of one socket in one call of `wait`: libzmq reads one message from each connection in turn. By the
# work they will be, too: 256 may be 65,536 bodies, or 64 MiB.
TURN_MAX_MESSAGES = 256
# Of all sockets together. As much as `Limits.turn_max_messages` small ones, which is processed.
TURN_MAX_WORK_US = 5_000
# While there are several links: what is read for one, the others wait for.
TURN_SHARED_MAX_WORK_US = 2_000
_PORTION_MIN_US = 50  # Two small frames: beyond 40 busy sockets, some wait for the next call.

DONTWAIT = int(zmq.DONTWAIT)
SNDMORE = int(zmq.DONTWAIT | zmq.SNDMORE)

_CURVE_BYTES = 33  # Of a frame, encrypted: its command's name, nonce, flags and MAC.
_SHORT_MAX_BYTES, _SHORT_HEAD, _LONG_HEAD = 255, 2, 9


@dataclass(frozen=True, slots=True)
class SendFailure:
    """Why a message could not be queued, as `LinkDown` will tell it."""

    reason: DownReason
    detail: str


CONGESTED = SendFailure(DownReason.CONGESTED, "the send queue is full: the peer does not read")
GONE = SendFailure(DownReason.LOST, "the connection was closed or broke")


class Portion:
    """What one socket may be read in one call of `wait`."""

    __slots__ = ("_messages", "_most_us", "_work_us")

    def __init__(self, most_us: int = TURN_MAX_WORK_US) -> None:
        self._most_us = most_us
        self._messages = self._work_us = 0

    def add(self, work_us: int) -> None:
        """Count a message that will be so much work in this turn."""
        self._messages += 1
        self._work_us += work_us

    @property
    def work_us(self) -> int:
        """What was read so far will be so much work."""
        return self._work_us

    @property
    def full(self) -> bool:
        """Whether the rest must wait for the next call."""
        return self._messages >= TURN_MAX_MESSAGES or self._work_us >= self._most_us


class Ration:
    """What all sockets together may be read in one call of `wait`, and of that each one's share.

    A turn is as long as all that was read for it. So a socket of which more comes than is read has
    a part of what there is: as many parts are made as there were such sockets in the last call.
    """

    def __init__(self) -> None:
        self.shared = False
        self.turn_us = self._left_us = self._share_us = TURN_MAX_WORK_US
        self._busy = 0

    def renew(self, *, shared: bool) -> None:
        """Another call of `wait` begins; ``shared``: there are several links."""
        self.shared = shared
        self.turn_us = self._left_us = TURN_SHARED_MAX_WORK_US if shared else TURN_MAX_WORK_US
        self._share_us = max(self._left_us // max(self._busy, 1), _PORTION_MIN_US)
        self._busy = 0

    @property
    def spent(self) -> bool:
        """Whether all else must wait for the next call."""
        return self._left_us <= 0

    def portion(self) -> Portion:
        """Return what the next socket may be read."""
        return Portion(min(self._share_us, self._left_us))

    def count(self, portion: Portion, *, left: bool) -> bool:
        """Count what a socket was read; ``left``: there is more of it. Returns that again."""
        self._left_us -= portion.work_us
        self._busy += left
        return left


class Link(Protocol):
    """One live link, dialed or accepted."""

    @property
    def link_id(self) -> LinkId:
        """Its name."""
        ...

    def send(self, frames: Sequence[bytes]) -> SendFailure | None:
        """Queue one message; returns why not, if not."""
        ...

    def close(self) -> None:
        """Release what it holds. What was sent may take a moment to leave."""
        ...


class Links:
    """The live links of a transport and what is not yet told. Ids are never used twice."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._live: dict[LinkId, Link] = {}
        self.news = News()
        self.ration = Ration()

    def __len__(self) -> int:
        return len(self._live)

    def new_id(self) -> LinkId:
        """Return an id that was never used."""
        return LinkId(next(self._ids))

    def add(self, link: Link) -> None:
        """Take in a link that is held until `drop` or `forget`."""
        self._live[link.link_id] = link

    def get(self, link_id: LinkId) -> Link | None:
        """Return a live link."""
        return self._live.get(link_id)

    def drop(self, link: Link, reason: DownReason, detail: str, *, all_heard: bool = False) -> None:
        """End a live link and tell so, once; a link that is not live is let be.

        What was read of it and waits is told first if ``all_heard``, else dropped, as what was not
        read.
        """
        if self._live.pop(link.link_id, None) is not None:
            link.close()
            if not all_heard:
                self.news.drop(link.link_id)
            self.news.tell(LinkDown(link.link_id, reason, detail))

    def forget(self, link_id: LinkId) -> None:
        """End a link without a word: what was not yet told of it is never told."""
        link = self._live.pop(link_id, None)
        if link is not None:
            link.close()
        self.news.forget(link_id)

    def close(self) -> None:
        """End all links without a word."""
        for link_id in list(self._live):
            self.forget(link_id)


@dataclass(slots=True)
class Shared:
    """What the sockets of one key of a transport have in common; ``curve`` None: security "none".

    Nothing in it changes but ``former``: another key comes with another one.
    """

    context: "zmq.Context[zmq.Socket[bytes]]"
    reactor: Reactor
    links: Links
    bounds: SocketLimits
    curve: CurvePair | None
    arrivals: Arrivals
    former: bool = False  # The transport has another key now.


def wire_bytes(frames: Sequence[bytes], *, curve: bool) -> int:
    """Return how many bytes a message was on the wire (ZMTP 3.1, CURVE's MESSAGE)."""
    total = 0
    for frame in frames:
        size = len(frame) + _CURVE_BYTES if curve else len(frame)
        total += size + (_SHORT_HEAD if size <= _SHORT_MAX_BYTES else _LONG_HEAD)
    return total


class FastSocket:
    """A socket's calls without pyzmq's conveniences; none of them blocks."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        base: Any = super(zmq.Socket, socket)
        self.send: Callable[[bytes, int], None] = base.send
        self.receive: Callable[[int], bytes] = base.recv
        self._receive_frame: Callable[[int, bool], zmq.Frame] = base.recv

    def receive_frame(self) -> zmq.Frame:
        """Return the next frame with its properties. Raises zmq.Again if there is none."""
        return self._receive_frame(DONTWAIT, False)

    def rest_of(self, first: zmq.Frame) -> tuple[bytes, ...] | None:
        """Return the message that begins with ``first``; None if it has more than two frames.

        A message is handed over whole, so the rest never has to be waited for. Of a message that
        is too long nothing is kept.
        """
        if not first.more:
            return (first.bytes,)
        second = self.receive_frame()
        if second.more:
            self._discard_rest()
            return None
        return (first.bytes, second.bytes)

    def _discard_rest(self) -> None:
        while self.receive_frame().more:
            pass

    def send_all(self, frames: Sequence[bytes]) -> None:
        """Queue the frames as the end of one message.

        Raises:
            zmq.Again: the queue is full. Nothing was queued.
        """
        if len(frames) == FRAMES_MAX:
            self.send(frames[0], SNDMORE)
        self.send(frames[-1], DONTWAIT)


def check_frames(frames: Sequence[bytes]) -> None:
    """Make sure that ``frames`` is one message before any of it is queued.

    Raises:
        InvalidValue: not one or two frames of bytes.
    """
    if not 1 <= len(frames) <= FRAMES_MAX:
        raise InvalidValue("frames", f"must be 1 to {FRAMES_MAX}")
    for frame in frames:
        if type(frame) is not bytes:
            raise InvalidValue("frames", "must be bytes")
