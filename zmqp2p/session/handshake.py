"""The life of one link as a table: state and frame kind in, action out (rules HEL-3 to HEL-7).

The dialer speaks first, the listener answers each HELLO with its own. A listener that gets another
frame over a link it knows nothing of asks WHO, and the dialer says HELLO again.
"""

from dataclasses import dataclass, field
from enum import Enum
from math import inf

from zmqp2p.ids import Address, CurveKey, LinkId
from zmqp2p.limits import Limits
from zmqp2p.records import PeerRecord
from zmqp2p.session.bucket import Bucket
from zmqp2p.wire.frames import Kind


class LinkState(Enum):
    """How far the two ends of a link have introduced themselves."""

    SILENT = "silent"  # Accepted here; it has not said who it is.
    GREETED = "greeted"  # Dialed from here; our HELLO has left, theirs has not come.
    ESTABLISHED = "established"  # Both HELLOs were accepted.

    __hash__ = object.__hash__  # Looked up for every frame; Enum's own runs in Python.


class Action(Enum):
    """What a frame brings about."""

    INTRODUCE = "introduce"  # Check the HELLO; answer it if we listened; resume the session.
    PROCESS = "process"  # Hand it to the session.
    SAY_HELLO = "say_hello"  # They have forgotten us: say HELLO again.
    ASK_WHO = "ask_who"
    CLOSE = "close"  # They said goodbye.
    IGNORE = "ignore"
    VIOLATION = "violation"  # The spec forbids this frame here.


_SESSION_KINDS = (Kind.DATA, Kind.BULK, Kind.ACK, Kind.GAP, Kind.PING, Kind.PONG)

TABLE: dict[tuple[LinkState, Kind], Action] = {
    (LinkState.SILENT, Kind.HELLO): Action.INTRODUCE,
    (LinkState.SILENT, Kind.WHO): Action.IGNORE,  # We did not dial: nothing to introduce.
    (LinkState.SILENT, Kind.BYE): Action.CLOSE,
    **{(LinkState.SILENT, kind): Action.ASK_WHO for kind in _SESSION_KINDS},
    (LinkState.GREETED, Kind.HELLO): Action.INTRODUCE,
    (LinkState.GREETED, Kind.WHO): Action.SAY_HELLO,
    (LinkState.GREETED, Kind.BYE): Action.CLOSE,
    **{(LinkState.GREETED, kind): Action.VIOLATION for kind in _SESSION_KINDS},
    (LinkState.ESTABLISHED, Kind.HELLO): Action.INTRODUCE,
    (LinkState.ESTABLISHED, Kind.WHO): Action.SAY_HELLO,
    (LinkState.ESTABLISHED, Kind.BYE): Action.CLOSE,
    **{(LinkState.ESTABLISHED, kind): Action.PROCESS for kind in _SESSION_KINDS},
}

_EARLY_FRAME_BYTES = 4_096  # A frame of so many more counts as one more: 12 are in a full batch.
_DIALER_WAITS = 0.25  # Of what the least silence limit leaves for an answer.
_PINGS_MAX = 64  # Unanswered: more than leave within the longest silence.


@dataclass(slots=True)
class Link:
    """One connection, as the engine sees it. Times are monotonic seconds."""

    id: LinkId
    dialed: bool
    curve_key: CurveKey | None
    remote: str
    expected: Address | None  # Whom this node dialed.
    state: LinkState
    opened_at: float
    heard_at: float
    pinged_at: float
    greeted_at: float
    hello_within_s: float  # From `opened_at`: a dial that took long is a long way off.
    former: bool = False  # Opened with a CURVE key that this node has replaced since.
    crowded: bool = False  # Its connection may stay only if it is a contact's.
    ping_token: int = 0
    pings: dict[int, float] = field(default_factory=dict)  # Unanswered tokens, when they left.
    asked_at: float = float("-inf")  # When WHO was last sent.
    early: int = 0  # Frames that came before the HELLO; a large one counts as several.
    told_at: float = float("-inf")  # When HELLO was last said because of a WHO.
    doubted: bool = False  # Its HELLO was of an older run; it was asked to say it again (RES-3).
    # When something last came that was no answer to PING: PONG does not put off the next one.
    spoke_at: float = float("-inf")
    echo: bytes | None = None  # How the last PONG ended: an idle peer's next one ends so too.
    # When messages last came. Their queue is moving, and our acknowledgements may wait behind them;
    # a PING says the contrary, that our frames are not heard.
    moved_at: float = float("-inf")
    peer: Address | None = None  # Set when the HELLO was accepted.
    shown: PeerRecord | None = None  # That HELLO's record: said again, it need not be verified.
    # For frames that bring nothing new (RAT-1); without a limit unless it is set. From the HELLO on
    # it is the session's, of all its links; `repeats`, for DATA and BULK, is the link's own.
    controls: Bucket = field(default_factory=lambda: Bucket(inf, inf))
    repeats: Bucket = field(default_factory=lambda: Bucket(inf, inf))
    measured: bool = False  # A round trip was measured since it was established.
    samples_before: int = 0  # What the session had measured before.

    def came_early(self, size_bytes: int) -> None:
        """Count a frame that came before the HELLO (HEL-9)."""
        self.early += 1 + size_bytes // _EARLY_FRAME_BYTES

    def deadline(self, limits: Limits, silence_s: float, stalled_since: float | None) -> float:
        """When `expired` or `ping_due` may become true."""
        if self.state is not LinkState.ESTABLISHED:
            return self.opened_at + self.hello_within_s
        dead_at = self._waits_since(stalled_since) + silence_s
        return min(self._ping_at(limits), dead_at)

    def expired(self, now: float, silence_s: float, stalled_since: float | None) -> str:
        """Return why this link must be given up now, or nothing (LIV-2, LIV-5, HEL-7).

        ``silence_s`` is how long it may be silent, ``stalled_since`` since when what was sent on it
        makes no progress.
        """
        if self.state is not LinkState.ESTABLISHED:
            late = now >= self.opened_at + self.hello_within_s
            return f"no HELLO within {self.hello_within_s:g} s" if late else ""
        if now >= self.heard_at + silence_s:
            return f"silent for {silence_s:g} s"
        stalled = now >= self._waits_since(stalled_since) + silence_s
        return f"no progress for {silence_s:g} s" if stalled else ""

    def ping_due(self, now: float, limits: Limits) -> bool:
        """Whether the peer has not spoken for an interval, since the last PING too (LIV-1)."""
        return self.state is LinkState.ESTABLISHED and now >= self._ping_at(limits)

    def ping(self, now: float) -> int:
        """Return the token of the PING that leaves now."""
        self.pinged_at = now
        self.ping_token += 1
        self.pings[self.ping_token] = now
        if len(self.pings) > _PINGS_MAX:
            del self.pings[next(iter(self.pings))]
        return self.ping_token

    def answered(self, token: int, now: float) -> float | None:
        """Return the round trip of the PING with ``token``; None if it was not asked for.

        An older PING than the last one counts too, or a path that takes longer than the interval
        would never be measured; but each only once, and none that is older than one answered.
        """
        left_at = self.pings.get(token)
        if left_at is None:
            return None
        if len(self.pings) == 1:  # As a rule.
            self.pings.clear()
        else:
            self.pings = {one: at for one, at in self.pings.items() if one > token}
        return now - left_at

    def postpone(self, by_s: float) -> None:
        """Take note that this node did not run for so long: the peer was not silent (LIV-6)."""
        self.opened_at += by_s
        self.heard_at += by_s
        self.spoke_at += by_s
        self.greeted_at += by_s
        self.pings.clear()  # Whatever answers them now would measure the pause.

    def _ping_at(self, limits: Limits) -> float:
        """When to ask; until a round trip is measured, whatever is heard.

        Who dialed waits a little longer: the other one asks, and both have heard. Or both would ask
        each time, since each was quiet as long as the other.
        """
        interval_s = limits.ping_interval_s
        if not self.measured:
            return self.pinged_at + interval_s
        if self.dialed:
            interval_s += (limits.silence_max_s - interval_s) * _DIALER_WAITS
        return max(self.spoke_at, self.pinged_at) + interval_s

    def _waits_since(self, stalled_since: float | None) -> float:
        if stalled_since is None:
            return self.heard_at
        return min(self.heard_at, max(stalled_since, self.moved_at))
