"""The objectives of a node: fed with messages, decisions and chain events, cranked, stored.

Whatever changes an objective, the new one and what it sends are written in the same transaction.
An objective in which this node signed anything is kept for good, and what it signed is in the
signing ledger, which keeps this node from ever signing another state for the same turn.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.crypto import Signature
from zmqp2p.engine.agenda import Agenda
from zmqp2p.engine.output import EngineOutput, Watch
from zmqp2p.engine.signing import SigningLedger
from zmqp2p.engine.undecided import Undecided
from zmqp2p.errors import DecodeError, InvalidValue, LocalError, RefuseMessage, UnknownChannel
from zmqp2p.ids import Address, ChannelId
from zmqp2p.limits import Limits
from zmqp2p.messages import (
    ProposeState,
    ProtocolMessage,
    RejectProposal,
    decode_message,
    encode_message,
)
from zmqp2p.objectives.base import (
    Deposit,
    EmitEvent,
    SendMessage,
    SideEffect,
    Status,
    SubmitTransaction,
)
from zmqp2p.objectives.direct_fund import DirectFund
from zmqp2p.objectives.proposal import POSTFUND, PREFUND
from zmqp2p.persistence import DropObjective, PutChainCursor, PutObjective, Signed
from zmqp2p.state import FixedPart, Outcome, State, channel_id, state_hash
from zmqp2p.wire.encoding import clip_reason
from zmqp2p.wire.frames import Refusal


class Holding(Protocol):
    """What the chain reports after a deposit (chain.base.Deposited)."""

    @property
    def channel(self) -> ChannelId:
        """The channel paid into."""
        ...

    @property
    def asset(self) -> Address:
        """What was paid in."""
        ...

    @property
    def held(self) -> int:
        """What the channel holds of it now."""
        ...


class Peers(Protocol):
    """Whom the objectives write to."""

    def knows(self, peer: Address) -> bool:
        """Whether there is a session with ``peer``."""
        ...

    def room(self) -> int:
        """How many peers more this node may make sessions for."""
        ...

    def is_guest(self, peer: Address) -> bool:
        """Whether ``peer`` came by itself: the application has not added it."""
        ...

    def post(self, to: Address, body: bytes) -> None:
        """Send a message; a session is begun if there is none."""
        ...


@dataclass(slots=True)
class Channels:
    """One objective per channel.

    Invariant: what is here equals what is stored, after the writes in ``output``; what an objective
    has signed is in the ledger, or is below what is there.
    """

    ledger: SigningLedger
    limits: Limits
    output: EngineOutput
    peers: Peers
    objectives: dict[ChannelId, DirectFund] = field(default_factory=dict)
    retries: Agenda[ChannelId] = field(default_factory=Agenda)
    _failed: dict[ChannelId, list[Deposit]] = field(default_factory=dict)
    _attempts: dict[ChannelId, int] = field(default_factory=dict)
    _undecided: Undecided = field(init=False)

    def __post_init__(self) -> None:
        """Begin without any."""
        self._undecided = Undecided(self.limits)

    def load(self, stored: dict[ChannelId, bytes]) -> None:
        """Take up the objectives of an earlier run, and go on with those that are not done.

        Raises:
            StoreError: one of them has signed another state than the ledger says.
        """
        for channel, data in stored.items():
            objective = DirectFund.decode(data).resumed()
            self.objectives[channel] = objective
            if objective.status is Status.UNAPPROVED:
                signers = _signers(objective)
                guest = all(map(self.peers.is_guest, signers))
                self._undecided.add(channel, len(data), signers, guest=guest)
            for turn_num, signed_hash in objective.own_signatures():
                self.ledger.adopt(channel, Signed(turn_num, signed_hash))
        for objective in list(self.objectives.values()):
            if objective.status is Status.APPROVED:
                self._watch(objective)
                self._crank(objective)

    def propose(self, fixed: FixedPart, outcome: Outcome, app_data: bytes) -> ChannelId:
        """Open a channel as its first participant and return its id.

        Raises:
            InvalidValue: it cannot be funded safely, or was proposed before.
            SignedAlready: another state of it is signed.
        """
        objective = DirectFund.propose(fixed, outcome, app_data, self.ledger.address)
        channel = channel_id(fixed)
        if channel in self.objectives:
            raise InvalidValue("channel_nonce", "a channel with these terms was opened before")
        self._crank(objective)
        self._watch(objective)
        return channel

    def receive(self, sender: Address, message: ProtocolMessage) -> None:
        """Take in what ``sender`` said about a channel.

        Raises:
            RefuseMessage: it is wrong at this point; nothing changed.
        """
        known = self.objectives.get(message.channel_id)
        if known is not None:
            self._crank(known.receive(sender, message))
            return
        assert isinstance(message, ProposeState)  # The router brings nothing else here.
        objective = DirectFund.from_proposal(self.ledger.address, sender, message)
        size_bytes, guest = len(objective.encode()), self.peers.is_guest(sender)
        if not self._undecided.has_room(sender, size_bytes, guest=guest):
            reason = "busy: too many proposals wait for approval, or too large ones"
            raise RefuseMessage(RefusalCode.PAYLOAD_INVALID, reason)
        self._undecided.add(objective.channel_id, size_bytes, _signers(objective), guest=guest)
        self._crank(objective)

    def approve(self, channel: ChannelId) -> None:
        """Agree to a proposed channel: sign it, and deposit when it is safe.

        Raises:
            UnknownChannel: there is none.
            LocalError: its participants are more peers than this node serves.
            SignedAlready: another state of it is signed; it still waits for a decision.
        """
        objective = self.get(channel).approve()
        self._check_peers(objective)
        self._crank(objective)
        self._watch(objective)

    def reject(self, channel: ChannelId, code: RejectCode, reason: str) -> None:
        """Decline a proposed channel and forget it; all its participants are told.

        Nothing was signed, and peers must not fill the store with what they propose. Proposed
        again, it is decided again.

        Raises:
            UnknownChannel: there is none.
            LocalError: it was approved already.
        """
        self._crank(self.get(channel).rejected_by_me(code, clip_reason(reason)))

    def refused(self, peer: Address, body: bytes, refusal: Refusal) -> None:
        """``peer`` refused a message of ours for good; if it was about funding, that fails.

        Counts as the peer's rejection while its prefund signature is missing; later a refusal
        changes nothing, since the peer is bound.
        """
        try:
            message = decode_message(body).message
        except DecodeError:
            return  # Of an application type that this run has not registered: not about funding.
        if not isinstance(message, ProtocolMessage):
            return
        objective = self.objectives.get(message.channel_id)
        if objective is None:
            return
        reason = clip_reason(f"{refusal.code.name.lower()}: {refusal.reason}")
        rejection = RejectProposal(objective.channel_id, PREFUND, RejectCode.INVALID, reason)
        try:
            self._crank(objective.receive(peer, rejection))
        except RefuseMessage:
            return  # It has signed the prefund state: it cannot take that back.

    def get(self, channel: ChannelId) -> DirectFund:
        """Return the objective of ``channel``, or raise UnknownChannel."""
        objective = self.objectives.get(channel)
        if objective is None:
            raise UnknownChannel(f"no objective for channel 0x{channel.hex()}")
        return objective

    def are_open_with(self, peer: Address) -> bool:
        """Whether a channel with ``peer`` is not funded yet, and not rejected."""
        return any(
            objective.status in (Status.UNAPPROVED, Status.APPROVED)
            and peer in objective.participants
            for objective in self.objectives.values()
        )

    def sign_state(self, state: State) -> Signature:
        """Sign a state for the application, which is recorded in this turn.

        Raises:
            SignedAlready: another state of that turn, or a later turn, is signed.
            LocalError: the channel is being funded: what its funding signs is not signed yet.
            InvalidValue: this node takes no part in the channel.
        """
        if self.ledger.address not in state.fixed.participants:
            raise InvalidValue("state", "of a channel in which this node takes no part")
        channel, turn_num = channel_id(state.fixed), state.variable.turn_num
        objective = self.objectives.get(channel)
        if objective is not None and _is_to_sign(objective):
            # Or its postfund state could never be signed, with everyone's money in the channel.
            raise LocalError("the channel is being funded: turns 0 and 1 are signed by that")
        return self.ledger.sign(channel, turn_num, state_hash(state))

    def check(self) -> None:
        """Assert the invariant, as far as it can be seen from here."""
        self.ledger.check()
        self._undecided.check()
        for channel, objective in self.objectives.items():
            for turn_num, signed_hash in objective.own_signatures():
                last = self.ledger.last(channel)
                assert last is not None
                assert last.turn_num > turn_num or last == Signed(turn_num, signed_hash)

    # --- The chain ------------------------------------------------------------------------------

    def holdings(self, channel: ChannelId, asset: Address, held: int) -> None:
        """Take in what the chain holds; unknown channels are somebody else's."""
        objective = self.objectives.get(channel)
        if objective is None:
            return
        after = objective.holdings_changed(asset, held)
        if after is not objective:  # A deposit has got through: the next failure is a first one.
            self._attempts.pop(channel, None)
        self._crank(after)

    def deposited(self, holdings: Iterable[Holding], block: int) -> None:
        """Take in all confirmed deposits up to and including ``block``."""
        for holding in holdings:
            self.holdings(holding.channel, holding.asset, holding.held)
        self.output.writes.append(PutChainCursor(block))

    def transaction_failed(self, deposit: Deposit, now: float) -> None:
        """A deposit failed: try again after a while, if it is still needed then."""
        channel = deposit.channel
        self._failed.setdefault(channel, []).append(deposit)
        attempt = self._attempts[channel] = self._attempts.get(channel, 0) + 1
        wait_s = self.limits.deposit_retry_min_s * 2.0 ** min(attempt - 1, 30)
        self.retries.schedule(channel, now + min(wait_s, self.limits.deposit_retry_max_s))

    def tick(self, now: float) -> None:
        """Let the channels go on whose failed deposits have waited long enough."""
        for channel in self.retries.due(now):
            objective = self.objectives[channel]  # Kept: this node has signed it.
            for deposit in self._failed.pop(channel, []):
                objective = objective.transaction_failed(deposit)
            self._crank(objective)

    # --- Cranking -------------------------------------------------------------------------------

    def _crank(self, objective: DirectFund) -> None:
        channel = objective.channel_id
        before = self.objectives.get(channel)
        draft = self.ledger.draft()
        cranked = objective.crank(draft)
        after = cranked.objective
        assert isinstance(after, DirectFund)
        if after is before:
            return
        # First: a message that is too large changes nothing.
        mail = self._mail(cranked.effects, after)
        self.ledger.record(draft)
        self.objectives[channel] = after
        if after.status is Status.UNAPPROVED:
            self._undecided.signed(channel, _signers(after))
        else:
            self._undecided.remove(channel)
        self.output.writes.append(PutObjective(channel, after.encode()))
        self._carry_out(cranked.effects, mail)
        if after.status is Status.REJECTED:
            self._end_unsigned(after)

    def _carry_out(self, effects: Iterable[SideEffect], mail: list[tuple[Address, bytes]]) -> None:
        for to, body in mail:
            self.peers.post(to, body)
        for effect in effects:
            match effect:
                case SubmitTransaction(deposit):
                    self.output.deposits.append(deposit)
                case EmitEvent(event):
                    self.output.events.append(event)
                case SendMessage():
                    pass  # In the mail.
                case _:
                    assert_never(effect)

    def _mail(
        self, effects: Iterable[SideEffect], objective: DirectFund
    ) -> list[tuple[Address, bytes]]:
        """Return whom to send what; raises TooLarge.

        A rejection only to those whom this node knows: a proposal may name hundreds who do not
        exist, and a session with each would be for good. (FND-9.)
        """
        mail = [(e.to, encode_message(e.message)) for e in effects if isinstance(e, SendMessage)]
        if objective.status is not Status.REJECTED:
            return mail
        return [(to, body) for to, body in mail if self.peers.knows(to)]

    def _check_peers(self, objective: DirectFund) -> None:
        strangers = sum(not self.peers.knows(who) for who in objective.participants) - 1
        if strangers > self.peers.room():  # Itself is not among its peers.
            raise LocalError("its participants are more peers than this node serves")

    def _end_unsigned(self, objective: DirectFund) -> None:
        """Forget a channel that was rejected before this node signed anything for it.

        Or peers could fill the store with channels that they propose.
        """
        if self.ledger.address not in objective.signatures(PREFUND):
            del self.objectives[objective.channel_id]
            self.output.writes.append(DropObjective(objective.channel_id))

    def _watch(self, objective: DirectFund) -> None:
        assets = tuple(exit_.asset for exit_ in objective.outcome)
        self.output.watches.append(Watch(objective.channel_id, assets))


def _is_to_sign(objective: DirectFund) -> bool:
    signed = [turn_num for turn_num, _ in objective.own_signatures()]
    return objective.status is Status.APPROVED and POSTFUND not in signed


def _signers(objective: DirectFund) -> frozenset[Address]:
    return frozenset(objective.signatures(PREFUND))
