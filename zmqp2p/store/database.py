"""The `Store` over one SQLite connection; where the database lives is for a subclass to say."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

from zmqp2p.errors import LocalError, StoreError, StoreForeign, StoreLocked
from zmqp2p.ids import Address
from zmqp2p.persistence import Snapshot, Write
from zmqp2p.store import schema, snapshot
from zmqp2p.store.base import SqlValue, Transaction
from zmqp2p.store.guard import Guard
from zmqp2p.store.statements import PeerIds, apply_writes

_Execute: TypeAlias = Callable[[int, str, Sequence[SqlValue]], list[tuple[Any, ...]]]

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# Values that no column can hold: integers beyond 64 bits with sign, text with a lone surrogate.
_UNSTORABLE = (sqlite3.Error, OverflowError, UnicodeEncodeError)


class DatabaseStore(ABC):
    """A `Store` in an SQLite database. Used by one thread at a time.

    A transaction that the database itself gave up (disk full, I/O error), or in which only a part
    of some writes arrived, is *lost*: all that is possible then is `rollback`, and `commit` raises.
    Otherwise a handler that swallows the error would have half of a turn made durable.
    """

    def __init__(self, name: str) -> None:
        self._name = name  # For messages.
        self._opened: Opened | None = None
        self._began = False
        self._marked = False
        self._lost = ""  # Why the open transaction can only be rolled back.
        self._generation = 0  # Of the open transaction; one handed out earlier has a lower one.

    @abstractmethod
    def _connect(self) -> sqlite3.Connection:
        """Return a connection without implicit transactions, to a database that may be empty.

        Raises:
            StoreError: and then nothing is held.
        """

    @abstractmethod
    def _prepare(self, db: sqlite3.Connection) -> None:
        """Set the connection up, once the database is known to be a store or empty."""

    @abstractmethod
    def _disconnect(self, db: sqlite3.Connection) -> None:
        """Close ``db`` and release what `_connect` took."""

    def open(self, owner: Address | None, now_ms: int) -> Snapshot:
        """Take the store for ``owner``; see `zmqp2p.store.base.Store.open`.

        None takes a store that exists, whoever's it is, for maintenance.
        """
        if self._opened is not None:
            raise LocalError(f"{self._name}: this store is open already")
        db = self._connect()
        with ExitStack() as undo:
            undo.callback(self._disconnect, db)
            try:
                loaded = self._begin_incarnation(db, owner, now_ms)
            except _UNSTORABLE as fault:
                raise self._fault("cannot open", fault) from None
            undo.pop_all()
        self._opened = Opened(db, PeerIds(db), Guard())
        self._opened.guard.install(db)
        return loaded

    def apply(self, writes: Sequence[Write]) -> None:
        """Add ``writes``, in order, to the open transaction (begun on demand).

        Raises:
            StoreError: one of them cannot be stored; the transaction is lost.
        """
        if not writes:
            return
        opened = self._usable()
        try:
            self._write(opened, writes)
        except _UNSTORABLE as fault:
            error = self._fault("cannot write", fault)
            self._lost = str(error)
            raise error from None

    @property
    def transaction(self) -> Transaction:
        """The open transaction; what is handed out serves until the next commit or rollback."""
        self._require_open()
        return _HandedOut(self._execute, self._generation)

    def savepoint(self) -> None:
        """Mark the open transaction (begun on demand); the mark before it is forgotten."""
        db = self._begin().db
        if self._marked:  # Or the marks of a long turn would pile up.
            self._run(db, "RELEASE handler", "cannot set a savepoint")
        self._run(db, "SAVEPOINT handler", "cannot set a savepoint")
        self._marked = True

    def rollback_to_savepoint(self) -> None:
        """Undo what was written since the last `savepoint`; the mark stays.

        Raises:
            LocalError: there is no savepoint in the open transaction.
            StoreError: the transaction is lost.
        """
        if not self._marked:
            raise LocalError(f"{self._name}: no savepoint to roll back to")
        opened = self._begin()
        opened.ids.clear()  # Rows made after the mark go; the others are looked up again.
        self._run(opened.db, "ROLLBACK TO handler", "cannot roll back to the savepoint")

    def commit(self) -> None:
        """Make the open transaction durable.

        Raises:
            StoreError: it is not, and was rolled back.
        """
        opened = self._require_open()
        lost = self._lost
        if lost:
            self.rollback()
            raise StoreError(lost)
        if self._began:
            try:
                self._run(opened.db, "COMMIT", "cannot commit")
            except StoreError:
                self.rollback()
                raise
        self._ended()

    def rollback(self) -> None:
        """Forget the open transaction."""
        opened = self._require_open()
        opened.ids.clear()
        self._ended()
        if opened.db.in_transaction:
            self._run(opened.db, "ROLLBACK", "cannot roll back")

    def close(self) -> None:
        """Release the store, forgetting an open transaction. Idempotent."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        self._ended()
        self._disconnect(opened.db)

    def _begin_incarnation(
        self, db: sqlite3.Connection, owner: Address | None, now_ms: int
    ) -> Snapshot:
        empty = schema.is_empty(db, self._name)
        if empty and owner is None:
            raise StoreForeign(f"{self._name}: empty, and so nobody's store")
        self._prepare(db)
        db.execute("BEGIN IMMEDIATE")
        if empty and owner is not None:
            schema.create(db, owner, now_ms)
        else:
            schema.take_over(db, self._name, owner)
        loaded = snapshot.load(db, self._name)
        db.execute("COMMIT")
        return loaded

    def _write(self, opened: "Opened", writes: Sequence[Write]) -> None:
        """Carry out ``writes``; a subclass may keep some of them elsewhere."""
        self._begin()
        apply_writes(opened.db, opened.ids, writes)

    def _require_open(self) -> "Opened":
        if self._opened is None:
            raise StoreError(f"{self._name}: the store is not open")
        return self._opened

    def _usable(self) -> "Opened":
        """Return what is open, if the transaction is not lost."""
        opened = self._require_open()
        if self._lost:
            raise StoreError(self._lost)
        return opened

    def _begin(self) -> "Opened":
        opened = self._usable()
        if not self._began:
            self._run(opened.db, "BEGIN IMMEDIATE", "cannot begin a transaction")
            self._began = True
        return opened

    def _ended(self) -> None:
        self._began = self._marked = False
        self._lost = ""
        self._generation += 1

    def _execute(
        self, generation: int, sql: str, parameters: Sequence[SqlValue]
    ) -> list[tuple[Any, ...]]:
        if generation != self._generation:
            raise LocalError("this transaction is over: it was committed or rolled back")
        opened = self._begin()
        try:
            return opened.guard.execute(opened.db, sql, parameters)
        except _UNSTORABLE as fault:
            error = self._fault("application statement", fault)
            if not opened.db.in_transaction:
                self._lost = str(error)
            raise error from None

    def _run(self, db: sqlite3.Connection, sql: str, failure: str) -> None:
        try:
            db.execute(sql)
        except _UNSTORABLE as fault:
            raise self._fault(failure, fault) from None

    def _fault(self, doing: str, fault: Exception) -> StoreError:
        """Return what the database has raised as a StoreError that names the store."""
        code = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        # The low byte is the error, the rest of the number its variety.
        kind = StoreLocked if code & 0xFF in _BUSY else StoreError
        return kind(f"{self._name}: {doing}: {fault}")


@dataclass(frozen=True, slots=True)
class Opened:
    """What exists while the store is open."""

    db: sqlite3.Connection
    ids: PeerIds
    guard: Guard


class _HandedOut:
    """The `Transaction` an application is given."""

    __slots__ = ("_execute", "_generation")

    def __init__(self, execute: _Execute, generation: int) -> None:
        self._execute = execute
        self._generation = generation

    def execute(self, sql: str, parameters: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        return self._execute(self._generation, sql, parameters)
