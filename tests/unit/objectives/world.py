"""Participants, their network and their chain: a small world for the tests of objectives.

Pure and without chance: the test decides what happens next. After every step the laws that hold
for every objective at any time are checked.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import cast

from zmqp2p.codes import RejectCode
from zmqp2p.crypto import SecretKey, Signature, Signer
from zmqp2p.errors import RefuseMessage
from zmqp2p.events import Event
from zmqp2p.ids import Address, ChannelId, StateHash, TurnNum
from zmqp2p.messages import AcceptState, ProposeState, ProtocolMessage
from zmqp2p.objectives import (
    Deposit,
    DirectFund,
    EmitEvent,
    SendMessage,
    SideEffect,
    Status,
    SubmitTransaction,
)
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    Outcome,
    State,
    VariablePart,
    channel_id,
    destination_of,
    sign_hash,
    sign_state,
    state_hash,
)

KEYS = tuple(SecretKey(bytes([number]) * 32) for number in range(1, 7))
ALICE, BOB, CAROL, DAVE = (key.address for key in KEYS[:4])
ETHER = Address(bytes(20))
TOKEN = Address(b"\x11" * 20)
APP_DATA = b"opening position"


def exit_of(asset: Address, *shares: tuple[Address, int]) -> AssetExit:
    """Allocate ``asset`` to participants, in order."""
    return AssetExit(
        asset, tuple(Allocation(destination_of(who), amount) for who, amount in shares)
    )


TWO_OUTCOME: Outcome = (exit_of(ETHER, (ALICE, 5), (BOB, 7)),)


def fixed_of(count: int, nonce: int = 1) -> FixedPart:
    """Return the fixed part of a channel of the first ``count`` participants."""
    return FixedPart(tuple(key.address for key in KEYS[:count]), nonce)


def state_of(
    fixed: FixedPart, outcome: Outcome, turn: int = 0, *, final: bool = False, app: bytes = APP_DATA
) -> State:
    """Return a state of that turn."""
    return State(fixed, VariablePart(app, outcome, TurnNum(turn), final))


def proposal_of(state: State, signer: Signer) -> ProposeState:
    """Return ``signer``'s proposal of ``state``."""
    return ProposeState(channel_id(state.fixed), state, sign_state(state, signer))


def acceptance_of(state: State, signer: Signer) -> AcceptState:
    """Return ``signer``'s signature over ``state`` as a message."""
    signature = sign_state(state, signer)
    return AcceptState(
        channel_id(state.fixed), state.variable.turn_num, state_hash(state), signature
    )


def cranked(
    fund: DirectFund, signer: Signer, effects: list[SideEffect] | None = None
) -> DirectFund:
    """Crank ``fund``, check the laws of `crank` and of the store, and return the successor."""
    pen = Pen(signer)
    result = fund.crank(pen)
    successor = cast("DirectFund", result.objective)
    assert fund.crank(pen) == result  # Pure.
    assert result.waiting_for is successor.waiting_for
    again = successor.crank(pen)
    assert (again.objective, again.effects) == (successor, [])  # Idempotent.
    for value in (fund, successor):
        value.check()
        assert DirectFund.decode(value.encode()) == value
    if effects is not None:
        effects.extend(result.effects)
    return successor


class Pen:
    """Signs whatever state it is given: no ledger. What an objective asks for is what is tested."""

    def __init__(self, key: Signer) -> None:
        """Sign with ``key``."""
        self._key = key
        self.address = key.address

    def sign_hash(self, channel: ChannelId, turn_num: TurnNum, state_hash: StateHash) -> Signature:
        """Sign it."""
        assert len(channel) == 32
        assert turn_num in (0, 1)
        return sign_hash(state_hash, self._key)


class Recorder:
    """A signer that remembers what it signed."""

    def __init__(self, key: SecretKey) -> None:
        """Sign with ``key``."""
        self._key = key
        self.digests: list[bytes] = []

    @property
    def address(self) -> Address:
        """Whose key it is."""
        return self._key.address

    def sign(self, digest: bytes) -> Signature:
        """Sign and remember."""
        self.digests.append(digest)
        return self._key.sign(digest)


class Chain:
    """Holdings of one channel; a deposit is made only on top of the holdings it expects."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.held: dict[Address, int] = {}
        self.log: list[tuple[Address, int]] = []  # Asset and holdings after each deposit.
        self.paid: dict[tuple[Address, Address], int] = {}  # By depositor and asset.

    def deposit(self, by: Address, deposit: Deposit) -> bool:
        """Make ``deposit`` if the holdings are as expected; return whether it was made."""
        held = self.held.get(deposit.asset, 0)
        if held != deposit.expected_held:
            return False
        self.held[deposit.asset] = held + deposit.amount
        self.log.append((deposit.asset, held + deposit.amount))
        key = (by, deposit.asset)
        self.paid[key] = self.paid.get(key, 0) + deposit.amount
        return True


@dataclass
class Node:
    """One participant: its objective, once there is one, and what it is about to submit."""

    signer: Recorder
    fund: DirectFund | None = None
    rejects: bool = False
    pending: list[Deposit] = field(default_factory=list)
    orphans: list[Deposit] = field(default_factory=list)  # Submitted before a restart.
    events: list[Event] = field(default_factory=list)
    chain_cursor: int = 0
    submitted: int = 0


class World:
    """Several nodes that fund one channel. Links keep their order and lose nothing."""

    def __init__(self, fixed: FixedPart, outcome: Outcome) -> None:
        """Let the first participant propose the channel."""
        self.prefund = state_of(fixed, outcome)
        self.postfund = state_of(fixed, outcome, 1)
        self.channel: ChannelId = channel_id(fixed)
        self.nodes = {key.address: Node(Recorder(key)) for key in KEYS[: len(fixed.participants)]}
        self.chain = Chain()
        self.links: dict[tuple[Address, Address], deque[ProtocolMessage]] = {}
        self.delivered: list[tuple[Address, Address, ProtocolMessage]] = []
        self.refused: list[RefuseMessage] = []
        proposer = self.nodes[fixed.participants[0]]
        self._update(
            proposer, DirectFund.propose(fixed, outcome, APP_DATA, proposer.signer.address)
        )

    # --- What may happen ----------------------------------------------------------------------

    def decide(self, node: Node) -> None:
        """Let ``node``'s application approve, or reject, what waits for it."""
        if node.fund is None or node.fund.status is not Status.UNAPPROVED:
            return
        if node.rejects:
            self._update(node, node.fund.rejected_by_me(RejectCode.DECLINED, "not today"))
        else:
            self._update(node, node.fund.approve())

    def deliver(self, sender: Address, to: Address) -> None:
        """Deliver the oldest message of one link."""
        message = self.links[sender, to].popleft()
        self.delivered.append((sender, to, message))
        self.hand_over(sender, to, message)

    def hand_over(self, sender: Address, to: Address, message: ProtocolMessage) -> None:
        """Deliver ``message``, perhaps not for the first time."""
        node = self.nodes[to]
        fund = node.fund
        try:
            if fund is not None:
                self._update(node, fund.receive(sender, message))
            elif isinstance(message, ProposeState):
                self._update(node, DirectFund.from_proposal(to, sender, message))
        except RefuseMessage as fault:
            self.refused.append(fault)

    def execute(self, node: Node, *, made: bool = True, reported: bool = True) -> None:
        """Let the chain take ``node``'s oldest pending deposit.

        It fails if it is not ``made``, or made but not ``reported``; the node is told the same.
        """
        deposit = node.pending.pop(0)
        done = made and self.chain.deposit(node.signer.address, deposit)
        if not (done and reported) and node.fund is not None:
            self._update(node, node.fund.transaction_failed(deposit))

    def execute_orphan(self, node: Node) -> None:
        """Let the chain take a deposit that was submitted before ``node`` restarted."""
        self.chain.deposit(node.signer.address, node.orphans.pop(0))

    def chain_news(self, node: Node) -> None:
        """Tell ``node`` of the next change of the holdings."""
        if node.fund is None or node.chain_cursor == len(self.chain.log):
            return
        asset, held = self.chain.log[node.chain_cursor]
        node.chain_cursor += 1
        self._update(node, node.fund.holdings_changed(asset, held))

    def restart(self, node: Node) -> None:
        """Restart ``node`` from what it stored; what it had submitted may still be made."""
        node.orphans += node.pending
        node.pending = []
        if node.fund is not None:
            self._update(node, DirectFund.decode(node.fund.encode()).resumed())

    def settle(self, steps_max: int = 10_000) -> None:
        """Do all that is left to do, without faults, within a budget of steps."""
        for _ in range(steps_max):
            if not self._settle_one():
                return
        raise AssertionError("the world does not come to rest")

    def _settle_one(self) -> bool:
        for link, messages in self.links.items():
            if messages:
                self.deliver(*link)
                return True
        for node in self.nodes.values():
            if node.fund is not None and node.fund.status is Status.UNAPPROVED:
                self.decide(node)
            elif node.fund is not None and node.chain_cursor < len(self.chain.log):
                self.chain_news(node)
            elif node.orphans:
                self.execute_orphan(node)
            elif node.pending:
                self.execute(node)
            else:
                continue
            return True
        return False

    # --- What follows from it -----------------------------------------------------------------

    def _update(self, node: Node, fund: DirectFund) -> None:
        effects: list[SideEffect] = []
        node.fund = cranked(fund, node.signer, effects)
        for effect in effects:
            self._apply(node, effect)

    def _apply(self, node: Node, effect: SideEffect) -> None:
        me = node.signer.address
        match effect:
            case SendMessage(to, message):
                self.links.setdefault((me, to), deque()).append(message)
            case SubmitTransaction(deposit):
                self._check_safe(node, deposit)
                node.pending.append(deposit)
                node.submitted += 1
            case EmitEvent(event):
                node.events.append(event)

    def _check_safe(self, node: Node, deposit: Deposit) -> None:
        """A deposit is claimable by prefund signatures of all, and stands behind earlier ones."""
        assert node.fund is not None
        assert set(node.fund.signatures(TurnNum(0))) == set(self.nodes)
        (exit_,) = (one for one in node.fund.outcome if one.asset == deposit.asset)
        mine = destination_of(node.signer.address)
        before = 0
        for allocation in exit_.allocations:
            if allocation.destination == mine:
                assert before <= deposit.expected_held
                assert deposit.expected_held + deposit.amount == before + allocation.amount
                return
            before += allocation.amount
        raise AssertionError("a deposit of somebody who has no share")
