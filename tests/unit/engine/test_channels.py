"""Objectives in the engine: what is stored, sent, deposited and told, and in which case not."""

import pytest

from tests.engine_world import Holding, note
from tests.frames import refusal_of
from tests.memory import remember
from tests.unit.objectives.world import (
    ALICE,
    APP_DATA,
    BOB,
    CAROL,
    ETHER,
    KEYS,
    TOKEN,
    TWO_OUTCOME,
    acceptance_of,
    exit_of,
    fixed_of,
    proposal_of,
    state_of,
)
from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.channels import Channels
from zmqp2p.engine.output import EngineOutput, Watch
from zmqp2p.engine.signing import SigningLedger
from zmqp2p.errors import InvalidValue, LocalError, RefuseMessage, UnknownChannel
from zmqp2p.events import ChannelFunded, ChannelProposed, ChannelRejected
from zmqp2p.ids import Address, ChannelId, TurnNum
from zmqp2p.limits import Limits
from zmqp2p.messages import (
    AcceptState,
    ProposeState,
    ProtocolMessage,
    RejectProposal,
    decode_message,
    encode_message,
)
from zmqp2p.objectives import Deposit, Status
from zmqp2p.objectives.direct_fund import DirectFund
from zmqp2p.persistence import (
    DropObjective,
    PutChainCursor,
    PutObjective,
    PutSigned,
    Snapshot,
)
from zmqp2p.state import Allocation, AssetExit, FixedPart, channel_id, destination_of

FIXED = fixed_of(2)
CHANNEL = channel_id(FIXED)
PREFUND = state_of(FIXED, TWO_OUTCOME)
POSTFUND = state_of(FIXED, TWO_OUTCOME, 1)
PROPOSAL = proposal_of(PREFUND, KEYS[0])


class Sut:
    """The channels of one participant; what they send goes nowhere."""

    def __init__(self, key: SecretKey, limits: Limits | None = None) -> None:
        """Begin without a channel."""
        self.key = key
        self.output = EngineOutput()
        self.sent: list[tuple[Address, ProtocolMessage]] = []
        self.memory = Snapshot(incarnation=1)
        self.limits = limits or Limits(deposit_retry_min_s=0.25, deposit_retry_max_s=1.0)
        self.strangers: set[Address] = set()
        self.places = 100
        self.guests: set[Address] = set()
        self.ledger = SigningLedger(key, self.output)
        self.channels = Channels(self.ledger, self.limits, self.output, self)

    def knows(self, peer: Address) -> bool:
        """Everybody but those whom a test makes strangers."""
        return peer not in self.strangers

    def room(self) -> int:
        """As many as the test says."""
        return self.places

    def is_guest(self, peer: Address) -> bool:
        """Nobody but those whom a test makes guests."""
        return peer in self.guests

    def post(self, to: Address, body: bytes) -> None:
        """Note what is sent."""
        message = decode_message(body).message
        assert isinstance(message, ProtocolMessage)
        self.sent.append((to, message))

    def drain(self) -> EngineOutput:
        """Commit, and return what was asked for since."""
        remember(self.memory, self.output.writes)
        stored = self.memory.objectives
        objectives = self.channels.objectives.items()
        assert {channel: objective.encode() for channel, objective in objectives} == stored
        self.channels.check()
        drained, empty = EngineOutput(), EngineOutput()
        for name in ("writes", "deposits", "watches", "events"):
            setattr(drained, name, getattr(self.output, name))
            setattr(self.output, name, getattr(empty, name))
        return drained

    def mail(self) -> list[tuple[Address, ProtocolMessage]]:
        """Return whom what was sent since."""
        sent, self.sent = self.sent, []
        return sent

    def restarted(self) -> "Sut":
        """Return the channels of the next run."""
        again = Sut(self.key, self.limits)
        again.memory = self.memory
        again.ledger.load(self.memory.signed)
        again.channels.load(dict(self.memory.objectives))
        return again

    def status(self, channel: ChannelId = CHANNEL) -> Status:
        """Where the objective stands."""
        return self.channels.get(channel).status


def alice() -> Sut:
    """Return Alice, who has proposed the channel."""
    sut = Sut(KEYS[0])
    assert sut.channels.propose(FIXED, TWO_OUTCOME, APP_DATA) == CHANNEL
    return sut


def bob() -> Sut:
    """Return Bob, whom Alice has proposed the channel."""
    sut = Sut(KEYS[1])
    sut.channels.receive(ALICE, PROPOSAL)
    return sut


def accept_prefund(sut: Sut) -> None:
    """Let Alice hear that Bob has signed."""
    sut.channels.receive(BOB, acceptance_of(PREFUND, KEYS[1]))


# --- Proposing and deciding ---------------------------------------------------------------------


def test_a_proposal_is_stored_sent_and_watched() -> None:
    sut = alice()
    output = sut.drain()
    assert [type(write) for write in output.writes] == [PutSigned, PutObjective]
    assert output.watches == [Watch(CHANNEL, (ETHER,))]
    assert sut.mail() == [(BOB, PROPOSAL)]
    assert sut.status() is Status.APPROVED


def test_a_channel_is_proposed_once() -> None:
    """FND-6: or this node could sign two states for one turn."""
    sut = alice()
    sut.mail()
    with pytest.raises(InvalidValue, match="channel_nonce"):
        sut.channels.propose(FIXED, TWO_OUTCOME, APP_DATA)
    assert sut.mail() == []


def test_a_proposal_that_is_too_large_changes_nothing() -> None:
    """STA-5: it is refused before it is signed: a smaller one may be proposed instead."""
    fixed = FixedPart((ALICE, *(Address(bytes([n]) * 20) for n in range(1, 16))), 9)
    allocations = tuple(
        Allocation(destination_of(who), 1, 0, bytes(1024)) for who in fixed.participants
    )
    exits = tuple(AssetExit(Address(bytes([n]) * 20), allocations) for n in range(17))
    sut = Sut(KEYS[0])
    with pytest.raises(InvalidValue, match="131072 bytes"):
        sut.channels.propose(fixed, exits, b"")
    assert sut.channels.objectives == {}
    assert sut.ledger.last(channel_id(fixed)) is None
    output = sut.drain()
    assert (output.writes, output.watches) == ([], [])
    assert sut.mail() == []
    sut.channels.propose(fixed, exits[:1], b"")


def test_a_proposal_received_waits_for_a_decision() -> None:
    sut = bob()
    output = sut.drain()
    assert output.events == [ChannelProposed(CHANNEL, ALICE)]
    assert [type(write) for write in output.writes] == [PutObjective]
    assert output.watches == []  # Nobody's queries to the chain but this node's.
    assert sut.mail() == []


def test_what_was_said_before_changes_nothing() -> None:
    sut = bob()
    sut.drain()
    sut.channels.receive(ALICE, PROPOSAL)
    output = sut.drain()
    assert (output.writes, output.events, sut.mail()) == ([], [], [])


def test_an_approved_proposal_is_signed() -> None:
    sut = bob()
    sut.channels.approve(CHANNEL)
    assert sut.mail() == [(ALICE, acceptance_of(PREFUND, KEYS[1]))]
    assert sut.status() is Status.APPROVED
    assert sut.drain().watches == [Watch(CHANNEL, (ETHER,))]


def test_a_channel_with_more_strangers_than_there_are_places_cannot_be_approved() -> None:
    """HEL-6: a proposal may name hundreds who do not exist, and each would be a session."""
    sut = Sut(KEYS[1])
    sut.channels.receive(ALICE, proposal_number(1, 3))
    sut.strangers, sut.places = {sut.key.address, CAROL}, 0
    channel = channel_id(fixed_of(3, 1))
    with pytest.raises(LocalError, match="more peers"):
        sut.channels.approve(channel)
    assert sut.channels.get(channel).status is Status.UNAPPROVED
    sut.places = 1
    sut.channels.approve(channel)
    assert sut.channels.get(channel).status is Status.APPROVED


def test_what_others_reject_before_this_node_has_signed_is_forgotten() -> None:
    """Or two peers could fill the store with channels that they propose and reject."""
    sut = Sut(KEYS[1])
    sut.channels.receive(ALICE, proposal_number(1, 3))
    channel = channel_id(fixed_of(3, 1))
    sut.drain()
    sut.channels.receive(CAROL, RejectProposal(channel, TurnNum(0), RejectCode.DECLINED, "no"))
    output = sut.drain()
    assert sut.channels.objectives == {}
    assert output.writes[-1] == DropObjective(channel)
    assert [type(event) for event in output.events] == [ChannelRejected]


def test_of_a_rejection_nobody_is_told_whom_this_node_does_not_know() -> None:
    """FND-9: a proposal may name 253 who do not exist, and a session with each is for good."""
    sut = Sut(KEYS[1])
    sut.strangers = {CAROL}
    sut.channels.receive(ALICE, proposal_number(1, 3))
    channel = channel_id(fixed_of(3, 1))
    sut.channels.reject(channel, RejectCode.DECLINED, "")
    assert [to for to, _message in sut.mail()] == [ALICE]


def test_a_rejected_proposal_is_forgotten_and_everyone_told() -> None:
    """Nothing was signed; and a peer must not be able to fill the store."""
    sut = bob()
    sut.drain()
    sut.channels.reject(CHANNEL, RejectCode.DECLINED, "é" * 150)
    output = sut.drain()
    assert output.writes[-1] == DropObjective(CHANNEL)
    ((to, message),) = sut.mail()
    assert (to, message) == (
        ALICE,
        RejectProposal(CHANNEL, TurnNum(0), RejectCode.DECLINED, "é" * 100),
    )
    assert [type(event) for event in output.events] == [ChannelRejected]
    assert sut.channels.objectives == {}


def test_there_is_nothing_to_decide_about_an_unknown_channel() -> None:
    sut = Sut(KEYS[1])
    for decide in (sut.channels.approve, sut.channels.get):
        with pytest.raises(UnknownChannel):
            decide(CHANNEL)
    with pytest.raises(UnknownChannel):
        sut.channels.reject(CHANNEL, RejectCode.DECLINED, "")


def test_a_statement_that_is_wrong_changes_nothing() -> None:
    sut = alice()
    sut.drain()
    with pytest.raises(RefuseMessage):
        sut.channels.receive(BOB, acceptance_of(PREFUND, KEYS[2]))
    assert sut.drain().writes == []
    with pytest.raises(RefuseMessage):
        Sut(KEYS[2]).channels.receive(ALICE, PROPOSAL)


# --- How many may wait --------------------------------------------------------------------------


def proposal_number(nonce: int, count: int = 2, by: SecretKey = KEYS[0]) -> ProposeState:
    """Return another proposal among the first ``count`` participants, signed by one of them."""
    return proposal_of(state_of(fixed_of(count, nonce), TWO_OUTCOME), by)


SIZE_BYTES = len(DirectFund.from_proposal(BOB, ALICE, proposal_number(1)).encode())


def test_so_many_proposals_of_one_peer_may_wait_and_no_more() -> None:
    """FND-11: those beyond are refused, which ends them, and costs this node nothing."""
    sut = Sut(KEYS[1], Limits(proposals_max_per_peer=2))
    for nonce in (1, 2):
        sut.channels.receive(ALICE, proposal_number(nonce))
    with pytest.raises(RefuseMessage, match="busy"):
        sut.channels.receive(ALICE, proposal_number(3))
    assert len(sut.channels.objectives) == 2
    assert sut.mail() == []
    assert [type(w) for w in sut.drain().writes] == [PutObjective, PutObjective]


@pytest.mark.parametrize("how", ["approve", "reject", "decline"])
def test_a_decision_makes_room_for_the_next_proposal(how: str) -> None:
    sut = Sut(KEYS[1], Limits(proposals_max_per_peer=1))
    sut.channels.receive(ALICE, proposal_number(1))
    channel = channel_id(fixed_of(2, 1))
    match how:
        case "approve":
            sut.channels.approve(channel)
        case "reject":
            sut.channels.reject(channel, RejectCode.DECLINED, "")
        case _:
            sut.channels.reject(channel, RejectCode.DECLINED, "")
    sut.channels.receive(ALICE, proposal_number(2))
    assert channel_id(fixed_of(2, 2)) in sut.channels.objectives


def test_proposals_count_against_who_has_signed_them() -> None:
    """A participant that hands on proposals cannot use up the proposer's share, nor escape."""
    sut = Sut(KEYS[1], Limits(proposals_max_per_peer=1))
    sut.channels.receive(CAROL, proposal_number(1, 3, KEYS[2]))
    sut.channels.receive(ALICE, proposal_number(2, 3))
    assert len(sut.channels.objectives) == 2
    with pytest.raises(RefuseMessage, match="busy"):
        sut.channels.receive(CAROL, proposal_number(3, 3, KEYS[2]))
    assert len(sut.channels.objectives) == 2


def test_proposals_of_one_peer_may_have_so_many_bytes_and_no_more() -> None:
    """One of 16 MiB may be sent as often as one of 300 bytes."""
    sut = Sut(KEYS[1], Limits(proposals_max_bytes_per_peer=3 * SIZE_BYTES))
    for nonce in (1, 2, 3):
        sut.channels.receive(ALICE, proposal_number(nonce))
    with pytest.raises(RefuseMessage, match="busy"):
        sut.channels.receive(ALICE, proposal_number(4))
    sut.channels.reject(channel_id(fixed_of(2, 1)), RejectCode.DECLINED, "")
    sut.channels.receive(ALICE, proposal_number(4))
    assert len(sut.channels.objectives) == 3


def test_who_signs_a_proposal_later_has_it_counted_too() -> None:
    sut = Sut(KEYS[1], Limits(proposals_max_per_peer=1))
    sut.channels.receive(ALICE, proposal_number(1, 3))
    sut.channels.receive(CAROL, proposal_number(1, 3, KEYS[2]))
    with pytest.raises(RefuseMessage, match="busy"):
        sut.channels.receive(CAROL, proposal_number(2, 3, KEYS[2]))
    sut.drain()
    sut.channels.reject(channel_id(fixed_of(3, 1)), RejectCode.DECLINED, "")
    sut.channels.receive(CAROL, proposal_number(2, 3, KEYS[2]))
    sut.drain()


def test_guests_have_so_much_room_together_and_contacts_their_own() -> None:
    """Identities are free: many guests must neither fill the store nor keep contacts waiting."""
    sut = Sut(KEYS[1], Limits(proposals_guests_max_bytes=2 * SIZE_BYTES + 100))
    sut.guests = {ALICE, CAROL}
    sut.channels.receive(ALICE, proposal_number(1))
    sut.channels.receive(CAROL, proposal_number(2, 3, KEYS[2]))
    sut.drain()
    for again in (sut, restarted_with_guests(sut)):
        with pytest.raises(RefuseMessage, match="busy"):
            again.channels.receive(ALICE, proposal_number(3))
        again.guests = {CAROL}
        again.channels.receive(ALICE, proposal_number(3))
        again.channels.check()


def restarted_with_guests(sut: Sut) -> Sut:
    """Return the channels of the next run, in which the same are guests."""
    again = Sut(sut.key, sut.limits)
    again.memory, again.guests = sut.memory, {ALICE, CAROL}
    again.channels.load(dict(sut.memory.objectives))
    return again


def test_a_restart_does_not_forget_how_many_wait() -> None:
    sut = Sut(KEYS[1], Limits(proposals_max_per_peer=1))
    sut.channels.receive(ALICE, proposal_number(1))
    sut.drain()
    again = sut.restarted()
    with pytest.raises(RefuseMessage, match="busy"):
        again.channels.receive(ALICE, proposal_number(2))
    assert len(again.channels.objectives) == 1
    again.channels.reject(channel_id(fixed_of(2, 1)), RejectCode.DECLINED, "")
    again.channels.receive(ALICE, proposal_number(2))
    assert len(again.channels.objectives) == 1


# --- Refusals -----------------------------------------------------------------------------------


def test_a_refused_proposal_counts_as_the_peers_rejection() -> None:
    """FND-11: the peer will never sign; waiting for it would be for ever."""
    sut = alice()
    sut.drain()
    body = encode_message(PROPOSAL)
    sut.channels.refused(BOB, body, refusal_of(1, RefusalCode.TYPE_UNKNOWN, "y" * 200))
    assert sut.status() is Status.REJECTED
    (event,) = sut.drain().events
    reason = ("type_unknown: " + "y" * 200)[:200]
    assert event == ChannelRejected(CHANNEL, BOB, RejectCode.INVALID, reason)


def test_a_refusal_after_the_peers_signature_changes_nothing() -> None:
    """FND-11: it is bound by it."""
    sut = alice()
    accept_prefund(sut)
    sut.drain()
    body = encode_message(acceptance_of(POSTFUND, KEYS[0]))
    sut.channels.refused(BOB, body, refusal_of(2))
    assert sut.status() is Status.APPROVED
    assert sut.drain().writes == []


@pytest.mark.parametrize(
    "body",
    [
        encode_message(acceptance_of(state_of(fixed_of(3), TWO_OUTCOME), KEYS[0])),
        note("hello"),
        b"\x91\xcd\xff\xff",
    ],
    ids=["another channel", "the application's", "of a type of an earlier run"],
)
def test_a_refusal_about_anything_else_is_the_applications(body: bytes) -> None:
    """The body may even be of a type that this run has not registered: it came from the store."""
    sut = alice()
    sut.drain()
    sut.channels.refused(BOB, body, refusal_of(1))
    assert sut.drain().writes == []


# --- The chain ----------------------------------------------------------------------------------


def test_a_channel_is_funded_by_deposits_in_order() -> None:
    sut = alice()
    accept_prefund(sut)
    deposit = Deposit(CHANNEL, ETHER, 5, 0)
    assert sut.drain().deposits == [deposit]
    sut.channels.deposited([Holding(CHANNEL, ETHER, 5)], 7)
    output = sut.drain()
    assert output.deposits == []
    assert output.writes[-1] == PutChainCursor(7)
    sut.channels.deposited([Holding(CHANNEL, ETHER, 12)], 8)
    sut.mail()
    sut.channels.receive(BOB, acceptance_of(POSTFUND, KEYS[1]))
    assert sut.drain().events[-1] == ChannelFunded(CHANNEL)
    assert sut.status() is Status.COMPLETED


def test_the_chain_cursor_is_stored_with_what_it_covers() -> None:
    """In one transaction: an event is neither missed nor taken in twice after a crash."""
    sut = bob()
    sut.channels.approve(CHANNEL)
    sut.drain()
    sut.channels.deposited([Holding(CHANNEL, ETHER, 5), Holding(CHANNEL, TOKEN, 9)], 41)
    writes = sut.drain().writes
    assert [type(write) for write in writes] == [PutObjective, PutChainCursor]
    assert sut.memory.chain_cursor == 41
    sut.channels.deposited([], 42)
    assert sut.drain().writes == [PutChainCursor(42)]


def test_holdings_of_an_unknown_channel_are_somebody_elses() -> None:
    sut = Sut(KEYS[0])
    sut.channels.holdings(CHANNEL, ETHER, 5)
    assert sut.drain().writes == []


def test_a_failed_deposit_is_made_again_after_a_growing_while() -> None:
    """0.25 s, 0.5 s, … up to the most; no sooner, or a failing chain would be stormed."""
    sut = alice()
    accept_prefund(sut)
    (deposit,) = sut.drain().deposits
    now = 10.0
    for wait_s in (0.25, 0.5, 1.0, 1.0):
        sut.channels.transaction_failed(deposit, now)
        assert sut.channels.retries.next() == now + wait_s
        sut.channels.tick(now + wait_s - 0.001)
        assert sut.drain().deposits == []
        now += wait_s
        sut.channels.tick(now)
        assert sut.drain().deposits == [deposit]


def test_a_failed_deposit_that_is_not_needed_any_more_is_not_made_again() -> None:
    """It was made after all, and only the report was lost."""
    sut = alice()
    accept_prefund(sut)
    (deposit,) = sut.drain().deposits
    sut.channels.transaction_failed(deposit, 10.0)
    sut.channels.holdings(CHANNEL, ETHER, 5)
    sut.channels.tick(11.0)
    assert sut.drain().deposits == []


def test_several_failed_deposits_of_a_channel_are_made_again_together() -> None:
    outcome = (exit_of(ETHER, (ALICE, 5), (BOB, 7)), exit_of(TOKEN, (ALICE, 1), (BOB, 2)))
    fixed = fixed_of(2, 8)
    sut = Sut(KEYS[0])
    sut.channels.propose(fixed, outcome, APP_DATA)
    sut.channels.receive(BOB, acceptance_of(state_of(fixed, outcome), KEYS[1]))
    deposits = sut.drain().deposits
    assert len(deposits) == 2
    for deposit in deposits:
        sut.channels.transaction_failed(deposit, 10.0)
    sut.channels.tick(10.25)
    assert sut.drain().deposits == deposits
    sut.channels.tick(20.0)
    assert sut.drain().deposits == []


# --- A restart ----------------------------------------------------------------------------------


def test_a_restarted_node_submits_again_what_may_have_been_lost() -> None:
    """The chain refuses it if it was made, since the holdings are no longer as expected."""
    sut = alice()
    accept_prefund(sut)
    (deposit,) = sut.drain().deposits
    again = sut.restarted()
    output = again.drain()
    assert output.deposits == [deposit]
    assert output.watches == [Watch(CHANNEL, (ETHER,))]
    assert again.mail() == []  # The outbox is the store's affair.


def test_a_restarted_node_leaves_alone_what_is_done() -> None:
    sut = bob()
    sut.channels.reject(CHANNEL, RejectCode.DECLINED, "")
    sut.drain()
    output = sut.restarted().drain()
    assert (output.watches, output.writes, output.events) == ([], [], [])


def test_a_restarted_node_does_not_ask_again_what_it_was_asked() -> None:
    """The proposal still waits; `proposals` lists it."""
    sut = bob()
    sut.drain()
    again = sut.restarted()
    assert again.drain().events == []
    assert again.status() is Status.UNAPPROVED


def test_acceptances_name_the_turn_they_are_for() -> None:
    """FND-5, FND-9: nothing but turns 0 and 1 is funding, and only turn 0 can be rejected."""
    sut = alice()
    with pytest.raises(RefuseMessage):
        sut.channels.receive(BOB, RejectProposal(CHANNEL, TurnNum(1), RejectCode.DECLINED, ""))
    accepted = acceptance_of(PREFUND, KEYS[1])
    wrong = AcceptState(CHANNEL, TurnNum(2), accepted.state_hash, accepted.signature)
    with pytest.raises(RefuseMessage):
        sut.channels.receive(BOB, wrong)
