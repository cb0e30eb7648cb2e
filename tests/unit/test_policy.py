"""What a policy is shown, and what it can say."""

from typing import Any

import pytest

from zmqp2p.errors import InvalidValue
from zmqp2p.ids import ZERO_ADDRESS, Address, TurnNum
from zmqp2p.objectives.direct_fund import DirectFund
from zmqp2p.policy import Approve, Proposal, Reject, approve_all, ask, proposal_of
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    Outcome,
    State,
    VariablePart,
    channel_id,
    destination_of,
)

ALICE, BOB = Address(b"\x01" * 20), Address(b"\x02" * 20)
TOKEN = Address(b"\x11" * 20)
FIXED = FixedPart((ALICE, BOB), 1)
OUTCOME: Outcome = (
    AssetExit(
        ZERO_ADDRESS,
        (
            Allocation(destination_of(ALICE), 5),
            Allocation(destination_of(BOB), 7),
            Allocation(destination_of(BOB), 2),
        ),
    ),
    AssetExit(TOKEN, (Allocation(destination_of(ALICE), 9),)),
)
STATE = State(FIXED, VariablePart(b"", OUTCOME, TurnNum(0), is_final=False))
PROPOSAL = Proposal(channel_id(FIXED), STATE, BOB)


def test_a_proposal_says_who_what_and_how_much() -> None:
    assert PROPOSAL.proposer == ALICE
    assert PROPOSAL.participants == (ALICE, BOB)
    assert PROPOSAL.outcome == OUTCOME
    assert PROPOSAL.my_deposits() == {ZERO_ADDRESS: 9, TOKEN: 0}


def test_a_proposal_is_made_from_the_objective_that_waits() -> None:
    outcome = (AssetExit(ZERO_ADDRESS, OUTCOME[0].allocations[:2]),)
    objective = DirectFund.propose(FIXED, outcome, b"data", ALICE)
    proposal = proposal_of(objective, ALICE)
    assert proposal.channel_id == objective.channel_id
    assert proposal.state == objective.prefund
    assert proposal.me == ALICE
    assert proposal.my_deposits() == {ZERO_ADDRESS: 5}


def test_the_default_asks_and_the_other_has_to_be_asked_for() -> None:
    assert ask(PROPOSAL) is None  # type: ignore[func-returns-value]
    assert approve_all(PROPOSAL) == Approve()


def test_a_rejection_has_a_text() -> None:
    assert Reject().reason == "declined"
    bad: Any
    for bad in (5, None, b"no"):
        with pytest.raises(InvalidValue, match="reason"):
            Reject(bad)
