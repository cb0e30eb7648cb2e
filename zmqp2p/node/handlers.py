"""Runs the application's handlers, and makes each one's effects all or nothing."""

from collections.abc import Callable
from concurrent.futures import Future

from zmqp2p.engine.dead_letters import Redriven
from zmqp2p.engine.engine import Engine, Pending
from zmqp2p.errors import Cancelled, DeliveryError, HandlerFailed, LocalError, RefuseMessage
from zmqp2p.ids import ChannelId, MessageId
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

Handed = Pending | Redriven


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
        self._redrives: dict[MessageId, Future[None]] = {}  # Under way.
        # Redrives that ended in this turn, to be told after its commit.
        self._redriven: list[tuple[Future[None], DeliveryError | None]] = []

    def subscribe(
        self, handler: Handler, runner: Runner | None, kind: type | None, channel: ChannelId | None
    ) -> int:
        """Hand the messages that fit to ``handler``; raises InvalidValue."""
        key = self._engine.subscribe(kind, channel, late=runner is not None)
        self._subscriptions[key] = Subscription(handler, runner)
        return key

    def unsubscribe(self, key: int) -> None:
        """End a subscription; what its handler has in hand still ends."""
        self._engine.unsubscribe(key)
        self._subscriptions.pop(key, None)

    def deliver(self, handed: Handed) -> None:
        """Hand one message to its handler, here or elsewhere."""
        subscription = self._subscriptions[handed.subscription]
        handler, runner = subscription.handler, subscription.runner
        if runner is None:
            delivery = Delivery(self._desk.room, handed, ImmediateTransaction(self._store))
            self._running.add(delivery)  # What it sent ends even if its end makes the node fail.
            self._handled(handed, delivery, run_handler(handler, delivery))
            return
        delivery = Delivery(self._desk.room, handed, CollectedTransaction())
        self._running.add(delivery)

        def done(error: BaseException | None) -> None:
            self._later(lambda: self._handled(handed, delivery, error))

        try:
            runner(handler, delivery, done)
        except Exception as fault:  # noqa: BLE001  # The application's executor, or it is shut down.
            self._handled(handed, delivery, fault)

    def redrive(self, letter_id: MessageId, future: "Future[None]") -> None:
        """Hand a dead letter to its handler; end ``future`` when what that did is committed.

        Raises:
            UnknownMessage, LocalError: see `DeadLetters.redrive`; or it is under way already.
        """
        self._check_idle(letter_id)
        letter = self._engine.dead_letters.redrive(letter_id)
        self._redrives[letter_id] = future
        self.deliver(letter)

    def discard(self, letter_id: MessageId) -> None:
        """Forget a dead letter; raises UnknownMessage, or LocalError while it is being handled."""
        self._check_idle(letter_id)
        self._engine.dead_letters.remove(letter_id)

    def resolve(self) -> None:
        """The turn is committed: tell what came of dead letters."""
        redriven, self._redriven = self._redriven, []
        for future, error in redriven:
            if not future.set_running_or_notify_cancel():
                continue  # Nobody wants to know any more.
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def close(self) -> list[Receipt]:
        """End; return what handlers that have not ended have sent: it will never leave."""
        error = Cancelled("the service closed; a dead letter whose handler had not ended stays")
        waiting = [*self._redrives.values(), *(future for future, _ in self._redriven)]
        self._redriven = [(future, error) for future in waiting]
        self.resolve()
        return [receipt for delivery in self._running for receipt in delivery.close()]

    def _handled(self, handed: Handed, delivery: Delivery, error: BaseException | None) -> None:
        """A handler has ended: its effects and the ack go into this turn's transaction."""
        if isinstance(delivery.transaction, ImmediateTransaction):
            delivery.transaction.close()
        if error is None and isinstance(handed, Pending) and not self._engine.awaits(handed):
            # The peer's run or stream is over: it sends this again, or something else instead.
            error = HandlerCancelled()
        if error is None:
            error = self._apply_collected(delivery.transaction)
        if error is None:
            for receipt in self._end(delivery):
                self._desk.send(self._engine, receipt)
            self._complete(handed)
        else:
            self._undo(delivery)
            self._fail(handed, error)

    def _undo(self, delivery: Delivery) -> None:
        """Take back what a handler that failed has written and sent."""
        transaction = delivery.transaction
        if isinstance(transaction, ImmediateTransaction) and transaction.used:
            self._store.rollback_to_savepoint()
        undone = Cancelled("the handler that sent it failed")
        self._desk.unsent([(receipt, undone) for receipt in self._end(delivery)])

    def _end(self, delivery: Delivery) -> list[Receipt]:
        """What the handler wrote is in the transaction, or undone: return what it sent."""
        self._running.discard(delivery)
        return delivery.close()

    def _complete(self, handed: Handed) -> None:
        if isinstance(handed, Pending):
            self._engine.complete(handed)
            return
        self._engine.dead_letters.remove(handed.message_id)
        self._redriven.append((self._redrives.pop(handed.message_id), None))

    def _fail(self, handed: Handed, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        if isinstance(handed, Redriven):
            self._fail_again(handed, error)
        elif isinstance(error, HandlerCancelled):
            self._engine.put_back(handed)
        elif isinstance(error, RefuseMessage):
            self._engine.refuse(handed, error.code, str(error.reason))
        else:
            self._failed("on_message", error)
            # The peer is not told what: that may be none of its business.
            self._engine.retry(handed, "the handler failed", _text_of(error))

    def _fail_again(self, letter: Redriven, error: Exception) -> None:
        future = self._redrives.pop(letter.message_id)
        if isinstance(error, HandlerCancelled):
            cancelled = Cancelled("the handler was cancelled; the dead letter stays")
            self._redriven.append((future, cancelled))
            return
        self._failed("on_message", error)
        self._engine.dead_letters.failed_again(letter, _text_of(error))
        told = HandlerFailed(f"the handler failed again; the dead letter stays: {_text_of(error)}")
        told.__cause__ = error
        self._redriven.append((future, told))

    def _check_idle(self, letter_id: MessageId) -> None:
        self._engine.dead_letters.get(letter_id)  # Says so if it is no id at all.
        if letter_id in self._redrives:
            raise LocalError("the dead letter is being handled now")

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


def _text_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
