"""The world of `tests.sim_pair`, in which a side's store is now and then replaced by an old copy.

Beside what the pair does, a hold is carried out as the engine does: the links end with a BYE, and
the other side hears it. Then the two stores may contradict each other, and what must hold is less,
but enough that no contradiction passes in silence:

- what a sender is told was processed, or refused, its receiver has so processed, under that number;
- what a receiver processes is, from the first message on, one history that its sender has had;
- in the end all is done, or a session is held.
"""

from copy import deepcopy
from math import inf

from tests.frames import chain
from tests.sim_pair import CALM, Disk, PairWorld, Side
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.errors import Contradiction, PeerError
from zmqp2p.ids import LinkId, StreamDigest, StreamId
from zmqp2p.wire.frames import Bye, Frame, Hello

COPY = 0.3  # How probable at each step, for each side.
ROLLBACK = 0.015
COPIES_MAX = 25


class Past:
    """All that a side's store has ever held, through every copy that was put back."""

    def __init__(self) -> None:
        """Have no past."""
        self.copies: list[Disk] = []
        self.sent: set[StreamDigest] = set()  # The digest at each message.
        self.processed: set[tuple[int, bytes, RefusalCode | None]] = set()
        self.rollbacks = 0
        self._noted = (StreamId(b""), 0, 0, 0)

    def note(self, disk: Disk) -> None:
        """Take in what ``disk`` holds; it only grows, or was put back."""
        noted = (disk.memory.out_stream, len(disk.sent), len(disk.processed), self.rollbacks)
        if noted == self._noted:
            return
        self._noted = noted
        if disk.memory.in_stream:
            digest = chain(disk.memory.in_stream, *disk.processed)
            assert digest == disk.memory.cursor_digest
        if disk.memory.out_stream:
            digest = StreamDigest(disk.memory.out_stream)
            self.sent.add(digest)
            for body in disk.sent:
                digest = chain(digest, body)
                self.sent.add(digest)
        for seq, body in enumerate(disk.processed, start=1):
            self.processed.add((seq, body, disk.refused.get(seq)))


class RollbackWorld(PairWorld):
    """A pair of which either store may be put back, to any copy made since the two had met.

    To one made before, that is a new beginning, by design (ADR-0015).
    """

    def __init__(self, seed: int, *, messages: int) -> None:
        """Start both."""
        super().__init__(seed, messages=messages)
        self.pasts = {side: Past() for side in self.sides}
        self.alarms: list[ByeCode] = []
        self._apart_until = 0.0  # Long enough to send again as much as the copy lacks.
        self._restart_at: dict[Side, float] = {}

    @property
    def held(self) -> bool:
        """Whether a side does not go on."""
        sessions = [side.session for side in self.sides]
        return any(session is not None and session.held is not None for session in sessions)

    def finish(self, steps_max: int) -> bool:
        """Without faults, run until all is done, and return True; or else a session is held."""
        self.faults = CALM
        for _ in range(steps_max):
            if self._done():
                return True
            self._step()
        assert self.held, "a silent standstill"
        return False

    # --- Copies ---------------------------------------------------------------------------------

    def _go_wrong(self) -> None:
        super()._go_wrong()
        for side in self.sides:
            past = self.pasts[side]
            if self.rng.random() < COPY and side.disk.memory.in_stream:
                past.copies = [*past.copies[1 - COPIES_MAX :], deepcopy(side.disk)]
            if self.rng.random() < ROLLBACK and past.copies:
                self._put_back(side, past)
            if self.now >= self._restart_at.get(side, inf):
                del self._restart_at[side]
                self.crash(side)

    def dial(self, side: Side) -> None:
        """Let ``side`` open a link, unless the two are to be apart."""
        if self.now >= self._apart_until:
            super().dial(side)

    def _put_back(self, side: Side, past: Past) -> None:
        """Put back a copy; its new run may be restarted before it meets the peer."""
        self.crash(side)
        lost = len(side.disk.sent)
        # The last one is best at hiding: the numbers of the two sides are then close to each other.
        copy = past.copies[-1] if self.rng.random() < 0.7 else self.rng.choice(past.copies)
        side.disk = deepcopy(copy)
        side.to_send += lost - len(side.disk.sent)
        past.rollbacks += 1
        if self.rng.random() < 0.5:  # At once, while the other holds in memory what was sent.
            side.start(self.other(side).address)
            self.dial(self.other(side))
            return
        self._apart_until = self.now + self.rng.choice((0.0, 1.0))
        if self.rng.random() < 0.5:
            self._restart_at[side] = self.now + self.rng.random()

    # --- Holds, as the engine carries them out --------------------------------------------------

    def _receive(self, side: Side, link: LinkId, frame: Frame) -> None:
        session = side.session
        assert session is not None
        if isinstance(frame, Bye):
            self._forget(side, link)
            self.cut(link)
            if frame.code is not ByeCode.PROTOCOL_ERROR:
                session.hold(frame.code, frame.reason)
            return
        try:
            super()._receive(side, link, frame)
        except Contradiction as fault:
            self._hold(side, link, ByeCode.DATA_LOSS, str(fault))
        except PeerError as fault:
            if fault.rule != "ACK-1" or not self.pasts[side].rollbacks:
                raise
            # What this store has forgotten to have sent.
            self._end(side, link, ByeCode.PROTOCOL_ERROR, str(fault))

    def _introduce(self, side: Side, link: LinkId, hello: Hello) -> None:
        session, other = side.session, self.other(side)
        assert session is not None
        hold = session.establish(link, hello, self.now)
        if hold is None:
            self._established(side, link, hello)
        elif hold.code is ByeCode.STORE_ROLLED_BACK and hello.instance != other.instance:
            self._forget(side, link)  # Asked to say HELLO again, nobody would answer (RES-3).
        else:
            assert self.pasts[side].rollbacks + self.pasts[other].rollbacks, "a false alarm"
            if not side.links[link]:
                side.output.frames.append((link, side.hello()))
            self._hold(side, link, hold.code, hold.reason)

    def _hold(self, side: Side, link: LinkId, code: ByeCode, reason: str) -> None:
        session = side.session
        assert session is not None
        self.alarms.append(code)
        self._end(side, link, code, reason)
        if code is ByeCode.DATA_LOSS:
            for other in list(session.links):
                self._end(side, other, code, reason)
        session.hold(code, reason)

    def _end(self, side: Side, link: LinkId, code: ByeCode, reason: str) -> None:
        side.output.frames.append((link, Bye(code, reason)))
        self._forget(side, link)

    # --- What must hold at any time -------------------------------------------------------------

    def check(self) -> None:
        """Assert that no contradiction passes in silence."""
        for side in self.sides:
            self.pasts[side].note(side.disk)
        for side in self.sides:
            mine, theirs = side.disk, self.pasts[self.other(side)]
            said = zip(mine.sent, mine.told, strict=False)
            for seq, (body, refusal) in enumerate(said, start=1):
                assert (seq, body, refusal) in theirs.processed
            if mine.memory.in_stream:
                assert mine.memory.cursor_digest in theirs.sent

    def _done(self) -> bool:
        if not super()._done():
            return False
        super().check()  # The two stores agree in everything.
        return True
