"""A store that forgets everything with the process: for tests, demos and throw-away nodes."""

import sqlite3
from collections.abc import Sequence

from zmqp2p.ids import Address
from zmqp2p.persistence import Snapshot, Write
from zmqp2p.store.database import DatabaseStore, Opened
from zmqp2p.store.statements import PeerIds, apply_writes
from zmqp2p.store.streams import Streams


class MemoryStore(DatabaseStore):
    """A `Store` in memory, under the same contract as `SqliteStore`, application tables included.

    What was committed lives as long as this object: `close` and then `open` finds it again, in the
    next incarnation, as a node does that was stopped and started on one file.
    """

    def __init__(self) -> None:
        super().__init__("memory store")
        self.image = b""  # Of what was committed, as the last closing left it.
        self._streams: Streams | None = None  # While it is open; then the outbox in SQL is older.

    def open(self, owner: Address | None, now_ms: int) -> Snapshot:
        """Take the store for ``owner``; see `zmqp2p.store.base.Store.open`."""
        loaded = super().open(owner, now_ms)
        self._streams = Streams(loaded.peers)
        return loaded

    def savepoint(self) -> None:
        """Mark the open transaction; see `zmqp2p.store.base.Store.savepoint`."""
        super().savepoint()
        self._held().mark()

    def rollback_to_savepoint(self) -> None:
        """Undo what was written since the last `savepoint`; the mark stays."""
        super().rollback_to_savepoint()
        self._held().undo_to_mark()

    def commit(self) -> None:
        """Make the open transaction part of what the next opening finds."""
        super().commit()
        self._held().commit()

    def rollback(self) -> None:
        """Forget the open transaction."""
        super().rollback()
        self._held().undo()

    def check(self) -> None:
        """Assert the invariant of what is held outside of SQL."""
        if self._streams is not None:
            self._streams.check()

    def _write(self, opened: Opened, writes: Sequence[Write]) -> None:
        streams = self._held()
        others = [write for write in writes if not streams.take(write)]
        if others:
            super()._write(opened, others)

    def _held(self) -> Streams:
        assert self._streams is not None  # As is known where it is open.
        return self._streams

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if self.image:
            db.deserialize(self.image)
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA trusted_schema = OFF")

    def _disconnect(self, db: sqlite3.Connection) -> None:
        if db.in_transaction:
            db.execute("ROLLBACK")
        streams, self._streams = self._streams, None
        if streams is not None:
            streams.undo()
            _write_back(db, streams)
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        if pages:  # SQLite cannot make an image of nothing, which a failed first opening leaves.
            self.image = db.serialize()
        db.close()


def _write_back(db: sqlite3.Connection, streams: Streams) -> None:
    db.execute("BEGIN")
    db.execute("DELETE FROM outbox")
    apply_writes(db, PeerIds(db), list(streams.writes()))
    db.execute("COMMIT")
