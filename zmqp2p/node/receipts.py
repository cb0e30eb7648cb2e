"""Receipts: what became of a message that was sent.

A receipt costs one small object; only waiting on it costs more. All receipts of a node share one
condition, notified at most once per loop turn, if what somebody waits for may have come.
"""

import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from zmqp2p.engine.outcomes import Ended, message_id
from zmqp2p.errors import Cancelled, DeliveryTimeout, ServiceClosed, WouldDeadlock
from zmqp2p.ids import Address, MessageId, Seq, StreamId


class Holder(Protocol):
    """A delivery whose handler sent messages, which leave when the handler ends."""

    def runs_here(self) -> bool:
        """Whether the caller is that handler, and it has not ended."""
        ...


class Receipt:
    """What becomes of one message; ends as acked, or with the exception that says how else.

    Thread-safe. The message is in the outbox, durably if the store is durable, once ``stored``;
    it ends once the peer has processed it for good, which may be much later: a later run asks by
    its `message_id`.
    """

    __slots__ = (
        "_callbacks",
        "_error",
        "_room",
        "_seq",
        "_stream",
        "body",
        "ended",
        "holder",
        "peer",
    )

    def __init__(self, room: "ReceiptRoom", peer: Address, body: bytes) -> None:
        self._room = room
        self._seq = Seq(0)
        self._stream = StreamId(b"")
        self._error: Exception | None = None
        self._callbacks: list[Callable[[Receipt], None]] | None = None
        self.peer = peer
        self.body = body
        self.ended = False
        self.holder: Holder | None = None  # The delivery in whose handler it was sent.

    @property
    def stored(self) -> bool:
        """Whether the message is committed to the outbox: it survives a crash of this process."""
        return self._seq > 0

    @property
    def error(self) -> Exception | None:
        """How the message ended if not acked; None also while it has not ended."""
        return self._error

    @property
    def acked(self) -> bool:
        """Whether the peer has processed the message for good."""
        return self.ended and self._error is None

    def wait(self, timeout_s: float | None = None) -> None:
        """Return once the peer has processed the message.

        Raises:
            Refused, Expired: the peer will not process it.
            Cancelled: the service closed first; a stored message is still sent after a restart.
            DeliveryTimeout: ``timeout_s`` passed; the message is still on its way.
            WouldDeadlock: called on the node's own thread, that is in a handler or callback, or by
                the handler that sent the message: it leaves only when that has ended.
            ServiceClosed: called in a process forked from the service's.
        """
        self.check_wait()
        self._room.wait(lambda: self.ended, timeout_s)
        if self._error is not None:
            raise self._error

    def wait_stored(self, timeout_s: float | None = None) -> None:
        """Return once the message is committed to the outbox; raises as `wait` does."""
        self.check_wait()
        self._room.wait(lambda: self.stored or self.ended, timeout_s, commits=True)
        if not self.stored and self._error is not None:
            raise self._error

    @property
    def message_id(self) -> MessageId:
        """The message's id, by which `P2PService.receipt` finds it again, also after a restart.

        Waits until the message is stored, since its number is part of the id; what a message
        handler sends is stored once the handler has ended. Raises as `wait_stored` does. The id is
        known only after the commit: if the process is killed between the two, the message is sent
        but nobody knows its id. Who must know every message gives it a name of his own, inside.
        """
        self.wait_stored()
        return message_id(self._stream, self._seq, self.body)

    def add_done_callback(self, callback: Callable[["Receipt"], None]) -> None:
        """Call ``callback`` on the node's thread when this has ended, or now if it has.

        That is after the commit of the turn in which it ends. It must not block.
        """
        with self._room.condition:
            if not self.ended:
                self._callbacks = [*(self._callbacks or ()), callback]
                return
        callback(self)

    def __repr__(self) -> str:
        state = "pending" if not self.ended else "acked" if self.acked else repr(self._error)
        return f"<Receipt to 0x{self.peer.hex()} {state}>"

    def check_wait(self) -> None:
        """Raise WouldDeadlock in the handler whose end this waits for."""
        if self.holder is not None and not self.ended and self.holder.runs_here():
            raise WouldDeadlock("the message leaves only when the handler that sent it has ended")

    # --- For the node ---------------------------------------------------------------------------

    def number(self, seq: Seq, stream: StreamId) -> None:
        """The message is committed as ``seq`` of ``stream``. Under the room's condition."""
        self._stream = stream
        self._seq = seq  # Last: who sees a number, without the condition, sees the stream too.

    def end(self, error: Exception | None) -> list[Callable[["Receipt"], None]]:
        """It ended; return whom to call. Under the room's condition."""
        self._error = error
        self.ended = True
        callbacks, self._callbacks = self._callbacks or [], None
        return callbacks


class PastReceipt(Receipt):
    """The receipt of a message that had ended when it was asked for."""

    __slots__ = ("_message_id",)

    def __init__(self, room: "ReceiptRoom", message_id: MessageId, ended: Ended) -> None:
        super().__init__(room, ended.peer, b"")  # The message itself is not kept.
        self.number(ended.seq, ended.stream)
        self.end(ended.error)
        self._message_id = message_id

    @property
    def message_id(self) -> MessageId:
        """The id that was asked for."""
        return self._message_id


class ReceiptRoom:
    """Where threads wait for receipts of one node."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.node_thread: threading.Thread | None = None
        self.wait_for_commits = 0  # Threads to be woken by a commit. Under `condition`.
        self._pid = os.getpid()
        self._closed = False

    def wait(
        self, ready: Callable[[], bool], timeout_s: float | None, *, commits: bool = False
    ) -> None:
        """Block until ``ready()``; a commit can make it so only if ``commits``, else some end.

        Raises:
            Cancelled: the node closed and it is not.
            DeliveryTimeout: ``timeout_s`` passed.
            WouldDeadlock: on the node's thread, and it is not.
            ServiceClosed: in a process forked from the node's, where nothing will happen.
        """
        if ready():
            return
        if os.getpid() != self._pid:
            raise ServiceClosed("the service belongs to another process")
        # Not by their numbers: a new thread may have that of one that has ended.
        if threading.current_thread() is self.node_thread:
            raise WouldDeadlock("waiting on the node's thread would wait for ever")
        end_at = None if timeout_s is None else monotonic() + timeout_s
        with self.condition:
            self.wait_for_commits += commits
            try:
                while not ready():
                    if self._closed:
                        raise Cancelled("the service is closed")
                    left_s = None if end_at is None else end_at - monotonic()
                    if left_s is not None and left_s <= 0:
                        raise DeliveryTimeout(f"not within {timeout_s:g} s")
                    self.condition.wait(left_s)
            finally:
                self.wait_for_commits -= commits

    def close(self) -> None:
        """No receipt of this node will end any more."""
        with self.condition:
            self._closed = True
            self.condition.notify_all()
