"""The simulated chain's file: its tables, and what submitting and mining do to them.

Every function works in the transaction its caller has open, or reads one consistent row at a time.
Blocks are only ever added, each in one transaction with all that it holds.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from zmqp2p.crypto import keccak256
from zmqp2p.ids import Address, ChannelId
from zmqp2p.objectives.base import Deposit

AMOUNT_BYTES = 32  # uint256, big-endian. SQLite's own integers end at 2**63.
ANY_BLOCK = 2**63 - 1  # Beyond any height.

_APPLICATION_ID = 0x7A703263  # "zp2c": tells the file from a store and from anybody else's.
_TABLES = (
    """CREATE TABLE chain (
        id INTEGER PRIMARY KEY CHECK (id = 1), -- One row.
        height INTEGER NOT NULL, -- The newest block; the first block is number 1.
        mined_at REAL NOT NULL -- When by the clock, seconds since 1970.
    ) STRICT""",
    """CREATE TABLE transactions (
        id INTEGER PRIMARY KEY, -- Also the order of execution.
        hash TEXT NOT NULL,
        channel BLOB NOT NULL,
        asset BLOB NOT NULL,
        amount BLOB NOT NULL,
        expected_held BLOB NOT NULL,
        block INTEGER, -- NULL while pending.
        held_before BLOB, -- NULL while pending.
        held_after BLOB -- NULL while pending, and for good if it was reverted.
    ) STRICT""",
    "CREATE INDEX by_holding ON transactions (channel, asset, id) WHERE held_after IS NOT NULL",
    "CREATE INDEX by_block ON transactions (block)",
)


@dataclass(frozen=True, slots=True)
class MinedDeposit:
    """One deposit that was made; for tests and displays."""

    transaction: str  # The hash, 0x….
    block: int
    channel: ChannelId
    asset: Address
    amount: int
    held_after: int


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of a transaction when its block was mined."""

    held_before: int
    reverted: bool


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run a block as one transaction that nobody else's comes between; undone if it raises."""
    # IMMEDIATE: take the write lock first, so that what is read then cannot change before it is
    # written. A transaction that reads first and then wants to write may fail instead of waiting.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def is_chain(db: sqlite3.Connection) -> bool | None:
    """Return True for a chain, None for an empty database, False for anybody else's."""
    # In this order: a chain that another process creates in between then shows as one.
    (objects,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    if application_id == _APPLICATION_ID:
        return True
    return None if application_id == 0 and objects == 0 else False


def create(db: sqlite3.Connection, now: float) -> None:
    """Make the tables, and block 0 mined at ``now``."""
    for statement in _TABLES:
        db.execute(statement)
    db.execute("INSERT INTO chain (id, height, mined_at) VALUES (1, 0, ?)", (now,))
    db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")


def height(db: sqlite3.Connection) -> int:
    """Return the number of the newest block, 0 before the first."""
    (number,) = db.execute("SELECT height FROM chain").fetchone()
    return int(number)


def mined_at(db: sqlite3.Connection) -> float:
    """Return when the newest block was mined, by the clock."""
    (instant,) = db.execute("SELECT mined_at FROM chain").fetchone()
    return float(instant)


def held(db: sqlite3.Connection, channel: bytes, asset: bytes, through: int = ANY_BLOCK) -> int:
    """Return what ``channel`` held of ``asset`` after block ``through``."""
    row = db.execute(
        "SELECT held_after FROM transactions"
        " WHERE channel = ? AND asset = ? AND held_after IS NOT NULL AND block <= ?"
        " ORDER BY id DESC LIMIT 1",
        (channel, asset, through),
    ).fetchone()
    return 0 if row is None else int.from_bytes(row[0])


def submit(db: sqlite3.Connection, deposit: Deposit) -> tuple[int, str]:
    """Add a pending transaction; return its number and its hash."""
    (number,) = db.execute("SELECT coalesce(max(id), 0) + 1 FROM transactions").fetchone()
    amount = deposit.amount.to_bytes(AMOUNT_BYTES)
    expected_held = deposit.expected_held.to_bytes(AMOUNT_BYTES)
    # The number makes the hash of each transaction its own, as a sender's nonce does on a chain.
    parts = (number.to_bytes(8), deposit.channel, deposit.asset, amount, expected_held)
    name = "0x" + keccak256(b"".join(parts)).hex()
    db.execute(
        "INSERT INTO transactions (id, hash, channel, asset, amount, expected_held)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (number, name, deposit.channel, deposit.asset, amount, expected_held),
    )
    return number, name


def mine(db: sqlite3.Connection, blocks: int, now: float) -> None:
    """Add ``blocks`` blocks; the first executes all pending transactions, in order."""
    block = height(db) + 1
    pending = db.execute(
        "SELECT id, channel, asset, amount, expected_held FROM transactions"
        " WHERE block IS NULL ORDER BY id"
    ).fetchall()
    for number, channel, asset, amount, expected_held in pending:
        before = held(db, channel, asset)
        after = None
        if before == int.from_bytes(expected_held):
            after = (before + int.from_bytes(amount)).to_bytes(AMOUNT_BYTES)
        db.execute(
            "UPDATE transactions SET block = ?, held_before = ?, held_after = ? WHERE id = ?",
            (block, before.to_bytes(AMOUNT_BYTES), after, number),
        )
    db.execute("UPDATE chain SET height = height + ?, mined_at = ?", (blocks, now))


def execution(db: sqlite3.Connection, number: int) -> Execution | None:
    """Return what became of transaction ``number``; None while it is pending."""
    block, before, after = db.execute(
        "SELECT block, held_before, held_after FROM transactions WHERE id = ?", (number,)
    ).fetchone()
    return None if block is None else Execution(int.from_bytes(before), reverted=after is None)


def mined(db: sqlite3.Connection, after: int, through: int) -> list[MinedDeposit]:
    """Return the deposits made in blocks ``after`` + 1 to ``through``, oldest first."""
    rows = db.execute(
        "SELECT hash, block, channel, asset, amount, held_after FROM transactions"
        " WHERE block > ? AND block <= ? AND held_after IS NOT NULL ORDER BY id",
        (after, through),
    ).fetchall()
    return [
        MinedDeposit(name, block, channel, asset, int.from_bytes(amount), int.from_bytes(total))
        for name, block, channel, asset, amount, total in rows
    ]
