"""Outboxes and cursors in plain dicts: what changes with every message, for a store in memory.

In SQL each message would cost several statements, though nothing is durable by it. The rest changes
seldom and stays in SQL, where an application's own tables are.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from zmqp2p.ids import Address, Seq
from zmqp2p.persistence import (
    DropMessages,
    DropPeer,
    PeerSnapshot,
    PutCursor,
    PutMessage,
    PutOutStream,
    Write,
)

_INTEGER_END = 2**63  # No column of the other store can hold it.
_ABSENT = object()


class Streams:
    """What a store holds of all streams, with the writes of the open transaction.

    Invariant: the undo list, last one first, leads back to what was committed last; no number in
    an outbox is below its lowest.
    """

    def __init__(self, peers: Mapping[Address, PeerSnapshot]) -> None:
        """Hold what a store has found that was opened."""
        self._outboxes: defaultdict[Address, dict[Seq, bytes]] = defaultdict(dict)
        self._lowest: dict[Address, Seq] = {}
        self._dropped: dict[Address, DropMessages] = {}  # The newest since then, as the next.
        self._cursors: dict[Address, PutCursor] = {}
        for peer, known in peers.items():
            if known.messages:
                self._outboxes[peer] = dict(known.messages)
                self._lowest[peer] = known.messages[0][0]
        self._undo: list[tuple[dict[Any, Any], object, object]] = []  # Where, which, and what was.
        self._marked = 0

    def take(self, write: Write) -> bool:
        """Take in a write of the open transaction; False if it (too) is to go into SQL.

        Raises:
            sqlite3.IntegrityError: the number of a message is in use.
            OverflowError: an integer that SQL could not hold.
        """
        if isinstance(write, PutMessage):
            self._put(write)
        elif isinstance(write, DropMessages):
            self._drop(write)
        elif isinstance(write, PutCursor):
            _check_integer(write.cursor)
            _check_integer(write.base)
            self._set(self._cursors, write.peer, write)
        else:
            if isinstance(write, PutOutStream | DropPeer):
                self._begin(write.peer)
            if isinstance(write, DropPeer) and write.peer in self._cursors:
                self._remove(self._cursors, write.peer)
            return False
        return True

    def mark(self) -> None:
        """Let `undo_to_mark` undo what follows."""
        self._marked = len(self._undo)

    def undo_to_mark(self) -> None:
        """Undo what was taken in since `mark`."""
        while len(self._undo) > self._marked:
            values, key, former = self._undo.pop()
            if former is _ABSENT:
                del values[key]
            else:
                values[key] = former

    def undo(self) -> None:
        """Undo what was taken in since the last commit."""
        self._marked = 0
        self.undo_to_mark()

    def commit(self) -> None:
        """Nothing that was taken in is undone any more."""
        self._undo.clear()
        self._marked = 0

    def writes(self) -> Iterator[Write]:
        """Return what brings it all into a database whose outbox is empty."""
        messages = (
            PutMessage(peer, seq, body)
            for peer, outbox in self._outboxes.items()
            for seq, body in outbox.items()
        )
        return chain(self._dropped.values(), messages, self._cursors.values())

    def check(self) -> None:
        """Assert the invariant, as far as it shows."""
        assert 0 <= self._marked <= len(self._undo)
        for peer, outbox in self._outboxes.items():
            assert not outbox or min(outbox) >= self._lowest[peer]

    def _put(self, write: PutMessage) -> None:
        peer, seq, body = write
        outbox = self._outboxes[peer]
        if seq in outbox:
            raise sqlite3.IntegrityError(f"message {seq} is in the outbox already")
        _check_integer(seq)
        self._undo.append((outbox, seq, _ABSENT))
        outbox[seq] = body
        if seq < self._lowest.get(peer, _INTEGER_END):
            self._set(self._lowest, peer, seq)

    def _drop(self, write: DropMessages) -> None:
        peer, through = write.peer, write.through
        _check_integer(through)
        outbox = self._outboxes[peer]
        numbers = range(self._lowest.get(peer, through + 1), through + 1)
        # Those of a session are contiguous; of others there may be less than the span of them.
        for seq in numbers if len(numbers) <= len(outbox) else sorted(outbox):
            if seq in outbox and seq <= through:
                self._remove(outbox, seq)
        self._set(self._lowest, peer, through + 1)
        self._set(self._dropped, peer, write)

    def _begin(self, peer: Address) -> None:
        """A new stream begins: nothing was sent in it, and nothing dropped."""
        outbox = self._outboxes[peer]
        for seq in list(outbox):
            self._remove(outbox, seq)
        for values in (self._dropped, self._lowest):
            if peer in values:
                self._remove(values, peer)

    def _set(self, values: dict[Any, Any], key: object, value: object) -> None:
        self._undo.append((values, key, values.get(key, _ABSENT)))
        values[key] = value

    def _remove(self, values: dict[Any, Any], key: object) -> None:
        self._undo.append((values, key, values.pop(key)))


def _check_integer(number: int) -> None:
    if number >= _INTEGER_END:
        raise OverflowError("an integer does not fit 64 bits")
