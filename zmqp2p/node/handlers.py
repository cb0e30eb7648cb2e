"""Runs the application's handlers, and makes each one's effects all or nothing."""

from collections.abc import Callable

from zmqp2p.engine.engine import Engine, Pending
from zmqp2p.errors import Cancelled, RefuseMessage
from zmqp2p.ids import ChannelId
from zmqp2p.node.deliveries import (
    CollectedTransaction,
    Delivery,
    Handler,
    HandlerCancelled,
    ImmediateTransaction,
    Runner,
    Subscription,
    run_handler,
)
from zmqp2p.node.desk import ReceiptDesk
from zmqp2p.node.receipts import Receipt
from zmqp2p.store.base import Store


class Handlers:
    """The subscriptions of a node. Belongs to the node's thread."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        desk: ReceiptDesk,
        later: Callable[[Callable[[], None]], None],
        failed: Callable[[str, Exception], None],
    ) -> None:
        """Run on the node's thread what ``later`` is given; report faults to ``failed``."""
        self._engine = engine
        self._store = store
        self._desk = desk
        self._later = later
        self._failed = failed
        self._subscriptions: dict[int, Subscription] = {}
        self._running: set[Delivery] = set()  # Here, or on other threads.

    def subscribe(
        self, handler: Handler, runner: Runner | None, kind: type | None, channel: ChannelId | None
    ) -> int:
        """Hand the messages that fit to ``handler``; raises InvalidValue."""
        key = self._engine.subscribe(kind, channel)
        self._subscriptions[key] = Subscription(handler, runner)
        return key

    def unsubscribe(self, key: int) -> None:
        """End a subscription; what its handler has in hand still ends."""
        self._engine.unsubscribe(key)
        self._subscriptions.pop(key, None)

    def deliver(self, pending: Pending) -> None:
        """Hand one message to its handler, here or elsewhere."""
        subscription = self._subscriptions[pending.subscription]
        handler, runner = subscription.handler, subscription.runner
        if runner is None:
            delivery = Delivery(self._desk.room, pending, ImmediateTransaction(self._store))
            self._running.add(delivery)
            self._handled(pending, delivery, run_handler(handler, delivery))
            return
        delivery = Delivery(self._desk.room, pending, CollectedTransaction())
        self._running.add(delivery)

        def done(error: BaseException | None) -> None:
            self._later(lambda: self._handled(pending, delivery, error))

        try:
            runner(handler, delivery, done)
        except Exception as fault:  # noqa: BLE001  # The application's executor, or it is shut down.
            self._handled(pending, delivery, fault)

    def close(self) -> list[Receipt]:
        """Return what handlers that have not ended have sent: it will never leave."""
        return [receipt for delivery in self._running for receipt in delivery.close()]

    def _handled(self, pending: Pending, delivery: Delivery, error: BaseException | None) -> None:
        """A handler has ended: its effects and the ack go into this turn's transaction."""
        if isinstance(delivery.transaction, ImmediateTransaction):
            delivery.transaction.close()
        if error is None and not self._engine.awaits(pending):
            # The peer's run or stream is over: it sends this again, or something else instead.
            error = HandlerCancelled()
        if error is None:
            error = self._apply_collected(delivery.transaction)
        if error is None:
            for receipt in self._end(delivery):
                self._desk.send(self._engine, receipt)
            self._engine.complete(pending)
            return
        transaction = delivery.transaction
        if isinstance(transaction, ImmediateTransaction) and transaction.used:
            self._store.rollback_to_savepoint()
        undone = Cancelled("the handler that sent it failed")
        self._desk.unsent([(receipt, undone) for receipt in self._end(delivery)])
        if not isinstance(error, Exception):
            raise error
        self._fail(pending, error)

    def _end(self, delivery: Delivery) -> list[Receipt]:
        """What the handler wrote is in the transaction, or undone: return what it sent."""
        self._running.discard(delivery)
        return delivery.close()

    def _fail(self, pending: Pending, error: Exception) -> None:
        if isinstance(error, HandlerCancelled):
            self._engine.put_back(pending)
        elif isinstance(error, RefuseMessage):
            self._engine.refuse(pending, error.code, str(error.reason))
        else:
            self._failed("on_message", error)
            self._engine.retry(pending, "the handler failed")

    def _apply_collected(self, transaction: object) -> Exception | None:
        """Carry out what a handler on another thread has written."""
        if not isinstance(transaction, CollectedTransaction):
            return None
        statements = transaction.close()
        if not statements:
            return None
        self._store.savepoint()
        try:
            for sql, parameters in statements:
                self._store.transaction.execute(sql, parameters)
        except Exception as fault:  # noqa: BLE001  # The application's code, as its handler is.
            self._store.rollback_to_savepoint()
            return fault
        return None
