"""Runs the application's handlers, and makes each one's effects all or nothing."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from zmqp2p.engine.dead_letters import Redriven
from zmqp2p.engine.engine import Engine
from zmqp2p.engine.pending import Pending
from zmqp2p.engine.proofs import SIGNED, Proofs
from zmqp2p.errors import Cancelled, DeliveryError, HandlerFailed, LocalError, RefuseMessage
from zmqp2p.ids import Address, ChannelId, MessageId
from zmqp2p.node.deliveries import (
    CollectedTransaction,
    Delivery,
    Handler,
    HandlerCancelled,
    ImmediateTransaction,
    run_handler,
)
from zmqp2p.node.desk import ReceiptDesk
from zmqp2p.node.receipts import Receipt
from zmqp2p.node.stretches import Runner, Stretch
from zmqp2p.store.base import Store

Handed = Pending | Redriven


@dataclass(frozen=True, slots=True)
class _Subscription:
    """A handler, and where it stretches: on the node's thread, or by ``runner``."""

    handler: Handler
    runner: Runner | None


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
        """Take up handlers; report faults to ``failed``.

        What ``later`` is given stretches on the node's thread, after what was given before; whoever
        stretches the handler wakes that.
        """
        self.help: Callable[[Proofs], None] | None = None  # Has signatures examined elsewhere.
        self._engine = engine
        self._store = store
        self._desk = desk
        self._later = later
        self._failed = failed
        self._subscriptions: dict[int, _Subscription] = {}
        self._asking: set[int] = set()  # Subscriptions whose handlers want to know who has signed.
        self._running: Delivery | None = None  # On this thread.
        self._stretches: set[Stretch] = set()  # On other threads.
        self._long: set[Stretch] = set()  # Of those, which may go on after their current message.
        self._stretch_of: dict[Address, Stretch] = {}  # The latest of each sender.
        self._redrives: dict[MessageId, Future[None]] = {}  # Under way.
        # Redrives that ended in this turn, to be told after its commit.
        self._redriven: list[tuple[Future[None], DeliveryError | None]] = []

    def subscribe(
        self, handler: Handler, runner: Runner | None, kind: type | None, channel: ChannelId | None
    ) -> int:
        """Hand the messages that fit to ``handler``; raises InvalidValue."""
        key = self._engine.subscribe(kind, channel, late=runner is not None)
        self._subscriptions[key] = _Subscription(handler, runner)
        self._stop_stretches()  # What goes to whom has changed.
        return key

    def unsubscribe(self, key: int) -> None:
        """End a subscription; what its handler has in hand still ends."""
        self._engine.unsubscribe(key)
        self._subscriptions.pop(key, None)
        self._asking.discard(key)
        self._stop_stretches()

    def deliver(self, handed: Handed) -> None:
        """Hand one message to its handler: here, or elsewhere together with those that follow."""
        subscription = self._subscriptions[handed.subscription]
        if subscription.runner is not None:
            self._begin(handed, subscription.handler, subscription.runner)
            return
        if self._asking:
            self._look_ahead(handed)
        transaction = ImmediateTransaction(self._store)
        delivery = self._running = Delivery(self._desk.room, handed, transaction)
        error = run_handler(subscription.handler, delivery)
        transaction.close()
        if error is None:  # Its stream is as it was: nothing else has had this thread.
            self._send(delivery)
            self._complete(handed, None)
        else:
            self._undo(delivery)
            self._fail(handed, error)
        self._running = None
        asked = delivery.proof is not None
        if (asked or self._asking) and isinstance(handed.message, SIGNED):
            (self._asking.add if asked else self._asking.discard)(handed.subscription)

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
        running = [delivery for stretch in self._stretches for delivery in stretch.abandon()]
        if self._running is not None:
            running.append(self._running)
        return [receipt for delivery in running for receipt in delivery.close()]

    def share(self) -> None:
        """If some wait for a handler's place, let each be free when its handler has ended."""
        if self._engine.crowded:
            self._stop_stretches()

    def check(self) -> None:
        """Assert that the stretches keep their invariant."""
        for stretch in self._stretches:
            stretch.check()
        assert self._stretches.issuperset(self._stretch_of.values())
        assert self._stretches >= self._long

    def _look_ahead(self, handed: Handed) -> None:
        """Have the signatures of what follows examined by all who can, if its handler asks."""
        if self.help is None or handed.subscription not in self._asking:
            return
        proofs = self._engine.read_ahead(handed) if isinstance(handed, Pending) else None
        if proofs is not None:
            self.help(proofs)

    def _begin(self, handed: Handed, handler: Handler, runner: Runner) -> None:
        """Hand a stretch of messages to a handler elsewhere."""
        together: list[Handed] = [handed]
        if isinstance(handed, Pending):
            together += self._engine.ahead(handed)
        room = self._desk.room
        stretch = Stretch(
            [Delivery(room, each, CollectedTransaction()) for each in together], self._tell
        )
        self._stretches.add(stretch)
        if len(together) > 1:
            self._long.add(stretch)
        if isinstance(handed, Pending):
            if handed.sender in self._stretch_of:  # Of a stream that is over.
                self._stretch_of[handed.sender].stop()
            self._stretch_of[handed.sender] = stretch
        try:
            runner(handler, stretch)
        except Exception as fault:  # noqa: BLE001  # The application's executor, or it is shut down.
            stretch.end(fault)

    def _tell(self, stretch: Stretch, error: BaseException | None) -> None:
        self._later(lambda: self._ended(stretch, error))

    def _ended(self, stretch: Stretch, error: BaseException | None) -> None:
        """The current message of ``stretch`` has ended elsewhere."""
        delivery = stretch.current
        if stretch.failed is None:
            error = self._outcome(delivery, error)
            if error is None:
                self._go_on(stretch, delivery)
                return
            stretch.failed = delivery.handed, error
            stretch.stop()
        # Or it was begun after one that had ended well there, but not here.
        self._undo(delivery)
        if stretch.settle() is None:  # Not before: one of a stream is in progress at a time.
            self._over(stretch)
            self._fail(*stretch.failed)

    def _go_on(self, stretch: Stretch, delivery: Delivery) -> None:
        """The current message of ``stretch`` has ended well: so much for it, and on to the next."""
        self._send(delivery)
        then = stretch.settle()
        if then is None:
            self._over(stretch)
        self._complete(delivery.handed, None if then is None else then.handed)

    def _over(self, stretch: Stretch) -> None:
        self._stretches.discard(stretch)
        self._long.discard(stretch)
        if self._stretch_of.get(stretch.sender) is stretch:
            del self._stretch_of[stretch.sender]

    def _stop_stretches(self) -> None:
        """Have what was not begun handed out anew."""
        for stretch in self._long:
            stretch.stop()
        self._long.clear()

    def _outcome(self, delivery: Delivery, error: BaseException | None) -> BaseException | None:
        """Return what came of a message whose handler ended with ``error``; what it wrote is in."""
        if error is not None:
            return error
        if isinstance(delivery.handed, Pending) and not self._engine.awaits(delivery.handed):
            # The peer's stretch or stream is over: it sends this again, or something else instead.
            return HandlerCancelled()
        return self._apply_collected(delivery.transaction)

    def _send(self, delivery: Delivery) -> None:
        """Send what a handler that has ended well has sent."""
        for receipt in delivery.close():
            self._desk.send(self._engine, receipt)

    def _undo(self, delivery: Delivery) -> None:
        """Take back what a handler that failed has written and sent."""
        transaction = delivery.transaction
        if isinstance(transaction, ImmediateTransaction) and transaction.used:
            self._store.rollback_to_savepoint()
        undone = Cancelled("the handler that sent it failed")
        self._desk.unsent([(receipt, undone) for receipt in delivery.close()])

    def _complete(self, handed: Handed, then: Handed | None) -> None:
        if isinstance(handed, Pending):
            self._engine.complete(handed, then)  # type: ignore[arg-type]  # Of the same kind.
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
