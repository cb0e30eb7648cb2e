"""Stretches: messages of one stream that a handler elsewhere takes one after the other.

A handler that ends later would cost the node's thread a turn for each message, if the next one were
handed out only when the one before has ended there. So consecutive messages are handed out
together. The runner begins each when the one before has ended, on its own thread; the node hears of
every end, in order, and of those that happened together in one turn: one commit and one ack serve
them all. To the session only the first that the node has not heard of is in progress.
"""

import threading
from collections.abc import Callable, Sequence

from zmqp2p.engine.dead_letters import Redriven
from zmqp2p.engine.pending import Pending
from zmqp2p.node.deliveries import Delivery, Handler

Tell = Callable[["Stretch", BaseException | None], None]


class Stretch:
    """Consecutive messages for one handler: at most one is begun and has not ended.

    The first that fails is the last. Any thread may begin and end them, one at a time.

    Invariant: ``settled <= ended <= begun <= ended + 1``, and none is more than ``last``.
    """

    def __init__(self, deliveries: Sequence[Delivery], tell: Tell) -> None:
        """``tell`` is called with each end, on the thread where it ends."""
        self.sender = deliveries[0].sender
        # For the node: the message that ended the stretch early, and what happened to it.
        self.failed: tuple[Pending | Redriven, BaseException] | None = None
        self._deliveries = deliveries
        self._tell = tell
        self._lock = threading.Lock()
        self._last = len(deliveries)  # So many will be begun, if none fails.
        self._begun = 0
        self._ended = 0
        self._settled = 0  # What the node knows to have ended.

    # --- For the runner -------------------------------------------------------------------------

    def begin(self) -> Delivery | None:
        """Return the next message to be handled; None: there is none."""
        with self._lock:
            if self._begun > self._ended or self._ended >= self._last:
                return None
            self._begun += 1
            return self._deliveries[self._ended]

    @property
    def waits(self) -> bool:
        """Whether `begin` would return a message."""
        return self._begun == self._ended < self._last

    def end(self, error: BaseException | None) -> None:
        """The message in hand has ended, or the next one will not be begun if there is ``error``.

        The node has to be woken, or it hears of it only when something else wakes it.
        """
        with self._lock:
            if self._ended >= self._last:
                return  # It was over before.
            self._ended = self._begun = self._ended + 1
            if error is not None:
                self._last = self._ended
        self._tell(self, error)

    # --- For the node ---------------------------------------------------------------------------

    @property
    def current(self) -> Delivery:
        """The message that is in progress, as far as the node knows."""
        return self._deliveries[self._settled]

    def settle(self) -> Delivery | None:
        """The current one has ended: return the next that is in progress; None: that was all."""
        with self._lock:
            self._settled += 1
            return self._deliveries[self._settled] if self._settled < self._last else None

    def stop(self) -> None:
        """Let nothing more begin, except the current one."""
        with self._lock:
            self._last = min(self._last, max(self._begun, self._settled + 1))

    def abandon(self) -> Sequence[Delivery]:
        """Let nothing more begin; return what has not ended, as far as the node knows."""
        with self._lock:
            self._last = min(self._last, self._begun)
        return self._deliveries[self._settled :]

    def check(self) -> None:
        """Assert the invariant."""
        with self._lock:
            assert 0 <= self._settled <= self._ended <= self._begun <= self._ended + 1
            assert self._begun <= self._last <= len(self._deliveries)


Runner = Callable[[Handler, Stretch], None]
"""Handles a stretch elsewhere, soon: begins each message and ends it with what the handler raised.

Raises if it cannot, as an executor that is shut down does.
"""
