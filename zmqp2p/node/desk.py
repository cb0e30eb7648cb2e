"""The receipts of messages under way: ended at the ack, numbered and told of after the commit.

Belongs to the node's thread, but for the condition that it shares with those who wait.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from zmqp2p.engine.engine import Engine
from zmqp2p.engine.outcomes import Ended, error_of
from zmqp2p.errors import Cancelled, LocalError
from zmqp2p.ids import Address, MessageId, Seq, StreamId
from zmqp2p.limits import Limits
from zmqp2p.node.gate import OutboxGate
from zmqp2p.node.receipts import PastReceipt, Receipt, ReceiptRoom
from zmqp2p.session.outbox import Processed

_Callback = Callable[[Receipt], None]


class ReceiptDesk:
    """Sends messages, and ends their receipts."""

    def __init__(
        self,
        limits: Limits,
        is_guest: Callable[[Address], bool],
        failed: Callable[[str, Exception], None],
    ) -> None:
        """Report callbacks that raise to ``failed(callback, fault)``; see `OutboxGate`."""
        self.room = ReceiptRoom()
        self.gate = OutboxGate(limits, is_guest)
        self._failed = failed
        self._waiting: defaultdict[Address, dict[Seq, Receipt]] = defaultdict(dict)
        self._numbered: list[tuple[Receipt, Seq, StreamId]] = []  # Sent, but not committed yet.
        self._untold: deque[tuple[Receipt, _Callback]] = deque()  # Of what ended in this turn.

    def send(self, engine: Engine, receipt: Receipt) -> None:
        """Send the receipt's message in this turn; if that is forbidden, the receipt ends."""
        try:
            seq, stream = engine.send(receipt.peer, receipt.body)
        except LocalError as fault:
            self.unsent([(receipt, fault)])
            return
        self._waiting[receipt.peer][seq] = receipt
        self._numbered.append((receipt, seq, stream))

    def find(self, engine: Engine, message_id: MessageId) -> Receipt:
        """Return the receipt of a message of this run or an earlier one.

        Raises:
            UnknownMessage, InvalidValue: see `Outcomes.fate`.
        """
        fate = engine.fate(message_id)
        if isinstance(fate, Ended):
            return PastReceipt(self.room, message_id, fate)
        by_seq = self._waiting[fate.peer]
        receipt = by_seq.get(fate.seq)
        if receipt is None:
            receipt = by_seq[fate.seq] = Receipt(self.room, fate.peer, fate.body)
            receipt.number(fate.seq, fate.stream)
        return receipt

    def resolve(self, processed: Sequence[tuple[Address, Processed]]) -> None:
        """End the receipts of what peers have processed: they have, whatever the commit does.

        Should this node crash before that, they are sent again, known over there, and dropped.
        Threads that wait are woken at once. Callbacks are kept for `tell`: on this thread they may
        do anything, and must not come between what the engine has asked for and its being done.
        """
        if not processed:
            return
        for peer, through in processed:
            self.gate.leave(peer, through.last - through.first + 1, through.size_bytes)
        with self.room.condition:
            for peer, through in processed:
                by_seq, refusals = self._waiting[peer], through.refused
                for seq in cast("Iterable[Seq]", range(through.first, through.last + 1)):
                    waiting = by_seq.pop(seq, None)
                    if waiting is not None:
                        refused = refusals.get(seq) if refusals else None
                        error = None if refused is None else error_of(refused[0])
                        for callback in waiting.end(error):
                            self._untold.append((waiting, callback))
            self.room.condition.notify_all()

    def number(self) -> None:
        """The turn is committed: what was sent in it has its number."""
        numbered, self._numbered = self._numbered, []
        if not numbered:
            return
        with self.room.condition:
            for receipt, seq, stream in numbered:
                receipt.number(seq, stream)
            if self.room.wait_for_commits:  # Others wait for an end.
                self.room.condition.notify_all()

    @property
    def has_untold(self) -> bool:
        """Whether somebody is to be told by `tell`."""
        return bool(self._untold)

    def tell(self) -> None:
        """The turn is committed and let out, or the node ends: call who asked to be told."""
        while self._untold:  # Taken one by one: should one end the node, the others are called.
            self._call(*self._untold.popleft())

    def unsent(self, receipts: list[tuple[Receipt, Exception]]) -> None:
        """End receipts of messages that will not be sent, and give their room to others.

        A turn is under way: callbacks are kept for `tell`, as in `resolve`.
        """
        for receipt, _ in receipts:
            self.gate.withdraw(receipt.peer, len(receipt.body))
        self._untold.extend(self._end(receipts))

    def end(self, receipts: list[tuple[Receipt, Exception]]) -> None:
        """End receipts, as the node does, otherwise than by an ack."""
        for receipt, callback in self._end(receipts):
            self._call(receipt, callback)

    def close(self) -> None:
        """The node has ended: so do all receipts. What was stored is sent after a restart."""
        error = Cancelled("the service closed")
        waiting = [receipt for by_seq in self._waiting.values() for receipt in by_seq.values()]
        self._waiting.clear()
        self.end([(receipt, error) for receipt in waiting])

    def _end(self, receipts: list[tuple[Receipt, Exception]]) -> list[tuple[Receipt, _Callback]]:
        """End receipts; return who asked to be told."""
        if not receipts:
            return []
        with self.room.condition:
            told = [(receipt, one) for receipt, error in receipts for one in receipt.end(error)]
            self.room.condition.notify_all()
        return told

    def _call(self, receipt: Receipt, callback: _Callback) -> None:
        try:
            callback(receipt)
        except Exception as fault:  # noqa: BLE001  # The application's code; it is told.
            self._failed("receipt", fault)
