"""DirectFund: n participants open a channel and each deposits its part straight into it.

1. Everyone signs the prefund state, turn 0. It bears the full outcome, so that whoever deposits
   holds a claim to its money.
2. The participants deposit, asset by asset, in the order of the allocations.
3. Once the chain holds everything, everyone signs the postfund state, turn 1.

The first participant, and nobody else, proposes the channel. Two sides that propose at once then
make two channels, since the order of the participants is part of the channel id, and nobody is led
to sign two states for one turn. Everyone else hands its signature on with the whole proposal, so
that nothing depends on whose message arrives first.

The design is that of go-nitro's protocols/directfund; the faults found there are named tests here.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.crypto import Signature
from zmqp2p.errors import InvalidValue, LocalError, RefuseMessage, SignatureError
from zmqp2p.ids import Address, StateHash, TurnNum
from zmqp2p.limits import REASON_MAX_BYTES
from zmqp2p.messages import AcceptState, ProposeState, ProtocolMessage, RejectProposal
from zmqp2p.objectives import steps
from zmqp2p.objectives.base import Cranked, Deposit, SideEffect, StateSigner, Status
from zmqp2p.objectives.proposal import (
    POSTFUND,
    PREFUND,
    Terms,
    opening_state,
    terms_of_proposal,
)
from zmqp2p.objectives.record import FundRecord, Rejection, Signatures, with_item
from zmqp2p.render import printable
from zmqp2p.state import FixedPart, Outcome, recover_hash_signer
from zmqp2p.state.types import UINT256_END, check_uint

_FINAL = (Status.REJECTED, Status.COMPLETED)


@dataclass(frozen=True, slots=True)
class DirectFund(FundRecord):
    """The funding of one channel as one participant pursues it: an `Objective`.

    Made by `propose`, `from_proposal` or `decode`. Every other method returns a successor, or the
    objective itself if nothing changes.
    """

    # --- Making one ---------------------------------------------------------------------------

    @classmethod
    def propose(
        cls, fixed: FixedPart, outcome: Outcome, app_data: bytes, me: Address
    ) -> "DirectFund":
        """Return the approved objective of the proposer.

        One channel id may be proposed once only; whoever keeps the objectives sees to that.

        Raises:
            InvalidValue: the channel cannot be funded safely (`proposal.validate`), or ``me`` is
                not the first participant.
        """
        terms = Terms(me, opening_state(fixed, outcome, app_data, PREFUND))
        if terms.my_index != 0:
            raise InvalidValue("participants", "the proposer must be the first")
        return cls._begin(terms, Status.APPROVED)

    @classmethod
    def from_proposal(cls, me: Address, sender: Address, message: ProposeState) -> "DirectFund":
        """Return the unapproved objective for a channel that ``sender`` proposed or handed on.

        Raises:
            InvalidProposal: not a channel that can be funded safely; its ``answer`` says so.
            RefuseMessage: not ``sender``'s to propose to this node, or not signed by it.
        """
        participants = message.state.fixed.participants
        if me not in participants or sender not in participants or sender == me:
            raise _invalid("proposed by or to somebody who takes no part")
        if participants[0] == me:
            raise _invalid("only the first participant opens a channel, and that is this node")
        terms = terms_of_proposal(me, message)
        return cls._begin(terms, Status.UNAPPROVED).receive(sender, message)

    @classmethod
    def _begin(cls, terms: Terms, status: Status) -> "DirectFund":
        unsigned: Signatures = (None,) * len(terms.participants)
        assets = len(terms.shares)
        return cls(terms, status, (unsigned, unsigned), (0,) * assets, (None,) * assets)

    # --- Decisions ----------------------------------------------------------------------------

    def approve(self) -> "DirectFund":
        """Return the objective approved; nothing changes if it is already.

        Raises:
            LocalError: it was rejected, by this node or another.
        """
        if self.status is Status.REJECTED:
            raise LocalError("the channel was rejected")
        if self.status is not Status.UNAPPROVED:
            return self
        return replace(self, status=Status.APPROVED)

    def rejected_by_me(self, code: RejectCode, reason: str) -> "DirectFund":
        """Return the objective rejected; every other participant will be told.

        ``reason`` is at most `limits.REASON_MAX_BYTES` long.

        Raises:
            LocalError: no longer to be decided. An approved channel cannot be rejected: others may
                have deposited, relying on the signature.
            InvalidValue: ``reason`` is too long.
        """
        if self.status is not Status.UNAPPROVED:
            raise LocalError(
                f"only a proposal can be rejected, and this one is {self.status.value}"
            )
        rejection = RejectProposal(self.channel_id, PREFUND, code, reason)
        return replace(self._rejected(self.terms.me, rejection), owed=self.terms.others)

    def _rejected(self, by: Address, message: RejectProposal) -> "DirectFund":
        return replace(self, status=Status.REJECTED, rejection=Rejection(by, message))

    # --- News ---------------------------------------------------------------------------------

    def receive(self, sender: Address, message: ProtocolMessage) -> "DirectFund":
        """Return the objective with what ``sender`` said taken in; idempotent.

        ``sender`` is the address that the session has authenticated.

        Raises:
            RefuseMessage: the message is wrong for this objective; nothing changed.
        """
        if message.channel_id != self.channel_id:
            raise _invalid("about another channel")
        match message:
            case ProposeState():
                if message.state != self.prefund:
                    raise _invalid("another state than the prefund state known here")
                return self._with_signature(sender, PREFUND, message.signature)
            case AcceptState():
                if message.turn_num not in (PREFUND, POSTFUND):
                    raise _invalid(f"no state of turn {message.turn_num} is to be signed here")
                if message.state_hash != self.terms.hashes[message.turn_num]:
                    raise _invalid(
                        f"another state of turn {message.turn_num} than the one known here"
                    )
                return self._with_signature(sender, message.turn_num, message.signature)
            case RejectProposal():
                return self._with_rejection(sender, message)
            case _:
                assert_never(message)

    def _is_other(self, sender: Address) -> bool:
        return sender != self.terms.me and sender in self.participants

    def _with_signature(
        self, sender: Address, turn_num: TurnNum, signature: Signature
    ) -> "DirectFund":
        if not self._is_other(sender):
            raise _unsigned("the sender is not another participant")
        index = self.participants.index(sender)
        known = self.signed[turn_num][index]
        if known == signature:
            return self
        _verify(self.terms.hashes[turn_num], signature, sender)
        if known is not None:  # RFC 6979 is not binding: one hash may be signed twice.
            return self
        successor = self.with_signature(turn_num, index, signature)
        if turn_num == POSTFUND or self.rejection is None or self.rejection.by != self.terms.me:
            return successor
        # The sender approved what this node rejected. The rejection may have reached it before the
        # proposal did, when it knew no such channel: say it again, or it waits for ever.
        return successor if sender in self.owed else replace(successor, owed=(*self.owed, sender))

    def _with_rejection(self, sender: Address, message: RejectProposal) -> "DirectFund":
        if not self._is_other(sender):
            raise _invalid("the sender is not another participant")
        message = replace(message, reason=printable(message.reason, REASON_MAX_BYTES))
        if self.rejection == Rejection(sender, message):
            return self
        if message.turn_num != PREFUND:
            raise _invalid(f"turn {message.turn_num} cannot be rejected")
        # Who has signed is bound: others may have deposited, relying on the signature. Whose
        # signature is missing has kept everyone from depositing. This holds after completion too.
        if self.signed[PREFUND][self.participants.index(sender)] is not None:
            raise _invalid("the sender has signed what it rejects")
        if self.status is Status.REJECTED:
            return self
        return self._rejected(sender, message)

    def holdings_changed(self, asset: Address, held: int) -> "DirectFund":
        """Return the objective knowing that the chain now holds ``held`` of ``asset`` for it.

        Less than was seen before, an asset that is no part of the outcome, and anything after the
        end of the objective change nothing.

        Raises:
            InvalidValue: ``held`` is no uint256.
        """
        check_uint("held", held, UINT256_END)
        if self.status in _FINAL:
            return self
        for index, share in enumerate(self.terms.shares):
            if share.asset == asset and held > self.held[index]:
                successor = replace(self, held=with_item(self.held, index, held))
                done = held >= share.target
                return _without_deposit(successor, index) if done else successor
        return self

    def transaction_failed(self, deposit: Deposit) -> "DirectFund":
        """Return the objective free to submit ``deposit`` again, if still needed.

        A deposit other than the one under way changes nothing. The next crank submits what is then
        needed, so whoever calls this paces the attempts, and reports fresh holdings first.
        """
        for index in range(len(self.terms.shares)):
            if self._deposit_under_way(index) == deposit:
                return _without_deposit(self, index)
        return self

    def resumed(self) -> "DirectFund":
        """Return the objective as it must go on after a restart, which may have lost deposits.

        What was under way is submitted again; the chain refuses it if it has been made.
        """
        if not any(expected is not None for expected in self.outstanding):
            return self
        return replace(self, outstanding=(None,) * len(self.outstanding))

    # --- What follows -------------------------------------------------------------------------

    def crank(self, signer: StateSigner) -> Cranked:
        """Return what follows. Pure and idempotent; ``signer`` is this participant's.

        Raises:
            InvalidValue: ``signer`` has another address.
            SignedAlready: another state of turn 0 or 1, or a later turn, is signed.
        """
        if signer.address != self.terms.me:
            raise InvalidValue("signer", "not the key of this objective's participant")
        effects: list[SideEffect] = []
        match self.status:
            case Status.UNAPPROVED:
                successor = steps.tell_proposed(self, effects)
            case Status.APPROVED:
                successor = steps.advance(self, signer, effects)
            case Status.REJECTED:
                successor = steps.tell_rejected(self, effects)
            case Status.COMPLETED:
                successor = self
            case _:
                assert_never(self.status)
        return Cranked(successor, effects, successor.waiting_for)

    def _deposit_under_way(self, index: int) -> Deposit | None:
        held, share = self.outstanding[index], self.terms.shares[index]
        if held is None:
            return None
        return Deposit(self.channel_id, share.asset, share.target - held, held)


def _without_deposit(fund: DirectFund, index: int) -> DirectFund:
    return replace(fund, outstanding=with_item(fund.outstanding, index, None))


def _verify(state_hash: StateHash, signature: Signature, sender: Address) -> None:
    try:
        signer = recover_hash_signer(state_hash, signature)
    except SignatureError as fault:
        raise _unsigned(fault.detail) from None
    if signer != sender:
        raise _unsigned("not signed by the sender")


def _invalid(reason: str) -> RefuseMessage:
    return RefuseMessage(RefusalCode.PAYLOAD_INVALID, reason)


def _unsigned(reason: str) -> RefuseMessage:
    return RefuseMessage(RefusalCode.SIGNATURE_INVALID, reason)
