"""One signature for one turn, in whole engines: proposals at once, funding, states of one's own."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE, Duo, Sut, record_of
from tests.unit.objectives.world import ETHER, acceptance_of, exit_of, proposal_of, state_of
from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.crypto import SecretKey
from zmqp2p.errors import InvalidValue, LocalError, RefuseMessage, SignedAlready, StoreError
from zmqp2p.ids import ChannelId, StateHash, TurnNum
from zmqp2p.messages import AcceptState, ProposeState, decode_message
from zmqp2p.objectives import Status
from zmqp2p.persistence import DropObjective, PutMessage, PutSigned, Signed
from zmqp2p.state import (
    FixedPart,
    Outcome,
    State,
    channel_id,
    mover,
    recover_signer,
    sign_state,
    state_hash,
)

ALICE, BOB = LOW, HIGH
FIXED = FixedPart((ALICE.address, BOB.address), 1)
MIRRORED = FixedPart((BOB.address, ALICE.address), 1)  # The same terms, the other way round.
CHANNEL = channel_id(FIXED)
OUTCOME: Outcome = (exit_of(ETHER, (ALICE.address, 5), (BOB.address, 7)),)
OTHER_OUTCOME: Outcome = (exit_of(ETHER, (ALICE.address, 6), (BOB.address, 6)),)
LATER = state_of(FIXED, OUTCOME, 2)


def proposal(signer: SecretKey = ALICE, outcome: Outcome = OUTCOME) -> ProposeState:
    return proposal_of(state_of(FIXED, outcome, app=b""), signer)


def alice() -> Sut:
    """Return Alice, who has proposed the channel."""
    sut = Sut(ALICE, funding=True)
    sut.engine.add_contact(record_of(BOB))
    sut.engine.propose(FIXED, OUTCOME, b"")
    sut.settle()
    return sut


def bob() -> Sut:
    """Return Bob, whom Alice has proposed the channel."""
    sut = Sut(BOB, funding=True)
    sut.engine.channels.receive(ALICE.address, proposal())
    sut.settle()
    return sut


def signed(sut: Sut) -> list[PutSigned]:
    """Return what was recorded as signed so far."""
    return [write for write in sut.done.writes if isinstance(write, PutSigned)]


def sent(sut: Sut) -> dict[tuple[ChannelId, int], set[StateHash]]:
    """Return which states a node has sent its signature over, by channel and turn."""
    found: dict[tuple[ChannelId, int], set[StateHash]] = {}
    for write in sut.done.writes:
        if not isinstance(write, PutMessage):
            continue
        message = decode_message(write.body).message
        if isinstance(message, ProposeState):
            key = message.channel_id, message.state.variable.turn_num
            found.setdefault(key, set()).add(state_hash(message.state))
        elif isinstance(message, AcceptState):
            found.setdefault((message.channel_id, message.turn_num), set()).add(message.state_hash)
    return found


# --- Proposals ----------------------------------------------------------------------------------


def duo() -> Duo:
    """Return Alice and Bob, who know each other and approve everything."""
    suts = Sut(ALICE, funding=True), Sut(BOB, funding=True, links_from=5000)
    for sut, other in (suts, suts[::-1]):
        sut.engine.add_contact(record_of(other.key))
    world = Duo(*suts)
    world.before_turn = approve_all
    return world


def approve_all(world: Duo) -> None:
    for sut in world.suts:
        for channel, objective in list(sut.engine.channels.objectives.items()):
            if objective.status is Status.UNAPPROVED:
                sut.engine.channels.approve(channel)


def test_two_that_propose_at_once_make_two_channels_and_sign_each_turn_once() -> None:
    """FND-1, SIG-2: with the same nonce and terms; the order of the participants differs."""
    world = duo()
    one = world.suts[0].engine.propose(FIXED, OUTCOME, b"")
    two = world.suts[1].engine.propose(MIRRORED, OTHER_OUTCOME, b"")
    assert one != two
    world.run(5.0)
    for sut in world.suts:
        statuses = {key: each.status for key, each in sut.engine.channels.objectives.items()}
        assert statuses == dict.fromkeys((one, two), Status.COMPLETED)
        assert {key: len(hashes) for key, hashes in sent(sut).items()} == dict.fromkeys(
            [(channel, turn) for channel in (one, two) for turn in (0, 1)], 1
        )
        assert {channel: row.turn_num for channel, row in sut.memory.signed.items()} == {
            one: 1,
            two: 1,
        }


@pytest.mark.parametrize("turn", range(10))
def test_a_crash_while_both_propose_leads_to_no_second_signature(turn: int) -> None:
    """SIG-2."""
    world = duo()
    world.suts[0].engine.propose(FIXED, OUTCOME, b"")
    world.suts[1].engine.propose(MIRRORED, OUTCOME, b"")
    for sut in world.suts:
        sut.settle()
    world.take_turns(turn)
    before = [list(sut.done.writes) for sut in world.suts]
    world.restart(0)
    world.restart(1)
    world.run(10.0)
    for sut, earlier in zip(world.suts, before, strict=True):
        sut.done.writes[:0] = earlier
        assert len(sent(sut)) == 4
        assert all(len(hashes) == 1 for hashes in sent(sut).values())
        rows = [row.turn_num for row in signed(sut) if row.channel == CHANNEL]
        assert all(lower < higher for lower, higher in pairwise(rows))


def test_only_the_first_participant_can_propose() -> None:
    """FND-1: so there is no second proposal of the same channel to decide against."""
    sut = Sut(BOB, funding=True)
    sut.engine.add_contact(record_of(ALICE))
    with pytest.raises(InvalidValue, match="the proposer must be the first"):
        sut.engine.propose(FIXED, OUTCOME, b"")
    assert signed(sut) == []


def test_a_channel_that_its_first_participant_is_proposed_is_refused() -> None:
    """FND-1: by whomever, also if it has proposed nothing itself."""
    sut = Sut(ALICE, funding=True)
    with pytest.raises(RefuseMessage, match="only the first participant opens"):
        sut.engine.channels.receive(BOB.address, proposal(BOB))
    sut.settle()
    assert signed(sut) == []


def test_a_second_proposal_with_another_outcome_is_refused_by_the_proposer() -> None:
    """SIG-2: the channel id does not contain the outcome; the ledger holds without objectives."""
    sut = alice()
    with pytest.raises(InvalidValue, match="opened before"):
        sut.engine.propose(FIXED, OTHER_OUTCOME, b"")
    forgetful = Sut(ALICE, funding=True, memory=replace(sut.memory, objectives={}))
    with pytest.raises(SignedAlready) as caught:
        forgetful.engine.propose(FIXED, OTHER_OUTCOME, b"")
    assert caught.value.signed_hash == state_hash(state_of(FIXED, OUTCOME, app=b""))
    output = forgetful.settle()
    assert (output.writes, output.watches, output.deposits) == ([], [], [])
    assert forgetful.engine.channels.objectives == {}
    forgetful.engine.propose(FIXED, OUTCOME, b"")  # The same one is no second signature.
    assert sent(forgetful) == {}
    forgetful.settle()
    assert signed(forgetful) == []
    assert [*sent(forgetful).values()] == [{caught.value.signed_hash}]


@pytest.mark.parametrize("approved", [False, True])
def test_a_second_proposal_with_another_outcome_is_refused_by_the_receiver(
    *, approved: bool
) -> None:
    """FND-5: whichever comes first is the one; its signer has signed two, this node has not."""
    sut = bob()
    if approved:
        sut.engine.channels.approve(CHANNEL)
    with pytest.raises(RefuseMessage) as caught:
        sut.engine.channels.receive(ALICE.address, proposal(outcome=OTHER_OUTCOME))
    assert caught.value.code is RefusalCode.PAYLOAD_INVALID
    if not approved:
        sut.engine.channels.approve(CHANNEL)
    sut.settle()
    prefund = state_hash(state_of(FIXED, OUTCOME, app=b""))
    assert signed(sut) == [PutSigned(CHANNEL, TurnNum(0), prefund)]


def test_a_proposal_that_was_declined_leaves_the_other_free_to_be_signed() -> None:
    """Nothing was signed, so nothing stands against it."""
    sut = bob()
    sut.engine.channels.reject(CHANNEL, RejectCode.DECLINED, "too little")
    sut.engine.channels.receive(ALICE.address, proposal(outcome=OTHER_OUTCOME))
    sut.engine.channels.approve(CHANNEL)
    sut.settle()
    assert [row.turn_num for row in signed(sut)] == [0]
    assert DropObjective(CHANNEL) in sut.done.writes


# --- States of the application ------------------------------------------------------------------


def test_a_state_is_signed_and_recorded_in_the_same_turn() -> None:
    """SIG-2."""
    sut = Sut(BOB)
    signature = sut.engine.channels.sign_state(LATER)
    assert recover_signer(LATER, signature) == BOB.address
    assert sut.settle().writes == [PutSigned(CHANNEL, TurnNum(2), state_hash(LATER))]


def test_the_next_run_refuses_what_this_one_has_signed_against() -> None:
    """SIG-2."""
    sut = Sut(BOB)
    first = sut.engine.channels.sign_state(LATER)
    sut.settle()
    again = sut.restarted()
    assert again.engine.channels.sign_state(LATER) == first
    for state in (state_of(FIXED, OTHER_OUTCOME, 2), state_of(FIXED, OUTCOME, 1)):
        with pytest.raises(SignedAlready):
            again.engine.channels.sign_state(state)
    again.engine.channels.sign_state(state_of(FIXED, OTHER_OUTCOME, 3))


def test_a_signature_of_a_turn_that_was_not_committed_was_never_made() -> None:
    """It cannot have left: what leaves waits for the commit."""
    sut = Sut(BOB)
    sut.engine.channels.sign_state(LATER)
    crashed = sut.restarted()
    crashed.engine.channels.sign_state(state_of(FIXED, OTHER_OUTCOME, 2))


def test_a_state_of_a_channel_of_others_is_not_signed() -> None:
    sut = Sut(MIDDLE)
    with pytest.raises(InvalidValue, match="takes no part"):
        sut.engine.channels.sign_state(LATER)
    assert sut.settle().writes == []


def test_while_a_channel_is_funded_only_its_funding_signs_for_it() -> None:
    """Or its postfund state could never be signed, and the deposits were stuck."""
    world = duo()
    one = world.suts[0].engine.propose(FIXED, OUTCOME, b"")
    with pytest.raises(LocalError, match="being funded"):
        world.suts[0].engine.channels.sign_state(LATER)
    world.run(5.0)
    engine = world.suts[0].engine
    assert engine.channels.get(one).status is Status.COMPLETED
    postfund, signatures = engine.channels.get(one).funded_state()
    assert engine.channels.sign_state(postfund) == signatures[0]
    engine.channels.sign_state(LATER)
    world.suts[0].settle()
    assert world.suts[0].memory.signed[one] == Signed(TurnNum(2), state_hash(LATER))


def test_what_its_funding_has_signed_for_good_does_not_bind_the_application() -> None:
    """All that this node signs for the funding is signed; the others' postfund may never come."""
    sut = alice()
    channels = sut.engine.channels
    channels.receive(BOB.address, acceptance_of(state_of(FIXED, OUTCOME, app=b""), BOB))
    channels.holdings(CHANNEL, ETHER, 12)
    assert channels.get(CHANNEL).status is Status.APPROVED
    channels.sign_state(LATER)
    sut.settle()
    assert [row.turn_num for row in signed(sut)] == [0, 1, 2]


def test_what_was_signed_before_stands_against_a_proposal() -> None:
    """SIG-2: the application signed a later turn; the funding then cannot begin, on either side."""
    sut = bob()
    sut.engine.channels.sign_state(LATER)
    sut.settle()
    with pytest.raises(SignedAlready):
        sut.engine.channels.approve(CHANNEL)
    output = sut.settle()
    assert (output.writes, output.watches) == ([], [])
    assert sut.engine.channels.get(CHANNEL).status is Status.UNAPPROVED
    sut.engine.channels.reject(CHANNEL, RejectCode.DECLINED, "signed already")
    sut.settle()
    assert sut.memory.objectives == {}
    assert sut.memory.signed == {CHANNEL: Signed(TurnNum(2), state_hash(LATER))}


@pytest.mark.parametrize("decide", ["reject", "decline"])
def test_the_end_of_an_objective_leaves_what_was_signed(decide: str) -> None:
    """Whether it is kept, as rejected, or dropped."""
    sut = bob()
    sut.engine.channels.sign_state(LATER)
    if decide == "reject":
        sut.engine.channels.reject(CHANNEL, RejectCode.DECLINED, "")
    else:
        sut.engine.channels.reject(CHANNEL, RejectCode.DECLINED, "")
    sut.settle()
    again = sut.restarted()
    with pytest.raises(SignedAlready):
        again.engine.channels.sign_state(state_of(FIXED, OTHER_OUTCOME, 2))


# --- Stores -------------------------------------------------------------------------------------


def test_an_objective_that_has_signed_is_enough_to_know_it() -> None:
    """The ledger takes up what only the objective knows, and stores it."""
    sut = bob()
    sut.engine.channels.approve(CHANNEL)
    sut.settle()
    without = Sut(BOB, funding=True, memory=replace(sut.memory, signed={}))
    prefund = state_hash(state_of(FIXED, OUTCOME, app=b""))
    assert signed(without) == [PutSigned(CHANNEL, TurnNum(0), prefund)]
    assert without.memory.signed == {CHANNEL: Signed(TurnNum(0), prefund)}


def test_a_store_that_contradicts_itself_is_not_started_on() -> None:
    sut = alice()
    sut.memory.signed[CHANNEL] = Signed(TurnNum(0), StateHash(b"?" * 32))
    with pytest.raises(StoreError, match="two states signed for turn 0"):
        sut.restarted()


def test_a_check_finds_what_the_ledger_does_not_know() -> None:
    sut = alice()
    sut.engine.channels.ledger.load({CHANNEL: Signed(TurnNum(0), StateHash(b"?" * 32))})
    with pytest.raises(AssertionError):
        sut.engine.check()


# --- Turns after the funding --------------------------------------------------------------------


def choose(fixed: FixedPart, states: list[tuple[State, SecretKey]]) -> State:
    """Return the state that counts of those which several have made for one turn."""
    turn_num = states[0][0].variable.turn_num
    (winner,) = [state for state, maker in states if maker.address == mover(fixed, turn_num)]
    return winner


@pytest.mark.parametrize("turn", [2, 3])
def test_of_two_states_for_one_turn_that_of_the_mover_wins(turn: int) -> None:
    """SIG-3: both moved at once; who waited can sign the winner, who did not goes to the next.

    The one that is not to move has signed its own state against the rule: it cannot sign the
    winner, and no turn is lost, since both can sign the next one.
    """
    alice_, bob_ = Sut(ALICE), Sut(BOB)
    mine = state_of(FIXED, OUTCOME, turn), state_of(FIXED, OTHER_OUTCOME, turn)
    moves = list(zip(mine, (ALICE, BOB), strict=True))
    winner = choose(FIXED, moves)
    assert choose(FIXED, moves[::-1]) == winner  # Whichever is heard of first.
    (loser,) = [state for state in mine if state != winner]
    first, second = (alice_, bob_) if turn % 2 == 0 else (bob_, alice_)
    first.engine.channels.sign_state(winner)
    second.engine.channels.sign_state(loser)
    for sut, state in ((first, loser), (second, winner)):
        with pytest.raises(SignedAlready):
            sut.engine.channels.sign_state(state)
    following = state_of(FIXED, winner.variable.outcome, turn + 1)
    for sut in (first, second):
        sut.engine.channels.sign_state(following)


def test_an_acceptance_by_hand_is_the_one_of_the_ledger() -> None:
    """The raw primitive makes the same signature, and leaves no trace (its docstring says so)."""
    sut = Sut(ALICE)
    by_hand = sign_state(LATER, ALICE)
    assert acceptance_of(LATER, ALICE).signature == by_hand
    assert sut.settle().writes == []
    assert sut.engine.channels.sign_state(LATER) == by_hand
