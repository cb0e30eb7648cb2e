"""A receipt's callbacks may do anything: they are called when the turn is over, once, in order."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.node_world import Letter, Side, World, world_of
from zmqp2p.engine.engine import Engine
from zmqp2p.events import ChainFailed, PeerConnected
from zmqp2p.ids import Address
from zmqp2p.node.deliveries import Delivery
from zmqp2p.node.loop import Call
from zmqp2p.node.receipts import Receipt
from zmqp2p.persistence import Write
from zmqp2p.store import MemoryStore
from zmqp2p.store.sqlite import SqliteStore


class Broken(BaseException):
    """What ends a node."""


class Store(MemoryStore):
    """A store whose commits fail if the test says so, and which tells what is done."""

    fails = False

    def __init__(self, told: list[object]) -> None:
        super().__init__()
        self._told = told

    def apply(self, writes: Sequence[Write]) -> None:
        super().apply(writes)
        self._told.append("apply")

    def commit(self) -> None:
        if self.fails:
            raise Broken
        super().commit()
        self._told.append("commit")


def ack_comes(world: World, *callbacks: Callable[[Receipt], None]) -> Receipt:
    """Send Bob a letter whose receipt ends in Alice's next turn; return it."""
    receipt = world.alice.send(world.bob, Letter(1))
    for callback in callbacks:
        receipt.add_done_callback(callback)
    world.alice.turn()
    world.bob.turn()
    assert not receipt.ended
    return receipt


def forget(engine: Engine, peer: Address) -> None:
    engine.forget_peer(peer)


def ban(engine: Engine, peer: Address) -> None:
    engine.ban(peer, 1_000.0, "no more")


@pytest.mark.parametrize("drop", [forget, ban])
def test_a_peer_that_is_dialed_in_the_same_turn_can_be_forgotten_or_banned(
    drop: Callable[[Engine, Address], None],
) -> None:
    with world_of(others=("bob", "carol")) as world:
        alice, (bob, carol) = world.alice, world.others
        bob.handle(lambda _: None)
        engine, dialed = alice.loop.engine, []
        engine.forget_peer(carol.address)
        world.run()
        alice.events.clear()
        carol.events.clear()
        dial = alice.transport.dial

        def dialing(*whom: object) -> object:
            dialed.append(whom)
            return dial(*whom)  # type: ignore[arg-type]

        alice.transport.dial = dialing  # type: ignore[method-assign, assignment]
        ack_comes(world, lambda _: drop(engine, carol.address))
        alice.later(lambda: engine.add_contact(carol.loop.record))
        alice.turn()
        assert len(dialed) == 1  # It was asked for before the callback.
        world.run()
        assert len(dialed) == 1
        assert not alice.of_kind(PeerConnected)
        assert not carol.of_kind(PeerConnected)


def write(side: Side, number: int) -> None:
    side.store.transaction.execute("INSERT INTO app_seen VALUES (?)", (number,))


def test_what_a_callback_writes_elsewhere_does_not_wait_for_the_nodes_transaction(
    tmp_path: Path,
) -> None:
    file = tmp_path / "alice.db"
    with world_of() as world:
        alice = world.alice
        alice.end()
        alice.store = SqliteStore(file)  # type: ignore[assignment]
        alice.start()
        alice.loop.engine.add_contact(world.bob.loop.record)
        alice.store.transaction.execute("CREATE TABLE app_seen (number INTEGER)")
        world.run()
        world.bob.handle(lambda _: None)
        with closing(sqlite3.connect(file, timeout=0.0, isolation_level=None)) as own:

            def ended(_receipt: Receipt) -> None:
                own.execute("INSERT INTO app_seen VALUES (7)")

            receipt = ack_comes(world, ended)
            alice.later(lambda: write(alice, 6))  # What a handler does.
            alice.turn()
        assert receipt.acked
        assert alice.rows("SELECT number FROM app_seen") == [(6,), (7,)]


@contextmanager
def told_in_order() -> Iterator[tuple[World, Store, list[object]]]:
    """Return a world in which Alice's store, calls, events and callbacks tell of themselves."""
    told: list[object] = []
    with world_of() as world:
        alice = world.alice
        alice.end()
        alice.store = store = Store(told)
        alice.start()
        alice.loop.engine.add_contact(world.bob.loop.record)
        world.run()
        world.bob.handle(lambda _: None)
        yield world, store, told


def note_call(alice: Side, told: list[object]) -> None:
    """Ask something in the next turn; its answer is noted."""
    call = Call(lambda _engine: None)
    call.future.add_done_callback(lambda _: told.append("call"))
    alice.commands.append(call)


def test_callbacks_come_after_commit_and_answers_and_before_events() -> None:
    with told_in_order() as (world, _, told):
        alice = world.alice
        receipt = ack_comes(world, lambda _: told.append("first"), lambda _: told.append("second"))
        note_call(alice, told)
        alice.loop.event_handlers.append(lambda _: told.append("event"))
        alice.later(lambda: alice.loop.emit(ChainFailed(None, "")))
        told.clear()
        later = alice.send(world.bob, Letter(2))
        receipt.add_done_callback(lambda _: told.append(later.stored))
        alice.turn()
        assert told == ["apply", "commit", "call", "first", "second", True, "event"]
        world.run()
        assert told.count("first") == told.count("second") == 1


def test_callbacks_that_are_left_when_a_commit_fails_are_called_when_the_node_ends() -> None:
    """Once, as acked, and before those of what is cancelled."""
    with told_in_order() as (world, store, told):
        alice = world.alice
        acked = ack_comes(world, lambda receipt: told.append(("acked", receipt.acked)))
        other = alice.send(world.bob, Letter(2))
        other.add_done_callback(lambda receipt: told.append(("other", receipt.acked)))
        store.fails = True
        told.clear()
        with pytest.raises(Broken):
            alice.turn()
        assert (acked.acked, told) == (True, ["apply"])
        alice.loop.end_waiting()
        assert told == ["apply", ("acked", True), ("other", False)]


def test_a_callback_that_ends_the_node_keeps_no_other_from_being_called() -> None:
    with told_in_order() as (world, _, told):

        def fail(_receipt: Receipt) -> None:
            told.append("fails")
            raise Broken

        ack_comes(world, fail, lambda _: told.append("second"))
        told.clear()
        with pytest.raises(Broken):
            world.alice.turn()
        assert told == ["apply", "commit", "fails"]
        world.alice.loop.end_waiting()
        assert told == ["apply", "commit", "fails", "second"]


def test_whoever_waits_is_woken_before_the_commit() -> None:
    with told_in_order() as (world, _, told):
        receipt = ack_comes(world)
        condition, told[:] = receipt._room.condition, []  # noqa: SLF001  # Where threads wait.
        notify_all = condition.notify_all

        def notify() -> None:
            told.append(("woken", receipt.acked))
            notify_all()

        condition.notify_all = notify  # type: ignore[method-assign]
        world.alice.turn()
        assert told == [("woken", True), "apply", "commit"]


def test_callbacks_of_what_is_not_sent_come_after_the_commit_too() -> None:
    """Of a handler that failed, whose turn has the store's transaction open; of an unknown peer."""
    with told_in_order() as (world, _, told):
        alice, bob = world.alice, world.bob

        def fails(delivery: Delivery) -> None:
            sent = alice.send(bob, Letter(9))
            assert delivery.adopt(alice.commands.pop())  # type: ignore[arg-type]  # It is that.
            sent.add_done_callback(lambda receipt: told.append(receipt.ended))
            raise ValueError

        alice.handle(fails)
        bob.send(alice, Letter(1))
        bob.turn()
        told.clear()
        alice.turn()
        assert told == ["apply", "commit", True]
        told.clear()
        stranger = Receipt(alice.loop.desk.room, Address(bytes(20)), b"")
        alice.loop.desk.gate.enter(stranger.peer, 0, 0)
        stranger.add_done_callback(lambda receipt: told.append(receipt.ended))
        alice.commands.append(stranger)
        alice.turn()
        assert told == ["apply", "commit", True]


def test_who_cannot_send_while_events_are_told_hears_so_in_a_turn_that_comes_at_once() -> None:
    with told_in_order() as (world, _, told):
        alice = world.alice
        desk, engine = alice.loop.desk, alice.loop.engine

        def send(_event: object) -> None:
            stranger = Receipt(desk.room, Address(bytes(20)), b"")
            desk.gate.enter(stranger.peer, 0, 0)
            stranger.add_done_callback(lambda receipt: told.append(receipt.ended))
            desk.send(engine, stranger)

        world.run()
        alice.loop.event_handlers.append(send)
        alice.later(lambda: alice.loop.emit(ChainFailed(None, "")))
        told.clear()
        alice.turn()
        assert told == ["apply", "commit"]
        assert alice.loop.patience_s() == 0.0
        alice.loop.event_handlers.clear()
        told.clear()
        alice.turn()
        assert told == ["apply", "commit", True]
        assert alice.loop.patience_s() != 0.0
