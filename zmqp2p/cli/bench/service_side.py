"""A sender and a receiver on the blocking face of zmqp2p."""

import time
from collections import deque
from threading import Event as Flag
from time import perf_counter
from typing import Self

from zmqp2p.cli.bench.figures import outcome_of
from zmqp2p.cli.bench.payloads import BenchMessage, Source, Tally
from zmqp2p.cli.bench.script import BenchFailed, Load, Outcome, Plan
from zmqp2p.identity import Identity
from zmqp2p.node.deliveries import Delivery
from zmqp2p.node.receipts import Receipt
from zmqp2p.service import P2PService

_CLOSE_MAX_S = 5.0


class Receiver:
    """A node that checks and counts what comes, on its own thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tally = Tally()
        self._p2p: P2PService

    def __enter__(self) -> Self:
        plan = self._plan
        self._p2p = P2PService(
            plan.endpoint,
            identity=Identity.generate(),
            store=plan.store,
            security="curve" if plan.secure else "none",
        )
        self._p2p.on_message(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._p2p.close(_CLOSE_MAX_S)

    @property
    def contact(self) -> str:
        """The node's record."""
        return str(self._p2p.record)

    @property
    def received(self) -> int:
        """How many messages have come."""
        return self._tally.received

    @property
    def faults(self) -> int:
        """How many of them were not as they should be."""
        return self._tally.faults

    def run(self, load: Load) -> Outcome:
        """A receiver sends nothing."""
        raise BenchFailed(f"a receiver was told to send {load}")

    def _take(self, delivery: Delivery) -> None:
        self._tally.take(delivery.sender, delivery.message)


class Sender:
    """A node that sends from the thread which calls `run`, and waits there for the receipts."""

    contact = ""
    received = 0
    faults = 0

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._p2p: P2PService
        self._source: Source

    def __enter__(self) -> Self:
        plan, identity = self._plan, Identity.generate()
        self._p2p = P2PService(
            None,
            identity=identity,
            store=plan.store,
            security="curve" if plan.secure else "none",
        )
        self._peer = self._p2p.add_peer(plan.contact)
        self._source = Source(plan.payload, identity, self._peer)
        return self

    def __exit__(self, *_: object) -> None:
        self._p2p.close(_CLOSE_MAX_S)

    def run(self, load: Load) -> Outcome:
        """Send a load, and return once all of it is acked."""
        messages = self._source.make(load)
        return self._paced(messages, load) if load.rate else self._windowed(messages, load)

    def _windowed(self, messages: list[BenchMessage], load: Load) -> Outcome:
        send, peer, timeout_s = self._p2p.send_message, self._peer, load.timeout_s
        pending: deque[tuple[float, Receipt]] = deque()
        latencies: list[float] = []

        def take_oldest() -> None:
            began, receipt = pending.popleft()
            receipt.wait(timeout_s)
            latencies.append(perf_counter() - began)

        started = perf_counter()
        for message in messages:
            began = perf_counter()
            pending.append((began, send(peer, message, timeout_s=timeout_s)))
            while pending and (pending[0][1].ended or len(pending) >= load.window):
                take_oldest()
        while pending:
            take_oldest()
        return outcome_of(latencies, perf_counter() - started)

    def _paced(self, messages: list[BenchMessage], load: Load) -> Outcome:
        latencies: list[float] = []
        done = Flag()
        errors: list[Exception] = []
        started = perf_counter()

        def on_ack(due: float, receipt: Receipt) -> None:
            if receipt.error is not None:
                errors.append(receipt.error)
            latencies.append(perf_counter() - due)
            if len(latencies) == len(messages):
                done.set()

        for index, message in enumerate(messages):
            due = started + index / load.rate
            early_s = due - perf_counter()
            if early_s > 0:
                time.sleep(early_s)
            receipt = self._p2p.send_message(self._peer, message, timeout_s=load.timeout_s)
            receipt.add_done_callback(lambda ended, due=due: on_ack(due, ended))  # type: ignore[misc]
        if not done.wait(load.timeout_s):
            raise BenchFailed(f"{len(latencies)} of {len(messages)} acked in {load.timeout_s:g} s")
        if errors:
            raise errors[0]
        return outcome_of(latencies, perf_counter() - started)
