"""What each write is in SQL; the only place that changes this package's tables after `create`."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import astuple
from itertools import groupby
from typing import Any, TypeAlias

from zmqp2p.ids import Address
from zmqp2p.persistence import (
    DropDeadLetter,
    DropHandOver,
    DropHold,
    DropIssued,
    DropMessages,
    DropObjective,
    DropPastStream,
    DropPeer,
    DropRefusals,
    DropUndelivered,
    PutChainCursor,
    PutContact,
    PutCursor,
    PutDeadLetter,
    PutHandOver,
    PutHold,
    PutIncarnation,
    PutIssued,
    PutMessage,
    PutObjective,
    PutOutStream,
    PutPastStream,
    PutPeerRun,
    PutRefusal,
    PutSigned,
    PutUndelivered,
    Write,
)
from zmqp2p.store.base import SqlValue


class PeerIds(dict[Address, int]):
    """The number each peer's rows go by; makes the peer's own row when it is first named.

    Invariant: every pair is in the database, committed or in the open transaction. So it must be
    cleared whenever something is rolled back.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__()
        self._db = db

    def __missing__(self, address: Address) -> int:
        self._db.execute("INSERT OR IGNORE INTO peers (address) VALUES (?)", (address,))
        row = self._db.execute("SELECT id FROM peers WHERE address = ?", (address,)).fetchone()
        number: int = row[0]
        self[address] = number
        return number

    def forget(self, address: Address) -> int:
        """Return the number of a peer whose row goes now."""
        number = self[address]
        del self[address]
        return number


_Parameters: TypeAlias = Callable[[Any, PeerIds], tuple[SqlValue, ...]]

STATEMENTS: dict[type[Write], tuple[tuple[str, _Parameters], ...]] = {
    PutContact: (
        (
            "UPDATE peers SET contact = ?, dial = ? WHERE id = ?",
            lambda w, ids: (w.contact, w.dial, ids[w.peer]),
        ),
    ),
    PutOutStream: (
        (
            "UPDATE peers SET out_stream = ?, acked = 0, acked_digest = x'' WHERE id = ?",
            lambda w, ids: (w.stream, ids[w.peer]),
        ),
        ("DELETE FROM outbox WHERE peer = ?", lambda w, ids: (ids[w.peer],)),
    ),
    DropMessages: (
        (
            "UPDATE peers SET acked = ?, acked_digest = ? WHERE id = ?",
            lambda w, ids: (w.through, w.digest, ids[w.peer]),
        ),
        (
            "DELETE FROM outbox WHERE peer = ? AND seq <= ?",
            lambda w, ids: (ids[w.peer], w.through),
        ),
    ),
    PutCursor: (
        (
            """UPDATE peers SET in_stream = ?, cursor = ?, cursor_digest = ?, in_base = ?
            WHERE id = ?""",
            lambda w, ids: (w.stream, w.cursor, w.digest, w.base, ids[w.peer]),
        ),
    ),
    # REPLACE: the same number may return in the peer's next stream.
    PutRefusal: (
        (
            "INSERT OR REPLACE INTO refusals (peer, seq, code, reason) VALUES (?, ?, ?, ?)",
            lambda w, ids: (ids[w.peer], w.seq, w.code, w.reason),
        ),
    ),
    DropRefusals: (
        (
            "DELETE FROM refusals WHERE peer = ? AND seq <= ?",
            lambda w, ids: (ids[w.peer], w.through),
        ),
    ),
    PutUndelivered: (
        (
            "INSERT INTO undelivered (stream, seq, code, reason) VALUES (?, ?, ?, ?)",
            lambda w, _: (w.stream, w.seq, w.code, w.reason),
        ),
    ),
    DropUndelivered: (
        (
            "INSERT OR REPLACE INTO undelivered_floors (stream, floor) VALUES (?, ?)",
            lambda w, _: (w.stream, w.through),
        ),
        (
            "DELETE FROM undelivered WHERE stream = ? AND seq <= ?",
            lambda w, _: (w.stream, w.through),
        ),
    ),
    PutPastStream: (
        (
            "INSERT INTO past_streams (stream, peer, acked, last) VALUES (?, ?, ?, ?)",
            lambda w, ids: (w.stream, ids[w.past.peer], w.past.acked, w.past.last),
        ),
    ),
    DropPastStream: (
        ("DELETE FROM past_streams WHERE stream = ?", lambda w, _: (w.stream,)),
        ("DELETE FROM undelivered WHERE stream = ?", lambda w, _: (w.stream,)),
        ("DELETE FROM undelivered_floors WHERE stream = ?", lambda w, _: (w.stream,)),
    ),
    # An UPDATE keeps the letter's place among the others, where REPLACE would make it the newest.
    PutDeadLetter: (
        (
            """INSERT INTO dead_letters
            (message_id, sender, stream, seq, body, attempts, error, at_ms)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO UPDATE
            SET attempts = excluded.attempts, error = excluded.error, at_ms = excluded.at_ms""",
            lambda w, ids: (w.message_id, ids[w.failed.sender], *astuple(w.failed)[1:]),
        ),
    ),
    DropDeadLetter: (
        ("DELETE FROM dead_letters WHERE message_id = ?", lambda w, _: (w.message_id,)),
    ),
    PutPeerRun: (
        (
            "UPDATE peers SET incarnation = ?, instance = ? WHERE id = ?",
            lambda w, ids: (w.incarnation, w.instance, ids[w.peer]),
        ),
    ),
    PutHold: (
        (
            """INSERT OR REPLACE INTO holds (peer, code, reason, base, next, cursor, digest)
            VALUES (?, ?, ?, ?, ?, ?, ?)""",
            lambda w, ids: (ids[w.peer], *astuple(w.held)),
        ),
    ),
    DropHold: (("DELETE FROM holds WHERE peer = ?", lambda w, ids: (ids[w.peer],)),),
    # The peer's own row last: until then it says which streams were to it.
    DropPeer: (
        *(
            (
                f"""DELETE FROM {table} WHERE stream IN (
                SELECT out_stream FROM peers WHERE id = ?
                UNION SELECT stream FROM past_streams WHERE peer = ?)""",  # noqa: S608
                lambda w, ids: (ids[w.peer], ids[w.peer]),
            )
            for table in ("undelivered", "undelivered_floors")
        ),
        ("DELETE FROM past_streams WHERE peer = ?", lambda w, ids: (ids[w.peer],)),
        ("DELETE FROM outbox WHERE peer = ?", lambda w, ids: (ids[w.peer],)),
        ("DELETE FROM refusals WHERE peer = ?", lambda w, ids: (ids[w.peer],)),
        ("DELETE FROM holds WHERE peer = ?", lambda w, ids: (ids[w.peer],)),
        ("DELETE FROM dead_letters WHERE sender = ?", lambda w, ids: (ids[w.peer],)),
        ("DELETE FROM peers WHERE id = ?", lambda w, ids: (ids.forget(w.peer),)),
    ),
    PutObjective: (
        (
            "INSERT OR REPLACE INTO objectives (channel, data) VALUES (?, ?)",
            lambda w, _: (w.channel, w.data),
        ),
    ),
    DropObjective: (("DELETE FROM objectives WHERE channel = ?", lambda w, _: (w.channel,)),),
    # Not REPLACE, which would get round the trigger that lets a row only rise.
    PutSigned: (
        (
            """INSERT INTO signed (channel, turn_num, state_hash) VALUES (?, ?, ?)
            ON CONFLICT (channel) DO UPDATE
            SET turn_num = excluded.turn_num, state_hash = excluded.state_hash""",
            lambda w, _: (w.channel, w.turn_num, w.state_hash),
        ),
    ),
    PutIncarnation: (("UPDATE meta SET incarnation = ?", lambda w, _: (w.incarnation,)),),
    PutChainCursor: (("UPDATE meta SET chain_cursor = ?", lambda w, _: (w.block,)),),
    PutIssued: (
        ("INSERT OR REPLACE INTO issued (issued_ms) VALUES (?)", lambda w, _: (w.issued_ms,)),
    ),
    DropIssued: (("DELETE FROM issued WHERE issued_ms = ?", lambda w, _: (w.issued_ms,)),),
    PutHandOver: (
        ("INSERT OR REPLACE INTO hand_overs (old, new) VALUES (?, ?)", lambda w, _: astuple(w)),
    ),
    DropHandOver: (("DELETE FROM hand_overs WHERE old = ?", lambda w, _: (w.old,)),),
}


# A statement for each message costs twice as much, also because SQLite gives up the lock of the
# interpreter with each one, and has to wait for threads that send before it goes on.
_PUT_ROWS = {  # By how many rows each puts: most first.
    rows: f"INSERT INTO outbox (peer, seq, body) VALUES {', '.join(['(?, ?, ?)'] * rows)}"  # noqa: S608
    for rows in (64, 32, 16, 8, 4, 2, 1)
}


def apply_writes(db: sqlite3.Connection, ids: PeerIds, writes: Sequence[Write]) -> None:
    """Add ``writes``, in order, to the open transaction.

    Consecutive writes of one kind share one call per statement, which a long outbox needs. It keeps
    the order that matters: the two statements of a kind concern different tables.
    """
    for kind, run in groupby(writes, key=type):
        alike: list[Any] = list(run)
        if kind is PutMessage:
            _put_rows(db, [value for w in alike for value in (ids[w.peer], w.seq, w.body)])
            continue
        for sql, parameters in STATEMENTS[kind]:
            db.executemany(sql, [parameters(write, ids) for write in alike])


def _put_rows(db: sqlite3.Connection, values: list[SqlValue]) -> None:
    """Put messages into the outbox, many at a time; ``values`` are three for each.

    A plain INSERT: a number used twice is refused, where REPLACE would lose a message.
    """
    start, per_row = 0, 3
    for rows, sql in _PUT_ROWS.items():
        while len(values) - start >= rows * per_row:
            db.execute(sql, values[start : start + rows * per_row])
            start += rows * per_row
