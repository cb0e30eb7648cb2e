"""Encoding, hashes and signatures equal those of the JavaScript original, byte for byte."""

import json
from pathlib import Path
from typing import Any

import eth_abi
import pytest

from zmqp2p.crypto import SecretKey, Signature, keccak256
from zmqp2p.errors import InvalidValue
from zmqp2p.ids import Address, StateHash, TurnNum
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    State,
    VariablePart,
    channel_id,
    encode_outcome,
    outcome_hash,
    recover_hash_signer,
    recover_signer,
    sign_hash,
    sign_state,
    state_hash,
)

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "nitro-states.json").read_text(encoding="utf-8")
)["vectors"]


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def state_of(written: dict[str, Any]) -> State:
    """Return the state that a vector's JSON describes."""
    outcome = tuple(
        AssetExit(
            Address(unhex(item["asset"])),
            tuple(
                Allocation(
                    unhex(part["destination"]),
                    int(part["amount"]),
                    part["allocationType"],
                    unhex(part["metadata"]),
                )
                for part in item["allocations"]
            ),
            item["assetMetadata"]["assetType"],
            unhex(item["assetMetadata"]["metadata"]),
        )
        for item in written["outcome"]
    )
    fixed = FixedPart(
        tuple(Address(unhex(address)) for address in written["participants"]),
        int(written["channelNonce"]),
        Address(unhex(written["appDefinition"])),
        int(written["challengeDuration"]),
    )
    turn_num = TurnNum(int(written["turnNum"]))
    return State(
        fixed, VariablePart(unhex(written["appData"]), outcome, turn_num, written["isFinal"])
    )


@pytest.fixture(params=VECTORS, ids=lambda vector: str(vector["index"]))
def vector(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each vector in turn."""
    found: dict[str, Any] = request.param
    return found


def test_the_vectors_cover_the_edges_they_are_there_for() -> None:
    """A vector lost from the file would go unnoticed otherwise."""
    states = [state_of(vector["state"]) for vector in VECTORS]
    assert max(state.fixed.challenge_duration for state in states) == 2**48 - 1
    assert max(len(state.fixed.participants) for state in states) == 32
    assert {len(state.variable.outcome) for state in states} == {0, 1, 2}
    assert sum("encodedOutcome" in vector for vector in VECTORS) == 5
    for state, vector in zip(states, VECTORS, strict=True):
        summary = vector["summary"]
        assert len(state.fixed.participants) == summary["participants"]
        assert [len(item.allocations) for item in state.variable.outcome] == summary["allocations"]
        assert len(state.variable.app_data) == summary["appDataBytes"]


def test_the_channel_id_is_equal(vector: dict[str, Any]) -> None:
    assert channel_id(state_of(vector["state"]).fixed) == unhex(vector["channelId"])


def test_the_outcome_and_its_hash_are_equal(vector: dict[str, Any]) -> None:
    outcome = state_of(vector["state"]).variable.outcome
    assert outcome_hash(outcome) == unhex(vector["outcomeHash"])
    if "encodedOutcome" in vector:  # The largest vector leaves it out.
        assert encode_outcome(outcome) == unhex(vector["encodedOutcome"])


def test_the_state_hash_is_equal(vector: dict[str, Any]) -> None:
    assert state_hash(state_of(vector["state"])) == unhex(vector["stateHash"])


def test_every_signature_is_equal_and_recovers_to_its_participant(vector: dict[str, Any]) -> None:
    state = state_of(vector["state"])
    assert len(vector["signatures"]) == len(state.fixed.participants)
    for written in vector["signatures"]:
        key = SecretKey(unhex(written["privateKey"]))
        signature = sign_state(state, key)
        assert signature == Signature(unhex(written["r"]), unhex(written["s"]), written["v"])
        assert signature.to_bytes() == unhex(written["joined"])
        assert Signature.from_bytes(unhex(written["joined"])) == signature
        signer = recover_signer(state, signature)
        assert signer == unhex(written["recovered"]) == key.address
        assert signer == state.fixed.participants[written["participant"]]


def test_the_challenge_signature_is_equal(vector: dict[str, Any]) -> None:
    """It signs another hash in the same wrapping: keccak(abi.encode(stateHash, "forceMove"))."""
    hashed = state_hash(state_of(vector["state"]))
    forced = StateHash(keccak256(eth_abi.encode(["bytes32", "string"], [hashed, "forceMove"])))
    key = SecretKey(unhex(vector["signatures"][0]["privateKey"]))
    written = vector["challengeSignatureByP0"]
    expected = Signature(unhex(written["r"]), unhex(written["s"]), written["v"])
    assert sign_hash(forced, key) == expected
    assert recover_hash_signer(forced, expected) == key.address


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33), "x" * 32, None])
def test_only_a_hash_of_32_bytes_is_signed_or_recovered(bad: StateHash) -> None:
    """The wrapping states the length 32; another length would sign something else."""
    key = SecretKey(bytes(31) + b"\x01")
    with pytest.raises(InvalidValue, match="state_hash"):
        sign_hash(bad, key)
    with pytest.raises(InvalidValue, match="state_hash"):
        recover_hash_signer(bad, key.sign(bytes(32)))
