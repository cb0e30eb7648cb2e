"""What an objective is: a value that says what must happen next (go-nitro's protocols/readme.md).

An objective is immutable. Messages, chain events and decisions make a new one; `crank` then says
what follows from it. `crank` takes no event, is pure and idempotent: cranking a result again gives
it back with no effects. Whoever holds the objective stores the new one and the effects' outcome in
one transaction, and only then lets the effects leave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from zmqp2p.crypto import Signature
from zmqp2p.events import Event
from zmqp2p.ids import Address, ChannelId, StateHash, TurnNum
from zmqp2p.messages import ProtocolMessage


class WaitingFor(Enum):
    """What an objective waits for."""

    APPROVAL = "approval"
    COMPLETE_PREFUND = "complete_prefund"
    MY_TURN_TO_FUND = "my_turn_to_fund"
    COMPLETE_FUNDING = "complete_funding"
    COMPLETE_POSTFUND = "complete_postfund"
    NOTHING = "nothing"


class Status(Enum):
    """Where an objective stands; the last two are final."""

    UNAPPROVED = "unapproved"
    APPROVED = "approved"
    REJECTED = "rejected"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Deposit:
    """Pay ``amount`` of ``asset`` into ``channel``, if it now holds ``expected_held``.

    The chain refuses it when the holdings differ, so submitting it twice pays once.
    """

    channel: ChannelId
    asset: Address
    amount: int
    expected_held: int


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Effect: send ``message`` to participant ``to``, exactly once."""

    to: Address
    message: ProtocolMessage


@dataclass(frozen=True, slots=True)
class SubmitTransaction:
    """Effect: submit ``deposit``; its failure is reported back to the objective."""

    deposit: Deposit


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """Effect: tell the application."""

    event: Event


SideEffect = SendMessage | SubmitTransaction | EmitEvent


@dataclass(frozen=True, slots=True)
class Cranked:
    """What follows from an objective: its successor, what to do, and what it then waits for."""

    objective: "Objective"
    effects: Sequence[SideEffect]
    waiting_for: WaitingFor


class StateSigner(Protocol):
    """One participant's way to sign states, which never signs two of them for one turn.

    Objectives are given nothing else to sign with. What is signed is stored together with the
    objective, before any effect leaves.
    """

    @property
    def address(self) -> Address:
        """The address that signatures recover to."""
        ...

    def sign_hash(self, channel: ChannelId, turn_num: TurnNum, state_hash: StateHash) -> Signature:
        """Return the signature over the state of ``channel`` that has this turn and hash.

        Raises:
            SignedAlready: another state of that turn, or a later turn, is signed.
        """
        ...


class Objective(Protocol):
    """One goal for one channel, pursued with the other participants."""

    @property
    def channel_id(self) -> ChannelId:
        """The channel this objective is about; one objective per channel."""
        ...

    @property
    def status(self) -> Status:
        """Where the objective stands."""
        ...

    @property
    def participants(self) -> tuple[Address, ...]:
        """Everyone taking part, this node included."""
        ...

    def receive(self, sender: Address, message: ProtocolMessage) -> "Objective":
        """Return the objective with what ``sender`` said taken in; idempotent.

        Raises:
            RefuseMessage: the message is wrong for this objective; nothing changed.
        """
        ...

    def holdings_changed(self, asset: Address, held: int) -> "Objective":
        """Return the objective knowing that the chain now holds ``held`` of ``asset`` for it."""
        ...

    def transaction_failed(self, deposit: Deposit) -> "Objective":
        """Return the objective free to submit ``deposit`` again when it still makes sense."""
        ...

    def crank(self, signer: StateSigner) -> Cranked:
        """Return what follows. Pure and idempotent; ``signer`` is this participant's.

        Raises:
            SignedAlready: ``signer`` refuses to sign what would have to be signed.
        """
        ...

    def encode(self) -> bytes:
        """Return the objective as canonical MessagePack, for the store."""
        ...
