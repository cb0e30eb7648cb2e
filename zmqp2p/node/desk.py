"""The receipts of messages under way: numbered at the commit, ended at the ack.

Belongs to the node's thread, but for the condition that it shares with those who wait.
"""

from collections.abc import Callable, Iterable

from zmqp2p.codes import RefusalCode
from zmqp2p.engine.engine import Engine
from zmqp2p.errors import Cancelled, Expired, LocalError, Refused
from zmqp2p.ids import Address, Seq, StreamId
from zmqp2p.limits import Limits
from zmqp2p.node.gate import OutboxGate
from zmqp2p.node.receipts import Receipt, ReceiptRoom
from zmqp2p.session.outbox import Processed
from zmqp2p.wire.frames import Refusal

_Ended = list[tuple[Receipt, list[Callable[[Receipt], None]]]]


class ReceiptDesk:
    """Sends messages, and ends their receipts."""

    def __init__(self, limits: Limits, failed: Callable[[str, Exception], None]) -> None:
        """Report callbacks that raise to ``failed(callback, fault)``."""
        self.room = ReceiptRoom()
        self.gate = OutboxGate(limits)
        self._failed = failed
        self._waiting: dict[Address, dict[Seq, Receipt]] = {}
        self._numbered: list[tuple[Receipt, Seq, StreamId]] = []  # Sent, but not committed yet.

    def send(self, engine: Engine, receipt: Receipt) -> None:
        """Send the receipt's message in this turn; if that is forbidden, the receipt ends."""
        try:
            seq, stream = engine.send(receipt.peer, receipt.body)
        except LocalError as fault:
            self.end([(receipt, fault)])
            return
        self._waiting.setdefault(receipt.peer, {})[seq] = receipt
        self._numbered.append((receipt, seq, stream))

    def resolve(self, processed: Iterable[tuple[Address, Processed]]) -> None:
        """The turn is committed: number what was sent, end what the peers have processed."""
        numbered, self._numbered = self._numbered, []
        if not (numbered or processed):
            return
        ended: _Ended = []
        with self.room.condition:
            for receipt, seq, stream in numbered:
                receipt.number(seq, stream)
            for peer, through in processed:
                by_seq = self._waiting.get(peer, {})
                for number in range(through.first, through.last + 1):
                    waiting = by_seq.pop(Seq(number), None)
                    if waiting is not None:
                        error = _error_of(through.refused.get(Seq(number)))
                        ended.append((waiting, waiting.end(error)))
            self.room.condition.notify_all()
        self._leave(ended)

    def end(self, receipts: list[tuple[Receipt, Exception]]) -> None:
        """End receipts otherwise than by an ack."""
        if not receipts:
            return
        with self.room.condition:
            ended = [(receipt, receipt.end(error)) for receipt, error in receipts]
            self.room.condition.notify_all()
        self._leave(ended)

    def close(self) -> None:
        """The node has ended: so do all receipts. What was stored is sent after a restart."""
        error = Cancelled("the service closed")
        waiting = [receipt for by_seq in self._waiting.values() for receipt in by_seq.values()]
        self._waiting.clear()
        self.end([(receipt, error) for receipt in waiting])

    def _leave(self, ended: _Ended) -> None:
        """Make room for as many new messages as have ended, and call who asked for it."""
        sums: dict[Address, tuple[int, int]] = {}
        for receipt, _ in ended:
            messages, size_bytes = sums.get(receipt.peer, (0, 0))
            sums[receipt.peer] = (messages + 1, size_bytes + len(receipt.body))
        for peer, (messages, size_bytes) in sums.items():
            self.gate.leave(peer, messages, size_bytes)
        for receipt, callbacks in ended:
            for callback in callbacks:
                try:
                    callback(receipt)
                except Exception as fault:  # noqa: BLE001  # The application's code; it is told.
                    self._failed("receipt", fault)


def _error_of(refused: tuple[Refusal, bytes] | None) -> Exception | None:
    if refused is None:
        return None
    refusal, _body = refused
    if refusal.code is RefusalCode.EXPIRED:
        return Expired(refusal.reason)
    return Refused(refusal.code, refusal.reason)
