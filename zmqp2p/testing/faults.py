"""What may go wrong in a `World`, and how often."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What may go wrong; times in seconds, rates as probabilities.

    Of the network, for each frame: ``lose``, ``repeat``, ``reorder``, and ``delay_max_s``. Events
    that come again and again, with these mean intervals in virtual seconds (0: never):
    ``partition_s``, ``one_way_s`` (a cut in one direction), ``reset_s`` (a connection breaks, each
    end notices in its own time), ``crash_s`` (a node dies between two turns or in the middle of
    one), ``suspend_s`` (a node does not run for a while), ``clock_s`` (a wall clock is set).
    """

    lose: float = 0.0
    repeat: float = 0.0
    reorder: float = 0.0
    delay_max_s: float = 0.02
    partition_s: float = 0.0
    one_way_s: float = 0.0
    reset_s: float = 0.0
    crash_s: float = 0.0
    suspend_s: float = 0.0
    clock_s: float = 0.0
    outage_max_s: float = 5.0  # How long a cut, a suspension or a dead node lasts at most.
    handler_fails: float = 0.0  # A handler's first attempt at a message.
    deposit_fails: float = 0.0  # The chain refuses a deposit without a reason.
    rollbacks: int = 0  # How often a store is put back to an older copy when its node restarts.

    @classmethod
    def some(cls, rng: Random) -> "Faults":
        """Return faults of one kind or another: a world with all of them at once gets nowhere."""
        return cls(
            lose=rng.choice((0.0, 0.02, 0.2)),
            repeat=rng.choice((0.0, 0.1)),
            reorder=rng.choice((0.0, 0.1)),
            delay_max_s=rng.choice((0.01, 0.1, 0.5)),
            partition_s=rng.choice((0.0, 0.0, 8.0)),
            one_way_s=rng.choice((0.0, 0.0, 8.0)),
            reset_s=rng.choice((0.0, 1.0, 5.0)),
            crash_s=rng.choice((0.0, 1.0, 5.0)),
            suspend_s=rng.choice((0.0, 0.0, 10.0)),
            clock_s=rng.choice((0.0, 0.0, 10.0)),
            outage_max_s=rng.choice((0.5, 4.0)),
            handler_fails=rng.choice((0.0, 0.1)),
            deposit_fails=rng.choice((0.0, 0.3)),
        )


CALM = Faults()
"""Nothing goes wrong; a frame takes up to 20 ms."""
