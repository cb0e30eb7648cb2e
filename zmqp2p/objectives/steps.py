"""What follows from where a channel's funding stands: the steps of `DirectFund.crank`.

Each takes the record and the effects so far, adds its own effects and returns the successor. A step
that was taken before does nothing: what it did is on record.
"""

from dataclasses import replace
from typing import TypeVar

from zmqp2p.events import ChannelFunded, ChannelProposed, ChannelRejected, ChannelStep
from zmqp2p.ids import address_text
from zmqp2p.messages import AcceptState, ProposeState
from zmqp2p.objectives.base import (
    Deposit,
    EmitEvent,
    SendMessage,
    SideEffect,
    StateSigner,
    Status,
    SubmitTransaction,
)
from zmqp2p.objectives.proposal import POSTFUND, PREFUND
from zmqp2p.objectives.record import FundRecord, Told, with_item

_Fund = TypeVar("_Fund", bound=FundRecord)


def tell_proposed(fund: _Fund, effects: list[SideEffect]) -> _Fund:
    """Tell the application, once, that it has a proposal to decide on."""
    if fund.told is Told.PROPOSED:
        return fund
    effects.append(EmitEvent(ChannelProposed(fund.channel_id, fund.participants[0])))
    return replace(fund, told=Told.PROPOSED)


def tell_rejected(fund: _Fund, effects: list[SideEffect]) -> _Fund:
    """Send this node's rejection to whom it is owed, and tell the application once."""
    rejection = fund.rejection
    if rejection is None or (fund.told is Told.REJECTED and not fund.owed):
        return fund
    message = rejection.message
    effects.extend(SendMessage(to, message) for to in fund.owed)
    if fund.told is not Told.REJECTED:
        event = ChannelRejected(fund.channel_id, rejection.by, message.code, message.reason)
        effects.append(EmitEvent(event))
    return replace(fund, told=Told.REJECTED, owed=())


def advance(fund: _Fund, signer: StateSigner, effects: list[SideEffect]) -> _Fund:
    """Take all the steps of an approved objective that can be taken now."""
    fund = _sign_prefund(fund, signer, effects)
    if None in fund.signed[PREFUND]:
        return fund
    fund = _tell_prefund_complete(fund, effects)
    # Only now: whoever deposits without everyone's prefund signature may never get it back.
    fund = _submit_deposits(fund, effects)
    if not fund.funded:
        return fund
    fund = _sign_postfund(fund, signer, effects)
    if None in fund.signed[POSTFUND]:
        return fund
    effects.append(EmitEvent(ChannelFunded(fund.channel_id)))
    return replace(fund, status=Status.COMPLETED)


def _sign_prefund(fund: _Fund, signer: StateSigner, effects: list[SideEffect]) -> _Fund:
    terms = fund.terms
    if fund.signed[PREFUND][terms.my_index] is not None:
        return fund
    signature = signer.sign_hash(fund.channel_id, PREFUND, terms.hashes[PREFUND])
    # The proposer knows the proposal. Everyone else may hear of the channel here first.
    accept = AcceptState(fund.channel_id, PREFUND, terms.hashes[PREFUND], signature)
    proposal = ProposeState(fund.channel_id, fund.prefund, signature)
    proposer = fund.participants[0]
    effects.extend(SendMessage(to, accept if to == proposer else proposal) for to in terms.others)
    effects.append(_step(fund, "prefund_signed", f"turn 0, sent to {len(terms.others)}"))
    return fund.with_signature(PREFUND, terms.my_index, signature)


def _tell_prefund_complete(fund: _Fund, effects: list[SideEffect]) -> _Fund:
    if fund.told is Told.PREFUND_COMPLETE:
        return fund
    detail = f"turn 0, signed by all {len(fund.participants)}"
    effects.append(_step(fund, "prefund_complete", detail))
    return replace(fund, told=Told.PREFUND_COMPLETE)


def _submit_deposits(fund: _Fund, effects: list[SideEffect]) -> _Fund:
    outstanding = fund.outstanding
    for index, (share, held) in enumerate(zip(fund.terms.shares, fund.held, strict=True)):
        due = share.before <= held < share.target
        if not due or outstanding[index] is not None:
            continue
        # Somebody else may have paid a part of this share: only the rest is deposited.
        deposit = Deposit(fund.channel_id, share.asset, share.target - held, held)
        effects.append(SubmitTransaction(deposit))
        detail = f"{deposit.amount} of asset {address_text(share.asset)} on top of {held}"
        effects.append(_step(fund, "deposit_submitted", detail))
        outstanding = with_item(outstanding, index, held)
    return fund if outstanding is fund.outstanding else replace(fund, outstanding=outstanding)


def _sign_postfund(fund: _Fund, signer: StateSigner, effects: list[SideEffect]) -> _Fund:
    terms = fund.terms
    if fund.signed[POSTFUND][terms.my_index] is not None:
        return fund
    detail = f"all of {len(terms.shares)} asset(s)"
    effects.append(_step(fund, "funded_on_chain", detail))
    signature = signer.sign_hash(fund.channel_id, POSTFUND, terms.hashes[POSTFUND])
    accept = AcceptState(fund.channel_id, POSTFUND, terms.hashes[POSTFUND], signature)
    effects.extend(SendMessage(to, accept) for to in terms.others)
    effects.append(_step(fund, "postfund_signed", f"turn 1, sent to {len(terms.others)}"))
    return fund.with_signature(POSTFUND, terms.my_index, signature)


def _step(fund: FundRecord, step: str, detail: str) -> EmitEvent:
    return EmitEvent(ChannelStep(fund.channel_id, step, detail))
