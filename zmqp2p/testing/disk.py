"""A store whose disk is part of the world: what was committed stays, and may be put back."""

from collections.abc import Callable, Sequence

from zmqp2p.persistence import Write
from zmqp2p.store.memory import MemoryStore


class Disk(MemoryStore):
    """A `Store` in memory that survives its node, and tells of each commit.

    ``committing`` is called before a commit and ``committed`` after it, with its writes: there a
    world lets a node die, and takes account.
    """

    def __init__(
        self,
        committing: Callable[[], None],
        committed: Callable[[list[Write]], None],
    ) -> None:
        super().__init__()
        self._committing = committing
        self._committed = committed
        self._writes: list[Write] = []

    def apply(self, writes: Sequence[Write]) -> None:
        """Add ``writes`` to the open transaction."""
        super().apply(writes)
        self._writes += writes

    def commit(self) -> None:
        """Make the open transaction part of the disk."""
        self._committing()
        super().commit()
        writes, self._writes = self._writes, []
        self._committed(writes)

    def close(self) -> None:
        """The run has ended; what was not committed is lost."""
        self._writes = []
        super().close()

    def copy(self) -> bytes:
        """Return a backup of a closed disk."""
        return self.image

    def put_back(self, copy: bytes) -> None:
        """Replace a closed disk by a backup of it."""
        self.image = copy
