"""How fast a message in parts has to come while others wait to begin theirs (WIN-4)."""

from zmqp2p.limits import Limits


class PartsPace:
    """Watches the message whose parts are coming, if one is. Pure: ``now`` is monotonic seconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._begun_at = 0.0
        self._bytes: int | None = None  # How much has come; None if no message is incomplete.
        self._barred_until = float("-inf")

    def watch(self, assembled_bytes: int | None, now: float) -> None:
        """Take note of how much has come of it by now."""
        begins = assembled_bytes is not None and assembled_bytes < (
            self._bytes or assembled_bytes + 1
        )
        if begins:
            self._begun_at = now
        self._bytes = assembled_bytes

    def too_slow(self, now: float) -> bool:
        """Whether less has come than should have."""
        if self._bytes is None:
            return False
        due_s = self._limits.parts_grace_s + self._bytes / self._limits.parts_rate_bytes
        return now >= self._begun_at + due_s

    def bar(self, now: float) -> None:
        """It was too slow: another message in parts may not begin for a while."""
        self._barred_until = now + self._limits.parts_barred_s

    def barred(self, now: float) -> bool:
        """Whether that is so."""
        return now < self._barred_until
