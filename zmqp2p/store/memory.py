"""A store that forgets everything with the process: for tests, demos and throw-away nodes."""

import sqlite3

from zmqp2p.store.database import DatabaseStore


class MemoryStore(DatabaseStore):
    """A `Store` in memory, under the same contract as `SqliteStore`, application tables included.

    What was committed lives as long as this object: `close` and then `open` finds it again, in the
    next incarnation, as a node does that was stopped and started on one file.
    """

    def __init__(self) -> None:
        super().__init__("memory store")
        self.image = b""  # Of what was committed, as the last closing left it.

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
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        if pages:  # SQLite cannot make an image of nothing, which a failed first opening leaves.
            self.image = db.serialize()
        db.close()
