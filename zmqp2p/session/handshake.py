"""The life of one link as a table: state and frame kind in, action out (rules HEL-3 to HEL-7).

The dialer speaks first, the listener answers each HELLO with its own. A listener that gets another
frame over a link it knows nothing of asks WHO, and the dialer says HELLO again.
"""

from dataclasses import dataclass
from enum import Enum

from zmqp2p.ids import Address, CurveKey, LinkId
from zmqp2p.limits import Limits
from zmqp2p.wire.frames import Kind


class LinkState(Enum):
    """How far the two ends of a link have introduced themselves."""

    SILENT = "silent"  # Accepted here; it has not said who it is.
    GREETED = "greeted"  # Dialed from here; our HELLO has left, theirs has not come.
    ESTABLISHED = "established"  # Both HELLOs were accepted.


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
    ping_token: int = 0
    pinging: bool = False  # The PING with that token has not been answered.
    asked_at: float = float("-inf")  # When WHO was last sent.
    told_at: float = float("-inf")  # When HELLO was last said because of a WHO.
    doubted: bool = False  # Its HELLO was of an older run; it was asked to say it again (RES-3).
    peer: Address | None = None  # Set when the HELLO was accepted.

    def deadline(self, limits: Limits) -> float:
        """When `expired` or `ping_due` may become true."""
        if self.state is not LinkState.ESTABLISHED:
            return self.opened_at + limits.hello_timeout_s
        quiet_since = max(self.heard_at, self.pinged_at)
        silent_at = self.heard_at + limits.silence_max_s
        return min(quiet_since + limits.ping_interval_s, silent_at)

    def expired(self, now: float, limits: Limits) -> str:
        """Return why this link must be given up now, or nothing (LIV-2, HEL-7)."""
        if self.state is not LinkState.ESTABLISHED:
            late = now >= self.opened_at + limits.hello_timeout_s
            return f"no HELLO within {limits.hello_timeout_s:g} s" if late else ""
        silent = now >= self.heard_at + limits.silence_max_s
        return f"silent for {limits.silence_max_s:g} s" if silent else ""

    def ping_due(self, now: float, limits: Limits) -> bool:
        """Whether nothing was heard for an interval, since the last PING too (LIV-1)."""
        quiet_since = max(self.heard_at, self.pinged_at)
        return self.state is LinkState.ESTABLISHED and now >= quiet_since + limits.ping_interval_s
