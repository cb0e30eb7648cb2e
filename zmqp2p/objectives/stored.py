"""The parts of stored objectives as canonical values: signatures, amounts, addresses.

A reader checks the shape of what it is given and builds the part. It need not check that the value
is canonical: whoever decodes an objective encodes it again and compares.
"""

from typing import Never

from zmqp2p.codec import Value
from zmqp2p.crypto import Signature
from zmqp2p.errors import DecodeError
from zmqp2p.ids import Address

RULE = "OBJ-1"  # Bytes of the store that are not the encoding of an objective.


def malformed(part: str) -> Never:
    """Raise the `DecodeError` that says which part of a stored objective is not one."""
    raise DecodeError(RULE, f"not a stored {part}")


def read_address(value: Value) -> Address:
    """Return the address, of a size that the caller checks."""
    if isinstance(value, bytes):
        return Address(value)
    return malformed("address")


def amount_value(amount: int) -> Value:
    """Return ``amount``, 0 or more of any size, as big-endian bytes without leading zeros."""
    return amount.to_bytes((amount.bit_length() + 7) // 8)


def read_amount(value: Value) -> int:
    """Return the amount; see `amount_value`."""
    if isinstance(value, bytes):
        return int.from_bytes(value)
    return malformed("amount")


def optional_amount_value(amount: int | None) -> Value:
    """Return an array of the amount, or an empty one for None."""
    return () if amount is None else (amount_value(amount),)


def read_optional_amount(value: Value) -> int | None:
    """Return the amount or None; see `optional_amount_value`."""
    match value:
        case ():
            return None
        case (amount,):
            return read_amount(amount)
        case _:
            return malformed("optional amount")


def signature_value(signature: Signature | None) -> Value:
    """Return the 65 bytes of ``signature``, or none for None."""
    return b"" if signature is None else signature.to_bytes()


def read_signature(value: Value) -> Signature | None:
    """Return the signature or None; see `signature_value`.

    Raises:
        InvalidValue: out of range.
    """
    match value:
        case b"":
            return None
        case bytes(data):
            return Signature.from_bytes(data)
        case _:
            return malformed("signature")
