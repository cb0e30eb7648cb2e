"""Every frame comes back as it was sent, and any bytes give a frame or a DecodeError."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests import strategies
from tests.frames import frames
from zmqp2p import codec
from zmqp2p.errors import DecodeError
from zmqp2p.wire.encoding import decode_frame, encode_frame
from zmqp2p.wire.frames import Frame, Ignored

header_kinds = st.one_of(st.sampled_from(range(0, 24, 2)), st.integers(0, 300))


def decoded(parts: Sequence[bytes]) -> Frame | None:
    """Return the frame that ``parts`` say, or None if they were refused in the one way allowed."""
    try:
        frame = decode_frame(parts)
    except DecodeError:
        return None
    if not isinstance(frame, Ignored):  # What may be ignored is not kept.
        assert encode_frame(frame) == tuple(parts)
    return frame


@given(frame=frames)
def test_every_frame_comes_back_as_it_was_sent(frame: Frame) -> None:
    assert decode_frame(encode_frame(frame)) == frame


@given(parts=st.lists(st.binary(max_size=200), max_size=3))
def test_random_bytes_are_a_frame_or_are_refused(parts: list[bytes]) -> None:
    decoded(parts)


@given(frame=frames, data=st.data())
def test_a_damaged_frame_is_another_frame_or_is_refused(frame: Frame, data: st.DataObject) -> None:
    """One byte changed, removed or added, anywhere in the header or the payload."""
    parts = [bytearray(part) for part in encode_frame(frame)]
    part = data.draw(st.sampled_from(parts))
    at = data.draw(st.integers(0, max(len(part) - 1, 0)))
    match data.draw(st.sampled_from(["change", "remove", "add", "cut"])):
        case "change" if part:
            part[at] ^= data.draw(st.integers(1, 255))
        case "remove" if part:
            del part[at]
        case "add":
            part.insert(at, data.draw(st.integers(0, 255)))
        case _:
            del part[at:]
    decoded([bytes(one) for one in parts])


@given(kind=header_kinds, fields=st.lists(strategies.values, max_size=13), payload=st.binary())
def test_random_fields_are_a_frame_or_are_refused(
    kind: int, fields: list[codec.Value], payload: bytes
) -> None:
    """Well-formed MessagePack gets further into the decoder than random bytes do."""
    header = codec.encode((kind, *fields))
    decoded([header])
    decoded([header, payload])
    decoded([header, codec.encode((payload, b""))])


@given(frame=frames, data=st.data())
def test_a_frame_with_one_field_replaced_is_a_frame_or_is_refused(
    frame: Frame, data: st.DataObject
) -> None:
    """Each field is checked by itself, whatever stands in it."""
    header, *payload = encode_frame(frame)
    fields = codec.decode(header)
    assert type(fields) is tuple
    at = data.draw(st.integers(0, len(fields) - 1))
    value = data.draw(strategies.values)
    decoded([codec.encode((*fields[:at], value, *fields[at + 1 :])), *payload])
