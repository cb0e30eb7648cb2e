"""A sender and a receiver on the asyncio face of zmqp2p, each with its loop on a thread."""

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from time import perf_counter
from typing import Any, Self, TypeVar

from zmqp2p.aio import P2PService, Receipt
from zmqp2p.cli.bench.figures import outcome_of
from zmqp2p.cli.bench.payloads import BenchMessage, Source, Tally
from zmqp2p.cli.bench.script import BenchFailed, Load, Outcome, Plan
from zmqp2p.identity import Identity
from zmqp2p.ids import Address
from zmqp2p.messages import ProposeState
from zmqp2p.node.deliveries import Delivery

T = TypeVar("T")

_START_MAX_S = 30.0
_CLOSE_MAX_S = 5.0


class _OnLoop:
    """A service and the event loop that it runs in; the caller's thread waits for results."""

    contact = ""
    received = 0
    faults = 0

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._identity = Identity.generate()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        endpoint = plan.endpoint if plan.side == "receive" else None
        self._p2p = P2PService(
            endpoint,
            identity=self._identity,
            store=plan.store,
            security="curve" if plan.secure else "none",
            advertise=None if plan.advertise is None else [plan.advertise],
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._result(self._begin(), _START_MAX_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._result(self._p2p.close(_CLOSE_MAX_S), 2 * _CLOSE_MAX_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _begin(self) -> None:
        await self._p2p.start()

    def _result(self, task: Coroutine[Any, Any, T], timeout_s: float) -> T:
        return asyncio.run_coroutine_threadsafe(task, self._loop).result(timeout_s)


class Receiver(_OnLoop):
    """A node that checks and counts what comes, in a coroutine for each message."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._tally = Tally()

    async def _begin(self) -> None:
        await super()._begin()
        await self._p2p.on_message(self._take)

    @property
    def contact(self) -> str:  # type: ignore[override]  # Read only here as there.
        """The node's record."""
        return str(self._p2p.record)

    @property
    def received(self) -> int:  # type: ignore[override]
        """How many messages have come."""
        return self._tally.received

    @property
    def faults(self) -> int:  # type: ignore[override]
        """How many of them were not as they should be."""
        return self._tally.faults

    def run(self, load: Load) -> Outcome:
        """A receiver sends nothing."""
        raise BenchFailed(f"a receiver was told to send {load}")

    async def _take(self, delivery: Delivery) -> None:
        message = delivery.message
        signer = delivery.signer if isinstance(message, ProposeState) else None
        self._tally.take(delivery.sender, message, signer)


class Sender(_OnLoop):
    """A node that sends from coroutines."""

    _peer: Address
    _source: Source

    async def _begin(self) -> None:
        await super()._begin()
        self._peer = await self._p2p.add_peer(self._plan.contact)
        self._source = Source(self._plan.payload, self._identity, self._peer)

    def run(self, load: Load) -> Outcome:
        """Send a load, and return once all of it is acked."""
        messages = self._source.make(load)
        sending = self._paced(messages, load) if load.rate else self._windowed(messages, load)
        return self._result(sending, load.timeout_s)

    async def _windowed(self, messages: list[BenchMessage], load: Load) -> Outcome:
        pending: deque[tuple[float, Receipt]] = deque()
        latencies: list[float] = []

        async def take_oldest() -> None:
            began, receipt = pending.popleft()
            await receipt.wait(load.timeout_s)
            latencies.append(perf_counter() - began)

        started = perf_counter()
        for message in messages:
            began = perf_counter()
            receipt = await self._p2p.send_message(self._peer, message, timeout_s=load.timeout_s)
            pending.append((began, receipt))
            while pending and (pending[0][1].acked or len(pending) >= load.window):
                await take_oldest()
        while pending:
            await take_oldest()
        return outcome_of(latencies, perf_counter() - started)

    async def _paced(self, messages: list[BenchMessage], load: Load) -> Outcome:
        latencies: list[float] = []
        started = perf_counter()

        async def await_ack(due: float, receipt: Receipt) -> None:
            await receipt.wait(load.timeout_s)
            latencies.append(perf_counter() - due)

        async with asyncio.TaskGroup() as group:
            for index, message in enumerate(messages):
                due = started + index / load.rate
                await asyncio.sleep(max(due - perf_counter(), 0.0))
                receipt = await self._p2p.send_message(
                    self._peer, message, timeout_s=load.timeout_s
                )
                group.create_task(await_ack(due, receipt))
        return outcome_of(latencies, perf_counter() - started)
