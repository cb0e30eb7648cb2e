"""Nitro channel states: their values, their ABI encoding, their hashes and signatures.

Pure. Equal to ``@statechannels/nitro-protocol`` 2.0.1-alpha.6 (tests/vectors/nitro-states.json).
"""

from zmqp2p.crypto import Signature
from zmqp2p.state.abi import encode_outcome
from zmqp2p.state.hashing import channel_id, outcome_hash, state_hash
from zmqp2p.state.signing import recover_hash_signer, recover_signer, sign_hash, sign_state
from zmqp2p.state.turns import mover
from zmqp2p.state.types import (
    Allocation,
    AssetExit,
    FixedPart,
    Outcome,
    State,
    VariablePart,
    destination_of,
    is_external,
)

__all__ = [
    "Allocation",
    "AssetExit",
    "FixedPart",
    "Outcome",
    "Signature",
    "State",
    "VariablePart",
    "channel_id",
    "destination_of",
    "encode_outcome",
    "is_external",
    "mover",
    "outcome_hash",
    "recover_hash_signer",
    "recover_signer",
    "sign_hash",
    "sign_state",
    "state_hash",
]
