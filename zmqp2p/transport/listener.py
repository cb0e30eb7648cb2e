"""The links that peers dialed to one listening endpoint: one bound ROUTER for all of them.

A routing id is a claim, even under CURVE. So a link is what the ZAP answer says of each message
(its User-Id) together with the routing id; the id alone only says where an answer goes.

A ROUTER cannot close one connection: it is shut down by its descriptor, which the monitor tells.

A disconnect is told by descriptor. Descriptors are used again at once, so order matters: libzmq's
one I/O thread writes all events of earlier connections before the first message of a later one.
Reading the monitor before a new link is made therefore keeps the two apart.
"""

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import zmq

from zmqp2p.errors import EndpointError
from zmqp2p.ids import CurveKey, LinkId
from zmqp2p.session.bucket import Bucket
from zmqp2p.transport.arrivals import Arrival, Sweep
from zmqp2p.transport.clog import Clog
from zmqp2p.transport.descriptors import (
    LOCAL_SOURCE,
    UNKNOWN_SOURCE,
    bytes_read,
    remote_of,
    shut_down,
    source_of,
)
from zmqp2p.transport.endpoints import Endpoint, SocketFile
from zmqp2p.transport.links import (
    CONGESTED,
    DONTWAIT,
    GONE,
    SNDMORE,
    FastSocket,
    Portion,
    SendFailure,
    Shared,
    wire_bytes,
)
from zmqp2p.transport.monitor import LISTEN_EVENTS, PASSED, Monitor, with_passed
from zmqp2p.transport.news import Backlog
from zmqp2p.transport.options import apply, descriptor, listener_options, to_ms
from zmqp2p.transport.turnstile import TurnedBack, Turnstile
from zmqp2p.transport.zap import plain_address
from zmqp2p.wire.link import DownReason, LinkUp, Received
from zmqp2p.wire.work import read_us, work_us

_DRAIN_MAX_S = 1.0  # A lost link is told by then, even if the socket is never read empty.
_REBIND_PAUSE_S = 0.001
_ACCEPTED = int(zmq.EVENT_ACCEPTED)
_LISTENING = int(zmq.EVENT_LISTENING)
_DISCONNECTED = int(zmq.EVENT_DISCONNECTED)
_GREETED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
# Between two looks at connections, of which each takes 10 us: under 1 % of a core. Meanwhile one
# can pour in as much as its way carries, on loopback 1 GB/s. Each time the thread wakes up for it,
# another 0.1 ms: so rather more of them, and more rarely.
_LOOK_S = 0.05
_LOOK_MAX = 32
# Connections that come too fast, a second and at once, of which it is not worth the while to turn
# back what waits: they take 0.7 % of both threads.
_FEW = (100.0, 16.0)
_TURN_BACK_MAX = 256  # Connections at a time: 3 ms.
_CROWD_LOOK_S = 0.02  # Between two looks whether there is room: 20 handshakes' time.
_CLOG_LOOK_S = 1.0  # All connections are counted for it, and nothing of it is urgent.


class AcceptedLink:
    """A peer's connection, from its first message on."""

    def __init__(self, link_id: LinkId, listener: "Listener", first: "_First") -> None:
        self.link_id = link_id
        self.routing_id = first.routing_id
        self.user_id = first.user_id
        self.fd = first.fd
        self.ended_at = 0.0  # When the disconnect was heard of.
        self.arrival = first.arrival
        self._listener = listener

    @property
    def curve_key(self) -> CurveKey | None:
        """The peer's; None without CURVE."""
        return CurveKey(bytes.fromhex(self.user_id)) if self.user_id else None

    def send(self, frames: Sequence[bytes]) -> SendFailure | None:
        """Queue one message to the peer."""
        return self._listener.send(self.routing_id, frames)

    def trust(self) -> None:
        """It is a contact's."""
        self._listener.trust(self)

    def close(self) -> None:
        """Forget the link, and end its connection when what was sent last has had time to leave."""
        self._listener.forget(self)


class _First:
    """What the first message of a link tells about its connection."""

    __slots__ = ("arrival", "fd", "remote", "routing_id", "user_id")

    def __init__(self, routing_id: bytes, user_id: str, frame: zmq.Frame) -> None:
        self.arrival: Arrival | None = None  # None once its end was told.
        self.routing_id = routing_id
        self.user_id = user_id
        self.fd = int(frame.get(zmq.SRCFD))
        self.remote = plain_address(str(frame.get("Peer-Address")))


class Listener:
    """A bound ROUTER and its links; ``ports`` are tried in turn if the endpoint's port is 0.

    ``bind_within_s``: try again for so long while the endpoint is in use, as one is that a moment
    ago was given up here.

    Raises:
        EndpointError: in use, or the system does not allow it.
        OSError: no descriptors left. In both cases nothing is left open.
    """

    def __init__(
        self, shared: Shared, endpoint: Endpoint, ports: Sequence[int], bind_within_s: float = 0.0
    ) -> None:
        self._shared = shared
        self._bind_until = time.monotonic() + bind_within_s
        self._by_routing_id: dict[bytes, AcceptedLink] = {}
        self._by_fd: dict[int, AcceptedLink] = {}
        self._arrivals: dict[int, Arrival] = {}  # Not yet over, by descriptor.
        self._leaving: dict[bytes, Arrival] = {}  # Of links that were given up, by routing id.
        self._unlooked: deque[int] = deque()  # Descriptors to be looked at in this round.
        self._looked_at: list[tuple[Arrival, int]] = []  # And what had been read of them.
        self._looking = False  # There is a time for the next look at the connections.
        self._closed = False
        # The source of what was over before it was looked at.
        self._nameless = LOCAL_SOURCE if endpoint.scheme == "ipc" else UNKNOWN_SOURCE
        self._backlog = Backlog()
        self._turnstile = Turnstile()
        self._victims: list[Arrival] = []  # To be shut down when all events are told.
        self._too_fast: list[str] = []  # The source of each connection that came too fast.
        self._few = Bucket(*_FEW)
        self._on_event: dict[int, Callable[[int], None]] = {
            _LISTENING: self._turnstile.listens,
            _ACCEPTED: self._accepted,
            PASSED: self._passed,
            _GREETED: self._greeted,
            _DISCONNECTED: self._ended,
        }
        self._clog = Clog(shared.bounds, shared.arrivals.places, time.monotonic())
        self.clogged = False  # It is to be closed and opened again.
        self._count_at = 0.0  # When it is asked next whether it is.
        try:
            with ExitStack() as undo:
                self._open(endpoint, ports, undo)
                self._file = SocketFile(endpoint) if endpoint.scheme == "ipc" else None
                undo.pop_all()
        except zmq.ZMQError as fault:
            raise EndpointError(f"{endpoint.text!r}: {fault.strerror}") from fault

    def send(self, routing_id: bytes, frames: Sequence[bytes]) -> SendFailure | None:
        """Queue one message; only the routing id can be refused, by ROUTER_MANDATORY."""
        try:
            self._fast.send(routing_id, SNDMORE)
        except zmq.Again:
            return CONGESTED
        except zmq.ZMQError as fault:
            if fault.errno != errno.EHOSTUNREACH:
                raise
            return GONE
        self._fast.send_all(frames)
        self._shared.reactor.mark(self._serve_data)
        return None

    def forget(self, link: AcceptedLink) -> None:
        """Take no more of its messages, and let later ones of its routing id be another link."""
        del self._by_routing_id[link.routing_id]
        if self._by_fd.get(link.fd) is link:
            del self._by_fd[link.fd]
        arrival = link.arrival
        if arrival is not None and self._arrivals.get(link.fd) is arrival:
            arrival.routing_id = link.routing_id
            self._leaving[link.routing_id] = arrival
            self._shared.arrivals.leave(arrival)
            at = time.monotonic() + self._shared.bounds.linger_s
            self._shared.reactor.call_at(at, lambda: self._shut_down(arrival))

    def trust(self, link: AcceptedLink) -> None:
        """Let ``link``, a contact's, go for nobody; another one may have to go for it."""
        if link.arrival is not None:
            victim = self._shared.arrivals.trust(link.arrival, link.curve_key)
            self._shared.links.news.trust(link.link_id)
            if victim is not None:
                self._shut_down(victim)

    def end(self, why: str) -> None:
        """Close, and tell that the links have ended."""
        for link in list(self._by_routing_id.values()):
            self._shared.links.drop(link, DownReason.CLOSED, why)
        self.close()

    def close(self) -> None:
        """Stop listening and close all connections; what was sent has a moment to leave."""
        self._shared.reactor.unwatch(self._fd, self._serve_data)
        self._monitor.close()
        self._socket.set(zmq.LINGER, to_ms(self._shared.bounds.linger_s))
        self._socket.close()
        self._closed = True
        for arrival in self._arrivals.values():
            self._shared.arrivals.went(arrival)
        self._arrivals.clear()
        if self._file is not None:
            self._file.remove()

    def _open(self, endpoint: Endpoint, ports: Sequence[int], undo: ExitStack) -> None:
        shared = self._shared
        self._socket = shared.context.socket(zmq.ROUTER)
        undo.callback(self._socket.close)
        apply(self._socket, listener_options(shared.bounds, shared.curve, ipv6=endpoint.ipv6))
        self._fast = FastSocket(self._socket)
        self._monitor = Monitor(shared.context, shared.reactor, self._socket, LISTEN_EVENTS)
        undo.callback(self._monitor.close)
        self._fd = descriptor(self._socket)
        os.close(os.dup(self._fd))  # libzmq aborts the process if bind finds no descriptor left.
        self.endpoint = self._bind(endpoint, ports)
        self._monitor.watch(self._serve_monitor)
        shared.reactor.watch(self._fd, self._serve_data)

    def _bind(self, endpoint: Endpoint, ports: Sequence[int]) -> Endpoint:
        """Bind, and return the endpoint with the real port."""
        if endpoint.scheme == "ipc" or endpoint.port:
            while not self._try(endpoint):
                time.sleep(_REBIND_PAUSE_S)
            return endpoint
        for port in ports:
            candidate = endpoint.with_port(port)
            try:
                self._socket.bind(candidate.address)
            except zmq.ZMQError as fault:
                if fault.errno != errno.EADDRINUSE:
                    raise
            else:
                return candidate
        raise EndpointError(f"{endpoint.text!r}: no free port found")

    def _try(self, endpoint: Endpoint) -> bool:
        """Bind; False if it may be free later."""
        try:
            self._socket.bind(endpoint.address)
        except zmq.ZMQError as fault:
            if fault.errno != errno.EADDRINUSE or time.monotonic() >= self._bind_until:
                raise
            return False
        return True

    def _serve_data(self) -> bool:
        ration = self._shared.links.ration
        if ration.spent:
            return True
        portion = ration.portion()
        left = ration.count(portion, left=self._read(portion))
        if self._looked_at:
            self._judge(drained=not left)
        return left

    def _read(self, portion: Portion) -> bool:
        """Read up to ``portion``; return whether there may be more."""
        receive, receive_frame = self._fast.receive, self._fast.receive_frame
        links, curve = self._shared.links, self._shared.curve is not None
        while not (portion.full or self._backlog.full):
            try:
                routing_id = receive(DONTWAIT)
                first = receive_frame()
            except zmq.Again:
                return False
            frames = self._fast.rest_of(first)
            link = self._link_of(routing_id, first)
            if link is None:
                if frames is None:
                    return True
                portion.add(read_us(frames))
                continue
            if frames is None:
                links.drop(link, DownReason.NOT_ZP2P, "more than two frames")
                if link.arrival is not None:
                    self._shared.arrivals.blame(link.arrival, time.monotonic())
                    self._shut_down(link.arrival)  # At once: there is no goodbye to wait for.
                return True  # It was read at some cost: others have their turn.
            if link.arrival is not None:
                link.arrival.taken_bytes += wire_bytes(frames, curve=curve)
            portion.add(self._tell(link, frames))
        return True

    def _tell(self, link: AcceptedLink, frames: tuple[bytes, ...]) -> int:
        """Tell what came over ``link``, in its turn; return how much work it is in this one."""
        links, event, work = self._shared.links, Received(link.link_id, frames), work_us(frames)
        if not links.ration.shared or (link.arrival is not None and link.arrival.trusted):
            links.news.tell(event, work)
            return work
        links.news.hold(event, work, self._backlog)
        return read_us(frames)

    def _link_of(self, routing_id: bytes, frame: zmq.Frame) -> AcceptedLink | None:
        """Return the link that a message came over; a new one if it is the first.

        None if it is of a connection that is being shut down.
        """
        # Without CURVE nobody has proven a User-Id: it is not looked at.
        user_id = "" if self._shared.curve is None else str(frame.get("User-Id"))
        link = self._by_routing_id.get(routing_id)
        if link is not None and link.user_id == user_id:
            return link
        if link is not None:
            detail = "its routing id passed to another key"
            self._shared.links.drop(link, DownReason.LOST, detail)
        leaving = self._leaving.get(routing_id)
        if leaving is not None and leaving.fd == frame.get(zmq.SRCFD):
            if self._shared.arrivals.goes_on(leaving, time.monotonic()):
                self._shut_down(leaving)
            return None
        return self._new_link(_First(routing_id, user_id, frame))

    def _new_link(self, first: "_First") -> AcceptedLink | None:
        self._serve_monitor()  # Whatever was before this connection is told before it.
        first.arrival = self._arrivals.get(first.fd)
        if first.arrival is None or not first.arrival.proven:
            self._clog.heard()
            self._shared.arrivals.heard(first.remote)
        if first.arrival is not None and first.arrival.leaving:
            return None
        earlier = self._by_fd.get(first.fd)
        if earlier is not None:
            self._end(earlier)
        link = AcceptedLink(self._shared.links.new_id(), self, first)
        self._by_routing_id[link.routing_id] = link
        self._by_fd[link.fd] = link
        self._shared.links.add(link)
        former = self._shared.former
        crowded = link.arrival is not None and not self._shared.arrivals.prove(link.arrival)
        up = LinkUp(
            link.link_id, link.curve_key, first.remote, dialed=False, former=former, crowded=crowded
        )
        # Its time to say HELLO begins when it is told, so it waits with its first message.
        self._shared.links.news.hold(up, 0, self._backlog)
        if link.arrival is None:
            self._end(link)  # Its end was told before its first message was read.
        return link

    def _serve_monitor(self) -> bool:
        for event, fd in with_passed(self._monitor.drain()):
            self._on_event[event](fd)
        while self._victims:  # Not before all is told: one may be over, and its number another's.
            self._shut_down(self._victims.pop())
        if self._too_fast:
            self._keep_away()
        return False

    def _greeted(self, fd: int) -> None:
        del fd
        self._clog.greeted()

    def _ended(self, fd: int) -> None:
        link = self._by_fd.get(fd)
        if link is not None:
            self._end(link)
        arrival = self._arrivals.pop(fd, None)
        if arrival is None:
            return
        self._shared.arrivals.went(arrival)
        if self._leaving.get(arrival.routing_id) is arrival:
            at = time.monotonic() + _DRAIN_MAX_S  # What it has said last is dropped till then.
            self._shared.reactor.call_at(at, lambda: self._let_go(arrival))

    def _let_go(self, arrival: Arrival) -> None:
        if self._leaving.get(arrival.routing_id) is arrival:
            del self._leaving[arrival.routing_id]

    def _passed(self, fd: int) -> None:
        """A connection has come and gone."""
        del fd  # Another one's by now, perhaps.
        if not self._shared.arrivals.passed(self._nameless, time.monotonic()):
            self._too_fast.append(self._nameless)
            self._look_later()

    def _accepted(self, fd: int) -> None:
        """Take in a connection; one may have to go for it."""
        now, remote = time.monotonic(), remote_of(fd)
        source = self._nameless if remote is None else source_of(remote)
        arrival = Arrival(fd, remote or (), source, now)
        self._arrivals[fd] = arrival
        victim = self._shared.arrivals.came(arrival, now)
        self._look_later()
        if victim is arrival and self._shared.arrivals.is_too_fast(source, now):
            self._too_fast.append(source)
        if self._shared.arrivals.is_crowded(now) and self._turnstile.close():
            self._open_later(now)
        if victim is not None:
            self._victims.append(victim)

    def _keep_away(self) -> None:
        """Keep away whoever is too fast, and if there were many what waits of them, too.

        Where it is not known who that is, some of what waits tells it. The last one that is turned
        back may be an honest peer's, and is lost.
        """
        arrivals, now = self._shared.arrivals, time.monotonic()
        sweep = Sweep(arrivals, self._too_fast.count(UNKNOWN_SOURCE), now)

        def another(turned_back: TurnedBack) -> bool:
            goes_on = sweep.another(turned_back.source, over=turned_back.over)
            if arrivals.is_too_fast(turned_back.source, now):
                self._shun(turned_back.source, now)
            return goes_on

        many = not self._few.take(len(self._too_fast), now)
        for source in set(self._too_fast):
            self._shun(source, now)
        self._too_fast.clear()
        if many:
            self._turnstile.turn_back(_TURN_BACK_MAX, another)

    def _shun(self, source: str, now: float) -> None:
        """Have the system drop what else comes of ``source``, for a while."""
        until = self._turnstile.shun(source, now)
        if until is not None:
            self._shared.reactor.call_at(until, self._relent)

    def _open_later(self, now: float) -> None:
        self._shared.reactor.call_at(now + _CROWD_LOOK_S, self._open_again)

    def _open_again(self) -> None:
        """Let the system accept connections again, if those that came at once are served."""
        now = time.monotonic()
        if self._closed:
            return
        if self._shared.arrivals.has_room(now):
            self._turnstile.open()
        else:
            self._open_later(now)

    def _relent(self) -> None:
        if not self._closed:
            self._turnstile.relent(time.monotonic())

    def _shut_down(self, arrival: Arrival) -> None:
        """End a connection of this listener, or another one; not if it has ended."""
        if self._shared.arrivals.holds(arrival) and shut_down(arrival.fd, arrival.remote):
            arrival.shut_at = arrival.shut_at or time.monotonic()

    def _look_later(self) -> None:
        """Look after the connections in a moment, and tell what was turned away."""
        if not self._looking:
            self._looking = True
            self._shared.reactor.call_at(time.monotonic() + _LOOK_S, self._look)

    def _look(self) -> None:
        """End those that say nothing, or never end what they say."""
        self._looking = False
        if self._closed:
            return
        arrivals, now = self._shared.arrivals, time.monotonic()
        late = arrivals.overdue(now)
        for arrival in late:
            self._shut_down(arrival)
        # First what was read, then what is handed over: what comes in between does not mislead.
        self._looked_at = [(each, bytes_read(each.fd)) for each in self._next_to_look_at()]
        self._shared.reactor.mark(self._serve_data)
        for told in arrivals.told():
            self._shared.links.news.tell(told)
        if now >= self._count_at:
            self._count_at = now + _CLOG_LOOK_S
            arrivals.stick(now)
            self.clogged = self._clog.is_clogged(self._arrivals.values(), now)
        if self._arrivals:
            self._look_later()

    def _judge(self, *, drained: bool) -> None:
        """End those whose messages have no end, now that what had come is handed over."""
        looked_at, self._looked_at = self._looked_at, []
        for arrival, read_bytes in looked_at:
            if self._shared.arrivals.hoards(arrival, read_bytes, drained=drained):
                self._shut_down(arrival)

    def _next_to_look_at(self) -> list[Arrival]:
        """Return some connections, each in its turn."""
        if not self._unlooked:
            self._unlooked.extend(self._arrivals)
        fds = [self._unlooked.popleft() for _ in range(min(_LOOK_MAX, len(self._unlooked)))]
        return [self._arrivals[fd] for fd in fds if fd in self._arrivals]

    def _end(self, link: AcceptedLink) -> None:
        """Note that a connection is over; its last messages are read before it is told."""
        del self._by_fd[link.fd]
        link.ended_at = time.monotonic()
        self._finish_later(link)

    def _finish_later(self, link: AcceptedLink) -> None:
        reactor = self._shared.reactor
        reactor.mark(self._serve_data)
        reactor.call_at(time.monotonic() + self._shared.bounds.grace_s, lambda: self._finish(link))

    def _finish(self, link: AcceptedLink) -> None:
        unread = self._shared.reactor.is_marked(self._serve_data)
        if unread and time.monotonic() < link.ended_at + _DRAIN_MAX_S:
            self._finish_later(link)
        else:
            self._shared.links.drop(link, GONE.reason, GONE.detail, all_heard=True)
