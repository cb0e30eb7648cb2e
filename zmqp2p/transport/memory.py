"""Links inside one process, for tests and simulations, under the same contract as ZeroMQ.

Endpoints are ``mem://NAME``, or ``tcp://HOST:PORT`` as a peer record bears it. Nothing is lost,
reordered or delayed unless the network is told to cut two hosts off or to sever their links.
"""

import itertools
import re
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from zmqp2p.errors import EndpointError, InvalidValue, ServiceClosed
from zmqp2p.ids import CURVE_KEY_SIZE, CurveKey, LinkId
from zmqp2p.transport.links import Portion, check_frames
from zmqp2p.transport.options import CurvePair, SocketLimits
from zmqp2p.transport.zap import Admit, admit_everyone
from zmqp2p.wire.link import DownReason, LinkDown, LinkEvent, LinkUp, Received, of_former_key
from zmqp2p.wire.work import work_us

QUEUE_MAX_MESSAGES = SocketLimits().send_queue_messages  # Unread by one end of one link.

_ENDPOINT = re.compile(r"(?:mem|tcp)://[A-Za-z0-9_.:-]{1,100}", re.ASCII)
_LOST = "the connection was closed or broke"
_CONGESTED = "the send queue is full: the peer does not read"


@dataclass(slots=True, eq=False)
class _End:
    """One end of a connection; ``link`` is None while its owner knows nothing of it."""

    owner: "MemoryTransport"
    dialed: bool
    remote: str  # As LinkUp tells it.
    curve_key: CurveKey  # The other side's.
    link: LinkId | None = None
    unread: int = 0
    gone: bool = False  # The other end is closed.
    former: bool = False  # Its owner has another key now.
    other: "_End" = field(init=False, repr=False)


class MemoryNetwork:
    """The switchboard that transports of one process share. Any thread may call any method."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # Of all state of the network and its transports.
        self._listeners: dict[str, tuple[MemoryTransport, CurveKey]] = {}
        self._dialed: dict[_End, None] = {}  # Dialing ends of live connections, oldest first.
        self._cuts: set[frozenset[str]] = set()

    def cut(self, host_a: str, host_b: str) -> None:
        """From now on drop silently whatever goes between two hosts, in both directions."""
        with self.lock:
            self._cuts.add(frozenset((host_a, host_b)))

    def heal(self, host_a: str, host_b: str) -> None:
        """End a `cut`. What was dropped stays lost."""
        with self.lock:
            self._cuts.discard(frozenset((host_a, host_b)))

    def sever(self, host_a: str, host_b: str) -> None:
        """Break every connection between two hosts; both ends hear of it, even if cut off."""
        with self.lock:
            for near in [*self._dialed]:
                if {near.owner.host, near.other.owner.host} == {host_a, host_b}:
                    del self._dialed[near]
                    for end in (near, near.other):
                        end.gone = True
                        end.owner.lose(end)

    def bind(self, name: str, transport: "MemoryTransport") -> None:
        """Let ``transport`` be dialed as ``name``. Raises EndpointError if it is in use."""
        with self.lock:
            if name in self._listeners:
                raise EndpointError(f"{name!r}: in use")
            self._listeners[name] = transport, transport.curve_public

    def rebind(self, name: str, transport: "MemoryTransport") -> None:
        """Let whoever dials ``name`` from now on find the newest key of ``transport``."""
        with self.lock:
            self._listeners[name] = transport, transport.curve_public

    def names_of(self, transport: "MemoryTransport") -> dict[str, CurveKey]:
        """Return where ``transport`` listens, and with which key."""
        return {name: key for name, (owner, key) in self._listeners.items() if owner is transport}

    def unbind(self, name: str) -> None:
        """Let ``name`` be dialed no longer."""
        del self._listeners[name]

    def leave(self, transport: "MemoryTransport") -> None:
        """Forget every name of ``transport`` and close its connections."""
        with self.lock:
            for name in self.names_of(transport):
                self.unbind(name)
            for near in [*self._dialed]:
                for end in (near, near.other):
                    if end.owner is transport:
                        self.hang_up(end)

    def connect(
        self, dialer: "MemoryTransport", name: str, curve_key: CurveKey
    ) -> _End | tuple[DownReason, str]:
        """Return the dialing end of a new connection, or why there is none."""
        with self.lock:
            listener, key = self._listeners.get(name, (None, None))
            if listener is None or self.is_cut(dialer.host, listener.host):
                return DownReason.UNREACHABLE, "nobody listens there"
            if key != curve_key:
                return DownReason.WRONG_KEY, "the listener does not hold the CURVE key dialed"
            if not listener.admit(dialer.curve_public, dialer.host):
                return DownReason.DENIED, "the listener does not admit us"
            near = _End(dialer, dialed=True, remote=name, curve_key=curve_key)
            far = _End(listener, dialed=False, remote=dialer.host, curve_key=dialer.curve_public)
            far.former = key != listener.curve_public
            near.other, far.other = far, near
            self._dialed[near] = None
            return near

    def ends_of(self, transport: "MemoryTransport") -> list[_End]:
        """Return the ends of live connections that ``transport`` has."""
        ends = [end for near in self._dialed for end in (near, near.other)]
        return [end for end in ends if end.owner is transport]

    def retire(self, transport: "MemoryTransport") -> None:
        """The connections that ``transport`` has now are of its former key."""
        for end in self.ends_of(transport):
            end.former = True

    def is_cut(self, host_a: str, host_b: str) -> bool:
        """Tell whether two hosts are cut off from each other."""
        return frozenset((host_a, host_b)) in self._cuts

    def hang_up(self, end: _End) -> None:
        """Close the connection of ``end``; the other end hears of it unless it is cut off."""
        with self.lock:
            self._dialed.pop(end if end.dialed else end.other, None)
            end.other.gone = True
            if not self.is_cut(end.owner.host, end.other.owner.host):
                end.other.owner.lose(end.other)


class MemoryTransport:
    """One node's links in a `MemoryNetwork`; implements `zmqp2p.transport.base.Transport`.

    ``host`` is the machine that `MemoryNetwork.cut` speaks of, and what peers see as ``remote``.
    ``admit`` is called in the dialer's thread.

    Raises:
        InvalidValue: ``curve_public`` is not 32 bytes.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        *,
        curve_public: CurveKey,
        host: str = "localhost",
        admit: Admit = admit_everyone,
    ) -> None:
        _check_key("curve_public", curve_public)
        self.curve_public = curve_public
        self.host = host
        self.admit = admit
        self._network = network
        self._news = threading.Condition(network.lock)
        self._ids = itertools.count(1)
        self._ends: dict[LinkId, _End] = {}
        self._events: deque[LinkEvent] = deque()
        self._inherited: list[str] = []  # Where the former key is listened for, and this will be.
        self._woken = False
        self._closed = False

    def listen(self, endpoint: str) -> str:
        """Accept links at ``endpoint``. Raises EndpointError: malformed or in use."""
        self._check_usable()
        self._network.bind(_checked(endpoint), self)
        return endpoint

    def rekey(
        self, curve: CurvePair, endpoints: Sequence[str], keep: Callable[[], None]
    ) -> list[str]:
        """Have another CURVE key; see `zmqp2p.transport.base.Transport.rekey`."""
        self._check_usable()
        with self._network.lock:
            bound = self._network.names_of(self)
            opened: list[str] = []
            with ExitStack() as undo:
                for endpoint in endpoints:
                    if endpoint not in bound:
                        self._network.bind(_checked(endpoint), self)
                        undo.callback(self._network.unbind, endpoint)
                        opened.append(endpoint)
                keep()
                undo.pop_all()
            self.end_former()
            self.curve_public = curve.public
            for endpoint in opened:
                self._network.rebind(endpoint, self)
            self._inherited = [endpoint for endpoint in endpoints if endpoint not in opened]
            self._network.retire(self)
            self._events = deque(map(of_former_key, self._events))
            return list(endpoints)

    def end_former(self) -> None:
        """Stop listening with the former key; see `zmqp2p.transport.base.Transport.end_former`."""
        self._check_usable()
        with self._network.lock:
            for name, key in self._network.names_of(self).items():
                if name in self._inherited:
                    self._network.rebind(name, self)
                elif key != self.curve_public:
                    self._network.unbind(name)
            self._inherited.clear()
            for end in self._network.ends_of(self):
                if end.former and not end.dialed:
                    self.lose(end)
                    self._network.hang_up(end)

    def dial(self, endpoint: str, curve_key: CurveKey) -> LinkId:
        """Connect; the next `wait` tells `LinkUp`, or `LinkDown` with the reason.

        Raises:
            EndpointError: malformed.
            InvalidValue: ``curve_key`` is not 32 bytes.
        """
        self._check_usable()
        _checked(endpoint)
        _check_key("curve_key", curve_key)
        with self._network.lock:
            link = LinkId(next(self._ids))
            end = self._network.connect(self, endpoint, curve_key)
            if isinstance(end, _End):
                self._take_up(end, link)
            else:
                self._tell(LinkDown(link, *end))
            return link

    def send(self, link: LinkId, frames: Sequence[bytes]) -> bool:
        """Queue one message of one or two frames. False if it could not be queued.

        Raises:
            InvalidValue: not one or two frames of bytes.
        """
        self._check_usable()
        check_frames(frames)
        with self._network.lock:
            end = self._ends.get(link)
            if end is None:
                return False
            if self._network.is_cut(self.host, end.other.owner.host):
                return True  # The network is silent about what it drops.
            if end.gone:
                self.lose(end)
                return False
            return self._deliver(end, link, tuple(frames))

    def trust(self, link: LinkId) -> None:
        """Nothing to do: no connection is ended here to make room for another one."""

    def close_link(self, link: LinkId) -> None:
        """Close and forget ``link`` at once; no event follows. Unknown links are no error.

        The connection ends, whoever dialed; what it carries has arrived already.
        """
        self._check_usable()
        with self._network.lock:
            end = self._forget(link)
            if end is not None:
                self._network.hang_up(end)

    def wait(self, timeout_s: float | None) -> list[LinkEvent]:
        """Return what has happened, oldest first, waiting up to ``timeout_s`` seconds.

        At most 256 messages per link are returned at a time.
        """
        self._check_usable()
        with self._news:
            self._news.wait_for(lambda: self._events or self._woken, timeout_s)
            self._woken = False
            return self._take_events()

    def wake(self) -> None:
        """Make the current or next `wait` return, from any thread; after `close`, do nothing."""
        with self._news:
            self._woken = True
            self._news.notify_all()

    def close(self) -> None:
        """Close every link and stop listening. Idempotent."""
        with self._network.lock:
            if self._closed:
                return
            self._closed = True
            self._ends.clear()
            self._network.leave(self)
            self._events.clear()

    def lose(self, end: _End) -> None:
        """Tell that ``end`` broke, if its owner knows of it. For the network, under its lock."""
        if end.link is not None and self._ends.pop(end.link, None) is not None:
            self._tell(LinkDown(end.link, DownReason.LOST, _LOST))

    def accept(self, end: _End, frames: tuple[bytes, ...]) -> None:
        """Take in a message for ``end``; its first makes the link. For the network's transports."""
        link = end.link
        if link is None:
            link = LinkId(next(self._ids))
            self._take_up(end, link)
        end.unread += 1
        self._tell(Received(link, frames))

    def _deliver(self, end: _End, link: LinkId, frames: tuple[bytes, ...]) -> bool:
        far = end.other
        if far.unread >= QUEUE_MAX_MESSAGES:
            del self._ends[link]
            end.link = None
            self._tell(LinkDown(link, DownReason.CONGESTED, _CONGESTED))
            if end.dialed:
                self._network.hang_up(end)
            return False
        far.owner.accept(far, frames)
        return True

    def _take_up(self, end: _End, link: LinkId) -> None:
        end.link = link
        self._ends[link] = end
        self._tell(LinkUp(link, end.curve_key, end.remote, end.dialed, end.former))

    def _forget(self, link: LinkId) -> _End | None:
        self._events = deque(event for event in self._events if event.link != link)
        end = self._ends.pop(link, None)
        if end is not None:
            end.link = None
            end.unread = 0
        return end

    def _tell(self, event: LinkEvent) -> None:
        self._events.append(event)
        self._news.notify_all()

    def _take_events(self) -> list[LinkEvent]:
        """Take the events out; of a link with too many messages the rest stays, in order."""
        taken: list[LinkEvent] = []
        kept: deque[LinkEvent] = deque()
        counts: Counter[LinkId] = Counter()
        portions: defaultdict[LinkId, Portion] = defaultdict(Portion)
        for event in self._events:
            if portions[event.link].full:
                kept.append(event)
                continue
            taken.append(event)
            if isinstance(event, Received):
                counts[event.link] += 1
                portions[event.link].add(work_us(event.frames))
        self._events = kept
        for link, count in counts.items():
            if link in self._ends:
                self._ends[link].unread -= count
        return taken

    def _check_usable(self) -> None:
        if self._closed:
            raise ServiceClosed("the transport is closed")


def _checked(endpoint: str) -> str:
    if type(endpoint) is not str or _ENDPOINT.fullmatch(endpoint) is None:
        raise EndpointError(f"{endpoint!r}: must be mem://NAME or tcp://HOST:PORT")
    return endpoint


def _check_key(field_name: str, key: bytes) -> None:
    if type(key) is not bytes or len(key) != CURVE_KEY_SIZE:
        raise InvalidValue(field_name, f"must be {CURVE_KEY_SIZE} bytes")
