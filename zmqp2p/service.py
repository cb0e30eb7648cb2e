"""P2PService: the blocking face of a node. It translates calls; the node does the work."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from zmqp2p.admission import Admission
from zmqp2p.chain.base import ChainService
from zmqp2p.codes import RejectCode
from zmqp2p.crypto import Signature, Signer
from zmqp2p.engine.door import Defences
from zmqp2p.engine.peers import PeerStatus
from zmqp2p.errors import (
    DeliveryTimeout,
    InvalidValue,
    LocalError,
    UnknownPeer,
    WouldDeadlock,
)
from zmqp2p.events import Event
from zmqp2p.handover import HandOver
from zmqp2p.identity import Identity
from zmqp2p.ids import Address, ChannelId, MessageId, address_text
from zmqp2p.node.build import (
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
from zmqp2p.node.deliveries import Handler, check_handler
from zmqp2p.node.executors import ExecutorRunner
from zmqp2p.node.funding import ChannelStatus, FundedChannel
from zmqp2p.node.letters import DeadLetter, letters_of
from zmqp2p.node.loop import utc_ms
from zmqp2p.node.node import Node
from zmqp2p.node.receipts import Receipt
from zmqp2p.policy import Policy, Proposal, ask
from zmqp2p.records import Contact, PeerRecord
from zmqp2p.state import Outcome, State
from zmqp2p.state.types import check_channel_id, check_type
from zmqp2p.store.base import Store

T = TypeVar("T")
H = TypeVar("H", bound=Handler)


class Channel:
    """A channel of this node: how its funding stands, and how it ends. Thread-safe."""

    def __init__(self, node: Node, channel_id: ChannelId) -> None:
        self._node = node
        self.channel_id = check_channel_id("channel_id", channel_id)

    def result(self, timeout_s: float | None = None) -> FundedChannel:
        """Return the channel once it is funded: all deposits on chain, all postfund signatures.

        Raises:
            Rejected: a participant declined. This node deposited nothing.
            DeliveryTimeout: not within ``timeout_s``; the funding goes on, also after a restart.
            Cancelled: the service closed first; the funding goes on after a restart.
            UnknownChannel: this node has no such channel.
        """
        return wait_for(self._node, self._node.funded(self.channel_id), timeout_s)

    def status(self) -> ChannelStatus:
        """Return how it stands; raises UnknownChannel."""
        return wait_for(self._node, self._node.channel_status(self.channel_id), None)

    def __repr__(self) -> str:
        return f"<Channel 0x{self.channel_id.hex()}>"


def wait_for(node: Node, future: "Future[T]", timeout_s: float | None) -> T:
    """Return the future's result; raises DeliveryTimeout, or WouldDeadlock on the node's thread."""
    check_timeout(timeout_s)
    if not future.done() and node.on_node_thread():
        raise WouldDeadlock("waiting on the node's thread would wait for ever")
    try:
        return future.result(timeout_s)
    except FutureTimeoutError:
        raise DeliveryTimeout(f"not within {timeout_s:g} s") from None


class P2PService:
    """A node: listens, dials, delivers, funds channels. Runs from construction to `close`.

    Every method may be called on any thread. Handlers and callbacks run on the node's own thread,
    one at a time, unless an executor is given for them.

    Args:
        endpoint: ``tcp://host:port``, ``tcp://[::1]:0``, ``ipc://path``, several of them, or None
            to only dial. Port 0 picks one; `record` tells it.
        identity: who this node is.
        store: a path (SQLite, survives crashes), a `Store`, or None for memory only.
        chain: where channels are funded; without it proposals are refused.
        policy: decides about proposed channels; the default asks: see `proposals`.
        admission: who may be a peer, see `zmqp2p.admission`; the default is everyone.
        advertise: the endpoints shown to peers, if they differ from where it listens.
        record_lifetime_s: how long the record is valid from its issue, at each start.
        security: "curve"; or "none", unencrypted and unauthenticated, on loopback only.
        allow_insecure_remote: let "none" leave loopback. Anybody can then be anybody.
        transport: instead of ZeroMQ; `limits`: this node's bounds.

    Raises:
        InvalidValue: something is not of its kind, or there is no such setting.
        EndpointError: it cannot listen there.
        StoreError: the store is locked, too new, another's, or unusable.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str] | None,
        *,
        identity: Identity,
        store: str | PathLike[str] | Store | None = None,
        chain: ChainService | None = None,
        policy: Policy = ask,
        **settings: Any,
    ) -> None:
        self._identity = identity
        options = options_of(
            endpoint, identity, store=store, chain=chain, policy=policy, **settings
        )
        self._has_chain = chain is not None
        self._node = start_node(options)

    # --- Life -----------------------------------------------------------------------------------

    @property
    def record(self) -> PeerRecord:
        """The node's signed record: ``str(record)`` is what others need to reach it."""
        return self._node.record

    @property
    def address(self) -> Address:
        """The node's address."""
        return self._identity.address

    def close(self, timeout_s: float = 10.0) -> None:
        """Say goodbye to the peers and release every thread, socket and file. Idempotent.

        Messages that are not acked stay in the store and are sent after the next start; with a
        memory store they are gone, so `flush` first.

        Raises:
            LocalError: a handler still runs after ``timeout_s``, or this is called by a handler.
            Exception: what made the node fail, if it did.
        """
        check_timeout(timeout_s)
        self._node.stop(timeout_s)

    def flush(self, timeout_s: float | None = None) -> None:
        """Return once every peer has processed every message sent to it.

        Raises:
            DeliveryTimeout: not within ``timeout_s``.
        """
        wait_for(self._node, self._node.flush(), timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- Keys -----------------------------------------------------------------------------------

    def rotate_curve_key(
        self, endpoint: str | Sequence[str] | None = None, *, grace_s: float | None = None
    ) -> PeerRecord:
        """Make a new CURVE key while everything goes on; return the record that bears it.

        The key file, if there is one, has the new key when this returns, and so has the identity
        that the service was given. Peers that are connected are told, and links move over; nothing
        is lost. Links of the former key end after ``grace_s`` seconds. So long it is listened for,
        so that peers with the former record get in and are told.

        At one place one key can be listened for. If the service was to listen at any port (0), the
        new key gets another one, and with ``endpoint`` it is listened for there; the record says
        where, and ``grace_s`` is a day by default. Else the new key gets the place of the former
        one after ``grace_s``, 2 seconds by default; until then this node dials whom it can. Give
        the new record to all who have the former one, or a URI, and are not connected.

        Raises:
            EndpointError, KeyFileError: nothing has changed.
            InvalidValue: no endpoint, or no number of seconds.
        """
        check_grace(grace_s)
        return wait_for(self._node, self._node.rotate(endpoints_of(endpoint), grace_s), None)

    def hand_over(self, successor: Signer) -> HandOver:
        """Return the statement that this node's identity passes to ``successor``; tells nobody.

        ``str(statement)`` is what peers `accept_hand_over` of, with the successor's record. Close
        the channels of this address first, or keep this node until they are: no statement moves
        them, nor messages under way. It is no help after this address's key was stolen: a thief
        could make one, too.

        Raises:
            InvalidValue: ``successor`` is this node's own identity.
        """
        return HandOver.issue(self._identity, successor, utc_ms())

    def accept_hand_over(self, statement: HandOver | str, contact: Contact | str) -> Address:
        """Take ``contact`` for who was the old address of ``statement``; returns the new address.

        The node keeps a link to the new address from now on instead of to the old one, over
        restarts too, and tells it by the event `PeerHandedOver`. Bans, and lists of who may be a
        peer, hold for both addresses (docs/howto/admission.md). Sessions and channels of the old
        address stay its own. What the old address says about itself afterwards counts no more:
        the first statement accepted is final, unless you `add_peer` it again.

        Raises:
            RecordError: not signed by both addresses (HND-2), or a bad record.
            UnknownPeer: the old address was not added, or was handed over before.
            InvalidValue: no statement, or ``contact`` is not of its new address. LocalError: that
                is this node's own.
        """
        read, known = hand_over_of(statement, contact, self.address)
        wait_for(self._node, self._node.accept_hand_over(read, known), None)
        return read.new_address

    # --- Peers ----------------------------------------------------------------------------------

    def add_peer(self, contact: Contact | str) -> Address:
        """Know a peer by its record, the record's text or a zp2p:// URI, and connect to it.

        The node keeps a link to it from now on, over restarts too. Returns its address.

        Raises:
            InvalidValue: not a contact. RecordError: a bad record, or one that has expired (REC-3).
        """
        known = contact_of(contact, self.address)
        wait_for(self._node, self._node.add_contact(known), None)
        return known.address

    def forget_peer(self, peer: PeerName) -> None:
        """End the links with ``peer``, and forget all that is known of it, in the store too.

        It makes room for another one (`Limits.peers_max`). Whoever comes again is a new peer: that
        its store was rolled back, or that a message was processed before, is not noticed. To keep
        it out, `ban` it.

        Raises:
            UnknownPeer: nothing is known of it. LocalError: messages to it or of it wait, a dead
                letter of it is kept, or a channel with it is open. InvalidValue: no address.
        """
        address = address_of(peer)
        wait_for(self._node, self._node.call(lambda engine: engine.forget_peer(address)), None)

    def peers(self) -> list[PeerStatus]:
        """Return how things stand with every peer; ``why_not`` says why one is not connected."""
        return wait_for(self._node, self._node.call(lambda engine: engine.peer_statuses()), None)

    # --- Who may be a peer ----------------------------------------------------------------------

    def set_admission(self, admission: Admission) -> None:
        """Decide by ``admission`` who may be a peer from now on, those who are included.

        Whoever may not is told NOT_ALLOWED; its links are closed, and it is not dialed. Its mail
        waits. There are ``known_peers_only``, ``only_these(…)`` and ``all_but_these(…)``. A
        function of yours is asked on the node's thread; where it raises, nobody gets in, and there
        is a CallbackFailed event.

        Raises:
            InvalidValue: not a function.
        """
        check_admission(admission)
        wait_for(self._node, self._node.call(lambda engine: engine.set_admission(admission)), None)

    def ban(self, peer: PeerName, seconds: float, reason: str = "by the operator") -> None:
        """Keep ``peer`` out for so long, ``math.inf`` included, whatever the admission says.

        Its links are closed and it is told ``reason``. It is let in after a restart; who is never
        to come in again belongs on the list that `admission` is.

        Raises:
            InvalidValue: no address, or no such time.
        """
        check_ban(seconds, reason)
        address = address_of(peer)
        wait_for(self._node, self._node.call(lambda e: e.ban(address, seconds, reason)), None)

    def unban(self, peer: PeerName) -> bool:
        """Let ``peer`` in again, if the admission does. False if it was not banned."""
        address = address_of(peer)
        return wait_for(self._node, self._node.call(lambda engine: engine.unban(address)), None)

    def defences(self) -> Defences:
        """Return whom the node has refused in this run, in numbers, and who is banned now."""
        return wait_for(self._node, self._node.call(lambda engine: engine.defences()), None)

    # --- Messages -------------------------------------------------------------------------------

    def send_message(
        self,
        peer: PeerName,
        message: object,
        *,
        timeout_s: float | None = None,
        expires_in_s: float | None = None,
    ) -> Receipt:
        """Send ``message`` to ``peer``, exactly once and in order, whether or not it is connected.

        Returns at once with a receipt, unless the outbox to the peer is full: then it waits up to
        ``timeout_s`` for room (None: without end; 0: not at all). In a message handler the
        message leaves with the handler's transaction, and not at all if the handler fails. With
        ``expires_in_s`` the peer refuses it when it is older, by the two clocks.

        Raises:
            UnknownPeer: add it first. InvalidValue, TooLarge: not a message that can be sent.
            Backpressure, DeliveryTimeout: no room. ServiceClosed: closed. Nothing was sent.
        """
        check_timeout(timeout_s)
        address = address_of(peer)
        if not self._node.knows(address):
            raise UnknownPeer(f"{address_text(address)} is not known: add_peer first")
        return self._node.send(address, encode(message, expires_in_s), timeout_s)

    def receipt(self, message_id: MessageId) -> Receipt:
        """Return the receipt of a message that this node sent, in this run or an earlier one.

        ``message_id`` is `Receipt.message_id`. The receipt ends as acked, Refused, Expired or
        Cancelled (its stream was given up by ``zmqp2p recover``), or has ended so already.

        Raises:
            UnknownMessage: no message of this store, or so long ago that it is not known whether
                it was refused. InvalidValue: no id.
        """
        return wait_for(self._node, self._node.receipt(message_id), None)

    @overload
    def on_message(self, handler: H) -> H: ...

    @overload
    def on_message(
        self,
        handler: None = None,
        *,
        message_type: type | None = None,
        channel_id: ChannelId | None = None,
        executor: Executor | None = None,
    ) -> Callable[[H], H]: ...

    @overload
    def on_message(
        self,
        handler: H,
        *,
        message_type: type | None = None,
        channel_id: ChannelId | None = None,
        executor: Executor | None = None,
    ) -> H: ...

    def on_message(
        self,
        handler: Any = None,
        *,
        message_type: type | None = None,
        channel_id: ChannelId | None = None,
        executor: Executor | None = None,
    ) -> Any:
        """Hand messages to ``handler(delivery)``; also usable as a decorator.

        Each message has one handler: the one whose filter fits best (type and channel, then
        channel, then type, then none). It is acked once the handler has returned and what it wrote
        and sent is committed. A handler that raises is called again after a while; after the last
        attempt the message is refused, and kept: see `dead_letters`. ``RefuseMessage`` refuses it
        at once. Without an executor the handler blocks the node while it runs; with one it ends
        when it likes, and of all peers together `Limits.handlers_max` are in progress at a time. An
        executor that takes no more work is a handler that fails: close the service before it.
        Coroutine functions are for `zmqp2p.aio`.

        Raises:
            InvalidValue: this filter has a handler already, or is none; not a function that can be
                called here, or no executor.
        """
        check_filter(message_type, channel_id)
        if executor is not None and not isinstance(executor, Executor):
            raise InvalidValue("executor", "must be a concurrent.futures.Executor")
        if handler is None:
            return partial(
                self.on_message,
                message_type=message_type,
                channel_id=channel_id,
                executor=executor,
            )
        check_handler(handler)
        runner = None if executor is None else ExecutorRunner(executor, self._node.wake)
        wait_for(self._node, self._node.subscribe(handler, runner, message_type, channel_id), None)
        return handler

    def on_event(self, handler: Callable[[Event], None]) -> Callable[[Event], None]:
        """Call ``handler(event)`` on the node's thread with what happens from now on.

        Raises:
            InvalidValue: not a function that can be called here.
        """
        check_handler(handler)
        self._node.on_event(handler)
        return handler

    # --- Dead letters ---------------------------------------------------------------------------

    def dead_letters(self) -> list[DeadLetter]:
        """Return the messages whose handlers failed on every attempt, oldest first.

        Each was refused to its sender with HANDLER_FAILED, and is kept over restarts until it is
        redriven or discarded; how many are kept is bounded, see `Limits.dead_letters_max_messages`.
        """
        return letters_of(wait_for(self._node, self._node.dead_letters(), None))

    def redrive(self, message_id: MessageId, timeout_s: float | None = None) -> None:
        """Hand a dead letter to its handler again: out of order, and whatever its deadline.

        Returns once what the handler did is committed, and with it that the letter is gone. The
        sender is not told: to it the message was refused.

        Raises:
            HandlerFailed: it failed again, with ``__cause__``; the letter stays, and counts on.
            UnknownMessage: there is no such letter. InvalidValue: no id.
            LocalError: it has no handler now, or is being handled.
            DeliveryTimeout: not within ``timeout_s``; the handler goes on.
            WouldDeadlock: called on the node's own thread.
            Cancelled: the service closed first, or the handler was cancelled; the letter stays.
        """
        check_timeout(timeout_s)
        wait_for(self._node, self._node.redrive(message_id), timeout_s)

    def discard(self, message_id: MessageId) -> None:
        """Forget a dead letter.

        Raises:
            UnknownMessage: there is no such letter. InvalidValue: no id.
            LocalError: it is being handled now.
        """
        wait_for(self._node, self._node.discard(message_id), None)

    # --- Channels -------------------------------------------------------------------------------

    def fund_channel(
        self,
        peers: PeerName | Sequence[PeerName],
        outcome: Outcome,
        *,
        app_data: bytes = b"",
        **terms: Any,
    ) -> Channel:
        """Open a channel with ``peers`` and fund it directly; `Channel.result` waits for it.

        ``outcome`` says what each participant deposits, in that order, and may take out. ``terms``
        are ``challenge_duration`` (seconds, default a day), ``app_definition`` (an address) and
        ``channel_nonce`` (default random; an id is never used twice). The proposal is stored when
        this returns, and pursued over restarts until it ends: also if this is called in a message
        handler that then fails. So there ``channel_nonce`` must be given, or each attempt would
        open one more channel; with it, a second attempt is told InvalidValue: opened before.

        Raises:
            UnknownPeer: add it first. InvalidValue: the channel cannot be funded safely.
            LocalError: this service has no chain, or called in a message handler without
                ``channel_nonce``.
        """
        if not self._has_chain:
            raise LocalError("this service has no chain to fund channels on")
        check_attempt(self._node, terms.get("channel_nonce"))
        fixed = terms_of(self.address, peers, **terms)
        proposed = self._node.call(lambda engine: engine.propose(fixed, outcome, app_data))
        return Channel(self._node, wait_for(self._node, proposed, None))

    def channel(self, channel_id: ChannelId) -> Channel:
        """Return the handle of a channel, whoever proposed it; its methods raise if unknown."""
        return Channel(self._node, channel_id)

    def channels(self) -> list[ChannelStatus]:
        """Return how all channels stand, of earlier runs too."""
        return wait_for(self._node, self._node.channel_statuses(), None)

    def proposals(self) -> list[Proposal]:
        """Return the channels that wait for `approve` or `reject`."""
        return wait_for(self._node, self._node.proposals(), None)

    def approve(self, channel_id: ChannelId) -> Channel:
        """Agree to a proposed channel: sign it, and deposit when that is safe.

        Raises:
            UnknownChannel: no such proposal. InvalidValue: not an id.
        """
        check_channel_id("channel_id", channel_id)
        approved = self._node.call(lambda engine: engine.channels.approve(channel_id))
        wait_for(self._node, approved, None)
        return Channel(self._node, channel_id)

    def reject(self, channel_id: ChannelId, reason: str = "declined") -> None:
        """Decline a proposed channel; its participants are told ``reason``.

        Nothing of it is kept: proposed again, it is decided again.

        Raises:
            UnknownChannel: no such proposal. LocalError: it was approved already. InvalidValue: not
                an id, or no text.
        """
        check_channel_id("channel_id", channel_id)
        check_type("reason", reason, str)
        rejected = self._node.call(
            lambda engine: engine.channels.reject(channel_id, RejectCode.DECLINED, reason)
        )
        wait_for(self._node, rejected, None)

    def sign_state(self, state: State) -> Signature:
        """Sign ``state``, and never another one of its turn or of an earlier turn of its channel.

        The store has it on record when this returns, and remembers it over restarts. In a message
        handler or callback on the node's own thread it is recorded by the commit that what the
        handler sends waits for, and also if the handler then fails: so give the signature to
        others by `send_message` only, not by ways of your own. Signing the same state again
        gives the same signature. A memory store, or an old copy put in the store's place, does not
        remember: the copy is noticed when a peer is met (see the spec, RES-7).

        Raises:
            SignedAlready: another state of that turn, or a later turn, is signed.
            LocalError: the channel is being funded: wait for `Channel.result`.
            InvalidValue: no state, or of a channel in which this node takes no part.
            ServiceClosed: closed, or about to be.
        """
        check_type("state", state, State)
        return wait_for(self._node, self._node.sign_state(state), None)
