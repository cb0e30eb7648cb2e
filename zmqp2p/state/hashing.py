"""Channel ids and state hashes: Keccak-256 of the ABI encoding."""

from functools import lru_cache

from zmqp2p.crypto import keccak256
from zmqp2p.ids import ChannelId, StateHash
from zmqp2p.state.abi import encode_fixed, encode_outcome, encode_state
from zmqp2p.state.types import FixedPart, Outcome, State, check_channel_id

_CHANNELS_MAX = 256  # Fixed parts whose id is kept; of 255 participants each they take 4 MB.


@lru_cache(maxsize=_CHANNELS_MAX)
def channel_id(fixed: FixedPart) -> ChannelId:
    """Return the channel's id, the hash of its fixed part. No chain id is in it.

    Raises:
        InvalidValue: the hash looks like an external destination (one in 2**96 does): use another
            nonce.
    """
    return check_channel_id("channel_id", keccak256(encode_fixed(fixed)))


def outcome_hash(outcome: Outcome) -> bytes:
    """Return the 32-byte hash of ``outcome``."""
    return keccak256(encode_outcome(outcome))


def state_hash(state: State) -> StateHash:
    """Return the state's hash, over its channel id and its variable part.

    Raises:
        InvalidValue: as `channel_id`.
    """
    return StateHash(keccak256(encode_state(channel_id(state.fixed), state.variable)))
