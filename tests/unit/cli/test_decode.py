"""Bytes are recognized for what they are, and if they are nothing, it is said why."""

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqp2p import codec
from zmqp2p.cli.decode import INPUT_MAX_BYTES, Undecodable, explain, read_input
from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.crypto import SecretKey
from zmqp2p.errors import P2PError
from zmqp2p.ids import ChannelId, CurveKey, InstanceId, Seq, StreamDigest, StreamId, TurnNum
from zmqp2p.messages import RejectProposal, encode_message
from zmqp2p.records import PeerRecord, PeerUri
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Bulk, Data, Frame, Hello, Ping, Progress, Refusal, Who

NOW_MS = 1_700_000_000_000
KEY = SecretKey(b"\1" * 32)
CURVE = CurveKey(b"\2" * 32)
RECORD = PeerRecord.issue(KEY, CURVE, ["tcp://192.0.2.1:7801"], NOW_MS, NOW_MS + 1000)
REJECT = encode_message(RejectProposal(ChannelId(b"\7" * 32), TurnNum(0), RejectCode.BUSY, "later"))
DIGEST = StreamDigest(bytes(range(16)))
PROGRESS = Progress(
    Seq(1),
    Seq(2),
    StreamDigest(b"\5" * 16),
    Seq(3),
    (Refusal(Seq(2), RefusalCode.REPLAY, "old"),),
    100,
    5000,
)


def hello(record: bytes) -> Hello:
    return Hello(
        versions=(1,),
        record=record,
        incarnation=5,
        instance=InstanceId(b"\3" * 8),
        stream=StreamId(b"\4" * 16),
        base=Seq(1),
        base_digest=StreamDigest(b"\4" * 16),
        next=Seq(1),
        seen_stream=StreamId(b""),
        cursor=Seq(0),
        seen_digest=StreamDigest(b""),
        heard=Seq(1),
        refusals=(),
        window_messages=10,
        window_bytes=1000,
    )


def shown(frame: Frame) -> str:
    """Return the explanation of all frames of one ZMTP message."""
    first, *second = encode_frame(frame)
    return explain(first, second[0] if second else None, NOW_MS)


# --- What it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [RECORD.encode(), str(RECORD).encode()])
def test_a_record_is_recognized_in_both_forms(data: bytes) -> None:
    text = explain(data, None, NOW_MS)
    assert text.startswith("peer record, version 1\n")
    assert "tcp://192.0.2.1:7801" in text
    assert text.endswith("valid for 0:00:01")


def test_a_uri_is_recognized() -> None:
    uri = PeerUri(KEY.address, CURVE, "tcp://192.0.2.1:7801")
    assert explain(str(uri).encode(), None, NOW_MS).startswith("peer URI\n")


def test_a_message_is_recognized() -> None:
    text = explain(REJECT, None, NOW_MS)
    assert text.startswith(f"message: tag 3, {len(REJECT)} bytes\n  message: RejectProposal\n")
    assert "reason: 'later'" in text


def test_an_applications_message_is_shown_though_its_class_is_unknown() -> None:
    """Odd tags could be ignorable frames; a message is the likelier find."""
    text = explain(codec.encode((4_001, "hi")), None, NOW_MS)
    assert text.startswith("message of an application, whose type is not known here: ")
    assert text.endswith("    [0]: 4001\n    [1]: 'hi'")


def test_frames_of_one_part_are_recognized() -> None:
    assert shown(Ping(5)) == "frame PING, 3 bytes\n  frame: Ping\n    token: 5"
    assert shown(Who()) == "frame WHO, 2 bytes\n  frame: Who"


def test_a_frame_that_may_be_ignored_is_told_from_the_others() -> None:
    data = codec.encode((33, "x"))
    expected = "frame IGNORED, 4 bytes: unknown kind 33, which is odd and may be ignored"
    assert explain(data, None, NOW_MS) == expected


def test_a_batch_is_shown_with_its_messages_and_their_numbers() -> None:
    text = shown(Data(Seq(41), DIGEST, PROGRESS, (REJECT, b"\xc1")))
    assert text.startswith("frame DATA, ")
    assert f"\n  seq: 41\n  digest: 0x{DIGEST.hex()}\n  progress: Progress\n    base: 1\n" in text
    assert f"    ack: 2\n    digest: 0x{'05' * 16}\n    received: 3\n" in text
    assert "code: replay" in text
    assert f"\nmessage 41: tag 3, {len(REJECT)} bytes\n" in text
    assert "\nmessage 42: undecodable, 1 bytes (ENC-1" in text


def test_a_large_message_is_shown_with_its_number() -> None:
    text = shown(Bulk(Seq(9), DIGEST, PROGRESS, bytes(40_000)))
    assert text.startswith("frame BULK, ")
    assert "\nmessage 9: undecodable, 40000 bytes" in text


@pytest.mark.parametrize(
    "frame",
    [Data(Seq(41), DIGEST, PROGRESS, (REJECT,)), Bulk(Seq(41), DIGEST, PROGRESS, bytes(40_000))],
)
def test_a_header_alone_is_shown_without_its_payload(frame: Frame) -> None:
    header = encode_frame(frame)[0]
    text = explain(header, None, NOW_MS)
    assert text.startswith(
        f"frame {type(frame).__name__.upper()}, {len(header)} bytes\n  seq: 41\n"
    )
    assert text.endswith("\n  its second frame, the payload, was not given")


def test_a_hello_is_shown_with_its_record_explained() -> None:
    text = shown(hello(RECORD.encode()))
    assert text.startswith("frame HELLO, ")
    assert "    incarnation: 5\n" in text
    assert f"    base: 1\n    base_digest: 0x{'04' * 16}\n" in text
    assert "    cursor: 0\n    seen_digest: 0x\n    heard: 1\n" in text
    assert "\nits record: peer record, version 1\n" in text


def test_a_hello_with_a_bad_record_says_what_is_bad() -> None:
    assert shown(hello(b"\x90")).endswith(
        "\nits record is not good: REC-1: record: must be an array of the seven fields of a record"
    )


# --- What is nothing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes 0x: ENC-1"),
        (b"\xc0", "1 bytes 0xc0: ENC-3"),
        (b"\x93\1", "2 bytes 0x9301: ENC-1: not MessagePack"),
        (bytes(17), f"17 bytes 0x{'00' * 16}..: ENC-1"),
    ],
)
def test_bytes_that_are_no_value_are_refused_with_the_rule(data: bytes, reason: str) -> None:
    with pytest.raises(Undecodable) as caught:
        explain(data, None, NOW_MS)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize("value", [5, "text", (), ("x",), (20, 1), ({1: 2},), (2**40, 1)])
def test_values_that_are_nothing_are_refused_for_each_form(value: codec.Value) -> None:
    with pytest.raises(Undecodable) as caught:
        explain(codec.encode(value), None, NOW_MS)
    text = str(caught.value)
    assert ": no peer record (REC-1: " in text
    assert "; no message (MSG-" in text
    assert "; no frame (FRM-" in text
    assert "\n" not in text


def test_a_header_of_the_right_kind_but_wrong_fields_is_refused() -> None:
    with pytest.raises(Undecodable, match=r"no frame \(FRM-3: DATA has 1 fields, not 9\)"):
        explain(codec.encode((4, 1)), None, NOW_MS)


def test_a_payload_makes_it_a_frame_and_nothing_else() -> None:
    with pytest.raises(Undecodable, match="no frame: FRM-1: kind 10 with 2 frames"):
        explain(encode_frame(Ping(5))[0], b"\x90", NOW_MS)


@pytest.mark.parametrize(
    "text", ["zp2p:!", "zp2p:\u00e9", "zp2p:\udcff", "zp2p://x", str(RECORD)[:-1]]
)
def test_a_contact_that_is_not_good_is_refused(text: str) -> None:
    with pytest.raises(P2PError):
        explain(read_input(text), None, NOW_MS)


@given(data=st.binary(max_size=200), payload=st.none() | st.binary(max_size=20))
def test_any_bytes_are_explained_or_refused(data: bytes, payload: bytes | None) -> None:
    try:
        assert explain(data, payload, NOW_MS)
    except P2PError as fault:
        assert str(fault)  # noqa: PT017  # Either outcome is right; any other exception is not.


values = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.text(max_size=5) | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=8).map(tuple)
        | st.dictionaries(st.integers(0, 9), inner, max_size=2).map(
            lambda made: dict(sorted(made.items()))
        )
    ),
    max_leaves=12,
)


@given(value=values)
def test_any_value_is_explained_or_refused(value: codec.Value) -> None:
    try:
        assert explain(codec.encode(value), None, NOW_MS)
    except P2PError as fault:
        assert str(fault)  # noqa: PT017  # As above.


# --- Where it is read from ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["930a0b0c", "0x930a0b0c", " 93 0a\n0B 0c "])
def test_digits_are_read_with_prefix_and_white_space(text: str) -> None:
    assert read_input(text) == b"\x93\x0a\x0b\x0c"


def test_an_odd_number_of_digits_is_refused() -> None:
    with pytest.raises(Undecodable, match="an odd number of hexadecimal digits: 3"):
        read_input("93 0")


@pytest.mark.parametrize(
    ("content", "data"),
    [
        (b"\x93\x01\xff", b"\x93\x01\xff"),
        (b"93 01 ff\n", b"\x93\x01\xff"),
        (b"\x01\x02", b"\x01\x02"),
        (b" \n", b" \n"),
        (b" zp2p:abc\n", b"zp2p:abc"),
    ],
)
def test_a_file_holds_bytes_or_digits_or_a_record(
    tmp_path: Path, content: bytes, data: bytes
) -> None:
    file = tmp_path / "it.bin"
    file.write_bytes(content)
    assert read_input(str(file)) == data


def test_standard_input_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"0x930a\n")))
    assert read_input("-") == b"\x93\x0a"


@pytest.mark.parametrize("name", ["no-such-file", "93\u00a00a", "x" * 5000, "nul\0", "."])
def test_what_is_neither_digits_nor_a_file_is_refused(name: str) -> None:
    with pytest.raises(Undecodable, match="is neither hexadecimal nor a file"):
        read_input(name)


def test_input_beyond_the_bound_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "huge.bin"
    file.write_bytes(bytes(INPUT_MAX_BYTES))
    assert len(read_input(str(file))) == INPUT_MAX_BYTES
    file.write_bytes(bytes(INPUT_MAX_BYTES + 1))
    with pytest.raises(Undecodable, match=f"more than {INPUT_MAX_BYTES} bytes"):
        read_input(str(file))
