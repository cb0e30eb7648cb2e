"""Chance for tests: seeded, or none at all."""

from random import Random


def seeded(seed: int) -> Random:
    """Return a generator that always says the same."""
    return Random(seed)  # To be repeatable is its purpose.


class Least(Random):
    """Chance that always says 0."""

    def random(self) -> float:
        """Return the least."""
        return 0.0


class Most(Random):
    """Chance that always says almost 1."""

    def random(self) -> float:
        """Return the most."""
        return 1.0 - 2**-53
