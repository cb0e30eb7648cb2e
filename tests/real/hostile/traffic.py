"""What the honest pair says to each other, and how long it takes."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.real.parties import PATIENCE_S, Note, until
from zmqp2p import P2PService
from zmqp2p.ids import Address
from zmqp2p.node.receipts import Receipt

TEXT = "x" * 338  # With its number, a message of 350 bytes.


@dataclass
class Traffic:
    """Messages from the honest node to the victim, at a steady pace, each with its latency."""

    service: P2PService
    to: Address
    sent: int = 0
    acked: int = 0

    def during(self, seconds: float, per_s: float) -> list[float]:
        """Send for so long; return the seconds from when each was due to its ack.

        The pace does not wait for answers: a stall is seen by every message that falls into it.
        What is not acked within `PATIENCE_S` after the last one fails.
        """
        latencies = [math.inf] * max(round(seconds * per_s), 1)
        began_at, pace = time.monotonic(), threading.Event()  # Never set.
        receipts = []
        for index in range(len(latencies)):
            due_at = began_at + index / per_s
            pace.wait(max(due_at - time.monotonic(), 0.0))
            receipt = self.service.send_message(self.to, Note(self.sent, TEXT))
            self.sent += 1
            receipt.add_done_callback(self._timer(latencies, index, due_at))
            receipts.append(receipt)
        until(
            lambda: sum(not receipt.ended for receipt in receipts),
            lambda left: left == 0,
            PATIENCE_S,
        )
        return latencies

    def _timer(
        self, latencies: list[float], index: int, due_at: float
    ) -> Callable[[Receipt], None]:
        def done(receipt: Receipt) -> None:
            latencies[index] = time.monotonic() - due_at
            self.acked += receipt.acked

        return done


def percentile(values: list[float], share: float) -> float:
    """Return the value at or below which ``share`` of ``values`` are; NaN of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else math.nan
