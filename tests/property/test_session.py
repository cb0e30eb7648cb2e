"""Sessions under chance: both halves against plain lists, and two of them over a bad network."""

from collections import Counter
from contextlib import suppress
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.chance import seeded
from tests.frames import STREAM, chain, progress_of, refusal_of
from tests.sim_pair import PairWorld
from tests.sim_rollback import RollbackWorld
from zmqp2p import limits as bounds
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.errors import Contradiction, PeerError
from zmqp2p.ids import Seq, StreamDigest
from zmqp2p.limits import Limits
from zmqp2p.session.inbox import Accepted, Inbox
from zmqp2p.session.outbox import Outbox
from zmqp2p.session.room import InboxRoom

SEEDS = 300
ROLLBACK_SEEDS = 200
KIB = bounds.KIB

sizes = st.sampled_from([0, 1, 100, 16 * KIB, 32 * KIB - 1, 32 * KIB, 40 * KIB])
windows = st.tuples(st.sampled_from([0, 1, 3, 300]), st.sampled_from([0, 50, 40 * KIB, 200 * KIB]))


# --- The outbox against a list ------------------------------------------------------------------


class OutboxModel(RuleBasedStateMachine):
    """An outbox beside lists and numbers that say, as simply as can be, what it should do."""

    @initialize(acked=st.integers(0, 3), stored=st.integers(0, 3))
    def load(self, acked: int, stored: int) -> None:
        """Begin with what an earlier run left."""
        self.bodies = [b""] * acked + [b"stored"] * stored  # Message n is bodies[n - 1].
        self.digests = [chain(STREAM)]
        limits = Limits(rto_max_s=8.0)
        before = (Seq(acked), self.digest_at(acked))
        self.outbox = Outbox(STREAM, before, self.bodies[acked:], limits, seeded(1))
        self.now = 0.0
        self.acked = self.received = self.left = acked
        self.ever = len(self.bodies)
        self.window = (0, 0)
        self.probing = False
        self.went_back_to = 0

    def digest_at(self, seq: int) -> StreamDigest:
        """Return the digest after message ``seq``."""
        for body in self.bodies[len(self.digests) - 1 :]:
            self.digests.append(chain(self.digests[-1], body))
        return self.digests[seq]

    @rule(size=sizes, times=st.sampled_from([1, 1, 1, 300]))
    def append(self, size: int, times: int) -> None:
        """Send one message, or many small ones."""
        body = bytes(size if times == 1 else 1)
        for _ in range(times):
            self.bodies.append(body)
            assert self.outbox.append(body) == len(self.bodies)

    @rule()
    def take(self) -> None:
        """Let all leave that may, and compare each batch."""
        while (expected := self._expected_batch()) is not None:
            _, _, batch = expected
            assert self.outbox.take_batch(self.now) == expected
            self.left += len(batch)
            self.ever = max(self.ever, self.left)
        assert self.outbox.take_batch(self.now) is None

    def _expected_batch(self) -> tuple[int, StreamDigest, list[bytes]] | None:
        if self.probing and self.left > self.received:
            return None
        messages, size_bytes = self.window
        end = min(len(self.bodies), self.received + messages)
        room_bytes = size_bytes - sum(map(len, self.bodies[self.received : self.left]))
        batch: list[bytes] = []
        for body in self.bodies[self.left : end]:
            both = sum(map(len, batch)) + len(body)
            bulk = max(map(len, [*batch, body])) >= bounds.BULK_MIN_BYTES
            if both > room_bytes or (batch and (bulk or both > bounds.BATCH_MAX_BYTES)):
                break
            if len(batch) == bounds.BATCH_MAX_MESSAGES:
                break
            batch.append(body)
        last = self.left + len(batch)
        return (self.left + 1, self.digest_at(last), batch) if batch else None

    @rule(data=st.data(), window=windows)
    def hear(self, data: st.DataObject, window: tuple[int, int]) -> None:
        """Take in progress, new or stale."""
        received = data.draw(st.integers(0, self.ever))
        ack = data.draw(st.integers(0, received))
        refused = data.draw(st.sets(st.integers(1, ack), max_size=2)) if ack else set()
        refusals = tuple(refusal_of(seq) for seq in sorted(refused))
        progress = progress_of(
            ack=ack,
            received=received,
            window=window,
            refusals=refusals,
            digest=self.digest_at(ack),
        )
        processed = self.outbox.acknowledge(progress, self.now)
        if received >= self.received:
            self.window = window
        if received > self.received:
            self.received, self.probing = received, False
            self.left = max(self.left, received)
        elif received == self.received < self.left:
            size = len(self.bodies[received])
            if window[0] < 1 or size > window[1]:
                self.left = received  # Turned away: not under way any more (WIN-3).
        if ack <= self.acked:
            assert processed is None
            return
        assert processed is not None
        assert (processed.first, processed.last) == (self.acked + 1, ack)
        assert processed.size_bytes == sum(map(len, self.bodies[self.acked : ack]))
        news = {seq for seq in refused if seq > self.acked}
        assert processed.refused == {s: (refusal_of(s), self.bodies[s - 1]) for s in news}
        self.acked = ack

    @rule(beyond=st.integers(1, 3))
    def hear_nonsense(self, beyond: int) -> None:
        """ACK-1: what was never sent cannot have been received."""
        with pytest.raises(PeerError, match="ACK-1"):
            self.outbox.acknowledge(progress_of(received=self.ever + beyond), self.now)

    @rule(data=st.data())
    def hear_of_others(self, data: st.DataObject) -> None:
        """RES-11: other messages were processed than were sent, and nothing comes of it."""
        ack = data.draw(st.integers(0, self.ever))
        other = progress_of(ack=ack, received=self.ever, digest=chain(b"another"))
        if ack < self.acked:  # Too long ago to compare.
            return
        with pytest.raises(Contradiction):
            self.outbox.acknowledge(other, self.now)

    @rule(data=st.data(), window=windows)
    def resume(self, data: st.DataObject, window: tuple[int, int]) -> None:
        """Begin a link."""
        cursor = data.draw(st.integers(max(self.acked - 1, 0), self.received))
        self.outbox.resume(Seq(cursor), *window)
        self.left = self.received = max(cursor, self.acked)
        self.window, self.probing, self.went_back_to = window, False, 0

    @rule()
    def pause(self) -> None:
        """Lose the link."""
        self.outbox.pause()
        self.left = self.received

    @rule()
    def go_back(self) -> None:
        """Hear of a gap (GAP-1)."""
        self.outbox.go_back()
        if self.left > self.received and self.went_back_to != self.received + 1:
            self.went_back_to, self.left = self.received + 1, self.received

    @rule(later_s=st.sampled_from([0.01, 0.3, 2.0, 20.0]))
    def wait(self, later_s: float) -> None:
        """Let the timer run."""
        self.now += later_s
        deadline = self.outbox.deadline
        late = deadline is not None and self.now >= deadline
        in_flight = self.left - self.received
        assert self.outbox.tick(self.now) == (in_flight if late else 0)
        if late:
            self.left, self.probing = self.received, True

    @invariant()
    def agrees(self) -> None:
        """What it holds is what the list says."""
        self.outbox.check()
        assert (self.outbox.base, self.outbox.next) == (self.acked + 1, len(self.bodies) + 1)
        assert self.outbox.size_bytes == sum(map(len, self.bodies[self.acked :]))
        assert (self.outbox.deadline is not None) == (self.left > self.received)
        if self.outbox.deadline is not None:
            assert self.outbox.deadline <= self.now + 8.0


# --- The inbox against a list -------------------------------------------------------------------


def body_of(seq: int) -> bytes:
    """Return what message ``seq`` says: some of it large, all of it distinct."""
    return b"%d," % seq * (1 + seq % 4)


def digest_after(seq: int) -> StreamDigest:
    """Return the digest of the stream after message ``seq``."""
    return chain(STREAM, *map(body_of, range(1, seq + 1)))


class InboxModel(RuleBasedStateMachine):
    """An inbox beside three numbers and a list of refusals."""

    @initialize(cursor=st.integers(0, 3))
    def load(self, cursor: int) -> None:
        """Begin with what an earlier run left."""
        limits = Limits(inbox_max_messages=6, inbox_max_bytes=40)
        self.inbox = Inbox(STREAM, (Seq(cursor), digest_after(cursor)), [], limits, InboxRoom(1000))
        self.cursor = self.taken = self.received = cursor
        self.refused: list[int] = []

    @rule(data=st.data(), count=st.integers(1, 5))
    def accept(self, data: st.DataObject, count: int) -> None:
        """Take in a batch from around where it stands."""
        seq = data.draw(st.integers(max(1, self.received - 4), self.received + 3))
        batch = tuple(body_of(number) for number in range(seq, seq + count))
        last = seq + count - 1
        digest = digest_after(last)
        held = sum(len(body_of(number)) for number in range(self.cursor + 1, last + 1))
        if seq > self.received + 1:
            if held > 40:
                with suppress(PeerError):  # WIN-1: it may be noticed, by what comes so early.
                    self.inbox.accept(Seq(seq), batch, digest)
            else:
                assert self.inbox.accept(Seq(seq), batch, digest) is Accepted.GAP
            return
        if last <= self.received:
            assert self.inbox.accept(Seq(seq), batch, digest) is Accepted.KNOWN
            return
        if last - self.cursor > 6 or held > 40:
            with pytest.raises(PeerError, match="WIN-1"):
                self.inbox.accept(Seq(seq), batch, digest)
            return
        with pytest.raises(Contradiction):
            self.inbox.accept(Seq(seq), batch, chain(b"another"))
        assert self.inbox.accept(Seq(seq), batch, digest) is Accepted.NEW
        self.received = last

    @precondition(lambda self: self.taken == self.cursor)
    @rule()
    def take(self) -> None:
        """Hand out the next one, if there is one."""
        ready = self.received > self.taken and len(self.refused) < bounds.REFUSALS_MAX
        assert self.inbox.ready() == ready
        if ready:
            self.taken += 1
            assert self.inbox.take() == (self.taken, body_of(self.taken))
            assert not self.inbox.ready()

    @precondition(lambda self: self.taken > self.cursor)
    @rule(how=st.sampled_from(["done", "refuse", "put_back"]))
    def end(self, how: str) -> None:
        """The message in progress ends, one way or another."""
        match how:
            case "done":
                assert self.inbox.done() == self.taken
                self.cursor = self.taken
            case "refuse":
                refusal = self.inbox.refuse(RefusalCode.PAYLOAD_INVALID, "no")
                assert refusal == refusal_of(self.taken)
                self.refused.append(self.taken)
                self.cursor = self.taken
            case _:
                self.inbox.put_back()
                self.taken = self.cursor

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """The peer has heard refusals (REF-4)."""
        through = data.draw(st.integers(0, self.cursor + 1))
        heard = any(seq <= through for seq in self.refused)
        assert self.inbox.forget_refusals(Seq(through)) == heard
        self.refused = [seq for seq in self.refused if seq > through]

    @invariant()
    def agrees(self) -> None:
        """What it holds is what the numbers say."""
        self.inbox.check()
        assert (self.inbox.cursor, self.inbox.received) == (self.cursor, self.received)
        assert self.inbox.digest == digest_after(self.cursor)
        assert [refusal.seq for refusal in self.inbox.refusals] == self.refused
        held = sum(len(body_of(number)) for number in range(self.cursor + 1, self.received + 1))
        assert self.inbox.window() == (6 - (self.received - self.cursor), 40 - held)


OutboxModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
InboxModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOutboxModel = cast("type", OutboxModel.TestCase)
TestInboxModel = cast("type", InboxModel.TestCase)


# --- Two sessions -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_sent_is_processed_once_and_in_order(seed: int) -> None:
    """Safety at every step, inside the world; liveness within a budget, once faults stop.

    ACK-3, REF-2, RES-1, RES-8, SEQ-2, SEQ-3: each is one of the laws that the world asserts.
    """
    world = PairWorld(seed, messages=80)
    world.run(200)
    world.settle(600)
    for side in world.sides:
        told = [code is not None for code in side.disk.told]
        assert told == [body.startswith(b"no") for body in side.disk.sent]
        assert len(told) == 80
        assert side.disk.memory.messages == []


def test_the_worlds_are_as_bad_as_they_are_meant_to_be() -> None:
    """Without crashes, refusals, resends and large messages the laws would hold of themselves."""
    runs = resent = refused = large = 0
    for seed in range(40):
        world = PairWorld(seed, messages=80)
        world.run(200)
        for side in world.sides:
            runs += side.disk.incarnation
            resent += side.session.resent if side.session is not None else 0
            refused += len(side.disk.refused)
            large += sum(len(body) >= bounds.BULK_MIN_BYTES for body in side.disk.processed)
    assert runs > 200
    assert min(resent, refused, large) > 100


# --- Two sessions, of which stores are put back -------------------------------------------------


@pytest.mark.parametrize("seed", range(ROLLBACK_SEEDS))
def test_no_rollback_passes_in_silence(seed: int) -> None:
    """RES-3 to RES-7, RES-10, RES-11: each world asserts it at every step, and in the end."""
    world = RollbackWorld(seed, messages=80)
    world.run(200)
    world.finish(400)


def test_rollbacks_are_of_every_kind() -> None:
    """Some matter and some do not; without both, the law above would say little."""
    done: list[bool] = []
    alarms: Counter[ByeCode] = Counter()
    for seed in range(60):
        world = RollbackWorld(seed, messages=80)
        world.run(200)
        rollbacks = sum(past.rollbacks for past in world.pasts.values())
        done += [world.finish(400)] * bool(rollbacks)
        alarms.update(world.alarms)
    assert min(done.count(True), done.count(False)) > 5
    losses = (ByeCode.DATA_LOSS, ByeCode.STORE_ROLLED_BACK, ByeCode.DUPLICATE_INSTANCE)
    assert min(alarms[code] for code in losses) > 5
