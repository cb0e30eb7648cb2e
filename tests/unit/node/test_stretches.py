"""Stretches: what of a stream is handed out together, and what stops it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import pytest

from tests.node_world import LIMITS, Elsewhere, Letter, World, world_of
from zmqp2p.codes import RefusalCode
from zmqp2p.errors import Refused, RefuseMessage
from zmqp2p.limits import STRETCH_MAX, STRETCH_MAX_BYTES
from zmqp2p.node import executors
from zmqp2p.node.deliveries import HandlerCancelled, current_delivery
from zmqp2p.node.executors import ExecutorRunner
from zmqp2p.node.receipts import Receipt
from zmqp2p.node.stretches import Stretch


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def world(elsewhere: Elsewhere) -> Iterator[World]:
    """Alice, whose handlers are elsewhere and write by their transactions, and Bob."""
    with world_of(replace(LIMITS, handler_attempts=3), ("bob",)) as world:
        world.alice.handle(lambda _: None, elsewhere)
        world.alice.store.transaction.execute("CREATE TABLE app_seen (number INTEGER UNIQUE)")
        yield world


def write(world: World, *numbers: int) -> list[Receipt]:
    sent = [world.bob.send(world.alice, Letter(number)) for number in numbers]
    world.run()
    return sent


def finish(elsewhere: Elsewhere, error: BaseException | None = None) -> int:
    """Let what is in progress elsewhere end; the node does not hear of it before its next turn."""
    ((delivery, done),) = elsewhere.handed
    elsewhere.handed.clear()
    number = int(delivery.message.number)
    done(error)
    return number


def note(elsewhere: Elsewhere, number: int) -> None:
    """Write ``number``, in the transaction of what is in progress."""
    ((delivery, _),) = elsewhere.handed
    delivery.transaction.execute("INSERT INTO app_seen VALUES (?)", (number,))


def seen(world: World) -> list[int]:
    rows = world.alice.store.transaction.execute("SELECT number FROM app_seen ORDER BY number")
    return [number for (number,) in rows]


def in_progress(elsewhere: Elsewhere) -> list[int]:
    return [delivery.message.number for delivery, _ in elsewhere.handed]


def length(stretch: Stretch) -> int:
    return len(stretch._deliveries)  # noqa: SLF001  # Nobody else needs to know.


def acked(sent: list[Receipt]) -> list[bool]:
    return [receipt.acked for receipt in sent]


def test_a_whole_stretch_ends_in_one_turn(world: World, elsewhere: Elsewhere) -> None:
    sent = write(world, 1, 2, 3)
    for number in (1, 2, 3):
        note(elsewhere, number)
        assert finish(elsewhere) == number
    assert len(elsewhere.stretches) == 1
    assert seen(world) == []
    world.alice.turn()
    assert seen(world) == [1, 2, 3]
    world.run()
    assert acked(sent) == [True] * 3


def test_a_stretch_is_acked_as_far_as_its_handlers_have_ended(
    world: World, elsewhere: Elsewhere
) -> None:
    sent = write(world, 1, 2, 3)
    finish(elsewhere)
    finish(elsewhere)
    world.run()
    assert acked(sent) == [True, True, False]
    assert in_progress(elsewhere) == [3]


@pytest.mark.parametrize("fault", [ValueError("no"), HandlerCancelled()])
def test_a_failure_in_the_middle_of_a_stretch_ends_it_and_undoes_nothing_before(
    fault: Exception, world: World, elsewhere: Elsewhere
) -> None:
    """What follows comes again after the one that failed, each for the first time."""
    sent = write(world, 1, 2, 3)
    note(elsewhere, 1)
    finish(elsewhere)
    note(elsewhere, 2)
    finish(elsewhere, fault)
    assert elsewhere.handed == []
    world.run(30)
    assert seen(world) == [1]
    assert acked(sent) == [True, False, False]
    ((delivery, _),) = elsewhere.handed
    assert delivery.attempt == (1 if isinstance(fault, HandlerCancelled) else 2)
    note(elsewhere, 2)
    assert finish(elsewhere) == 2
    ((delivery, _),) = elsewhere.handed
    assert delivery.attempt == 1
    assert finish(elsewhere) == 3
    world.run()
    assert seen(world) == [1, 2]
    assert acked(sent) == [True] * 3


def test_a_refusal_in_the_middle_of_a_stretch_is_of_that_message_only(
    world: World, elsewhere: Elsewhere
) -> None:
    sent = write(world, 1, 2, 3)
    finish(elsewhere)
    finish(elsewhere, RefuseMessage(RefusalCode.PAYLOAD_INVALID, "not this one"))
    world.run()
    assert finish(elsewhere) == 3
    world.run()
    assert acked(sent) == [True, False, True]
    assert isinstance(sent[1].error, Refused)


def test_what_cannot_be_written_undoes_what_was_begun_after_it(
    world: World, elsewhere: Elsewhere
) -> None:
    """There all had ended well. The failed one is not tried again while a later one is handled."""
    sent = write(world, 1, 2, 3, 4, 5)
    for number in (1, 1, 3):  # The second breaks the table's rule.
        note(elsewhere, number)
        finish(elsewhere)
    ((delivery, _),) = elsewhere.handed  # The fourth.
    answer = Receipt(world.alice.loop.desk.room, world.bob.address, b"never sent")
    world.alice.loop.desk.gate.enter(world.bob.address, len(answer.body), 0)
    token = current_delivery.set(delivery)
    assert delivery.adopt(answer)
    current_delivery.reset(token)
    world.run(40)
    assert seen(world) == [1]
    assert acked(sent) == [True, False, False, False, False]
    assert in_progress(elsewhere) == [4]
    finish(elsewhere)
    world.run(40)
    assert answer.error is not None
    assert [(each.message.number, each.attempt) for each, _ in elsewhere.handed] == [(2, 2)]
    for number in (2, 3, 4, 5):
        note(elsewhere, number)
        assert finish(elsewhere) == number
    world.run()
    assert seen(world) == [1, 2, 3, 4, 5]
    assert acked(sent) == [True] * 5


def test_a_stretch_stops_when_the_peers_own_run_is_over(world: World, elsewhere: Elsewhere) -> None:
    """RES-9: what it sends again is handed out anew, and the former stretch goes no further."""
    write(world, 1, 2, 3)
    world.bob.restart()
    world.alice.loop.engine.add_contact(world.bob.loop.record)
    world.run(60)
    former, *_ = elsewhere.stretches
    assert not former.waits
    assert in_progress(elsewhere)[0] == 1
    delivery, done = elsewhere.handed.pop(0)
    delivery.transaction.execute("INSERT INTO app_seen VALUES (1)")
    done(None)
    world.run()
    assert former.begin() is None
    while elsewhere.handed:
        note(elsewhere, in_progress(elsewhere)[0])
        finish(elsewhere)
        world.run()
    assert seen(world) == [1, 2, 3]
    assert world.bob.loop.engine.unacked() == 0


def test_another_subscription_takes_what_was_not_begun() -> None:
    elsewhere, other = Elsewhere(), Elsewhere()
    with world_of(LIMITS, ("bob",)) as world:
        handlers = world.alice.loop.handlers
        handlers.subscribe(lambda _: None, elsewhere, None, None)
        write(world, 1, 2, 3)
        handlers.subscribe(lambda _: None, other, Letter, None)
        finish(elsewhere)
        world.run()
        assert in_progress(elsewhere) == []
        assert in_progress(other) == [2]


def test_what_is_in_progress_but_not_begun_is_not_taken_back() -> None:
    """An executor has not come to it: it ends there, or its place would never be free."""
    waiting: list[Stretch] = []
    with world_of(replace(LIMITS, handlers_max=1), ("bob",)) as world:
        handlers = world.alice.loop.handlers
        handlers.subscribe(lambda _: None, lambda _handler, one: waiting.append(one), None, None)
        sent = write(world, 1, 2)
        other = Elsewhere()
        handlers.subscribe(lambda _: None, other, Letter, None)
        (stretch,) = waiting
        delivery = stretch.begin()
        assert delivery is not None
        assert delivery.message.number == 1
        stretch.end(None)
        assert stretch.begin() is None
        world.run()
        assert in_progress(other) == [2]
        assert acked(sent) == [True, False]


def test_what_was_begun_goes_on_when_its_subscription_ends(
    world: World, elsewhere: Elsewhere
) -> None:
    sent = write(world, 1, 2, 3)
    finish(elsewhere)
    handlers = world.alice.loop.handlers
    handlers.unsubscribe(next(iter(handlers._subscriptions)))  # noqa: SLF001  # There is one.
    assert finish(elsewhere) == 2
    assert elsewhere.handed == []
    world.run()
    assert acked(sent)[:2] == [True, True]


def test_a_stretch_has_a_place_until_somebody_waits_for_it(elsewhere: Elsewhere) -> None:
    limits = replace(LIMITS, handlers_max=1)
    with world_of(limits, ("bob", "carol")) as world:
        world.alice.handle(lambda _: None, elsewhere)
        write(world, 1, 2, 3)
        finish(elsewhere)
        world.run()
        assert in_progress(elsewhere) == [2]
        world.others[1].send(world.alice, Letter(9))
        world.run()
        assert finish(elsewhere) == 2
        world.run()
        assert finish(elsewhere) == 9
        world.run()
        assert in_progress(elsewhere) == [3]


def test_while_somebody_waits_for_a_place_a_stretch_is_one_message(elsewhere: Elsewhere) -> None:
    with world_of(replace(LIMITS, handlers_max=1), ("bob", "carol", "dave")) as world:
        world.alice.handle(lambda _: None, elsewhere)
        for side in world.others:
            for number in range(2):
                side.send(world.alice, Letter(number))
        world.run()
        finish(elsewhere)
        world.run()
        assert [length(stretch) for stretch in elsewhere.stretches[1:]] == [1]


def test_what_is_looked_at_ahead_counts_for_the_turn(elsewhere: Elsewhere) -> None:
    with world_of(replace(LIMITS, turn_max_messages=4), ("bob",)) as world:
        world.alice.handle(lambda _: None, elsewhere)
        sent = write(world, *range(10))
        assert length(elsewhere.stretches[0]) == 4
        while elsewhere.handed:
            finish(elsewhere)
            world.run()
        assert acked(sent) == [True] * 10


def test_what_a_stretch_may_hold_is_bounded(world: World, elsewhere: Elsewhere) -> None:
    write(world, *range(STRETCH_MAX + 1))
    (stretch,) = elsewhere.stretches
    assert length(stretch) == STRETCH_MAX


def test_the_bytes_of_a_stretch_are_bounded(world: World, elsewhere: Elsewhere) -> None:
    for number in range(3):
        world.bob.send(world.alice, Letter(number, "x" * (STRETCH_MAX_BYTES // 2 - 100)))
    world.run()
    (stretch,) = elsewhere.stretches
    assert length(stretch) == 2


def test_a_message_that_may_expire_is_looked_at_when_it_is_its_turn(
    world: World, elsewhere: Elsewhere
) -> None:
    world.bob.send(world.alice, Letter(1))
    late = world.bob.send(world.alice, Letter(2), expires_in_s=0.1)
    world.run(40)
    finish(elsewhere)
    world.run()
    assert elsewhere.handed == []
    assert late.error is not None


def test_when_the_node_closes_what_a_stretch_has_sent_ends(
    world: World, elsewhere: Elsewhere
) -> None:
    write(world, 1, 2)
    finish(elsewhere)  # The node does not hear of it any more.
    ((delivery, _),) = elsewhere.handed
    answer = Receipt(world.alice.loop.desk.room, world.bob.address, b"never sent")
    assert delivery.adopt(answer)
    assert world.alice.loop.handlers.close() == [answer]
    assert not delivery.adopt(answer)


def test_a_stretch_hands_out_one_at_a_time_and_nothing_after_the_last(
    world: World, elsewhere: Elsewhere
) -> None:
    write(world, 1, 2)
    (stretch,) = elsewhere.stretches
    assert stretch.begin() is None  # One is in hand.
    assert not stretch.waits
    finish(elsewhere)
    finish(elsewhere)
    told: list[BaseException | None] = []
    stretch._tell = lambda _stretch, error: told.append(error)  # noqa: SLF001  # To see that it is silent.
    stretch.end(None)
    assert told == []
    assert isinstance(stretch, Stretch)


class Inline(Executor):
    """Does everything at once, on the caller's thread; but not what it is told not to do."""

    def __init__(self, wild: dict[int, Exception | None]) -> None:
        self.submitted = 0
        self._wild = wild

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> "Future[Any]":
        self.submitted += 1
        future: Future[Any] = Future()
        if self.submitted not in self._wild:
            future.set_result(function(*arguments, **named))
        elif (fault := self._wild[self.submitted]) is None:
            future.cancel()
        else:
            future.set_exception(fault)
        return future


@pytest.mark.parametrize("slow", [False, True])
def test_an_executor_is_left_to_others_after_a_while(
    slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that does all at once is not entered again from inside, however long the stretch."""
    monkeypatch.setattr(executors, "_SLICE_S", 0.0 if slow else 1000.0)
    executor, numbers = Inline({}), []
    with world_of(LIMITS, ("bob",)) as world:
        world.alice.handle(
            lambda delivery: numbers.append(delivery.message.number),
            ExecutorRunner(executor, lambda: None),
        )
        sent = write(world, *range(STRETCH_MAX))
        assert numbers == list(range(STRETCH_MAX))
        assert acked(sent) == [True] * STRETCH_MAX
        assert executor.submitted == (STRETCH_MAX if slow else 1)


@pytest.mark.parametrize("fault", [None, OSError("broken")])
def test_an_executor_that_does_not_come_to_it_ends_the_stretch(
    fault: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled there, it is handed out again; as often as it takes. A fault is the message's."""
    monkeypatch.setattr(executors, "_SLICE_S", 0.0)
    attempts: list[tuple[int, int]] = []
    executor = Inline({2: fault})
    with world_of(LIMITS, ("bob",)) as world:
        world.alice.handle(
            lambda delivery: attempts.append((delivery.message.number, delivery.attempt)),
            ExecutorRunner(executor, lambda: None),
        )
        sent = write(world, 1, 2, 3)
        world.run(60)
        assert attempts == [(1, 1), (2, 1 if fault is None else 2), (3, 1)]
        assert acked(sent) == [True] * 3


class Closing(Executor):
    """Has one task done when the test says so, and takes no second one."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Callable[[], Any], Future[Any]]] = []

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> "Future[Any]":
        if self.tasks:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        self.tasks.append((partial(function, *arguments, **named), future))
        return future


def test_an_executor_that_takes_no_more_of_a_stretch_fails_its_next_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executors, "_SLICE_S", 0.0)
    executor = Closing()
    with world_of(replace(LIMITS, handler_attempts=1), ("bob",)) as world:
        world.alice.handle(lambda _: None, ExecutorRunner(executor, lambda: None))
        sent = write(world, 1, 2)
        ((work, future),) = executor.tasks
        future.set_result(work())
        world.run()
        assert sent[0].acked
        assert isinstance(sent[1].error, Refused)


def test_nothing_more_begins_once_the_node_has_closed(world: World, elsewhere: Elsewhere) -> None:
    """In hand or not begun at all: it could not be acked any more, and comes again."""
    sent = write(world, 1, 2, 3)
    (stretch,) = elsewhere.stretches
    world.alice.loop.end_waiting()
    assert finish(elsewhere) == 1
    assert elsewhere.handed == []
    assert not stretch.waits
    stretch.check()
    assert acked(sent) == [False] * 3


def test_a_stretch_that_was_not_begun_when_the_node_closed_never_begins(world: World) -> None:
    waiting: list[Stretch] = []
    with world_of(LIMITS, ("carol",)) as other:
        other.alice.handle(lambda _: None, lambda _handler, stretch: waiting.append(stretch))
        other.bob.send(other.alice, Letter(1))
        other.run()
        other.alice.loop.end_waiting()
    (stretch,) = waiting
    assert stretch.begin() is None
    assert world.alice.alive


@pytest.mark.parametrize("cancel", [False, True])
def test_an_executor_wakes_the_node_for_each_end(
    cancel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an ack would wait until something else wakes it: half a second, where all is quiet."""
    monkeypatch.setattr(executors, "_SLICE_S", 0.0)
    executor, told = Closing(), []
    with world_of(replace(LIMITS, handler_attempts=1), ("bob",)) as world:
        mailbox = world.alice.commands
        runner = ExecutorRunner(executor, lambda: told.append(len(mailbox)))
        world.alice.handle(lambda _: None, runner)
        write(world, 1, 2)
        ((work, future),) = executor.tasks
        mailbox.clear()
        if cancel:
            future.cancel()
            future.set_running_or_notify_cancel()
            assert told == [1]
        else:
            work()
            assert told == [1]
            future.set_result(None)
            assert told == [1, 2]  # It takes no more: that is the end of the second.


@pytest.mark.no_cover  # As tests/sim/conftest.py.
@pytest.mark.parametrize("seed", range(12))
def test_effects_are_once_and_in_order_whatever_happens_to_handlers_peers_and_the_node(
    seed: int,
) -> None:
    """Handlers fail, refuse, are cancelled, write what cannot be; peers and the node start anew."""
    rng = Random(seed)
    elsewhere = Elsewhere()
    limits = replace(LIMITS, handlers_max=rng.choice([1, 2, 9]), handler_attempts=9)
    with world_of(limits, ("bob", "carol", "dave")) as world:
        alice = world.alice
        alice.handle(lambda _: None, elsewhere)
        alice.store.transaction.execute("CREATE TABLE app_seen (number INTEGER UNIQUE)")
        world.run()
        for number in range(1, 41):
            for hundred, side in enumerate(world.others, start=1):
                side.send(alice, Letter(100 * hundred + number))
        world.run(1)
        refused: set[int] = set()
        for step in range(4000):
            chance = rng.random()
            if chance < 0.003 and step < 1000:
                _start_anew(world, elsewhere, rng)
            elif chance < 0.3 or not elsewhere.handed:
                world.run(1)
            else:
                _end_somehow(elsewhere, rng, refused)
        assert all(side.loop.engine.unacked() == 0 for side in world.others)
        rows = [row[0] for row in alice.rows("SELECT number FROM app_seen ORDER BY rowid")]
        for hundred in (1, 2, 3):
            wanted = [n for n in range(100 * hundred + 1, 100 * hundred + 41) if n not in refused]
            assert [n for n in rows if n // 100 == hundred] == wanted


def _start_anew(world: World, elsewhere: Elsewhere, rng: Random) -> None:
    """End the run of a peer or, less often, of the node, and begin the next one."""
    side = rng.choice([*world.others, *world.others, world.alice])
    side.restart()
    if side is world.alice:
        elsewhere.handed.clear()  # They go with the process.
    for other in world.others:
        world.alice.loop.engine.add_contact(other.loop.record)


def _end_somehow(elsewhere: Elsewhere, rng: Random, refused: set[int]) -> None:
    """Let one of the handlers end: most write their number once, and end well."""
    delivery, done = elsewhere.handed.pop(rng.randrange(len(elsewhere.handed)))
    number = delivery.message.number
    write_row = "INSERT INTO app_seen VALUES (?)"
    delivery.transaction.execute(write_row, (number,))
    if number % 10 == 3:  # Always, since what it did may count for nothing.
        refused.add(number)
        done(RefuseMessage(RefusalCode.PAYLOAD_INVALID, "not this one"))
        return
    chance = rng.random()
    if chance < 0.1 and delivery.attempt < 5:
        done(ValueError("no"))
    elif chance < 0.2:
        done(HandlerCancelled())
    elif chance < 0.3 and delivery.attempt < 5:
        delivery.transaction.execute(write_row, (number,))  # Breaks the table's rule, later.
        done(None)
    else:
        done(None)
