"""Bodies of messages: one byte string per message, and everything else refused by its rule."""

# The annotations below stay text until `message` reads them: that is part of the test.
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from zmqp2p import codec
from zmqp2p.codes import RejectCode
from zmqp2p.crypto import SecretKey
from zmqp2p.errors import DecodeError, InvalidValue, TooLarge
from zmqp2p.ids import ZERO_ADDRESS, Address, ChannelId, StateHash, TurnNum
from zmqp2p.limits import BODY_MAX_BYTES, MESSAGE_MAX_BYTES
from zmqp2p.messages import (
    AcceptState,
    Envelope,
    ProposeState,
    RejectProposal,
    decode_message,
    describe,
    encode_message,
    message,
)
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    State,
    VariablePart,
    channel_id,
    destination_of,
    sign_state,
    state_hash,
)

if TYPE_CHECKING:
    from zmqp2p.codec import Value

ALICE, BOB = SecretKey(bytes(31) + b"\x01"), SecretKey(bytes(31) + b"\x02")
FIXED = FixedPart((ALICE.address, BOB.address), 5)
OUTCOME = (AssetExit(ZERO_ADDRESS, (Allocation(destination_of(ALICE.address), 1000),)),)
STATE = State(FIXED, VariablePart(b"app", OUTCOME, TurnNum(0), is_final=False))
CHANNEL = channel_id(FIXED)
SIGNATURE = sign_state(STATE, ALICE)

PROPOSE = ProposeState(CHANNEL, STATE, SIGNATURE)
ACCEPT = AcceptState(CHANNEL, TurnNum(1), state_hash(STATE), SIGNATURE)
REJECT = RejectProposal(CHANNEL, TurnNum(1), RejectCode.DECLINED, "no, thank you")

STATE_VALUE = (
    (ALICE.address, BOB.address),
    5,
    bytes(20),
    86_400,
    b"app",
    ((bytes(20), (0, b""), ((bytes(12) + ALICE.address, b"\x03\xe8", 0, b""),)),),
    0,
    False,
)
VALUES: list[tuple[object, tuple[Any, ...]]] = [
    (PROPOSE, (1, CHANNEL, STATE_VALUE, SIGNATURE.to_bytes())),
    (ACCEPT, (2, CHANNEL, 1, state_hash(STATE), SIGNATURE.to_bytes())),
    (REJECT, (3, CHANNEL, 1, 1, "no, thank you")),
]


@dataclass(frozen=True)
class Line:
    """Has no tag: it travels inside an invoice."""

    item: str
    cents: int


@message(64)
@dataclass(frozen=True, slots=True)
class Invoice:
    """Under the lowest tag of an application."""

    number: int
    lines: tuple[Line, ...]


@message(2**32 - 1)
@dataclass(frozen=True)
class Blob:
    """Under the highest tag; of any size."""

    data: bytes


@message(65)
@dataclass(frozen=True)
class Numbers:
    """Of any number of items."""

    numbers: tuple[int, ...]


INVOICE = Invoice(7, (Line("tea", 250), Line("é", -1)))


def code_of(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_message(data)
    return caught.value.rule


@pytest.mark.parametrize(("sent", "value"), VALUES)
def test_a_protocol_message_is_the_array_that_the_spec_shows(sent: object, value: Value) -> None:
    body = encode_message(sent)
    assert body == codec.encode(value)
    assert decode_message(body) == Envelope(sent, None)


def test_an_application_message_is_the_array_of_its_fields() -> None:
    body = encode_message(INVOICE)
    assert body == codec.encode((64, 7, (("tea", 250), ("é", -1))))
    assert decode_message(body) == Envelope(INVOICE, None)


@pytest.mark.parametrize("deadline_ms", [0, 1, 1_800_000_000_000, 2**63 - 1])
@pytest.mark.parametrize("sent", [PROPOSE, ACCEPT, REJECT, INVOICE])
def test_a_deadline_travels_as_extension_1(sent: object, deadline_ms: int) -> None:
    body = encode_message(sent, deadline_ms)
    assert decode_message(body) == Envelope(sent, deadline_ms)
    value: Any = codec.decode(body)
    assert value[-1] == {1: deadline_ms}


@pytest.mark.parametrize("deadline_ms", [-1, 2**63, True, 1.5, "1"])
def test_a_deadline_out_of_range_is_refused(deadline_ms: Any) -> None:
    with pytest.raises(InvalidValue, match="deadline_ms"):
        encode_message(REJECT, deadline_ms)


# --- Constructors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "name", "bad"),
    [
        *((sent, "channel_id", bytes(31)) for sent in (PROPOSE, ACCEPT, REJECT)),
        *(
            (sent, "channel_id", destination_of(ALICE.address))
            for sent in (PROPOSE, ACCEPT, REJECT)
        ),
        *((sent, "turn_num", bad) for sent in (ACCEPT, REJECT) for bad in (-1, 2**48, True)),
        *((sent, "signature", SIGNATURE.to_bytes()) for sent in (PROPOSE, ACCEPT)),
        (PROPOSE, "state", STATE.variable),
        (ACCEPT, "state_hash", bytes(33)),
        (REJECT, "code", 1),
        (REJECT, "reason", b"no"),
        (REJECT, "reason", "x" * 201),
        (REJECT, "reason", "é" * 101),
        (REJECT, "reason", "\ud800"),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(sent: Any, name: str, bad: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        replace(sent, **{name: bad})
    assert caught.value.field == name


def test_a_reason_has_up_to_200_bytes() -> None:
    longest = replace(REJECT, reason="é" * 100)
    assert decode_message(encode_message(longest)).message == longest


# --- Decoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, b"", {}, (), ("a",), (True, 1), ((1,),), ({},)])
def test_a_body_is_an_array_that_starts_with_a_tag(value: Value) -> None:
    assert code_of(codec.encode(value)) == "MSG-1"


@pytest.mark.parametrize("tag", [0, -1, 4, 63, 99, 2**64 - 1])
def test_an_unknown_tag_is_refused(tag: int) -> None:
    assert code_of(codec.encode((tag,))) == "MSG-2"


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ((3, CHANNEL, 1, 1), "RejectProposal: must be an array of 4 fields"),
        ((3, CHANNEL, 1, 1, "", 5), "RejectProposal: must be an array of 4 fields"),
        ((3, CHANNEL, 1, 9, ""), "RejectProposal.code: 9 is no code of a rejection"),
        ((3, CHANNEL, 1, 1, "x" * 201), "RejectProposal.reason: must be at most 200 bytes"),
        ((3, CHANNEL, 2**48, 1, ""), "RejectProposal.turn_num: must be at least 0 and below 2"),
        ((3, bytes(32), 1, 1, ""), "RejectProposal.channel_id: looks like an external"),
        ((64, 7, (("tea", 1), ("x", "y"))), "Invoice.lines[1].cents: must be of type int"),
        ((64, 7, ((), {})), "Invoice.lines[0]: must be an array of 2 fields"),
    ],
)
def test_wrong_fields_are_refused_by_name(value: Value, detail: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_message(codec.encode(value))
    assert caught.value.rule == "MSG-3"
    assert caught.value.detail.startswith(detail)


def test_a_field_deep_inside_a_state_is_named_by_its_path() -> None:
    exits = ((bytes(20), (0, b""), ((bytes(32), b"\x00", 0, b""),)),)
    state = (*STATE_VALUE[:5], exits, *STATE_VALUE[6:])
    with pytest.raises(DecodeError, match=r"state\.outcome\[0\]\.allocations\[0\]\.amount"):
        decode_message(codec.encode((1, CHANNEL, state, SIGNATURE.to_bytes())))


def reject_with(extensions: Value) -> bytes:
    return codec.encode((3, CHANNEL, 1, 1, "no, thank you", extensions))


@pytest.mark.parametrize(
    "extensions", [{}, {0: 1}, {2: 1}, {1: 5, 2: 1}, {1: -1}, {1: 2**63}, {1: True}, {1: b""}]
)
def test_wrong_extensions_are_refused(extensions: Value) -> None:
    assert code_of(reject_with(extensions)) == "MSG-4"


def test_unknown_odd_extensions_are_dropped() -> None:
    """A later version may say more in them, as long as it can do without being heard."""
    assert decode_message(reject_with({3: "new"})) == Envelope(REJECT, None)
    assert decode_message(reject_with({1: 5, 2**64 - 1: (1,)})) == Envelope(REJECT, 5)


def test_extensions_come_last_and_once() -> None:
    assert code_of(codec.encode((3, CHANNEL, 1, 1, {1: 5}, "no"))) == "MSG-3"
    assert code_of(codec.encode((3, CHANNEL, 1, 1, "no", {1: 5}, {1: 5}))) == "MSG-3"
    assert code_of(codec.encode((3, {1: 5}))) == "MSG-3"


def test_a_body_that_is_not_canonical_is_refused_by_the_codec() -> None:
    body = encode_message(REJECT)
    assert code_of(body + b"\x00") == "ENC-1"
    assert code_of(b"\xdc\x00\x05" + body[1:]) == "ENC-2"


def test_a_message_has_up_to_16_mebibytes_both_ways() -> None:
    room = MESSAGE_MAX_BYTES - len(encode_message(Blob(bytes(2**16))))
    largest = Blob(bytes(2**16 + room))
    body = encode_message(largest)
    assert len(body) == MESSAGE_MAX_BYTES
    assert decode_message(body).message == largest
    over = Blob(largest.data + b"\x00")
    with pytest.raises(TooLarge, match="16777217 bytes, at most 16777216"):
        encode_message(over)
    assert code_of(codec.encode((2**32 - 1, over.data))) == "MSG-5"


def test_a_body_has_no_more_items_than_the_decoder_takes() -> None:
    most = Numbers((0,) * (codec.ITEMS_MAX - 3))  # The array, the tag and the tuple are items.
    assert decode_message(encode_message(most)).message == most
    with pytest.raises(InvalidValue, match="items"):
        encode_message(Numbers((*most.numbers, 0)))


def test_the_largest_permitted_outcome_fits_a_body() -> None:
    """STA-5: its counts are bounded; the items of a value (ENC-4) and one body are above them."""
    allocation = Allocation(b"\xff" * 32, 2**256 - 1, 255, bytes(128))
    everything = (AssetExit(ZERO_ADDRESS, (allocation,) * 16, 255, bytes(2048)),) * 32
    everyone = tuple(Address(number.to_bytes(20)) for number in range(255))
    fixed = replace(FIXED, participants=everyone)
    largest = State(fixed, replace(STATE.variable, app_data=b"", outcome=everything))
    sent = ProposeState(CHANNEL, largest, SIGNATURE)
    body = encode_message(sent)
    assert decode_message(body).message == sent
    assert len(body) < BODY_MAX_BYTES
    assert codec.decode_counted(body)[1] < codec.ITEMS_MAX / 2


# --- Encoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [5, None, Line("tea", 1), Invoice])
def test_only_registered_classes_are_messages(other: object) -> None:
    with pytest.raises(InvalidValue, match="is not a registered message"):
        encode_message(other)


def test_a_field_of_another_type_is_refused_by_its_path() -> None:
    with pytest.raises(InvalidValue) as caught:
        encode_message(replace(INVOICE, lines=(Line("tea", 1), Line("x", True))))
    assert caught.value.field == "lines[1].cents"


# --- Registration -------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", [-1, 0, 1, 63, 2**32, True, 64.0, "64"])
def test_a_tag_out_of_range_is_refused(tag: Any) -> None:
    with pytest.raises(InvalidValue, match="tag"):
        message(tag)


def test_a_tag_in_use_is_refused_and_nothing_changes() -> None:
    @dataclass(frozen=True)
    class Another:
        x: int

    with pytest.raises(InvalidValue, match=r"tag: 64 is in use by .*Invoice"):
        message(64)(Another)
    with pytest.raises(InvalidValue, match="not a registered"):
        encode_message(Another(1))
    assert decode_message(encode_message(INVOICE)).message == INVOICE


def test_a_class_has_one_tag() -> None:
    with pytest.raises(InvalidValue, match="has tag 64 already"):
        message(66)(Invoice)
    assert message(64)(Invoice) is Invoice  # Once more is no harm.
    assert decode_message(encode_message(INVOICE)).message == INVOICE


def define(tag: int) -> Any:
    """Define a class; always under the same qualified name."""

    @message(tag)
    @dataclass(frozen=True)
    class Reloaded:
        x: int

    return Reloaded


def test_a_class_defined_anew_replaces_the_old_one() -> None:
    """That is what the reload of a module does; its tag may even have changed."""
    old, new = define(70), define(70)
    body = encode_message(new(1))
    assert isinstance(decode_message(body).message, new)
    with pytest.raises(InvalidValue, match="not a registered"):
        encode_message(old(1))
    moved = define(71)
    assert isinstance(decode_message(encode_message(moved(1))).message, moved)
    assert code_of(body) == "MSG-2"  # Tag 70 is free again.
    with pytest.raises(InvalidValue, match="not a registered"):
        encode_message(new(1))


def test_a_class_that_cannot_travel_is_refused_at_once() -> None:
    @dataclass(frozen=True)
    class Vague:
        ratio: float

    with pytest.raises(InvalidValue, match=r"Vague\.ratio: its type .* cannot travel"):
        message(72)(Vague)
    assert code_of(codec.encode((72, 1))) == "MSG-2"


# --- describe -----------------------------------------------------------------------------------


def test_a_message_is_described_field_by_field() -> None:
    body = encode_message(PROPOSE, 5)
    assert describe(body).splitlines() == [
        f"tag 1, {len(body)} bytes",
        "  message: ProposeState",
        f"    channel_id: 0x{CHANNEL.hex()}",
        "    state: State",
        "      fixed: FixedPart",
        "        participants: 2 items",
        f"          [0]: 0x{ALICE.address.hex()}",
        f"          [1]: 0x{BOB.address.hex()}",
        "        channel_nonce: 5",
        f"        app_definition: 0x{'00' * 20}",
        "        challenge_duration: 86400",
        "      variable: VariablePart",
        "        app_data: 0x617070",
        "        outcome: 1 item",
        "          [0]: AssetExit",
        f"            asset: 0x{'00' * 20}",
        "            allocations: 1 item",
        "              [0]: Allocation",
        f"                destination: 0x{'00' * 12}{ALICE.address.hex()}",
        "                amount: 1000",
        "                allocation_type: 0",
        "                metadata: 0x",
        "            asset_type: 0",
        "            asset_metadata: 0x",
        "        turn_num: 0",
        "        is_final: False",
        f"    signature: 0x{SIGNATURE.to_bytes().hex()}",
        "  deadline_ms: 5",
    ]


def test_a_body_without_a_deadline_is_described_without_one() -> None:
    lines = describe(encode_message(INVOICE)).splitlines()
    assert lines[0].startswith("tag 64, ")
    assert lines[-1] == "        cents: -1"


def test_a_value_that_is_no_known_message_is_described_as_the_value() -> None:
    assert describe(codec.encode((99, {3: "a"}))).splitlines() == [
        "not a known message, 6 bytes (MSG-2: unknown tag 99)",
        "  value: 2 items",
        "    [0]: 99",
        "    [1]: 1 item",
        "      3: 'a'",
    ]


def test_undecodable_bytes_are_described_in_hex_with_the_reason() -> None:
    assert describe(b"\xcc\x00") == (
        "undecodable, 2 bytes (ENC-2: not the canonical encoding)\n  0xcc00"
    )
    assert describe(b"").startswith("undecodable, 0 bytes (ENC-1")
    huge = describe(bytes(MESSAGE_MAX_BYTES + 1))
    assert "MSG-5" in huge
    assert len(huge) < 400


def test_channel_ids_and_hashes_may_be_any_other_bytes() -> None:
    """Only the first twelve bytes say what a channel id is not; a state hash may be anything."""
    sent = AcceptState(ChannelId(b"\xff" * 32), TurnNum(2**48 - 1), StateHash(bytes(32)), SIGNATURE)
    assert decode_message(encode_message(sent)).message == sent
