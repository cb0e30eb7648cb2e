"""After an alarm: what a store and a peer disagree about, and a new beginning between the two.

A store that was copied back from a backup lacks what happened since. Its peers notice, and hold
their sessions with it (RES-7). Nothing can bring back what is lost; what an operator can do is to
look at it, settle it with the peer by other means, and then let this side begin a new stream.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from os import PathLike, urandom
from pathlib import Path

from zmqp2p.codes import ByeCode
from zmqp2p.crypto import next_digest
from zmqp2p.errors import LocalError, StoreError
from zmqp2p.ids import STREAM_ID_SIZE, Address, Seq, StreamDigest, StreamId, address_text
from zmqp2p.limits import PAST_STREAMS_MAX
from zmqp2p.persistence import (
    DropHold,
    DropPastStream,
    DropRefusals,
    Held,
    PastStream,
    PeerSnapshot,
    PutCursor,
    PutIncarnation,
    PutMessage,
    PutOutStream,
    PutPastStream,
    Snapshot,
    Write,
)
from zmqp2p.store.sqlite import SqliteStore


class Fate(Enum):
    """What became of a message that waits for the ack of a peer whose session is held."""

    PROCESSED = "processed"  # The peer has processed this very message.
    UNPROCESSED = "not processed"
    UNKNOWN = "unknown"  # The peer has processed the number, but perhaps another message.


class Pending(Enum):
    """What to do with the messages of which it is not certain that the peer has processed them."""

    RESEND = "resend"  # In the new stream. One that the peer has processed is processed twice.
    DROP = "drop"  # One that the peer has not processed is lost.


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """A message in the outbox, its number in the stream of now, and what became of it."""

    seq: Seq
    body: bytes
    fate: Fate


@dataclass(frozen=True, slots=True)
class Loss:
    """A session that is held: why, and what is missing. Ranges of numbers may be empty."""

    peer: Address
    code: ByeCode
    reason: str
    lost: range  # Of the peer's messages: it has dropped them, this store has not processed them.
    forgotten: range  # Of this node's: the peer has processed them, this store never sent them.
    lost_by_peer: range  # Of this node's: acked and dropped here, not processed over there.
    pending: tuple[PendingMessage, ...]

    @property
    def uncertain(self) -> list[PendingMessage]:
        """The pending messages of which it is not certain that the peer has processed them."""
        return [message for message in self.pending if message.fate is not Fate.PROCESSED]


def losses(path: str | PathLike[str]) -> list[Loss]:
    """Return the held sessions of the closed store at ``path``.

    Raises:
        StoreError: it is in use, missing, or no store.
    """
    with _opened(path) as (_store, snapshot):
        held = {peer: memory for peer, memory in snapshot.peers.items() if memory.held}
        return [_loss(peer, memory) for peer, memory in held.items()]


def begin_anew(path: str | PathLike[str], peer: Address, pending: Pending, *, now_ms: int) -> Loss:
    """Let the closed store at ``path`` begin a new stream to ``peer``, and take up the peer's.

    The pending messages that the peer has processed are dropped; ``pending`` says what becomes of
    the others. If the peer has dropped what this store has not processed, its stream is taken up
    where it begins now. The store's incarnation becomes ``now_ms`` at least, so that peers do not
    take it for the old one. Returns what was given up. Committed when this returns; the peer is
    told when they meet.

    Raises:
        LocalError: the session with ``peer`` is not held.
        StoreError: the store is in use, missing, or no store.
    """
    with _opened(path) as (store, snapshot):
        memory = snapshot.peers.get(peer)
        if memory is None or memory.held is None:
            raise LocalError(f"the session with {address_text(peer)} is not held")
        loss = _loss(peer, memory)
        again = [each.body for each in loss.uncertain] if pending is Pending.RESEND else []
        incarnation = max(snapshot.incarnation, now_ms)
        stream = StreamId(urandom(STREAM_ID_SIZE))
        store.apply([PutIncarnation(incarnation), *_writes(peer, memory, stream, again)])
        store.apply(_past(snapshot, loss))
        store.commit()
        return loss


@contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[tuple[SqliteStore, Snapshot]]:
    """Open a closed store, whoever owns it."""
    if not Path(path).is_file():  # Opening it would make one.
        raise StoreError(f"{path}: no such file")
    store = SqliteStore(path)
    with closing(store):
        yield store, store.open(None, 0)


def _loss(peer: Address, memory: PeerSnapshot) -> Loss:
    held = memory.held
    assert held is not None
    last = memory.acked + len(memory.messages)
    return Loss(
        peer,
        ByeCode(held.code),
        held.reason,
        lost=range(memory.cursor + 1, held.base),
        forgotten=range(last + 1, held.cursor + 1),
        lost_by_peer=range(held.cursor + 1, memory.acked + 1) if held.digest else range(0),
        pending=_pending(memory, held),
    )


def _pending(memory: PeerSnapshot, held: Held) -> tuple[PendingMessage, ...]:
    """What the peer has processed is certain where its digest is that of this outbox."""
    digest = memory.acked_digest or StreamDigest(memory.out_stream)
    same = memory.acked == held.cursor and digest == held.digest
    for seq, body in memory.messages:
        digest = next_digest(digest, body)
        same = same or (seq == held.cursor and digest == held.digest)

    def fate(seq: Seq) -> Fate:
        if not held.digest:
            return Fate.UNKNOWN
        if seq > held.cursor:
            return Fate.UNPROCESSED
        return Fate.PROCESSED if same else Fate.UNKNOWN

    return tuple(PendingMessage(seq, body, fate(seq)) for seq, body in memory.messages)


def _writes(
    peer: Address, memory: PeerSnapshot, stream: StreamId, again: Sequence[bytes]
) -> list[Write]:
    held = memory.held
    assert held is not None
    writes: list[Write] = [
        PutOutStream(peer, stream),
        *(PutMessage(peer, Seq(n), body) for n, body in enumerate(again, start=1)),
        DropHold(peer),
    ]
    if held.base > memory.cursor + 1:
        # Only then is the peer's stream taken up where it begins now: where it still holds what was
        # processed here, that would be processed twice.
        writes.append(PutCursor(peer, StreamId(b""), Seq(0), StreamDigest(b"")))
        writes.append(DropRefusals(peer, memory.cursor))
    return writes


def _past(snapshot: Snapshot, loss: Loss) -> list[Write]:
    """Let receipts of the stream that is given up say what is known of its messages."""
    memory = snapshot.peers[loss.peer]
    if not memory.out_stream:
        return []
    last = Seq(memory.acked + len(memory.messages))
    past = PastStream(loss.peer, memory.acked, last)  # The peer may have refused what is pending.
    older = [stream for stream, known in snapshot.past_streams.items() if known.peer == loss.peer]
    surplus = older[: max(len(older) + 1 - PAST_STREAMS_MAX, 0)]
    return [PutPastStream(memory.out_stream, past), *map(DropPastStream, surplus)]
