"""Between an event loop and a node's thread: what goes over, when, and in whose context."""

import asyncio
import gc
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.node_world import LIMITS, Letter, Side, World, world_of
from zmqp2p.limits import STRETCH_MAX
from zmqp2p.node.coroutines import Bridge, CoroutineRunner, Iteration
from zmqp2p.node.deliveries import Delivery
from zmqp2p.node.receipts import Receipt

HOLD_UP_S = 0.001


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time the test says, which counts what wakes it, and need not run."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.woken = 0
        self.faults: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, told: self.faults.append(told))

    def time(self) -> float:
        return self.now

    def call_soon_threadsafe(self, *call: Any, **named: Any) -> Any:  # type: ignore[override]
        self.woken += 1
        return super().call_soon_threadsafe(*call, **named)

    def turn(self, turns: int = 1) -> None:
        """Do what is ready, as a loop that does not sleep."""
        for _ in range(turns):
            self.call_soon(self.stop)
            self.run_forever()


@dataclass
class Rig:
    """A loop and its bridge to a node that only counts how often it is woken."""

    loop: Loop = field(default_factory=Loop)
    wakes: int = 0

    def __post_init__(self) -> None:
        self.bridge = Bridge(self.loop, self._wake)

    def _wake(self) -> None:
        self.wakes += 1


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    with closing(rig.loop):
        yield rig


# --- The bridge ---------------------------------------------------------------------------------


def test_what_is_posted_together_wakes_the_loop_once_and_keeps_its_order(rig: Rig) -> None:
    seen: list[int] = []
    for number in range(3):
        rig.bridge.post(lambda number=number: seen.append(number))  # type: ignore[misc]
    assert (rig.loop.woken, seen) == (1, [])
    rig.loop.turn(2)
    assert seen == [0, 1, 2]
    rig.bridge.post(lambda: seen.append(3))
    assert rig.loop.woken == 2
    rig.loop.turn(2)
    assert seen == [0, 1, 2, 3]


def test_what_is_posted_while_the_loop_looks_is_not_left_behind(rig: Rig) -> None:
    seen: list[str] = []

    def again() -> None:
        seen.append("first")
        rig.bridge.post(lambda: seen.append("second"))

    rig.bridge.post(again)
    rig.loop.turn(4)
    assert seen == ["first", "second"]


def test_one_that_raises_keeps_nobody_behind_it(rig: Rig) -> None:
    seen: list[str] = []

    def fail() -> None:
        raise ValueError("a task factory of the application's")

    rig.bridge.post(fail)
    rig.bridge.post(lambda: seen.append("second"))
    rig.loop.turn(2)
    assert seen == ["second"]
    assert len(rig.loop.faults) == 1


def test_a_post_from_inside_of_a_handler_carries_nothing_of_its_context(rig: Rig) -> None:
    marked: ContextVar[int] = ContextVar("marked", default=0)
    seen: list[int] = []
    context = Context()
    context.run(marked.set, 7)
    context.run(rig.bridge.post, lambda: seen.append(marked.get()))
    rig.loop.turn(2)
    assert seen == [0]


def test_a_post_to_a_loop_that_is_closed_is_forgotten(rig: Rig) -> None:
    rig.loop.close()
    for _ in range(2):
        rig.bridge.post(lambda: pytest.fail("on a closed loop"))


def test_a_loop_that_takes_no_calls_for_another_reason_says_so(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_call: object, **_named: object) -> None:
        raise RuntimeError("not now")

    monkeypatch.setattr(rig.loop, "call_soon_threadsafe", refuse)
    with pytest.raises(RuntimeError, match="not now"):
        rig.bridge.post(lambda: None)


def test_the_node_is_woken_once_for_what_the_loop_does_before_it_pauses(rig: Rig) -> None:
    for _ in range(3):
        rig.bridge.wake_node()
        rig.loop.now += HOLD_UP_S / 4
    assert (rig.wakes, rig.bridge.held_up) == (0, False)
    rig.loop.turn()
    assert rig.wakes == 1
    rig.loop.turn()
    assert rig.wakes == 1
    rig.bridge.wake_node()
    rig.loop.turn()
    assert rig.wakes == 2


def test_a_loop_that_does_not_pause_wakes_the_node_after_a_millisecond(rig: Rig) -> None:
    rig.bridge.wake_node()
    rig.loop.now += HOLD_UP_S * 0.9
    rig.bridge.wake_node()
    assert (rig.wakes, rig.bridge.held_up) == (0, False)
    rig.loop.now += HOLD_UP_S * 0.2
    assert rig.bridge.held_up
    rig.bridge.wake_node()
    assert rig.wakes == 1
    rig.loop.turn()
    assert (rig.wakes, rig.bridge.held_up) == (2, False)


# --- Handlers -----------------------------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[World]:
    with world_of(LIMITS, ("bob", "carol")) as world:
        yield world


def write(world: World, *numbers: int, by: Side | None = None) -> list[Receipt]:
    sent = [(by or world.bob).send(world.alice, Letter(number)) for number in numbers]
    world.run()
    return sent


def handle(
    world: World, rig: Rig, handler: Callable[[Delivery], Coroutine[Any, Any, None]]
) -> None:
    world.alice.handle(handler, CoroutineRunner(rig.bridge))


def finish(world: World, rig: Rig, rounds: int = 10) -> None:
    """Let both sides do all there is to do."""
    for _ in range(rounds):
        rig.loop.turn(5)
        world.run()


def test_a_loop_that_takes_first_steps_at_once_is_not_entered_deeper_with_each_message(
    world: World, rig: Rig
) -> None:
    """As Python 3.12's eager tasks do: 256 messages are handled inside of nothing."""
    depths: list[int] = []

    async def handler(_delivery: Delivery) -> None:
        frame, depth = inspect.currentframe(), 0
        while frame is not None:
            frame, depth = frame.f_back, depth + 1
        depths.append(depth)

    def eager(
        loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **_named: Any
    ) -> "asyncio.Future[Any]":
        ended = loop.create_future()
        try:
            work.send(None)
        except StopIteration as result:
            ended.set_result(result.value)
        return ended

    rig.loop.set_task_factory(eager)  # type: ignore[arg-type]  # Near enough to a task.
    handle(world, rig, handler)
    sent = write(world, *range(STRETCH_MAX))
    rig.loop.turn(2 * STRETCH_MAX)
    world.run()
    assert all(receipt.acked for receipt in sent)
    assert len(set(depths[1:])) == 1


def test_a_coroutine_that_goes_with_its_loop_has_not_failed(world: World, rig: Rig) -> None:
    """It is thrown away where it waits; the message stays in progress until the next start."""

    async def handler(_delivery: Delivery) -> None:
        await asyncio.Event().wait()

    handle(world, rig, handler)
    (sent,) = write(world, 1)
    rig.loop.turn(3)
    rig.loop.close()
    (key,) = world.alice.loop.handlers._subscriptions  # noqa: SLF001  # There is one.
    world.alice.loop.handlers._subscriptions.clear()  # noqa: SLF001
    world.alice.handlers.clear()
    gc.collect()
    world.run(40)
    assert key
    assert sent.error is None
    assert not sent.acked


@pytest.mark.parametrize("before", [True, False])
def test_a_task_that_is_cancelled_costs_its_message_no_attempt_and_none_its_turn(
    before: bool, world: World, rig: Rig
) -> None:
    """In the middle of a stretch, before its first step or after it."""
    seen: list[tuple[int, int]] = []
    cancelled: list[int] = []

    async def handler(delivery: Delivery) -> None:
        number = delivery.message.number
        seen.append((number, delivery.attempt))
        if not before and number == 2 and not cancelled:
            cancelled.append(number)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)

    def factory(
        loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(work, loop=loop, **named)
        if before and len(seen) == 1 and not cancelled:
            cancelled.append(2)
            task.cancel()
        return task

    rig.loop.set_task_factory(factory)  # type: ignore[arg-type]  # Of any kind of result.
    handle(world, rig, handler)
    sent = write(world, 1, 2, 3)
    finish(world, rig)
    twice = [] if before else [(2, 1)]
    assert seen == [(1, 1), *twice, (2, 1), (3, 1)]
    assert cancelled == [2]
    assert all(receipt.acked for receipt in sent)


def test_of_two_peers_coroutines_take_turns(world: World, rig: Rig) -> None:
    seen: list[int] = []

    async def handler(delivery: Delivery) -> None:
        seen.append(delivery.message.number)

    handle(world, rig, handler)
    for number in range(3):
        world.bob.send(world.alice, Letter(number))
        world.others[1].send(world.alice, Letter(10 + number))
    finish(world, rig)
    assert [number // 10 for number in seen] in ([0, 1] * 3, [1, 0] * 3)
    assert 1 <= rig.wakes <= 3  # Or the acks would wait until something else wakes the node.


# --- Iterations ---------------------------------------------------------------------------------


def iterate(world: World, rig: Rig) -> Iteration:
    iteration = Iteration(rig.bridge)
    world.alice.handle(lambda _: None, iteration.add)
    return iteration


def next_of(iteration: Iteration, rig: Rig) -> int | None:
    """Ask for the next message, and let the loop turn until it is there."""
    task = rig.loop.create_task(iteration.next())
    for _ in range(20):
        if task.done():
            delivery = task.result()
            return None if delivery is None else int(delivery.message.number)
        rig.loop.turn()
    task.cancel()
    rig.loop.turn()
    raise LookupError("nothing has come")


def test_a_message_is_processed_when_the_next_is_asked_for(world: World, rig: Rig) -> None:
    iteration = iterate(world, rig)
    sent = write(world, 1, 2)
    assert next_of(iteration, rig) == 1
    world.run()
    assert not sent[0].acked
    assert next_of(iteration, rig) == 2
    world.run()
    assert [receipt.acked for receipt in sent] == [True, False]
    rig.loop.turn()
    assert rig.wakes == 1
    with pytest.raises(LookupError):
        next_of(iteration, rig)
    world.run()
    assert sent[1].acked


def test_an_iteration_goes_from_peer_to_peer(world: World, rig: Rig) -> None:
    iteration = iterate(world, rig)
    write(world, 1, 2, 3)
    write(world, 11, 12, 13, by=world.others[1])
    assert [next_of(iteration, rig) for _ in range(6)] == [1, 11, 2, 12, 3, 13]


def test_what_is_taken_back_from_the_line_comes_again_and_ends_nothing(
    world: World, rig: Rig
) -> None:
    """Another subscription may change to whom it goes."""
    iteration = iterate(world, rig)
    write(world, 1, 2, 3)
    write(world, 11, by=world.others[1])
    assert [next_of(iteration, rig) for _ in range(2)] == [1, 11]
    world.alice.loop.handlers.subscribe(lambda _: None, None, int, None)
    with pytest.raises(LookupError):
        next_of(iteration, rig)
    world.run()
    assert [next_of(iteration, rig) for _ in range(2)] == [2, 3]


@pytest.mark.parametrize("held_up", [False, True])
def test_an_iteration_lets_others_have_the_loop_once_it_has_been_held_up(
    held_up: bool, world: World, rig: Rig
) -> None:
    """The body may await nothing, and messages be there without end."""
    iteration = iterate(world, rig)
    write(world, *range(10))
    rig.loop.turn(3)
    seen: list[object] = []

    async def body() -> None:
        rig.loop.call_soon(seen.append, "another")
        for _ in range(4):
            delivery = await iteration.next()
            assert delivery is not None
            seen.append(delivery.message.number)
            if held_up:
                rig.loop.now += HOLD_UP_S * 1.5

    rig.loop.run_until_complete(body())
    assert seen.index("another") == (2 if held_up else 4)


def test_a_message_that_its_peer_takes_back_comes_again_in_the_same_iteration(
    world: World, rig: Rig
) -> None:
    """Bob's run ends while it is in hand (RES-9); the iteration itself goes on."""
    iteration = iterate(world, rig)
    write(world, 1, 2, 3)
    assert next_of(iteration, rig) == 1
    world.bob.restart()
    world.alice.loop.engine.add_contact(world.bob.loop.record)
    world.run(60)
    seen = []
    for _ in range(3):
        seen.append(next_of(iteration, rig))
        world.run()
    with pytest.raises(LookupError):
        next_of(iteration, rig)
    world.run()
    assert seen == [1, 2, 3]
    assert world.bob.loop.engine.unacked() == 0


@pytest.mark.parametrize("asked", [False, True])
def test_what_waits_in_an_iteration_that_is_left_is_handed_out_again(
    asked: bool, world: World, rig: Rig
) -> None:
    """In hand, in line or on its way: of two peers, each once and in order."""
    iteration = iterate(world, rig)
    write(world, 1, 2)
    write(world, 11, 12, by=world.others[1])
    if asked:
        assert next_of(iteration, rig) == 1
    iteration.leave()
    rig.loop.turn(3)
    (key,) = world.alice.loop.handlers._subscriptions  # noqa: SLF001  # There is one.
    world.alice.loop.handlers.unsubscribe(key)
    again = iterate(world, rig)
    world.run()
    seen = []
    for _ in range(4):
        seen.append(next_of(again, rig))
        world.run()
    assert sorted(number for number in seen if number is not None) == [1, 2, 11, 12]
    assert seen.index(1) < seen.index(2)
    assert seen.index(11) < seen.index(12)


def test_an_iteration_that_is_left_wakes_the_node(world: World, rig: Rig) -> None:
    iteration = iterate(world, rig)
    write(world, 1)
    rig.loop.turn(3)
    wakes = rig.wakes
    iteration.leave()
    rig.loop.turn()
    assert rig.wakes == wakes + 1


def test_an_iteration_ends_when_the_service_has_closed(world: World, rig: Rig) -> None:
    """What waits behind the one in hand is handed to nobody: it could not be acked."""
    iteration = iterate(world, rig)
    write(world, 1, 2)
    assert next_of(iteration, rig) == 1
    world.alice.loop.end_waiting()
    iteration.end()
    assert next_of(iteration, rig) is None
