"""A token bucket: a rate that may be exceeded for a while, by a burst, and not for longer."""

from zmqp2p.limits import Limits


class Bucket:
    """Holds up to ``burst`` tokens and gains ``rate_per_s`` of them a second; full at first.

    Pure: ``now`` is monotonic seconds. A rate without end (``inf``) always suffices.
    Invariant: in any span of t seconds at most ``rate_per_s * t + burst`` tokens are taken, and
    what was earned.
    """

    __slots__ = ("_at", "_burst", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None  # When `_tokens` were counted; None before the first time.

    def has(self, tokens: float, now: float) -> bool:
        """Whether so many could be taken now."""
        self._fill(now)
        return self._tokens >= tokens

    def take(self, tokens: float, now: float) -> bool:
        """Take so many, if they are there."""
        if not self.has(tokens, now):
            return False
        self._tokens -= tokens
        return True

    def charge(self, tokens: float, now: float) -> None:
        """Take so many though they are not there: what has happened is paid for later."""
        self._fill(now)
        self._tokens -= tokens

    def earn(self, tokens: float, most: float | None = None) -> None:
        """Add so many, up to ``most``, which may be above the burst; None is the burst."""
        self._tokens = min(self._tokens + tokens, most or self._burst)

    def _fill(self, now: float) -> None:
        if self._at is not None and now > self._at and self._tokens < self._burst:
            gained = self._rate_per_s * (now - self._at)
            self._tokens = min(self._tokens + gained, self._burst)
        if self._at is None or now > self._at:
            self._at = now


def control_bucket(limits: Limits) -> Bucket:
    """Return what frames that bring nothing new are counted in (RAT-1)."""
    return Bucket(limits.control_rate_frames, limits.control_burst_frames)


def repeats_bucket(limits: Limits) -> Bucket:
    """Return what DATA and BULK that bring nothing new are counted in (RAT-1)."""
    return Bucket(limits.control_rate_frames, limits.repeats_burst_frames)
