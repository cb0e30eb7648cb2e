"""The receiving half of a session: messages from one peer, in stream order, each once.

Numbers: up to ``cursor`` all is processed for good; up to ``received`` the rest waits here, in
memory. What does not follow on ``received`` is not kept: within a link nothing is reordered, so it
only comes after a loss, and then the sender sends the missing ones again and these with them.
"""

from collections import deque
from enum import Enum

from zmqp2p import limits as bounds
from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import next_digest
from zmqp2p.errors import Contradiction, PeerError
from zmqp2p.ids import Seq, StreamDigest, StreamId
from zmqp2p.limits import Limits
from zmqp2p.wire.frames import Refusal


class Accepted(Enum):
    """What became of a batch."""

    NEW = "new"  # At least one message was new, and now waits.
    KNOWN = "known"  # All of it had come before (SEQ-2).
    GAP = "gap"  # It does not follow on what was received (GAP-1); nothing was kept.


class Inbox:
    """Messages from one peer, oldest first; at most one at a time is taken out and in progress.

    Invariant: ``cursor <= taken <= received``, the queue holds ``taken + 1`` to ``received``, and
    what waits or is in progress stays within the limits that were advertised as the window.
    ``digest`` is the stream's at ``cursor``.
    """

    def __init__(
        self,
        stream: StreamId,
        processed: tuple[Seq, StreamDigest],
        refusals: list[Refusal],
        limits: Limits,
    ) -> None:
        """Go on after ``processed``: the cursor and the stream's digest there."""
        self.stream = stream
        self.cursor, self.digest = processed
        self.received = cursor = self.cursor
        self._received_digest = self._taken_digest = self.digest
        self._limits = limits
        self._queue: deque[tuple[bytes, StreamDigest]] = deque()  # With the digest after each.
        self._taken = cursor
        self._taken_bytes = 0
        self._size_bytes = 0  # Of what waits and what is in progress.
        self._refusals = {refusal.seq: refusal for refusal in refusals}

    def accept(self, seq: Seq, bodies: tuple[bytes, ...], digest: StreamDigest) -> Accepted:
        """Take in messages ``seq``, ``seq + 1``, …, those that are new.

        ``digest`` is the stream's after the last of them, as their sender has it.

        Raises:
            PeerError: more than the window that this node advertised (WIN-1).
            Contradiction: they do not follow on what was received before (RES-11).
        """
        if seq > self.received + 1:
            return Accepted.GAP
        new = bodies[self.received + 1 - seq :]
        if not new:
            return Accepted.KNOWN
        size_bytes = sum(map(len, new))
        messages, room_bytes = self.window()
        if len(new) > messages or size_bytes > room_bytes:
            raise PeerError("WIN-1", f"{len(new)} messages of {size_bytes} bytes exceed the window")
        chained, after = [], self._received_digest
        for body in new:
            after = next_digest(after, body)
            chained.append((body, after))
        if after != digest:
            through = seq + len(bodies) - 1
            raise Contradiction(f"message {through} does not follow on what came before it")
        self._received_digest = after
        self._queue.extend(chained)
        self._size_bytes += size_bytes
        self.received = Seq(self.received + len(new))
        return Accepted.NEW

    def ready(self) -> bool:
        """Whether `take` would return a message."""
        return (
            bool(self._queue)
            and self._taken == self.cursor
            and len(self._refusals) < bounds.REFUSALS_MAX
        )

    def take(self) -> tuple[Seq, bytes]:
        """Hand out the next message; it is in progress until `done`, `refuse` or `put_back`."""
        assert self.ready()
        body, self._taken_digest = self._queue.popleft()
        self._taken = Seq(self._taken + 1)
        self._taken_bytes = len(body)
        return self._taken, body

    def put_back(self, body: bytes) -> None:
        """The message in progress is to be handed out again later."""
        assert self._taken == self.cursor + 1
        self._queue.appendleft((body, self._taken_digest))
        self._taken = self.cursor
        self._taken_bytes = 0

    def done(self) -> Seq:
        """The message in progress is processed for good: return the new cursor."""
        assert self._taken == self.cursor + 1
        self.cursor, self.digest = self._taken, self._taken_digest
        self._size_bytes -= self._taken_bytes
        self._taken_bytes = 0
        return self.cursor

    def refuse(self, code: RefusalCode, reason: str) -> Refusal:
        """The message in progress is refused for good, which also processes it (REF-2)."""
        refusal = Refusal(self._taken, code, reason)
        self.done()
        self._refusals[refusal.seq] = refusal
        return refusal

    def forget_refusals(self, through: Seq) -> bool:
        """The peer has heard the refusals up to ``through`` (REF-4); True if there were any."""
        heard = [seq for seq in self._refusals if seq <= through]
        for seq in heard:
            del self._refusals[seq]
        return bool(heard)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The refusals that the peer may not have heard, ascending."""
        return tuple(self._refusals.values())

    def window(self) -> tuple[int, int]:
        """Return how many more messages, of how many bytes in all, there is room for."""
        waiting = self.received - self.cursor
        return (
            self._limits.inbox_max_messages - waiting,
            self._limits.inbox_max_bytes - self._size_bytes,
        )

    def check(self) -> None:
        """Assert the invariant."""
        assert self.cursor <= self._taken <= min(self.cursor + 1, self.received)
        assert len(self._queue) == self.received - self._taken
        waiting = [body for body, _ in self._queue]
        assert self._size_bytes == sum(map(len, waiting)) + self._taken_bytes
        last = self._queue[-1][1] if self._queue else self._taken_digest
        assert self._received_digest == (last if self.received > self.cursor else self.digest)
        messages, room_bytes = self.window()
        assert messages >= 0
        assert room_bytes >= 0
        assert list(self._refusals) == sorted(self._refusals)
        assert len(self._refusals) <= bounds.REFUSALS_MAX
