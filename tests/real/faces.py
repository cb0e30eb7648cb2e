"""Both faces of a node behind one interface, so that one suite says what they promise.

`AioFace` runs an event loop on a thread of its own. Its handlers run in worker threads of that
loop, so that the same blocking handler can be given to both.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from zmqp2p import (
    Admission,
    ChannelStatus,
    DeadLetter,
    Defences,
    Delivery,
    FundedChannel,
    HandOver,
    P2PService,
    PeerRecord,
    PeerStatus,
    PeerUri,
    Proposal,
    aio,
)
from zmqp2p.crypto import Signature, Signer
from zmqp2p.events import Event
from zmqp2p.ids import Address, ChannelId, MessageId
from zmqp2p.state import Outcome, State

T = TypeVar("T")
Handle = Callable[[Delivery], object]
FACE_PATIENCE_S = 20.0


class ReceiptFace(ABC):
    """What both receipts offer."""

    peer: Address

    @property
    @abstractmethod
    def acked(self) -> bool: ...

    @property
    @abstractmethod
    def error(self) -> Exception | None: ...

    @abstractmethod
    def wait(self, timeout_s: float | None = None) -> None: ...

    @abstractmethod
    def message_id(self) -> MessageId: ...


class ChannelFace(ABC):
    """What both channel handles offer."""

    channel_id: ChannelId

    @abstractmethod
    def result(self, timeout_s: float | None = None) -> FundedChannel: ...

    @abstractmethod
    def status(self) -> ChannelStatus: ...


class Face(ABC):
    """What both services offer."""

    record: PeerRecord
    address: Address

    @abstractmethod
    def close(self, timeout_s: float = 10.0) -> None: ...

    @abstractmethod
    def rotate_curve_key(self, endpoint: str | None = None, **terms: Any) -> PeerRecord: ...

    @abstractmethod
    def hand_over(self, successor: Signer) -> HandOver: ...

    @abstractmethod
    def accept_hand_over(self, statement: HandOver | str, contact: PeerRecord | str) -> Address: ...

    @abstractmethod
    def flush(self, timeout_s: float | None = None) -> None: ...

    @abstractmethod
    def add_peer(self, contact: PeerRecord | PeerUri | str) -> Address: ...

    @abstractmethod
    def peers(self) -> list[PeerStatus]: ...

    @abstractmethod
    def set_admission(self, admission: Admission) -> None: ...

    @abstractmethod
    def forget_peer(self, peer: Address) -> None: ...

    @abstractmethod
    def ban(self, peer: Address, seconds: float, reason: str) -> None: ...

    @abstractmethod
    def unban(self, peer: Address) -> bool: ...

    @abstractmethod
    def defences(self) -> Defences: ...

    @abstractmethod
    def send(self, peer: Address, message: object, **terms: Any) -> ReceiptFace: ...

    @abstractmethod
    def receipt(self, message_id: MessageId) -> ReceiptFace: ...

    @abstractmethod
    def dead_letters(self) -> list[DeadLetter]: ...

    @abstractmethod
    def redrive(self, message_id: MessageId, timeout_s: float | None = None) -> None: ...

    @abstractmethod
    def discard(self, message_id: MessageId) -> None: ...

    @abstractmethod
    def on_message(self, handler: Handle, **wanted: Any) -> None: ...

    @abstractmethod
    def on_event(self, handler: Callable[[Event], None]) -> None: ...

    @abstractmethod
    def fund(
        self, peers: Address | Sequence[Address], outcome: Outcome, **terms: Any
    ) -> ChannelFace: ...

    @abstractmethod
    def channel(self, channel_id: ChannelId) -> ChannelFace: ...

    @abstractmethod
    def channels(self) -> list[ChannelStatus]: ...

    @abstractmethod
    def proposals(self) -> list[Proposal]: ...

    @abstractmethod
    def approve(self, channel_id: ChannelId) -> ChannelFace: ...

    @abstractmethod
    def reject(self, channel_id: ChannelId, reason: str = "declined") -> None: ...

    @abstractmethod
    def sign_state(self, state: State) -> Signature: ...


# --- Blocking -----------------------------------------------------------------------------------


class _BlockingReceipt(ReceiptFace):
    def __init__(self, receipt: Any) -> None:
        self._receipt = receipt
        self.peer = receipt.peer

    @property
    def acked(self) -> bool:
        return bool(self._receipt.acked)

    @property
    def error(self) -> Exception | None:
        error: Exception | None = self._receipt.error
        return error

    def wait(self, timeout_s: float | None = None) -> None:
        self._receipt.wait(timeout_s)

    def message_id(self) -> MessageId:
        return MessageId(self._receipt.message_id)

    def __repr__(self) -> str:
        return repr(self._receipt)


class _BlockingChannel(ChannelFace):
    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.channel_id = channel.channel_id

    def result(self, timeout_s: float | None = None) -> FundedChannel:
        funded: FundedChannel = self._channel.result(timeout_s)
        return funded

    def status(self) -> ChannelStatus:
        status: ChannelStatus = self._channel.status()
        return status

    def __repr__(self) -> str:
        return repr(self._channel)


class BlockingFace(Face):
    """`zmqp2p.P2PService`."""

    def __init__(self, endpoint: str | Sequence[str] | None, **settings: Any) -> None:
        self._service = P2PService(endpoint, **settings)
        self.record = self._service.record
        self.address = self._service.address

    def close(self, timeout_s: float = 10.0) -> None:
        self._service.close(timeout_s)

    def rotate_curve_key(self, endpoint: str | None = None, **terms: Any) -> PeerRecord:
        self.record = self._service.rotate_curve_key(endpoint, **terms)
        return self.record

    def hand_over(self, successor: Signer) -> HandOver:
        return self._service.hand_over(successor)

    def accept_hand_over(self, statement: HandOver | str, contact: PeerRecord | str) -> Address:
        return self._service.accept_hand_over(statement, contact)

    def flush(self, timeout_s: float | None = None) -> None:
        self._service.flush(timeout_s)

    def add_peer(self, contact: PeerRecord | PeerUri | str) -> Address:
        return self._service.add_peer(contact)

    def peers(self) -> list[PeerStatus]:
        return self._service.peers()

    def set_admission(self, admission: Admission) -> None:
        self._service.set_admission(admission)

    def forget_peer(self, peer: Address) -> None:
        self._service.forget_peer(peer)

    def ban(self, peer: Address, seconds: float, reason: str) -> None:
        self._service.ban(peer, seconds, reason)

    def unban(self, peer: Address) -> bool:
        return self._service.unban(peer)

    def defences(self) -> Defences:
        return self._service.defences()

    def send(self, peer: Address, message: object, **terms: Any) -> ReceiptFace:
        return _BlockingReceipt(self._service.send_message(peer, message, **terms))

    def receipt(self, message_id: MessageId) -> ReceiptFace:
        return _BlockingReceipt(self._service.receipt(message_id))

    def dead_letters(self) -> list[DeadLetter]:
        return self._service.dead_letters()

    def redrive(self, message_id: MessageId, timeout_s: float | None = None) -> None:
        self._service.redrive(message_id, timeout_s)

    def discard(self, message_id: MessageId) -> None:
        self._service.discard(message_id)

    def on_message(self, handler: Handle, **wanted: Any) -> None:
        self._service.on_message(handler, **wanted)

    def on_event(self, handler: Callable[[Event], None]) -> None:
        self._service.on_event(handler)

    def fund(
        self, peers: Address | Sequence[Address], outcome: Outcome, **terms: Any
    ) -> ChannelFace:
        return _BlockingChannel(self._service.fund_channel(peers, outcome, **terms))

    def channel(self, channel_id: ChannelId) -> ChannelFace:
        return _BlockingChannel(self._service.channel(channel_id))

    def channels(self) -> list[ChannelStatus]:
        return self._service.channels()

    def proposals(self) -> list[Proposal]:
        return self._service.proposals()

    def approve(self, channel_id: ChannelId) -> ChannelFace:
        return _BlockingChannel(self._service.approve(channel_id))

    def reject(self, channel_id: ChannelId, reason: str = "declined") -> None:
        self._service.reject(channel_id, reason)

    def sign_state(self, state: State) -> Signature:
        return self._service.sign_state(state)


# --- asyncio ------------------------------------------------------------------------------------


class LoopThread:
    """An event loop on a thread of its own; what is left on it is cancelled at the end."""

    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        self._runner = asyncio.Runner(loop_factory=make)
        self.loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="test-loop")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on the loop and return its result; not to be called on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(FACE_PATIENCE_S)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self._runner.close()


class _AioReceipt(ReceiptFace):
    def __init__(self, receipt: aio.Receipt, thread: LoopThread) -> None:
        self._receipt = receipt
        self._thread = thread
        self.peer = receipt.peer

    @property
    def acked(self) -> bool:
        return self._receipt.acked

    @property
    def error(self) -> Exception | None:
        return self._receipt.error

    def wait(self, timeout_s: float | None = None) -> None:
        self._thread.run(self._receipt.wait(timeout_s))

    def message_id(self) -> MessageId:
        return self._thread.run(self._receipt.message_id())

    def __repr__(self) -> str:
        return repr(self._receipt)


class _AioChannel(ChannelFace):
    def __init__(self, channel: aio.Channel, thread: LoopThread) -> None:
        self._channel = channel
        self._thread = thread
        self.channel_id = channel.channel_id

    def result(self, timeout_s: float | None = None) -> FundedChannel:
        return self._thread.run(self._channel.result(timeout_s))

    def status(self) -> ChannelStatus:
        return self._thread.run(self._channel.status())

    def __repr__(self) -> str:
        return repr(self._channel)


class AioFace(Face):
    """`zmqp2p.aio.P2PService`, on a loop of its own."""

    def __init__(self, endpoint: str | Sequence[str] | None, **settings: Any) -> None:
        self._thread = LoopThread()
        self._closed = False
        try:
            self._service = aio.P2PService(endpoint, **settings)
            self._run(self._service.start())
        except BaseException:
            self._thread.close()
            raise
        self.record = self._service.record
        self.address = self._service.address

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.run(work)

    def close(self, timeout_s: float = 10.0) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._run(self._service.close(timeout_s))
            finally:
                self._thread.close()

    def rotate_curve_key(self, endpoint: str | None = None, **terms: Any) -> PeerRecord:
        self.record = self._run(self._service.rotate_curve_key(endpoint, **terms))
        return self.record

    def hand_over(self, successor: Signer) -> HandOver:
        return self._service.hand_over(successor)

    def accept_hand_over(self, statement: HandOver | str, contact: PeerRecord | str) -> Address:
        return self._run(self._service.accept_hand_over(statement, contact))

    def flush(self, timeout_s: float | None = None) -> None:
        self._run(self._service.flush(timeout_s))

    def add_peer(self, contact: PeerRecord | PeerUri | str) -> Address:
        return self._run(self._service.add_peer(contact))

    def peers(self) -> list[PeerStatus]:
        return self._run(self._service.peers())

    def set_admission(self, admission: Admission) -> None:
        self._run(self._service.set_admission(admission))

    def forget_peer(self, peer: Address) -> None:
        self._run(self._service.forget_peer(peer))

    def ban(self, peer: Address, seconds: float, reason: str) -> None:
        self._run(self._service.ban(peer, seconds, reason))

    def unban(self, peer: Address) -> bool:
        return self._run(self._service.unban(peer))

    def defences(self) -> Defences:
        return self._run(self._service.defences())

    def send(self, peer: Address, message: object, **terms: Any) -> ReceiptFace:
        sent = self._run(self._service.send_message(peer, message, **terms))
        return _AioReceipt(sent, self._thread)

    def receipt(self, message_id: MessageId) -> ReceiptFace:
        return _AioReceipt(self._run(self._service.receipt(message_id)), self._thread)

    def dead_letters(self) -> list[DeadLetter]:
        return self._run(self._service.dead_letters())

    def redrive(self, message_id: MessageId, timeout_s: float | None = None) -> None:
        self._run(self._service.redrive(message_id, timeout_s))

    def discard(self, message_id: MessageId) -> None:
        self._run(self._service.discard(message_id))

    def on_message(self, handler: Handle, **wanted: Any) -> None:
        async def handle(delivery: Delivery) -> None:
            await asyncio.to_thread(handler, delivery)

        self._run(self._service.on_message(handle, **wanted))

    def on_event(self, handler: Callable[[Event], None]) -> None:
        self._service.on_event(handler)

    def fund(
        self, peers: Address | Sequence[Address], outcome: Outcome, **terms: Any
    ) -> ChannelFace:
        channel = self._run(self._service.fund_channel(peers, outcome, **terms))
        return _AioChannel(channel, self._thread)

    def channel(self, channel_id: ChannelId) -> ChannelFace:
        return _AioChannel(self._service.channel(channel_id), self._thread)

    def channels(self) -> list[ChannelStatus]:
        return self._run(self._service.channels())

    def proposals(self) -> list[Proposal]:
        return self._run(self._service.proposals())

    def approve(self, channel_id: ChannelId) -> ChannelFace:
        return _AioChannel(self._run(self._service.approve(channel_id)), self._thread)

    def reject(self, channel_id: ChannelId, reason: str = "declined") -> None:
        self._run(self._service.reject(channel_id, reason))

    def sign_state(self, state: State) -> Signature:
        return self._run(self._service.sign_state(state))


FACES: dict[str, type[BlockingFace] | type[AioFace]] = {"blocking": BlockingFace, "aio": AioFace}
