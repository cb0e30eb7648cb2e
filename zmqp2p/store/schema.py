"""The tables of a store, and how a database is recognized as one.

Names starting with ``app_`` belong to the application; all others to this package. No foreign keys:
a peer goes with all its rows, and checking on each of ten thousand outbox rows would cost a lookup.
"""

import sqlite3

from zmqp2p.errors import StoreError, StoreForeign, StoreTooNew, StoreTooOld
from zmqp2p.ids import Address, address_text

APPLICATION_ID = 0x7A703270  # "zp2p", in the file's header: says whose file this is.
VERSION = 3  # Of the tables below, in the header as user_version. Raise it with every change.

_TABLES = (
    """CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1), -- One row.
        owner BLOB NOT NULL CHECK (length(owner) = 20),
        incarnation INTEGER NOT NULL,
        chain_cursor INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    "CREATE TABLE issued (issued_ms INTEGER PRIMARY KEY) STRICT",  # Of this node's records.
    """CREATE TABLE hand_overs (
        old BLOB PRIMARY KEY NOT NULL CHECK (length(old) = 20),
        new BLOB NOT NULL CHECK (length(new) = 20)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE peers (
        id INTEGER PRIMARY KEY, -- Stands for the 20-byte address in the larger tables.
        address BLOB NOT NULL UNIQUE CHECK (length(address) = 20),
        contact TEXT NOT NULL DEFAULT '',
        dial INTEGER NOT NULL DEFAULT 0,
        out_stream BLOB NOT NULL DEFAULT x'',
        acked INTEGER NOT NULL DEFAULT 0,
        acked_digest BLOB NOT NULL DEFAULT x'',
        in_stream BLOB NOT NULL DEFAULT x'',
        cursor INTEGER NOT NULL DEFAULT 0,
        cursor_digest BLOB NOT NULL DEFAULT x'',
        in_base INTEGER NOT NULL DEFAULT 1,
        incarnation INTEGER NOT NULL DEFAULT 0,
        instance BLOB NOT NULL DEFAULT x''
    ) STRICT""",
    """CREATE TABLE outbox (
        peer INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (peer, seq)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE refusals (
        peer INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        code INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (peer, seq)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE holds (
        peer INTEGER PRIMARY KEY,
        code INTEGER NOT NULL,
        reason TEXT NOT NULL,
        base INTEGER NOT NULL,
        next INTEGER NOT NULL,
        cursor INTEGER NOT NULL,
        digest BLOB NOT NULL
    ) STRICT""",
    # With rowid: it tells in which order they came.
    """CREATE TABLE undelivered (
        stream BLOB NOT NULL,
        seq INTEGER NOT NULL,
        code INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (stream, seq)
    ) STRICT""",
    """CREATE TABLE undelivered_floors (
        stream BLOB PRIMARY KEY NOT NULL,
        floor INTEGER NOT NULL -- Which messages up to it were refused is forgotten.
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE past_streams (
        stream BLOB PRIMARY KEY NOT NULL,
        peer INTEGER NOT NULL,
        acked INTEGER NOT NULL,
        last INTEGER NOT NULL
    ) STRICT""",
    # With rowid: bodies are large, and it tells in which order they came.
    """CREATE TABLE dead_letters (
        message_id BLOB PRIMARY KEY NOT NULL,
        sender INTEGER NOT NULL,
        stream BLOB NOT NULL,
        seq INTEGER NOT NULL,
        body BLOB NOT NULL,
        attempts INTEGER NOT NULL,
        error TEXT NOT NULL,
        at_ms INTEGER NOT NULL
    ) STRICT""",
    # With rowid: an encoded objective is larger than what WITHOUT ROWID is good for.
    """CREATE TABLE objectives (
        channel BLOB PRIMARY KEY NOT NULL,
        data BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE signed (
        channel BLOB PRIMARY KEY NOT NULL CHECK (length(channel) = 32),
        turn_num INTEGER NOT NULL CHECK (turn_num >= 0),
        state_hash BLOB NOT NULL CHECK (length(state_hash) = 32)
    ) STRICT, WITHOUT ROWID""",
    # The ledger refuses this first. If it ever fails to, the turn must not be committed.
    """CREATE TRIGGER signed_never_twice BEFORE UPDATE ON signed
    WHEN new.turn_num < old.turn_num
        OR (new.turn_num = old.turn_num AND new.state_hash <> old.state_hash)
    BEGIN
        SELECT RAISE(ABORT, 'a second signature for one turn');
    END""",
)


def is_empty(db: sqlite3.Connection, name: str) -> bool:
    """Return True for a database with nothing in it, False for a store of this version.

    Changes nothing, so that a database of somebody else is left as it was.

    Raises:
        StoreForeign: a database, but not a store.
        StoreTooNew: a store with tables this version does not know.
        StoreTooOld: one of a pre-release, whose tables lack what is needed to go on safely.
    """
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application_id == APPLICATION_ID and version > VERSION:
        raise StoreTooNew(
            f"{name}: written by a newer version of zmqp2p "
            f"(schema {version}, this version reads up to {VERSION})"
        )
    if application_id == APPLICATION_ID and 0 < version < VERSION:
        raise StoreTooOld(
            f"{name}: written by a pre-release of zmqp2p (schema {version}); "
            f"this version reads schema {VERSION} only"
        )
    if application_id == APPLICATION_ID and version == VERSION:
        return False
    (objects,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    # A process killed between creating the file and its first commit leaves an empty database.
    if application_id == 0 and version == 0 and objects == 0:
        return True
    raise StoreForeign(f"{name}: a database, but not a zmqp2p store")


def create(db: sqlite3.Connection, owner: Address, incarnation: int) -> None:
    """Make the tables in the open transaction; the header's marks are part of it."""
    for table in _TABLES:
        db.execute(table)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("INSERT INTO meta (id, owner, incarnation) VALUES (1, ?, ?)", (owner, incarnation))


def take_over(db: sqlite3.Connection, name: str, owner: Address | None) -> None:
    """Begin the next incarnation in the open transaction; None: whoever the owner is.

    Raises:
        StoreForeign: the store belongs to another identity.
        StoreError: the store is damaged.
    """
    row = db.execute("SELECT owner FROM meta").fetchone()
    if row is None:
        raise StoreError(f"{name}: damaged, it names no owner")
    if owner is not None and row[0] != owner:
        raise StoreForeign(
            f"{name}: belongs to {address_text(row[0])}, this node is {address_text(owner)}"
        )
    db.execute("UPDATE meta SET incarnation = incarnation + 1")
