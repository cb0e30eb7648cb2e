"""P2PService for asyncio: the same node, the same names, awaitable.

The node has its own thread. Handlers and event callbacks run on the user's event loop; a message
is acked when its coroutine has ended, in the order of the stream.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from zmqp2p.admission import Admission
from zmqp2p.chain.base import ChainService
from zmqp2p.codes import RejectCode
from zmqp2p.crypto import Signature, Signer
from zmqp2p.engine.door import Defences
from zmqp2p.engine.peers import PeerStatus
from zmqp2p.errors import Backpressure, DeliveryTimeout, LocalError, ServiceClosed, UnknownPeer
from zmqp2p.events import Event
from zmqp2p.handover import HandOver
from zmqp2p.identity import Identity
from zmqp2p.ids import Address, ChannelId, MessageId, address_text
from zmqp2p.node.build import (
    Options,
    PeerName,
    address_of,
    check_admission,
    check_attempt,
    check_ban,
    check_filter,
    check_grace,
    check_timeout,
    contact_of,
    encode,
    endpoints_of,
    hand_over_of,
    options_of,
    start_node,
    terms_of,
)
from zmqp2p.node.coroutines import Bridge, CoroutineRunner, Iteration
from zmqp2p.node.deliveries import Delivery, check_coroutine_handler, check_handler
from zmqp2p.node.event_queue import EventQueue
from zmqp2p.node.funding import ChannelStatus, FundedChannel
from zmqp2p.node.letters import DeadLetter, letters_of
from zmqp2p.node.loop import utc_ms
from zmqp2p.node.node import Node
from zmqp2p.node.receipts import Receipt as NodeReceipt
from zmqp2p.policy import Policy, Proposal, ask
from zmqp2p.records import Contact, PeerRecord
from zmqp2p.state import Outcome, State
from zmqp2p.state.types import check_channel_id, check_type

_STOP_MAX_S = 10.0  # A node that has just come up runs no handlers that could hold it up.

T = TypeVar("T")
AsyncHandler = Callable[[Delivery], Coroutine[Any, Any, object]]


class Receipt:
    """What becomes of one message; see `zmqp2p.Receipt`. Belongs to one event loop."""

    def __init__(self, receipt: NodeReceipt, bridge: Bridge) -> None:
        self._receipt = receipt
        self._bridge = bridge

    @property
    def peer(self) -> Address:
        """To whom it was sent."""
        return self._receipt.peer

    @property
    def acked(self) -> bool:
        """Whether the peer has processed the message for good."""
        return self._receipt.acked

    @property
    def error(self) -> Exception | None:
        """How the message ended if not acked; None also while it has not ended."""
        return self._receipt.error

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return once the peer has processed the message; raises as `zmqp2p.Receipt.wait`."""
        check_timeout(timeout_s)
        self._receipt.check_wait()
        if not self._receipt.ended:  # Or no time at all would not be enough to see that it has.
            await self._ended(timeout_s)
        if self._receipt.error is not None:
            raise self._receipt.error

    async def message_id(self) -> MessageId:
        """Return the message's id, once it is stored."""
        return await asyncio.to_thread(lambda: self._receipt.message_id)

    def __repr__(self) -> str:
        return repr(self._receipt)

    async def _ended(self, timeout_s: float | None) -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end(_receipt: NodeReceipt) -> None:
            self._bridge.post(partial(_set_once, ended))

        self._receipt.add_done_callback(end)
        try:
            async with asyncio.timeout(timeout_s):
                await ended
        except TimeoutError:
            raise DeliveryTimeout(f"not within {timeout_s:g} s") from None


class Channel:
    """A channel of this node: how its funding stands, and how it ends."""

    def __init__(self, node: Node, channel_id: ChannelId) -> None:
        self._node = node
        self.channel_id = check_channel_id("channel_id", channel_id)

    async def result(self, timeout_s: float | None = None) -> FundedChannel:
        """Return the channel once it is funded; raises as `zmqp2p.Channel.result`."""
        return await _result(self._node.funded(self.channel_id), timeout_s)

    async def status(self) -> ChannelStatus:
        """Return how it stands; raises UnknownChannel."""
        return await _result(self._node.channel_status(self.channel_id))

    def __repr__(self) -> str:
        return f"<Channel 0x{self.channel_id.hex()}>"


class P2PService:
    """A node for asyncio programs: ``async with P2PService(…) as p2p``.

    Takes what `zmqp2p.P2PService` takes, and raises what it raises: InvalidValue at once, the rest
    when it is entered. All methods belong to the event loop in which it was entered.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str] | None,
        *,
        identity: Identity,
        chain: ChainService | None = None,
        policy: Policy = ask,
        **settings: Any,
    ) -> None:
        self._identity = identity
        self._has_chain = chain is not None
        self._options: Options = options_of(
            endpoint, identity, chain=chain, policy=policy, **settings
        )
        self._started = False
        self._running: Node | None = None
        self._loop: asyncio.AbstractEventLoop
        self._bridge: Bridge
        self._run_coroutines: CoroutineRunner
        self._iterations: set[Iteration] = set()

    # --- Life -----------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Start the node; `async with` does it. Raises EndpointError, StoreError, LocalError.

        When cancelled it ends once no node runs. Where it failed it can be tried again.
        """
        if self._started:
            raise LocalError("the service was started before")
        self._started = True
        self._loop = asyncio.get_running_loop()
        # Not asyncio.to_thread: its task is cancelled with all others when a program ends.
        starting = self._loop.run_in_executor(None, start_node, self._options)
        try:
            running = await asyncio.shield(starting)
        except BaseException:
            await self._stop_if_started(starting)
            self._started = False
            raise
        self._running = running
        self._bridge = Bridge(self._loop, running.wake)
        self._run_coroutines = CoroutineRunner(self._bridge)
        running.ended.add_done_callback(self._node_ended)
        return self

    async def close(self, timeout_s: float = 10.0) -> None:
        """Release everything; see `zmqp2p.P2PService.close`."""
        check_timeout(timeout_s)
        if self._running is not None:
            await asyncio.to_thread(self._running.stop, timeout_s)

    async def flush(self, timeout_s: float | None = None) -> None:
        """Return once every peer has processed every message sent to it, or DeliveryTimeout."""
        await _result(self._node.flush(), timeout_s)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def record(self) -> PeerRecord:
        """The node's signed record: ``str(record)`` is what others need to reach it."""
        return self._node.record

    @property
    def address(self) -> Address:
        """The node's address."""
        return self._identity.address

    # --- Keys -----------------------------------------------------------------------------------

    async def rotate_curve_key(
        self, endpoint: str | Sequence[str] | None = None, *, grace_s: float | None = None
    ) -> PeerRecord:
        """Make a new CURVE key while everything goes on; see `zmqp2p.P2PService`."""
        check_grace(grace_s)
        return await _result(self._node.rotate(endpoints_of(endpoint), grace_s))

    def hand_over(self, successor: Signer) -> HandOver:
        """Return the statement that this identity passes on; see `zmqp2p.P2PService.hand_over`."""
        return HandOver.issue(self._identity, successor, utc_ms())

    async def accept_hand_over(self, statement: HandOver | str, contact: Contact | str) -> Address:
        """Take ``contact`` for the old address; see `zmqp2p.P2PService.accept_hand_over`."""
        read, known = hand_over_of(statement, contact, self._identity.address)
        await _result(self._node.accept_hand_over(read, known))
        return read.new_address

    # --- Peers ----------------------------------------------------------------------------------

    async def add_peer(self, contact: Contact | str) -> Address:
        """Know a peer and connect to it; see `zmqp2p.P2PService.add_peer`."""
        known = contact_of(contact, self.address)
        await _result(self._node.add_contact(known))
        return known.address

    async def peers(self) -> list[PeerStatus]:
        """Return how things stand with every peer."""
        return await _result(self._node.call(lambda engine: engine.peer_statuses()))

    # --- Who may be a peer ----------------------------------------------------------------------

    async def set_admission(self, admission: Admission) -> None:
        """Decide by ``admission`` who may be a peer; see `zmqp2p.P2PService.set_admission`."""
        check_admission(admission)
        await _result(self._node.call(lambda engine: engine.set_admission(admission)))

    async def forget_peer(self, peer: PeerName) -> None:
        """Forget all that is known of ``peer``; see `zmqp2p.P2PService.forget_peer`."""
        address = address_of(peer)
        await _result(self._node.call(lambda engine: engine.forget_peer(address)))

    async def ban(self, peer: PeerName, seconds: float, reason: str = "by the operator") -> None:
        """Keep ``peer`` out for so long; see `zmqp2p.P2PService.ban`."""
        check_ban(seconds, reason)
        address = address_of(peer)
        await _result(self._node.call(lambda engine: engine.ban(address, seconds, reason)))

    async def unban(self, peer: PeerName) -> bool:
        """Let ``peer`` in again; False if it was not banned."""
        address = address_of(peer)
        return await _result(self._node.call(lambda engine: engine.unban(address)))

    async def defences(self) -> Defences:
        """Return whom the node has refused in this run, in numbers, and who is banned now."""
        return await _result(self._node.call(lambda engine: engine.defences()))

    # --- Messages -------------------------------------------------------------------------------

    async def send_message(
        self,
        peer: PeerName,
        message: object,
        *,
        timeout_s: float | None = None,
        expires_in_s: float | None = None,
    ) -> Receipt:
        """Send a message; see `zmqp2p.P2PService.send_message`. Waits only for room.

        It leaves when the event loop next pauses: then one turn of the node serves all of them.
        """
        check_timeout(timeout_s)
        address = address_of(peer)
        if not self._node.knows(address):
            raise UnknownPeer(f"{address_text(address)} is not known: add_peer first")
        body = encode(message, expires_in_s)
        try:
            sent = self._node.send(address, body, 0, wake=False)
        except Backpressure:
            if timeout_s == 0:
                raise
            sent = await asyncio.to_thread(self._node.send, address, body, timeout_s)
        else:
            self._bridge.wake_node()
        return Receipt(sent, self._bridge)

    async def receipt(self, message_id: MessageId) -> Receipt:
        """Return the receipt of a message of this run or an earlier one.

        Raises UnknownMessage and InvalidValue as `zmqp2p.P2PService.receipt`.
        """
        return Receipt(await _result(self._node.receipt(message_id)), self._bridge)

    async def on_message(
        self,
        handler: AsyncHandler,
        *,
        message_type: type | None = None,
        channel_id: ChannelId | None = None,
    ) -> AsyncHandler:
        """Hand messages to the coroutine ``handler(delivery)``; acked when it has ended.

        What it writes by ``delivery.transaction`` and sends is committed together when it ends.

        Raises:
            InvalidValue: as `zmqp2p.P2PService.on_message`, or not a coroutine function.
        """
        check_filter(message_type, channel_id)
        check_coroutine_handler(handler)
        await _result(self._node.subscribe(handler, self._run_coroutines, message_type, channel_id))
        return handler

    async def messages(
        self, *, message_type: type | None = None, channel_id: ChannelId | None = None
    ) -> AsyncIterator[Delivery]:
        """Yield messages; each is acked when the next is asked for.

        What ``delivery.transaction`` collects is committed with that ack. What is sent in the body
        of the loop leaves at once: use `on_message` for messages that must not leave without it.
        When the iteration is left, the message in hand is not acked: it is handed out again to the
        next subscription, or after a restart. While nobody subscribes, messages wait for
        ``Limits.subscribe_grace_s`` and are then refused. When the service closes, the iteration
        ends.
        """
        check_filter(message_type, channel_id)
        node = self._node
        iteration = Iteration(self._bridge)
        self._iterations.add(iteration)
        subscribed = node.subscribe(_nothing, iteration.add, message_type, channel_id)
        try:
            await _result(subscribed)
            while (delivery := await iteration.next()) is not None:
                yield delivery
        finally:
            self._iterations.discard(iteration)
            subscribed.add_done_callback(self._unsubscribe)  # It may not be done yet.
            iteration.leave()

    def on_event(self, handler: Callable[[Event], None]) -> Callable[[Event], None]:
        """Call ``handler(event)`` on the event loop with what happens from now on.

        While the loop is busy so many wait as `Limits.events_waiting_max` says. What is more is
        lost, but for alarms (`DataLossDetected`), and told by an `EventsLost`.

        Raises:
            InvalidValue: not callable, or a coroutine function. ServiceClosed: not started.
        """
        check_handler(handler)
        node, loop = self._node, self._loop

        queue = EventQueue(self._options.limits.events_waiting_max)

        def forward(event: Event) -> None:
            if queue.put(event):
                loop.call_soon_threadsafe(hand_out)

        def hand_out() -> None:
            event, more = queue.take()
            if more:  # Before the handler, which may raise; one at a time, since it may be slow.
                loop.call_soon(hand_out)
            handler(event)

        node.on_event(forward)
        return handler

    # --- Dead letters ---------------------------------------------------------------------------

    async def dead_letters(self) -> list[DeadLetter]:
        """Return the messages whose handlers failed for good; see `zmqp2p.P2PService`."""
        return letters_of(await _result(self._node.dead_letters()))

    async def redrive(self, message_id: MessageId, timeout_s: float | None = None) -> None:
        """Hand a dead letter to its handler again; see `zmqp2p.P2PService.redrive`."""
        check_timeout(timeout_s)
        await _result(self._node.redrive(message_id), timeout_s)

    async def discard(self, message_id: MessageId) -> None:
        """Forget a dead letter; see `zmqp2p.P2PService.discard`."""
        await _result(self._node.discard(message_id))

    # --- Channels -------------------------------------------------------------------------------

    async def fund_channel(
        self,
        peers: PeerName | Sequence[PeerName],
        outcome: Outcome,
        *,
        app_data: bytes = b"",
        **terms: Any,
    ) -> Channel:
        """Open a channel and fund it directly; see `zmqp2p.P2PService.fund_channel`.

        Raises what that raises: in a message handler ``channel_nonce`` must be given.
        """
        if not self._has_chain:
            raise LocalError("this service has no chain to fund channels on")
        check_attempt(self._node, terms.get("channel_nonce"))
        fixed = terms_of(self.address, peers, **terms)
        proposed = self._node.call(lambda engine: engine.propose(fixed, outcome, app_data))
        return Channel(self._node, await _result(proposed))

    def channel(self, channel_id: ChannelId) -> Channel:
        """Return the handle of a channel, whoever proposed it."""
        return Channel(self._node, channel_id)

    async def channels(self) -> list[ChannelStatus]:
        """Return how all channels stand, of earlier runs too."""
        return await _result(self._node.channel_statuses())

    async def proposals(self) -> list[Proposal]:
        """Return the channels that wait for `approve` or `reject`."""
        return await _result(self._node.proposals())

    async def approve(self, channel_id: ChannelId) -> Channel:
        """Agree to a proposed channel; see `zmqp2p.P2PService.approve`."""
        check_channel_id("channel_id", channel_id)
        await _result(self._node.call(lambda engine: engine.channels.approve(channel_id)))
        return Channel(self._node, channel_id)

    async def reject(self, channel_id: ChannelId, reason: str = "declined") -> None:
        """Decline a proposed channel; see `zmqp2p.P2PService.reject`."""
        check_channel_id("channel_id", channel_id)
        check_type("reason", reason, str)
        code = RejectCode.DECLINED
        await _result(
            self._node.call(lambda engine: engine.channels.reject(channel_id, code, reason))
        )

    async def sign_state(self, state: State) -> Signature:
        """Sign ``state``, and no other one of its turn; see `zmqp2p.P2PService.sign_state`.

        It is on record when this returns, in a handler too: those run on the event loop here.
        """
        check_type("state", state, State)
        return await _result(self._node.sign_state(state))

    # --- Inside ---------------------------------------------------------------------------------

    @property
    def _node(self) -> Node:
        if self._running is None:
            raise ServiceClosed("the service is not started: use `async with`")
        return self._running

    async def _stop_if_started(self, starting: "asyncio.Future[Node]") -> None:
        """Wait until the node has come up, and stop it; or until it has not."""
        await _ended(starting)
        if starting.exception() is None:
            node = starting.result()
            await _ended(self._loop.run_in_executor(None, node.stop, _STOP_MAX_S))

    def _node_ended(self, _ended: "Future[None]") -> None:
        with suppress(RuntimeError):  # The loop is closed: nobody iterates.
            self._loop.call_soon_threadsafe(self._end_iterations)

    def _end_iterations(self) -> None:
        for iteration in self._iterations:
            iteration.end()

    def _unsubscribe(self, subscribed: "Future[int]") -> None:
        if subscribed.exception() is None:
            with suppress(ServiceClosed):
                self._node.unsubscribe(subscribed.result())


def _nothing(_delivery: Delivery) -> None:
    """Stand in for the handler of an iteration, whose body handles the messages."""


def _set_once(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def _ended(future: "asyncio.Future[Any]") -> None:
    """Wait until ``future`` is done, however often the caller is cancelled meanwhile."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((future,))


async def _result(future: "Future[T]", timeout_s: float | None = None) -> T:
    return await _within(asyncio.wrap_future(future), timeout_s)


async def _within(future: "asyncio.Future[T]", timeout_s: float | None) -> T:
    check_timeout(timeout_s)
    try:
        return await asyncio.wait_for(asyncio.shield(future), timeout_s)
    except TimeoutError:
        raise DeliveryTimeout(f"not within {timeout_s:g} s") from None
