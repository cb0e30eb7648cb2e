"""The default store: one SQLite file, durable at every commit."""

import sqlite3
from os import PathLike
from pathlib import Path

from zmqp2p.store.database import DatabaseStore
from zmqp2p.store.file_lock import FileLock

# How long to wait for somebody who looks into the file with another tool. Only such a one can make
# this store wait; while it does the whole node waits.
_BUSY_TIMEOUT_S = 0.25
# A commit that finds more than this many pages of 4 KiB in the log copies them to the database, in
# that commit: a bounded log for a bounded stall. A page rewritten often is copied once.
_LOG_MAX_PAGES = 1000
_LOG_KEPT_MAX_BYTES = 8 * 1024 * 1024  # After one huge transaction the log shrinks to this.

_SETTINGS = (
    "PRAGMA synchronous = FULL",  # NORMAL may lose the last commits when the power fails.
    "PRAGMA fullfsync = ON",  # macOS: its fsync leaves the data in the drive's cache.
    "PRAGMA checkpoint_fullfsync = ON",
    f"PRAGMA wal_autocheckpoint = {_LOG_MAX_PAGES}",
    f"PRAGMA journal_size_limit = {_LOG_KEPT_MAX_BYTES}",
    "PRAGMA trusted_schema = OFF",  # An application's views get no dangerous functions.
)


class SqliteStore(DatabaseStore):
    """A `Store` in the file ``path``, created with mode 0600 if missing. Its folder must exist.

    While open there are two more files beside it, ``-wal`` and ``-shm``; `close` removes them. To
    copy a store, copy it closed.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        # Absolute: the working directory may change, and ":memory:" must be a file's name.
        self._path = Path(path).absolute()
        super().__init__(str(self._path))

    def _connect(self) -> sqlite3.Connection:
        self._lock = FileLock(self._path)
        try:
            return sqlite3.connect(
                self._path,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as fault:
            self._lock.release()
            raise self._fault("cannot open", fault) from None

    def _prepare(self, db: sqlite3.Connection) -> None:
        # Where a file system cannot do it, SQLite stays with its older journal: slower, as durable.
        db.execute("PRAGMA journal_mode = WAL").fetchone()
        for setting in _SETTINGS:
            db.execute(setting)

    def _disconnect(self, db: sqlite3.Connection) -> None:
        try:
            # The last connection to close copies the log into the database and removes it.
            db.close()
        finally:
            # Only now: closing a descriptor of the file drops SQLite's own locks on it.
            self._lock.release()
