"""Names for bytes and integers that must not be mixed up.

A ``NewType`` costs nothing at run time; mypy refuses a channel id where an address is meant.
"""

from typing import NewType

Address = NewType("Address", bytes)
"""A participant: the last 20 bytes of keccak256 of its secp256k1 public key."""

CurveKey = NewType("CurveKey", bytes)
"""A node's Curve25519 public transport key, 32 bytes."""

ChannelId = NewType("ChannelId", bytes)
"""keccak256 of a channel's fixed part, 32 bytes."""

StateHash = NewType("StateHash", bytes)
"""keccak256 of a state, 32 bytes; what participants sign (ETH-signed-message wrapped)."""

MessageId = NewType("MessageId", bytes)
"""Stream, number and the start of a hash of the body, 32 bytes: where a message is, and which."""

StreamId = NewType("StreamId", bytes)
"""16 random bytes, made with the sender's outbox and stored with it."""

StreamDigest = NewType("StreamDigest", bytes)
"""16 bytes that stand for a stream's messages up to one number: what both sides must agree on."""

InstanceId = NewType("InstanceId", bytes)
"""8 random bytes of one run of one node."""

Seq = NewType("Seq", int)
"""A message's number in its stream; the first message is number 1."""

TurnNum = NewType("TurnNum", int)
"""A state's turn number, below 2**48."""

LinkId = NewType("LinkId", int)
"""A transport's name for one connection; never used twice by one transport."""

ADDRESS_SIZE = 20
CURVE_KEY_SIZE = 32
HASH_SIZE = 32
STREAM_ID_SIZE = 16
STREAM_DIGEST_SIZE = 16
INSTANCE_ID_SIZE = 8
SIGNATURE_SIZE = 65

ZERO_ADDRESS = Address(bytes(ADDRESS_SIZE))
"""The native asset (Ether), and "no application" as an app definition."""


def address_text(address: bytes) -> str:
    """Return ``0x…``, lower case: how an address is written for people."""
    return "0x" + address.hex()
