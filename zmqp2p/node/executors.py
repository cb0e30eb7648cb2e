"""Handlers on an executor of the application's."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from time import monotonic

from zmqp2p.node.deliveries import Handler, HandlerCancelled, run_handler
from zmqp2p.node.stretches import Stretch

_SLICE_S = 0.002  # Submitting costs 0.03 ms: seldom enough, and others wait no longer for a worker.


class ExecutorRunner:
    """A `Runner` that submits handlers to an executor.

    What of a stretch is left after a while is submitted again, so that others have their turn.
    """

    def __init__(self, executor: Executor, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever a handler has ended, on its thread."""
        self._executor = executor
        self._wake = wake

    def __call__(self, handler: Handler, stretch: Stretch) -> None:
        """Submit ``stretch``; raises what the executor raises."""
        while stretch.waits:
            submitted = self._executor.submit(self._work, handler, stretch)
            if not submitted.done():
                submitted.add_done_callback(partial(self._go_on, handler, stretch))
                return
            _judge(submitted, stretch)  # In no callback: that would submit the rest from inside.

    def _work(self, handler: Handler, stretch: Stretch) -> None:
        """Handle what there is time for, on the executor's thread."""
        until = monotonic() + _SLICE_S
        while (delivery := stretch.begin()) is not None:
            stretch.end(run_handler(handler, delivery))
            self._wake()
            if monotonic() >= until:
                return

    def _go_on(self, handler: Handler, stretch: Stretch, submitted: "Future[None]") -> None:
        _judge(submitted, stretch)
        try:
            self(handler, stretch)
        except Exception as fault:  # noqa: BLE001  # The executor's: it is shut down, for instance.
            stretch.end(fault)
        self._wake()


def _judge(submitted: "Future[None]", stretch: Stretch) -> None:
    """End the next message of ``stretch`` if the executor has not come to it."""
    if submitted.cancelled():  # It was shut down before.
        stretch.end(HandlerCancelled())
    elif (fault := submitted.exception()) is not None:
        stretch.end(fault)
