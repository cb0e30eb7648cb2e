"""The Store protocol: one open transaction at a time, one per loop turn.

The node applies the writes of a turn and lets handlers write to their own tables; `commit` makes
all of it durable at once, and only then do acks and new messages leave. A store belongs to one
node: `open` refuses a second one, and a file that belongs to another identity.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from zmqp2p.ids import Address
from zmqp2p.persistence import Snapshot, Write

SqlValue = None | int | float | str | bytes


class Transaction(Protocol):
    """The application's way into the open transaction: its own tables, named ``app_…``."""

    def execute(self, sql: str, parameters: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """Run one SQL statement and return its rows (empty if it has none).

        Raises:
            LocalError: the statement touches a table not named ``app_…``, or ends the transaction,
                or this transaction is over.
            StoreError: the database refused it.
        """
        ...


class Store(Protocol):
    """Where a node keeps what must survive it. One thread uses it, the node's."""

    def open(self, owner: Address, now_ms: int) -> Snapshot:
        """Take the store for ``owner``, begin a new incarnation durably, return what is in it.

        A store that is new takes ``now_ms`` (UTC) as its first incarnation, every later opening
        one more than the last: a store restored from an old copy is then seen to be older.

        Raises:
            StoreLocked: in use by another process or service.
            StoreTooNew: written by a newer version of this package.
            StoreForeign: not a store, or another identity's.
            StoreError: cannot be read or written.
        """
        ...

    def apply(self, writes: Sequence[Write]) -> None:
        """Add ``writes``, in order, to the open transaction (begun on demand)."""
        ...

    @property
    def transaction(self) -> Transaction:
        """The open transaction, for the application's own tables."""
        ...

    def savepoint(self) -> None:
        """Mark the open transaction: `rollback_to_savepoint` undoes what follows the mark."""
        ...

    def rollback_to_savepoint(self) -> None:
        """Undo what was written since the last `savepoint` (a handler that failed)."""
        ...

    def commit(self) -> None:
        """Make the open transaction durable. Does nothing if nothing was written.

        Raises:
            StoreError: it is not durable; the node must stop, nothing may leave.
        """
        ...

    def rollback(self) -> None:
        """Forget the open transaction."""
        ...

    def close(self) -> None:
        """Release the store, forgetting an open transaction. Idempotent."""
        ...
