"""Deliveries: what a handler writes and sends is held until it ends."""

from collections.abc import Awaitable, Generator, Iterator
from contextvars import copy_context
from functools import partial

import pytest

from tests.frames import chain
from zmqp2p.codes import RefusalCode
from zmqp2p.engine.outcomes import message_id
from zmqp2p.engine.pending import Pending
from zmqp2p.errors import InvalidValue, LocalError, RefuseMessage, StoreError
from zmqp2p.ids import Address, Seq, StreamId
from zmqp2p.limits import DEFAULT_LIMITS
from zmqp2p.node.deliveries import (
    CollectedTransaction,
    Delivery,
    Handler,
    ImmediateTransaction,
    check_coroutine_handler,
    check_handler,
    current_delivery,
    run_handler,
)
from zmqp2p.node.receipts import Receipt, ReceiptRoom
from zmqp2p.session.inbox import Inbox
from zmqp2p.session.room import InboxRoom
from zmqp2p.store import MemoryStore

PEER = Address(b"\x01" * 20)
STREAM = StreamId(b"\x02" * 16)


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    made = MemoryStore()
    made.open(PEER, 1)
    yield made
    made.close()


@pytest.fixture
def delivery() -> Delivery:
    inbox = Inbox(STREAM, (Seq(0), chain(STREAM)), [], DEFAULT_LIMITS, InboxRoom(1000))
    pending = Pending(PEER, Seq(5), b"body", "a message", 1, 2, inbox)
    return Delivery(ReceiptRoom(), pending, CollectedTransaction())


def receipt() -> Receipt:
    return Receipt(ReceiptRoom(), PEER, b"body")


def test_a_delivery_tells_what_it_delivers(delivery: Delivery) -> None:
    assert (delivery.sender, delivery.message, delivery.attempt) == (PEER, "a message", 2)
    assert delivery.message_id == message_id(STREAM, Seq(5), b"body")
    assert repr(delivery) == f"<Delivery str 5 from 0x{PEER.hex()}>"


def test_what_is_sent_is_held_until_the_handler_ends(delivery: Delivery) -> None:
    first, second, late = receipt(), receipt(), receipt()
    assert delivery.adopt(first)
    assert delivery.adopt(second)
    assert first.holder is delivery
    assert delivery.close() == [first, second]
    assert not delivery.adopt(late)
    assert late.holder is None
    assert delivery.close() == []


def test_a_handler_runs_with_its_delivery_at_hand(delivery: Delivery) -> None:
    seen: list[object] = []

    def handle(given: Delivery) -> None:
        seen.extend((given, current_delivery.get(), given.runs_here()))

    assert run_handler(handle, delivery) is None
    assert seen == [delivery, delivery, True]
    assert current_delivery.get() is None
    assert not delivery.runs_here()


def test_who_inherits_the_context_of_a_handler_that_has_ended_is_not_in_it(
    delivery: Delivery,
) -> None:
    contexts = []
    run_handler(lambda _: contexts.append(copy_context()), delivery)
    assert contexts[0].run(delivery.runs_here)
    delivery.close()
    assert not contexts[0].run(delivery.runs_here)


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(1), RefuseMessage(RefusalCode.REPLAY, "again")]
)
def test_what_a_handler_raises_is_returned(error: BaseException, delivery: Delivery) -> None:
    def handle(_delivery: Delivery) -> None:
        raise error

    assert run_handler(handle, delivery) is error
    assert current_delivery.get() is None


def test_an_immediate_transaction_is_marked_at_its_first_statement(store: MemoryStore) -> None:
    before = ImmediateTransaction(store)
    before.execute("CREATE TABLE app_t (n INTEGER)")
    transaction = ImmediateTransaction(store)
    unused = transaction.used
    transaction.execute("INSERT INTO app_t VALUES (?)", (1,))
    transaction.execute("INSERT INTO app_t VALUES (?)", (2,))
    assert (unused, transaction.used) == (False, True)
    assert transaction.execute("SELECT n FROM app_t") == [(1,), (2,)]
    store.rollback_to_savepoint()
    assert before.execute("SELECT n FROM app_t") == []


def test_an_immediate_transaction_is_over_when_closed(store: MemoryStore) -> None:
    transaction = ImmediateTransaction(store)
    transaction.close()
    with pytest.raises(LocalError, match="is over"):
        transaction.execute("CREATE TABLE app_t (n INTEGER)")
    assert not transaction.used


def test_a_statement_that_fails_is_undone_with_the_rest(store: MemoryStore) -> None:
    transaction = ImmediateTransaction(store)
    with pytest.raises(StoreError):
        transaction.execute("INSERT INTO app_missing VALUES (1)")
    assert transaction.used  # There is a mark to go back to.


def test_a_collected_transaction_keeps_statements_in_order() -> None:
    transaction = CollectedTransaction()
    parameters = [1]
    assert transaction.execute("one", parameters) == []
    parameters[0] = 2  # What it was when it was given counts.
    transaction.execute("two")
    assert transaction.close() == [("one", (1,)), ("two", ())]
    with pytest.raises(LocalError, match="is over"):
        transaction.execute("three")
    assert transaction.close() == []


# --- Functions, and coroutine functions ---------------------------------------------------------


class Callback:
    """A callable object."""

    def __call__(self, delivery: Delivery) -> None: ...


class AsyncCallback:
    """A callable object whose calls are awaited."""

    async def __call__(self, delivery: Delivery) -> None: ...

    async def method(self, delivery: Delivery) -> None: ...


async def later(_delivery: object, *_more: object) -> None: ...


class Promise(Awaitable[None]):
    """An awaitable that is no coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        yield


FUNCTIONS = [print, Callback(), partial(print, 1), lambda _: None, Callback]
COROUTINE_FUNCTIONS = [
    later,
    partial(partial(later, 1), 2),
    AsyncCallback(),
    partial(AsyncCallback()),
    AsyncCallback().method,
]


@pytest.mark.parametrize("handler", FUNCTIONS)
def test_a_function_does_its_work_when_it_is_called(handler: object) -> None:
    check_handler(handler)
    with pytest.raises(InvalidValue, match="handler: must be a coroutine function"):
        check_coroutine_handler(handler)


@pytest.mark.parametrize("handler", COROUTINE_FUNCTIONS)
def test_a_coroutine_function_does_its_work_when_it_is_awaited(handler: object) -> None:
    check_coroutine_handler(handler)
    with pytest.raises(InvalidValue, match="handler: must be no coroutine function"):
        check_handler(handler)


@pytest.mark.parametrize("handler", [None, 5, "print"])
def test_what_cannot_be_called_is_no_handler(handler: object) -> None:
    for check in (check_handler, check_coroutine_handler):
        with pytest.raises(InvalidValue, match="handler"):
            check(handler)


@pytest.mark.parametrize("handler", [lambda given: later(given, 1), lambda _: Promise()])
def test_a_handler_that_returns_an_awaitable_has_failed(
    handler: Handler, delivery: Delivery
) -> None:
    """Nobody awaits it: acked, the message would be lost. A coroutine is closed, or it warns."""
    fault = run_handler(handler, delivery)
    assert isinstance(fault, LocalError)
    assert "zmqp2p.aio" in str(fault)
