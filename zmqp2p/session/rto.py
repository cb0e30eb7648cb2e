"""The resend timer of RFC 6298: how long to wait for news before sending again.

Pure: round-trip times come in, seconds come out. Only messages sent once are timed (Karn), which
the outbox sees to.
"""

from random import Random

from zmqp2p.limits import Limits

_ALPHA = 1 / 8  # RFC 6298 section 2.3.
_BETA = 1 / 4
_K = 4
_SILENCE = 3  # Timeouts without a word: one may be lost in queues, three are not.
_UNMEASURED = 2  # Initial timeouts before the first answer on a link.
_JITTER = 0.25  # Of the backed-off time, so that two peers do not resend in step.


class ResendTimer:
    """Smoothed round-trip time and the timeout that follows from it, seconds.

    Invariant: ``rto_min_s <= timeout_s() <= rto_max_s``, and ``silence_max_s <= silence_s() <=
    silence_slow_max_s``.
    """

    def __init__(self, limits: Limits, rng: Random) -> None:
        self._limits = limits
        self._rng = rng
        self._variation_s = 0.0
        self._backoff = 1.0
        self._unmeasured_s = _UNMEASURED * limits.rto_initial_s
        self.smoothed_s: float | None = None
        self.samples = 0  # How many were taken in.

    def sample(self, rtt_s: float) -> None:
        """Take in one measured round trip; ends any back-off."""
        self.samples += 1
        self._unmeasured_s = _UNMEASURED * self._limits.rto_initial_s
        if self.smoothed_s is None:
            self.smoothed_s = rtt_s
            self._variation_s = rtt_s / 2
        else:
            self._variation_s += _BETA * (abs(self.smoothed_s - rtt_s) - self._variation_s)
            self.smoothed_s += _ALPHA * (rtt_s - self.smoothed_s)
        self._backoff = 1.0

    def progressed(self) -> None:
        """Something new was received over there: the path works, so end the back-off."""
        self._backoff = 1.0

    def expired(self) -> None:
        """The timer ran out: wait twice as long next time (section 5.5)."""
        if self._base_s() * self._backoff < self._limits.rto_max_s:  # Or it would overflow.
            self._backoff *= 2.0

    def timeout_s(self) -> float:
        """Return how long to wait from now; jittered upwards while backing off."""
        timeout_s = self._base_s() * self._backoff
        if self._backoff > 1.0:
            timeout_s *= 1.0 + _JITTER * self._rng.random()
        return min(timeout_s, self._limits.rto_max_s)

    def silence_s(self) -> float:
        """Return how long a link of this path may be silent, or make no progress (LIV-4).

        The back-off does not count: it grows because nothing comes.
        """
        patience_s = max(_SILENCE * self._base_s(), self._limits.silence_max_s)
        return min(patience_s, self._limits.silence_slow_max_s)

    def unmeasured_silence_s(self) -> float:
        """Return the same for a link on which no round trip was measured yet.

        The way may be another one now, and longer than the last.
        """
        known_s = self._limits.silence_max_s if self.smoothed_s is None else self.silence_s()
        return min(max(known_s, self._unmeasured_s), self._limits.silence_slow_max_s)

    def died_unmeasured(self) -> None:
        """Take note that a link was given up before its first answer: allow the next twice as long.

        Or a way longer than the limit would be given up over and over, and never measured.
        """
        self._unmeasured_s = min(2 * self._unmeasured_s, self._limits.silence_slow_max_s)

    def _base_s(self) -> float:
        """The timeout without back-off, not below its floor (sections 2.1 to 2.4)."""
        if self.smoothed_s is None:
            return max(self._limits.rto_initial_s, self._limits.rto_min_s)
        return max(self.smoothed_s + _K * self._variation_s, self._limits.rto_min_s)
