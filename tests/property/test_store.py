"""Any writes, in any turns, with restarts anywhere: a store finds what a plain dict would."""

import copy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.memory import OutcomeWrite, forget_outcomes, remember, remember_outcome
from zmqp2p.ids import (
    Address,
    ChannelId,
    InstanceId,
    MessageId,
    Seq,
    StateHash,
    StreamDigest,
    StreamId,
    TurnNum,
)
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
    FailedMessage,
    Held,
    PastStream,
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
from zmqp2p.store import MemoryStore, SqliteStore, Store

OWNER = Address(b"o" * 20)
NOW_MS = 1_000

peers = st.sampled_from([Address(bytes([number]) * 20) for number in range(3)])
channels = st.sampled_from([ChannelId(bytes([number]) * 32) for number in range(3)])
streams = st.sampled_from([StreamId(bytes([number]) * 16) for number in range(3)])
digests = st.binary(min_size=16, max_size=16).map(StreamDigest)
numbers = st.integers(1, 6).map(Seq)
turns = st.integers(0, 3).map(TurnNum)
hashes = st.sampled_from([StateHash(bytes([number]) * 32) for number in range(2)])
counters = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
message_ids = st.sampled_from([MessageId(bytes([number]) * 32) for number in range(3)])


def letters_of(message_id: MessageId, attempts: int, error: str) -> PutDeadLetter:
    """Return a dead letter; one id has one message, whatever becomes of it."""
    number = message_id[0]
    sender, stream = Address(bytes([number]) * 20), StreamId(bytes([number]) * 16)
    letter = FailedMessage(sender, stream, Seq(number + 1), b"body", attempts, error, attempts)
    return PutDeadLetter(message_id, letter)


writes = st.one_of(
    st.builds(PutContact, peers, texts, st.booleans()),
    st.builds(PutOutStream, peers, streams),
    # Weighted, so that runs of them and gaps in them come up.
    *[st.builds(PutMessage, peers, numbers, st.binary(max_size=5))] * 4,
    st.builds(DropMessages, peers, numbers, digests),
    st.builds(PutCursor, peers, streams, counters.map(Seq), digests, counters.map(Seq)),
    st.builds(PutRefusal, peers, numbers, st.integers(1, 9), texts),
    st.builds(DropRefusals, peers, numbers),
    st.builds(PutPeerRun, peers, counters, st.binary(min_size=8, max_size=8).map(InstanceId)),
    st.builds(PutHold, peers, st.builds(Held, st.integers(1, 14), texts, *[counters] * 3, digests)),
    st.builds(DropHold, peers),
    st.builds(DropPeer, peers),
    st.builds(PutObjective, channels, st.binary(max_size=5)),
    st.builds(DropObjective, channels),
    st.builds(PutSigned, channels, turns, hashes),
    *[st.builds(PutUndelivered, streams, numbers, st.integers(1, 9), texts)] * 2,
    st.builds(DropUndelivered, streams, numbers),
    st.builds(PutPastStream, streams, st.builds(PastStream, peers, numbers, numbers)),
    st.builds(DropPastStream, streams),
    *[st.builds(letters_of, message_ids, st.integers(1, 9), texts)] * 2,
    st.builds(DropDeadLetter, message_ids),
    st.builds(PutChainCursor, counters),
    st.builds(PutIssued, numbers),
    st.builds(DropIssued, numbers),
    st.builds(PutHandOver, peers, peers),
    st.builds(DropHandOver, peers),
    st.builds(PutIncarnation, st.integers(0, 2**40)),
)


class Model:
    """What a store should remember, in plain dicts."""

    def __init__(self) -> None:
        self.node: dict[str, Any] = {"incarnation": NOW_MS, "chain_cursor": 0}
        self.peers: dict[Address, PeerSnapshot] = {}
        self.outboxes: dict[Address, dict[Seq, bytes]] = {}
        self.refusals: dict[Address, dict[Seq, tuple[int, str]]] = {}
        self.objectives: dict[ChannelId, bytes] = {}
        self.signed: dict[ChannelId, Signed] = {}
        self.outcomes = Snapshot(0)  # What became of messages, and what is kept as it comes.
        self.notes: list[int] = []  # The application's table.

    def refuses(self, write: Write) -> bool:
        """Return True for a message number that is taken, or a turn that is signed or passed."""
        if isinstance(write, PutSigned):
            row, known = Signed(write.turn_num, write.state_hash), self.signed.get(write.channel)
            return known is not None and row != known and row.turn_num <= known.turn_num
        if isinstance(write, PutUndelivered):
            return (write.stream, write.seq) in {row[:2] for row in self.outcomes.undelivered}
        if isinstance(write, PutPastStream):
            return write.stream in self.outcomes.past_streams
        return isinstance(write, PutMessage) and write.seq in self.outboxes.get(write.peer, {})

    def apply(self, write: Write) -> None:
        """Take in a write that is not refused."""
        if isinstance(write, OutcomeWrite):
            self._apply_outcome(write)
            return
        if isinstance(write, PutIssued | DropIssued | PutHandOver | DropHandOver):
            remember(self.outcomes, [write])
            return
        match write:
            case PutChainCursor(block):
                self.node["chain_cursor"] = block
            case PutIncarnation(incarnation):
                self.node["incarnation"] = incarnation
            case PutObjective() | DropObjective() | PutSigned():
                self._apply_to_channel(write)
            case DropPeer(peer):
                gone = self.peers.pop(peer, PeerSnapshot())
                self.outboxes.pop(peer, None)
                self.refusals.pop(peer, None)
                forget_outcomes(self.outcomes, peer, gone.out_stream)
            case _:
                self._know(write.peer)
                self._apply_to_outbox(write, self.outboxes[write.peer])
                self._apply_to_peer(write)

    def _apply_to_channel(self, write: PutObjective | DropObjective | PutSigned) -> None:
        match write:
            case PutObjective(channel, data):
                self.objectives[channel] = data
            case DropObjective(channel):
                self.objectives.pop(channel, None)
            case PutSigned(channel, turn_num, state_hash):
                self.signed[channel] = Signed(turn_num, state_hash)

    def _apply_outcome(self, write: OutcomeWrite) -> None:
        remember_outcome(self.outcomes, write)
        if isinstance(write, PutPastStream):
            self._know(write.past.peer)
        elif isinstance(write, PutDeadLetter):
            self._know(write.failed.sender)

    def _know(self, peer: Address) -> None:
        self.peers.setdefault(peer, PeerSnapshot())
        self.outboxes.setdefault(peer, {})

    def _apply_to_outbox(self, write: Write, outbox: dict[Seq, bytes]) -> None:
        match write:
            case PutOutStream(peer, stream):
                self._change(peer, out_stream=stream, acked=Seq(0), acked_digest=b"")
                outbox.clear()
            case PutMessage(_, seq, body):
                outbox[seq] = body
            case DropMessages(peer, through, digest):
                self._change(peer, acked=through, acked_digest=digest)
                for seq in [seq for seq in outbox if seq <= through]:
                    del outbox[seq]

    def _apply_to_peer(self, write: Write) -> None:
        match write:
            case PutContact(peer, contact, dial):
                self._change(peer, contact=contact, dial=dial)
            case PutCursor(peer, stream, cursor, digest, base):
                self._change(
                    peer, in_stream=stream, cursor=cursor, cursor_digest=digest, in_base=base
                )
            case PutHold(peer, held):
                self._change(peer, held=held)
            case DropHold(peer):
                self._change(peer, held=None)
            case PutPeerRun(peer, incarnation, instance):
                self._change(peer, incarnation=incarnation, instance=instance)
            case PutRefusal(peer, seq, code, reason):
                self.refusals.setdefault(peer, {})[seq] = (code, reason)
            case DropRefusals(peer, through):
                kept = self.refusals.get(peer, {}).items()
                self.refusals[peer] = {seq: what for seq, what in kept if seq > through}

    def _change(self, peer: Address, **changes: object) -> None:
        self.peers[peer] = replace(self.peers[peer], **changes)  # type: ignore[arg-type]

    def opened(self) -> Snapshot:
        """Return what a store should find that is opened once more, which counts."""
        self.node["incarnation"] += 1
        return self._snapshot()

    def _snapshot(self) -> Snapshot:
        found = {}
        for peer, known in self.peers.items():
            refused = sorted(self.refusals.get(peer, {}).items())
            found[peer] = replace(
                known,
                messages=sorted(self.outboxes[peer].items()),
                refusals=[(seq, code, reason) for seq, (code, reason) in refused],
            )
        return replace(
            copy.deepcopy(self.outcomes),
            **self.node,
            peers=found,
            objectives=dict(self.objectives),
            signed=dict(self.signed),
        )


class StoreMachine(RuleBasedStateMachine):
    """A store beside three models: as committed, as marked by the savepoint, as it is now."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.store = self.make_store()
        self.now = Model()
        self.committed = Model()
        self.marked: Model | None = None

    def make_store(self) -> Store:
        """Return the store to test, never opened."""
        return SqliteStore(Path(self.folder.name) / "node.db")

    @initialize()
    def begin(self) -> None:
        """Open the new store; make the application's table."""
        assert self.store.open(OWNER, NOW_MS) == Snapshot(NOW_MS)
        self.store.transaction.execute("CREATE TABLE app_notes (number INTEGER)")
        self.store.commit()

    @rule(turn=st.lists(writes, max_size=12))
    def apply(self, turn: list[Write]) -> None:
        """Write without committing."""
        accepted = []
        for write in turn:
            if not self.now.refuses(write):
                self.now.apply(write)
                accepted.append(write)
        self.store.apply(accepted)

    @rule(number=st.integers(0, 9))
    def note(self, number: int) -> None:
        """Let the application write to its table."""
        self.store.transaction.execute("INSERT INTO app_notes VALUES (?)", (number,))
        self.now.notes.append(number)

    @rule()
    def commit(self) -> None:
        """Make all of it durable."""
        self.store.commit()
        self.committed = copy.deepcopy(self.now)
        self.marked = None

    @rule()
    def rollback(self) -> None:
        """Go back to the last commit."""
        self.store.rollback()
        self.now = copy.deepcopy(self.committed)
        self.marked = None

    @rule()
    def mark(self) -> None:
        """Set the savepoint."""
        self.store.savepoint()
        self.marked = copy.deepcopy(self.now)

    @rule()
    def rollback_to_mark(self) -> None:
        """Go back to the savepoint, if there is one."""
        if self.marked is not None:
            self.store.rollback_to_savepoint()
            self.now = copy.deepcopy(self.marked)

    @rule()
    def reopen(self) -> None:
        """Restart: only what was committed is there, in the next incarnation."""
        self.store.close()
        assert self.store.open(OWNER, 0) == self.committed.opened()
        self.now = copy.deepcopy(self.committed)
        self.marked = None

    @invariant()
    def the_application_sees_its_own_writes(self) -> None:
        """Also those not yet committed."""
        rows = self.store.transaction.execute("SELECT number FROM app_notes ORDER BY rowid")
        assert [number for (number,) in rows] == self.now.notes

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.store.close()
        self.folder.cleanup()


class MemoryMachine(StoreMachine):
    """The same in memory."""

    def make_store(self) -> Store:
        """Return the store to test, never opened."""
        self.memory = MemoryStore()
        return self.memory

    @invariant()
    def what_is_held_outside_of_sql_is_sound(self) -> None:
        """Of which the rest shows only at the next opening."""
        self.memory.check()


TestSqliteStore = StoreMachine.TestCase
TestSqliteStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestMemoryStore = MemoryMachine.TestCase
TestMemoryStore.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
