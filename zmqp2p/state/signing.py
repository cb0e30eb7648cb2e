"""Signatures over states, wrapped as Ethereum signed messages, as the adjudicator checks them."""

from zmqp2p.crypto import Signature, Signer, keccak256, recover_address
from zmqp2p.ids import HASH_SIZE, Address, StateHash
from zmqp2p.state.hashing import state_hash
from zmqp2p.state.types import State, check_bytes

_PREFIX = b"\x19Ethereum Signed Message:\n32"  # The wrapped message is a hash of 32 bytes.


def sign_state(state: State, signer: Signer) -> Signature:
    """Return ``signer``'s signature over ``state``, whatever else it has signed.

    A node signs with `zmqp2p.P2PService.sign_state` instead, which remembers what it has signed and
    never signs two states for one turn. A key that signs here too is not protected.

    Raises:
        InvalidValue: as `zmqp2p.state.channel_id`.
    """
    return sign_hash(state_hash(state), signer)


def sign_hash(state_hash: StateHash, signer: Signer) -> Signature:
    """Return ``signer``'s signature over a state, given its hash.

    Raises:
        InvalidValue: ``state_hash`` is not 32 bytes.
    """
    return signer.sign(_digest(state_hash))


def recover_signer(state: State, signature: Signature) -> Address:
    """Return whose ``signature`` over ``state`` this is; any signature has some signer.

    Raises:
        SignatureError: no public key fits.
        InvalidValue: as `zmqp2p.state.channel_id`.
    """
    return recover_hash_signer(state_hash(state), signature)


def recover_hash_signer(state_hash: StateHash, signature: Signature) -> Address:
    """Return whose ``signature`` over a state this is, given the state's hash.

    Raises:
        SignatureError: no public key fits.
        InvalidValue: ``state_hash`` is not 32 bytes.
    """
    return recover_address(_digest(state_hash), signature)


def _digest(state_hash: StateHash) -> bytes:
    return keccak256(_PREFIX + check_bytes("state_hash", state_hash, HASH_SIZE))
