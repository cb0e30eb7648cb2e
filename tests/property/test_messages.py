"""Laws of message bodies, for messages and bytes nobody thought of."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import deadlines_ms, messages, values
from zmqp2p import codec
from zmqp2p.codec import INT_MAX, INT_MIN, Value
from zmqp2p.errors import DecodeError
from zmqp2p.messages import (
    Envelope,
    ProtocolMessage,
    decode_message,
    describe,
    encode_message,
    message,
)

DECODE_RULES = {f"ENC-{number}" for number in range(1, 6)} | {
    f"MSG-{number}" for number in range(1, 6)
}


@dataclass(frozen=True)
class Leaf:
    """Travels inside a sample."""

    number: int
    flag: bool


@message(900)
@dataclass(frozen=True, slots=True)
class Sample:
    """An application message that refuses some values."""

    text: str
    data: bytes
    leaves: tuple[Leaf, ...]
    pair: tuple[bytes, tuple[bool, ...]]

    def __post_init__(self) -> None:
        if len(self.text) > 20:
            raise ValueError(self.text)


leaves = st.builds(Leaf, st.integers(INT_MIN, INT_MAX), st.booleans())
samples = st.builds(
    Sample,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.binary(),
    st.lists(leaves, max_size=4).map(tuple),
    st.tuples(st.binary(), st.lists(st.booleans()).map(tuple)),
)


@given(messages | samples, deadlines_ms)
def test_a_message_survives_its_travel(
    sent: ProtocolMessage | Sample, deadline_ms: int | None
) -> None:
    assert decode_message(encode_message(sent, deadline_ms)) == Envelope(sent, deadline_ms)


@given(messages | samples, deadlines_ms)
def test_what_is_written_without_checks_is_what_the_codec_writes(
    sent: ProtocolMessage | Sample, deadline_ms: int | None
) -> None:
    """The encoder skips the walk of `codec.encode`, having checked every field itself."""
    body = encode_message(sent, deadline_ms)
    assert codec.encode(codec.decode(body)) == body


def check_refused_or_the_same(body: bytes) -> None:
    """Check that ``body`` is the one encoding of what it decodes to, or is refused by a rule."""
    rule, again = "none", body
    try:
        envelope = decode_message(body)
        again = encode_message(envelope.message, envelope.deadline_ms)
    except DecodeError as fault:
        rule = fault.rule
    assert rule == "none" or rule in DECODE_RULES
    assert again == body or has_unknown_extension(body)  # Those are dropped.


def has_unknown_extension(body: bytes) -> bool:
    """Return whether the last item of ``body`` is a map with another key than 1."""
    value = codec.decode(body)
    return type(value) is tuple and type(value[-1]) is dict and bool(value[-1].keys() - {1})


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    check_refused_or_the_same(body)
    assert describe(body)


@given(messages | samples, deadlines_ms, st.data())
@settings(max_examples=400)
def test_a_changed_body_is_a_message_or_refused(
    sent: ProtocolMessage | Sample, deadline_ms: int | None, data: st.DataObject
) -> None:
    body = bytearray(encode_message(sent, deadline_ms))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    check_refused_or_the_same(bytes(body))
    assert describe(bytes(body))


def replaced(value: Value, data: st.DataObject) -> Value:
    """Return ``value`` with one part of it, at any depth, replaced by any other value."""
    if type(value) is tuple and value and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        return (*value[:at], replaced(value[at], data), *value[at + 1 :])
    return data.draw(values)


@given(messages | samples, st.data())
@settings(max_examples=400)
def test_a_body_with_another_field_is_a_message_or_refused(
    sent: ProtocolMessage | Sample, data: st.DataObject
) -> None:
    """Canonical, so that the codec passes it: whatever is wrong is for the fields to find."""
    value = codec.decode(encode_message(sent))
    check_refused_or_the_same(codec.encode_trusted(replaced(value, data)))


@given(st.sampled_from([1, 2, 3, 900]), st.lists(values, max_size=6))
@settings(max_examples=300)
def test_a_known_tag_before_any_fields_is_a_message_or_refused(
    tag: int, fields: list[Value]
) -> None:
    check_refused_or_the_same(codec.encode_trusted((tag, *fields)))
