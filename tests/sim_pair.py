"""Two sessions, the network between them and their stores, under one seed.

A turn is that of the node's loop: take in frames, process, settle, commit, and only then let the
frames leave. A side may crash before the commit (all of the turn is lost) or after it (its frames
are). The network keeps the order within a link, and loses, repeats and delays frames; links overlap
and end at any time, which each end notices in its own time.

After every step: `Session.check`, no frame claims what is not stored, what was processed is what
was sent, in order and once, and what a sender is told is what its receiver did.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from tests.chance import seeded
from tests.memory import remember_of_peer
from zmqp2p import limits as bounds
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.ids import Address, InstanceId, LinkId, Seq
from zmqp2p.limits import Limits
from zmqp2p.persistence import PeerSnapshot, PutCursor, PutMessage, PutOutStream, Write
from zmqp2p.session.inbox import Inbox
from zmqp2p.session.session import Output, Session
from zmqp2p.wire.encoding import decode_frame, encode_frame
from zmqp2p.wire.frames import Ack, Bulk, Data, Frame, Gap, Hello, Ping, Pong

LIMITS = Limits(inbox_max_messages=6, inbox_max_bytes=80 * bounds.KIB)
PING_INTERVAL_S = 0.5
HELLO_TIMEOUT_S = 2.0
NOTICE_MAX_S = 1.5  # How long an end may think that a link lives which does not.


@dataclass(frozen=True)
class Faults:
    """What may go wrong; all but the delays are probabilities, for each frame or each step."""

    drop: float = 0.05
    repeat: float = 0.05
    delay_max_s: float = 0.2
    crash: float = 0.02
    cut: float = 0.02
    dial: float = 0.04
    slow: float = 0.2  # A handler that takes up to half a second.


def faults_of(rng: Random) -> Faults:
    """Return faults of one kind or another: a world with all of them at once gets nowhere."""
    return Faults(
        drop=rng.choice((0.0, 0.02, 0.3)),
        repeat=rng.choice((0.0, 0.1)),
        delay_max_s=rng.choice((0.01, 0.2, 2.0)),
        crash=rng.choice((0.0, 0.0, 0.02, 0.1)),
        cut=rng.choice((0.0, 0.02, 0.1)),
        dial=rng.choice((0.0, 0.05, 0.2)),
        slow=rng.choice((0.0, 0.3)),
    )


CALM = Faults(drop=0, repeat=0, delay_max_s=0.01, crash=0, cut=0, dial=0, slow=0)


class Disk:
    """One side's store: the snapshot of the peer, and the application's own records."""

    def __init__(self) -> None:
        """Remember nothing."""
        self.memory = PeerSnapshot()
        self.incarnation = 0
        self.sent: list[bytes] = []  # All messages, by number from 1.
        self.processed: list[bytes] = []  # Of the peer's stream, in order, refused ones included.
        self.refused: dict[int, RefusalCode] = {}  # Of the peer's stream.
        self.told: list[RefusalCode | None] = []  # What became of the messages sent, in order.

    def apply(self, writes: list[Write]) -> None:
        """Commit what a session asks for."""
        for write in writes:
            self._apply(write)
        held = [seq for seq, _ in self.memory.messages]
        assert held == list(range(self.memory.acked + 1, len(self.sent) + 1))

    def _apply(self, write: Write) -> None:
        match write:
            case PutOutStream():
                assert not self.memory.out_stream
            case PutCursor(_, stream, cursor, _, base):
                now, before = (cursor, base), (self.memory.cursor, self.memory.in_base)
                assert stream != self.memory.in_stream or (now > before and base >= before[1])
            case PutMessage(_, _, body):
                self.sent.append(body)
            case _:
                pass
        remember_of_peer(self.memory, write)


@dataclass
class Turn:
    """What a turn has done so far, and its commit will make so."""

    processed: list[bytes] = field(default_factory=list)
    refused: dict[int, RefusalCode] = field(default_factory=dict)


class Side:
    """One node: a disk, and while it runs, a session."""

    def __init__(self, address: bytes, rng: Random) -> None:
        """Be down, with an empty disk."""
        self.address = Address(address * 20)
        self.rng = rng
        self.disk = Disk()
        self.session: Session | None = None
        self.output = Output()
        self.instance = InstanceId(b"")
        self.links: dict[LinkId, bool] = {}  # Those that this end believes in: did it dial?
        self.busy: tuple[Inbox, Seq, bytes, float] | None = None  # In progress, until when.
        self.turn = Turn()
        self.to_send = 0
        self.ping_at = 0.0
        self.restart_at = 0.0

    def start(self, peer: Address) -> None:
        """Run, from what the disk holds."""
        self.disk.incarnation += 1
        self.instance = InstanceId(self.rng.randbytes(8))
        self.output = Output()
        self.session = Session(peer, self.disk.memory, self.output, LIMITS, self.rng)
        self.session.keep()  # The peer was added by the application.

    def crash(self) -> None:
        """Lose everything but the disk."""
        self.session, self.busy, self.turn = None, None, Turn()
        self.links.clear()

    def hello(self) -> Hello:
        """Return this side's HELLO."""
        assert self.session is not None
        return self.session.hello(b"", self.disk.incarnation, self.instance)

    # --- The application ------------------------------------------------------------------------

    def send_some(self) -> None:
        """Send a few messages; one in ten is one that the peer refuses, few are large."""
        assert self.session is not None
        for _ in range(min(self.rng.choice((0, 0, 1, 3)), self.to_send)):
            self.to_send -= 1
            kind = self.rng.choice((b"ok", b"ok", b"ok", b"ok", b"no"))
            body = kind + self.rng.randbytes(6)  # Not the same again if it is lost with its turn.
            if self.rng.random() < 0.05:
                body += bytes(bounds.BULK_MIN_BYTES)
            self.session.send(body)

    def process_some(self, now: float, faults: Faults) -> None:
        """Let the handler work: at once, or in its own time, or twice because it failed."""
        assert self.session is not None
        inbox = self.session.inbox
        for _ in range(4):
            if self.busy is None and inbox.ready():
                slow_s = 0.5 * self.rng.random() if self.rng.random() < faults.slow else 0.0
                seq, body = inbox.take()
                assert body is not None  # None is too large for these limits.
                self.busy = (inbox, seq, body, now + slow_s)
            if self.busy is None or now < self.busy[3]:
                return
            its_inbox, seq, body, _ = self.busy
            self.busy = None
            if its_inbox is not inbox:  # The peer's run has ended meanwhile (RES-9).
                continue
            if self.rng.random() < faults.slow / 4:
                inbox.put_back()
            else:
                self._end(seq, body)

    def _end(self, seq: Seq, body: bytes) -> None:
        assert self.session is not None
        self.turn.processed.append(body)
        if body.startswith(b"no"):
            self.turn.refused[seq] = RefusalCode.PAYLOAD_INVALID
            self.session.refuse(RefusalCode.PAYLOAD_INVALID, "it says no")
        else:
            self.session.done()

    # --- The end of a turn ----------------------------------------------------------------------

    def commit(self) -> list[tuple[LinkId, Frame]]:
        """Make the turn so, and return the frames that may leave."""
        output, disk = self.output, self.disk
        disk.apply(output.writes)
        disk.processed += self.turn.processed
        disk.refused |= self.turn.refused
        for _, processed in output.processed:
            assert processed.first == len(disk.told) + 1  # Each once, in order, none left out.
            for seq in range(processed.first, processed.last + 1):
                refusal = processed.refused.get(Seq(seq))
                disk.told.append(None if refusal is None else refusal[0].code)
                assert refusal is None or refusal[1] == disk.sent[seq - 1]
        frames = output.frames
        output.writes, output.frames, output.processed = [], [], []
        self.turn = Turn()
        for _, frame in frames:
            self._check_honest(frame)
        return frames

    def _check_honest(self, frame: Frame) -> None:
        """No frame claims what a crash could take back (ACK-3)."""
        match frame:
            case Hello():
                assert frame.cursor <= self.disk.memory.cursor
            case Data() | Bulk() | Ack() | Gap() | Pong():
                assert frame.progress.ack <= self.disk.memory.cursor
            case _:
                pass


@dataclass
class Pipe:
    """One direction of a link: frames in order, each with the instant of its arrival."""

    frames: deque[tuple[float, tuple[bytes, ...]]] = field(default_factory=deque)
    last_at: float = 0.0


class PairWorld:
    """Alice and Bob. ``now`` is in seconds; nothing but the seed decides what happens."""

    def __init__(self, seed: int, faults: Faults | None = None, *, messages: int) -> None:
        """Start both; each has ``messages`` to send."""
        self.rng = seeded(seed)
        self.faults = faults or faults_of(self.rng)
        self.now = 0.0
        self.sides = (Side(b"a", self.rng), Side(b"b", self.rng))
        self.pipes: dict[tuple[LinkId, Side], Pipe] = {}  # By the receiving side.
        self.dialed_at: dict[LinkId, float] = {}
        self.notices: list[tuple[float, LinkId, Side]] = []
        self._links = 0
        for side in self.sides:
            side.to_send = messages
            side.start(self.other(side).address)

    def other(self, side: Side) -> Side:
        """Return the peer of ``side``."""
        return self.sides[side is self.sides[0]]

    # --- Running --------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """Let time pass, with faults."""
        for _ in range(steps):
            self._go_wrong()
            self._step()

    def settle(self, steps_max: int) -> int:
        """Without faults, run until all is done; return the steps it took, which are bounded."""
        self.faults = CALM
        for step in range(steps_max):
            if self._done():
                return step
            self._step()
        raise AssertionError("the two do not come to rest")

    def _done(self) -> bool:
        return all(
            side.session is not None
            and side.to_send == 0
            and len(side.disk.told) == len(side.disk.sent) == len(self.other(side).disk.processed)
            for side in self.sides
        )

    def _go_wrong(self) -> None:
        rng, faults = self.rng, self.faults
        if rng.random() < faults.dial:
            self.dial(rng.choice(self.sides))
        if rng.random() < faults.cut and self.dialed_at:
            self.cut(rng.choice(list(self.dialed_at)))
        if rng.random() < faults.crash:
            self.crash(rng.choice(self.sides))

    def _step(self) -> None:
        """Go to the next instant at which something happens, and let both sides take a turn."""
        self.now = min(at for at in self._instants() if at > self.now)
        self._end_links()
        for side in self.sides:
            if side.session is None and self.now >= side.restart_at:
                side.start(self.other(side).address)
            if side.session is not None:
                self._take_turn(side)
        if not self.dialed_at:
            self.dial(self.rng.choice(self.sides))
        self.check()

    def _end_links(self) -> None:
        for at, link, side in list(self.notices):
            if at <= self.now:
                self.notices.remove((at, link, side))
                self._forget(side, link)
        for link, at in list(self.dialed_at.items()):
            if self.now >= at + HELLO_TIMEOUT_S and not self._introduced(link):
                self.cut(link)

    def _instants(self) -> list[float]:
        """Return the instants to look at something."""
        at = [self.now + 0.1]
        at += [pipe.frames[0][0] for pipe in self.pipes.values() if pipe.frames]
        for side in self.sides:
            if side.session is not None and side.session.deadline is not None:
                at.append(side.session.deadline)
            if side.busy is not None:
                at.append(side.busy[3])
        return at

    def _take_turn(self, side: Side) -> None:
        session = side.session
        assert session is not None
        for link in list(side.links):
            self._deliver(side, link)
        side.send_some()
        session.tick(self.now)
        side.process_some(self.now, self.faults)
        if session.active is not None and self.now >= side.ping_at:
            side.ping_at = self.now + PING_INTERVAL_S
            side.output.frames.append((session.active, Ping(self.rng.randrange(9))))
        session.settle(self.now)
        session.check()
        if self.rng.random() < self.faults.crash / 2:
            unsent = sum(isinstance(write, PutMessage) for write in side.output.writes)
            side.to_send += unsent
            self.crash(side)
            return
        frames = side.commit()
        if self.rng.random() < self.faults.crash / 2:
            self.crash(side)
            return
        for link, frame in frames:
            self._leave(side, link, frame)

    # --- The network ----------------------------------------------------------------------------

    def dial(self, side: Side) -> None:
        """Let ``side`` open a link, if both run."""
        other = self.other(side)
        if side.session is None or other.session is None:
            return
        self._links += 1
        link = LinkId(self._links)
        self.dialed_at[link] = self.now
        side.links[link], other.links[link] = True, False
        side.output.frames.append((link, side.hello()))

    def cut(self, link: LinkId) -> None:
        """End a link; what is under way may arrive yet, and each end notices later."""
        self.dialed_at.pop(link, None)
        for side in self.sides:
            if self.rng.random() < 0.5:
                self.pipes.pop((link, side), None)
            if link in side.links:
                self.notices.append((self.now + NOTICE_MAX_S * self.rng.random(), link, side))

    def crash(self, side: Side) -> None:
        """Stop ``side`` at once; it starts again within half a second."""
        if side.session is None:
            return
        links = list(side.links)
        side.crash()
        side.restart_at = self.now + 0.5 * self.rng.random()
        for link in links:
            self.cut(link)

    def _introduced(self, link: LinkId) -> bool:
        return all(s.session is not None and link in s.session.links for s in self.sides)

    def _forget(self, side: Side, link: LinkId) -> None:
        if side.links.pop(link, None) is not None and side.session is not None:
            side.session.lose(link)

    def _leave(self, side: Side, link: LinkId, frame: Frame) -> None:
        if link not in self.dialed_at or self.rng.random() < self.faults.drop:
            return
        pipe = self.pipes.setdefault((link, self.other(side)), Pipe())
        times = 2 if self.rng.random() < self.faults.repeat else 1
        at = self.now + self.faults.delay_max_s * self.rng.random()
        pipe.last_at = max(pipe.last_at, at)
        pipe.frames.extend([(pipe.last_at, encode_frame(frame))] * times)

    def _deliver(self, side: Side, link: LinkId) -> None:
        pipe = self.pipes.get((link, side))
        while pipe and pipe.frames and pipe.frames[0][0] <= self.now:
            _, parts = pipe.frames.popleft()
            self._receive(side, link, decode_frame(parts))
            if link not in side.links:  # It turned out to be of an earlier run.
                return

    def _receive(self, side: Side, link: LinkId, frame: Frame) -> None:
        session = side.session
        assert session is not None
        match frame:
            case Hello():
                self._introduce(side, link, frame)
            case Data() | Bulk() | Ack() | Gap() | Ping() | Pong() if link in session.links:
                session.receive(link, frame, self.now)
            case _:
                pass  # Before HELLO: the engine's affair.

    def _introduce(self, side: Side, link: LinkId, hello: Hello) -> None:
        session = side.session
        assert session is not None
        hold = session.establish(link, hello, self.now)
        if hold is not None:
            # No false alarm. But a HELLO of a run that has crashed may come after its successor's.
            assert hold.code is ByeCode.STORE_ROLLED_BACK, hold
            assert hello.incarnation < self.other(side).disk.incarnation
            self._forget(side, link)
            return
        self._established(side, link, hello)

    def _established(self, side: Side, link: LinkId, hello: Hello) -> None:
        session = side.session
        assert session is not None
        for other in [one for one in session.links if session.is_other_run(one, hello.instance)]:
            self._forget(side, other)
        if not side.links[link]:
            side.output.frames.append((link, side.hello()))

    # --- What must hold at any time -------------------------------------------------------------

    def check(self) -> None:
        """Assert safety."""
        for side in self.sides:
            mine, theirs = side.disk, self.other(side).disk
            assert mine.processed == theirs.sent[: len(mine.processed)]
            verdicts = [mine.refused.get(seq + 1) for seq in range(len(theirs.told))]
            assert theirs.told == verdicts
            assert len(theirs.told) <= len(mine.processed)
