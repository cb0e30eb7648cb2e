"""Strict canonical MessagePack: one value, one byte string (ADR-0011, rules ENC-1 to ENC-5).

The values are ints from -2**63 to 2**64-1, bools, ``str``, ``bytes``, tuples, and dicts with
ascending unsigned integer keys. No floats, no nil, no extension types.

* ENC-1: the bytes are one whole MessagePack value, strings in UTF-8.
* ENC-2: they are the canonical encoding of it.
* ENC-3: it is made of permitted types only.
* ENC-4: it is within the bounds on nesting and on the number of items.
* ENC-5: map keys are ascending unsigned integers.

MessagePack itself allows many encodings of one value and every library accepts them all, so a
decoder re-encodes what it read and refuses the input unless the same bytes come out (ENC-2). That
also refuses non-minimal lengths and duplicate keys.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgpack

from zmqp2p.errors import DecodeError, InvalidValue

Value: TypeAlias = "int | bool | str | bytes | tuple[Value, ...] | dict[int, Value]"

INT_MIN = -(2**63)
INT_MAX = 2**64 - 1
DEPTH_MAX = 12  # The deepest message, a state's allocation, nests to 6; applications get the rest.
# The largest state has 3,300. An item takes 0.1 to 0.3 us, and nobody's turn comes in between.
ITEMS_MAX = 8 * 1024

# What is longer is counted first, which takes as long again as to decode it. What is shorter has so
# many items at most; with no more than 64 claimed at once it nests 340 arrays of 64 at worst, which
# takes a decoder 0.2 MB and 30 us.
_SHORT_BYTES = 1024
_SHORT_CLAIM = 64

_LONG_BYTES = 4 * 1024  # Copying them takes longer than comparing them where they are,
_PIECES_MAX = 16  # if there are not many other items, each of which would be packed by itself.

_packer = msgpack.Packer(autoreset=True)  # Reused: making one costs more than most values do.
_pack = _packer.pack


def encode(value: Value) -> bytes:
    """Return the one encoding of ``value``.

    Raises:
        InvalidValue: a type or an integer that cannot be encoded, a string that is not UTF-8,
            nesting beyond `DEPTH_MAX`, or more than `ITEMS_MAX` items.
    """
    try:
        _check(value, DEPTH_MAX)
        data = encode_trusted(value)
    except DecodeError as fault:
        raise InvalidValue("value", fault.detail) from None
    except OverflowError:
        raise InvalidValue("value", "an integer does not fit 64 bits") from None
    except UnicodeEncodeError:
        raise InvalidValue("value", "a string has a lone surrogate") from None
    check_items(data)
    return data


def encode_trusted(value: Value) -> bytes:
    """Return the encoding of a value this package built itself; skips the checks of `encode`."""
    return _pack(value)  # type: ignore[no-any-return]


def encode_parts(value: tuple[Value, ...]) -> bytes:
    """Return what `encode_trusted` does, faster where ``value`` holds long bytes itself."""
    return b"".join(_pieces(value))


def bytes_head(size: int) -> bytes:
    """Return what comes before so many bytes (the bin formats)."""
    kind, width = (0xC4, 1) if size < 1 << 8 else (0xC5, 2) if size < 1 << 16 else (0xC6, 4)
    return bytes((kind,)) + size.to_bytes(width)


def check_items(data: bytes) -> None:
    """Check that an encoding made with `encode_trusted` has at most `ITEMS_MAX` items.

    Raises:
        InvalidValue: it has more; no decoder would take it.
    """
    if len(data) <= ITEMS_MAX:  # An item takes a byte at least.
        return
    try:
        _check_claims(data, ITEMS_MAX)
    except DecodeError as fault:
        raise InvalidValue("value", fault.detail) from None


def decode(data: bytes, *, depth_max: int = DEPTH_MAX, items_max: int = ITEMS_MAX) -> Value:
    """Return the value that ``data`` is the one encoding of.

    ``data`` must be bounded in length by the caller; what is allocated is proportional to it. The
    time it takes is proportional to the items, up to ``items_max``.

    Raises:
        DecodeError: anything else, whatever the bytes are (ENC-1 to ENC-5).
    """
    return decode_counted(data, depth_max=depth_max, items_max=items_max)[0]


def decode_counted(
    data: bytes, *, depth_max: int = DEPTH_MAX, items_max: int = ITEMS_MAX
) -> tuple[Value, int]:
    """Return what `decode` does, and how many items it has."""
    value = _unpack_short(data) if len(data) <= min(_SHORT_BYTES, items_max) else None
    if value is None:
        _check_claims(data, items_max)
        value = _unpack(data, _NO_BOUND)
    items = _check(value, depth_max)
    if (_pack(value) != data) if len(data) < _LONG_BYTES else not _is_encoding(data, value):
        raise DecodeError("ENC-2", "not the canonical encoding")
    return value, items


def _is_encoding(data: bytes, value: Value) -> bool:
    """Whether ``data`` is the canonical encoding of ``value``; that of long bytes is not copied."""
    if type(value) is not tuple or len(value) > _PIECES_MAX:
        return encode_trusted(value) == data
    at = 0
    for piece in _pieces(value):
        if not data.startswith(piece, at):
            return False
        at += len(piece)
    return True  # Nothing follows: it was decoded whole.


def _pieces(value: tuple[Value, ...]) -> Iterator[bytes]:
    """Yield what makes the encoding of ``value``, with long bytes as they are."""
    yield _packer.pack_array_header(len(value))
    for item in value:
        if type(item) is bytes and len(item) >= _LONG_BYTES:
            yield bytes_head(len(item))
            yield item
        else:
            yield encode_trusted(item)


def _unpack_short(data: bytes) -> "Value | None":
    """Return the value; None if there is none, or it is nil, or claims more than `_SHORT_CLAIM`."""
    try:
        return _unpack(data, _SHORT_CLAIM)
    except DecodeError:
        return None


_NO_BOUND = -1  # But the length of the data.


def _unpack(data: bytes, claim_max: int) -> Value:
    """Return the value; no array or map may claim more than ``claim_max`` items."""
    try:
        return msgpack.unpackb(  # type: ignore[no-any-return]
            data,
            raw=False,
            use_list=False,
            strict_map_key=False,  # Keys are checked below, and by their own rule.
            ext_hook=_refuse_extension,
            object_pairs_hook=_map_of,
            max_array_len=claim_max,
            max_map_len=claim_max,
        )
    except DecodeError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as fault:
        # TypeError: an unhashable map key. RecursionError: msgpack's pure-Python fallback.
        raise DecodeError("ENC-1", f"not MessagePack: {fault or type(fault).__name__}") from None


def _map_of(pairs: list[tuple[object, Value]]) -> dict[int, Value]:
    """Check the keys before there is a dict: 18,000 tuples of one hash take it ten seconds."""
    _check_keys([key for key, _ in pairs])
    return dict(pairs)  # type: ignore[arg-type]  # The keys were just checked.


def _refuse_extension(code: int, _data: bytes) -> Value:
    raise DecodeError("ENC-3", f"extension type {code}")


_SCALARS = frozenset({int, bool, str, bytes})


def _check(value: object, depth: int) -> int:
    """Walk ``value``: permitted types only, keys ascending, no deeper than ``depth``.

    Returns how many items it has: itself, and those of what it contains, keys too.
    """
    kind = type(value)
    if kind in _SCALARS:
        return 1
    if kind is not tuple and kind is not dict:
        raise DecodeError("ENC-3", f"type {kind.__name__} is not permitted")
    if depth == 0:
        raise DecodeError("ENC-4", "nested too deep")
    items = 1 + len(value)  # type: ignore[arg-type]  # A tuple or a dict.
    if kind is dict:
        _check_keys(value)  # type: ignore[arg-type]  # A dict.
        items += len(value)  # type: ignore[arg-type]  # A dict.
        value = value.values()  # type: ignore[attr-defined]
    if _SCALARS.issuperset(map(type, value)):  # type: ignore[call-overload]  # Most are flat.
        return items
    for item in value:  # type: ignore[attr-defined]
        if type(item) not in _SCALARS:
            items += _check(item, depth - 1) - 1
    return items


def _check_keys(keys: Iterable[object]) -> None:
    previous = -1
    for key in keys:
        if type(key) is not int or not previous < key <= INT_MAX:
            raise DecodeError("ENC-5", "map keys must be ascending unsigned integers")
        previous = key


# --- Before decoding: the number of items -------------------------------------------------------
# A header of 5 bytes may claim 2**32 items, and a decoder makes room for them, level by level,
# before it finds that they are missing. So the items are counted first, without decoding.

_SIZES = (  # Of an item, by its first byte; of an array or a map it is the header.
    *[1] * 0xA0,  # Small integers, maps and arrays.
    *range(1, 33),  # Short strings: the header and 0 to 31 bytes.
    *[1] * 4,  # nil, unused, false, true.
    *[0] * 6,  # bin and ext: see _SIZED.
    *[5, 9, 2, 3, 5, 9, 2, 3, 5, 9],  # float 32 and 64, unsigned and signed integers.
    *[3, 4, 6, 10, 18],  # fixext of 1, 2, 4, 8 and 16 bytes.
    *[0] * 7,  # str, array and map: see _SIZED.
    *[1] * 32,  # Small negative integers.
)
_CLAIMS = (  # How many items follow that belong to it, likewise; of the long ones, see _SIZED.
    *[0] * 0x80,
    *range(0, 32, 2),  # Small maps.
    *range(16),  # Small arrays.
    *[0] * 0x60,
)
_BIN_8 = 0xC4
_SIZED = {  # Header byte: width of the length, bytes that follow besides, items per unit of length.
    0xC5: (2, 0, 0),
    0xC6: (4, 0, 0),
    0xC7: (1, 1, 0),
    0xC8: (2, 1, 0),
    0xC9: (4, 1, 0),
    0xD9: (1, 0, 0),
    0xDA: (2, 0, 0),
    0xDB: (4, 0, 0),
    0xDC: (2, 0, 1),
    0xDD: (4, 0, 1),
    0xDE: (2, 0, 2),
    0xDF: (4, 0, 2),
}


def _check_claims(data: bytes, items_max: int) -> None:
    """Check that ``data`` has at most ``items_max`` items, and as many as it claims.

    Anything else that is wrong is left for the decoder to find.
    """
    at, owed = 0, 1
    try:
        for _ in range(items_max):
            kind = data[at]
            owed += _CLAIMS[kind] - 1
            if size := _SIZES[kind]:
                at += size
            elif kind == _BIN_8:  # Most are of this form.
                at += 2 + data[at + 1]
            else:
                at, claimed = _read_sized(data, at)
                owed += claimed
            if not owed:
                return
    except IndexError:
        raise DecodeError("ENC-1", "not MessagePack: claims more than its bytes hold") from None
    raise DecodeError("ENC-4", f"more than {items_max} items")


def _read_sized(data: bytes, at: int) -> tuple[int, int]:
    """Return where the item at ``at`` ends, or its first item begins, and how many it claims."""
    width, besides, items = _SIZED[data[at]]
    at += 1 + width
    length = int.from_bytes(data[at - width : at])
    if items:
        return at, length * items
    return at + besides + length, 0
