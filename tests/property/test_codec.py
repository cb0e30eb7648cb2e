"""Laws of the codec, for values and bytes nobody thought of."""

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.strategies import values
from zmqp2p import codec
from zmqp2p.codec import Value, decode, encode
from zmqp2p.errors import DecodeError


@given(values)
def test_a_value_survives_its_encoding(value: Value) -> None:
    assert decode(encode(value)) == value


@given(values)
def test_a_value_has_the_bytes_that_the_library_gives_it(value: Value) -> None:
    """Canonical is what every good encoder writes: the shortest form."""
    assert encode(value) == msgpack.packb(value)


@given(values, values)
def test_two_values_never_share_their_bytes(one: Value, other: Value) -> None:
    """Python finds 1 equal to True; the bytes do not."""
    assert (encode(one) == encode(other)) == (repr(one) == repr(other))


@given(values)
def test_the_items_of_a_value_are_itself_and_those_in_it(value: Value) -> None:
    def items_of(value: Value) -> int:
        if isinstance(value, dict):
            return 1 + len(value) + sum(map(items_of, value.values()))
        return 1 + (sum(map(items_of, value)) if isinstance(value, tuple) else 0)

    data = encode(value)
    assert codec.decode_counted(data) == (value, items_of(value))
    assert decode(data, items_max=items_of(value)) == value
    with pytest.raises(DecodeError, match="ENC-4"):
        decode(data, items_max=items_of(value) - 1)


@given(st.binary(max_size=200))
@example(b"\x81\x80\x01")
@example(b"\xd6\xff\x00\x00\x00\x00")
@settings(max_examples=500)
def test_any_bytes_are_one_value_or_refused(data: bytes) -> None:
    rule = "none"
    try:
        assert encode(decode(data)) == data
    except DecodeError as fault:
        rule = fault.rule
    assert rule in {"none", "ENC-1", "ENC-2", "ENC-3", "ENC-4", "ENC-5"}


@given(values, st.data())
@settings(max_examples=300)
def test_a_changed_encoding_is_one_value_or_refused(value: Value, data: st.DataObject) -> None:
    """Bytes near a valid encoding reach further into the decoder than random ones."""
    good = bytearray(encode(value))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    changed = bytes(good)
    try:
        again = decode(changed)
    except DecodeError:
        return
    assert encode(again) == changed


@given(values, st.sampled_from([1000, 1023, 1024, 1025, 3000]))
def test_what_surrounds_a_value_does_not_change_it(value: Value, size: int) -> None:
    """Longer input is counted before it is decoded; the count agrees with the decoder."""
    padded: Value = (value, bytes(size), value)
    assert decode(encode(padded), depth_max=20) == padded


@given(st.binary(max_size=60), st.integers(0, 1100))
@settings(max_examples=300)
def test_counting_never_refuses_what_the_decoder_takes(data: bytes, padding: int) -> None:
    """Nor does it raise anything else: on any bytes it agrees with a decoder without it."""
    long = b"\x93" + data + b"\xc5" + padding.to_bytes(2) + bytes(padding)
    claims_more = False
    try:
        decode(long)
    except DecodeError as fault:
        claims_more = "claims more" in fault.detail
    if claims_more:
        with pytest.raises((ValueError, TypeError)):
            msgpack.unpackb(long, strict_map_key=False, use_list=False)
