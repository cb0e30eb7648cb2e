"""Who takes part in the hostile cases, and what they would say if they were honest."""

from collections.abc import Sequence
from typing import Any

from zmqp2p import codec
from zmqp2p.crypto import SecretKey, keccak256, next_digest
from zmqp2p.ids import StreamDigest
from zmqp2p.records import RECORD_DOMAIN

NOW_MS = 1_800_000_000_000
NODE, ATTACKER, OTHER = (SecretKey(number.to_bytes(32)) for number in (1, 2, 3))
CURVE = {
    key.address: bytes(range(start, start + 32))
    for key, start in ((NODE, 0x00), (ATTACKER, 0x20), (OTHER, 0x40))
}
NODE_STREAM = bytes(range(0xA0, 0xB0))
NODE_BODY = b"\x0a"  # The one message that the node has for the attacker.
STREAM = bytes(range(0xB0, 0xC0))
INSTANCE = bytes(range(0xC0, 0xC8))
INCARNATION = 7
WINDOW_MESSAGES = 4  # What the node takes at most.
WINDOW_BYTES = 600_000
MESSAGE_MAX_BYTES = 500_000
Z32 = bytes(32)


def pack(value: Any) -> bytes:
    """Return the shortest MessagePack of ``value``, of forbidden types too."""
    return codec.encode_trusted(value)


def statement(key: SecretKey = ATTACKER, **changes: Any) -> tuple[Any, ...]:
    """Return the fields of a record that are signed."""
    fields = {
        "version": 1,
        "address": key.address,
        "curve_key": CURVE[key.address],
        "endpoints": ("tcp://192.0.2.1:7001",),
        "issued_ms": NOW_MS - 1000,
        "expires_ms": NOW_MS + 86_400_000,
    }
    return tuple((fields | changes).values())


def signed(
    fields: Sequence[Any], signer: SecretKey = ATTACKER, domain: bytes = RECORD_DOMAIN
) -> bytes:
    """Return the record of ``fields``, whatever they are, signed by ``signer``."""
    signature = signer.sign(keccak256(domain + pack(tuple(fields))))
    return pack((*fields, signature.to_bytes()))


RECORD = signed(statement())
NODE_RECORD = signed(statement(NODE), NODE)


def hello_fields(**changes: Any) -> list[Any]:
    """Return the HELLO of the attacker, who has never met the node."""
    fields = {
        "versions": (1,),
        "record": RECORD,
        "incarnation": INCARNATION,
        "instance": INSTANCE,
        "stream": STREAM,
        "base": 1,
        "base_digest": STREAM,
        "next": 1,
        "seen_stream": b"",
        "cursor": 0,
        "seen_digest": b"",
        "heard": 1,
        "refusals": (),
        "window": (100, 1_000_000),
        "extensions": {},
    }
    assert changes.keys() <= fields.keys()
    return [2, *(fields | changes).values()]


def hello(**changes: Any) -> bytes:
    """Return it as a frame."""
    return pack(tuple(hello_fields(**changes)))


def knowing(**changes: Any) -> bytes:
    """Return a HELLO of the attacker that says it knows the node's stream."""
    known = {"seen_stream": NODE_STREAM, "seen_digest": NODE_STREAM}
    return hello(**{**known, **changes})


def progress(**changes: Any) -> tuple[Any, ...]:
    """Return how far the attacker has come: nowhere yet."""
    fields = {
        "base": 1,
        "ack": 0,
        "ack_digest": NODE_STREAM,
        "received": 0,
        "refusals": (),
        "window_messages": 100,
        "window_bytes": 1_000_000,
    }
    assert changes.keys() <= fields.keys()
    return tuple((fields | changes).values())


def ack(**changes: Any) -> bytes:
    """Return an ACK."""
    return pack((8, *progress(**changes)))


def chained(*bodies: bytes) -> bytes:
    """Return the digest of the attacker's stream after ``bodies``."""
    digest = StreamDigest(STREAM)
    for body in bodies:
        digest = next_digest(digest, body)
    return digest


def data(
    *bodies: bytes, seq: Any = 1, before: Sequence[bytes] = (), **changes: Any
) -> tuple[bytes, bytes]:
    """Return DATA of ``bodies``; ``before`` are those of the numbers below ``seq``."""
    digest = changes.pop("digest", chained(*before, *bodies))
    return pack((4, seq, digest, *progress(**changes))), pack(bodies)


def bulk(
    body: bytes, seq: int = 1, before: Sequence[bytes] = (), **changes: Any
) -> tuple[bytes, bytes]:
    """Return BULK of ``body``."""
    return pack((6, seq, chained(*before, body), *progress(**changes))), body
