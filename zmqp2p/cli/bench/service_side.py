"""A sender and a receiver on the blocking face of zmqp2p."""

from collections import deque
from contextlib import ExitStack, closing
from time import perf_counter
from typing import Self

from zmqp2p.chain import SimulatedChain
from zmqp2p.cli.bench.figures import outcome_of
from zmqp2p.cli.bench.loops import paced, windowed
from zmqp2p.cli.bench.payloads import BenchMessage, Source, Tally
from zmqp2p.cli.bench.script import BenchFailed, Load, Outcome, Plan
from zmqp2p.events import ChannelFunded, Event
from zmqp2p.identity import Identity
from zmqp2p.ids import ZERO_ADDRESS, Address
from zmqp2p.limits import DEFAULT_LIMITS, Limits
from zmqp2p.messages import ProposeState
from zmqp2p.node.deliveries import Delivery
from zmqp2p.node.receipts import Receipt
from zmqp2p.policy import approve_all
from zmqp2p.service import Channel, P2PService
from zmqp2p.state import Allocation, AssetExit, destination_of
from zmqp2p.state import Outcome as Shares

_COMINGS = 4  # Of one peer: who has sent nothing when its link is lost comes as new again.
_CLOSE_MAX_S = 5.0


class _Running:
    """A service, and the chain that it was given."""

    def __init__(self, plan: Plan, endpoint: str | None) -> None:
        self._plan = plan
        self._endpoint = endpoint
        key = plan.key
        self._identity = Identity.generate() if key is None else Identity.load_or_create(key)
        self._stack = ExitStack()
        self._p2p: P2PService

    def __enter__(self) -> Self:
        plan, chain = self._plan, None
        newcomers = _COMINGS * plan.peers
        if plan.chain is not None:
            chain = self._stack.enter_context(closing(SimulatedChain(plan.chain)))
        self._p2p = P2PService(
            self._endpoint,
            identity=self._identity,
            store=plan.store,
            chain=chain,
            policy=approve_all,
            security="curve" if plan.secure else "none",
            advertise=None if plan.advertise is None else [plan.advertise],
            limits=Limits(newcomers_burst=max(newcomers, DEFAULT_LIMITS.newcomers_burst)),
        )
        self._stack.callback(self._p2p.close, _CLOSE_MAX_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class Receiver(_Running):
    """A node that checks and counts what comes, on its own thread."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, plan.endpoint)
        self._tally = Tally()
        self._channels = 0

    def __enter__(self) -> Self:
        super().__enter__()
        self._p2p.on_event(self._on_event)
        if self._plan.chain is None:
            self._p2p.on_message(self._take)
        return self

    @property
    def contact(self) -> str:
        """The node's record."""
        return str(self._p2p.record)

    @property
    def received(self) -> int:
        """How many messages have come, or channels have been funded."""
        return self._tally.received + self._channels

    @property
    def faults(self) -> int:
        """How many of them were not as they should be."""
        return self._tally.faults

    def run(self, load: Load) -> Outcome:
        """A receiver sends nothing."""
        raise BenchFailed(f"a receiver was told to send {load}")

    def _take(self, delivery: Delivery) -> None:
        message = delivery.message
        signer = delivery.signer if isinstance(message, ProposeState) else None
        self._tally.take(delivery.sender, message, signer)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ChannelFunded):
            self._channels += 1


class Sender(_Running):
    """A node that sends from the thread which calls `run`, and waits there for the receipts."""

    contact = ""
    received = 0
    faults = 0

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, None)
        self._peer: Address
        self._source: Source

    def __enter__(self) -> Self:
        super().__enter__()
        self._peer = self._p2p.add_peer(self._plan.contact)
        self._source = Source(self._plan.payload, self._identity, self._peer)
        return self

    def run(self, load: Load) -> Outcome:
        """Send a load, and return once all of it is acked."""
        if load.channels:
            return self._fund(load)
        messages = self._source.make(load)
        p2p, peer, timeout_s = self._p2p, self._peer, load.timeout_s

        def send(message: BenchMessage) -> Receipt:
            return p2p.send_message(peer, message, timeout_s=timeout_s)

        return (paced if load.rate else windowed)(send, messages, load)

    def _fund(self, load: Load) -> Outcome:
        pending: deque[tuple[float, Channel]] = deque()
        latencies: list[float] = []
        shares = _shares(self._p2p.address, self._peer)
        started = perf_counter()
        for _ in range(load.messages):
            if len(pending) >= load.window:
                latencies.append(_funded_in_s(*pending.popleft(), load))
            began = perf_counter()
            pending.append((began, self._p2p.fund_channel(self._peer, shares)))
        while pending:
            latencies.append(_funded_in_s(*pending.popleft(), load))
        self._p2p.flush(load.timeout_s)  # By now the other side has heard that they are funded.
        return outcome_of(latencies, perf_counter() - started)


def _funded_in_s(began: float, channel: Channel, load: Load) -> float:
    channel.result(load.timeout_s)
    return perf_counter() - began


def _shares(me: Address, peer: Address) -> Shares:
    paid = tuple(Allocation(destination_of(who), 5) for who in (me, peer))
    return (AssetExit(ZERO_ADDRESS, paid),)
