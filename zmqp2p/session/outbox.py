"""The sending half of a session: messages to one peer that it has not processed yet.

Numbers: ``base`` <= … <= ``next - 1`` are held. Of those, up to ``received`` the peer holds in
memory, up to ``sent`` have left on the current link. Only what was sent and not received is timed:
a peer whose handler is slow has received, so nothing is sent to it twice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import cast

from zmqp2p import limits as bounds
from zmqp2p.crypto import next_digest
from zmqp2p.errors import Contradiction, PeerError
from zmqp2p.ids import Seq, StreamDigest, StreamId
from zmqp2p.limits import Limits
from zmqp2p.render import printable
from zmqp2p.session.bucket import Bucket
from zmqp2p.session.parts import whole
from zmqp2p.session.room import MESSAGE_BYTES
from zmqp2p.session.rto import ResendTimer
from zmqp2p.wire.frames import Progress, Refusal


@dataclass(frozen=True, slots=True)
class Processed:
    """The peer has processed messages ``first`` to ``last``; those in ``refused`` it refused."""

    first: Seq
    last: Seq
    size_bytes: int
    refused: Mapping[Seq, tuple[Refusal, bytes]]  # With the message, so that its sender can tell.


class Outbox:
    """Messages to one peer, oldest first. Pure: ``now`` is monotonic seconds.

    Invariant: the held numbers are contiguous and end at the last one assigned;
    ``base - 1 <= received <= sent <= next - 1``; the stream's digest is known at each held number
    and at ``base - 1``.
    """

    def __init__(
        self,
        stream: StreamId,
        acked: tuple[Seq, StreamDigest],
        bodies: list[bytes],
        limits: Limits,
        rng: Random,
    ) -> None:
        """Hold ``bodies``, which follow on ``acked``: a number and the stream's digest there."""
        self.stream = stream
        self.timer = ResendTimer(limits, rng)
        self._received, self._digest = acked
        self._sent = self._received
        self.base = self.next = Seq(self._received + 1)
        self.size_bytes = 0
        self._bodies: dict[Seq, bytes] = {}
        self._digests = {self._received: self._digest}
        for body in bodies:
            self.append(body)
        # What an earlier run may have sent, its peer may acknowledge.
        self.sent_most = Seq(self.next - 1)
        self._window_messages = 0
        self._window_bytes = 0
        self._flight_bytes = 0  # Of received + 1 … sent.
        self._timed: tuple[Seq, float] | None = None
        self._resend_at: float | None = None
        # Since when messages are under way on this link without `received` moving (LIV-5).
        self._waiting_since: float | None = None
        self._excused = False  # The resend timer was put off, because this node did not run.
        self._probing = False  # After a timeout one batch at a time, until something arrives.
        self._went_back_to = Seq(0)
        # What may be sent again: a peer can ask for it at little cost, by GAP, by a window that
        # opens and shuts, by a new link; and one that does not read makes it pile up in libzmq.
        self._again = Bucket(limits.resend_rate_bytes, limits.resend_burst_bytes)
        self._timed_out = False  # And nothing has left since.

    def __len__(self) -> int:
        return len(self._bodies)

    @property
    def received(self) -> Seq:
        """Up to which message the peer has said that it received all."""
        return self._received

    def append(self, body: bytes) -> Seq:
        """Take in one message and return its number."""
        seq = self.next
        self._bodies[seq] = body
        self._digest = self._digests[seq] = next_digest(self._digest, body)
        self.size_bytes += len(body)
        self.next = Seq(seq + 1)
        return seq

    def body(self, seq: Seq) -> bytes:
        """Return a held message, by its number: its last part's, if it was cut."""
        return whole(self._bodies, seq)

    def digest_at(self, seq: Seq) -> StreamDigest | None:
        """Return the stream's digest after message ``seq``; None if it is not known any more."""
        return self._digests.get(seq)

    def resume(self, cursor: Seq, window_messages: int, window_bytes: int) -> None:
        """A new link: whatever follows ``cursor`` is to be sent (again) on it (RES-1)."""
        self._received = max(cursor, Seq(self.base - 1))
        self._window_messages, self._window_bytes = window_messages, window_bytes
        self._probing = False
        self._went_back_to = Seq(0)
        self._waiting_since = None
        self._rewind()

    def pause(self) -> None:
        """No link: nothing is timed, nothing is sent again (RTO-2)."""
        self._waiting_since = None
        self._rewind()

    def postpone(self, by_s: float, now: float) -> None:
        """Take note that this node did not run for so long; what it timed does not count.

        The answers may wait to be read: the resend timer starts again. But not twice in a row, or a
        node that is always late would never send again.
        """
        self._timed = None
        if self._waiting_since is not None:
            self._waiting_since += by_s
        if self._resend_at is not None and not self._excused:
            self._excused = True
            self._resend_at = now + self.timer.timeout_s()

    def acknowledge(self, progress: Progress, now: float) -> Processed | None:
        """Take in the peer's progress with this stream; return what it has processed, if new.

        Raises:
            PeerError: it acknowledges what was never sent (ACK-1).
            Contradiction: it has processed other messages than those of this outbox (RES-11).
        """
        if progress.received > self.sent_most:
            detail = f"received {progress.received}, last sent is {self.sent_most}"
            raise PeerError("ACK-1", detail)
        if self._digests.get(progress.ack, progress.digest) != progress.digest:
            raise Contradiction(f"other messages up to {progress.ack} than were sent")
        if progress.received >= self._received:
            self._window_messages = progress.window_messages
            self._window_bytes = progress.window_bytes
        if progress.received > self._received:
            self._advance(progress.received, now)
        elif progress.received == self._received and not self._admitted():
            self._waiting_since = None  # It was turned away (WIN-3): not under way, and no stall.
            self._rewind()
        if progress.ack < self.base:
            return None
        return self._drop(progress.ack, progress.refusals)

    def go_back(self) -> None:
        """The peer misses ``received + 1`` (GAP-1): send from there, once per missing number."""
        if self._sent > self._received and self._went_back_to != self._received + 1:
            self._went_back_to = Seq(self._received + 1)
            self._rewind()

    def take_batch(self, now: float) -> tuple[Seq, StreamDigest, list[bytes]] | None:
        """Return the next number, the digest after the last, and bodies that may leave now.

        None if there are none. A body of `BULK_MIN_BYTES` or more comes alone. Bounded by the
        peer's window.
        """
        if self._probing and self._sent > self._received:
            return None
        first = Seq(self._sent + 1)
        end = min(
            self.next, self._received + self._window_messages + 1, first + bounds.BATCH_MAX_MESSAGES
        )
        room_bytes = self._window_bytes - self._flight_bytes
        batch: list[bytes] = []
        batch_bytes = 0
        bodies = self._bodies
        for seq in cast("Iterable[Seq]", range(first, end)):
            body = bodies[seq]
            size = len(body)
            if size > room_bytes - batch_bytes:
                break
            if batch and (
                batch_bytes + size > bounds.BATCH_MAX_BYTES or size >= bounds.BULK_MIN_BYTES
            ):
                break
            batch.append(body)
            batch_bytes += size
            if size >= bounds.BULK_MIN_BYTES:
                break
        if not batch or not self._may_leave(first, len(batch), batch_bytes, now):
            return None
        self._left(Seq(self._sent + len(batch)), batch_bytes, now)
        return first, self._digests[self._sent], batch

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do, monotonic seconds."""
        return self._resend_at

    @property
    def stalled_since(self) -> float | None:
        """Since when messages are under way and none has arrived; None if none is under way.

        What the peer's window holds back is not under way, nor is what it holds and has not
        processed: a slow peer does not stall. Sending again is no news of the peer either.
        """
        return self._waiting_since if self._sent > self._received else None

    def tick(self, now: float) -> int:
        """Send again if the timer ran out (RFC 6298 5.4 to 5.6); return how many messages."""
        if self._resend_at is None or now < self._resend_at:
            return 0
        again = self._sent - self._received
        self.timer.expired()
        self._rewind()
        self._probing = self._timed_out = True
        return again

    def check(self) -> None:
        """Assert the invariant."""
        assert self.base - 1 <= self._received <= self._sent <= self.next - 1
        assert sorted(self._bodies) == list(range(self.base, self.next))
        assert sorted(self._digests) == list(range(self.base - 1, self.next))
        assert self._digest == self._digests[Seq(self.next - 1)]
        assert self.size_bytes == sum(map(len, self._bodies.values()))
        flight = range(self._received + 1, self._sent + 1)
        assert self._flight_bytes == sum(len(self._bodies[Seq(seq)]) for seq in flight)
        assert (self._resend_at is not None) == (self._sent > self._received)
        assert self._waiting_since is not None or self._sent == self._received

    def _may_leave(self, first: Seq, messages: int, size_bytes: int, now: float) -> bool:
        """Whether a batch may leave: what is sent again is bounded, what is new is not (RTO-4).

        One batch after each timeout leaves in any case.
        """
        if first > self.sent_most:
            return True
        if self._timed_out:
            self._timed_out = False
            return True
        return self._again.take(size_bytes + messages * MESSAGE_BYTES, now)

    def _admitted(self) -> bool:
        """Whether the window has room for the first message under way, if one is."""
        if self._sent == self._received:
            return True
        size = len(self._bodies[Seq(self._received + 1)])
        return self._window_messages > 0 and size <= self._window_bytes

    def _left(self, through: Seq, size_bytes: int, now: float) -> None:
        """Messages up to ``through`` have left: time them."""
        if self._timed is None and through > self.sent_most:
            self._timed = (through, now)  # Karn: only what was never sent before.
        self._sent = through
        self.sent_most = max(self.sent_most, through)
        self._flight_bytes += size_bytes
        if self._resend_at is None:
            self._resend_at = now + self.timer.timeout_s()
            self._excused = False
        if self._waiting_since is None:
            self._waiting_since = now

    def _advance(self, received: Seq, now: float) -> None:
        """The peer holds more than it did."""
        if self._timed is not None and received >= self._timed[0]:
            self.timer.sample(now - self._timed[1])
            self._timed = None
        self.timer.progressed()
        self._probing = False
        for seq in range(self._received + 1, min(received, self._sent) + 1):
            self._flight_bytes -= len(self._bodies[Seq(seq)])
        self._received = received
        self._sent = max(self._sent, received)
        moving = self._sent > self._received
        self._resend_at = now + self.timer.timeout_s() if moving else None
        self._waiting_since = now if moving else None
        self._excused = False

    def _drop(self, ack: Seq, refusals: tuple[Refusal, ...]) -> Processed:
        first, size_bytes = self.base, 0
        refused = {
            refusal.seq: (_safe(refusal), whole(self._bodies, refusal.seq))
            for refusal in refusals
            if first <= refusal.seq <= ack
        }
        bodies, digests = self._bodies, self._digests
        for seq in cast("Iterable[Seq]", range(first, ack + 1)):
            size_bytes += len(bodies.pop(seq))
        for seq in cast("Iterable[Seq]", range(first - 1, ack)):
            del digests[seq]
        self.base = Seq(ack + 1)
        self.size_bytes -= size_bytes
        # Only who has read the messages knows their digest: the peer reads, and may have more.
        # Twice what they cost: so that who was held up, and goes on reading, soon is not any more.
        self._again.earn(2 * (size_bytes + (ack + 1 - first) * MESSAGE_BYTES))
        return Processed(first, ack, size_bytes, refused)

    def _rewind(self) -> None:
        """Everything not received is to be sent again; the timer starts when it leaves."""
        self._sent = self._received
        self._flight_bytes = 0
        self._timed = None
        self._resend_at = None


def _safe(refusal: Refusal) -> Refusal:
    """Return it with its text as the application may show it: a peer wrote it."""
    return replace(refusal, reason=printable(refusal.reason, bounds.REASON_MAX_BYTES))
