"""The hand-written ABI encoder equals eth-abi, an independent implementation, on any state."""

from typing import Any

import eth_abi
from hypothesis import given, settings

from tests.strategies import fixed_parts, outcomes, states
from zmqp2p.crypto import SecretKey, keccak256
from zmqp2p.state import (
    FixedPart,
    Outcome,
    State,
    channel_id,
    encode_outcome,
    outcome_hash,
    recover_signer,
    sign_state,
    state_hash,
)
from zmqp2p.state.abi import encode_fixed, encode_state
from zmqp2p.state.packing import state_from_value, state_to_value

OUTCOME = "(address,(uint8,bytes),(bytes32,uint256,uint8,bytes)[])[]"
KEY = SecretKey(bytes(31) + b"\x07")


def plain(outcome: Outcome) -> list[Any]:
    """Return ``outcome`` as eth-abi takes it."""
    return [
        (
            item.asset,
            (item.asset_type, item.asset_metadata),
            [
                (part.destination, part.amount, part.allocation_type, part.metadata)
                for part in item.allocations
            ],
        )
        for item in outcome
    ]


@given(fixed_parts)
def test_a_fixed_part_and_its_channel_id_equal_eth_abi(fixed: FixedPart) -> None:
    oracle = eth_abi.encode(
        ["address[]", "uint256", "address", "uint256"],
        [fixed.participants, fixed.channel_nonce, fixed.app_definition, fixed.challenge_duration],
    )
    assert encode_fixed(fixed) == oracle
    assert channel_id(fixed) == keccak256(oracle)


@given(outcomes)
def test_an_outcome_equals_eth_abi(outcome: Outcome) -> None:
    oracle = eth_abi.encode([OUTCOME], [plain(outcome)])
    assert encode_outcome(outcome) == oracle
    assert outcome_hash(outcome) == keccak256(oracle)


@given(states)
def test_a_state_equals_eth_abi(state: State) -> None:
    variable, channel = state.variable, channel_id(state.fixed)
    oracle = eth_abi.encode(
        ["bytes32", "bytes", OUTCOME, "uint256", "bool"],
        [
            channel,
            variable.app_data,
            plain(variable.outcome),
            variable.turn_num,
            variable.is_final,
        ],
    )
    assert encode_state(channel, variable) == oracle
    assert state_hash(state) == keccak256(oracle)


@given(states)
@settings(max_examples=25)
def test_a_signed_state_recovers_to_its_signer(state: State) -> None:
    assert recover_signer(state, sign_state(state, KEY)) == KEY.address


@given(states, states)
@settings(max_examples=50)
def test_different_states_have_different_hashes(one: State, other: State) -> None:
    """The packed encoding would break this: neighbours could lend each other bytes."""
    assert (state_hash(one) == state_hash(other)) == (one == other)


@given(states)
def test_a_state_survives_its_travel(state: State) -> None:
    assert state_from_value(state_to_value(state)) == state
