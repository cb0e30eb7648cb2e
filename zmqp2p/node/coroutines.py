"""Handlers on an event loop of the application's, and the way between it and the node's thread."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial

from zmqp2p.errors import LocalError
from zmqp2p.node.deliveries import Delivery, Handler, HandlerCancelled, current_delivery
from zmqp2p.node.stretches import Stretch

_HOLD_UP_S = 0.001  # A loop that is busy for longer keeps neither the node nor its tasks waiting.


class Bridge:
    """Between an event loop and a node's thread: what goes over together wakes the other once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        """``wake`` wakes the node."""
        self.loop = loop
        self._wake = wake
        self._wake_since: float | None = None  # The node is to be woken, by the loop's time.
        self._waiting: deque[Callable[[], None]] = deque()  # For the loop.
        self._called = False  # The loop will look at what waits.
        self._context = Context()  # Of no handler: whoever posts may be in one.

    def post(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the loop, from any thread. If that is closed, nothing happens."""
        self._waiting.append(callback)
        if self._called:
            return
        self._called = True
        try:
            self.loop.call_soon_threadsafe(self._look, context=self._context)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def wake_node(self) -> None:
        """Wake the node when the loop has done what it is at: one turn serves all of that."""
        if self._wake_since is None:
            self._wake_since = self.loop.time()
            self.loop.call_soon(self._wake_now)
        elif self.held_up:
            self._wake()

    @property
    def held_up(self) -> bool:
        """Whether the loop has been at one thing for long since the node was to be woken."""
        return self._wake_since is not None and self.loop.time() - self._wake_since > _HOLD_UP_S

    def _look(self) -> None:
        self._called = False  # First: what is appended from here on calls again, or is seen below.
        for _ in range(len(self._waiting)):
            self.loop.call_soon(self._waiting.popleft())

    def _wake_now(self) -> None:
        self._wake_since = None
        self._wake()


class CoroutineRunner:
    """A `Runner` that makes each handler a task of an event loop."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._tasks: set[asyncio.Task[BaseException | None]] = set()  # The loop lets them go.

    def __call__(self, handler: Handler, stretch: Stretch) -> None:
        """Have ``stretch`` handled, unless the loop is closed: then it waits for the next start."""
        self._bridge.post(partial(self._begin, handler, stretch))

    def _begin(self, handler: Handler, stretch: Stretch) -> None:
        """Begin the next message of ``stretch``, if there is one, in a task of its own."""
        delivery = stretch.begin()
        if delivery is None:
            return
        task = self._bridge.loop.create_task(_handle(handler, delivery))
        self._tasks.add(task)
        # The next one begins from here, and not from inside of the task: it would inherit what a
        # handler has left in its context, and some loops take a new task's first step at once.
        task.add_done_callback(partial(self._ended, handler, stretch))

    def _ended(
        self, handler: Handler, stretch: Stretch, task: "asyncio.Task[BaseException | None]"
    ) -> None:
        self._tasks.discard(task)
        # Cancelled before its first step, a task tells nothing.
        stretch.end(HandlerCancelled() if task.cancelled() else task.result())
        self._bridge.wake_node()
        self._begin(handler, stretch)


async def _handle(handler: Handler, delivery: Delivery) -> BaseException | None:
    """Run a coroutine handler; return what it raised."""
    current_delivery.set(delivery)
    try:
        await handler(delivery)  # type: ignore[misc]  # Only coroutine handlers get here.
    except asyncio.CancelledError:
        return _cancelled()
    except BaseException as fault:  # noqa: BLE001  # Judged on the node's thread.
        return fault
    return None


def _cancelled() -> Exception:
    """Return what it means that a handler's task ended as cancelled."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return HandlerCancelled()
    # By its own doing. Handed out again at once it would do the same again, for ever.
    return LocalError("the handler awaited something that was cancelled")


class Iteration:
    """One `P2PService.messages`: what has arrived for it, and waits to be processed."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        # Each stretch is there once, for its next message: peers take turns. None: it has ended.
        self._arrived: asyncio.Queue[Stretch | None] = asyncio.Queue()
        self._stretches: set[Stretch] = set()  # Those in it, and the one whose message is in hand.
        self._in_hand: Stretch | None = None
        self._left = False

    def add(self, _handler: Handler, stretch: Stretch) -> None:
        """Have ``stretch`` iterated over (a `Runner`)."""
        self._bridge.post(partial(self._add, stretch))

    async def next(self) -> Delivery | None:
        """Return the next message; that in hand is processed. None: the iteration has ended."""
        stretch, self._in_hand = self._in_hand, None
        if stretch is not None:
            stretch.end(None)
            self._arrived.put_nowait(stretch)
            self._bridge.wake_node()
            if self._bridge.held_up:  # The queue alone does not let others have the loop.
                await asyncio.sleep(0)
        while (stretch := await self._arrived.get()) is not None:
            if (delivery := stretch.begin()) is not None:
                self._in_hand = stretch
                return delivery
            self._stretches.discard(stretch)  # That was all; what is left is handed out anew.
        return None

    def end(self) -> None:
        """The service has closed."""
        self._arrived.put_nowait(None)

    def leave(self) -> None:
        """Process nothing more: what waits, and what is still to come, is handed out again."""
        self._left = True
        for stretch in self._stretches:
            stretch.end(HandlerCancelled())
        self._stretches.clear()
        self._bridge.wake_node()

    def _add(self, stretch: Stretch) -> None:
        self._stretches.add(stretch)
        self._arrived.put_nowait(stretch)
        if self._left:  # While this was on its way.
            self.leave()
