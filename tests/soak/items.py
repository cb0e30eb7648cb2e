"""What the two parties send each other, and how a receiver keeps account of it.

The account is in the receiver's store, written in the transaction that acknowledges the message:
one row, so that a million messages stay fast, and one row more for each message found missing.
"""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from zmqp2p import Delivery, message
from zmqp2p.ids import Address
from zmqp2p.store.base import Transaction

FILLER_BYTES = 84  # With the rest, a body of about 100 bytes.
_GAP_MAX = 100_000  # More than this in one gap is not worth counting: something is badly wrong.

_TABLES = (
    """CREATE TABLE IF NOT EXISTS app_tally (
        last INTEGER NOT NULL, count INTEGER NOT NULL, doubled INTEGER NOT NULL,
        reordered INTEGER NOT NULL, corrupt INTEGER NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS app_missing (number INTEGER PRIMARY KEY)",
    "INSERT INTO app_tally SELECT 0, 0, 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM app_tally)",
)
_TALLY = "SELECT *, (SELECT count(*) FROM app_missing) FROM app_tally"
# Of the store's own tables: to load all of it would take seconds when much is waiting.
_SENT = """SELECT acked + (SELECT count(*) FROM outbox WHERE outbox.peer = peers.id)
    FROM peers WHERE address = ?"""
_NEXT = "UPDATE app_tally SET last = ?1, count = count + 1 WHERE last = ?1 - 1 RETURNING last"


@message(7100)
@dataclass(frozen=True)
class Item:
    """Message ``number`` of its direction, from 1; the checksum is over number and filler."""

    number: int
    filler: bytes
    checksum: int

    @property
    def intact(self) -> bool:
        return self.checksum == checksum(self.number, self.filler)


def checksum(number: int, filler: bytes) -> int:
    """Return the CRC-32 of an item's content."""
    return zlib.crc32(number.to_bytes(8, "big") + filler)


def make_item(number: int, rng: Random) -> Item:
    """Return item ``number`` with random content."""
    filler = rng.randbytes(FILLER_BYTES)
    return Item(number, filler, checksum(number, filler))


@dataclass(frozen=True, slots=True)
class Tally:
    """What a receiver has processed: counts, and the highest number."""

    last: int = 0
    count: int = 0
    doubled: int = 0
    reordered: int = 0
    corrupt: int = 0
    missing: int = 0  # Below `last` and never seen.

    def lost(self, sent: int) -> int:
        """Return how many of ``sent`` items never came."""
        return self.missing + max(sent - self.last, 0)


class Ledger:
    """Counts deliveries in the store of the node that processes them: ``take`` is its handler."""

    def __init__(self, expected: int) -> None:
        self.received = 0  # Highest number in this run; for reports, and not durable yet.
        self.tally = Tally()  # As of the last delivery that was, or came after, the last expected.
        self._expected = expected
        self._ready = False

    def take(self, delivery: Delivery) -> None:
        """Enter one item, in the transaction that acknowledges it."""
        transaction, item = delivery.transaction, delivery.message
        if not self._ready:
            for statement in _TABLES:
                transaction.execute(statement)
            self._ready = True
        if not transaction.execute(_NEXT, (item.number,)):
            _enter_odd(transaction, item.number)
        if not item.intact:
            transaction.execute("UPDATE app_tally SET corrupt = corrupt + 1")
        self.received = max(self.received, item.number)
        if self.received >= self._expected:
            self.tally = Tally(*transaction.execute(_TALLY)[0])


def _enter_odd(transaction: Transaction, number: int) -> None:
    """Enter an item that is not the next: it left a gap, fills one, or was there before."""
    ((last,),) = transaction.execute("SELECT last FROM app_tally")
    if number > last:
        for skipped in range(last + 1, min(number, last + 1 + _GAP_MAX)):
            transaction.execute("INSERT INTO app_missing VALUES (?)", (skipped,))
        transaction.execute("UPDATE app_tally SET last = ?, count = count + 1", (number,))
    elif transaction.execute("DELETE FROM app_missing WHERE number = ? RETURNING 1", (number,)):
        transaction.execute("UPDATE app_tally SET reordered = reordered + 1, count = count + 1")
    else:
        transaction.execute("UPDATE app_tally SET doubled = doubled + 1")


@contextmanager
def _reading(store: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that sees one committed state of a store, also while it is in use."""
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        db.execute("BEGIN")
        yield db


def read_tally(store: Path) -> Tally:
    """Return the committed account in a store; an empty one before the first item."""
    with _reading(store) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        return Tally(*db.execute(_TALLY).fetchone()) if "app_tally" in tables else Tally()


def read_sent(store: Path, peer: Address) -> int:
    """Return how many messages to ``peer`` a store has ever taken in.

    The stream's numbers have no gap, so that is what the peer has acknowledged and what is held.
    """
    with _reading(store) as db:
        found = db.execute(_SENT, (peer,)).fetchone()
    return 0 if found is None else int(found[0])
