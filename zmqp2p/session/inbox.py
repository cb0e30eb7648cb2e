"""The receiving half of a session: messages from one peer, in stream order, each once.

Numbers: up to ``cursor`` all is processed for good; up to ``received`` the rest waits here, in
memory. What does not follow on ``received`` is not kept: within a link nothing is reordered, so it
only comes after a loss, and then the sender sends the missing ones again and these with them.
"""

from collections import deque
from collections.abc import Iterator
from enum import Enum
from itertools import islice, repeat
from typing import NamedTuple

from zmqp2p import limits as bounds
from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import next_digest
from zmqp2p.errors import Contradiction, PeerError
from zmqp2p.ids import Seq, StreamDigest, StreamId
from zmqp2p.limits import BODY_MAX_BYTES, PART_MAX_BYTES, Limits
from zmqp2p.session.parts import Assembly, is_part, reserve_bytes
from zmqp2p.session.room import MESSAGE_BYTES, Allowance, InboxRoom
from zmqp2p.wire.frames import Refusal

_NOTHING = Allowance(0, 0)


class Accepted(Enum):
    """What became of a batch."""

    NEW = "new"  # At least one body was new, and now waits.
    KNOWN = "known"  # All of it had come before (SEQ-2).
    GAP = "gap"  # It does not follow on what was received (GAP-1); nothing was kept.
    FULL = "full"  # This node's memory for all peers is used up; nothing was kept (WIN-3).


class Waiting(NamedTuple):  # Made for every message: half the cost of a frozen dataclass.
    """A whole message; None for its body if it was too large to be kept."""

    body: bytes | None
    digest: StreamDigest  # Of the stream after it.
    span: int  # How many numbers it takes: one, or as many as it has parts.
    size_bytes: int  # Of what is kept.


class Inbox:
    """Messages from one peer, oldest first; at most one at a time is taken out and in progress.

    Invariant: ``cursor <= taken <= received``; the queue and the parts of an incomplete message
    hold ``taken + 1`` to ``received``; what waits or is in progress stays within the limits that
    were advertised as the window, and is counted in the room. ``digest`` is the stream's at
    ``cursor``.
    """

    def __init__(
        self,
        stream: StreamId,
        processed: tuple[Seq, StreamDigest],
        refusals: list[Refusal],
        limits: Limits,
        room: InboxRoom,
    ) -> None:
        """Go on after ``processed``: the cursor and the stream's digest there."""
        self.stream = stream
        self.cursor, self.digest = processed
        self.received, self._received_digest = processed
        self._limits = limits
        self._room = room
        self._guest = False  # Whether it has its room with others that came by themselves.
        # How far this node has permitted the peer to go: the number, and the bytes in all. None
        # before it has said anything.
        self._permitted: tuple[int, int] | None = None
        self._promised = _NOTHING  # Counted in the room, if it is a guest.
        # What came last and was not kept, in one go: where it ends, and its bytes.
        self._ahead = (0, 0)
        self._total_bytes = 0  # Of all that has come.
        self.barred = False  # Whether a message in parts may not be begun for the present.
        self._queue: deque[Waiting] = deque()
        self._parts = Assembly(limits.message_max_bytes)
        self._taken = self.cursor
        self._in_progress: Waiting | None = None
        self._size_bytes = 0  # Of what waits and what is in progress.
        self._kept = 0  # How many messages those are.
        # What did not fit into the room, of which the second is for a message of parts. Until there
        # is as much, nothing is permitted: or it would be turned away again, and seem to be lost.
        self._turned_away = (0, 0)
        self._unkept = 0  # How many of the bodies after the cursor take no room.
        self._refusals = {refusal.seq: refusal for refusal in refusals}

    def accept(self, seq: Seq, bodies: tuple[bytes, ...], digest: StreamDigest) -> Accepted:
        """Take in bodies ``seq``, ``seq + 1``, …, those that are new.

        ``digest`` is the stream's after the last of them, as their sender has it.

        Raises:
            PeerError: more than the window that this node advertised (WIN-1), or parts that do not
                make a message (PRT-1).
            Contradiction: they do not follow on what was received before (RES-11).
        """
        if seq > self.received + 1:
            self._run_ahead(seq, bodies)
            return Accepted.GAP
        new = bodies[self.received + 1 - seq :]
        if not new:
            return Accepted.KNOWN
        size_bytes = sum(map(len, new))
        messages, most_bytes = self._own_window()
        if len(new) > messages or size_bytes > most_bytes or not self._permits(new, size_bytes):
            raise PeerError("WIN-1", f"{len(new)} messages of {size_bytes} bytes exceed the window")
        digests = self._chained(new)
        if digests[-1] != digest:
            through = seq + len(bodies) - 1
            raise Contradiction(f"message {through} does not follow on what came before it")
        if not self._fits(new, size_bytes):
            self._run_ahead(Seq(self.received + 1), new)
            return Accepted.FULL
        self._ahead = (0, 0)
        if self._parts.count or any(map(is_part, new)):
            for body, after in zip(new, digests, strict=True):
                self._keep(body, after)
        else:
            self._keep_whole(new, digests, size_bytes)
        self._total_bytes += size_bytes
        return Accepted.NEW

    @property
    def is_idle(self) -> bool:
        """Whether all that was received is processed."""
        return self.received == self.cursor

    def ready(self) -> bool:
        """Whether `take` would return a message."""
        return (
            bool(self._queue)
            and self._in_progress is None
            and len(self._refusals) < bounds.REFUSALS_MAX
        )

    def take(self) -> tuple[Seq, bytes | None]:
        """Hand out the next message; it is in progress until `done`, `refuse` or `put_back`.

        Its number is its last part's; None instead of a message that was too large.
        """
        assert self.ready()
        message = self._in_progress = self._queue.popleft()
        self._taken = Seq(self._taken + message.span)
        return self._taken, message.body

    def following(self, most: int) -> Iterator[tuple[Seq, bytes | None]]:
        """Yield up to ``most`` messages that `take` will return next; they stay where they are."""
        seq = self._taken
        for message in islice(self._queue, most):
            seq = Seq(seq + message.span)
            yield seq, message.body

    def put_back(self) -> None:
        """The message in progress is to be handed out again later."""
        assert self._in_progress is not None
        self._queue.appendleft(self._in_progress)
        self._in_progress = None
        self._taken = self.cursor

    def done(self) -> Seq:
        """The message in progress is processed for good: return the new cursor."""
        message, self._in_progress = self._in_progress, None
        assert message is not None
        self.cursor, self.digest = self._taken, message.digest
        if message.body is None:
            self._unkept -= message.span
        self._grow(-message.size_bytes, -1)
        return self.cursor

    def drop_parts(self) -> None:
        """No link is left: the parts of an incomplete message come again, if they come at all."""
        parts, self._parts = self._parts, Assembly(self._limits.message_max_bytes)
        self.received = Seq(self.received - parts.count)
        waiting = [self._queue[-1]] if self._queue else [self._in_progress]
        last = waiting[0]
        self._received_digest = self.digest if last is None else last.digest
        if parts.too_large:
            self._unkept -= parts.count
        self._begin_parts(-parts.reserved_bytes)
        self._turn_away(0, 0)

    def close(self) -> None:
        """Nothing of it is of use any more: give back its room."""
        self._turn_away(0, 0)
        self._promise(0, 0)
        self._begin_parts(-self._parts.reserved_bytes)
        self._grow(-self._size_bytes, -self._kept)

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
        """Return how many more bodies, of how many bytes in all, the peer is permitted from now on.

        What was permitted once stays so: it may be on its way.
        """
        messages, size_bytes = self._own_window()
        if self._guest and self._room.crowded:
            messages, size_bytes = self._guest_window(messages, size_bytes)
        number, total_bytes = self._permitted or (0, 0)
        number = max(number, self.received + messages)
        total_bytes = max(total_bytes, self._total_bytes + size_bytes)
        self._permitted = number, total_bytes
        if self._guest:
            ahead_bytes = total_bytes - self._total_bytes + self._size_bytes
            self._promise(number - self.cursor, ahead_bytes)
        if not self._has_room(*self._turned_away):
            return messages, self._awaited_bytes
        left_bytes = self._room.left_bytes(self._room_bytes, guest=self._guest)
        return messages, min(size_bytes, left_bytes + self._awaited_bytes)

    @property
    def waiting(self) -> int:
        """How many whole messages wait or are in progress."""
        return self._kept

    @property
    def assembled_bytes(self) -> int | None:
        """How much has come of the message whose parts are coming; None if none is kept."""
        return self._parts.size_bytes if self._parts.reserved_bytes else None

    def belong(self, *, guest: bool) -> None:
        """The peer is a guest from now on, or is not any more."""
        if guest != self._guest:
            held = self._room_bytes, self._parts.reserved_bytes
            self._room.add(-held[0], -held[1], guest=self._guest)
            self._guest = guest
            self._room.add(*held, guest=guest)
            self._promise(0, 0)  # Until it is told its window again.

    def check(self) -> None:
        """Assert the invariant."""
        self._parts.check()
        taken = 0 if self._in_progress is None else self._in_progress.span
        held = [*self._queue, *([] if self._in_progress is None else [self._in_progress])]
        assert self._taken == self.cursor + taken
        waiting = sum(message.span for message in self._queue) + self._parts.count
        assert self.received == self._taken + waiting
        held_bytes = sum(message.size_bytes for message in held) + self._parts.reserved_bytes
        assert self._size_bytes == held_bytes
        assert self._kept == len(held)
        assert self._room_bytes <= self._room.used_bytes
        assert all(message.size_bytes == len(message.body or b"") for message in held)
        unkept = sum(message.span for message in held if message.body is None)
        assert self._unkept == unkept + (self._parts.count if self._parts.too_large else 0)
        messages, size_bytes = self._own_window()
        assert messages >= 0
        assert size_bytes >= 0
        if not self._parts.count:
            last = [self.digest, *(message.digest for message in held[-1:])][-1]
            assert self._received_digest == (self._queue[-1].digest if self._queue else last)
        assert list(self._refusals) == sorted(self._refusals)
        assert len(self._refusals) <= bounds.REFUSALS_MAX

    def _keep(self, body: bytes, digest: StreamDigest) -> None:
        """Take in the next body, which is a message or a part of one."""
        if self._parts.count or is_part(body):
            self._keep_part(body, digest)
            self.received, self._received_digest = Seq(self.received + 1), digest
        else:
            self._keep_whole((body,), [digest], len(body))

    def _keep_whole(
        self, bodies: tuple[bytes, ...], digests: list[StreamDigest], size_bytes: int
    ) -> None:
        """Take in the next bodies, none of which is a part; one by one would cost much more."""
        self._queue.extend(map(Waiting, bodies, digests, repeat(1), map(len, bodies)))
        self._grow(size_bytes, len(bodies))
        self.received = Seq(self.received + len(bodies))
        self._received_digest = digests[-1]

    def _keep_part(self, body: bytes, digest: StreamDigest) -> None:
        parts = self._parts
        before_bytes = parts.reserved_bytes
        complete = parts.add(body)
        self._begin_parts(parts.reserved_bytes - before_bytes)
        if parts.too_large:
            self._unkept += 1
        if complete:
            span, size_bytes = parts.count, parts.size_bytes
            self._begin_parts(-parts.reserved_bytes)
            self._grow(size_bytes, 1)
            self._queue.append(Waiting(parts.take(), digest, span, size_bytes))

    def _guest_window(self, messages: int, size_bytes: int) -> tuple[int, int]:
        """Return what a guest may bring while others are connected."""
        limits, parts = self._limits, self._parts
        whole = self.received - self.cursor - self._unkept - parts.count
        share = self._room.guest_share(
            self._promised,
            Allowance(limits.guest_window_messages, limits.guest_window_bytes),
            Allowance(limits.guest_window_min_messages, limits.guest_window_min_bytes),
        )
        left_bytes = share.size_bytes - self._size_bytes + parts.reserved_bytes
        return (
            min(messages, max(share.messages - whole, 0)),
            min(size_bytes, max(left_bytes, 0) + self._awaited_bytes),
        )

    def _promise(self, messages: int, size_bytes: int) -> None:
        """Count in the room what this guest may have here, but not what it got when it was alone.

        For that, what the others may have would be less, until it is used up.
        """
        limits = self._limits
        promised = Allowance(
            min(messages, limits.guest_window_messages), min(size_bytes, limits.guest_window_bytes)
        )
        self._room.promise(self._promised, promised)
        self._promised = promised

    def _run_ahead(self, seq: Seq, bodies: tuple[bytes, ...]) -> None:
        """Count what comes and is not kept: of it too, only the window's bytes were permitted.

        From where the sender goes back to, it counts anew (WIN-1).
        """
        end, size_bytes = self._ahead
        if seq < end:
            size_bytes = 0
        size_bytes += sum(map(len, bodies))
        self._ahead = seq + len(bodies), size_bytes
        if self._permitted is not None and size_bytes > self._permitted[1] - self._total_bytes:
            raise PeerError("WIN-1", f"{size_bytes} bytes that are ahead exceed the window")

    def _permits(self, new: tuple[bytes, ...], size_bytes: int) -> bool:
        """Whether so much was permitted to the peer, now or earlier (WIN-1)."""
        if self._permitted is None:
            return True
        number, total_bytes = self._permitted
        return self.received + len(new) <= number and self._total_bytes + size_bytes <= total_bytes

    def _chained(self, bodies: tuple[bytes, ...]) -> list[StreamDigest]:
        """Return the stream's digest after each of ``bodies``, which follow on what came."""
        digests, after = [], self._received_digest
        for body in bodies:
            after = next_digest(after, body)
            digests.append(after)
        return digests

    def _own_window(self) -> tuple[int, int]:
        """How much this peer may still bring, if the room were its own.

        The rest of a message that was begun always; so an inbox may hold one more than its limit.
        """
        waiting = self.received - self.cursor - self._unkept
        left_bytes = max(self._limits.inbox_max_bytes - self._size_bytes, 0)
        return self._limits.inbox_max_messages - waiting, left_bytes + self._awaited_bytes

    @property
    def _awaited_bytes(self) -> int:
        """What the missing parts of a message may have, heads included; it is reserved."""
        if not self._parts.reserved_bytes:
            return 0
        parts = self._parts.reserved_bytes // PART_MAX_BYTES
        return (parts - self._parts.count) * BODY_MAX_BYTES

    def _fits(self, new: tuple[bytes, ...], size_bytes: int) -> bool:
        """Whether the room takes ``new``; of a message in parts all of it, with its first."""
        if self._parts.count:
            return True  # Its room is taken already.
        last = new[-1]  # A first part comes alone, or last.
        whole_bytes = reserve_bytes(last, self._limits.message_max_bytes)
        needed_bytes = size_bytes - len(last) + whole_bytes + len(new) * MESSAGE_BYTES
        needed = needed_bytes, whole_bytes if is_part(last) else 0
        fits = self._has_room(*needed)
        self._turn_away(*((0, 0) if fits else needed))
        return fits

    def _turn_away(self, needed_bytes: int, incomplete_bytes: int) -> None:
        """Remember what does not fit; 0 if all does."""
        self._turned_away = needed_bytes, incomplete_bytes
        if incomplete_bytes and not self.barred:
            self._room.waiting.add(self)
        else:
            self._room.waiting.discard(self)

    def _has_room(self, needed_bytes: int, incomplete_bytes: int) -> bool:
        if incomplete_bytes and self.barred:
            return False
        left_bytes = self._room.left_bytes(self._room_bytes, guest=self._guest)
        return needed_bytes <= left_bytes and self._room.admits(incomplete_bytes, guest=self._guest)

    def _begin_parts(self, size_bytes: int) -> None:
        """Take the room of an incomplete message, or give it back."""
        self._size_bytes += size_bytes
        self._room.add(size_bytes, size_bytes, guest=self._guest)

    def _grow(self, size_bytes: int, messages: int) -> None:
        self._size_bytes += size_bytes
        self._kept += messages
        self._room.add(size_bytes + messages * MESSAGE_BYTES, 0, guest=self._guest)

    @property
    def _room_bytes(self) -> int:
        """What is counted in the room."""
        return self._size_bytes + self._kept * MESSAGE_BYTES
