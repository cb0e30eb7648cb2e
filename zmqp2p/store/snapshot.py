"""Reading a whole store into a `Snapshot`, once, when it is opened."""

import sqlite3

from zmqp2p.errors import StoreError
from zmqp2p.ids import Address
from zmqp2p.persistence import FailedMessage, Held, PastStream, PeerSnapshot, Signed, Snapshot

_META = "SELECT incarnation, chain_cursor FROM meta"
_ISSUED = "SELECT issued_ms FROM issued ORDER BY issued_ms"
_HAND_OVERS = "SELECT old, new FROM hand_overs"
_PEERS = """SELECT id, address, contact, dial, out_stream, acked, acked_digest, in_stream, cursor,
    cursor_digest, in_base, incarnation, instance FROM peers ORDER BY id"""
_OUTBOX = "SELECT peer, seq, body FROM outbox ORDER BY peer, seq"
_REFUSALS = "SELECT peer, seq, code, reason FROM refusals ORDER BY peer, seq"
_HOLDS = "SELECT peer, code, reason, base, next, cursor, digest FROM holds ORDER BY peer"
_OBJECTIVES = "SELECT channel, data FROM objectives ORDER BY rowid"
_SIGNED = "SELECT channel, turn_num, state_hash FROM signed"
_DEAD_LETTERS = """SELECT message_id, address, stream, seq, body, attempts, error, at_ms
    FROM dead_letters JOIN peers ON peers.id = sender ORDER BY dead_letters.rowid"""
_UNDELIVERED = "SELECT stream, seq, code, reason FROM undelivered ORDER BY rowid"
_FLOORS = "SELECT stream, floor FROM undelivered_floors"
_PAST_STREAMS = """SELECT stream, address, past_streams.acked, last
    FROM past_streams JOIN peers ON peers.id = peer ORDER BY past_streams.rowid"""


def load(db: sqlite3.Connection, name: str) -> Snapshot:
    """Return everything in the store's own tables.

    Raises:
        StoreError: rows that no version of this package wrote.
    """
    snapshot = Snapshot(*db.execute(_META).fetchone())
    snapshot.issued_ms.extend(issued_ms for (issued_ms,) in db.execute(_ISSUED))
    snapshot.hand_overs.update(db.execute(_HAND_OVERS))
    by_id = _load_peers(db, snapshot.peers)
    try:
        for peer, seq, body in db.execute(_OUTBOX):
            by_id[peer].messages.append((seq, body))
        for peer, seq, code, reason in db.execute(_REFUSALS):
            by_id[peer].refusals.append((seq, code, reason))
        for peer, *held in db.execute(_HOLDS):
            by_id[peer].held = Held(*held)
    except KeyError as fault:
        raise StoreError(f"{name}: damaged, rows for a peer that is not there: {fault}") from None
    snapshot.objectives.update(db.execute(_OBJECTIVES))
    for channel, turn_num, state_hash in db.execute(_SIGNED):
        snapshot.signed[channel] = Signed(turn_num, state_hash)
    for message_id, *failed in db.execute(_DEAD_LETTERS):
        snapshot.dead_letters[message_id] = FailedMessage(*failed)
    snapshot.undelivered.extend(db.execute(_UNDELIVERED))
    snapshot.floors.update(db.execute(_FLOORS))
    for stream, *past in db.execute(_PAST_STREAMS):
        snapshot.past_streams[stream] = PastStream(*past)
    return snapshot


def _load_peers(
    db: sqlite3.Connection, peers: dict[Address, PeerSnapshot]
) -> dict[int, PeerSnapshot]:
    """Fill ``peers``; return the same values by their row's number."""
    by_id: dict[int, PeerSnapshot] = {}
    for number, address, contact, dial, *streams in db.execute(_PEERS):
        out_stream, acked, acked_digest, in_stream, *incoming = streams
        cursor, cursor_digest, in_base, incarnation, instance = incoming
        peers[address] = by_id[number] = PeerSnapshot(
            contact=contact,
            dial=bool(dial),
            out_stream=out_stream,
            acked=acked,
            acked_digest=acked_digest,
            in_stream=in_stream,
            cursor=cursor,
            cursor_digest=cursor_digest,
            in_base=in_base,
            incarnation=incarnation,
            instance=instance,
        )
    return by_id
