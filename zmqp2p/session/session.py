"""A session: one reliable conversation with one peer, over whatever links there are.

It outlives links, restarts and crashes. It carries message bodies as opaque bytes. It is asked and
never calls back: `receive`, `send` and `tick` change it; `settle` puts what follows into `Output`,
which the node makes durable before any frame of it leaves.
"""

from dataclasses import dataclass, field, replace
from random import Random
from typing import assert_never

from zmqp2p import limits as bounds
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.ids import (
    STREAM_ID_SIZE,
    Address,
    InstanceId,
    LinkId,
    Seq,
    StreamDigest,
    StreamId,
)
from zmqp2p.limits import Limits
from zmqp2p.persistence import (
    DropHold,
    DropMessages,
    DropRefusals,
    Held,
    PeerSnapshot,
    PutCursor,
    PutHold,
    PutMessage,
    PutOutStream,
    PutPeerRun,
    PutRefusal,
    Write,
)
from zmqp2p.session.bucket import control_bucket
from zmqp2p.session.inbox import Accepted, Inbox
from zmqp2p.session.outbox import Outbox, Processed
from zmqp2p.session.pace import PartsPace
from zmqp2p.session.parts import split
from zmqp2p.session.resume import Hold, Memory, resume
from zmqp2p.session.room import InboxRoom
from zmqp2p.wire.frames import (
    VERSION,
    Ack,
    Bulk,
    Data,
    Frame,
    Gap,
    Hello,
    Ping,
    Pong,
    Progress,
    Refusal,
)

SessionFrame = Data | Bulk | Ack | Gap | Ping | Pong


@dataclass(slots=True)
class Output:
    """What sessions ask for, in order: first all writes are committed, then the frames leave."""

    writes: list[Write] = field(default_factory=list)
    frames: list[tuple[LinkId, Frame]] = field(default_factory=list)
    processed: list[tuple[Address, Processed]] = field(default_factory=list)


class Session:
    """Both streams with one peer. Pure: ``now`` is monotonic seconds.

    Invariant: those of `Outbox` and `Inbox`; the active link, if any, is one of ``links``.
    """

    def __init__(
        self, peer: Address, memory: PeerSnapshot, output: Output, limits: Limits, rng: Random
    ) -> None:
        self.peer = peer
        self._room = InboxRoom(limits.inbox_total_max_bytes)  # Its own, until `share_room`.
        self._guest = False
        self._pace = PartsPace(limits)
        self.limits = limits
        self.links: dict[LinkId, InstanceId] = {}  # Established ones, oldest first.
        self.active: LinkId | None = None
        self.held = memory.held  # Until a HELLO is accepted.
        self.queued = False  # Whether it stands in the engine's line of sessions to process.
        self.controls = control_bucket(limits)  # Of all its links: what brings nothing new (RAT-1).
        self.resent = 0  # Messages sent again by the timer, for status and soak reports.
        self._output = output
        self._rng = rng
        self._incarnation = memory.incarnation
        self._instance = memory.instance
        # Whether the store knows of it: not before there is something to lose (see `keep`).
        self.kept = bool(memory.out_stream)
        stream = memory.out_stream or StreamId(rng.randbytes(STREAM_ID_SIZE))
        bodies = [body for _seq, body in memory.messages]
        acked_digest = memory.acked_digest or StreamDigest(stream)
        self.outbox = Outbox(stream, (memory.acked, acked_digest), bodies, limits, rng)
        refusals = [Refusal(seq, RefusalCode(c), reason) for seq, c, reason in memory.refusals]
        processed = (memory.cursor, memory.cursor_digest)
        self.inbox = Inbox(memory.in_stream, processed, refusals, limits, self._room)
        self._in_base = memory.in_base  # The highest base of the peer's stream that it has said.
        self._stored = (*processed, memory.in_base)
        self._ack_owed = False
        self._gap_owed = False
        self._gap_reported = Seq(0)
        self._pongs: dict[LinkId, int] = {}  # The newest PING of each link, to be answered.

    def share_room(self, room: InboxRoom) -> None:
        """Count what waits here in ``room``, with what waits of other peers."""
        self._room = room
        self._forget_unprocessed()

    def keep(self) -> None:
        """Have the store remember this session, from the first message on, in either direction.

        Identities cost nothing: whoever only says HELLO must not be able to fill the disk.
        """
        if self.kept:
            return
        self.kept = True
        self._output.writes.append(PutOutStream(self.peer, self.outbox.stream))
        if self._instance:
            self._store_run()
        if self.inbox.stream:
            self._store_cursor()
        for refusal in self.inbox.refusals:
            self._store_refusal(refusal)
        if self.held is not None:
            self._output.writes.append(PutHold(self.peer, self.held))

    def belong(self, *, guest: bool) -> None:
        """The peer is a guest: one that came by itself; or it is not any more."""
        self._guest = guest
        self.inbox.belong(guest=guest)

    # --- Links ----------------------------------------------------------------------------------

    def hello(self, record: bytes, incarnation: int, instance: InstanceId) -> Hello:
        """Return this node's HELLO for the peer (HEL-2)."""
        messages, size_bytes = self.inbox.window()
        return Hello(
            versions=(VERSION,),
            record=record,
            incarnation=incarnation,
            instance=instance,
            stream=self.outbox.stream,
            base=self.outbox.base,
            base_digest=self._base_digest(),
            next=self.outbox.next,
            seen_stream=self.inbox.stream,
            cursor=self.inbox.cursor,  # Committed, like all of this turn, before it leaves.
            seen_digest=self.inbox.digest,
            heard=self._in_base,
            refusals=self.inbox.refusals,
            window_messages=messages,
            window_bytes=size_bytes,
        )

    def establish(self, link: LinkId, hello: Hello, now: float) -> Hold | None:
        """Resume over ``link`` from what ``hello`` says, or return why that is not safe.

        Links of an earlier run of the peer must have been dropped by the caller (RES-8).
        """
        decision = resume(self._memory(hello), hello)
        if isinstance(decision, Hold):
            return decision
        if self.held is not None:
            self.held = None
            if self.kept:
                self._output.writes.append(DropHold(self.peer))
        if (hello.incarnation, hello.instance) != (self._incarnation, self._instance):
            self._incarnation, self._instance = hello.incarnation, hello.instance
            if self.kept:
                self._store_run()
            self._forget_unprocessed()
        if decision.anew:
            self._restart_inbox(hello)
        self._progressed(self._progress_of(hello, decision.acked), now)
        if self.links.get(link) != hello.instance:
            # Not for a HELLO that is only said again: a peer that does not read could have the
            # whole outbox queued with each. If something was lost, the resend timer sees it.
            self.outbox.resume(decision.acked, hello.window_messages, hello.window_bytes)
            self._gap_reported = Seq(0)
        self.links.pop(link, None)
        self.links[link] = hello.instance
        self.active = link
        return None

    def forgotten_by(self, hello: Hello) -> str:
        """Return what of this session the peer does not know any more; empty if nothing (RES-12).

        To be asked before `establish`. Only another run of the peer can have another store.
        """
        if not self._instance or hello.instance == self._instance:
            return ""
        processed = self.outbox.base - 1
        if hello.seen_stream != self.outbox.stream and processed > 0:
            return f"it does not know this node's stream, of which it had processed {processed}"
        if hello.stream != self.inbox.stream and self.inbox.cursor > 0:
            return f"it begins another stream; of the last one, {self.inbox.cursor} were processed"
        return ""

    def hold(self, code: ByeCode, reason: str, hello: Hello | None = None) -> None:
        """Do not go on: nothing is processed, nothing is dropped (RES-7).

        ``hello`` is the one that showed it. Links are the caller's to close first; while others
        serve the session, it goes on.
        """
        if self.links:
            return
        held = Held(code.value, reason)
        if hello is not None and hello.stream == self.inbox.stream:
            held = replace(held, base=hello.base, next=hello.next)
        if hello is not None and hello.seen_stream == self.outbox.stream:
            held = replace(held, cursor=hello.cursor, digest=hello.seen_digest)
        if held != self.held:
            self.held = held
            if self.kept:  # Else nothing can be lost; and anybody can contradict himself (HEL-8).
                self._output.writes.append(PutHold(self.peer, held))
        self._forget_unprocessed()

    def lose(self, link: LinkId) -> None:
        """``link`` is gone; go on over the newest other one, or pause."""
        self.links.pop(link, None)
        self._pongs.pop(link, None)
        if self.active != link:
            return
        self.active = next(reversed(self.links), None)
        self.outbox.pause()  # What was in flight is sent again over the other link (RES-1).
        # An ack that left over the lost link may be lost with it: it is said again over the other.
        self._ack_owed = True
        if self.active is None:
            self.inbox.drop_parts()
            self._pace.watch(None, 0.0)

    def is_other_run(self, link: LinkId, instance: InstanceId) -> bool:
        """Whether ``link`` was established by another run of the peer than ``instance``."""
        return self.links.get(link, instance) != instance

    # --- Feeding --------------------------------------------------------------------------------

    def send(self, body: bytes) -> Seq:
        """Take one message into the outbox and return its number, its last part's (SEQ-1)."""
        self.keep()
        parts = (body,) if len(body) <= bounds.BODY_MAX_BYTES else split(body)
        for part in parts:
            seq = self.outbox.append(part)
            self._output.writes.append(PutMessage(self.peer, seq, part))
        return seq

    def receive(self, link: LinkId, frame: SessionFrame, now: float) -> None:
        """Take in one frame from an established link.

        Raises:
            PeerError: a rule was broken; nothing changed but what the frame's progress said.
            Contradiction: one of the two stores was rolled back (RES-11); likewise.
        """
        match frame:
            case Data(seq, digest, progress, bodies):
                self._progressed(progress, now)
                self._accept(seq, bodies, digest, now)
            case Bulk(seq, digest, progress, body):
                self._progressed(progress, now)
                self._accept(seq, (body,), digest, now)
            case Ack(progress) | Pong(_, progress):
                self._progressed(progress, now)
            case Gap(progress):
                self._progressed(progress, now)
                self.outbox.go_back()
            case Ping(token):
                self._pongs[link] = token
            case _:
                assert_never(frame)

    def tick(self, now: float) -> None:
        """Let the resend timer run."""
        self.resent += self.outbox.tick(now)

    def postpone(self, by_s: float, now: float) -> None:
        """Take note that this node did not run for so long: no timer has run meanwhile (LIV-6)."""
        self.outbox.postpone(by_s, now)

    @property
    def assembles(self) -> bool:
        """Whether parts of a message are kept, and others are missing."""
        return self.inbox.assembled_bytes is not None

    def hogs(self, now: float) -> bool:
        """Whether its message in parts comes so slowly that others need not wait for it (WIN-4)."""
        return bool(self._room.waiting) and self._pace.too_slow(now)

    def stand_back(self, now: float) -> None:
        """Let others begin their messages in parts first. Links are the caller's to close."""
        self._pace.bar(now)

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do, monotonic seconds."""
        return self.outbox.deadline

    @property
    def heard(self) -> int:
        """How far the peer has said that it came; grows with all that is news (RAT-1)."""
        outbox = self.outbox
        return outbox.base + outbox.received + min(self._in_base, self.inbox.cursor + 1)

    # --- Processing -----------------------------------------------------------------------------

    def done(self) -> None:
        """The message taken from the inbox is processed for good."""
        self.keep()
        self.inbox.done()
        self._ack_owed = True

    def refuse(self, code: RefusalCode, reason: str) -> Refusal:
        """The message taken from the inbox is refused for good (REF-2).

        That alone is nothing to lose (see `keep`): should the refusal be forgotten before the peer
        has heard it, the message comes again and is judged again.
        """
        refusal = self.inbox.refuse(code, reason)
        if self.kept:
            self._store_refusal(refusal)
        self._ack_owed = True
        return refusal

    # --- Draining -------------------------------------------------------------------------------

    @property
    def unsettled(self) -> bool:
        """Whether `settle` may have something to do; after most PONGs it has not."""
        return bool(
            self._pongs
            or self._ack_owed
            or self._gap_owed
            or len(self.outbox)
            or self.has_progressed
        )

    @property
    def has_progressed(self) -> bool:
        """Whether `settle` is to have the store know how far it came: no HELLO may say it else."""
        return (self.inbox.cursor, self.inbox.digest, self._in_base) != self._stored

    def settle(self, now: float) -> None:
        """Put the cursor and every frame that is due into the output."""
        self.inbox.barred = self._pace.barred(now)
        if self.has_progressed:
            self._store_cursor()
        self._answer_pings()
        if self.active is None:
            self._ack_owed = self._gap_owed = False  # The next HELLO says it.
            return
        if self._gap_owed:
            self._output.frames.append((self.active, Gap(self._progress())))
            self._ack_owed = self._gap_owed = False
        self._send_batches(self.active, now)
        if self._ack_owed:
            self._output.frames.append((self.active, Ack(self._progress())))
            self._ack_owed = False

    def check(self) -> None:
        """Assert the invariant."""
        self.outbox.check()
        self.inbox.check()
        assert self.active is None or self.active in self.links

    def _send_batches(self, link: LinkId, now: float) -> None:
        progress: Progress | None = None
        while (batch := self.outbox.take_batch(now)) is not None:
            progress = progress or self._progress()
            seq, digest, bodies = batch
            if len(bodies) == 1 and len(bodies[0]) >= bounds.BULK_MIN_BYTES:
                self._output.frames.append((link, Bulk(seq, digest, progress, bodies[0])))
            else:
                self._output.frames.append((link, Data(seq, digest, progress, tuple(bodies))))
            self._ack_owed = False

    def _answer_pings(self) -> None:
        if not self._pongs:
            return
        progress = self._progress()
        for link, token in self._pongs.items():
            self._output.frames.append((link, Pong(token, progress)))
        self._pongs.clear()

    def _accept(
        self, seq: Seq, bodies: tuple[bytes, ...], digest: StreamDigest, now: float
    ) -> None:
        self.inbox.barred = self._pace.barred(now)
        accepted = self.inbox.accept(seq, bodies, digest)
        self._pace.watch(self.inbox.assembled_bytes, now)
        if accepted is not Accepted.GAP:
            self._ack_owed = True  # If the room is full: that nothing was received.
            return
        missing = Seq(self.inbox.received + 1)
        self._gap_owed = self._gap_owed or self._gap_reported != missing
        self._gap_reported = missing

    def _progressed(self, progress: Progress, now: float) -> None:
        processed = self.outbox.acknowledge(progress, now)
        if processed is not None:
            write = DropMessages(self.peer, processed.last, self._base_digest())
            self._output.writes.append(write)
            self._output.processed.append((self.peer, processed))
            # Our base tells them that the refusals were heard (REF-4): they keep only so many.
            self._ack_owed = self._ack_owed or bool(processed.refused)
        heard = Seq(progress.base - 1)
        if self.inbox.forget_refusals(heard) and self.kept:
            self._output.writes.append(DropRefusals(self.peer, heard))
        self._in_base = max(self._in_base, progress.base)

    def _store_cursor(self) -> None:
        self._stored = (self.inbox.cursor, self.inbox.digest, self._in_base)
        if self.kept:
            cursor = PutCursor(self.peer, self.inbox.stream, *self._stored)
            self._output.writes.append(cursor)

    def _store_run(self) -> None:
        run = PutPeerRun(self.peer, self._incarnation, self._instance)
        self._output.writes.append(run)

    def _store_refusal(self, refusal: Refusal) -> None:
        write = PutRefusal(self.peer, refusal.seq, refusal.code.value, refusal.reason)
        self._output.writes.append(write)

    def _progress(self) -> Progress:
        messages, size_bytes = self.inbox.window()
        return Progress(
            base=self.outbox.base,
            ack=self._stored[0],
            digest=self._stored[1],
            received=self.inbox.received,
            refusals=self.inbox.refusals,
            window_messages=messages,
            window_bytes=size_bytes,
        )

    def _forget_unprocessed(self) -> None:
        """A new run of the peer sends again what is not processed; only its word counts (RES-9).

        A peer whose store was rolled back may send other messages under the same numbers.
        """
        inbox = self.inbox
        processed = (inbox.cursor, inbox.digest)
        self._renew_inbox(inbox.stream, processed, list(inbox.refusals))

    def _restart_inbox(self, hello: Hello) -> None:
        """The peer's stream is new to this node: begin at its base (RES-2)."""
        if self.inbox.forget_refusals(self.inbox.cursor) and self.kept:
            self._output.writes.append(DropRefusals(self.peer, self.inbox.cursor))
        before = (Seq(hello.base - 1), hello.base_digest)
        self._renew_inbox(hello.stream, before, [])
        self._in_base = hello.base
        self._store_cursor()

    def _renew_inbox(
        self, stream: StreamId, processed: tuple[Seq, StreamDigest], refusals: list[Refusal]
    ) -> None:
        self.inbox.close()
        self.inbox = Inbox(stream, processed, refusals, self.limits, self._room)
        self.inbox.belong(guest=self._guest)

    def _base_digest(self) -> StreamDigest:
        """The digest of this node's stream up to what the peer has processed."""
        digest = self.outbox.digest_at(Seq(self.outbox.base - 1))
        assert digest is not None
        return digest

    def _progress_of(self, hello: Hello, acked: Seq) -> Progress:
        """What a HELLO says, as a progress: the peer has processed ``acked``."""
        digest = self.outbox.digest_at(acked)
        assert digest is not None  # The peer's is the same, as `resume` has seen, or older.
        return Progress(
            hello.base,
            acked,
            digest,
            acked,
            hello.refusals,
            hello.window_messages,
            hello.window_bytes,
        )

    def _memory(self, hello: Hello) -> Memory:
        return Memory(
            out_stream=self.outbox.stream,
            out_base=self.outbox.base,
            out_sent=self.outbox.sent_most,
            in_stream=self.inbox.stream,
            cursor=self.inbox.cursor,
            in_base=self._in_base,
            incarnation=self._incarnation,
            instance=self._instance,
            out_digest=self.outbox.digest_at(hello.cursor),
            in_digest=self.inbox.digest,
        )
