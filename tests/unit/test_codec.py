"""The codec takes one encoding of a permitted value and nothing else."""

from typing import Any

import msgpack
import pytest

from zmqp2p import codec
from zmqp2p.codec import DEPTH_MAX, INT_MAX, INT_MIN, ITEMS_MAX, Value, _map_of, decode, encode
from zmqp2p.errors import DecodeError, InvalidValue


def nested(depth: int) -> Value:
    value: Value = 7
    for _ in range(depth):
        value = (value,)
    return value


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "cc80"),
        (INT_MAX, "cfffffffffffffffff"),
        (-1, "ff"),
        (INT_MIN, "d38000000000000000"),
        (True, "c3"),
        (False, "c2"),
        ("é", "a2c3a9"),
        (b"\x00", "c40100"),
        ((), "90"),
        ((1, (2, b"")), "92019202c400"),
        ({1: "a", 300: 2}, "8201a161cd012c02"),
    ],
)
def test_a_value_has_the_bytes_that_the_spec_shows(value: Value, data: str) -> None:
    assert encode(value).hex() == data
    assert decode(bytes.fromhex(data)) == value
    assert type(decode(bytes.fromhex(data))) is type(value)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ("", "ENC-1"),  # Nothing.
        ("c1", "ENC-1"),  # The one byte that MessagePack never uses.
        ("92", "ENC-1"),  # An array without its items.
        ("0000", "ENC-1"),  # Trailing bytes.
        ("a1ff", "ENC-1"),  # Not UTF-8.
        ("a3eda080", "ENC-1"),  # A surrogate.
        ("d6ff", "ENC-1"),  # Half a timestamp.
        ("dd7fffffff", "ENC-1"),  # An array of 2**31 items in five bytes.
        ("818001", "ENC-5"),  # A map as the key of a map.
        ("cc00", "ENC-2"),  # An integer longer than need be.
        ("d90161", "ENC-2"),
        ("c5000100", "ENC-2"),
        ("dc0000", "ENC-2"),
        ("c0", "ENC-3"),  # nil
        ("ca3f800000", "ENC-3"),  # float
        ("d40100", "ENC-3"),  # An extension type.
        ("d6ff00000000", "ENC-3"),  # A timestamp, which msgpack reads without asking the hook.
        ("8202000100", "ENC-5"),  # Keys that descend.
        ("81ff00", "ENC-5"),  # A negative key.
        ("81c300", "ENC-5"),  # A bool as key.
        ("81a16100", "ENC-5"),
        ("8201000101", "ENC-5"),  # A duplicate.
    ],
)
def test_other_bytes_are_refused_with_the_rule_they_break(data: str, rule: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(bytes.fromhex(data))
    assert caught.value.rule == rule


def test_nesting_ends_at_the_bound() -> None:
    assert decode(encode(nested(DEPTH_MAX))) == nested(DEPTH_MAX)
    with pytest.raises(InvalidValue, match="nested too deep"):
        encode(nested(DEPTH_MAX + 1))
    with pytest.raises(DecodeError, match="ENC-4"):
        decode(msgpack.packb(nested(DEPTH_MAX + 1)))


def test_nesting_counts_through_maps() -> None:
    assert decode(encode({0: 1}), depth_max=1) == {0: 1}
    with pytest.raises(DecodeError, match="ENC-4"):
        decode(encode({0: {0: 1}}), depth_max=1)


def test_a_caller_may_set_a_lower_bound_on_nesting() -> None:
    assert decode(b"\x91\x00", depth_max=1) == (0,)
    with pytest.raises(DecodeError, match="ENC-4"):
        decode(b"\x91\x91\x00", depth_max=1)


@pytest.mark.parametrize("depth", [600, 100_000])
def test_nesting_beyond_any_stack_is_refused_like_the_rest(depth: int) -> None:
    """600 levels pass in msgpack's own stack, 100,000 do not."""
    with pytest.raises(DecodeError):
        decode(b"\x91" * depth + b"\x00")


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.0,
        [1],
        bytearray(1),
        INT_MAX + 1,
        INT_MIN - 1,
        10**5000,  # Python refuses to print it.
        "\ud800",
        {2: 0, 1: 0},
        {-1: 0},
        {INT_MAX + 1: 0},
        {True: 0},
        {"a": 0},
        (0, (None,)),
        {0: None},
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_cannot_be_encoded_is_refused(value: Value) -> None:
    with pytest.raises(InvalidValue):
        encode(value)


@pytest.mark.parametrize("size", [255, 256, 4_095, 4_096, 65_535, 65_536, 300_000])
@pytest.mark.parametrize("others", [1, 15, 40])
def test_long_bytes_have_the_encoding_that_msgpack_gives_them(size: int, others: int) -> None:
    """Also where they are compared piece by piece, and not packed again."""
    item: Value = (1, b"\x02" * 5_000)
    value: tuple[Value, ...] = (7, b"\x01" * size, *[item] * others)
    data = msgpack.packb(value)
    assert encode(value) == codec.encode_parts(value) == data
    assert decode(data) == value


@pytest.mark.parametrize(
    ("canonical", "other"),
    [
        ("94", "dc0004"),
        ("cc80", "cd0080"),
        ("c51388", "c600001388"),
        ("9107", "dc000107"),
        ("cd0180", "d10180"),
    ],
    ids=["array", "before", "head", "after", "as long"],
)
def test_around_long_bytes_too_there_is_one_encoding(canonical: str, other: str) -> None:
    filler = b"\xff" * 5_000
    whole = bytes.fromhex("94cc80c51388") + filler + bytes.fromhex("9107cd0180")
    assert decode(whole) == (128, filler, (7,), 384)
    before, after = bytes.fromhex(canonical), bytes.fromhex(other)
    assert whole.count(before) == 1
    with pytest.raises(DecodeError, match="ENC-2"):
        decode(whole.replace(before, after))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_what_comes_before_bytes_is_what_msgpack_writes(size: int) -> None:
    assert codec.bytes_head(size) + bytes(size) == msgpack.packb(bytes(size))


def test_items_are_not_compared_one_by_one_where_they_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each would be packed by itself: a stranger's 8,000 would take ten times as long."""
    compared: list[Value] = []

    def pieces(value: Value) -> tuple[bytes, ...]:
        compared.append(value)
        return ()

    monkeypatch.setattr(codec, "_pieces", pieces)
    many, few = (bytes(5_000), *[()] * 16), (bytes(5_000), *[()] * 15)
    assert decode(msgpack.packb(many)) == many
    assert not compared
    assert decode(msgpack.packb(few)) == few
    assert compared == [few]


def test_a_refused_value_leaves_nothing_behind() -> None:
    """The packer is reused, and had written a part of the value."""
    with pytest.raises(InvalidValue):
        encode((1, 2, "\ud800"))
    assert encode(3) == b"\x03"
    with pytest.raises(UnicodeEncodeError):
        codec.encode_trusted((1, 2, "\ud800"))
    assert codec.encode_trusted(3) == b"\x03"


def test_the_number_of_items_ends_at_the_bound_both_ways() -> None:
    most: Value = (0,) * (ITEMS_MAX - 1)  # The array is an item itself.
    assert decode(encode(most)) == most
    over: Value = (0,) * ITEMS_MAX
    with pytest.raises(InvalidValue, match="items"):
        encode(over)
    with pytest.raises(DecodeError, match="ENC-4"):
        decode(msgpack.packb(over))


def test_long_input_with_items_of_every_form_is_counted_right() -> None:
    """From 1 KiB up the items are counted without decoding: no form may be mistaken."""
    sizes = (0, 1, 31, 32, 255, 256, 65_535, 65_536)
    value: tuple[Any, ...] = (
        *(b"x" * size for size in sizes),
        *("x" * size for size in sizes),
        *(2**bits for bits in range(64)),
        *(-(2**bits) for bits in range(64)),
        *((0,) * size for size in (0, 15, 16, 65_535, 65_536)),
        *(dict.fromkeys(range(size), True) for size in (0, 15, 16, 20_000)),
        {key: (False, {key: b"\xdd\xff\xff\xff\xff"}) for key in range(200)},
    )
    items = 1 + len(value) + 15 + 16 + 65_535 + 65_536 + 2 * (15 + 16 + 20_000 + 200) + 200 * 4
    data = msgpack.packb(value)
    assert codec.decode_counted(data, items_max=items) == (value, items)
    with pytest.raises(DecodeError, match="ENC-4"):
        decode(data, items_max=items - 1)


def test_short_input_may_claim_more_than_most_does_if_it_is_there() -> None:
    for size in (63, 64, 65, 1021):  # And a header of three bytes from 16 on.
        value: Value = (0,) * size
        assert codec.decode_counted(encode(value)) == (value, size + 1)
    pairs: Value = dict.fromkeys(range(65), 0)
    assert codec.decode_counted(encode(pairs)) == (pairs, 131)


@pytest.mark.parametrize(
    "form",
    [
        "c0",
        "c7ff00" + "dd" * 255,  # ext 8, 16, 32.
        "c8ffff00" + "dd" * 65_535,
        "c90001000000" + "dd" * 65_536,
        "ca" + "dd" * 4,
        "cb" + "dd" * 8,
        "d400dd",
        "d500" + "dd" * 2,
        "d600" + "dd" * 4,
        "d700" + "dd" * 8,
        "d800" + "dd" * 16,
    ],
    ids=lambda form: form[:2],
)
def test_long_input_with_a_forbidden_form_is_refused_for_that_form(form: str) -> None:
    """The counting passes over what the decoder then refuses, and ends where it ends.

    Beginning the next item a byte too early or too late would find a claim of millions.
    """
    data = b"\x92" + bytes.fromhex(form) + b"\xc5\xdd\x00" + b"\xff" * 0xDD00
    with pytest.raises(DecodeError, match="ENC-3"):
        decode(data)


def test_claims_are_added_up_before_anything_is_allocated() -> None:
    """Some msgpack versions make room for each claim: 1,000 levels of a million items, 8 GB."""
    level = b"\xdd" + (2**20 - 6_000).to_bytes(4)
    data = (level * 1000).ljust(2**20, b"\x00")
    with pytest.raises(DecodeError, match="ENC-4"):
        decode(data)
    small = (b"\xdc\x03\xe8" * 100).ljust(2000, b"\x00")  # 100 levels of 1,000 items.
    with pytest.raises(DecodeError, match="claims more than its bytes hold"):
        decode(small)


@pytest.mark.parametrize("header", [b"\xdc\x10\x00", b"\xde\x08\x00"])
def test_a_claim_equal_to_the_bytes_left_is_not_the_fault(header: bytes) -> None:
    """The bound is exact: one byte fewer and the claim is refused before decoding."""
    assert decode(b"\xdc\x10\x00" + bytes(4096)) == (0,) * 4096
    with pytest.raises(DecodeError, match="claims more"):
        decode(header + bytes(4095))
    with pytest.raises(DecodeError) as caught:
        decode(header + bytes(4097))
    assert "claims more" not in caught.value.detail


def test_long_input_that_is_cut_is_refused() -> None:
    whole = encode((b"x" * 2000, "y" * 2000, 1, 2))
    for end in range(1020, len(whole)):
        with pytest.raises(DecodeError, match="ENC-1"):
            decode(whole[:end])


def test_keys_that_share_a_hash_are_refused_before_there_is_a_dict() -> None:
    """ENC-5: 18,000 tuples of one hash kept the whole node for ten seconds, the GIL held.

    Counted, not timed: the keys say how often they are compared.
    """
    keys = b"".join(b"\x91\xcf" + (1 + k * (2**61 - 1)).to_bytes(8) + b"\x00" for k in range(8))
    many = b"\xde" + (8).to_bytes(2) + keys
    with pytest.raises(DecodeError, match="ENC-5"):
        decode(many)
    with pytest.raises(DecodeError, match="ENC-5"):
        _map_of([(_Incomparable(), 0), (_Incomparable(), 0)])


class _Incomparable:
    """A key that must never get into a dict."""

    def __hash__(self) -> int:
        raise AssertionError("hashed")
