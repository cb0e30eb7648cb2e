"""Receipts on real sockets and files: both faces, restarts, and a sender that is killed."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.real.face_world import World
from tests.real.parties import (
    HASTY,
    PATIENCE_S,
    Answer,
    Journal,
    Note,
    Parties,
    numbers_into,
    until,
)
from zmqp2p import (
    Backpressure,
    Delivery,
    DeliveryTimeout,
    Expired,
    Identity,
    InvalidValue,
    Limits,
    P2PService,
    Receipt,
    Refused,
    RefuseMessage,
    TooLarge,
    UnknownMessage,
)
from zmqp2p.codes import RefusalCode
from zmqp2p.ids import MessageId

KILLS = 8
NOTES_PER_RUN = 120


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


def judge(delivery: Delivery) -> None:
    """Refuse every third note."""
    if delivery.message.number % 3 == 0:
        raise RefuseMessage(RefusalCode.PAYLOAD_INVALID, f"note {delivery.message.number}")


# --- Both faces ---------------------------------------------------------------------------------


def test_how_a_message_ended_can_be_asked_after_a_restart(stored: World) -> None:
    alice, bob = stored.pair()
    bob.on_message(judge)
    ids = [alice.send(bob.address, Note(number)).message_id() for number in range(1, 5)]
    alice.flush(PATIENCE_S)
    for _ in range(2):
        found = [alice.receipt(asked) for asked in ids]
        assert [receipt.acked for receipt in found] == [True, True, False, True]
        assert [receipt.message_id() for receipt in found] == ids
        found[0].wait(0)
        with pytest.raises(Refused, match="note 3"):
            found[2].wait(0)
        alice.close()
        alice = stored.start("alice")


def test_what_an_earlier_run_sent_has_a_receipt_that_ends(stored: World) -> None:
    alice, bob = stored.pair()
    bob.close()
    ids = [alice.send(bob.address, Note(number)).message_id() for number in (1, 3)]
    late = alice.send(bob.address, Note(4), expires_in_s=0.001).message_id()
    alice.close()
    alice = stored.start("alice")
    waiting = [alice.receipt(asked) for asked in (*ids, late)]
    assert [receipt.error for receipt in waiting] == [None] * 3
    with pytest.raises(DeliveryTimeout):
        waiting[0].wait(0.01)
    bob = stored.start("bob", f"ipc://{stored.folder}/bob.ipc")
    bob.on_message(judge)
    waiting[0].wait(PATIENCE_S)
    with pytest.raises(Refused):
        waiting[1].wait(PATIENCE_S)
    with pytest.raises(Expired):
        waiting[2].wait(PATIENCE_S)


def test_a_message_that_is_not_known_is_told_so(stored: World) -> None:
    alice, _bob = stored.pair()
    with pytest.raises(UnknownMessage):
        alice.receipt(MessageId(bytes(32)))
    with pytest.raises(InvalidValue):
        alice.receipt(MessageId(bytes(31)))


def test_an_outbox_is_as_full_after_a_restart_as_it_was_before(stored: World) -> None:
    limits = Limits(outbox_max_messages=2, redial_max_s=0.2)
    alice, bob = stored.pair(limits=limits)
    bob.close()
    ids = [alice.send(bob.address, Note(number)).message_id() for number in (1, 2)]
    alice.close()
    alice = stored.start("alice", limits=limits)
    with pytest.raises(Backpressure):
        alice.send(bob.address, Note(3), timeout_s=0)
    with pytest.raises(DeliveryTimeout):
        alice.send(bob.address, Note(3), timeout_s=0.02)
    bob = stored.start("bob", f"ipc://{stored.folder}/bob.ipc")
    bob.on_message(lambda _: None)
    alice.receipt(ids[1]).wait(PATIENCE_S)
    alice.send(bob.address, Note(3), timeout_s=PATIENCE_S).wait(PATIENCE_S)


def test_what_can_never_be_sent_is_refused_and_not_waited_for(stored: World) -> None:
    alice, bob = stored.pair(limits=Limits(outbox_max_bytes=1000))
    with pytest.raises(TooLarge):
        alice.send(bob.address, Note(1, "x" * 1000))


# --- Handlers -----------------------------------------------------------------------------------


def test_what_a_handler_sent_has_a_receipt_in_the_next_run(parties: Parties) -> None:
    """Its id exists once the handler's transaction is committed, not before."""
    alice = parties.start("alice", limits=replace(HASTY, subscribe_grace_s=60.0))
    bob = parties.start("bob", store=parties.store("bob"))
    alice.add_peer(bob.record)
    journal: Journal[tuple[bool, Receipt]] = Journal()

    def answer(delivery: Delivery) -> None:
        receipt = bob.send_message(delivery.sender, Answer(delivery.message.number))
        journal((receipt.stored, receipt))
        with pytest.raises(UnknownMessage):  # Asking waits for nothing, on the node's own thread.
            bob.receipt(delivery.message_id)

    bob.on_message(answer, message_type=Note)
    alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
    ((stored, receipt),) = journal.count(1)
    assert not stored
    asked = receipt.message_id
    bob.close()
    again = parties.restart("bob", bob).receipt(asked)
    alice.on_message(lambda _: None, message_type=Answer)
    again.wait(PATIENCE_S)


# --- Kills --------------------------------------------------------------------------------------


def test_after_any_kill_each_id_tells_what_became_of_its_message(parties: Parties) -> None:
    """A sender is killed at random moments; every id that it ever learned can be asked for."""
    bob = parties.start("bob", store=parties.store("bob"))
    seen: Journal[int] = Journal()
    note = numbers_into(seen)

    def handle(delivery: Delivery) -> None:
        judge(delivery)
        note(delivery)

    bob.on_message(handle)
    key, rng = parties.folder / "sender.key", Random(7)
    Identity.load_or_create(key)
    ids: dict[int, MessageId] = {}
    for run in range(KILLS):
        arguments = [key, parties.store("sender"), bob.record, 1 + run * 1000, NOTES_PER_RUN]
        ids.update(_run_and_kill(list(map(str, arguments)), rng.randrange(1, NOTES_PER_RUN)))
    identity = Identity.load_or_create(key)
    with P2PService(None, identity=identity, store=parties.store("sender"), limits=HASTY) as sender:
        receipts = {number: sender.receipt(asked) for number, asked in ids.items()}
        for number, receipt in receipts.items():
            if number % 3 == 0:
                with pytest.raises(Refused, match=f"note {number}"):
                    receipt.wait(PATIENCE_S)
            else:
                receipt.wait(PATIENCE_S)
    assert len(ids) >= KILLS
    entries = until(lambda: seen.entries, lambda entries: len(entries) >= 1)
    assert {number for number in ids if number % 3} <= set(entries)


def _run_and_kill(arguments: list[str], after: int) -> dict[int, MessageId]:
    """Kill a sender when it has told so many ids; return all that it has told."""
    command = [sys.executable, "-m", "tests.real.sender", *arguments]
    told: dict[int, MessageId] = {}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.endswith("\n"):  # Else it was killed in the middle of it.
                number, asked = line.split()
                told[int(number)] = MessageId(bytes.fromhex(asked))
            if len(told) == after:
                child.kill()
    return told
