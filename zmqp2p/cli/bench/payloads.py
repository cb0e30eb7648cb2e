"""What the bench sends, and how a receiver checks each message.

Importing this registers an application message: only the bench's own processes do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from zmqp2p.cli.bench.script import Load, Payload
from zmqp2p.identity import Identity
from zmqp2p.ids import ZERO_ADDRESS, Address, TurnNum
from zmqp2p.messages import ProposeState, encode_message, message
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    State,
    VariablePart,
    channel_id,
    destination_of,
    sign_state,
)

_TAG = 0xBE7C4
_FIRST_TURN = 2  # Turns 0 and 1 fund a channel, and are no business of an application.


@message(_TAG)
@dataclass(frozen=True, slots=True)
class Opaque:
    """Message ``number`` of its sender, from 1."""

    number: int
    filler: bytes


BenchMessage = Opaque | ProposeState


class Source:
    """Makes a sender's messages, numbered from 1 over all loads."""

    def __init__(self, payload: Payload, signer: Identity, receiver: Address) -> None:
        self._signed = payload == "signed"
        self._signer = signer
        self._fixed = FixedPart((signer.address, receiver), channel_nonce=1)
        self._channel = channel_id(self._fixed)
        self._shares = (destination_of(signer.address), destination_of(receiver))
        self._made = 0

    def make(self, load: Load) -> list[BenchMessage]:
        """Return the messages of ``load``. They are signed here: that is no messenger's work."""
        numbers = range(self._made + 1, self._made + load.messages + 1)
        self._made += load.messages
        if self._signed:
            return [self._propose(number) for number in numbers]
        filler = _filler(load.size_bytes)
        return [Opaque(number, filler) for number in numbers]

    def _propose(self, number: int) -> ProposeState:
        paid = tuple(Allocation(who, number + index) for index, who in enumerate(self._shares))
        outcome = (AssetExit(ZERO_ADDRESS, paid),)
        turn = TurnNum(number + _FIRST_TURN - 1)
        state = State(self._fixed, VariablePart(b"", outcome, turn, is_final=False))
        return ProposeState(self._channel, state, sign_state(state, self._signer))


def _filler(size_bytes: int) -> bytes:
    """Return the filler with which a body has about ``size_bytes``."""
    head_bytes = len(encode_message(Opaque(10_000, b"")))
    return bytes(max(size_bytes - head_bytes - 1, 0))


class Tally:
    """A receiver's account: each sender's messages come in order, once, and well signed."""

    def __init__(self) -> None:
        self.received = 0
        self.faults = 0
        self._last: dict[bytes, int] = {}

    def take(self, sender: bytes, received: BenchMessage, signer: Address | None) -> None:
        """Check and count one message; its ``signer`` must be its ``sender``, if it has one."""
        if isinstance(received, Opaque):
            number = received.number
        else:
            number = received.state.variable.turn_num - _FIRST_TURN + 1
            if signer != sender:
                self.faults += 1
        self.count(sender, number)

    def count(self, sender: bytes, number: int) -> None:
        """Count message ``number`` of ``sender``."""
        if number != self._last.get(sender, 0) + 1:
            self.faults += 1
        self._last[sender] = number
        self.received += 1


def bodies(messages: list[BenchMessage]) -> Iterator[bytes]:
    """Encode as `P2PService.send_message` does, one by one as they are asked for."""
    return map(encode_message, messages)
