"""Handlers that end in a later turn: in the order of each stream, so many at a time, fairly."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from tests.node_world import LIMITS, Done, Elsewhere, Letter, Side, World, world_of
from zmqp2p.errors import Expired, Refused
from zmqp2p.node.deliveries import Delivery
from zmqp2p.node.receipts import Receipt
from zmqp2p.store import MemoryStore

PEERS = ("bob", "carol", "dave")


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


def meet(most: int, elsewhere: Elsewhere) -> "Iterator[World]":
    """Yield Alice, who hands out so many letters at a time, and three who write to her."""
    with world_of(replace(LIMITS, handlers_max=most), PEERS) as world:
        world.alice.handle(lambda _: None, elsewhere)
        yield world


@pytest.fixture
def world(elsewhere: Elsewhere) -> Iterator[World]:
    yield from meet(2, elsewhere)


def write(world: World, *numbers: int) -> dict[int, Receipt]:
    """Let each of the others send letters: Bob 100 and up, Carol 200 and up."""
    sent = {}
    for hundred, side in enumerate(world.others, start=1):
        for number in numbers:
            letter = Letter(100 * hundred + number)
            sent[letter.number] = side.send(world.alice, letter)
    world.run()
    return sent


def in_progress(elsewhere: Elsewhere) -> list[int]:
    return [delivery.message.number for delivery, _ in elsewhere.handed]


def finish(world: World, elsewhere: Elsewhere, number: int, error: Exception | None = None) -> None:
    """Let the handler of a letter end."""
    (found,) = [each for each in elsewhere.handed if each[0].message.number == number]
    elsewhere.handed.remove(found)
    found[1](error)
    world.run(2)


def test_no_more_are_in_progress_than_there_are_places(world: World, elsewhere: Elsewhere) -> None:
    write(world, 1, 2)
    assert in_progress(elsewhere) == [101, 201]
    world.run()
    assert len(elsewhere.handed) == 2


def test_when_one_ends_the_peer_that_waits_longest_is_next(
    world: World, elsewhere: Elsewhere
) -> None:
    """Not the one whose handler has just ended, though its next message is there too."""
    write(world, 1, 2)
    finish(world, elsewhere, 101)
    assert in_progress(elsewhere) == [201, 301]
    finish(world, elsewhere, 301)
    assert in_progress(elsewhere) == [201, 102]
    finish(world, elsewhere, 201)
    assert in_progress(elsewhere) == [102, 302]
    finish(world, elsewhere, 102)
    assert in_progress(elsewhere) == [302, 202]


def test_one_message_of_a_peer_is_in_progress_at_a_time_in_order(
    world: World, elsewhere: Elsewhere
) -> None:
    """SEQ-3; and an ack comes only when its handler has ended."""
    sent = write(world, 1, 2, 3)
    order = []
    while elsewhere.handed:
        number = elsewhere.handed[0][0].message.number
        assert not sent[number].ended
        order.append(number)
        finish(world, elsewhere, number)
        world.run()
        assert sent[number].acked
    for hundred in (1, 2, 3):
        assert [each for each in order if each // 100 == hundred] == [
            100 * hundred + number for number in (1, 2, 3)
        ]


def test_a_handler_that_fails_gives_its_place_away_while_its_message_waits(
    world: World, elsewhere: Elsewhere
) -> None:
    write(world, 1)
    finish(world, elsewhere, 101, ValueError("no"))
    assert in_progress(elsewhere) == [201, 301]
    world.run(20)
    assert in_progress(elsewhere) == [201, 301]
    finish(world, elsewhere, 201)
    assert in_progress(elsewhere) == [301, 101]
    assert [delivery.attempt for delivery, _ in elsewhere.handed] == [1, 2]


def test_handlers_on_the_nodes_own_thread_need_no_place(elsewhere: Elsewhere) -> None:
    with world_of(replace(LIMITS, handlers_max=1), PEERS) as world:
        world.alice.handle(lambda _: None, elsewhere)
        write(world, 1)
        (key,) = world.alice.loop.handlers._subscriptions  # noqa: SLF001  # To swap it.
        world.alice.loop.handlers.unsubscribe(key)
        seen: list[int] = []
        world.alice.handle(lambda delivery: seen.append(delivery.message.number))
        world.others[1].send(world.alice, Letter(202))
        world.run()
        # Those that stand in line do until the place is free; then they need none.
        assert seen == []
        finish(world, elsewhere, 101)
        world.run()
        assert seen == [201, 301, 202]


@pytest.mark.parametrize(("forgets", "handled"), [(False, [201, 301]), (True, [301])])
def test_a_peer_in_line_whose_run_ends_keeps_nobody_waiting(
    forgets: bool, handled: list[int], elsewhere: Elsewhere
) -> None:
    """It sends again what it still has; nothing, if it has lost its store."""
    for world in meet(1, elsewhere):
        sent = write(world, 1)
        assert in_progress(elsewhere) == [101]
        carol = world.others[1]
        carol.end()  # She stands in line.
        if forgets:
            carol.store = MemoryStore()
        carol.start()
        world.alice.loop.engine.add_contact(carol.loop.record)
        world.run(60)
        finish(world, elsewhere, 101)
        numbers = []
        while elsewhere.handed:
            numbers += in_progress(elsewhere)
            finish(world, elsewhere, numbers[-1])
            world.run()
        assert sorted(numbers) == handled
        assert sent[301].acked


def test_a_message_that_has_expired_in_line_leaves_its_place_to_the_next(
    elsewhere: Elsewhere,
) -> None:
    for world in meet(1, elsewhere):
        write(world, 1)
        late = world.others[1].send(world.alice, Letter(202), expires_in_s=0.1)
        world.run()
        finish(world, elsewhere, 101)
        finish(world, elsewhere, 201)
        world.run(20)
        assert in_progress(elsewhere) == [301]
        finish(world, elsewhere, 301)
        world.run()
        assert isinstance(late.error, Expired)
        assert elsewhere.handed == []


def test_a_run_that_ends_while_its_message_is_in_progress_takes_no_place_with_it(
    elsewhere: Elsewhere,
) -> None:
    """The old handler goes on, and has its place until it ends."""
    for world in meet(1, elsewhere):
        bob = world.bob
        bob.send(world.alice, Letter(101))
        world.run()
        bob.restart()
        world.alice.loop.engine.add_contact(bob.loop.record)
        world.run(60)
        assert in_progress(elsewhere) == [101]
        finish(world, elsewhere, 101)
        world.run()
        assert in_progress(elsewhere) == [101]  # Again: what the first one did counts for nothing.
        finish(world, elsewhere, 101)
        world.run()
        assert bob.loop.engine.unacked() == 0


@pytest.mark.no_cover  # As tests/sim/conftest.py.
@pytest.mark.parametrize("seed", range(8))
def test_everything_is_handled_once_and_in_order_whatever_the_handlers_do(seed: int) -> None:
    rng = Random(seed)
    elsewhere = Elsewhere()
    limits = replace(LIMITS, handlers_max=rng.choice([1, 2, 3]), handler_attempts=3)
    with world_of(limits, PEERS) as world:
        world.alice.handle(lambda _: None, elsewhere)
        sent = write(world, *range(1, 9))
        ended: dict[Side, list[int]] = {side: [] for side in world.others}
        failures: dict[int, int] = {}
        for _ in range(2000):
            world.run(1)
            assert len(elsewhere.handed) <= limits.handlers_max
            if not elsewhere.handed or rng.random() < 0.3:
                continue
            _end_one(world, elsewhere, rng, ended, failures)
        for side, numbers in ended.items():
            assert [number % 100 for number in numbers] == list(range(1, 9)), side.name
        for number, receipt in sent.items():
            refused = failures.get(number, 0) == limits.handler_attempts
            assert isinstance(receipt.error, Refused) if refused else receipt.acked


def _end_one(
    world: World,
    elsewhere: Elsewhere,
    rng: Random,
    ended: dict[Side, list[int]],
    failures: dict[int, int],
) -> None:
    """Let one of the handlers end, well or not; note a message when it is done with."""
    handed: tuple[Delivery, Done] = rng.choice(elsewhere.handed)
    elsewhere.handed.remove(handed)
    delivery, done = handed
    number = delivery.message.number
    fails = rng.random() < 0.4
    failures[number] = failures.get(number, 0) + fails
    if not fails or delivery.attempt == world.alice.limits.handler_attempts:
        ended[world.others[number // 100 - 1]].append(number)
    done(ValueError("no") if fails else None)
