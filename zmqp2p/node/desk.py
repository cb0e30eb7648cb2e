"""The receipts of messages under way: numbered after the commit, ended at the ack.

Belongs to the node's thread, but for the condition that it shares with those who wait.
"""

from collections import defaultdict
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

_Ended = list[tuple[Receipt, list[Callable[[Receipt], None]]]]


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
        """
        if not processed:
            return
        ended: _Ended = []
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
                        ended.append((waiting, waiting.end(error)))
            self.room.condition.notify_all()
        self._call(ended)

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

    def unsent(self, receipts: list[tuple[Receipt, Exception]]) -> None:
        """End receipts of messages that will not be sent, and give their room to others."""
        for receipt, _ in receipts:
            self.gate.withdraw(receipt.peer, len(receipt.body))
        self.end(receipts)

    def end(self, receipts: list[tuple[Receipt, Exception]]) -> None:
        """End receipts otherwise than by an ack."""
        if not receipts:
            return
        with self.room.condition:
            ended = [(receipt, receipt.end(error)) for receipt, error in receipts]
            self.room.condition.notify_all()
        self._call(ended)

    def close(self) -> None:
        """The node has ended: so do all receipts. What was stored is sent after a restart."""
        error = Cancelled("the service closed")
        waiting = [receipt for by_seq in self._waiting.values() for receipt in by_seq.values()]
        self._waiting.clear()
        self.end([(receipt, error) for receipt in waiting])

    def _call(self, ended: _Ended) -> None:
        """Call who asked to be told."""
        for receipt, callbacks in ended:
            for callback in callbacks:
                try:
                    callback(receipt)
                except Exception as fault:  # noqa: BLE001  # The application's code; it is told.
                    self._failed("receipt", fault)
