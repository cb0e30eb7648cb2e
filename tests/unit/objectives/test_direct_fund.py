"""DirectFund: who may say what when, and what it does about it."""

from typing import cast

import pytest

from tests.unit.objectives.world import (
    ALICE,
    APP_DATA,
    BOB,
    CAROL,
    ETHER,
    KEYS,
    TOKEN,
    TWO_OUTCOME,
    Pen,
    World,
    acceptance_of,
    cranked,
    exit_of,
    fixed_of,
    proposal_of,
    state_of,
)
from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.crypto import Signature, keccak256
from zmqp2p.errors import InvalidValue, LocalError, RefuseMessage
from zmqp2p.events import ChannelFunded, ChannelProposed, ChannelRejected, ChannelStep
from zmqp2p.ids import Address, ChannelId, TurnNum
from zmqp2p.messages import AcceptState, ProposeState, ProtocolMessage, RejectProposal
from zmqp2p.objectives import (
    Deposit,
    DirectFund,
    EmitEvent,
    Objective,
    SendMessage,
    SideEffect,
    Status,
    SubmitTransaction,
    WaitingFor,
)
from zmqp2p.state import Outcome, channel_id, recover_hash_signer, sign_hash, state_hash

ALICE_KEY, BOB_KEY, CAROL_KEY = KEYS[:3]
PREFUND_TURN, POSTFUND_TURN = TurnNum(0), TurnNum(1)
FIXED = fixed_of(2)
PREFUND = state_of(FIXED, TWO_OUTCOME)
POSTFUND = state_of(FIXED, TWO_OUTCOME, 1)
CHANNEL = channel_id(FIXED)
THREE_FIXED = fixed_of(3)
THREE_OUTCOME = (exit_of(ETHER, (ALICE, 5), (BOB, 7), (CAROL, 11)),)
THREE_PREFUND = state_of(THREE_FIXED, THREE_OUTCOME)


def proposed() -> DirectFund:
    """Alice's objective, as she proposes it."""
    return DirectFund.propose(FIXED, TWO_OUTCOME, APP_DATA, ALICE)


def received() -> DirectFund:
    """Bob's objective, as he receives it."""
    return DirectFund.from_proposal(BOB, ALICE, proposal_of(PREFUND, ALICE_KEY))


def prefunded_alice() -> DirectFund:
    """Alice's objective with both prefund signatures; her deposit is under way."""
    fund = cranked(proposed(), ALICE_KEY).receive(BOB, acceptance_of(PREFUND, BOB_KEY))
    return cranked(fund, ALICE_KEY)


def prefunded_bob() -> DirectFund:
    """Bob's objective with both prefund signatures; he waits for Alice to deposit."""
    return cranked(received().approve(), BOB_KEY)


def completed() -> DirectFund:
    """Alice's objective at its end."""
    fund = prefunded_alice().holdings_changed(ETHER, 12)
    fund = fund.receive(BOB, acceptance_of(POSTFUND, BOB_KEY))
    return cranked(fund, ALICE_KEY)


def three_of_bob() -> DirectFund:
    """Bob's objective in a channel of three, proposed by Alice."""
    return DirectFund.from_proposal(BOB, ALICE, proposal_of(THREE_PREFUND, ALICE_KEY))


def rejection(
    turn: int = 0, code: RejectCode = RejectCode.DECLINED, channel: ChannelId = CHANNEL
) -> RejectProposal:
    return RejectProposal(channel, TurnNum(turn), code, "no")


def second_signature(digest: bytes, secret: int, nonce: int) -> Signature:
    """Sign with a nonce other than RFC 6979's: valid, and different."""
    import coincurve  # noqa: PLC0415  # Only this helper needs the library underneath.

    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    x, y = coincurve.PrivateKey.from_int(nonce).public_key.point()
    s = pow(nonce, -1, order) * (int.from_bytes(digest) + x * secret) % order
    odd = y % 2
    if s > order // 2:
        s, odd = order - s, 1 - odd
    return Signature(x.to_bytes(32), s.to_bytes(32), 27 + odd)


def refusal(fund: DirectFund, sender: Address, message: ProtocolMessage) -> RefusalCode:
    """Return the code with which ``fund`` refuses ``message``."""
    with pytest.raises(RefuseMessage) as fault:
        fund.receive(sender, message)
    return fault.value.code


def effects_of(fund: DirectFund, key: object) -> list[SideEffect]:
    effects: list[SideEffect] = []
    cranked(fund, key, effects)  # type: ignore[arg-type]
    return effects


def sent(effects: list[SideEffect]) -> list[tuple[Address, ProtocolMessage]]:
    return [(one.to, one.message) for one in effects if isinstance(one, SendMessage)]


def deposits(effects: list[SideEffect]) -> list[Deposit]:
    return [one.deposit for one in effects if isinstance(one, SubmitTransaction)]


def events(effects: list[SideEffect]) -> list[object]:
    return [one.event for one in effects if isinstance(one, EmitEvent)]


# --- The way it should go -----------------------------------------------------------------------


def test_two_parties_need_four_messages_and_two_deposits() -> None:
    world = World(FIXED, TWO_OUTCOME)
    world.settle()
    assert [(sender, to, type(message)) for sender, to, message in world.delivered] == [
        (ALICE, BOB, ProposeState),
        (BOB, ALICE, AcceptState),
        (ALICE, BOB, AcceptState),
        (BOB, ALICE, AcceptState),
    ]
    assert world.chain.log == [(ETHER, 5), (ETHER, 12)]
    assert world.chain.paid == {(ALICE, ETHER): 5, (BOB, ETHER): 7}


def test_each_step_is_told_once_and_in_order() -> None:
    world = World(FIXED, TWO_OUTCOME)
    world.settle()

    def told(address: Address) -> list[object]:
        events = world.nodes[address].events
        return [one.step if isinstance(one, ChannelStep) else one for one in events]

    steps = ["prefund_signed", "prefund_complete", "deposit_submitted", "funded_on_chain"]
    steps = [*steps, "postfund_signed"]
    assert told(ALICE) == [*steps, ChannelFunded(CHANNEL)]
    assert told(BOB) == [ChannelProposed(CHANNEL, ALICE), *steps, ChannelFunded(CHANNEL)]


def test_steps_say_how_much_and_how_many() -> None:
    world = World(FIXED, TWO_OUTCOME)
    world.settle()
    details = [one.detail for one in world.nodes[BOB].events if isinstance(one, ChannelStep)]
    assert details == [
        "turn 0, sent to 1",
        "turn 0, signed by all 2",
        f"7 of asset 0x{bytes(20).hex()} on top of 5",
        "all of 1 asset(s)",
        "turn 1, sent to 1",
    ]


def test_it_waits_for_one_thing_after_the_other() -> None:
    fund = received()
    assert fund.waiting_for is WaitingFor.APPROVAL
    assert cranked(proposed(), ALICE_KEY).waiting_for is WaitingFor.COMPLETE_PREFUND
    fund = cranked(fund.approve(), BOB_KEY)
    assert fund.waiting_for is WaitingFor.MY_TURN_TO_FUND
    fund = cranked(fund.holdings_changed(ETHER, 5), BOB_KEY)
    assert fund.waiting_for is WaitingFor.COMPLETE_FUNDING
    fund = cranked(fund.holdings_changed(ETHER, 12), BOB_KEY)
    assert fund.waiting_for is WaitingFor.COMPLETE_POSTFUND
    fund = cranked(fund.receive(ALICE, acceptance_of(POSTFUND, ALICE_KEY)), BOB_KEY)
    assert fund.waiting_for is WaitingFor.NOTHING
    assert fund.status is Status.COMPLETED


def test_it_is_an_objective() -> None:
    objective: Objective = received()
    assert objective.channel_id == CHANNEL
    assert objective.participants == (ALICE, BOB)


def test_the_user_gets_the_funded_state_with_all_signatures() -> None:
    state, signatures = completed().funded_state()
    assert state == POSTFUND
    hash_ = state_hash(POSTFUND)
    assert [recover_hash_signer(hash_, one) for one in signatures] == [ALICE, BOB]


def test_there_is_no_funded_state_before_the_end() -> None:
    with pytest.raises(LocalError, match="approved"):
        prefunded_alice().funded_state()


def test_three_parties_do_not_depend_on_whose_message_comes_first() -> None:
    """Carol hears of the channel from Bob, before Alice's own proposal arrives."""
    world = World(THREE_FIXED, THREE_OUTCOME)
    world.deliver(ALICE, BOB)
    world.decide(world.nodes[BOB])
    world.deliver(BOB, CAROL)
    carol = world.nodes[CAROL]
    assert carol.events == [ChannelProposed(world.channel, ALICE)]
    world.settle()
    assert {node.fund.status for node in world.nodes.values() if node.fund} == {Status.COMPLETED}
    assert not world.refused


def test_the_proposer_is_sent_the_acceptance_and_everyone_else_the_proposal() -> None:
    effects = effects_of(three_of_bob().approve(), BOB_KEY)
    assert sent(effects) == [
        (ALICE, acceptance_of(THREE_PREFUND, BOB_KEY)),
        (CAROL, proposal_of(THREE_PREFUND, BOB_KEY)),
    ]


def test_everyone_is_sent_the_postfund_acceptance() -> None:
    fund = cranked(three_of_bob().approve(), BOB_KEY)
    fund = fund.receive(CAROL, proposal_of(THREE_PREFUND, CAROL_KEY))
    fund = cranked(fund, BOB_KEY).holdings_changed(ETHER, 23)
    message = acceptance_of(state_of(THREE_FIXED, THREE_OUTCOME, 1), BOB_KEY)
    assert sent(effects_of(fund, BOB_KEY)) == [(ALICE, message), (CAROL, message)]


# --- Who may propose ----------------------------------------------------------------------------


def test_only_the_first_participant_proposes() -> None:
    with pytest.raises(InvalidValue) as fault:
        DirectFund.propose(FIXED, TWO_OUTCOME, APP_DATA, BOB)
    assert fault.value.field == "participants"


def test_an_unsafe_proposal_is_refused_to_the_proposer() -> None:
    with pytest.raises(InvalidValue) as fault:
        DirectFund.propose(FIXED, (), APP_DATA, ALICE)
    assert fault.value.field == "outcome"


def test_nobody_opens_my_channels_for_me() -> None:
    """Or a peer could make me sign a second state for turn 0 of a channel I proposed."""
    with pytest.raises(RefuseMessage) as fault:
        DirectFund.from_proposal(ALICE, BOB, proposal_of(PREFUND, BOB_KEY))
    assert fault.value.code is RefusalCode.PAYLOAD_INVALID
    assert "first participant" in fault.value.reason


@pytest.mark.parametrize(("me", "sender"), [(CAROL, ALICE), (BOB, CAROL), (BOB, BOB)])
def test_a_proposal_by_or_to_an_outsider_is_refused(me: Address, sender: Address) -> None:
    with pytest.raises(RefuseMessage) as fault:
        DirectFund.from_proposal(me, sender, proposal_of(PREFUND, ALICE_KEY))
    assert fault.value.code is RefusalCode.PAYLOAD_INVALID


def test_a_proposal_must_be_signed_by_its_sender() -> None:
    """Carol has Alice's signature, but who hands a proposal on vouches for it."""
    with pytest.raises(RefuseMessage) as fault:
        DirectFund.from_proposal(BOB, CAROL, proposal_of(THREE_PREFUND, ALICE_KEY))
    assert fault.value.code is RefusalCode.SIGNATURE_INVALID


def test_a_proposal_for_another_channel_id_is_refused() -> None:
    message = proposal_of(PREFUND, ALICE_KEY)
    other = ProposeState(channel_id(THREE_FIXED), message.state, message.signature)
    with pytest.raises(RefuseMessage) as fault:
        DirectFund.from_proposal(BOB, ALICE, other)
    assert fault.value.code is RefusalCode.PAYLOAD_INVALID


@pytest.mark.parametrize(
    "state",
    [
        state_of(FIXED, TWO_OUTCOME, 1),
        state_of(FIXED, TWO_OUTCOME, final=True),
        state_of(FIXED, ()),
    ],
)
def test_an_unsafe_proposal_is_refused(state: object) -> None:
    with pytest.raises(RefuseMessage) as fault:
        DirectFund.from_proposal(BOB, ALICE, proposal_of(state, ALICE_KEY))  # type: ignore[arg-type]
    assert fault.value.code is RefusalCode.PAYLOAD_INVALID


def test_both_sides_propose_at_once_and_nobody_signs_two_states_for_one_turn() -> None:
    """A known bug elsewhere. The order of participants decides: two channels, one opener each."""
    fixed = fixed_of(2)
    mirrored = type(fixed)((BOB, ALICE), fixed.channel_nonce)
    hers = DirectFund.propose(fixed, TWO_OUTCOME, APP_DATA, ALICE)
    his = DirectFund.propose(mirrored, TWO_OUTCOME, APP_DATA, BOB)
    assert hers.channel_id != his.channel_id
    # The same channel, proposed by the other side with another state, is refused by both ways in.
    rival = proposal_of(state_of(fixed, (exit_of(ETHER, (BOB, 1)),)), BOB_KEY)
    with pytest.raises(RefuseMessage):
        DirectFund.from_proposal(ALICE, BOB, rival)
    assert refusal(cranked(hers, ALICE_KEY), BOB, rival) is RefusalCode.PAYLOAD_INVALID


def test_a_second_state_for_turn_zero_is_never_signed() -> None:
    """The outcome is not part of the channel id, so only the objective tells the two apart."""
    other = state_of(FIXED, (exit_of(ETHER, (ALICE, 1), (BOB, 7)),))
    for fund in (received(), prefunded_bob()):
        assert refusal(fund, ALICE, proposal_of(other, ALICE_KEY)) is RefusalCode.PAYLOAD_INVALID


# --- Signatures ---------------------------------------------------------------------------------


def test_a_signature_for_an_unknown_turn_is_never_stored() -> None:
    """A known bug elsewhere: unverified signatures stored for turns nobody asked about."""
    third = state_of(FIXED, TWO_OUTCOME, 2)
    assert refusal(received(), ALICE, acceptance_of(third, ALICE_KEY)) is (
        RefusalCode.PAYLOAD_INVALID
    )
    with pytest.raises(InvalidValue) as fault:
        received().signatures(TurnNum(2))
    assert fault.value.field == "turn_num"


@pytest.mark.parametrize("turn", [0, 1])
def test_a_signature_for_another_hash_is_refused(turn: int) -> None:
    other = state_hash(state_of(FIXED, TWO_OUTCOME, turn, app=b"other"))
    message = AcceptState(CHANNEL, TurnNum(turn), other, sign_hash(other, BOB_KEY))
    fund = cranked(proposed(), ALICE_KEY)
    assert refusal(fund, BOB, message) is RefusalCode.PAYLOAD_INVALID


def test_the_hash_of_one_turn_does_not_count_for_the_other() -> None:
    hash_ = state_hash(POSTFUND)
    message = AcceptState(CHANNEL, PREFUND_TURN, hash_, sign_hash(hash_, BOB_KEY))
    assert refusal(proposed(), BOB, message) is RefusalCode.PAYLOAD_INVALID


@pytest.mark.parametrize("state", [PREFUND, POSTFUND])
def test_a_signature_by_another_than_the_sender_is_refused(state: object) -> None:
    forged = acceptance_of(state, CAROL_KEY)  # type: ignore[arg-type]
    assert refusal(proposed(), BOB, forged) is RefusalCode.SIGNATURE_INVALID


def test_a_signature_that_no_key_fits_is_refused() -> None:
    nowhere = Signature((5).to_bytes(32), (1).to_bytes(32), 27)  # No point of the curve has x = 5.
    message = AcceptState(CHANNEL, PREFUND_TURN, state_hash(PREFUND), nowhere)
    assert refusal(proposed(), BOB, message) is RefusalCode.SIGNATURE_INVALID


def test_a_participants_signature_from_an_outsider_is_refused() -> None:
    fund = cranked(proposed(), ALICE_KEY)
    assert refusal(fund, CAROL, acceptance_of(PREFUND, BOB_KEY)) is RefusalCode.SIGNATURE_INVALID


def test_my_own_signature_from_outside_is_refused() -> None:
    """A second node with my key must not make this one believe that it has signed."""
    assert refusal(received(), BOB, acceptance_of(POSTFUND, BOB_KEY)) is (
        RefusalCode.SIGNATURE_INVALID
    )


def test_signatures_are_kept_by_signer() -> None:
    fund = three_of_bob().receive(CAROL, proposal_of(THREE_PREFUND, CAROL_KEY))
    hash_ = state_hash(THREE_PREFUND)
    assert fund.signatures(PREFUND_TURN) == {
        ALICE: sign_hash(hash_, ALICE_KEY),
        CAROL: sign_hash(hash_, CAROL_KEY),
    }
    assert fund.signatures(POSTFUND_TURN) == {}


def test_a_postfund_signature_that_comes_early_is_kept() -> None:
    """Bob may see the chain before Alice does; his acceptance is not sent again."""
    fund = prefunded_alice().receive(BOB, acceptance_of(POSTFUND, BOB_KEY))
    assert set(fund.signatures(POSTFUND_TURN)) == {BOB}
    assert cranked(fund, ALICE_KEY).status is Status.APPROVED
    assert cranked(fund.holdings_changed(ETHER, 12), ALICE_KEY).status is Status.COMPLETED


def test_a_duplicate_changes_nothing() -> None:
    fund = prefunded_alice()
    assert fund.receive(BOB, acceptance_of(PREFUND, BOB_KEY)) is fund
    assert fund.receive(BOB, proposal_of(PREFUND, BOB_KEY)) is fund


def test_a_signature_that_is_held_is_not_verified_again() -> None:
    """A recovery costs 60 µs. Shown with a held signature that would not pass."""
    fund = prefunded_alice()
    message = acceptance_of(PREFUND, CAROL_KEY)
    fund = fund.with_signature(PREFUND_TURN, 1, message.signature)
    assert fund.receive(BOB, message) is fund


def test_a_duplicate_after_completion_changes_nothing() -> None:
    """A known bug elsewhere: it panics the node."""
    fund = completed()
    assert fund.status is Status.COMPLETED
    for message in (
        acceptance_of(PREFUND, BOB_KEY),
        proposal_of(PREFUND, BOB_KEY),
        acceptance_of(POSTFUND, BOB_KEY),
    ):
        assert fund.receive(BOB, message) is fund
    assert effects_of(fund, ALICE_KEY) == []


def test_a_duplicate_after_rejection_changes_nothing() -> None:
    fund = cranked(received().rejected_by_me(RejectCode.DECLINED, "no"), BOB_KEY)
    assert fund.receive(ALICE, proposal_of(PREFUND, ALICE_KEY)) is fund


def test_a_second_signature_over_the_same_hash_changes_nothing() -> None:
    """Whoever signs with another nonce has signed no other state; the first one is kept."""
    fund = prefunded_alice()
    hash_ = state_hash(PREFUND)
    digest = keccak256(b"\x19Ethereum Signed Message:\n32" + hash_)
    second = second_signature(digest, int.from_bytes(BOB_KEY.secret), 12345)
    assert second != sign_hash(hash_, BOB_KEY)
    assert recover_hash_signer(hash_, second) == BOB
    assert fund.receive(BOB, AcceptState(CHANNEL, PREFUND_TURN, hash_, second)) is fund


def test_a_forged_second_signature_is_refused() -> None:
    """Having a signature already is no reason to let a wrong one pass."""
    fund = prefunded_alice()
    assert refusal(fund, BOB, acceptance_of(PREFUND, CAROL_KEY)) is RefusalCode.SIGNATURE_INVALID


@pytest.mark.parametrize("by", [ALICE, BOB])
def test_a_message_about_another_channel_is_refused(by: Address) -> None:
    other = channel_id(THREE_FIXED)
    message = AcceptState(
        other, PREFUND_TURN, state_hash(PREFUND), sign_hash(state_hash(PREFUND), BOB_KEY)
    )
    assert refusal(proposed(), by, message) is RefusalCode.PAYLOAD_INVALID
    assert refusal(proposed(), by, rejection(channel=other)) is RefusalCode.PAYLOAD_INVALID


def test_only_this_participants_key_cranks() -> None:
    with pytest.raises(InvalidValue) as fault:
        proposed().crank(Pen(BOB_KEY))
    assert fault.value.field == "signer"


# --- Approval and rejection ---------------------------------------------------------------------


def test_nothing_is_signed_before_approval() -> None:
    fund = received()
    assert effects_of(fund, BOB_KEY) == [EmitEvent(ChannelProposed(CHANNEL, ALICE))]
    fund = cranked(fund, BOB_KEY)
    assert fund.signatures(PREFUND_TURN).keys() == {ALICE}
    assert effects_of(fund.holdings_changed(ETHER, 5), BOB_KEY) == []


def test_a_proposal_approved_at_once_is_not_announced() -> None:
    assert ChannelProposed(CHANNEL, ALICE) not in events(effects_of(received().approve(), BOB_KEY))


def test_approval_is_idempotent() -> None:
    fund = received().approve()
    assert fund.status is Status.APPROVED
    assert fund.approve() is fund
    assert completed().approve().status is Status.COMPLETED


@pytest.mark.parametrize("by_me", [True, False])
def test_what_was_rejected_cannot_be_approved(by_me: bool) -> None:
    fund = three_of_bob()
    if by_me:
        fund = fund.rejected_by_me(RejectCode.DECLINED, "no")
    else:
        fund = fund.receive(CAROL, rejection(channel=fund.channel_id))
    with pytest.raises(LocalError, match="rejected"):
        fund.approve()


def test_only_an_undecided_proposal_can_be_rejected() -> None:
    """Others may deposit, relying on the signature that approval gives them."""
    rejected = received().rejected_by_me(RejectCode.DECLINED, "no")
    for fund in (proposed(), received().approve(), completed(), rejected):
        with pytest.raises(LocalError, match=fund.status.value):
            fund.rejected_by_me(RejectCode.DECLINED, "no")


def test_too_long_a_reason_is_refused_to_the_rejector() -> None:
    with pytest.raises(InvalidValue) as fault:
        received().rejected_by_me(RejectCode.DECLINED, "x" * 201)
    assert fault.value.field == "reason"


def test_a_rejection_goes_to_everyone_directly() -> None:
    """A known limit elsewhere: only two parties can reject."""
    fund = three_of_bob().rejected_by_me(RejectCode.BUSY, "no")
    message = RejectProposal(fund.channel_id, PREFUND_TURN, RejectCode.BUSY, "no")
    assert effects_of(fund, BOB_KEY) == [
        SendMessage(ALICE, message),
        SendMessage(CAROL, message),
        EmitEvent(ChannelRejected(fund.channel_id, BOB, RejectCode.BUSY, "no")),
    ]
    assert (fund.status, fund.waiting_for) == (Status.REJECTED, WaitingFor.NOTHING)


def test_a_rejection_is_said_again_to_who_approves_later() -> None:
    """It may have reached Carol before the proposal did, when she knew no such channel."""
    fund = cranked(three_of_bob().rejected_by_me(RejectCode.BUSY, "no"), BOB_KEY)
    fund = fund.receive(CAROL, proposal_of(THREE_PREFUND, CAROL_KEY))
    message = RejectProposal(fund.channel_id, PREFUND_TURN, RejectCode.BUSY, "no")
    assert effects_of(fund, BOB_KEY) == [SendMessage(CAROL, message)]
    fund = cranked(fund, BOB_KEY)
    assert fund.receive(CAROL, proposal_of(THREE_PREFUND, CAROL_KEY)) is fund


def test_a_rejection_on_its_way_is_not_sent_twice() -> None:
    fund = three_of_bob().rejected_by_me(RejectCode.BUSY, "no")
    fund = fund.receive(CAROL, proposal_of(THREE_PREFUND, CAROL_KEY))
    assert [to for to, _ in sent(effects_of(fund, BOB_KEY))] == [ALICE, CAROL]


def test_a_postfund_signature_after_my_rejection_is_not_answered() -> None:
    fund = cranked(three_of_bob().rejected_by_me(RejectCode.BUSY, "no"), BOB_KEY)
    postfund = state_of(THREE_FIXED, THREE_OUTCOME, 1)
    assert effects_of(fund.receive(CAROL, acceptance_of(postfund, CAROL_KEY)), BOB_KEY) == []


def test_a_rejection_by_another_is_told_with_its_reason_and_not_passed_on() -> None:
    fund = cranked(proposed(), ALICE_KEY).receive(BOB, rejection())
    assert effects_of(fund, ALICE_KEY) == [
        EmitEvent(ChannelRejected(CHANNEL, BOB, RejectCode.DECLINED, "no"))
    ]
    assert fund.status is Status.REJECTED


def test_nothing_is_signed_or_deposited_after_a_rejection() -> None:
    """Even if every prefund signature then arrives, and the chain holds the funds."""
    fund = cranked(three_of_bob(), BOB_KEY).receive(
        CAROL, rejection(channel=channel_id(THREE_FIXED))
    )
    fund = cranked(fund, BOB_KEY)
    fund = fund.receive(CAROL, proposal_of(THREE_PREFUND, CAROL_KEY))
    fund = fund.holdings_changed(ETHER, 23)
    assert effects_of(fund, BOB_KEY) == []
    assert BOB not in fund.signatures(PREFUND_TURN)


def test_a_rejection_from_an_outsider_is_refused() -> None:
    """A known bug elsewhere: a rejection notice is accepted from anyone."""
    assert refusal(proposed(), CAROL, rejection()) is RefusalCode.PAYLOAD_INVALID
    assert refusal(proposed(), ALICE, rejection()) is RefusalCode.PAYLOAD_INVALID


def test_a_rejection_from_who_has_signed_is_refused() -> None:
    """Its signature is what others rely on when they deposit."""
    assert refusal(prefunded_alice(), BOB, rejection()) is RefusalCode.PAYLOAD_INVALID
    assert refusal(received(), ALICE, rejection()) is RefusalCode.PAYLOAD_INVALID


def test_a_rejection_after_completion_is_refused() -> None:
    """A known bug elsewhere: it undoes a funded channel."""
    assert refusal(completed(), BOB, rejection()) is RefusalCode.PAYLOAD_INVALID


def test_a_rejection_of_another_turn_is_refused() -> None:
    assert refusal(proposed(), BOB, rejection(turn=1)) is RefusalCode.PAYLOAD_INVALID
    rejected = proposed().receive(BOB, rejection())
    assert refusal(rejected, BOB, rejection(turn=1)) is RefusalCode.PAYLOAD_INVALID


def test_a_repeated_rejection_changes_nothing() -> None:
    fund = cranked(proposed().receive(BOB, rejection()), ALICE_KEY)
    assert fund.receive(BOB, rejection()) is fund


def test_a_repeated_rejection_changes_nothing_even_if_its_sender_has_signed_since() -> None:
    fund = proposed().receive(BOB, rejection()).receive(BOB, acceptance_of(PREFUND, BOB_KEY))
    assert fund.receive(BOB, rejection()) is fund
    assert refusal(fund, BOB, rejection(code=RejectCode.BUSY)) is RefusalCode.PAYLOAD_INVALID


def test_the_reason_of_a_rejection_is_kept_as_text_that_is_safe_to_show() -> None:
    raw = RejectProposal(CHANNEL, TurnNum(0), RejectCode.DECLINED, "\x1b[2J")
    rejected = proposed().receive(BOB, raw)
    assert rejected.rejection is not None
    assert rejected.rejection.message.reason == r"\x1b[2J"
    assert rejected.receive(BOB, raw) is rejected


def test_the_first_rejection_counts() -> None:
    """Two participants may reject at once; neither has done anything wrong."""
    fund = DirectFund.propose(THREE_FIXED, THREE_OUTCOME, APP_DATA, ALICE)
    first = rejection(channel=fund.channel_id)
    fund = fund.receive(BOB, first)
    assert fund.receive(CAROL, rejection(code=RejectCode.BUSY, channel=fund.channel_id)) is fund


# --- Deposits -----------------------------------------------------------------------------------


def test_nothing_is_deposited_before_every_prefund_signature_is_held() -> None:
    fund = cranked(three_of_bob().approve(), BOB_KEY).holdings_changed(ETHER, 5)
    assert deposits(effects_of(fund, BOB_KEY)) == []
    fund = fund.receive(CAROL, proposal_of(THREE_PREFUND, CAROL_KEY))
    assert deposits(effects_of(fund, BOB_KEY)) == [Deposit(fund.channel_id, ETHER, 7, 5)]


def test_nothing_is_deposited_before_what_is_allocated_earlier() -> None:
    """A deposit below the earlier allocations would pay them, not its depositor."""
    fund = prefunded_bob()
    assert deposits(effects_of(fund.holdings_changed(ETHER, 4), BOB_KEY)) == []
    assert deposits(effects_of(fund.holdings_changed(ETHER, 5), BOB_KEY)) == [
        Deposit(CHANNEL, ETHER, 7, 5)
    ]


def test_only_the_missing_part_is_deposited() -> None:
    """Anybody may pay into a channel; holdings name no depositor."""
    fund = prefunded_bob()
    assert deposits(effects_of(fund.holdings_changed(ETHER, 8), BOB_KEY)) == [
        Deposit(CHANNEL, ETHER, 4, 8)
    ]
    assert deposits(effects_of(fund.holdings_changed(ETHER, 12), BOB_KEY)) == []
    assert deposits(effects_of(fund.holdings_changed(ETHER, 13), BOB_KEY)) == []


def test_whoever_has_no_share_deposits_nothing_but_signs_the_postfund() -> None:
    outcome = (exit_of(ETHER, (ALICE, 5), (BOB, 0)),)
    prefund = state_of(FIXED, outcome)
    fund = DirectFund.from_proposal(BOB, ALICE, proposal_of(prefund, ALICE_KEY)).approve()
    fund = cranked(fund, BOB_KEY)
    assert fund.waiting_for is WaitingFor.COMPLETE_FUNDING
    assert deposits(effects_of(fund, BOB_KEY)) == []
    effects = effects_of(fund.holdings_changed(ETHER, 5), BOB_KEY)
    assert sent(effects) == [(ALICE, acceptance_of(state_of(FIXED, outcome, 1), BOB_KEY))]


def two_assets() -> DirectFund:
    """Bob's objective for two assets, approved and with all prefund signatures."""
    outcome: Outcome = (TWO_OUTCOME[0], exit_of(TOKEN, (ALICE, 3), (BOB, 2)))
    message = proposal_of(state_of(FIXED, outcome), ALICE_KEY)
    return cranked(DirectFund.from_proposal(BOB, ALICE, message).approve(), BOB_KEY)


def test_each_asset_is_deposited_when_its_own_turn_comes() -> None:
    fund = two_assets().holdings_changed(TOKEN, 3)
    assert deposits(effects_of(fund, BOB_KEY)) == [Deposit(CHANNEL, TOKEN, 2, 3)]
    fund = cranked(fund, BOB_KEY)
    assert fund.waiting_for is WaitingFor.MY_TURN_TO_FUND
    fund = fund.holdings_changed(ETHER, 5)
    assert deposits(effects_of(fund, BOB_KEY)) == [Deposit(CHANNEL, ETHER, 7, 5)]
    assert cranked(fund, BOB_KEY).waiting_for is WaitingFor.COMPLETE_FUNDING


def test_nothing_of_the_postfund_is_signed_before_every_asset_is_there() -> None:
    fund = cranked(two_assets().holdings_changed(ETHER, 12), BOB_KEY)
    assert BOB not in fund.signatures(POSTFUND_TURN)
    effects = effects_of(fund.holdings_changed(TOKEN, 5), BOB_KEY)
    assert len(sent(effects)) == 1


def test_a_deposit_under_way_is_not_submitted_again() -> None:
    fund = cranked(prefunded_bob().holdings_changed(ETHER, 5), BOB_KEY)
    assert deposits(effects_of(fund.holdings_changed(ETHER, 6), BOB_KEY)) == []


def test_a_failed_transaction_is_submitted_again_on_fresh_holdings() -> None:
    """A known bug elsewhere: what failed is never made again."""
    fund = cranked(prefunded_bob().holdings_changed(ETHER, 5), BOB_KEY)
    failed = Deposit(CHANNEL, ETHER, 7, 5)
    assert deposits(effects_of(fund.transaction_failed(failed), BOB_KEY)) == [failed]
    fund = fund.holdings_changed(ETHER, 6).transaction_failed(failed)
    assert deposits(effects_of(fund, BOB_KEY)) == [Deposit(CHANNEL, ETHER, 6, 6)]


def test_a_failure_after_the_money_is_there_is_no_reason_to_pay_again() -> None:
    fund = cranked(prefunded_bob().holdings_changed(ETHER, 5), BOB_KEY)
    fund = fund.holdings_changed(ETHER, 12)
    assert fund.transaction_failed(Deposit(CHANNEL, ETHER, 7, 5)) is fund
    assert deposits(effects_of(fund, BOB_KEY)) == []


@pytest.mark.parametrize(
    "other",
    [
        Deposit(CHANNEL, ETHER, 8, 4),
        Deposit(CHANNEL, ETHER, 6, 5),
        Deposit(CHANNEL, TOKEN, 7, 5),
        Deposit(channel_id(THREE_FIXED), ETHER, 7, 5),
    ],
)
def test_the_failure_of_another_deposit_changes_nothing(other: Deposit) -> None:
    """News of a deposit from before a restart must not free the one under way now."""
    fund = cranked(prefunded_bob().holdings_changed(ETHER, 5), BOB_KEY)
    assert fund.transaction_failed(other) is fund


def test_a_restart_submits_again_what_was_under_way() -> None:
    """Its fate is unknown. If it was made, the chain refuses the second: other holdings."""
    fund = cranked(prefunded_bob().holdings_changed(ETHER, 5), BOB_KEY)
    resumed = DirectFund.decode(fund.encode()).resumed()
    assert deposits(effects_of(resumed, BOB_KEY)) == [Deposit(CHANNEL, ETHER, 7, 5)]


def test_a_restart_with_nothing_under_way_changes_nothing() -> None:
    for fund in (received(), prefunded_bob(), completed()):
        assert fund.resumed() is fund


def test_a_restart_repeats_no_message() -> None:
    """Messages are the session's to deliver; they were stored with the objective."""
    for fund in (cranked(proposed(), ALICE_KEY), prefunded_bob(), completed()):
        key = BOB_KEY if fund.terms.me == BOB else ALICE_KEY
        assert effects_of(DirectFund.decode(fund.encode()).resumed(), key) == []


def test_holdings_never_go_down() -> None:
    """News may be repeated or come late; a channel that is being opened pays nothing out."""
    fund = prefunded_bob().holdings_changed(ETHER, 5)
    assert fund.holdings_changed(ETHER, 4) is fund
    assert fund.holdings_changed(ETHER, 5) is fund


def test_an_asset_that_is_no_part_of_the_channel_is_ignored() -> None:
    fund = prefunded_bob()
    assert fund.holdings_changed(TOKEN, 5) is fund


def test_holdings_after_the_end_are_ignored() -> None:
    for fund in (completed(), received().rejected_by_me(RejectCode.DECLINED, "no")):
        assert fund.holdings_changed(ETHER, 100) is fund


@pytest.mark.parametrize("held", [-1, 2**256, True, 1.5])
def test_holdings_that_are_no_uint256_are_refused(held: object) -> None:
    with pytest.raises(InvalidValue) as fault:
        prefunded_bob().holdings_changed(ETHER, cast("int", held))
    assert fault.value.field == "held"


# --- What must not get lost ---------------------------------------------------------------------


def test_the_app_data_and_the_whole_outcome_are_in_both_states() -> None:
    """Known bugs elsewhere: app data lost in a clone; a prefund without outcome is unsafe."""
    fund = completed()
    for state in (fund.prefund, fund.postfund):
        assert state.variable.app_data == APP_DATA
        assert state.variable.outcome == TWO_OUTCOME == fund.outcome
        assert not state.variable.is_final
    assert (fund.prefund, fund.postfund) == (PREFUND, POSTFUND)


def test_successors_share_the_hashes_of_the_terms_they_came_from() -> None:
    """A state hash costs 20 µs; only decoding computes it anew."""
    fund = prefunded_alice()
    assert fund.holdings_changed(ETHER, 5).terms is fund.terms
    assert fund.terms.hashes == (state_hash(PREFUND), state_hash(POSTFUND))
