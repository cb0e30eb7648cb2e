"""The Ethereum ABI encoding of the five fixed Nitro tuples, written out by hand.

A general encoder interprets type strings; these five never change, and this is 20 times faster
(tests/property/test_state_abi.py holds it equal to eth-abi). Every item is a 32-byte word or is
padded to whole words; a dynamic item is replaced in its tuple's head by its offset from the start
of that head. Only this encoding is used, never the packed one: there two different states can
share their bytes, and one signature would cover both.
"""

from collections.abc import Sequence

from zmqp2p.ids import ChannelId
from zmqp2p.state.types import Allocation, AssetExit, FixedPart, Outcome, VariablePart

_WORD = 32
_SMALL = tuple(number.to_bytes(_WORD) for number in range(256))  # uint8 values, bools, offsets.
_ADDRESS_PAD = bytes(12)

_EMPTY_BYTES = _SMALL[0]  # A length of zero and no data.
_AFTER_2_WORDS = _SMALL[2 * _WORD]
_AFTER_3_WORDS = _SMALL[3 * _WORD]
_AFTER_4_WORDS = _SMALL[4 * _WORD]
_AFTER_5_WORDS = _SMALL[5 * _WORD]
_AFTER_1_WORD = _SMALL[_WORD]


def encode_fixed(fixed: FixedPart) -> bytes:
    """Return ``abi.encode(address[], uint256, address, uint256)``: what a channel id hashes.

    The four are top-level arguments, not one tuple: no offset leads.
    """
    pad = _ADDRESS_PAD
    return b"".join(
        (
            _AFTER_4_WORDS,
            fixed.channel_nonce.to_bytes(_WORD),
            pad,
            fixed.app_definition,
            fixed.challenge_duration.to_bytes(_WORD),
            _SMALL[len(fixed.participants)],
            *[pad + address for address in fixed.participants],
        )
    )


def encode_outcome(outcome: Outcome) -> bytes:
    """Return ``abi.encode((address,(uint8,bytes),(bytes32,uint256,uint8,bytes)[])[])``."""
    return _AFTER_1_WORD + _array([_asset_exit(item) for item in outcome])


def encode_state(channel: ChannelId, variable: VariablePart) -> bytes:
    """Return ``abi.encode(channelId, appData, outcome, turnNum, isFinal)``: what is hashed."""
    app_data = _bytes(variable.app_data)
    return b"".join(
        (
            channel,
            _AFTER_5_WORDS,
            (5 * _WORD + len(app_data)).to_bytes(_WORD),
            variable.turn_num.to_bytes(_WORD),
            _SMALL[variable.is_final],
            app_data,
            _array([_asset_exit(item) for item in variable.outcome]),
        )
    )


def _asset_exit(item: AssetExit) -> bytes:
    """Encode the tuple ``(address, (uint8, bytes), allocation[])``."""
    metadata = _bytes(item.asset_metadata)
    return b"".join(
        (
            _ADDRESS_PAD,
            item.asset,
            _AFTER_3_WORDS,
            (5 * _WORD + len(metadata)).to_bytes(_WORD),  # Head 3 words, inner head 2 words.
            _SMALL[item.asset_type],
            _AFTER_2_WORDS,
            metadata,
            _array([_allocation(allocation) for allocation in item.allocations]),
        )
    )


def _allocation(item: Allocation) -> bytes:
    """Encode the tuple ``(bytes32, uint256, uint8, bytes)``."""
    return b"".join(
        (
            item.destination,
            item.amount.to_bytes(_WORD),
            _SMALL[item.allocation_type],
            _AFTER_4_WORDS,
            _bytes(item.metadata),
        )
    )


def _array(items: Sequence[bytes]) -> bytes:
    """Encode an array of dynamic items: their number, their offsets, themselves."""
    offset = _WORD * len(items)  # Offsets count from after the number of items.
    heads = []
    for item in items:
        heads.append(offset.to_bytes(_WORD))
        offset += len(item)
    return b"".join((len(items).to_bytes(_WORD), *heads, *items))


def _bytes(data: bytes) -> bytes:
    """Encode ``bytes``: the length, then the data padded with zeros to whole words."""
    if not data:
        return _EMPTY_BYTES
    return len(data).to_bytes(_WORD) + data + bytes(-len(data) % _WORD)
