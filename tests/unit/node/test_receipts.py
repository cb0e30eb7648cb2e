"""Receipts: how they end, who is told, and who must not wait."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.node_world import Letter, world_of
from zmqp2p.codes import RefusalCode
from zmqp2p.engine.outcomes import message_id
from zmqp2p.errors import Cancelled, DeliveryTimeout, Refused, WouldDeadlock
from zmqp2p.ids import Address, Seq, StreamId
from zmqp2p.node.receipts import Receipt, ReceiptRoom

PEER = Address(b"\x01" * 20)
STREAM = StreamId(b"\x02" * 16)
PATIENCE_S = 10.0


@pytest.fixture
def room() -> ReceiptRoom:
    return ReceiptRoom()


@pytest.fixture
def receipt(room: ReceiptRoom) -> Receipt:
    return Receipt(room, PEER, b"body")


def end(room: ReceiptRoom, receipt: Receipt, error: Exception | None) -> None:
    """End it as the node does."""
    with room.condition:
        callbacks = receipt.end(error)
        room.condition.notify_all()
    for callback in callbacks:
        callback(receipt)


def store(room: ReceiptRoom, receipt: Receipt) -> None:
    with room.condition:
        receipt.number(Seq(7), STREAM)
        room.condition.notify_all()


def test_a_receipt_is_pending_then_stored_then_acked(room: ReceiptRoom, receipt: Receipt) -> None:
    assert (receipt.stored, receipt.ended, receipt.acked, receipt.error) == (False,) * 3 + (None,)
    assert repr(receipt) == f"<Receipt to 0x{PEER.hex()} pending>"
    store(room, receipt)
    assert (receipt.stored, receipt.acked) == (True, False)
    assert receipt.message_id == message_id(STREAM, Seq(7), b"body")
    end(room, receipt, None)
    assert receipt.acked
    assert repr(receipt).endswith(" acked>")
    receipt.wait()


def test_a_receipt_that_ends_otherwise_raises_how(room: ReceiptRoom, receipt: Receipt) -> None:
    error = Refused(RefusalCode.REPLAY, "again")
    end(room, receipt, error)
    assert not receipt.acked
    assert receipt.error is error
    with pytest.raises(Refused):
        receipt.wait(0)
    with pytest.raises(Refused):  # It never was stored, and will not be.
        receipt.wait_stored()
    assert "Refused" in repr(receipt)


def test_what_was_stored_has_an_id_however_it_ended(room: ReceiptRoom, receipt: Receipt) -> None:
    store(room, receipt)
    end(room, receipt, Cancelled("closed"))
    assert len(receipt.message_id) == 32


def test_waiting_ends_when_the_receipt_does(room: ReceiptRoom, receipt: Receipt) -> None:
    with ThreadPoolExecutor(2) as executor:
        waits = [executor.submit(receipt.wait), executor.submit(receipt.wait, PATIENCE_S)]
        store(room, receipt)  # Wakes them, too early.
        end(room, receipt, None)
        for wait in waits:
            wait.result(PATIENCE_S)


def test_waiting_ends_when_the_time_is_over(room: ReceiptRoom, receipt: Receipt) -> None:
    for wait in (receipt.wait, receipt.wait_stored):
        with pytest.raises(DeliveryTimeout, match=r"not within 0\.01 s"):
            wait(0.01)
    assert room.wait_for_commits == 0


def test_waiting_ends_when_the_node_does(room: ReceiptRoom, receipt: Receipt) -> None:
    with ThreadPoolExecutor(1) as executor:
        wait = executor.submit(receipt.wait)
        room.close()
        with pytest.raises(Cancelled):
            wait.result(PATIENCE_S)
    with pytest.raises(Cancelled):
        receipt.wait(0)


def test_the_nodes_own_thread_must_not_wait(room: ReceiptRoom, receipt: Receipt) -> None:
    room.node_thread = threading.current_thread()
    with pytest.raises(WouldDeadlock):
        receipt.wait()
    end(room, receipt, None)
    receipt.wait()  # Nothing to wait for.


def test_a_thread_that_has_the_number_of_the_nodes_may_wait(
    room: ReceiptRoom, receipt: Receipt
) -> None:
    """Systems give a new thread the number of one that has ended."""
    outcomes: list[object] = []

    def wait() -> None:
        with pytest.raises(DeliveryTimeout):
            receipt.wait(0)
        outcomes.append(threading.get_ident())

    for _ in range(100):  # Usually the first time; but nobody promises it.
        room.node_thread = threading.Thread(target=lambda: None)
        room.node_thread.start()
        room.node_thread.join()
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert len(outcomes) == 100


class Handler:
    """A delivery whose handler runs, or does not."""

    def __init__(self) -> None:
        self.running = True

    def runs_here(self) -> bool:
        return self.running


def test_the_handler_that_sent_it_must_not_wait(room: ReceiptRoom, receipt: Receipt) -> None:
    handler = Handler()
    receipt.holder = handler
    for wait in (receipt.wait, receipt.wait_stored, receipt.check_wait):
        with pytest.raises(WouldDeadlock, match="has ended"):
            wait()
    handler.running = False
    with pytest.raises(DeliveryTimeout):
        receipt.wait(0)
    handler.running = True
    end(room, receipt, None)
    receipt.wait()


def test_everyone_who_asked_is_called_once(room: ReceiptRoom, receipt: Receipt) -> None:
    called: list[Receipt] = []
    receipt.add_done_callback(called.append)
    receipt.add_done_callback(called.append)
    assert called == []
    end(room, receipt, None)
    assert called == [receipt, receipt]
    receipt.add_done_callback(called.append)
    assert len(called) == 3


def test_who_waits_for_a_commit_is_woken_by_it_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that is woken for nothing takes the interpreter from the node's."""
    with world_of() as world, ThreadPoolExecutor(1) as executor:
        world.bob.handle(lambda _: None)
        room = world.alice.loop.desk.room
        wait, notify_all = room.condition.wait, room.condition.notify_all
        waits, woken = threading.Event(), []

        def waiting(timeout: float | None = None) -> bool:
            waits.set()
            return wait(timeout)

        def notifying() -> None:
            woken.append(world.now)
            notify_all()

        monkeypatch.setattr(room.condition, "wait", waiting)
        monkeypatch.setattr(room.condition, "notify_all", notifying)
        first, second = (world.alice.send(world.bob, Letter(number)) for number in range(2))
        world.alice.commands.clear()
        world.alice.loop.turn([], [first])
        assert (first.stored, woken) == (True, [])
        stored = executor.submit(second.wait_stored, PATIENCE_S)
        assert waits.wait(PATIENCE_S)
        world.alice.loop.turn([], [second])
        stored.result(PATIENCE_S)
        assert len(woken) == 1
        acked = executor.submit(second.wait, PATIENCE_S)
        world.run()
        acked.result(PATIENCE_S)
        assert len(woken) == 2
        assert room.wait_for_commits == 0
