"""Frames to bytes and back: the exact bytes, and each rule that refuses some."""

import pytest

from tests.frames import INSTANCE, OTHER_STREAM, STREAM, chain, progress_of, refusal_of
from zmqp2p import codec, limits
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.errors import DecodeError
from zmqp2p.ids import Seq, StreamId
from zmqp2p.wire.encoding import (
    EXTENSIONS_MAX,
    VERSIONS_MAX,
    clip_reason,
    decode_frame,
    encode_frame,
    is_pong,
    pong_tail,
)
from zmqp2p.wire.frames import (
    Ack,
    Bulk,
    Bye,
    Data,
    Frame,
    Gap,
    Hello,
    Ignored,
    Kind,
    Ping,
    Pong,
    Who,
)

AT_ACK, AT_END, AT_BASE, AT_CURSOR = (chain(STREAM, b"%d" % n) for n in range(4))
PROGRESS = progress_of(
    base=2, ack=3, received=4, window=(5, 6), refusals=(refusal_of(3),), digest=AT_ACK
)
NAMES = ("base", "ack", "digest", "received", "refusals", "window_messages", "window_bytes")
FIELDS: tuple[codec.Value, ...] = (2, 3, AT_ACK, 4, ((3, 4, "no"),), 5, 6)
HELLO = Hello(
    versions=(1, 2),
    record=b"record",
    incarnation=7,
    instance=INSTANCE,
    stream=STREAM,
    base=Seq(2),
    base_digest=AT_BASE,
    next=Seq(9),
    seen_stream=OTHER_STREAM,
    cursor=Seq(3),
    seen_digest=AT_CURSOR,
    heard=Seq(8),
    refusals=(refusal_of(3),),
    window_messages=5,
    window_bytes=6,
    extensions={3: b"y", 1: b"x"},
)
HELLO_NAMES = (
    "versions",
    "record",
    "incarnation",
    "instance",
    "stream",
    "base",
    "base_digest",
    "next",
    "seen_stream",
    "cursor",
    "seen_digest",
    "heard",
    "refusals",
    "window",
    "extensions",
)
HELLO_FIELDS: tuple[codec.Value, ...] = (
    (1, 2),
    b"record",
    7,
    INSTANCE,
    STREAM,
    2,
    AT_BASE,
    9,
    OTHER_STREAM,
    3,
    AT_CURSOR,
    8,
    ((3, 4, "no"),),
    (5, 6),
    {1: b"x", 3: b"y"},
)
BULK_BODY = bytes(limits.BULK_MIN_BYTES)
KNOWN: list[tuple[Frame, tuple[codec.Value, ...], bytes | None]] = [
    (HELLO, (2, *HELLO_FIELDS), None),
    (
        Data(Seq(8), AT_END, PROGRESS, (b"a", b"")),
        (4, 8, AT_END, *FIELDS),
        b"\x92\xc4\x01a\xc4\x00",
    ),
    (Bulk(Seq(8), AT_END, PROGRESS, BULK_BODY), (6, 8, AT_END, *FIELDS), BULK_BODY),
    (Ack(PROGRESS), (8, *FIELDS), None),
    (Ping(9), (10, 9), None),
    (Pong(9, PROGRESS), (12, 9, *FIELDS), None),
    (Bye(ByeCode.TOO_MANY, "full"), (14, 14, "full"), None),
    (Who(), (16,), None),
    (Gap(PROGRESS), (18, *FIELDS), None),
    (Ignored(21), (21,), None),
]


def header(*items: codec.Value) -> bytes:
    """Return a header frame."""
    return codec.encode(items)


def hello_with(**fields: codec.Value) -> bytes:
    """Return a HELLO header in which the named fields are replaced."""
    return header(2, *(fields.get(n, v) for n, v in zip(HELLO_NAMES, HELLO_FIELDS, strict=True)))


def ack_with(**fields: codec.Value) -> bytes:
    """Return an ACK header in which the named fields are replaced."""
    return header(8, *(fields.get(n, v) for n, v in zip(NAMES, FIELDS, strict=True)))


def rule_of(*parts: bytes) -> str:
    """Return the rule by which ``parts`` are refused."""
    with pytest.raises(DecodeError) as caught:
        decode_frame(parts)
    return caught.value.rule


# --- The bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("frame", "fields", "payload"), KNOWN, ids=lambda v: type(v).__name__)
def test_each_frame_has_the_bytes_of_the_spec(
    frame: Frame, fields: tuple[codec.Value, ...], payload: bytes | None
) -> None:
    parts = (header(*fields),) if payload is None else (header(*fields), payload)
    assert encode_frame(frame) == parts
    assert decode_frame(parts) == frame


def test_the_smallest_frames_byte_for_byte() -> None:
    """Without our own codec in between: what a peer in another language would send."""
    assert encode_frame(Who()) == (b"\x91\x10",)
    assert encode_frame(Ping(1)) == (b"\x92\x0a\x01",)


def test_a_long_reason_is_cut_to_what_may_travel() -> None:
    (data,) = encode_frame(Bye(ByeCode.CLOSING, "é" * 150))
    assert decode_frame([data]) == Bye(ByeCode.CLOSING, "é" * 100)


def test_a_reason_is_never_cut_within_a_character() -> None:
    assert clip_reason("x" + "é" * 150) == "x" + "é" * 99
    assert clip_reason("short") == "short"


def test_a_reason_that_is_not_utf8_is_made_so() -> None:
    assert clip_reason("bad \ud800") == "bad ?"


# --- The shape of a message (FRM-1, FRM-2) ------------------------------------------------------


def test_a_message_is_one_or_two_frames() -> None:
    """FRM-1: an endless multipart message is refused after the second frame."""
    assert rule_of() == "FRM-1"
    assert rule_of(header(8, *FIELDS), b"", b"") == "FRM-1"


@pytest.mark.parametrize("kind", sorted(set(Kind)))
def test_only_data_and_bulk_have_a_second_frame(kind: Kind) -> None:
    """FRM-1."""
    fields = next(fields for _, fields, _ in KNOWN if fields[0] == kind)
    if kind in (Kind.DATA, Kind.BULK):
        assert rule_of(header(*fields)) == "FRM-1"
    else:
        assert rule_of(header(*fields), b"\x91\xc4\x00") == "FRM-1"


def test_a_header_is_bounded_before_it_is_decoded() -> None:
    """FRM-2: not even the codec looks at a header that is too long."""
    most = limits.HEADER_MAX_BYTES
    assert rule_of(b"\xc1" * most) == "ENC-1"
    assert rule_of(b"\xc1" * (most + 1)) == "FRM-2"


@pytest.mark.parametrize("value", [(), (b"",), (True,), (-1,), ("8",), 8, {}, b""])
def test_a_header_is_an_array_that_starts_with_a_kind(value: codec.Value) -> None:
    """FRM-2."""
    assert rule_of(codec.encode(value)) == "FRM-2"


def test_a_header_is_canonical() -> None:
    """ENC-1, ENC-2: one frame has one encoding."""
    assert rule_of(b"\x91\xcc\x10") == "ENC-2"  # WHO, with its kind in two bytes.
    assert rule_of(b"\x91\x10\x00") == "ENC-1"
    assert rule_of(b"") == "ENC-1"


def test_a_header_nests_no_deeper_than_its_refusals() -> None:
    """ENC-4: an array of arrays of arrays; one level is to spare."""
    assert rule_of(header(8, ((((1,),),),))) == "ENC-4"


def test_a_header_and_a_batch_have_only_so_many_items() -> None:
    """ENC-4: 64 KiB of one-byte items would take the node 10 ms each to look at."""
    few, most = (3, (0,) * 1021), 1021 + 3
    assert decode_frame([codec.encode(few)]) == Ignored(3)
    assert most == limits.HEADER_MAX_ITEMS
    assert rule_of(codec.encode((3, (0,) * 1022))) == "ENC-4"
    assert rule_of(header(4, 8, AT_END, *FIELDS), codec.encode((b"",) * 1024)) == "ENC-4"


# --- Kinds and fields (FRM-3, FRM-4) ------------------------------------------------------------


def test_an_unknown_odd_kind_is_ignored_whatever_it_carries() -> None:
    """FRM-4."""
    assert decode_frame([header(21, "x", {1: 2})]) == Ignored(21)
    assert decode_frame([header(1), b"payload"]) == Ignored(1)


@pytest.mark.parametrize("kind", [0, 20, 2**64 - 2])
def test_an_unknown_even_kind_is_refused(kind: int) -> None:
    """FRM-4: it might change what everything after it means."""
    assert rule_of(header(kind)) == "FRM-4"


@pytest.mark.parametrize(("frame", "fields", "payload"), KNOWN[:-1])
def test_a_frame_has_as_many_fields_as_its_kind(
    frame: Frame, fields: tuple[codec.Value, ...], payload: bytes | None
) -> None:
    """FRM-3."""
    rest = () if payload is None else (payload,)
    assert rule_of(header(*fields, 0), *rest) == "FRM-3"
    if not isinstance(frame, Who):
        assert rule_of(header(*fields[:-1]), *rest) == "FRM-3"


@pytest.mark.parametrize("value", [-1, True, b"", "1", ()])
def test_a_number_is_an_unsigned_integer(value: codec.Value) -> None:
    """FRM-3; a bool is no integer here, though it is one in Python."""
    assert rule_of(header(10, value)) == "FRM-3"
    assert rule_of(header(12, value, *FIELDS)) == "FRM-3"
    assert rule_of(header(4, value, AT_END, *FIELDS), b"\x91\xc4\x00") == "FRM-3"
    for name in ("base", "ack", "received", "window_messages", "window_bytes"):
        assert rule_of(ack_with(**{name: value})) == "FRM-3"
    for name in ("incarnation", "base", "next", "cursor", "heard"):
        assert rule_of(hello_with(**{name: value})) == "FRM-3"
    assert rule_of(hello_with(versions=(value,))) == "FRM-3"
    assert rule_of(hello_with(window=(value, 1))) == "FRM-3"
    assert rule_of(hello_with(window=(1, value))) == "FRM-3"
    assert rule_of(header(14, value, "")) == "FRM-3"


def test_messages_are_numbered_from_one() -> None:
    """SEQ-1: there is no message 0."""
    assert rule_of(header(4, 0, AT_END, *FIELDS), b"\x91\xc4\x00") == "SEQ-1"
    assert rule_of(header(6, 0, AT_END, *FIELDS), BULK_BODY) == "SEQ-1"
    assert rule_of(ack_with(base=0)) == "SEQ-1"
    assert rule_of(hello_with(base=0)) == "SEQ-1"
    assert rule_of(hello_with(heard=0)) == "SEQ-1"
    assert rule_of(ack_with(refusals=((0, 4, "no"),))) == "SEQ-1"


def test_what_is_processed_was_received() -> None:
    """ACK-2."""
    decode_frame([ack_with(ack=4, received=4)])
    assert rule_of(ack_with(ack=5, received=4)) == "ACK-2"


# --- HELLO --------------------------------------------------------------------------------------


def test_versions_are_a_list_of_bounded_length() -> None:
    """HEL-1."""
    decode_frame([hello_with(versions=tuple(range(VERSIONS_MAX)))])
    assert rule_of(hello_with(versions=tuple(range(VERSIONS_MAX + 1)))) == "HEL-1"
    assert rule_of(hello_with(versions=())) == "HEL-1"
    assert rule_of(hello_with(versions=1)) == "HEL-1"


def test_a_record_is_bounded() -> None:
    decode_frame([hello_with(record=bytes(limits.RECORD_MAX_BYTES))])
    assert rule_of(hello_with(record=bytes(limits.RECORD_MAX_BYTES + 1))) == "FRM-3"
    assert rule_of(hello_with(record="record")) == "FRM-3"


@pytest.mark.parametrize(
    "name", ["instance", "stream", "seen_stream", "base_digest", "seen_digest"]
)
def test_ids_have_their_size(name: str) -> None:
    """FRM-3."""
    for value in (b"short", bytes(17), 5, "0123456789abcdef"):
        assert rule_of(hello_with(**{name: value})) == "FRM-3"


def test_digests_have_their_size() -> None:
    """FRM-3: that of a progress, and that at the end of a batch."""
    for value in (b"", b"short", bytes(17), 5, "0123456789abcdef"):
        assert rule_of(ack_with(digest=value)) == "FRM-3"
        assert rule_of(header(4, 8, value, *FIELDS), b"\x91\xc4\x00") == "FRM-3"
        assert rule_of(header(6, 8, value, *FIELDS), BULK_BODY) == "FRM-3"
    assert rule_of(hello_with(base_digest=b"")) == "FRM-3"


def test_a_window_is_a_pair() -> None:
    """FRM-3."""
    for value in ((1,), (1, 2, 3), 5):
        assert rule_of(hello_with(window=value)) == "FRM-3"


def test_next_is_not_below_base() -> None:
    """HEL-2: equal means that nothing is held."""
    decode_frame([hello_with(base=9, next=9)])
    assert rule_of(hello_with(base=9, next=8)) == "HEL-2"


def test_a_cursor_belongs_to_a_stream() -> None:
    """HEL-2: who knows no stream has processed none of it."""
    none: dict[str, codec.Value] = {"seen_stream": b"", "seen_digest": b"", "refusals": ()}
    hello = decode_frame([hello_with(**none, cursor=0)])
    assert isinstance(hello, Hello)
    assert (hello.seen_stream, hello.seen_digest) == (StreamId(b""), b"")
    assert rule_of(hello_with(**none, cursor=1)) == "HEL-2"


def test_a_stream_that_is_known_has_a_digest_and_only_that() -> None:
    """HEL-2, RES-11."""
    assert rule_of(hello_with(seen_digest=b"")) == "HEL-2"
    assert rule_of(hello_with(seen_stream=b"", cursor=0, refusals=())) == "HEL-2"


def test_unknown_odd_extensions_are_kept_and_even_ones_refused() -> None:
    """FRM-5."""
    most = {2 * number + 1: b"" for number in range(EXTENSIONS_MAX)}
    hello = decode_frame([hello_with(extensions=dict(most))])
    assert isinstance(hello, Hello)
    assert hello.extensions == most
    assert rule_of(hello_with(extensions={2: b""})) == "FRM-5"


def test_extensions_stand_in_ascending_order() -> None:
    """ENC-5: one HELLO has one encoding."""
    sorted_, keys = hello_with(extensions={1: b"", 3: b""}), (b"\x01\xc4\x00", b"\x03\xc4\x00")
    unsorted = sorted_.replace(keys[0] + keys[1], keys[1] + keys[0])
    assert unsorted != sorted_
    assert rule_of(unsorted) == "ENC-5"


def test_extensions_are_a_map_of_bounded_size() -> None:
    """FRM-5."""
    many: dict[int, codec.Value] = {2 * number + 1: b"" for number in range(EXTENSIONS_MAX + 1)}
    assert rule_of(hello_with(extensions=many)) == "FRM-5"
    assert rule_of(hello_with(extensions=())) == "FRM-5"
    assert rule_of(hello_with(extensions={1: 5})) == "FRM-3"
    decode_frame([hello_with(extensions={1: bytes(limits.RECORD_MAX_BYTES)})])
    assert rule_of(hello_with(extensions={1: bytes(limits.RECORD_MAX_BYTES + 1)})) == "FRM-3"


def test_the_largest_hello_fits_a_header() -> None:
    """FRM-2: or a node with many refusals could not say HELLO at all."""
    reason = "x" * limits.REASON_MAX_BYTES
    refusals = tuple((2**52 + n, 4, reason) for n in range(limits.REFUSALS_MAX))
    data = hello_with(
        record=bytes(limits.RECORD_MAX_BYTES),
        cursor=2**53 - 1,
        refusals=refusals,
        extensions={2 * n + 2**60 + 1: bytes(limits.RECORD_MAX_BYTES) for n in range(16)},
    )
    assert len(data) <= limits.HEADER_MAX_BYTES
    assert isinstance(decode_frame([data]), Hello)


# --- Refusals and BYE ---------------------------------------------------------------------------


def test_refusals_are_a_list_of_bounded_length() -> None:
    """REF-3."""
    most = tuple((n, 4, "") for n in range(1, limits.REFUSALS_MAX + 1))
    decode_frame([ack_with(ack=100, received=100, refusals=most)])
    more = (*most, (limits.REFUSALS_MAX + 1, 4, ""))
    assert rule_of(ack_with(ack=100, received=100, refusals=more)) == "REF-3"
    others: tuple[codec.Value, ...] = (5, {1: 2}, b"")
    for value in others:
        assert rule_of(ack_with(refusals=value)) == "REF-3"


@pytest.mark.parametrize("item", [5, (3, 4), (3, 4, "no", 1), {}])
def test_a_refusal_is_a_triple(item: codec.Value) -> None:
    """REF-3."""
    assert rule_of(ack_with(refusals=(item,))) == "REF-3"


def test_refusals_ascend_and_are_covered_by_the_ack() -> None:
    """REF-3: so none can turn up for a message that was already reported as processed."""
    decode_frame([ack_with(refusals=((2, 4, ""), (3, 4, "")))])
    assert rule_of(ack_with(refusals=((2, 4, ""), (2, 4, "")))) == "REF-3"
    assert rule_of(ack_with(refusals=((3, 4, ""), (2, 4, "")))) == "REF-3"
    assert rule_of(ack_with(refusals=((4, 4, ""),))) == "REF-3"
    assert rule_of(hello_with(refusals=((4, 4, ""),))) == "REF-3"


def test_a_refusal_code_is_a_known_one() -> None:
    """REF-1."""
    last = max(code.value for code in RefusalCode)
    decode_frame([ack_with(refusals=((3, last, ""),))])
    assert rule_of(ack_with(refusals=((3, last + 1, ""),))) == "REF-1"
    assert rule_of(ack_with(refusals=((3, 0, ""),))) == "REF-1"


def test_a_reason_is_text_of_bounded_size() -> None:
    """FRM-3: the bound is on bytes, not on characters."""
    decode_frame([header(14, 1, "é" * 100)])
    assert rule_of(header(14, 1, "é" * 101)) == "FRM-3"
    assert rule_of(header(14, 1, b"reason")) == "FRM-3"
    assert rule_of(ack_with(refusals=((3, 4, b"no"),))) == "FRM-3"


def test_a_goodbye_bears_a_known_code() -> None:
    """BYE-1."""
    last = max(code.value for code in ByeCode)
    decode_frame([header(14, last, "")])
    assert rule_of(header(14, last + 1, "")) == "BYE-1"
    assert rule_of(header(14, 0, "")) == "BYE-1"


# --- Payloads (FRM-6) ---------------------------------------------------------------------------


def test_a_batch_is_an_array_of_one_to_256_messages() -> None:
    """FRM-6."""
    data = header(4, 8, AT_END, *FIELDS)
    decode_frame([data, codec.encode((b"",) * 256)])
    assert rule_of(data, codec.encode((b"",) * 257)) == "FRM-6"
    assert rule_of(data, codec.encode(())) == "FRM-6"
    assert rule_of(data, codec.encode(b"x")) == "FRM-6"
    assert rule_of(data, b"") == "ENC-1"


@pytest.mark.parametrize("item", ["x", 1, True])
def test_a_batch_holds_bin_only(item: codec.Value) -> None:
    """FRM-6."""
    assert rule_of(header(4, 8, AT_END, *FIELDS), codec.encode((b"", item))) == "FRM-6"


def test_a_batch_is_not_nested() -> None:
    """ENC-4: its depth is bounded before its items are looked at."""
    assert rule_of(header(4, 8, AT_END, *FIELDS), codec.encode((b"", (b"",)))) == "ENC-4"


def test_a_batch_is_bounded_in_bytes() -> None:
    """FRM-6: the last message of a batch may take it beyond 48 KiB, by less than 32 KiB."""
    data = header(4, 8, AT_END, *FIELDS)
    most = limits.BATCH_MAX_BYTES + limits.BULK_MIN_BYTES
    body = bytes(most - 6)  # The array's header is one byte, the body's five.
    decode_frame([data, codec.encode((body,))])
    assert rule_of(data, codec.encode((body + b"x",))) == "FRM-6"


def test_a_bulk_body_has_its_bounds() -> None:
    """FRM-6: smaller ones travel in a batch, larger ones not at all."""
    bulk = header(6, 8, AT_END, *FIELDS)
    for size in (limits.BULK_MIN_BYTES, limits.BODY_MAX_BYTES):
        decode_frame([bulk, bytes(size)])
    for size in (limits.BULK_MIN_BYTES - 1, limits.BODY_MAX_BYTES + 1):
        assert rule_of(bulk, bytes(size)) == "FRM-6"


def test_a_number_beyond_what_every_language_and_store_holds_is_refused() -> None:
    """FRM-3: SQLite ends at 2**63; a larger one would stop the node at its next commit."""
    assert decode_frame([codec.encode((10, 2**53 - 1))]) == Ping(2**53 - 1)
    with pytest.raises(DecodeError, match="FRM-3"):
        decode_frame([codec.encode((10, 2**53))])


@pytest.mark.parametrize("token", [0, 127, 128, 70_000])
def test_a_pong_is_known_by_how_it_ends(token: int) -> None:
    progress = progress_of(ack=3, refusals=(refusal_of(2),))
    tail, parts = pong_tail(progress), encode_frame(Pong(token, progress))
    assert is_pong(parts, token, tail)
    assert not is_pong(parts, token + 1, tail)
    assert not is_pong(encode_frame(Pong(token, progress_of(ack=4))), token, tail)
    assert not is_pong((*parts, b""), token, tail)  # FRM-1: it is none, whatever the first says.
