"""What became of a message, asked by its id, in this run or a later one.

An id names a stream and a number in it. Of all messages below a stream's base only those that the
peer refused are remembered: whatever else is below it was acked. So a message costs nothing here
when it is sent, and nothing when it is acked.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass

from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import keccak256
from zmqp2p.engine.connections import Connections
from zmqp2p.errors import Cancelled, DeliveryError, Expired, InvalidValue, Refused, UnknownMessage
from zmqp2p.ids import HASH_SIZE, STREAM_ID_SIZE, Address, MessageId, Seq, StreamId
from zmqp2p.limits import Limits
from zmqp2p.persistence import DropUndelivered, PastStream, PutUndelivered, Snapshot
from zmqp2p.wire.frames import Refusal

_SEQ_SIZE = 8
_NAME_SIZE = STREAM_ID_SIZE + _SEQ_SIZE


def message_id(stream: StreamId, seq: Seq, body: bytes) -> MessageId:
    """Return the id of message ``seq`` of ``stream``: says where it is, and names it (MSG-7)."""
    place = stream + seq.to_bytes(_SEQ_SIZE, "big")
    return MessageId(place + keccak256(place + body)[: HASH_SIZE - _NAME_SIZE])


def place_of(message_id: object) -> tuple[StreamId, Seq]:
    """Return the stream and the number that an id names; raises InvalidValue if it is none."""
    if not isinstance(message_id, bytes) or len(message_id) != HASH_SIZE:
        raise InvalidValue("message_id", f"must be {HASH_SIZE} bytes")
    seq = int.from_bytes(message_id[STREAM_ID_SIZE:_NAME_SIZE], "big")
    return StreamId(message_id[:STREAM_ID_SIZE]), Seq(seq)


def error_of(refusal: Refusal) -> DeliveryError:
    """Return how a message ended that the peer refused."""
    if refusal.code is RefusalCode.EXPIRED:
        return Expired(refusal.reason)
    return Refused(refusal.code, refusal.reason)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that its peer has not processed yet."""

    peer: Address
    stream: StreamId
    seq: Seq
    body: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """A message that has ended; ``error`` says how, None that it was acked."""

    peer: Address
    stream: StreamId
    seq: Seq
    error: DeliveryError | None


class Outcomes:
    """Tells what became of messages; remembers the newest of those that were refused.

    Invariant: no more are remembered than the limits say, of each stream and in all; they are above
    their stream's floor, up to which nothing can be told any more.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._limits: Limits = connections.limits
        self._output = connections.output
        self._past: dict[StreamId, PastStream] = {}
        self._floors: dict[StreamId, Seq] = {}
        # Oldest first: of all streams, and the numbers of each.
        self._refusals: OrderedDict[tuple[StreamId, Seq], Refusal] = OrderedDict()
        self._numbers: dict[StreamId, deque[Seq]] = {}
        self._gathered = 0  # How many of the turn's processed ranges were looked at.

    def load(self, memory: Snapshot) -> None:
        """Take up what an earlier run remembered."""
        self._past.update(memory.past_streams)
        self._floors.update(memory.floors)
        for stream, seq, code, reason in memory.undelivered:
            self._remember(stream, Refusal(seq, RefusalCode(code), reason))

    def gather(self) -> None:
        """Remember the refusals among what this turn has found processed, so far."""
        for address, processed in self._output.processed[self._gathered :]:
            for seq in sorted(processed.refused):
                refusal, _body = processed.refused[seq]
                stream = self._connections.book.sessions[address].outbox.stream
                write = PutUndelivered(stream, seq, refusal.code.value, refusal.reason)
                self._output.writes.append(write)
                self._remember(stream, refusal)
        self._gathered = len(self._output.processed)

    def turn_over(self) -> None:
        """The output was handed out: the next turn begins with an empty one."""
        self._gathered = 0

    def forget(self, peer: Address, stream: StreamId) -> None:
        """Nothing is known any more of the messages to ``peer``, whose stream was ``stream``."""
        past = [each for each, known in self._past.items() if known.peer == peer]
        for each in (stream, *past):
            self._past.pop(each, None)
            self._floors.pop(each, None)
            for seq in self._numbers.pop(each, ()):
                del self._refusals[each, seq]

    def fate(self, message_id: MessageId) -> Waiting | Ended:
        """Return what became of a message of this node.

        Raises:
            InvalidValue: no id. UnknownMessage: of no message of this node, or of one that was
                processed too long ago.
        """
        self.gather()  # A message of this very turn may have been asked for.
        stream, seq = place_of(message_id)
        peer = self._connections.book.streams.get(stream)
        if peer is None:
            return self._past_fate(stream, seq)
        outbox = self._connections.book.sessions[peer].outbox
        if not 1 <= seq < outbox.next:
            raise UnknownMessage(f"number {seq} of this stream was never sent")
        if seq < outbox.base:
            return Ended(peer, stream, seq, self._error(stream, seq))
        return _held(Waiting(peer, stream, seq, outbox.body(seq)), message_id)

    def check(self) -> None:
        """Assert the invariant."""
        assert len(self._refusals) <= self._limits.undelivered_max
        assert sum(map(len, self._numbers.values())) == len(self._refusals)
        for stream, numbers in self._numbers.items():
            assert 0 < len(numbers) <= self._limits.undelivered_max_per_peer
            assert list(numbers) == sorted(numbers)
            assert numbers[0] > self._floors.get(stream, 0)
            assert all((stream, seq) in self._refusals for seq in numbers)

    def _past_fate(self, stream: StreamId, seq: Seq) -> Ended:
        past = self._past.get(stream)
        if past is None or not 1 <= seq <= past.last:
            raise UnknownMessage("this store knows no such message")
        if seq <= past.acked:
            return Ended(past.peer, stream, seq, self._error(stream, seq))
        error = Cancelled("its stream was given up: it was sent again in the next one, or dropped")
        return Ended(past.peer, stream, seq, error)

    def _error(self, stream: StreamId, seq: Seq) -> DeliveryError | None:
        """How a message ended that the peer has processed."""
        if seq <= self._floors.get(stream, 0):
            raise UnknownMessage("too long ago: what became of it is not known any more")
        refusal = self._refusals.get((stream, seq))
        return None if refusal is None else error_of(refusal)

    def _remember(self, stream: StreamId, refusal: Refusal) -> None:
        numbers = self._numbers.setdefault(stream, deque())
        numbers.append(refusal.seq)
        self._refusals[stream, refusal.seq] = refusal
        if len(numbers) > self._limits.undelivered_max_per_peer:
            self._forget(stream, numbers[0])
        if len(self._refusals) > self._limits.undelivered_max:
            self._forget(*next(iter(self._refusals)))

    def _forget(self, stream: StreamId, oldest: Seq) -> None:
        """Forget the oldest refusal of ``stream``: up to it, nothing can be told any more."""
        numbers = self._numbers[stream]
        assert numbers.popleft() == oldest
        if not numbers:
            del self._numbers[stream]
        del self._refusals[stream, oldest]
        self._floors[stream] = oldest
        self._output.writes.append(DropUndelivered(stream, oldest))


def _held(waiting: Waiting, asked: MessageId) -> Waiting:
    """Raise UnknownMessage if another message than the one asked for has its number.

    Possible where the store was rolled back, and numbers were given a second time.
    """
    if message_id(waiting.stream, waiting.seq, waiting.body) != asked:
        raise UnknownMessage("another message has this number: the store was rolled back")
    return waiting
