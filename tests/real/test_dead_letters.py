"""Dead letters and handlers in progress on real sockets, by both faces."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import time

import pytest

from tests.real.face_world import World
from tests.real.faces import AioFace, Face
from tests.real.parties import HASTY, PATIENCE_S, Journal, Note, Parties, until
from zmqp2p import (
    Delivery,
    DeliveryTimeout,
    HandlerFailed,
    InvalidValue,
    LocalError,
    Refused,
    UnknownMessage,
    WouldDeadlock,
)
from zmqp2p.codes import RefusalCode
from zmqp2p.events import Event, MessageFailed
from zmqp2p.ids import MessageId

LIMITS = replace(HASTY, handler_attempts=2)


@pytest.fixture(params=["blocking", "aio"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = World(request.param, durable=True, folder=tmp_path)
    yield made
    made.close()


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    made = Parties(tmp_path)
    yield made
    made.close()


class Moody:
    """A handler that fails until it is told not to."""

    def __init__(self) -> None:
        self.fails = True
        self.handled: Journal[tuple[Note, int]] = Journal()

    def __call__(self, delivery: Delivery) -> None:
        if self.fails:
            raise ValueError(f"note {delivery.message.number}")
        self.handled((delivery.message, delivery.attempt))


def buried(stored: World, *numbers: int) -> tuple[Face, Face, Moody, list[MessageId]]:
    """Return Alice, Bob, his handler, and the ids of notes that it has failed to handle."""
    alice, bob = stored.pair(limits=LIMITS)
    moody = Moody()
    bob.on_message(moody, message_type=Note)
    ids = []
    for number in numbers:
        receipt = alice.send(bob.address, Note(number))
        with pytest.raises(Refused) as caught:
            receipt.wait(PATIENCE_S)
        assert caught.value.code is RefusalCode.HANDLER_FAILED
        ids.append(receipt.message_id())
    return alice, bob, moody, ids


def test_a_message_that_fails_for_good_is_listed(stored: World) -> None:
    alice, bob, _, ids = buried(stored, 1, 2)
    first, second = bob.dead_letters()
    assert [first.message_id, second.message_id] == ids
    assert (first.sender, first.message) == (alice.address, Note(1))
    assert (first.attempts, first.error) == (2, "ValueError: note 1")
    assert abs(first.failed_at_ms / 1000 - time()) < 60.0
    assert alice.dead_letters() == []


def test_the_application_is_told_of_a_message_that_failed(stored: World) -> None:
    alice, bob = stored.pair(limits=LIMITS)
    events: Journal[Event] = Journal()
    bob.on_event(events)
    bob.on_message(Moody())
    receipt = alice.send(bob.address, Note(1))
    told = events.first(MessageFailed)
    assert told == MessageFailed(
        alice.address, receipt.message_id(), "ValueError: note 1", kept=True
    )


def test_a_dead_letter_is_handled_again_after_a_restart(stored: World) -> None:
    _, bob, _, ids = buried(stored, 1, 2)
    bob.close()
    bob = stored.start("bob", f"ipc://{stored.folder}/bob.ipc", limits=LIMITS)
    with pytest.raises(LocalError, match="nobody has subscribed"):
        bob.redrive(ids[0])
    moody = Moody()
    bob.on_message(moody, message_type=Note)
    with pytest.raises(HandlerFailed) as caught:
        bob.redrive(ids[0], PATIENCE_S)
    assert isinstance(caught.value.__cause__, ValueError)
    assert [letter.attempts for letter in bob.dead_letters()] == [3, 2]
    moody.fails = False
    bob.redrive(ids[0], PATIENCE_S)
    assert moody.handled.entries == [(Note(1), 4)]
    assert [letter.message_id for letter in bob.dead_letters()] == ids[1:]
    bob.discard(ids[1])
    assert bob.dead_letters() == []
    for ask in (bob.redrive, bob.discard):
        with pytest.raises(UnknownMessage):
            ask(ids[1])
        with pytest.raises(InvalidValue):
            ask(MessageId(b"short"))


def test_a_dead_letter_that_takes_long_goes_on_though_nobody_waits(stored: World) -> None:
    _, bob = stored.pair(limits=LIMITS)
    alice = stored.start("carol")
    alice.add_peer(bob.record)
    gate, fails, executor = threading.Event(), [True], ThreadPoolExecutor(1)

    def handle(_delivery: Delivery) -> None:
        if fails:
            raise ValueError
        assert gate.wait(PATIENCE_S)

    wanted = {} if isinstance(bob, AioFace) else {"executor": executor}
    bob.on_message(handle, message_type=Note, **wanted)
    receipt = alice.send(bob.address, Note(1))
    with pytest.raises(Refused):
        receipt.wait(PATIENCE_S)
    fails.clear()
    (letter,) = bob.dead_letters()
    with pytest.raises(DeliveryTimeout):
        bob.redrive(letter.message_id, 0.01)
    with pytest.raises(LocalError, match="being handled"):
        bob.discard(letter.message_id)
    gate.set()
    until(bob.dead_letters, lambda letters: letters == [])
    executor.shutdown()


def test_a_handler_on_the_nodes_thread_cannot_have_another_one_run(parties: Parties) -> None:
    """It would run in the middle of its transaction."""
    alice, bob = parties.pair(limits=LIMITS)
    raised: Journal[BaseException] = Journal()

    def handle(delivery: Delivery) -> None:
        try:
            bob.redrive(delivery.message_id)
        except WouldDeadlock as fault:
            raised(fault)

    bob.on_message(handle)
    alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
    assert len(raised.count(1)) == 1


def test_so_many_handlers_are_in_progress_on_executors_and_no_more(parties: Parties) -> None:
    bob = parties.start("bob", limits=replace(HASTY, handlers_max=2))
    senders = [parties.start(name) for name in ("alice", "carol", "dave")]
    begun: Journal[int] = Journal()
    gates = {number: threading.Event() for number in range(3)}

    def handle(delivery: Delivery) -> None:
        begun(delivery.message.number)
        assert gates[delivery.message.number].wait(PATIENCE_S)

    with ThreadPoolExecutor(3) as executor:
        bob.on_message(handle, executor=executor)
        receipts = []
        for number, sender in enumerate(senders):
            bob.add_peer(sender.record)  # Guests have three quarters of the places.
            sender.add_peer(bob.record)
            receipts.append(sender.send_message(bob.address, Note(number)))
        first, second = begun.count(2)
        (third,) = {0, 1, 2} - {first, second}
        gates[second].set()
        assert begun.count(3)[2] == third
        assert not receipts[first].ended
        gates[third].set()
        receipts[third].wait(PATIENCE_S)
        gates[first].set()
        receipts[first].wait(PATIENCE_S)
