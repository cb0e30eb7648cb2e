"""A crash at every boundary of a turn, on either side: each effect is there once, or not yet.

What a handler writes, what it sends and the cursor are one commit; an ack leaves after it. Shown by
crashing before and after each call to the store and each frame, one run per boundary.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.node_world import LIMITS, Elsewhere, Letter, Side, World, world_of
from tests.real.parties import outcome_of
from zmqp2p.chain import SimulatedChain
from zmqp2p.errors import Expired
from zmqp2p.events import MessageUndelivered
from zmqp2p.ids import LinkId, MessageId
from zmqp2p.node.build import terms_of
from zmqp2p.node.deliveries import Delivery
from zmqp2p.node.receipts import Receipt
from zmqp2p.objectives.base import Status
from zmqp2p.persistence import PeerSnapshot, Write
from zmqp2p.policy import approve_all
from zmqp2p.store import MemoryStore
from zmqp2p.transport import MemoryTransport

LETTERS = 3
ANSWER = 1000


class Crash(BaseException):
    """The process is gone."""


class Wire:
    """Counts boundaries, and lets the process crash at one of them."""

    def __init__(self) -> None:
        self.count = self._at = 0

    def crash_at(self, boundary: int) -> None:
        """Crash at the boundary of this number from now on; 0: not at all."""
        self.count, self._at = 0, boundary

    def __call__(self) -> None:
        self.count += 1
        if self.count == self._at:
            raise Crash


class CrashingStore(MemoryStore):
    """A store that may crash before and after all it does."""

    wire = Wire()

    def apply(self, writes: Sequence[Write]) -> None:
        self.wire()
        super().apply(writes)
        self.wire()

    def commit(self) -> None:
        self.wire()
        super().commit()
        self.wire()

    def savepoint(self) -> None:
        self.wire()
        super().savepoint()


class CrashingTransport(MemoryTransport):
    """A transport that may crash before and after each frame."""

    wire = Wire()

    def send(self, link: LinkId, frames: Sequence[bytes]) -> bool:
        self.wire()
        sent = super().send(link, frames)
        self.wire()
        return sent


@contextmanager
def crashing(name: str) -> Iterator[tuple[World, Wire]]:
    """Return a world, and what makes the side called ``name`` crash."""
    wire = Wire()
    kind = type("Transport", (CrashingTransport,), {"wire": Wire()})
    with world_of(replace(LIMITS, turn_max_messages=2)) as world:
        side = world.alice if name == "alice" else world.bob
        side.end()
        side.store, side.transport_type = CrashingStore(), kind
        side.start()
        world.alice.loop.engine.add_contact(world.bob.loop.record)
        world.run()
        side.store.wire = kind.wire = wire  # type: ignore[attr-defined]
        yield world, wire


def answer(side: Side, to: Side) -> None:
    """Let ``side`` note each letter and answer it, in one transaction."""

    def handle(delivery: Delivery) -> None:
        number = delivery.message.number
        delivery.transaction.execute("INSERT INTO app_seen VALUES (?)", (number,))
        receipt = side.send(to, Letter(ANSWER + number))
        side.commands.remove(receipt)
        assert delivery.adopt(receipt)  # As `Node.send` does.

    side.store.transaction.execute("CREATE TABLE app_seen (number INTEGER)")
    side.handle(handle)


def note(side: Side) -> None:
    """Let ``side`` note each letter."""

    def handle(delivery: Delivery) -> None:
        number = delivery.message.number
        delivery.transaction.execute("INSERT INTO app_seen VALUES (?)", (number,))

    side.store.transaction.execute("CREATE TABLE app_seen (number INTEGER)")
    side.handle(handle)


def step(world: World, side: Side) -> bool:
    """Let all take a turn; True if ``side`` has crashed in it, and started again."""
    try:
        world.run(1)
    except Crash:
        acked_before_commit(world, side)
        side.restart()
        world.alice.loop.engine.add_contact(world.bob.loop.record)
        return True
    return False


def acked_before_commit(world: World, side: Side) -> None:
    """Assert that the peer of the crashed side was told no more than what was committed."""
    other = world.bob if side is world.alice else world.alice
    side.store.close()
    memory = side.store.open(side.address, 0).peers.get(other.address)
    session = other.loop.engine._connections.book.sessions[side.address]  # noqa: SLF001  # To compare.
    if memory is not None and memory.in_stream == session.outbox.stream:
        assert session.outbox.base - 1 <= memory.cursor


def seen(side: Side) -> list[int]:
    return [number for (number,) in side.rows("SELECT number FROM app_seen ORDER BY rowid")]


def run_through(name: str, at: int) -> bool:
    """Run the whole exchange with a crash of ``name`` at one boundary; False if there is none."""
    with crashing(name) as (world, wire):
        alice, bob = world.alice, world.bob
        side = alice if name == "alice" else bob
        note(alice)
        answer(bob, alice)
        world.run(2)  # The tables are there.
        wire.crash_at(at)
        sent: dict[int, Receipt] = {}
        ids: dict[int, MessageId] = {}
        crashed = step(world, side)
        for number in range(1, LETTERS + 1):
            sent[number] = alice.send(bob, Letter(number))
            crashed |= step(world, side)
            ids |= {key: each.message_id for key, each in sent.items() if each.stored}
        for _ in range(40):
            crashed |= step(world, side)
            ids |= {key: each.message_id for key, each in sent.items() if each.stored}
        handled = seen(bob)
        # A letter that was never stored was never sent; whoever sent it knows no id of it.
        assert handled == sorted(set(handled))
        assert set(ids) <= set(handled)
        assert {number for number, each in sent.items() if each.acked} <= set(handled)
        assert seen(alice) == [ANSWER + number for number in handled]
        assert all(alice.receipt(asked).acked for asked in ids.values())
        assert crashed or handled == list(range(1, LETTERS + 1))
        assert crashed == (wire.count >= at)
        return crashed


@pytest.mark.no_cover  # The same steps, for each boundary anew.
@pytest.mark.parametrize("name", ["alice", "bob"])
def test_whatever_boundary_a_crash_comes_at_each_effect_is_there_once(name: str) -> None:
    at = 1
    while run_through(name, at):
        at += 1
    assert at > 60  # Or the boundaries were not seen.


def test_a_receipt_ends_though_the_commit_that_forgets_its_message_does_not() -> None:
    """The peer has processed it; of the next run it is the same message, and is acked again."""
    with crashing("alice") as (world, wire):
        alice, bob = world.alice, world.bob
        note(bob)
        world.run(2)
        receipt = alice.send(bob, Letter(1))
        alice.turn()
        bob.turn()
        wire.crash_at(1)  # The turn's first call to the store.
        with pytest.raises(Crash):
            alice.turn()
        assert receipt.acked
        asked = receipt.message_id
        alice.restart()
        alice.loop.engine.add_contact(bob.loop.record)
        assert not alice.receipt(asked).ended
        world.run(40)
        assert alice.receipt(asked).acked
        assert seen(bob) == [1]


def test_what_a_receipt_has_said_holds_for_the_life_of_the_peer_that_said_it() -> None:
    """ADR-0013: after a crash before the commit, a peer with a new store has processed nothing."""
    with crashing("alice") as (world, wire):
        alice, bob = world.alice, world.bob
        bob.handle(lambda _: None)
        receipt = alice.send(bob, Letter(1), expires_in_s=5.0)
        alice.turn()
        bob.turn()
        wire.crash_at(1)
        with pytest.raises(Crash):
            alice.turn()
        assert receipt.acked
        alice.restart()
        bob.end()
        bob.store = MemoryStore()
        bob.start()
        world.now += 60.0
        alice.loop.engine.add_contact(bob.loop.record)
        world.run(60)
        assert isinstance(alice.receipt(receipt.message_id).error, Expired)
        assert len(alice.of_kind(MessageUndelivered)) == 1


def test_a_crash_while_a_dead_letter_is_handled_leaves_it_or_its_effects() -> None:
    """Never both, never neither."""
    outcomes, at = [], 1
    while (left := redrive_through(at)) is not None:
        outcomes.append(left)
        at += 1
    assert {True, False} == set(outcomes)


def redrive_through(at: int) -> bool | None:
    """Crash while a letter is handled again; return whether it is left, None without a crash."""
    with crashing("bob") as (world, wire):
        bob, fails = world.bob, [True]

        def handle(delivery: Delivery) -> None:
            delivery.transaction.execute("INSERT INTO app_seen VALUES (1)")
            if fails:
                raise ValueError

        bob.store.transaction.execute("CREATE TABLE app_seen (number INTEGER)")
        bob.handle(handle)
        world.alice.send(bob, Letter(1))
        world.run(40)
        (letter_id,) = bob.loop.engine.dead_letters.all()
        fails.clear()
        bob.later(lambda: bob.loop.handlers.redrive(letter_id, Future()))
        wire.crash_at(at)
        if not step(world, bob):
            return None
        left = len(bob.loop.engine.dead_letters.all())
        assert (left, seen(bob)) in [(1, []), (0, [1])]
        return left == 1


def test_a_handler_elsewhere_commits_all_it_collected_or_nothing() -> None:
    at = 1
    while late_through(at):
        at += 1
    assert at > 5


def late_through(at: int) -> bool:
    """Crash in the turn in which a handler ends that ran elsewhere; False without a crash."""
    with crashing("bob") as (world, wire):
        bob, elsewhere = world.bob, Elsewhere()
        bob.store.transaction.execute("CREATE TABLE app_seen (number INTEGER)")
        bob.handle(lambda _: None, elsewhere)
        receipt = world.alice.send(bob, Letter(1))
        world.run(4)
        ((delivery, done),) = elsewhere.handed
        for number in (1, 2):
            delivery.transaction.execute("INSERT INTO app_seen VALUES (?)", (number,))
        done(None)
        wire.crash_at(at)
        crashed = step(world, bob)
        wire.crash_at(0)
        assert seen(bob) in ([], [1, 2])
        world.run(20)
        assert receipt.acked == (seen(bob) == [1, 2])
        assert crashed or receipt.acked
        return crashed


def test_a_channels_state_its_answer_and_the_cursor_are_one_commit(tmp_path: Path) -> None:
    """After a crash at any boundary all three are there, or none; and then it goes on."""
    with closing(SimulatedChain(tmp_path / "chain.db")) as chain:
        stored, at = [], 1
        while (found := proposal_through(chain, at)) is not None:
            stored.append(found)
            at += 1
    assert {True, False} == set(stored)


def proposal_through(chain: SimulatedChain, at: int) -> bool | None:
    """Crash when a proposal comes; return whether it was stored then, None without a crash."""
    with crashing("bob") as (world, wire):
        alice, bob = world.alice, world.bob
        for side in (alice, bob):
            side.chain, side.policy = chain, approve_all
            side.restart()
        alice.loop.engine.add_contact(bob.loop.record)
        world.run()
        fixed = terms_of(alice.address, bob.address, channel_nonce=1)
        outcome = outcome_of((alice.address, 5), (bob.address, 6))

        def propose() -> None:
            alice.loop.engine.propose(fixed, outcome, b"")

        alice.later(propose)
        wire.crash_at(at)
        crashed = step(world, bob)
        wire.crash_at(0)
        stored = channel_is_stored(world) if crashed else False
        world.run(20)
        (objective,) = bob.loop.engine.channels.objectives.values()
        assert objective.status is Status.APPROVED
        assert bob.loop.engine.unacked() == alice.loop.engine.unacked() == 0
        return stored if crashed else None


def channel_is_stored(world: World) -> bool:
    """Return whether Bob's store has the channel; then the cursor and the answer are there too."""
    bob = world.bob
    bob.end()
    snapshot = bob.store.open(bob.address, 0)
    memory = snapshot.peers.get(world.alice.address, PeerSnapshot())
    bob.store.close()
    bob.start()
    world.alice.loop.engine.add_contact(bob.loop.record)
    stored = bool(snapshot.objectives)
    assert (memory.cursor == 1) == stored
    assert (len(memory.messages) + memory.acked == 1) == stored
    assert bool(snapshot.signed) == stored
    return stored
