"""Links in virtual time: ordered pipes that lose, repeat, delay and reorder, and break.

Harsher than TCP below ZeroMQ, which a session must bear as well: frames of one link may be lost
and overtake each other, and those of a broken link may arrive long after.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from zmqp2p.errors import EndpointError
from zmqp2p.ids import CurveKey, LinkId
from zmqp2p.testing.faults import Faults
from zmqp2p.transport.options import CurvePair
from zmqp2p.wire.link import DownReason, LinkDown, LinkEvent, LinkUp, Received, of_former_key

CONNECT_S = 0.001  # At least, from dial to LinkUp or refusal.
UNANSWERED_S = 2.0  # Until a dial that nobody answers is given up.
NOTICE_MAX_S = 1.0  # How long an end may not notice that its connection broke.
_NOTICED = 0.7  # How probable it is that the death of a node is noticed by a connection's end.

Schedule = Callable[[float, Callable[[], None]], None]
"""Do something after so many seconds."""


@dataclass(eq=False, slots=True)
class End:
    """One end of a connection; ``link`` is None while its owner knows nothing of it."""

    owner: "SimTransport"
    dialed: bool
    curve_key: CurveKey  # The other side's.
    remote: str
    link: LinkId | None = None
    closed: bool = False
    former: bool = False  # Its owner has another key now.
    arrives_at: float = 0.0  # When the last frame under way to this end arrives.
    other: "End | None" = None  # None until it is connected.


class Network:
    """The wires between all nodes of a world."""

    def __init__(self, rng: Random, faults: Faults, schedule: Schedule) -> None:
        self.faults = faults
        self.cuts: set[tuple[str, str]] = set()  # (from, to): nothing passes.
        self.lost = 0
        self._rng = rng
        self._schedule = schedule
        self._now = 0.0
        self._listeners: dict[str, SimTransport] = {}
        self._dialed: dict[int, End] = {}  # Dialing ends of live connections, oldest first.
        self._count = 0

    def tick(self, now: float) -> None:
        """It is ``now``."""
        self._now = now

    def bind(self, endpoint: str, transport: "SimTransport") -> None:
        """Let ``transport`` be dialed; it replaces an earlier run of its node."""
        self._listeners[endpoint] = transport

    def dial(self, end: End, endpoint: str) -> None:
        """Try to connect ``end``; its owner hears of it."""
        delay_s = CONNECT_S + self._delay_s()
        listener = self._listeners.get(endpoint)
        host = endpoint
        if listener is None or self._cut(end.owner.endpoint, host, both=True):
            self._schedule(UNANSWERED_S, lambda: end.owner.down(end, DownReason.UNREACHABLE))
        elif listener.closed:
            self._schedule(delay_s, lambda: end.owner.down(end, DownReason.UNREACHABLE))
        elif listener.listens_with != end.curve_key:
            self._schedule(delay_s, lambda: end.owner.down(end, DownReason.WRONG_KEY))
        else:
            far = End(listener, False, end.owner.curve_public, end.owner.endpoint)
            far.former = listener.listens_with != listener.curve_public
            end.other, far.other = far, end
            self._count += 1
            self._dialed[self._count] = end
            self._schedule(delay_s, lambda: end.owner.up(end))

    def send(self, end: End, frames: tuple[bytes, ...]) -> None:
        """Carry one message to the other end of ``end``."""
        far, faults, rng = end.other, self.faults, self._rng
        assert far is not None
        if rng.random() < faults.lose or self._cut(end.owner.endpoint, far.owner.endpoint):
            self.lost += 1
            return
        for _ in range(2 if rng.random() < faults.repeat else 1):
            at = self._now + self._delay_s()
            if rng.random() >= faults.reorder:
                at = max(at, far.arrives_at)
                far.arrives_at = at
            self._schedule(at - self._now, lambda: far.owner.arrive(far, frames))

    def retire(self, transport: "SimTransport") -> None:
        """The connections that ``transport`` has now are of its former key."""
        for near in self._dialed.values():
            for end in (near, near.other):
                if end is not None and end.owner is transport:
                    end.former = True

    def hang_up(self, end: End) -> None:
        """The dialer closes its connection; the other end hears of it."""
        if end.dialed and end.other is not None:
            self._notice(end.other)

    def break_some(self) -> None:
        """Break one connection; each end notices in its own time, and frames are still under way.

        A listener cannot close one, so that of an ended run may have frames to come, too.
        """
        self._dialed = {key: end for key, end in self._dialed.items() if not end.closed}
        if self._dialed:
            end = self._dialed[self._rng.choice(list(self._dialed))]
            for each in (end, end.other):
                if each is not None:
                    self._notice(each)

    def abandon(self, transport: "SimTransport") -> None:
        """A node has died: its peers notice, or not (then only silence tells)."""
        for end in list(self._dialed.values()):
            far = end.other
            for mine, other in ((end, far), (far, end)):
                ours = mine is not None and mine.owner is transport
                if ours and other is not None and self._rng.random() < _NOTICED:
                    self._notice(other)

    def _notice(self, end: End) -> None:
        delay_s = self._rng.uniform(0, NOTICE_MAX_S) * self._rng.random()
        self._schedule(delay_s, lambda: end.owner.down(end, DownReason.LOST))

    def _delay_s(self) -> float:
        return self._rng.uniform(0.0001, self.faults.delay_max_s)

    def _cut(self, source: str, target: str, *, both: bool = False) -> bool:
        return (source, target) in self.cuts or (both and (target, source) in self.cuts)


class SimTransport:
    """One run's links in a `Network`; implements `zmqp2p.transport.base.Transport`.

    ``sending`` is called before a message leaves, with the endpoint that it goes to: there a world
    looks at it, and lets a node die.
    """

    def __init__(
        self,
        network: Network,
        endpoint: str,
        curve_public: CurveKey,
        awake: Callable[[], None],
        sending: Callable[[str, tuple[bytes, ...]], None],
    ) -> None:
        self.endpoint = endpoint
        self.curve_public = self.listens_with = curve_public
        self.closed = False
        self._network = network
        self._awake = awake
        self._sending = sending
        self._ends: dict[LinkId, End] = {}
        self._events: list[LinkEvent] = []
        self._count = 0

    def listen(self, endpoint: str) -> str:
        """Be dialed at ``endpoint``."""
        self._network.bind(endpoint, self)
        return endpoint

    def rekey(
        self, curve: CurvePair, endpoints: Sequence[str], keep: Callable[[], None]
    ) -> list[str]:
        """Have another key for dials, and later at the one endpoint there is."""
        keep()
        self.end_former()
        self.curve_public = curve.public
        self._network.retire(self)
        self._events = list(map(of_former_key, self._events))
        return list(endpoints)

    def end_former(self) -> None:
        """Listen with the key that is dialed with; the engine has ended what the former let in."""
        self.listens_with = self.curve_public

    def dial(self, endpoint: str, curve_key: CurveKey) -> LinkId:
        """Start one attempt to connect."""
        if not endpoint.startswith("tcp://"):
            raise EndpointError(f"{endpoint!r}: not an endpoint of this network")
        end = End(self, True, curve_key, endpoint, self._new_id())
        assert end.link is not None
        self._ends[end.link] = end
        self._network.dial(end, endpoint)
        return end.link

    def send(self, link: LinkId, frames: Sequence[bytes]) -> bool:
        """Queue one message."""
        end = self._ends.get(link)
        if end is None:
            return False
        if end.other is not None:
            self._sending(end.other.owner.endpoint, tuple(frames))
            self._network.send(end, tuple(frames))
        return True

    def trust(self, link: LinkId) -> None:
        """Nothing to do: no connection is ended here to make room for another one."""

    def close_link(self, link: LinkId) -> None:
        """Close and forget ``link``; a listener only forgets it, as a ROUTER."""
        end = self._ends.pop(link, None)
        self._events = [event for event in self._events if event.link != link]
        if end is None:
            return
        end.link = None
        if end.dialed:
            end.closed = True
            self._network.hang_up(end)

    def wait(self, timeout_s: float | None) -> list[LinkEvent]:
        """Return what has happened; virtual time is the world's, so nothing is waited for."""
        assert timeout_s is None or timeout_s >= 0
        events, self._events = self._events, []
        return events

    def wake(self) -> None:
        """Have the node take a turn."""
        self._awake()

    def close(self) -> None:
        """The run has ended, in order or not."""
        if not self.closed:
            self.closed = True
            self._network.abandon(self)
            self._ends.clear()
            self._events.clear()

    # --- For the network ------------------------------------------------------------------------

    def up(self, end: End) -> None:
        """A connection that was dialed is there."""
        if end.link is not None and not self.closed and not end.closed:
            self._tell(LinkUp(end.link, end.curve_key, end.remote, dialed=True, former=end.former))

    def down(self, end: End, reason: DownReason) -> None:
        """A connection is gone, or never came."""
        link, end.link = end.link, None
        end.closed = True
        if link is not None and not self.closed and self._ends.pop(link, None) is not None:
            self._tell(LinkDown(link, reason, "simulated"))

    def arrive(self, end: End, frames: tuple[bytes, ...]) -> None:
        """A message has come for ``end``; its first makes the link of a listener."""
        if self.closed or end.closed:
            return
        if end.link is None:
            if end.dialed:
                return
            end.link = self._new_id()
            self._ends[end.link] = end
            self._tell(LinkUp(end.link, end.curve_key, end.remote, dialed=False, former=end.former))
        self._tell(Received(end.link, frames))

    def _tell(self, event: LinkEvent) -> None:
        self._events.append(event)
        self._awake()

    def _new_id(self) -> LinkId:
        self._count += 1
        return LinkId(self._count)
