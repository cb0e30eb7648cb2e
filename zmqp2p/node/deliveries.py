"""Messages on their way through the application's handlers.

A handler's own writes, the messages it sends and the ack of the message are one store transaction.
A handler that runs on the node's thread writes straight into it. One that runs elsewhere (an
executor, an asyncio loop) would hold the transaction open while it works, so what it writes and
sends is collected, and goes into the transaction of the turn in which it ends.
"""

import inspect
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

from zmqp2p.engine.dead_letters import Redriven
from zmqp2p.engine.outcomes import message_id
from zmqp2p.engine.pending import Pending
from zmqp2p.engine.proofs import Proof
from zmqp2p.errors import InvalidValue, LocalError
from zmqp2p.ids import Address, MessageId
from zmqp2p.node.receipts import Receipt, ReceiptRoom
from zmqp2p.store.base import SqlValue, Store, Transaction


class HandlerCancelled(Exception):  # Not an error: the message is handed out again.
    """A handler was cancelled before it ended; that is no failure of the message."""


class ImmediateTransaction:
    """A handler's way into the open transaction, on the node's thread."""

    __slots__ = ("_open", "_store", "used")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open = True
        self.used = False

    def close(self) -> None:
        """The handler has ended; a reference it kept is of no use."""
        self._open = False

    def execute(self, sql: str, parameters: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """Run one statement on the application's tables (``app_…``) and return its rows.

        Raises:
            LocalError: the handler has ended, or as `store.base.Transaction.execute` does.
        """
        if not self._open:
            raise LocalError("this message's transaction is over")
        if not self.used:
            self._store.savepoint()
            self.used = True
        return self._store.transaction.execute(sql, parameters)


class CollectedTransaction:
    """A handler's writes from another thread, carried out when the handler ends."""

    def __init__(self) -> None:
        self._statements: list[tuple[str, tuple[SqlValue, ...]]] | None = []

    def execute(self, sql: str, parameters: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """Keep one statement for later. It returns no rows: there is nothing to read yet.

        Raises:
            LocalError: the handler has ended.
        """
        if self._statements is None:
            raise LocalError("this message's transaction is over")
        self._statements.append((sql, tuple(parameters)))
        return []

    def close(self) -> list[tuple[str, tuple[SqlValue, ...]]]:
        """Take no more, and return what was kept."""
        statements, self._statements = self._statements or [], None
        return statements


class Delivery:
    """One message, handed to the handler that is responsible for it."""

    __slots__ = ("_lock", "_outgoing", "handed", "proof", "room", "transaction")

    def __init__(
        self, room: ReceiptRoom, handed: Pending | Redriven, transaction: Transaction
    ) -> None:
        self.room = room  # Of the handler's node: another node's messages do not wait for it.
        self.handed = handed
        self.transaction = transaction
        self.proof: Proof | None = None  # If somebody has asked for the signer.
        self._outgoing: list[Receipt] | None = []  # None when the handler has ended.
        self._lock = threading.Lock()

    @property
    def sender(self) -> Address:
        """Who sent it, as the session has authenticated."""
        return self.handed.sender

    @property
    def message(self) -> Any:  # Of whatever type was registered for its tag.
        """The decoded message."""
        return self.handed.message

    @property
    def signer(self) -> Address | None:
        """Whose signature over its state the message bears, 20 bytes; compare it with `sender`.

        None if it is no `ProposeState` or `AcceptState`, no key fits its signature, or it names
        another channel than its state's. A handler on the node's thread that asks this of each
        message is faster than one that calls `zmqp2p.state.recover_signer`: while messages wait,
        their signatures are examined on several cores.
        """
        if self.proof is None:
            known = self.handed.proof if isinstance(self.handed, Pending) else None
            self.proof = known or Proof(self.message)
        return self.proof.signer

    @property
    def message_id(self) -> MessageId:
        """Names the message; the sender's receipt has the same."""
        return message_id(self.handed.stream, self.handed.seq, self.handed.body)

    @property
    def attempt(self) -> int:
        """1 when it is handed out first; more after a handler has failed, in this run."""
        return self.handed.attempt

    def __repr__(self) -> str:
        name = type(self.message).__name__
        return f"<Delivery {name} {self.handed.seq} from 0x{self.sender.hex()}>"

    # --- For the node ---------------------------------------------------------------------------

    def adopt(self, receipt: Receipt) -> bool:
        """Hold what the handler sends until it ends; False if it has ended.

        A task that a coroutine handler started runs in the handler's context, and may outlive it.
        """
        with self._lock:
            if self._outgoing is None:
                return False
            self._outgoing.append(receipt)
        receipt.holder = self
        return True

    def close(self) -> list[Receipt]:
        """The handler has ended: return what it sent."""
        with self._lock:
            outgoing, self._outgoing = self._outgoing or [], None
        return outgoing

    def runs_here(self) -> bool:
        """Whether the caller runs in the handler's context, and it has not ended."""
        return self._outgoing is not None and current_delivery.get() is self


Handler = Callable[[Delivery], object]

current_delivery: ContextVar[Delivery | None] = ContextVar("current_delivery", default=None)
"""The delivery whose handler runs in this context: what it sends belongs to its transaction."""


def check_handler(handler: object) -> None:
    """Raise InvalidValue unless ``handler`` does its work when it is called."""
    if not callable(handler):
        raise InvalidValue("handler", "must be callable")
    if _makes_coroutines(handler):  # Nobody would await them.
        raise InvalidValue("handler", "must be no coroutine function here")


def check_coroutine_handler(handler: object) -> None:
    """Raise InvalidValue unless ``handler`` does its work when what it returns is awaited."""
    if not _makes_coroutines(handler):
        raise InvalidValue("handler", "must be a coroutine function (async def)")


def _makes_coroutines(handler: object) -> bool:
    while isinstance(handler, partial):
        handler = handler.func
    call = type(handler).__call__
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)


def run_handler(handler: Handler, delivery: Delivery) -> BaseException | None:
    """Run ``handler`` here; return what it raised. What it sends belongs to ``delivery``."""
    token = current_delivery.set(delivery)
    try:
        result = handler(delivery)
        # Acked, the message would be lost: nobody awaits this.
        if result is not None and inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            return LocalError("the handler returned an awaitable: coroutines are for zmqp2p.aio")
    except BaseException as fault:  # noqa: BLE001  # Judged by the node, on its thread.
        return fault
    finally:
        current_delivery.reset(token)
    return None
