"""The gate counts what the application has sent and not heard of again."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from zmqp2p.errors import Backpressure, DeliveryTimeout, ServiceClosed
from zmqp2p.ids import Address
from zmqp2p.limits import MIB, Limits
from zmqp2p.node.gate import OutboxGate

ALICE, BOB = Address(b"\x01" * 20), Address(b"\x02" * 20)
PATIENCE_S = 10.0


def gate_of(messages: int = 2) -> OutboxGate:
    """Return a gate with room for so many messages of ``MIB`` bytes in all."""
    return OutboxGate(Limits(outbox_max_messages=messages, outbox_max_bytes=MIB))


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


def test_there_is_room_for_so_many_bytes_to_each_peer() -> None:
    gate = gate_of(messages=100)
    gate.enter(ALICE, 60, 0)
    gate.enter(ALICE, MIB - 60, 0)
    with pytest.raises(Backpressure):
        gate.enter(ALICE, 1, 0)
    gate.leave(ALICE, 1, 60)
    gate.enter(ALICE, 60, 0)
    with pytest.raises(Backpressure):
        gate.enter(ALICE, 1, 0)


def test_when_all_have_left_nothing_is_counted() -> None:
    gate = gate_of(messages=1)
    for _ in range(3):
        gate.enter(ALICE, MIB, 0)
        gate.leave(ALICE, 1, MIB)
    gate.leave(ALICE, 1, MIB)  # What an earlier run had sent was never counted in.
    gate.enter(ALICE, MIB, 0)
    with pytest.raises(Backpressure):
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
