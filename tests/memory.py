"""What a store does with the writes it is given, on plain snapshots."""

from collections.abc import Iterable

from zmqp2p.ids import Address, Seq, StreamDigest, StreamId
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
    PeerSnapshot,
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
    Signed,
    Snapshot,
    Write,
)

_OF_THE_NODE = (
    PutIncarnation,
    PutIssued,
    DropIssued,
    PutHandOver,
    DropHandOver,
    PutChainCursor,
    PutObjective,
    DropObjective,
    PutSigned,
    DropPeer,
)
OutcomeWrite = (
    PutUndelivered
    | DropUndelivered
    | PutPastStream
    | DropPastStream
    | PutDeadLetter
    | DropDeadLetter
)


def remember(snapshot: Snapshot, writes: Iterable[Write]) -> None:
    """Commit ``writes`` to ``snapshot``."""
    for write in writes:
        match write:
            case PutIncarnation(incarnation):
                snapshot.incarnation = incarnation
            case PutIssued() | DropIssued() | PutHandOver() | DropHandOver():
                _remember_identity(snapshot, write)
            case PutChainCursor(block):
                snapshot.chain_cursor = block
            case DropPeer(peer):
                _forget(snapshot, peer)
            case PutObjective() | DropObjective() | PutSigned():
                _remember_channel(snapshot, write)
            case _:
                _remember_more(snapshot, write)


def _forget(snapshot: Snapshot, peer: Address) -> None:
    memory = snapshot.peers.pop(peer, PeerSnapshot())
    forget_outcomes(snapshot, peer, memory.out_stream)


def forget_outcomes(snapshot: Snapshot, peer: Address, stream: StreamId) -> None:
    """Forget what became of messages to ``peer``, on ``stream`` at last, and of those it sent."""
    past = [each for each, known in snapshot.past_streams.items() if known.peer == peer]
    for each in past:
        remember_outcome(snapshot, DropPastStream(each))
    snapshot.floors.pop(stream, None)
    _forget_undelivered(snapshot, stream, None)
    letters = snapshot.dead_letters
    snapshot.dead_letters = {key: one for key, one in letters.items() if one.sender != peer}


def _remember_identity(
    snapshot: Snapshot, write: PutIssued | DropIssued | PutHandOver | DropHandOver
) -> None:
    match write:
        case PutIssued(issued_ms):
            snapshot.issued_ms = sorted({*snapshot.issued_ms, issued_ms})
        case DropIssued(issued_ms):
            snapshot.issued_ms = [each for each in snapshot.issued_ms if each != issued_ms]
        case PutHandOver(old, new):
            snapshot.hand_overs[old] = new
        case DropHandOver(old):
            snapshot.hand_overs.pop(old, None)


def _remember_more(snapshot: Snapshot, write: Write) -> None:
    if isinstance(write, OutcomeWrite):
        remember_outcome(snapshot, write)
    else:
        assert not isinstance(write, _OF_THE_NODE)
        memory = snapshot.peers.setdefault(write.peer, PeerSnapshot())
        remember_of_peer(memory, write)


def remember_outcome(snapshot: Snapshot, write: OutcomeWrite) -> None:
    """Commit one write about what became of messages."""
    match write:
        case PutUndelivered(stream, seq, code, reason):
            snapshot.undelivered.append((stream, seq, code, reason))
        case DropUndelivered(stream, through):
            snapshot.floors[stream] = through
            _forget_undelivered(snapshot, stream, through)
        case PutPastStream(stream, past):
            snapshot.past_streams[stream] = past
        case DropPastStream(stream):
            snapshot.past_streams.pop(stream, None)
            snapshot.floors.pop(stream, None)
            _forget_undelivered(snapshot, stream, None)
        case PutDeadLetter(message_id, failed):
            snapshot.dead_letters[message_id] = failed
        case DropDeadLetter(message_id):
            snapshot.dead_letters.pop(message_id, None)


def _forget_undelivered(snapshot: Snapshot, stream: StreamId, through: Seq | None) -> None:
    snapshot.undelivered = [
        row
        for row in snapshot.undelivered
        if row[0] != stream or (through is not None and row[1] > through)
    ]


def _remember_channel(snapshot: Snapshot, write: PutObjective | DropObjective | PutSigned) -> None:
    match write:
        case PutObjective(channel, data):
            snapshot.objectives[channel] = data
        case DropObjective(channel):
            del snapshot.objectives[channel]
        case PutSigned(channel, turn_num, state_hash):
            snapshot.signed[channel] = Signed(turn_num, state_hash)


def remember_of_peer(memory: PeerSnapshot, write: Write) -> None:
    """Commit one write about one peer to what is remembered of it."""
    match write:
        case PutContact(_, contact, dial):
            memory.contact, memory.dial = contact, dial
        case PutPeerRun(_, incarnation, instance):
            memory.incarnation, memory.instance = incarnation, instance
        case PutHold(_, held):
            memory.held = held
        case DropHold():
            memory.held = None
        case PutOutStream() | PutMessage() | DropMessages():
            _remember_outbox(memory, write)
        case PutCursor() | PutRefusal() | DropRefusals():
            _remember_inbox(memory, write)
        case _:
            raise AssertionError(f"not about a peer: {write}")


def _remember_outbox(memory: PeerSnapshot, write: PutOutStream | PutMessage | DropMessages) -> None:
    match write:
        case PutOutStream(_, stream):
            memory.out_stream = stream
            memory.acked, memory.acked_digest, memory.messages = Seq(0), StreamDigest(b""), []
        case PutMessage(_, seq, body):
            memory.messages.append((seq, body))
        case DropMessages(_, through, digest):
            memory.acked, memory.acked_digest = through, digest
            memory.messages = [held for held in memory.messages if held[0] > through]


def _remember_inbox(memory: PeerSnapshot, write: PutCursor | PutRefusal | DropRefusals) -> None:
    match write:
        case PutCursor(_, stream, cursor, digest, base):
            memory.in_stream, memory.cursor, memory.in_base = stream, cursor, base
            memory.cursor_digest = digest
        case PutRefusal(_, seq, code, reason):
            memory.refusals.append((seq, code, reason))
        case DropRefusals(_, through):
            memory.refusals = [refusal for refusal in memory.refusals if refusal[0] > through]
