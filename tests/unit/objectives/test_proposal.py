"""Which channels can be funded safely, and what follows from their terms."""

import pytest

from tests.unit.objectives.world import (
    ALICE,
    APP_DATA,
    BOB,
    CAROL,
    DAVE,
    ETHER,
    KEYS,
    TOKEN,
    TWO_OUTCOME,
    exit_of,
    fixed_of,
    proposal_of,
    state_of,
)
from zmqp2p.codes import RefusalCode
from zmqp2p.errors import InvalidValue, RefuseMessage
from zmqp2p.ids import Address
from zmqp2p.objectives.proposal import (
    Share,
    Terms,
    terms_of_proposal,
    validate,
)
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    Outcome,
    channel_id,
    destination_of,
    state_hash,
)

COIN = Address(b"\x22" * 20)
MAX = 2**256 - 1


def test_a_plain_channel_of_two_is_valid() -> None:
    validate(fixed_of(2), TWO_OUTCOME)


def test_zero_amounts_and_absent_participants_are_valid() -> None:
    validate(fixed_of(3), (exit_of(ETHER, (CAROL, 0), (ALICE, MAX), (BOB, 0)),))


def test_assets_in_one_common_order_are_valid() -> None:
    """The orders need not be equal, and who deposits nothing has no place in them."""
    first = exit_of(ETHER, (ALICE, 1), (BOB, 1), (CAROL, 0))
    second = exit_of(TOKEN, (CAROL, 0), (BOB, 1), (DAVE, 1))
    third = exit_of(COIN, (CAROL, 1), (ALICE, 1), (DAVE, 1))
    validate(fixed_of(4), (first, second, third))


OPPOSITE = (exit_of(ETHER, (ALICE, 1), (BOB, 1)), exit_of(TOKEN, (BOB, 1), (ALICE, 1)))
RING = (
    exit_of(ETHER, (ALICE, 1), (BOB, 1)),
    exit_of(TOKEN, (BOB, 1), (CAROL, 1)),
    exit_of(COIN, (CAROL, 1), (ALICE, 1)),
)
APART = (
    exit_of(ETHER, (ALICE, 1), (BOB, 1), (CAROL, 1)),
    exit_of(TOKEN, (CAROL, 1), (BOB, 0), (ALICE, 1)),
)


@pytest.mark.parametrize("outcome", [OPPOSITE, RING, APART])
def test_assets_whose_depositors_would_wait_for_each_other_are_refused(outcome: Outcome) -> None:
    """A known deadlock: each waits for the other before depositing (go-nitro waits for all)."""
    with pytest.raises(InvalidValue, match="differs between assets") as fault:
        validate(fixed_of(3), outcome)
    assert fault.value.field == "outcome"


def changed_exit(**changes: object) -> AssetExit:
    """Return Alice's 5 and Bob's 7 with Bob's allocation changed."""
    values: dict[str, object] = {"destination": destination_of(BOB), "amount": 7}
    bob = Allocation(**{**values, **changes})  # type: ignore[arg-type]
    return AssetExit(ETHER, (Allocation(destination_of(ALICE), 5), bob))


@pytest.mark.parametrize(
    ("outcome", "field"),
    [
        ((), "outcome"),
        ((TWO_OUTCOME[0], exit_of(TOKEN, (ALICE, 1)), TWO_OUTCOME[0]), "outcome[2].asset"),
        ((changed_exit(allocation_type=1),), "outcome[0].allocations[1].allocation_type"),
        ((changed_exit(destination=b"\x01" * 32),), "outcome[0].allocations[1].destination"),
        (
            (changed_exit(destination=destination_of(CAROL)),),
            "outcome[0].allocations[1].destination",
        ),
        (
            (TWO_OUTCOME[0], exit_of(TOKEN, (ALICE, 1), (BOB, 1), (ALICE, 1))),
            "outcome[1].allocations[2].destination",
        ),
        ((exit_of(ETHER),), "outcome[0].allocations"),
        ((exit_of(ETHER, (ALICE, 0), (BOB, 0)),), "outcome[0].allocations"),
        ((exit_of(ETHER, (ALICE, MAX), (BOB, 1)),), "outcome[0].allocations"),
    ],
)
def test_what_cannot_be_funded_is_refused_by_name(outcome: Outcome, field: str) -> None:
    with pytest.raises(InvalidValue) as fault:
        validate(fixed_of(2), outcome)
    assert fault.value.field == field


def test_a_channel_of_one_is_refused() -> None:
    with pytest.raises(InvalidValue) as fault:
        validate(FixedPart((ALICE,), 1), (exit_of(ETHER, (ALICE, 1)),))
    assert fault.value.field == "participants"


def test_terms_bear_both_states_in_full_with_their_hashes() -> None:
    """A postfund or prefund with another outcome or app data would leave deposits unclaimable."""
    fixed = fixed_of(2)
    terms = Terms(BOB, state_of(fixed, TWO_OUTCOME))
    assert terms.postfund == state_of(fixed, TWO_OUTCOME, 1)
    assert terms.postfund.variable.app_data == APP_DATA
    assert terms.hashes == (state_hash(terms.prefund), state_hash(terms.postfund))
    assert terms.channel_id == channel_id(fixed)
    assert (terms.my_index, terms.others) == (1, (ALICE,))


def test_shares_follow_the_order_of_allocations() -> None:
    outcome = (
        exit_of(ETHER, (ALICE, 5), (BOB, 7), (CAROL, 11)),
        exit_of(TOKEN, (ALICE, 3)),
        exit_of(COIN, (BOB, 2), (CAROL, 4)),
    )
    terms = Terms(BOB, state_of(fixed_of(3), outcome))
    assert terms.shares == (
        Share(ETHER, before=5, mine=7, total=23),
        Share(TOKEN, before=0, mine=0, total=3),
        Share(COIN, before=0, mine=2, total=6),
    )
    assert [share.target for share in terms.shares] == [12, 0, 2]


def test_terms_are_for_a_participant() -> None:
    with pytest.raises(InvalidValue) as fault:
        Terms(CAROL, state_of(fixed_of(2), TWO_OUTCOME))
    assert fault.value.field == "participants"


@pytest.mark.parametrize(("turn", "final"), [(1, False), (0, True)])
def test_a_channel_opens_with_turn_zero_not_final(turn: int, final: bool) -> None:
    with pytest.raises(InvalidValue) as fault:
        Terms(BOB, state_of(fixed_of(2), TWO_OUTCOME, turn, final=final))
    assert fault.value.field == "state"


def test_an_invalid_proposal_is_refused_with_the_reason() -> None:
    """The refusal tells the proposer, which would otherwise wait for ever."""
    message = proposal_of(state_of(fixed_of(3), OPPOSITE), KEYS[0])
    with pytest.raises(RefuseMessage) as fault:
        terms_of_proposal(BOB, message)
    assert fault.value.code is RefusalCode.PAYLOAD_INVALID
    assert fault.value.reason.startswith("outcome: ")
