"""Messages whose handler failed for good: refused, kept within bounds, handled again or dropped."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import pytest

from tests.node_world import LIMITS, Elsewhere, Letter, Side, World, world_of
from zmqp2p.codes import RefusalCode
from zmqp2p.engine.outcomes import message_id
from zmqp2p.errors import (
    Cancelled,
    HandlerFailed,
    InvalidValue,
    LocalError,
    Refused,
    RefuseMessage,
    UnknownMessage,
)
from zmqp2p.events import MessageFailed, MessageRefused
from zmqp2p.ids import Address, MessageId, Seq, StreamId
from zmqp2p.limits import ERROR_MAX_BYTES
from zmqp2p.node.deliveries import Delivery, HandlerCancelled
from zmqp2p.node.letters import letters_of
from zmqp2p.node.receipts import Receipt
from zmqp2p.persistence import FailedMessage

ALICE, BOB = Address(b"a" * 20), Address(b"b" * 20)
STREAM = StreamId(b"s" * 16)


@dataclass
class Moody:
    """A handler that writes, and then fails while it is told to."""

    error: BaseException | None = field(default_factory=lambda: ValueError("out of order"))
    attempts: list[int] = field(default_factory=list)

    def __call__(self, delivery: Delivery) -> None:
        self.attempts.append(delivery.attempt)
        number = delivery.message.number
        delivery.transaction.execute("INSERT INTO app_seen VALUES (?)", (number,))
        if self.error is not None:
            raise self.error


@pytest.fixture
def world() -> Iterator[World]:
    with world_of() as made:
        yield made


@pytest.fixture
def moody(world: World) -> Moody:
    return install(world.bob)


def install(side: Side) -> Moody:
    """Let a side have a moody handler, and the table it writes to."""
    side.store.transaction.execute("CREATE TABLE app_seen (number INTEGER)")
    handler = Moody()
    side.handle(handler)
    return handler


def fail(world: World, *numbers: int, text: str = "") -> list[Receipt]:
    """Let Alice send letters that Bob fails to handle."""
    receipts = [world.alice.send(world.bob, Letter(number, text)) for number in numbers]
    world.run(30 * len(numbers))
    return receipts


def letters(side: Side) -> dict[MessageId, FailedMessage]:
    """Return the dead letters of a side."""
    return dict(side.loop.engine.dead_letters.all())


def redrive(side: Side, letter_id: MessageId) -> "Future[None]":
    """Have a dead letter handled again, in the next turn."""
    future: Future[None] = Future()
    side.later(lambda: side.loop.handlers.redrive(letter_id, future))
    side.turn()
    return future


def seen(side: Side) -> list[int]:
    """Return what was written for good, or is in this turn's transaction."""
    return [number for (number,) in side.rows("SELECT number FROM app_seen")]


# --- Kept ---------------------------------------------------------------------------------------


def test_a_message_that_fails_for_good_is_refused_and_kept(world: World, moody: Moody) -> None:
    (receipt,) = fail(world, 1)
    assert isinstance(receipt.error, Refused)
    assert (receipt.error.code, receipt.error.reason) == (
        RefusalCode.HANDLER_FAILED,
        "the handler failed",
    )
    ((letter_id, letter),) = letters(world.bob).items()
    assert letter_id == receipt.message_id
    assert (letter.sender, letter.seq, letter.body) == (world.alice.address, 1, receipt.body)
    assert (letter.attempts, letter.error) == (2, "ValueError: out of order")
    assert 0 < world.bob.utc_ms() - letter.at_ms < 10_000
    assert moody.attempts == [1, 2]
    assert seen(world.bob) == []


def test_the_application_is_told(world: World, moody: Moody) -> None:
    assert moody.error
    (receipt,) = fail(world, 1)
    told = MessageFailed(
        world.alice.address, receipt.message_id, "ValueError: out of order", kept=True
    )
    assert world.bob.of_kind(MessageFailed) == [told]
    assert len(world.bob.of_kind(MessageRefused)) == 1


def test_dead_letters_survive_a_restart(world: World, moody: Moody) -> None:
    assert moody.error
    fail(world, 1, 2, 3)
    before = letters(world.bob)
    assert len(before) == 3
    world.bob.restart()
    assert list(letters(world.bob).items()) == list(before.items())


def test_a_message_that_the_handler_refuses_itself_is_not_kept(world: World, moody: Moody) -> None:
    moody.error = RefuseMessage(RefusalCode.REPLAY, "seen")
    (receipt,) = fail(world, 1)
    assert isinstance(receipt.error, Refused)
    assert letters(world.bob) == {}
    assert world.bob.of_kind(MessageFailed) == []


def test_a_letter_is_in_the_store_exactly_if_its_refusal_is(world: World, moody: Moody) -> None:
    """One commit: a crash before it leaves neither, and the message comes again."""
    assert moody.error
    bob = world.bob
    world.alice.send(world.bob, Letter(1))
    commit = bob.store.commit

    def crash() -> None:
        if bob.loop.engine.dead_letters.all():
            raise KeyboardInterrupt
        commit()

    bob.store.commit = crash  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.run(40)
    bob.store.commit = commit  # type: ignore[method-assign]
    bob.restart()
    assert letters(bob) == {}
    world.run(40)
    assert len(letters(bob)) == 1


def test_a_message_of_a_run_that_is_over_is_not_kept() -> None:
    """It comes again: its handler's failure counts for nothing."""
    elsewhere = Elsewhere()
    with world_of(replace(LIMITS, handler_attempts=1)) as world:
        world.bob.handle(lambda _: None, elsewhere)
        world.alice.send(world.bob, Letter(1))
        world.run()
        world.alice.restart()
        world.alice.loop.engine.add_contact(world.bob.loop.record)
        world.run()
        elsewhere.handed[0][1](ValueError("stale"))
        world.run()
        assert letters(world.bob) == {}
        assert len(elsewhere.handed) == 2


@pytest.mark.parametrize("error", ["x" * 5000, "\ud800" * 1200, "é" * 800])
def test_what_is_kept_of_an_error_is_short_and_can_be_stored(
    world: World, moody: Moody, error: str
) -> None:
    moody.error = ValueError(error)
    fail(world, 1)
    world.bob.restart()
    (letter,) = letters(world.bob).values()
    assert letter.error.startswith("ValueError: ")
    assert ERROR_MAX_BYTES - 1 <= len(letter.error.encode()) <= ERROR_MAX_BYTES


# --- Bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "kept"),
    [
        ({"dead_letters_max_messages": 2}, [1, 2, 11, 12]),
        ({"dead_letters_max_bytes": 120}, [1, 2, 11, 12]),
        ({"dead_letters_total_max_messages": 3}, [1, 2, 3]),
        ({"dead_letters_total_max_bytes": 180}, [1, 2, 3]),
    ],
)
def test_there_are_bounds_and_what_exceeds_them_is_refused_all_the_same(
    bound: dict[str, int], kept: list[int]
) -> None:
    """A peer must not fill the disk; and a full disk must not stop its stream."""
    with world_of(replace(LIMITS, **bound), ("bob", "carol")) as world:
        alice, (bob, carol) = world.alice, world.others
        install(alice)
        sent = []
        for side, numbers in ((bob, (1, 2, 3)), (carol, (11, 12, 13))):
            for number in numbers:
                sent.append(side.send(alice, Letter(number, "x" * 50)))
                world.run(30)
        assert all(isinstance(receipt.error, Refused) for receipt in sent)
        assert numbers_of(alice) == kept
        told = [event.kept for event in alice.of_kind(MessageFailed)]
        assert told == [number in kept for number in (1, 2, 3, 11, 12, 13)]
        alice.loop.handlers.discard(next(iter(letters(alice))))
        alice.turn()
        bob.send(alice, Letter(4, "x" * 50))
        world.run(30)
        assert 4 in numbers_of(alice)


@pytest.mark.parametrize(
    "bound", [{"dead_letters_guests_max_messages": 2}, {"dead_letters_guests_max_bytes": 8}]
)
def test_guests_have_a_share_and_leave_contacts_the_rest(bound: dict[str, int]) -> None:
    """Many of them may be one, who knows what a handler fails at."""
    with world_of(replace(LIMITS, **bound)) as world:
        dead = world.alice.loop.engine.dead_letters
        contact = world.bob.address
        for number, sender in enumerate((contact, ALICE, BOB, ALICE, contact), start=1):
            dead.bury(replace(failed(number), sender=sender))
        assert [letter.seq for letter in dead.all().values()] == [1, 2, 3, 5]
        dead.check()


def numbers_of(side: Side) -> list[int]:
    """Return the numbers of the dead letters of a side."""
    found = letters_of(list(letters(side).items()))
    return [letter.message.number for letter in found]  # type: ignore[attr-defined]


def test_a_node_may_start_with_more_than_its_limits_say_now(world: World, moody: Moody) -> None:
    assert moody.error
    fail(world, 1, 2)
    world.bob.limits = replace(LIMITS, dead_letters_max_messages=1)
    world.bob.restart()
    world.run()
    assert len(letters(world.bob)) == 2
    fail(world, 3)
    assert len(letters(world.bob)) == 2


# --- Handled again ------------------------------------------------------------------------------


def test_a_letter_that_is_handled_after_all_is_gone_with_the_same_commit(
    world: World, moody: Moody
) -> None:
    fail(world, 1, 2)
    first, second = letters(world.bob)
    moody.error = None
    redrive(world.bob, second).result(0)
    assert list(letters(world.bob)) == [first]
    world.bob.restart()
    assert list(letters(world.bob)) == [first]
    assert seen(world.bob) == [2]


def test_who_waits_is_told_after_the_commit(world: World, moody: Moody) -> None:
    fail(world, 1, 2)
    first, second = letters(world.bob)
    order: list[str] = []
    commit = world.bob.store.commit

    def commit_and_note() -> None:
        commit()
        order.append("committed")

    world.bob.store.commit = commit_and_note  # type: ignore[method-assign]
    for letter_id, error in ((first, None), (second, ValueError("no"))):
        moody.error = error
        future: Future[None] = Future()
        future.add_done_callback(lambda _: order.append("told"))
        world.bob.loop.handlers.redrive(letter_id, future)
        assert order == []
        world.bob.turn()
        assert order == ["committed", "told"]
        order.clear()


def test_a_crash_before_the_commit_leaves_the_letter_and_nothing_of_its_effects(
    world: World, moody: Moody
) -> None:
    fail(world, 1)
    ((letter_id, letter),) = letters(world.bob).items()
    moody.error = None
    future: Future[None] = Future()
    world.bob.loop.handlers.redrive(letter_id, future)
    assert not future.done()
    world.bob.restart()
    assert letters(world.bob) == {letter_id: letter}
    assert seen(world.bob) == []


def test_what_the_handler_sends_leaves_with_it(world: World) -> None:
    fail_once = [True]
    alice, bob = world.alice, world.bob
    answers: list[Receipt] = []

    def answer(delivery: Delivery) -> None:
        answers.append(bob.send(alice, Letter(9)))
        bob.commands.remove(answers[-1])
        delivery.adopt(answers[-1])  # As `Node.send` does.
        if fail_once[0]:
            raise ValueError

    bob.handle(answer)
    fail(world, 1)
    assert all(isinstance(receipt.error, Cancelled) for receipt in answers)
    fail_once[0] = False
    redrive(bob, next(iter(letters(bob)))).result(0)
    assert answers[-1].stored


def test_a_letter_that_fails_again_stays_in_its_place_and_counts_on(
    world: World, moody: Moody
) -> None:
    fail(world, 1, 2)
    first, second = letters(world.bob)
    world.now += 5.0
    moody.error = KeyError("else")
    future = redrive(world.bob, first)
    with pytest.raises(HandlerFailed, match="KeyError: 'else'") as caught:
        future.result(0)
    assert caught.value.__cause__ is moody.error
    assert moody.attempts[-1] == 3
    for _ in range(2):
        assert list(letters(world.bob)) == [first, second]
        letter = letters(world.bob)[first]
        assert (letter.attempts, letter.error) == (3, "KeyError: 'else'")
        assert letter.at_ms - letters(world.bob)[second].at_ms > 4000
        world.bob.restart()
    assert seen(world.bob) == []


def test_a_letter_that_its_handler_refuses_stays(world: World, moody: Moody) -> None:
    """It was refused long ago; what is left is for a person to decide."""
    fail(world, 1)
    (letter_id,) = letters(world.bob)
    moody.error = RefuseMessage(RefusalCode.REPLAY, "seen")
    with pytest.raises(HandlerFailed, match="replay"):
        redrive(world.bob, letter_id).result(0)
    assert letter_id in letters(world.bob)


def test_a_letter_whose_handler_is_cancelled_stays_as_it_was(world: World, moody: Moody) -> None:
    fail(world, 1)
    ((letter_id, letter),) = letters(world.bob).items()
    moody.error = HandlerCancelled()
    with pytest.raises(Cancelled):
        redrive(world.bob, letter_id).result(0)
    assert letters(world.bob) == {letter_id: letter}


def test_a_letter_handled_elsewhere_is_busy_until_the_handler_ends(world: World) -> None:
    elsewhere = Elsewhere()
    world.bob.store.transaction.execute("CREATE TABLE app_seen (number INTEGER)")
    world.bob.handle(lambda _: None, elsewhere)
    world.alice.send(world.bob, Letter(1))
    for _ in range(LIMITS.handler_attempts):
        world.run(30)
        elsewhere.handed.pop()[1](ValueError("no"))
    world.run()
    (letter_id,) = letters(world.bob)
    future = redrive(world.bob, letter_id)
    handlers = world.bob.loop.handlers
    with pytest.raises(LocalError, match="being handled"):
        handlers.redrive(letter_id, Future())
    with pytest.raises(LocalError, match="being handled"):
        handlers.discard(letter_id)
    delivery, done = elsewhere.handed.pop()
    assert (delivery.message_id, delivery.attempt, delivery.message) == (letter_id, 3, Letter(1))
    assert delivery.sender == world.alice.address
    delivery.transaction.execute("INSERT INTO app_seen VALUES (1)")
    assert not future.done()
    done(None)
    world.bob.turn()
    future.result(0)
    assert (letters(world.bob), seen(world.bob)) == ({}, [1])


def test_a_node_that_ends_tells_who_waits_for_a_letter(world: World) -> None:
    elsewhere = Elsewhere()
    world.bob.handle(lambda _: None, elsewhere)
    world.alice.send(world.bob, Letter(1))
    for _ in range(LIMITS.handler_attempts):
        world.run(30)
        elsewhere.handed.pop()[1](ValueError("no"))
    world.run()
    (letter_id,) = letters(world.bob)
    future, given_up = redrive(world.bob, letter_id), Future[None]()
    world.bob.loop.end_waiting()
    with pytest.raises(Cancelled):
        future.result(0)
    world.bob.restart()
    world.bob.loop.handlers.redrive(letter_id, given_up)
    assert given_up.cancel()
    elsewhere.handed.pop()[1](None)
    world.bob.turn()
    assert letters(world.bob) == {}


def test_a_letter_without_a_handler_stays(world: World, moody: Moody) -> None:
    assert moody.error
    fail(world, 1)
    (letter_id,) = letters(world.bob)
    world.bob.handlers.clear()
    world.bob.restart()
    with pytest.raises(LocalError, match="nobody has subscribed to Letter"):
        world.bob.loop.handlers.redrive(letter_id, Future())
    assert letter_id in letters(world.bob)


def test_a_letter_is_discarded_for_good(world: World, moody: Moody) -> None:
    assert moody.error
    fail(world, 1, 2)
    first, second = letters(world.bob)
    world.bob.loop.handlers.discard(first)
    world.bob.turn()
    world.bob.restart()
    assert list(letters(world.bob)) == [second]


@pytest.mark.parametrize(
    ("asked", "error"), [(bytes(32), UnknownMessage), (b"x", InvalidValue), ([], InvalidValue)]
)
def test_a_letter_that_is_not_there_is_told_so(
    world: World, asked: MessageId, error: type[Exception]
) -> None:
    handlers = world.bob.loop.handlers
    with pytest.raises(error):
        handlers.redrive(asked, Future())
    with pytest.raises(error):
        handlers.discard(asked)


# --- As values -----------------------------------------------------------------------------------


def failed(seq: int, body: bytes = b"body", attempts: int = 5) -> FailedMessage:
    return FailedMessage(ALICE, STREAM, Seq(seq), body, attempts, f"error {attempts}", 77)


def test_the_application_sees_the_message_if_its_type_is_known(world: World) -> None:
    receipt = world.alice.send(world.bob, Letter(1, "hello"))
    asked = MessageId(b"i" * 32)
    known, unknown = letters_of([(asked, failed(1, receipt.body)), (asked, failed(2, b"\x00"))])
    assert (known.message_id, known.sender, known.message) == (asked, ALICE, Letter(1, "hello"))
    assert (known.attempts, known.error, known.failed_at_ms) == (5, "error 5", 77)
    assert (unknown.message, unknown.body) == (None, b"\x00")
    assert "body" not in repr(known)


def test_a_letter_that_cannot_be_read_now_is_not_handled(world: World) -> None:
    letter_id = message_id(STREAM, Seq(1), b"\x00")
    world.bob.loop.engine.dead_letters.bury(failed(1, b"\x00"))
    with pytest.raises(LocalError, match="cannot be read"):
        world.bob.loop.handlers.redrive(letter_id, Future())


def test_one_message_is_kept_once(world: World) -> None:
    dead = world.bob.loop.engine.dead_letters
    dead.bury(failed(1))
    dead.bury(replace(failed(1), sender=BOB))
    assert [letter.sender for letter in dead.all().values()] == [ALICE]
    dead.check()
