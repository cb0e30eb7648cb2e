"""The gate counts what the outboxes hold, and holds the application up when that is too much."""

import threading
from collections.abc import Callable, Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.node_world import LIMITS, Letter, Side, World, world_of
from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.errors import Backpressure, DeliveryTimeout, RefuseMessage, ServiceClosed, TooLarge
from zmqp2p.ids import Address, ChannelId, TurnNum
from zmqp2p.limits import BODY_MAX_BYTES, MIB, Limits
from zmqp2p.messages import RejectProposal, encode_message
from zmqp2p.node.deliveries import Delivery
from zmqp2p.node.gate import OutboxGate
from zmqp2p.session.parts import space_of, split

ALICE, BOB, CAROL = (Address(bytes([number]) * 20) for number in (1, 2, 3))
PATIENCE_S = 10.0


def gate_of(
    messages: int = 2, guests: Container[Address] = (ALICE, BOB), **limits: int
) -> OutboxGate:
    """Return a gate with room for so many messages of ``MIB`` bytes in all to each peer."""
    bounds = Limits(outbox_max_messages=messages, outbox_max_bytes=MIB, **limits)
    return OutboxGate(bounds, lambda peer: peer in guests)


def in_thread(work: Callable[[], object]) -> "Future[object]":
    """Run ``work`` on a thread of its own, and return when it has begun."""
    begun = threading.Event()
    executor = ThreadPoolExecutor(1)

    def run() -> object:
        begun.set()
        return work()

    future = executor.submit(run)
    executor.shutdown(wait=False)
    assert begun.wait(PATIENCE_S)
    return future


def test_there_is_room_for_so_many_messages_to_each_peer() -> None:
    gate = gate_of(messages=2)
    for peer in (ALICE, ALICE, BOB, BOB):
        gate.enter(peer, 1, 0)
    with pytest.raises(Backpressure, match="0x" + "01" * 20):
        gate.enter(ALICE, 1, 0)
    gate.leave(ALICE, 1, 1)
    gate.enter(ALICE, 1, 0)
    with pytest.raises(Backpressure):
        gate.enter(BOB, 1, 0)
    gate.check()


def test_there_is_room_for_so_many_bytes_to_each_peer() -> None:
    gate = gate_of(messages=100)
    gate.enter(ALICE, 60, 0)
    gate.load(ALICE, 10, MIB - 200_060)
    gate.enter(ALICE, 200_000, 0)
    with pytest.raises(Backpressure):
        gate.enter(ALICE, 1, 0)
    gate.leave(ALICE, 1, 60)
    gate.enter(ALICE, 60, 0)
    with pytest.raises(Backpressure):
        gate.enter(ALICE, 1, 0)
    gate.check()


def test_there_is_room_for_so_many_messages_to_all_peers_together() -> None:
    gate = gate_of(messages=2, outbox_total_max_messages=3)
    for peer in (ALICE, BOB, BOB):
        gate.enter(peer, 1, 0)
    with pytest.raises(Backpressure, match="all peers together"):
        gate.enter(ALICE, 1, 0)
    gate.leave(BOB, 1, 1)
    gate.enter(ALICE, 1, 0)
    gate.check()


def test_there_is_room_for_so_many_bytes_to_all_peers_together() -> None:
    gate = gate_of(messages=9, outbox_total_max_bytes=MIB + 50)
    gate.load(ALICE, 5, MIB)
    gate.enter(BOB, 50, 0)
    with pytest.raises(Backpressure, match="all peers together"):
        gate.enter(BOB, 1, 0)
    gate.check()


@pytest.mark.parametrize(
    "bound", [{"outbox_guests_max_messages": 2}, {"outbox_guests_max_bytes": 20}]
)
def test_guests_have_a_share_and_cannot_keep_contacts_waiting(bound: dict[str, int]) -> None:
    """Many of them may be one, who never acks an answer."""
    gate = gate_of(messages=9, guests=(ALICE, BOB), **bound)
    gate.enter(ALICE, 10, 0)
    gate.enter(BOB, 10, 0)
    with pytest.raises(Backpressure, match="that were not added"):
        gate.enter(ALICE, 10, 0)
    for _ in range(5):
        gate.enter(CAROL, 10, 0)
    gate.leave(CAROL, 5, 50)
    gate.leave(BOB, 1, 10)
    gate.enter(ALICE, 10, 0)
    gate.check()


def test_who_is_added_is_held_up_by_guests_no_more() -> None:
    guests = {ALICE, BOB}
    gate = gate_of(messages=9, guests=guests, outbox_guests_max_messages=2)
    gate.enter(ALICE, 1, 0)
    gate.enter(BOB, 1, 0)
    guests.discard(BOB)
    gate.enter(BOB, 1, 0)
    gate.leave(BOB, 2, 2)
    gate.enter(BOB, 1, 0)
    gate.enter(ALICE, 1, 0)
    with pytest.raises(Backpressure):
        gate.enter(ALICE, 1, 0)
    gate.check()


def test_when_all_have_left_nothing_is_counted() -> None:
    gate = gate_of(messages=1)
    for _ in range(3):
        gate.enter(ALICE, 1000, 0)
        assert gate.waiting(ALICE) == (1, 1000)
        gate.leave(ALICE, 1, 1000)
    gate.enter(ALICE, 1000, 0)
    gate.withdraw(ALICE, 1000)
    assert gate.waiting(ALICE) == (0, 0)
    gate.check()


@pytest.mark.parametrize(
    ("limits", "size_bytes"),
    [
        ({"outbox_max_bytes": 100}, 101),
        ({"outbox_total_max_bytes": 100}, 101),
        ({"outbox_max_messages": 2}, 3 * BODY_MAX_BYTES),  # In four parts.
        ({"outbox_total_max_messages": 2}, 3 * BODY_MAX_BYTES),
        ({"outbox_guests_max_bytes": 100}, 101),
        ({"outbox_guests_max_messages": 2}, 3 * BODY_MAX_BYTES),
    ],
)
def test_a_message_that_never_has_room_is_told_so_and_waits_not(
    limits: dict[str, int], size_bytes: int
) -> None:
    gate = OutboxGate(Limits(**limits), lambda _peer: True)
    with pytest.raises(TooLarge, match="may hold here"):
        gate.enter(ALICE, size_bytes, None)
    assert gate.waiting(ALICE) == (0, 0)


@pytest.mark.parametrize(
    "size_bytes",
    [0, 1, BODY_MAX_BYTES, BODY_MAX_BYTES + 1, 2 * BODY_MAX_BYTES - 32, 2 * BODY_MAX_BYTES]
    + [(BODY_MAX_BYTES - 16) * parts + rest for parts in (2, 64) for rest in (1, 255, 256, 65_536)],
)
def test_a_message_counts_for_as_much_as_its_parts(size_bytes: int) -> None:
    parts = split(bytes(size_bytes))
    assert space_of(size_bytes) == (len(parts), sum(map(len, parts)))


def test_channels_are_counted_and_never_held_up() -> None:
    gate = gate_of(messages=1)
    gate.post(ALICE, 10)
    gate.post(ALICE, 10)
    with pytest.raises(Backpressure):
        gate.enter(ALICE, 1, 0)
    gate.leave(ALICE, 2, 20)
    gate.enter(ALICE, 1, 0)


def test_who_waits_for_room_is_told_when_the_time_is_over() -> None:
    gate = gate_of(messages=1)
    gate.enter(ALICE, 1, None)
    with pytest.raises(DeliveryTimeout, match=r"full for 0\.01 s; not sent"):
        gate.enter(ALICE, 1, 0.01)


@pytest.mark.parametrize("timeout_s", [None, PATIENCE_S])
def test_who_waits_for_room_gets_it(timeout_s: float | None) -> None:
    gate = gate_of(messages=1)
    gate.enter(ALICE, 1, 0)
    gate.enter(BOB, 1, 0)
    entered = in_thread(lambda: gate.enter(ALICE, 1, timeout_s))
    gate.leave(BOB, 1, 1)  # Of no use.
    gate.leave(ALICE, 1, 1)
    entered.result(PATIENCE_S)
    with pytest.raises(Backpressure):
        gate.enter(ALICE, 1, 0)


def test_who_waits_for_room_is_told_that_the_service_closes() -> None:
    gate = gate_of(messages=1)
    gate.enter(ALICE, 1, 0)
    waiting = in_thread(lambda: gate.enter(ALICE, 1, None))
    gate.close()
    with pytest.raises(ServiceClosed):
        waiting.result(PATIENCE_S)
    with pytest.raises(ServiceClosed):
        gate.enter(ALICE, 1, 0)


# --- In a node: what is counted is what the outbox holds ----------------------------------------


@pytest.fixture
def world() -> Iterator[World]:
    with world_of(replace(LIMITS, outbox_max_messages=4)) as made:
        yield made


def held(side: Side, peer: Side) -> tuple[int, int]:
    """Return what the outbox of ``side`` to ``peer`` holds."""
    status = {each.address: each for each in side.loop.engine.peer_statuses()}[peer.address]
    return status.unacked, status.unacked_bytes


def test_what_earlier_runs_have_left_counts(world: World) -> None:
    """Or three runs would leave three times the limit."""
    alice, bob = world.alice, world.bob
    bob.end()
    for run in range(4):
        alice.send(bob, Letter(run))
        alice.turn()
        assert alice.loop.desk.gate.waiting(bob.address) == held(alice, bob)
        alice.restart()
    with pytest.raises(Backpressure):
        alice.send(bob, Letter(5))
    bob.start()
    world.run()
    assert alice.loop.desk.gate.waiting(bob.address) == held(alice, bob)
    bob.handle(lambda _: None)
    alice.send(bob, Letter(6))
    world.run()
    assert alice.loop.desk.gate.waiting(bob.address) == held(alice, bob) == (0, 0)


def test_a_large_message_is_counted_by_its_parts(world: World) -> None:
    alice, bob = world.alice, world.bob
    bob.end()
    alice.send(bob, Letter(1, "x" * (2 * BODY_MAX_BYTES)))
    alice.turn()
    assert alice.loop.desk.gate.waiting(bob.address) == held(alice, bob)
    assert held(alice, bob)[0] == 3
    alice.send(bob, Letter(2))
    with pytest.raises(Backpressure):
        alice.send(bob, Letter(3))


def test_messages_of_channels_are_counted_and_leave(world: World) -> None:
    alice, bob = world.alice, world.bob
    bob.end()
    body = encode_message(
        RejectProposal(ChannelId(b"\x42" * 32), TurnNum(0), RejectCode.DECLINED, "no")
    )
    for _ in range(5):
        alice.later(lambda: alice.loop.engine.post(bob.address, body))
    alice.turn()
    assert alice.loop.desk.gate.waiting(bob.address) == held(alice, bob) == (5, 5 * len(body))
    with pytest.raises(Backpressure):
        alice.send(bob, Letter(1))
    bob.start()
    world.run()
    assert alice.loop.desk.gate.waiting(bob.address) == (0, 0)


def test_what_a_failed_handler_sent_gives_its_room_back(world: World) -> None:
    alice, bob = world.alice, world.bob

    def answer(delivery: Delivery) -> None:
        receipt = bob.send(alice, Letter(9))
        bob.commands.remove(receipt)
        delivery.adopt(receipt)  # As `Node.send` does.
        if delivery.message.number == 1:
            raise RefuseMessage(RefusalCode.REPLAY, "no")

    bob.handle(answer)
    alice.send(bob, Letter(1))
    alice.turn()
    bob.turn()
    assert bob.loop.desk.gate.waiting(alice.address) == held(bob, alice) == (0, 0)
    alice.send(bob, Letter(2))
    alice.turn()
    bob.turn()
    assert bob.loop.desk.gate.waiting(alice.address) == held(bob, alice)
    assert held(bob, alice)[0] == 1


def test_a_message_to_nobody_gives_its_room_back(world: World) -> None:
    alice = world.alice
    stranger = Side(world, "eve", LIMITS)
    receipt = alice.send(stranger, Letter(1))
    alice.turn()
    stranger.end()
    assert receipt.ended
    assert alice.loop.desk.gate.waiting(stranger.address) == (0, 0)
