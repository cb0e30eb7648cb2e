"""Strict canonical MessagePack: one value, one byte string (ADR-0011, rules ENC-1 to ENC-6).

The values are ints from -2**63 to 2**64-1, bools, ``str``, ``bytes``, tuples, and dicts with
ascending unsigned integer keys. No floats, no nil, no extension types.

MessagePack itself allows many encodings of one value and every library accepts them all, so a
decoder re-encodes what it read and refuses the input unless the same bytes come out (ENC-2). That
also refuses trailing bytes, non-minimal lengths and duplicate keys.
"""

from typing import TypeAlias

import msgpack

from zmqp2p.errors import DecodeError, InvalidValue

Value: TypeAlias = "int | bool | str | bytes | tuple[Value, ...] | dict[int, Value]"

INT_MIN = -(2**63)
INT_MAX = 2**64 - 1
DEPTH_MAX = 12  # The deepest message, a state's allocation, nests to 6; applications get the rest.

_pack = msgpack.Packer(autoreset=True).pack


def encode(value: Value) -> bytes:
    """Return the one encoding of ``value``.

    Raises:
        InvalidValue: a type or an integer that cannot be encoded, or nesting beyond `DEPTH_MAX`.
    """
    try:
        _check(value, DEPTH_MAX)
    except DecodeError as fault:
        raise InvalidValue("value", fault.detail) from None
    return _pack_checked(value)


def encode_trusted(value: Value) -> bytes:
    """Return the encoding of a value this package built itself; skips the walk of `encode`."""
    return _pack_checked(value)


def decode(data: bytes, *, depth_max: int = DEPTH_MAX) -> Value:
    """Return the value that ``data`` is the one encoding of.

    ``data`` must be bounded in length by the caller; what is allocated is proportional to it.

    Raises:
        DecodeError: anything else, whatever the bytes are (ENC-1 to ENC-6).
    """
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            use_list=False,
            strict_map_key=False,
            ext_hook=_refuse_extension,
            max_str_len=len(data),
            max_bin_len=len(data),
            max_array_len=len(data),
            max_map_len=len(data),
        )
    except DecodeError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as fault:
        # TypeError: an unhashable map key. RecursionError: msgpack's pure-Python fallback.
        raise DecodeError("ENC-1", f"not MessagePack: {fault or type(fault).__name__}") from None
    _check(value, depth_max)
    if _pack_checked(value) != data:
        raise DecodeError("ENC-2", "not the canonical encoding")
    return value  # type: ignore[no-any-return]


def _pack_checked(value: Value) -> bytes:
    try:
        return _pack(value)  # type: ignore[no-any-return]
    except BaseException:
        # A failed pack leaves half a value in a reused Packer; start over with a clean one.
        _renew_packer()
        raise


def _renew_packer() -> None:
    global _pack  # noqa: PLW0603  # One packer serves the process; it holds no other state.
    _pack = msgpack.Packer(autoreset=True).pack


def _refuse_extension(code: int, _data: bytes) -> Value:
    raise DecodeError("ENC-3", f"extension type {code}")


def _check(value: object, depth: int) -> None:
    """Walk ``value``: permitted types only, keys ascending, no deeper than ``depth``."""
    kind = type(value)
    if kind is bytes or kind is bool or kind is str:
        return
    if kind is int:
        if not INT_MIN <= value <= INT_MAX:  # type: ignore[operator]
            raise DecodeError("ENC-3", f"integer {value} does not fit 64 bits")
        return
    if depth == 0:
        raise DecodeError("ENC-4", "nested too deep")
    if kind is tuple:
        for item in value:  # type: ignore[attr-defined]
            _check(item, depth - 1)
        return
    if kind is dict:
        previous = -1
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not int or key <= previous:
                raise DecodeError("ENC-5", "map keys must be ascending unsigned integers")
            previous = key
            _check(item, depth - 1)
        return
    raise DecodeError("ENC-3", f"type {kind.__name__} is not permitted")
