"""Handlers: what they write, what they send and the ack are one transaction, wherever they run."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.real.faces import AioFace, BlockingFace, Face, LoopThread
from tests.real.parties import (
    HASTY,
    LOOPBACK,
    PATIENCE_S,
    Answer,
    Journal,
    Note,
    Parties,
    events_of,
    numbers_into,
)
from zmqp2p import (
    Backpressure,
    Delivery,
    InvalidValue,
    Limits,
    LocalError,
    P2PService,
    Receipt,
    Refused,
    RefuseMessage,
    WouldDeadlock,
    aio,
)
from zmqp2p.codes import RefusalCode
from zmqp2p.errors import Cancelled
from zmqp2p.events import CallbackFailed, Event

ROOT = Path(__file__).parents[2]
KEEP = "CREATE TABLE IF NOT EXISTS app_kept (number INTEGER, attempt INTEGER)"


def keep(delivery: Delivery) -> None:
    """Write the message's number and attempt to the application's table."""
    delivery.transaction.execute(KEEP)
    row = (delivery.message.number, delivery.attempt)
    delivery.transaction.execute("INSERT INTO app_kept VALUES (?, ?)", row)


def kept(store: Path, table: str = "app_kept") -> list[tuple[int, ...]]:
    """Return the rows in the table of a store that is closed."""
    with closing(sqlite3.connect(store)) as db:
        return db.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()  # noqa: S608


class Bench:
    """Alice sends; Bob's handlers run on his node's thread, in an executor, or as coroutines."""

    def __init__(self, where: str, parties: Parties) -> None:
        self.parties = parties
        self.store = parties.store("bob")
        self._executor = ThreadPoolExecutor(4)
        self._wanted = {"executor": self._executor} if where == "executor" else {}
        face = AioFace if where == "coroutine" else BlockingFace
        self.bob: Face = face(
            LOOPBACK, identity=parties.identity("bob"), store=self.store, limits=HASTY
        )
        self.alice = parties.start("alice")
        self.alice.add_peer(self.bob.record)
        self.events: Journal[Event] = Journal()
        self.bob.on_event(self.events)
        self.answers: Journal[int] = Journal()
        self.alice.on_message(numbers_into(self.answers), message_type=Answer)

    def handle(self, handler: Callable[[Delivery], object]) -> None:
        self.bob.on_message(handler, message_type=Note, **self._wanted)

    def send(self, number: int) -> Receipt:
        return self.alice.send_message(self.bob.address, Note(number))

    def close(self) -> None:
        self.bob.close()
        self._executor.shutdown()


@pytest.fixture(params=["node", "executor", "coroutine"])
def bench(request: pytest.FixtureRequest, parties: Parties) -> Iterator[Bench]:
    made = Bench(request.param, parties)
    yield made
    made.close()


# --- One transaction ----------------------------------------------------------------------------


def test_nothing_is_left_of_an_attempt_that_failed(bench: Bench) -> None:
    """It had written and sent already; the second attempt does both, once."""
    undone = Journal[Any]()

    def handle(delivery: Delivery) -> None:
        keep(delivery)
        receipt = bench.bob.send(delivery.sender, Answer(delivery.attempt))
        if delivery.attempt == 1:
            undone(receipt)
            raise ValueError("after it wrote and sent")

    bench.handle(handle)
    bench.send(7).wait(PATIENCE_S)
    assert bench.answers.count(1) == [2]
    assert isinstance(undone.entries[0].error, Cancelled)
    bench.close()
    assert kept(bench.store) == [(7, 2)]
    assert bench.answers.entries == [2]


def test_a_message_that_fails_for_good_leaves_nothing_and_the_stream_goes_on(bench: Bench) -> None:
    def handle(delivery: Delivery) -> None:
        keep(delivery)
        bench.bob.send(delivery.sender, Answer(delivery.message.number))
        if delivery.message.number == 1:
            raise ValueError("always")

    bench.handle(handle)
    first, second = bench.send(1), bench.send(2)
    with pytest.raises(Refused) as refused:
        first.wait(PATIENCE_S)
    assert refused.value.code is RefusalCode.HANDLER_FAILED
    second.wait(PATIENCE_S)
    assert bench.answers.count(1) == [2]
    bench.close()
    assert kept(bench.store) == [(2, 1)]


def test_a_message_that_the_handler_refuses_leaves_nothing(bench: Bench) -> None:
    def handle(delivery: Delivery) -> None:
        keep(delivery)
        bench.bob.send(delivery.sender, Answer(delivery.message.number))
        if delivery.message.number == 1:
            raise RefuseMessage(RefusalCode.REPLAY, "seen before")

    bench.handle(handle)
    first, second = bench.send(1), bench.send(2)
    with pytest.raises(Refused, match="seen before"):
        first.wait(PATIENCE_S)
    second.wait(PATIENCE_S)
    assert bench.answers.count(1) == [2]
    bench.close()
    assert kept(bench.store) == [(2, 1)]


def test_a_failure_undoes_nothing_of_another_message_in_the_same_turn(bench: Bench) -> None:
    gate = threading.Event()

    def handle(delivery: Delivery) -> None:
        if delivery.message.number == 0:
            gate.wait(PATIENCE_S)  # So that the others are there when it ends, in one turn.
        keep(delivery)
        if delivery.message.number == 2 and delivery.attempt == 1:
            raise ValueError("once")

    bench.handle(handle)
    receipts = [bench.send(number) for number in range(4)]
    assert receipts[-1].message_id
    gate.set()
    for receipt in receipts:
        receipt.wait(PATIENCE_S)
    bench.close()
    assert kept(bench.store) == [(0, 1), (1, 1), (2, 2), (3, 1)]


def test_what_the_transaction_cannot_do_fails_the_attempt(bench: Bench) -> None:
    """The statement before it is undone too; on another thread that shows when the handler ends."""
    bad = [
        ("INSERT INTO app_missing VALUES (1)", ()),
        ("DELETE FROM peers", ()),
        ("INSERT INTO app_kept VALUES (?, ?)", (1,)),
        (5, ()),
    ]

    def handle(delivery: Delivery) -> None:
        keep(delivery)
        if delivery.attempt <= len(bad):
            sql, parameters = bad[delivery.attempt - 1]
            delivery.transaction.execute(sql, parameters)  # type: ignore[arg-type]

    bench.handle(handle)
    bench.send(7).wait(PATIENCE_S)
    failures = [e.error for e in bench.events.entries if isinstance(e, CallbackFailed)]
    assert [text.split(":")[0] for text in failures] == [
        "StoreError",
        "LocalError",
        "LocalError",
        "TypeError",
    ]
    bench.close()
    assert kept(bench.store) == [(7, len(bad) + 1)]


def test_a_transaction_is_over_when_its_handler_has_ended(bench: Bench) -> None:
    ended = Journal[Delivery]()
    bench.handle(ended)
    bench.send(1).wait(PATIENCE_S)
    with pytest.raises(LocalError, match="is over"):
        ended.entries[0].transaction.execute(KEEP)


def test_rows_can_be_read_on_the_nodes_thread(parties: Parties) -> None:
    """An earlier message's rows, in a memory store too; on another thread there is nothing yet."""
    alice, bob = parties.pair()
    seen = Journal[list[tuple[Any, ...]]]()

    def handle(delivery: Delivery) -> None:
        keep(delivery)
        seen(delivery.transaction.execute("SELECT number FROM app_kept"))

    bob.on_message(handle)
    for number in (1, 2):
        alice.send_message(bob.address, Note(number)).wait(PATIENCE_S)
    assert seen.entries == [[(1,)], [(1,), (2,)]]


def test_messages_of_a_peer_are_handled_one_after_the_other(bench: Bench) -> None:
    """Also by an executor with several threads: acks are in the order of the stream."""
    at_work = threading.Lock()
    overlaps, order = Journal[int](), Journal[int]()

    def handle(delivery: Delivery) -> None:
        if not at_work.acquire(blocking=False):
            overlaps(delivery.message.number)
            return
        order(delivery.message.number)
        at_work.release()

    bench.handle(handle)
    for number in range(200):
        receipt = bench.send(number)
    receipt.wait(PATIENCE_S)
    assert overlaps.entries == []
    assert order.entries == list(range(200))


@pytest.mark.parametrize("where", ["node", "executor", "coroutine"])
def test_a_kill_in_the_middle_leaves_each_message_handled_once(
    where: str, parties: Parties
) -> None:
    """Kill -9 at an arbitrary point; the rows are what tells, not what anybody remembers."""
    alice = parties.start("alice", store=parties.store("alice"))
    child = start_receiver(parties, LOOPBACK, where)
    record = child.stdout.readline().strip()  # type: ignore[union-attr]
    bob = alice.add_peer(record)
    receipts = [alice.send_message(bob, Note(number)) for number in range(2000)]
    receipts[700].wait(PATIENCE_S)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(PATIENCE_S)
    for pipe in (child.stdin, child.stdout):
        pipe.close()  # type: ignore[union-attr]
    assert not receipts[-1].acked
    (endpoint,) = next(status.endpoints for status in alice.peers())
    again = start_receiver(parties, endpoint, where)
    for receipt in receipts:
        receipt.wait(PATIENCE_S)
    again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0
    assert kept(parties.store("bob"), "app_seen") == [(number,) for number in range(2000)]


def start_receiver(parties: Parties, endpoint: str, where: str) -> "subprocess.Popen[str]":
    key = parties.folder / "bob.key"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.real.receiver", key, parties.store("bob"), endpoint, where],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# --- What a handler may wait for ----------------------------------------------------------------


def outcome_of_call(call: Callable[[], object]) -> object:
    """Return what ``call`` raises, or what it returns."""
    try:
        return call()
    except LocalError as fault:
        return type(fault)


def test_a_wait_on_the_nodes_own_thread_is_an_error_and_no_hang(parties: Parties) -> None:
    alice, bob = parties.pair()
    outcomes = Journal[object]()

    def handle(delivery: Delivery) -> None:
        receipt = bob.send_message(delivery.sender, Answer(1))
        for call in (
            receipt.wait,
            receipt.wait_stored,
            lambda: receipt.message_id,
            bob.flush,
            bob.close,
            lambda: bob.add_peer(alice.record),
            lambda: len(bob.peers()),
        ):
            outcomes(outcome_of_call(call))

    bob.on_message(handle)
    alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
    waits = [WouldDeadlock, WouldDeadlock, WouldDeadlock, WouldDeadlock]
    assert outcomes.entries == [*waits, LocalError, alice.address, 1]


def test_a_handler_elsewhere_cannot_wait_for_what_it_sends(bench: Bench) -> None:
    """The message leaves when the handler ends, which would end when the message has left."""
    outcomes = Journal[object]()

    def handle(delivery: Delivery) -> None:
        receipt = bench.bob.send(delivery.sender, Answer(1))
        outcomes(outcome_of_call(receipt.wait))
        outcomes(outcome_of_call(receipt.message_id))
        outcomes(receipt)

    bench.handle(handle)
    bench.send(1).wait(PATIENCE_S)
    assert outcomes.entries[:2] == [WouldDeadlock, WouldDeadlock]
    sent: Any = outcomes.entries[2]
    sent.wait(PATIENCE_S)  # Once the handler has ended anybody may wait.
    assert sent.acked


def test_a_handler_elsewhere_can_wait_for_what_was_sent_before(parties: Parties) -> None:
    alice, bob = parties.pair()
    alice.on_message(lambda _: None)
    bob.add_peer(alice.record)
    with ThreadPoolExecutor(1) as executor:
        earlier: Future[Receipt] = Future()
        bob.on_message(lambda _: earlier.result(PATIENCE_S).wait(PATIENCE_S), executor=executor)
        receipt = alice.send_message(bob.address, Note(1))
        earlier.set_result(bob.send_message(alice.address, Answer(1)))
        receipt.wait(PATIENCE_S)
        bob.close()


def test_a_handler_on_the_nodes_thread_never_waits_for_room(parties: Parties) -> None:
    """It would wait for acks that this very thread has to read."""
    limits = Limits(outbox_max_messages=1)
    alice, bob = parties.start("alice"), parties.start("bob", limits=limits)
    alice.add_peer(bob.record)
    answers, outcomes = Journal[int](), Journal[object]()
    alice.on_message(numbers_into(answers))

    def handle(delivery: Delivery) -> None:
        bob.send_message(delivery.sender, Answer(1))
        outcomes(outcome_of_call(lambda: bob.send_message(delivery.sender, Answer(2))))

    bob.on_message(handle)
    alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
    assert outcomes.entries == [Backpressure]
    assert answers.count(1) == [1]


def test_another_nodes_messages_do_not_wait_for_the_handler(parties: Parties) -> None:
    """A handler of Bob's that sends as Carol: Carol's message is no part of Bob's transaction."""
    alice, bob = parties.pair()
    carol = parties.start("carol")
    carol.add_peer(alice.record)
    arrived = Journal[int]()
    alice.on_message(numbers_into(arrived))

    def handle(_delivery: Delivery) -> None:
        carol.send_message(alice.address, Answer(1)).wait(PATIENCE_S)
        raise RefuseMessage(RefusalCode.PAYLOAD_INVALID, "no")

    bob.on_message(handle)
    with pytest.raises(Refused):
        alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
    assert arrived.entries == [1]


# --- Executors ----------------------------------------------------------------------------------


def test_a_slow_handler_in_an_executor_does_not_hold_up_others(parties: Parties) -> None:
    alice, bob = parties.pair()
    carol = parties.start("carol")
    carol.add_peer(bob.record)
    blocked = threading.Event()
    with ThreadPoolExecutor(2) as executor:

        @bob.on_message(message_type=Note, executor=executor)
        def wait(delivery: Delivery) -> None:
            if delivery.sender == alice.address:
                blocked.wait(PATIENCE_S)

        slow = alice.send_message(bob.address, Note(1))
        carol.send_message(bob.address, Note(2)).wait(PATIENCE_S)
        assert not slow.ended
        blocked.set()
        slow.wait(PATIENCE_S)
        bob.close()


def test_an_executor_that_is_shut_down_fails_the_message_and_not_the_node(
    parties: Parties,
) -> None:
    alice, bob = parties.pair()
    events = events_of(bob)
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    bob.on_message(lambda _: None, message_type=Note, executor=executor)
    bob.on_message(lambda _: None, message_type=Answer)
    note, answer = (alice.send_message(bob.address, one) for one in (Note(1), Answer(1)))
    with pytest.raises(Refused) as refused:
        note.wait(PATIENCE_S)
    assert refused.value.code is RefusalCode.HANDLER_FAILED
    assert "RuntimeError" in events.first(CallbackFailed).error
    answer.wait(PATIENCE_S)


class WatchedExecutor(ThreadPoolExecutor):
    """Notes what was submitted to it."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.submitted: Journal[object] = Journal()

    def submit(self, *call: Any, **named: Any) -> Any:
        future = super().submit(*call, **named)
        self.submitted(future)
        return future


def test_a_handler_that_the_executor_cancels_is_handed_out_again(parties: Parties) -> None:
    """Else its peer's stream would stand still, silently."""
    alice, bob = parties.pair()
    executor = WatchedExecutor(1)
    busy, go_on = threading.Event(), threading.Event()

    def block() -> None:
        busy.set()
        go_on.wait(PATIENCE_S)

    executor.submit(block)
    assert busy.wait(PATIENCE_S)
    bob.on_message(lambda _: None, executor=executor)
    receipt = alice.send_message(bob.address, Note(1))
    executor.submitted.count(2)
    executor.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(Refused):  # The executor takes no more: that is a failure of the handler.
        receipt.wait(PATIENCE_S)
    go_on.set()


class RefusingExecutor(Executor):
    """Takes no work, for a reason of its own."""

    def submit(self, *_call: Any, **_named: Any) -> Any:
        raise ValueError("no room")


def test_an_executor_that_fails_in_its_own_way_fails_the_message_and_not_the_node(
    parties: Parties,
) -> None:
    alice, bob = parties.pair()
    events = events_of(bob)
    bob.on_message(lambda _: None, message_type=Note, executor=RefusingExecutor())
    with pytest.raises(Refused) as refused:
        alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
    assert refused.value.code is RefusalCode.HANDLER_FAILED
    assert events.first(CallbackFailed) == CallbackFailed("on_message", "ValueError: no room")
    assert bob.peers()


@pytest.mark.parametrize("executor", [5, "thread", ThreadPoolExecutor])
def test_what_is_no_executor_is_refused_before_a_message_comes(
    executor: Any, parties: Parties
) -> None:
    bob = parties.start("bob")
    with pytest.raises(InvalidValue, match="executor"):
        bob.on_message(lambda _: None, executor=executor)
    with pytest.raises(InvalidValue, match="executor"):
        bob.on_message(executor=executor)


def test_a_service_can_be_closed_by_a_handler_in_an_executor(parties: Parties) -> None:
    """The message was not acked: after a restart it comes again."""
    alice, bob = parties.pair(store=None)
    closed = Journal[object]()
    executor = ThreadPoolExecutor(1)
    bob.on_message(lambda _: closed(outcome_of_call(bob.close)), executor=executor)
    receipt = alice.send_message(bob.address, Note(1))
    assert closed.count(1) == [None]
    executor.shutdown()
    assert not receipt.acked


def test_no_handler_begins_in_an_executor_once_the_service_has_closed(parties: Parties) -> None:
    """Though what follows was handed out with the one that runs."""
    alice, bob = parties.pair()
    begun, go_on = Journal[int](), threading.Event()

    def handle(delivery: Delivery) -> None:
        begun(delivery.message.number)
        go_on.wait(PATIENCE_S)

    with ThreadPoolExecutor(1) as executor:
        executor.submit(lambda: None).result(PATIENCE_S)
        receipts = [alice.send_message(bob.address, Note(number)) for number in range(50)]
        assert receipts[-1].message_id
        bob.on_message(handle, executor=executor)
        begun.count(1)
        bob.close()
        go_on.set()
    assert begun.entries == [0]
    assert not any(receipt.acked for receipt in receipts)


# --- Coroutines ---------------------------------------------------------------------------------


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


class AioBob:
    """Alice, and Bob on an event loop."""

    def __init__(self, parties: Parties, thread: LoopThread) -> None:
        self._thread = thread
        self.bob = aio.P2PService(LOOPBACK, identity=parties.identity("bob"), limits=HASTY)
        self.run(self.bob.start())
        self.alice = parties.start("alice")
        self.alice.add_peer(self.bob.record)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._thread.run(work)

    def send(self, number: int) -> Receipt:
        return self.alice.send_message(self.bob.address, Note(number))

    def close(self) -> None:
        self.run(self.bob.close())


@pytest.fixture
def aio_bob(parties: Parties, loop_thread: LoopThread) -> Iterator[AioBob]:
    made = AioBob(parties, loop_thread)
    yield made
    made.close()


def test_a_task_that_outlives_its_handler_can_still_send(aio_bob: AioBob) -> None:
    """It runs in the context of a handler that has ended, whose transaction is over."""
    answers = Journal[int]()
    aio_bob.alice.on_message(numbers_into(answers))
    go_on = asyncio.Event()
    tasks = []

    async def answer(delivery: Delivery) -> None:
        await go_on.wait()
        receipt = await aio_bob.bob.send_message(delivery.sender, Answer(9))
        await receipt.wait(PATIENCE_S)

    async def handle(delivery: Delivery) -> None:
        tasks.append(asyncio.create_task(answer(delivery)))

    async def end() -> None:
        go_on.set()
        await tasks[0]

    aio_bob.run(aio_bob.bob.on_message(handle))
    aio_bob.send(1).wait(PATIENCE_S)  # The handler has ended.
    aio_bob.run(end())
    assert answers.entries == [9]


def test_a_coroutine_that_awaits_what_was_cancelled_has_failed(aio_bob: AioBob) -> None:
    """Were it handed out again as cancelled, it would run again and again without end."""
    attempts = Journal[int]()

    async def handle(delivery: Delivery) -> None:
        attempts(delivery.attempt)
        cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    aio_bob.run(aio_bob.bob.on_message(handle))
    with pytest.raises(Refused):
        aio_bob.send(1).wait(PATIENCE_S)
    assert attempts.entries == [1, 2, 3, 4, 5]


def test_a_coroutine_whose_task_is_cancelled_is_run_again(aio_bob: AioBob) -> None:
    attempts = Journal[int]()

    async def handle(delivery: Delivery) -> None:
        attempts(delivery.attempt)
        if len(attempts.entries) == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    aio_bob.run(aio_bob.bob.on_message(handle))
    aio_bob.send(1).wait(PATIENCE_S)
    assert attempts.entries == [1, 1]


def test_a_coroutine_whose_task_is_cancelled_before_its_first_step_is_run_again(
    aio_bob: AioBob,
) -> None:
    attempts = Journal[int]()
    cancelled: list[asyncio.Task[Any]] = []

    async def handle(delivery: Delivery) -> None:
        attempts(delivery.attempt)

    def cancelling(loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> Any:
        task = asyncio.Task(work, loop=loop, **named)
        if not cancelled and work.__qualname__ == "_handle":
            cancelled.append(task)
            task.cancel()
        return task

    async def watch() -> None:
        asyncio.get_running_loop().set_task_factory(cancelling)

    aio_bob.run(aio_bob.bob.on_message(handle))
    aio_bob.run(watch())
    aio_bob.send(1).wait(PATIENCE_S)
    assert cancelled[0].cancelled()
    assert attempts.entries == [1]


class WatchedLoop(asyncio.SelectorEventLoop):
    """Tells when it is asked for something though it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def call_soon_threadsafe(self, *call: Any, **named: Any) -> Any:  # type: ignore[override]
        if self.is_closed():
            self.asked.set()
        return super().call_soon_threadsafe(*call, **named)


def test_coroutines_for_messages_of_a_peer_run_one_after_the_other(aio_bob: AioBob) -> None:
    """Each in a context of its own, whatever those before it have left in theirs."""
    marked: ContextVar[int] = ContextVar("marked", default=0)
    seen: list[tuple[str, int]] = []

    async def handle(delivery: Delivery) -> None:
        assert marked.get() == 0
        marked.set(delivery.message.number)
        seen.append(("begun", delivery.message.number))
        await asyncio.sleep(0)
        seen.append(("ended", delivery.message.number))

    aio_bob.run(aio_bob.bob.on_message(handle))
    receipts = [aio_bob.send(number) for number in range(300)]
    for receipt in receipts:
        receipt.wait(PATIENCE_S)
    assert seen == [(step, number) for number in range(300) for step in ("begun", "ended")]


def test_a_message_leaves_a_loop_that_does_not_pause(aio_bob: AioBob) -> None:
    """The node is woken when the loop pauses, but it is not left asleep for long."""
    arrived = threading.Event()

    def handle(delivery: Delivery) -> None:
        if delivery.message.number:
            arrived.set()

    aio_bob.alice.on_message(handle)

    async def send() -> bool:
        await aio_bob.bob.add_peer(str(aio_bob.alice.record))
        receipt = await aio_bob.bob.send_message(aio_bob.alice.address, Note(0))
        await receipt.wait(PATIENCE_S)
        until = monotonic() + PATIENCE_S
        while monotonic() < until and not arrived.is_set():
            await aio_bob.bob.send_message(aio_bob.alice.address, Note(1))
            arrived.wait(0.05)  # Holds up the loop, as one should not.
        return arrived.is_set()

    assert aio_bob.run(send())


def test_a_node_that_sleeps_is_woken_for_a_message(
    aio_bob: AioBob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the loop pauses; else the message would leave with the next PING."""
    woken: list[bool] = []
    bridge = aio_bob.bob._bridge  # noqa: SLF001  # To see it woken.
    wake_node = bridge.wake_node

    def watched() -> None:
        woken.append(True)
        wake_node()

    async def send() -> None:
        await aio_bob.bob.add_peer(str(aio_bob.alice.record))
        monkeypatch.setattr(bridge, "wake_node", watched)
        receipt = await aio_bob.bob.send_message(aio_bob.alice.address, Note(1))
        assert woken == [True]
        await receipt.wait(PATIENCE_S)

    aio_bob.alice.on_message(lambda _: None)
    aio_bob.run(send())


def test_a_message_for_a_loop_that_is_closed_waits_for_the_next_run(parties: Parties) -> None:
    """Its handler has not failed: nobody is there to run it."""
    loop = WatchedLoop()
    thread = LoopThread(lambda: loop)
    store, identity = parties.store("bob"), parties.identity("bob")
    once = replace(HASTY, handler_attempts=1)
    bob = aio.P2PService(LOOPBACK, identity=identity, store=store, limits=once)

    async def handle(_: Delivery) -> None:
        raise AssertionError

    async def start() -> None:
        await bob.start()
        await bob.on_message(handle)

    thread.run(start())
    alice = parties.start("alice")
    alice.add_peer(bob.record)
    thread.close()
    receipt = alice.send_message(bob.address, Note(1))
    assert loop.asked.wait(PATIENCE_S)
    bob._node.stop(PATIENCE_S)  # noqa: SLF001  # Its own loop, on which `close` would run, is gone.
    assert receipt.error is None
    numbers: Journal[int] = Journal()
    with P2PService(LOOPBACK, identity=identity, store=store, limits=HASTY) as again:
        again.on_message(numbers_into(numbers))
        alice.add_peer(again.record)
        receipt.wait(PATIENCE_S)
    assert numbers.entries == [1]


def test_messages_are_acked_when_the_next_is_asked_for(aio_bob: AioBob) -> None:
    first, second = aio_bob.send(1), aio_bob.send(2)
    receipts = {1: first, 2: second}

    async def read() -> list[tuple[int, bool]]:
        seen = []
        async for delivery in aio_bob.bob.messages(message_type=Note):
            number = delivery.message.number
            seen.append((number, receipts[number].acked))
            delivery.transaction.execute(KEEP)
            if number == 2:
                return seen
        return seen

    assert aio_bob.run(read()) == [(1, False), (2, False)]
    first.wait(PATIENCE_S)


def test_a_message_whose_iteration_was_left_goes_to_the_next(aio_bob: AioBob) -> None:
    receipts = [aio_bob.send(number) for number in range(3)]

    async def read_one() -> tuple[int, int]:
        messages = aio_bob.bob.messages()
        delivery = await anext(messages)
        await messages.aclose()  # type: ignore[attr-defined]  # It is a generator.
        return delivery.message.number, delivery.attempt

    async def read_all() -> list[int]:
        seen = []
        async for delivery in aio_bob.bob.messages():
            seen.append(delivery.message.number)
            if len(seen) == 3:
                break
        return seen

    assert aio_bob.run(read_one()) == (0, 1)
    assert aio_bob.run(read_one()) == (0, 1)  # No attempt has failed.
    assert aio_bob.run(read_all()) == [0, 1, 2]
    receipts[1].wait(PATIENCE_S)


def test_messages_that_wait_in_an_iteration_go_to_the_next_too(
    parties: Parties, aio_bob: AioBob
) -> None:
    """One per peer is handed to an iteration that may not come to it, or is just on its way."""
    carol = parties.start("carol")
    carol.add_peer(aio_bob.bob.record)
    aio_bob.send(1)
    carol.send_message(aio_bob.bob.address, Note(2))

    async def leave(turns: int) -> None:
        messages = aio_bob.bob.messages()
        await anext(messages)
        (iteration,) = aio_bob.bob._iterations  # noqa: SLF001
        while len(iteration._stretches) < 2:  # noqa: ASYNC110, SLF001
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await messages.aclose()  # type: ignore[attr-defined]

    async def read() -> set[int]:
        seen = set()
        async for delivery in aio_bob.bob.messages():
            seen.add(delivery.message.number)
            if len(seen) == 2:
                break
        return seen

    aio_bob.run(leave(turns=0))
    aio_bob.run(leave(turns=5))
    assert aio_bob.run(read()) == {1, 2}


async def numbers_of(messages: AsyncIterator[Delivery]) -> list[int]:
    return [delivery.message.number async for delivery in messages]


def test_an_iteration_ends_when_the_service_closes(aio_bob: AioBob) -> None:
    async def read_and_close() -> list[int]:
        waiting = asyncio.create_task(numbers_of(aio_bob.bob.messages()))
        receipt = await asyncio.to_thread(aio_bob.send, 1)
        await asyncio.to_thread(receipt.wait, PATIENCE_S)
        await aio_bob.bob.close()
        return await waiting

    assert aio_bob.run(read_and_close()) == [1]


def test_an_iteration_can_be_left_after_the_service_has_closed(aio_bob: AioBob) -> None:
    aio_bob.send(1)

    async def read() -> None:
        messages = aio_bob.bob.messages()
        await anext(messages)
        await aio_bob.bob.close()
        await messages.aclose()  # type: ignore[attr-defined]

    aio_bob.run(read())


def test_a_filter_that_has_an_iteration_has_no_second(aio_bob: AioBob) -> None:
    """Nor does the second attempt end the first one's subscription."""

    async def read() -> int:
        messages = aio_bob.bob.messages()
        first = await anext(messages)
        with pytest.raises(InvalidValue, match="has a handler already"):
            await anext(aio_bob.bob.messages())
        return int(first.message.number + (await anext(messages)).message.number)

    aio_bob.send(1)
    aio_bob.send(2)
    assert aio_bob.run(read()) == 3


def test_a_receipt_ends_though_its_handler_does_not(aio_bob: AioBob) -> None:
    """The service closes under a coroutine that has sent and does not end."""
    sent: asyncio.Queue[aio.Receipt] = asyncio.Queue()

    async def handle(delivery: Delivery) -> None:
        await sent.put(await aio_bob.bob.send_message(delivery.sender, Answer(1)))
        await asyncio.Event().wait()

    async def close_and_wait() -> None:
        receipt = await sent.get()
        await aio_bob.bob.close()
        await receipt.wait(PATIENCE_S)

    aio_bob.run(aio_bob.bob.on_message(handle))
    aio_bob.send(1)
    with pytest.raises(Cancelled):
        aio_bob.run(close_and_wait())


@pytest.mark.parametrize("handler", [5, None, print, lambda _: None])
def test_the_awaitable_service_takes_coroutine_functions_only(
    handler: Any, aio_bob: AioBob
) -> None:
    with pytest.raises(InvalidValue, match="coroutine function"):
        aio_bob.run(aio_bob.bob.on_message(handler))


# --- Failures of the application's code ---------------------------------------------------------


async def note_later(_delivery: Delivery) -> None:
    """What a blocking service would never run."""


def test_the_blocking_service_takes_no_coroutine_function(parties: Parties) -> None:
    """Its messages would be acked, and nothing done with them."""
    bob = parties.start("bob")
    with pytest.raises(InvalidValue, match="coroutine function"):
        bob.on_message(note_later)
    with pytest.raises(InvalidValue, match="coroutine function"):
        bob.on_message(message_type=Note)(note_later)
    with pytest.raises(InvalidValue, match="handler: must be callable"):
        bob.on_message(5)  # type: ignore[call-overload]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_message_whose_handler_returns_a_coroutine_is_not_acked(
    elsewhere: bool, parties: Parties
) -> None:
    alice, bob = parties.pair()
    events = events_of(bob)

    def handle(delivery: Delivery) -> object:
        return note_later(delivery)

    with ThreadPoolExecutor(1) as executor:
        bob.on_message(handle, executor=executor if elsewhere else None)
        with pytest.raises(Refused) as refused:
            alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
        bob.close()
    assert refused.value.code is RefusalCode.HANDLER_FAILED
    assert "returned an awaitable" in events.first(CallbackFailed).error


def test_an_event_handler_that_raises_is_reported_and_the_node_goes_on(parties: Parties) -> None:
    alice, bob = parties.pair()

    def fail(_event: Event) -> None:
        raise ValueError("in a callback")

    bob.on_event(fail)
    events = events_of(bob)
    bob.on_message(lambda _: None)
    alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
    alice.close()  # Bob is told, and fails at that.
    told = events.first(CallbackFailed)
    assert told == CallbackFailed("on_event", "ValueError: in a callback")
    assert bob.peers()


def test_a_receipts_callback_that_raises_is_reported_and_the_node_goes_on(
    parties: Parties,
) -> None:
    alice, bob = parties.pair()
    bob.on_message(lambda _: None)
    events = events_of(alice)
    called = Journal[Receipt]()

    def fail(_receipt: Receipt) -> None:
        raise ValueError("in a callback")

    receipt = alice.send_message(bob.address, Note(1))
    receipt.add_done_callback(fail)
    receipt.add_done_callback(called)
    receipt.wait(PATIENCE_S)
    assert called.count(1) == [receipt]
    receipt.add_done_callback(called)  # Too late to wait for: at once.
    assert called.entries == [receipt, receipt]
    told = CallbackFailed("receipt", "ValueError: in a callback")
    assert events.first(CallbackFailed) == told
    alice.send_message(bob.address, Note(2)).wait(PATIENCE_S)


def test_what_is_no_ordinary_exception_ends_the_node_and_close_raises_it(
    parties: Parties,
) -> None:
    alice = parties.start("alice")
    bob = P2PService(LOOPBACK, identity=parties.identity("bob"), limits=HASTY)
    alice.add_peer(bob.record)

    def leave(_delivery: Delivery) -> None:
        raise SystemExit(3)

    bob.on_message(leave)
    receipt = alice.send_message(bob.address, Note(1))
    assert bob._node.ended.result(PATIENCE_S) is None  # noqa: SLF001  # Only to know when.
    with pytest.raises(SystemExit, match="3"):
        bob.close()
    bob.close()  # Told once.
    assert not receipt.acked


def test_a_store_that_loses_the_transaction_under_a_handler_ends_the_node(
    parties: Parties,
) -> None:
    """A handler that swallows the error must not have half of a turn made durable."""
    alice = parties.start("alice")
    path = parties.store("bob")
    bob = P2PService(LOOPBACK, identity=parties.identity("bob"), limits=HASTY, store=path)
    alice.add_peer(bob.record)

    def fill(delivery: Delivery) -> None:
        keep(delivery)
        execute = delivery.transaction.execute
        execute("CREATE TABLE app_once (one INTEGER UNIQUE ON CONFLICT ROLLBACK)")

    bob.on_message(fill)
    with pytest.raises(Refused):
        alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
    bob.close()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        kept(path)
