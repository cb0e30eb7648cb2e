"""The world's own account of who sent and processed what: nothing may contradict it.

It hears of commits only. All that any run of a node has ever sent to a peer is a tree: a store that
was put back to an old copy begins another branch. What a peer processes must be a path in it from
the root, each message once, and what a sender drops as acked must lie on the path that its peer has
committed. That holds with and without rollbacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from zmqp2p.crypto import next_digest
from zmqp2p.errors import DecodeError
from zmqp2p.ids import Address, ChannelId, Seq, StateHash, StreamDigest, StreamId, TurnNum
from zmqp2p.messages import AcceptState, ProposeState, ProtocolMessage, decode_message
from zmqp2p.persistence import (
    DropMessages,
    PeerSnapshot,
    PutCursor,
    PutMessage,
    PutOutStream,
    PutRefusal,
    PutUndelivered,
    Snapshot,
    Write,
)
from zmqp2p.session.parts import parts_left, whole
from zmqp2p.state import state_hash


class Broken(AssertionError):
    """A promise was broken: what, by whom."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """One body in the tree of what was sent."""

    seq: Seq
    before: StreamDigest
    body: bytes


@dataclass(slots=True)
class _Place:
    """How far one node is with a stream: a place in its tree."""

    stream: StreamId = StreamId(b"")
    seq: Seq = Seq(0)
    digest: StreamDigest = StreamDigest(b"")


@dataclass(slots=True)
class Account:
    """What all nodes have committed."""

    sent: int = 0
    processed: int = 0
    _tree: dict[StreamDigest, _Sent] = field(default_factory=dict)
    _heads: dict[tuple[Address, Address], _Place] = field(default_factory=dict)  # Sender first.
    _cursors: dict[tuple[Address, Address], _Place] = field(default_factory=dict)
    _processed: dict[tuple[Address, Address], set[StreamDigest]] = field(default_factory=dict)
    _refused: dict[tuple[Address, Address], set[Seq]] = field(default_factory=dict)
    _refused_for_good: dict[tuple[Address, Address], set[StreamDigest]] = field(
        default_factory=dict
    )
    _acked: dict[tuple[Address, Address], StreamDigest] = field(default_factory=dict)
    _signed: dict[tuple[Address, ChannelId, TurnNum], StateHash] = field(default_factory=dict)

    def begin(self, node: Address, memory: Snapshot) -> None:
        """A run of ``node`` begins with what its disk holds, which may be an old copy."""
        for pair in [pair for pair in self._heads if pair[0] == node]:
            del self._heads[pair]
        for pair in [pair for pair in self._cursors if pair[1] == node]:
            del self._cursors[pair]
            self._refused.pop(pair, None)
        for peer, known in memory.peers.items():
            self._heads[node, peer] = _head_of(known)
            self._acked[node, peer] = known.acked_digest or StreamDigest(known.out_stream)
            self._cursors[peer, node] = _Place(known.in_stream, known.cursor, known.cursor_digest)

    def commit(
        self, node: Address, writes: Sequence[Write], handled: Sequence[tuple[Address, object]]
    ) -> None:
        """``node`` has committed ``writes``, and with them what its handlers did.

        Raises:
            Broken: that must not be.
        """
        told = {(w.stream, w.seq) for w in writes if isinstance(w, PutUndelivered)}
        for write in writes:
            self._enter(node, write, told)
        paths: dict[Address, list[object]] = {}
        for write in writes:  # After the refusals among them.
            if isinstance(write, PutCursor):
                paths.setdefault(write.peer, []).extend(self._advance(node, write))
        for peer in {peer for peer, _ in handled} | set(paths):
            done = [message for sender, message in handled if sender == peer]
            if done != paths.get(peer, []):
                detail = f"handled {done}, the stream says {paths.get(peer)}"
                raise Broken(f"{node.hex()[:6]} from {peer.hex()[:6]}: {detail}")

    def complete(self, sender: Address, receiver: Address) -> bool:
        """Whether all that ``sender`` holds or has sent is processed."""
        head = self._heads.get((sender, receiver), _Place())
        cursor = self._cursors.get((sender, receiver), _Place())
        return head.seq == 0 or (head.stream, head.digest) == (cursor.stream, cursor.digest)

    def position(self, sender: Address, receiver: Address) -> tuple[Seq, Seq]:
        """Return how many messages ``sender`` has given out, and ``receiver`` has processed."""
        head = self._heads.get((sender, receiver), _Place())
        cursor = self._cursors.get((sender, receiver), _Place())
        return head.seq, cursor.seq

    def may_claim(self, node: Address, peer: Address, ack: int, last: int) -> bool:
        """Whether ``node`` has committed that it processed ``ack``, and sends up to ``last``."""
        cursor = self._cursors.get((peer, node), _Place())
        head = self._heads.get((node, peer), _Place())
        return ack <= cursor.seq and last <= head.seq

    def _enter(self, node: Address, write: Write, told: set[tuple[StreamId, Seq]]) -> None:
        match write:
            case PutOutStream(peer, stream):
                self._heads[node, peer] = _Place(stream, Seq(0), StreamDigest(stream))
            case PutMessage(peer, seq, body):
                self._send(node, peer, seq, body)
            case DropMessages(peer, through, digest):
                self._drop(node, peer, through, digest)
                self._check_told(node, peer, digest, told)
            case PutCursor(peer, stream, cursor, digest):
                if stream != self._cursors.get((peer, node), _Place()).stream:
                    self._cursors[peer, node] = _Place(stream, cursor, digest)  # Begun anew there.
                    self._refused.pop((peer, node), None)
            case PutRefusal(peer, seq):
                self._refused.setdefault((peer, node), set()).add(seq)
            case _:
                pass

    def _send(self, node: Address, peer: Address, seq: Seq, body: bytes) -> None:
        head = self._heads[node, peer]
        if seq != head.seq + 1:
            raise Broken(f"number {seq} follows on {head.seq}")
        after = next_digest(head.digest, body)
        self._tree[after] = _Sent(seq, head.digest, body)
        self._heads[node, peer] = _Place(head.stream, seq, after)
        self.sent += 1
        self._sign(node, body)

    def _sign(self, node: Address, body: bytes) -> None:
        try:
            message = decode_message(body).message
        except DecodeError:
            return  # A part of a message, or an application's of another process.
        if isinstance(message, ProposeState):
            key = (node, message.channel_id, message.state.variable.turn_num)
            signed = state_hash(message.state)
        elif isinstance(message, AcceptState):
            key = (node, message.channel_id, message.turn_num)
            signed = message.state_hash
        else:
            return
        if self._signed.setdefault(key, signed) != signed:
            raise Broken(f"two states signed for turn {key[2]} of one channel")

    def _drop(self, node: Address, peer: Address, through: Seq, digest: StreamDigest) -> None:
        """What ``node`` takes for processed must be what ``peer`` has committed.

        In any of its runs: the ack may have been under way when the peer's disk was put back.
        """
        if digest not in self._processed.get((node, peer), ()):
            committed = self._cursors.get((node, peer), _Place()).seq
            raise Broken(
                f"{node.hex()[:6]} takes {through} for processed by {peer.hex()[:6]}, which is at "
                f"{committed}, or has processed another"
            )

    def _check_told(
        self, node: Address, peer: Address, digest: StreamDigest, told: set[tuple[StreamId, Seq]]
    ) -> None:
        """``node`` must be told of each refusal, and of nothing that was not refused."""
        at, pair, stream = digest, (node, peer), self._heads[node, peer].stream
        while at in self._tree and at != self._acked.get(pair, StreamDigest(b"")):
            sent = self._tree[at]
            if (at in self._refused_for_good.get(pair, ())) != ((stream, sent.seq) in told):
                raise Broken(f"{node.hex()[:6]} is told wrong about {sent.seq}: {told}")
            at = sent.before
        self._acked[pair] = digest

    def _advance(self, node: Address, write: PutCursor) -> list[object]:
        """Return the application's messages between two places of ``node`` in a stream."""
        pair = (write.peer, node)
        old = self._cursors.get(pair, _Place())
        self._cursors[pair] = _Place(write.stream, write.cursor, write.digest)
        processed = self._processed.setdefault(pair, set())
        processed.add(write.digest)
        bodies: dict[Seq, bytes] = {}
        at = write.digest
        while at != old.digest:
            if at not in self._tree:
                detail = f"{write.cursor} does not follow on {old.seq} in anything that was sent"
                raise Broken(f"{node.hex()[:6]} from {write.peer.hex()[:6]}: {detail}")
            sent = self._tree[at]
            if sent.seq in self._refused.get(pair, ()):
                self._refused_for_good.setdefault(pair, set()).add(at)
            bodies[sent.seq], at = sent.body, sent.before
            processed.add(at)
        if len(bodies) != write.cursor - old.seq:
            raise Broken(f"{len(bodies)} messages from {old.seq} to {write.cursor}")
        self.processed += len(bodies)
        return self._application(bodies, self._refused.get(pair, set()))

    @staticmethod
    def _application(bodies: dict[Seq, bytes], refused: set[Seq]) -> list[object]:
        messages = []
        for seq in sorted(bodies):
            if seq in refused or parts_left(bodies[seq]):
                continue
            message = decode_message(whole(bodies, seq)).message
            if not isinstance(message, ProtocolMessage):
                messages.append(message)
        return messages


def _head_of(known: PeerSnapshot) -> _Place:
    digest = known.acked_digest or StreamDigest(known.out_stream)
    for _, body in known.messages:
        digest = next_digest(digest, body)
    return _Place(known.out_stream, Seq(known.acked + len(known.messages)), digest)
