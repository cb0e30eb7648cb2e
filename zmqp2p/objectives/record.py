"""What one participant knows of the funding of one channel, as a value that can be stored."""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Self, TypeVar

from zmqp2p import codec
from zmqp2p.codec import Value
from zmqp2p.codes import RejectCode
from zmqp2p.crypto import Signature
from zmqp2p.errors import DecodeError, InvalidValue, LocalError
from zmqp2p.ids import Address, ChannelId, StateHash, TurnNum
from zmqp2p.messages import RejectProposal
from zmqp2p.objectives import stored
from zmqp2p.objectives.base import Status, WaitingFor
from zmqp2p.objectives.proposal import POSTFUND, PREFUND, Terms
from zmqp2p.state import Outcome, State
from zmqp2p.state.packing import state_from_value, state_to_value
from zmqp2p.state.types import UINT256_END, check_uint

_FORMAT = 1  # Of `FundRecord.encode`. Another number is another layout.

_T = TypeVar("_T")

Signatures = tuple[Signature | None, ...]
"""One turn's signatures, a place for each participant, None where it is not held."""


class Told(IntEnum):
    """The last of what the application is told once only."""

    NOTHING = 0
    PROPOSED = 1
    PREFUND_COMPLETE = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class Rejection:
    """Participant ``by`` rejected the channel with ``message``."""

    by: Address
    message: RejectProposal


@dataclass(frozen=True, slots=True)
class FundRecord:
    """What is known of one channel's funding. Tuples run as the participants or the assets do.

    Invariants: see `check`.
    """

    terms: Terms
    status: Status
    signed: tuple[Signatures, Signatures]  # By turn; verified before they are put here.
    held: tuple[int, ...]  # By asset: the most that the chain was seen to hold.
    outstanding: tuple[int | None, ...]  # By asset: ``expected_held`` of the deposit under way.
    told: Told = Told.NOTHING
    rejection: Rejection | None = None
    owed: tuple[Address, ...] = ()  # Who is still to be sent this node's own rejection.

    @property
    def channel_id(self) -> ChannelId:
        """The channel this objective is about."""
        return self.terms.channel_id

    @property
    def participants(self) -> tuple[Address, ...]:
        """Everyone taking part; the first is the proposer."""
        return self.terms.participants

    @property
    def outcome(self) -> Outcome:
        """Who is to be paid what, and so who deposits what."""
        return self.terms.prefund.variable.outcome

    @property
    def prefund(self) -> State:
        """The state of turn 0."""
        return self.terms.prefund

    @property
    def postfund(self) -> State:
        """The state of turn 1."""
        return self.terms.postfund

    def signatures(self, turn_num: TurnNum) -> dict[Address, Signature]:
        """Return the verified signatures held for turn 0 or 1, by signer, proposer first.

        Raises:
            InvalidValue: another turn.
        """
        if turn_num not in (PREFUND, POSTFUND):
            raise InvalidValue("turn_num", "must be 0 (prefund) or 1 (postfund)")
        pairs = zip(self.participants, self.signed[turn_num], strict=True)
        return {address: signature for address, signature in pairs if signature is not None}

    def own_signatures(self) -> tuple[tuple[TurnNum, StateHash], ...]:
        """Return which states this node has signed here: turn and hash, ascending."""
        terms = self.terms
        return tuple(
            (turn_num, terms.hashes[turn_num])
            for turn_num in (PREFUND, POSTFUND)
            if self.signed[turn_num][terms.my_index] is not None
        )

    def funded_state(self) -> tuple[State, tuple[Signature, ...]]:
        """Return the postfund state and everyone's signature, in the order of the participants.

        Raises:
            LocalError: the channel is not funded yet, or never will be.
        """
        if self.status is not Status.COMPLETED:
            raise LocalError(f"the channel is not funded: it is {self.status.value}")
        return self.postfund, tuple(self.signatures(POSTFUND).values())

    @property
    def funded(self) -> bool:
        """Whether the chain holds all of every asset."""
        pairs = zip(self.held, self.terms.shares, strict=True)
        return all(held >= share.total for held, share in pairs)

    @property
    def waiting_for(self) -> WaitingFor:
        """What the objective waits for, once cranked."""
        if self.status is Status.UNAPPROVED:
            return WaitingFor.APPROVAL
        if self.status is not Status.APPROVED:
            return WaitingFor.NOTHING
        if None in self.signed[PREFUND]:
            return WaitingFor.COMPLETE_PREFUND
        if self.funded:
            return WaitingFor.COMPLETE_POSTFUND
        pairs = zip(self.held, self.terms.shares, strict=True)
        if any(share.mine and held < share.before for held, share in pairs):
            return WaitingFor.MY_TURN_TO_FUND
        return WaitingFor.COMPLETE_FUNDING

    def with_signature(self, turn_num: TurnNum, index: int, signature: Signature) -> Self:
        """Return the record holding the verified ``signature`` of participant ``index``."""
        signed = with_item(self.signed[turn_num], index, signature)
        prefund, postfund = self.signed
        return replace(
            self, signed=(signed, postfund) if turn_num == PREFUND else (prefund, signed)
        )

    # --- Invariants ---------------------------------------------------------------------------

    def check(self) -> None:
        """Check the invariants that tie the fields together.

        Raises:
            InvalidValue: one is broken; no sequence of messages, events and decisions does that.
        """
        self._check_sizes()
        terms, (prefund, postfund) = self.terms, self.signed
        mine = prefund[terms.my_index], postfund[terms.my_index]
        complete = None not in prefund
        rules = (
            (self.status is not Status.UNAPPROVED or mine == (None, None), "status"),
            (mine[POSTFUND] is None or (complete and self.funded), "signed[1]"),
            (
                self.status is not Status.COMPLETED
                or (complete and self.funded and None not in postfund),
                "status",
            ),
            (self.told is not Told.PROPOSED or terms.my_index != 0, "told"),
            (self.told is not Told.PREFUND_COMPLETE or complete, "told"),
            (self.told is not Told.REJECTED or self.status is Status.REJECTED, "told"),
            (all(self._deposit_holds(index) for index in range(len(self.held))), "outstanding"),
            ((self.status is Status.REJECTED) == (self.rejection is not None), "rejection"),
            (self._rejection_holds(), "rejection"),
            (self._owed_holds(), "owed"),
        )
        for holds, field in rules:
            if not holds:
                raise InvalidValue(field, "contradicts the rest of the objective")

    def _check_sizes(self) -> None:
        participants, assets = len(self.participants), len(self.terms.shares)
        sizes = (*map(len, self.signed), len(self.held), len(self.outstanding))
        if sizes != (participants, participants, assets, assets):
            raise InvalidValue("terms", "not one entry for each participant and asset")
        for held in self.held:
            check_uint("held", held, UINT256_END)

    def _deposit_holds(self, index: int) -> bool:
        """No deposit, or one that was safe when submitted and is still needed."""
        expected, share = self.outstanding[index], self.terms.shares[index]
        if expected is None:
            return True
        safe = share.before <= expected <= self.held[index] < share.target
        signed = None not in self.signed[PREFUND]
        return safe and signed and self.status is Status.APPROVED

    def _rejection_holds(self) -> bool:
        """No rejection, or one of turn 0, and by this node only if it has signed nothing."""
        if self.rejection is None:
            return True
        by, message = self.rejection.by, self.rejection.message
        named = (message.channel_id, message.turn_num) == (self.channel_id, PREFUND)
        return named and by in self.participants and self._bound(by) is None

    def _bound(self, participant: Address) -> Signature | None:
        # A peer may sign after its own rejection; that is its affair and changes nothing here.
        if participant != self.terms.me:
            return None
        return self.signed[PREFUND][self.terms.my_index]

    def _owed_holds(self) -> bool:
        """Nobody, or other participants, each once, when the rejection is this node's own."""
        if not self.owed:
            return True
        own = self.rejection is not None and self.rejection.by == self.terms.me
        others = [address for address in self.owed if address in self.terms.others]
        return own and len(set(others)) == len(self.owed)

    # --- In the store -------------------------------------------------------------------------

    def encode(self) -> bytes:
        """Return the record as canonical MessagePack."""
        prefund, postfund = self.signed
        rejection: Value = ()
        if self.rejection is not None:
            message = self.rejection.message
            rejection = (self.rejection.by, message.code.value, message.reason)
        return codec.encode_trusted(
            (
                _FORMAT,
                self.terms.me,
                state_to_value(self.terms.prefund),
                self.status.value,
                int(self.told),
                tuple(map(stored.signature_value, prefund)),
                tuple(map(stored.signature_value, postfund)),
                tuple(map(stored.amount_value, self.held)),
                tuple(map(stored.optional_amount_value, self.outstanding)),
                rejection,
                self.owed,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the record that ``data`` encodes.

        Signatures are taken as they are: they were verified before they were stored.

        Raises:
            DecodeError: ``data`` is not what `encode` returns for any record.
        """
        value = codec.decode(data)
        try:
            record = cls._read(value)
            record.check()
        except ValueError as fault:  # InvalidValue, and enums asked for an unknown value.
            raise DecodeError(stored.RULE, str(fault)) from None
        if record.encode() != data:  # An amount with leading zeros, a bool for an int, ...
            raise DecodeError(stored.RULE, "not the canonical encoding of an objective")
        return record

    @classmethod
    def _read(cls, value: Value) -> Self:
        match value:
            case (
                int(version),
                bytes(me),
                state,
                str(status),
                int(told),
                tuple(prefund),
                tuple(postfund),
                tuple(held),
                tuple(outstanding),
                rejection,
                tuple(owed),
            ) if version == _FORMAT:
                terms = Terms(Address(me), state_from_value(state))
                return cls(
                    terms,
                    Status(status),
                    (
                        tuple(map(stored.read_signature, prefund)),
                        tuple(map(stored.read_signature, postfund)),
                    ),
                    tuple(map(stored.read_amount, held)),
                    tuple(map(stored.read_optional_amount, outstanding)),
                    Told(told),
                    _read_rejection(rejection, terms.channel_id),
                    tuple(map(stored.read_address, owed)),
                )
            case _:
                return stored.malformed("objective")


def _read_rejection(value: Value, channel: ChannelId) -> Rejection | None:
    match value:
        case ():
            return None
        case (bytes(by), int(code), str(reason)):
            return Rejection(
                Address(by), RejectProposal(channel, PREFUND, RejectCode(code), reason)
            )
        case _:
            return stored.malformed("rejection")


def with_item(items: tuple[_T, ...], index: int, item: _T) -> tuple[_T, ...]:
    """Return ``items`` with ``item`` at ``index``."""
    return (*items[:index], item, *items[index + 1 :])
