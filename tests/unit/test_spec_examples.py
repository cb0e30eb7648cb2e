"""The page of the spec says what the code does: its examples and its tables are read from it."""

import re
from collections.abc import Iterator
from dataclasses import fields
from enum import Enum
from itertools import groupby
from pathlib import Path

import pytest

from tests.notation import parse, unhex
from zmqp2p import codec, limits
from zmqp2p.codes import ByeCode, RefusalCode, RejectCode
from zmqp2p.crypto import SecretKey, Signature, next_digest, recover_address
from zmqp2p.ids import StreamDigest
from zmqp2p.limits import DEFAULT_LIMITS
from zmqp2p.messages import Envelope, ProtocolMessage, decode_message, encode_message
from zmqp2p.records import PeerRecord, PeerUri
from zmqp2p.session.handshake import TABLE, LinkState
from zmqp2p.state import channel_id, outcome_hash, recover_signer, state_hash
from zmqp2p.state.packing import state_from_value, state_to_value
from zmqp2p.wire.encoding import decode_frame, encode_frame
from zmqp2p.wire.frames import Bulk, Frame, Kind

SPEC = (Path(__file__).parents[2] / "docs" / "spec" / "zp2p-1.md").read_text(encoding="utf-8")

Example = dict[str, list[str]]


def examples() -> Iterator[Example]:
    """Yield the examples of the page: what follows each key, once for each time it is there."""
    for block in re.findall(r"^```zp2p-example\n(.*?)^```$", SPEC, re.MULTILINE | re.DOTALL):
        example: Example = {}
        for entry in re.sub(r"\n +", " ", block).splitlines():
            key, _, text = entry.partition(": ")
            example.setdefault(key, []).append(text)
        yield example


EXAMPLES = list(examples())


def of_kind(kind: str) -> list[Example]:
    """Return the examples of one kind."""
    return [example for example in EXAMPLES if example["kind"] == [kind]]


def named(kind: str) -> pytest.MarkDecorator:
    """Run a test with each example of ``kind``, under its name."""
    cases = [pytest.param(example, id=example["name"][0]) for example in of_kind(kind)]
    return pytest.mark.parametrize("example", cases)


# --- Examples -----------------------------------------------------------------------------------


def test_each_frame_and_each_message_has_an_example() -> None:
    frames: set[type[Frame]] = {
        type(decode_frame(tuple(map(unhex, example["frame"])))) for example in of_kind("frame")
    }
    assert sorted(frame.__name__.upper() for frame in frames) == sorted(Kind.__members__)
    tags: set[object] = set()
    for example in of_kind("message"):
        value = parse(example["value"][0])
        assert isinstance(value, tuple)
        tags.add(value[0])
    assert tags == {1, 2, 3, 1000}  # 1000 is an application's.
    assert len(of_kind("record")) == len(of_kind("uri")) == len(of_kind("state")) == 1


def test_the_kinds_of_examples_are_those_that_are_tested() -> None:
    """An example that no test reads would be a promise that nothing keeps."""
    kinds = {example["kind"][0] for example in EXAMPLES}
    assert kinds == {"frame", "message", "record", "uri", "state", "digests"}


@named("frame")
def test_an_example_of_a_frame_decodes_and_encodes(example: Example) -> None:
    parts = tuple(map(unhex, example["frame"]))
    frame = decode_frame(parts)
    assert encode_frame(frame) == parts
    values = [parse(text) for text in example["value"]]
    if isinstance(frame, Bulk):
        assert values.pop() == frame.body
    assert [codec.encode(value) for value in values] == list(parts[: len(values)])


@named("message")
def test_an_example_of_a_message_decodes_and_encodes(example: Example) -> None:
    body = unhex(example["bytes"][0])
    value = parse(example["value"][0])
    assert codec.decode(body) == value
    assert codec.encode(value) == body
    assert isinstance(value, tuple)
    if value[0] in (1, 2, 3):
        envelope = decode_message(body)
        assert isinstance(envelope.message, ProtocolMessage)
        assert encode_message(envelope.message, envelope.deadline_ms) == body
        assert envelope == Envelope(envelope.message, None)


@named("digests")
def test_the_example_of_digests_has_those_of_its_bodies(example: Example) -> None:
    """RES-11."""
    digest = StreamDigest(unhex(example["stream"][0]))
    for body, expected in zip(example["body"], example["digest"], strict=True):
        digest = next_digest(digest, unhex(body))
        assert digest.hex() == expected


@named("record")
def test_the_example_of_a_record_is_the_one_of_its_key(example: Example) -> None:
    data = unhex(example["bytes"][0])
    record = PeerRecord.decode(data)
    signer = SecretKey(unhex(example["secret"][0]))
    again = PeerRecord.issue(
        signer, record.curve_key, record.endpoints, record.issued_ms, record.expires_ms
    )
    assert (again.encode(), str(again)) == (data, example["text"][0])
    assert codec.encode(parse(example["value"][0])) == data
    assert recover_address(unhex(example["digest"][0]), record.signature) == signer.address


@named("uri")
def test_the_example_of_a_uri_parses_to_its_parts(example: Example) -> None:
    uri = PeerUri.parse(example["text"][0])
    assert str(uri) == example["text"][0]
    parts = (uri.address.hex(), uri.curve_key.hex(), uri.endpoint)
    assert parts == (example["address"][0], example["curve_key"][0], example["endpoint"][0])


@named("state")
def test_the_example_of_a_state_has_its_hashes_and_signer(example: Example) -> None:
    value = parse(example["value"][0])
    state = state_from_value(value)
    assert state_to_value(state) == value
    assert channel_id(state.fixed).hex() == example["channel_id"][0]
    assert outcome_hash(state.variable.outcome).hex() == example["outcome_hash"][0]
    assert state_hash(state).hex() == example["state_hash"][0]
    signature = Signature.from_bytes(unhex(example["signature"][0]))
    assert recover_signer(state, signature).hex() == example["signer"][0]
    assert recover_address(unhex(example["digest"][0]), signature).hex() == example["signer"][0]


# --- Tables -------------------------------------------------------------------------------------


def tables() -> Iterator[list[list[str]]]:
    """Yield the tables of the page as rows of cells, the first row being the head."""
    for is_row, lines in groupby(SPEC.splitlines(), lambda line: line.startswith("|")):
        if is_row:
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            yield [rows[0], *rows[2:]]


def tables_headed(*head: str) -> list[list[list[str]]]:
    """Return the rows of each table with these columns first."""
    return [rows for first, *rows in tables() if tuple(first[: len(head)]) == head]


def numbered(codes: type[Enum]) -> list[list[str]]:
    """Return what the table of ``codes`` says: their numbers and names."""
    return [[str(code.value), code.name] for code in codes]


def test_the_tables_of_codes_are_complete() -> None:
    listed = [[row[:2] for row in rows] for rows in tables_headed("code", "name", "meaning")]
    assert listed == [numbered(ByeCode), numbered(RefusalCode), numbered(RejectCode)]


def test_the_table_of_kinds_is_complete() -> None:
    (rows,) = tables_headed("kind", "frame")
    assert [row[:2] for row in rows] == numbered(Kind)


def test_the_table_of_links_is_that_of_the_code() -> None:
    """The last column stands for every kind that has none of its own."""
    (rows,) = tables_headed("state", "HELLO", "WHO", "BYE", "any other known frame")
    own = {Kind.HELLO: 1, Kind.WHO: 2, Kind.BYE: 3}
    said = {(LinkState(row[0]), kind): row[own.get(kind, 4)] for row in rows for kind in Kind}
    assert said == {place: action.value for place, action in TABLE.items()}


def test_the_limits_are_those_of_the_code() -> None:
    fixed, defaults = tables_headed("limit", "value", "of")
    constants = {
        name: value
        for name, value in vars(limits).items()
        if name.endswith(_UNITS) and name not in _NOT_ON_THE_WIRE
    }
    assert {row[0]: int(row[1]) for row in fixed} == constants
    names = {field.name for field in fields(DEFAULT_LIMITS)}
    for name, value, *_ in defaults:
        assert name in names
        assert getattr(DEFAULT_LIMITS, name) == float(value), name


_AHEAD = {"STRETCH_MAX", "STRETCH_MAX_BYTES", "READ_AHEAD_MAX", "READ_AHEAD_MAX_BYTES"}
_NOT_ON_THE_WIRE = {"ERROR_MAX_BYTES", "ISSUED_MAX", "PAST_STREAMS_MAX"} | _AHEAD
_UNITS = ("_BYTES", "_MAX", "_MESSAGES", "_ITEMS")
