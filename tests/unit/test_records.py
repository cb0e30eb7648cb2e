"""Peer records and URIs: what is accepted, and which rule refuses what is not."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest

from zmqp2p.codec import Value, decode, encode
from zmqp2p.crypto import SecretKey, Signature, keccak256
from zmqp2p.errors import InvalidValue, RecordError
from zmqp2p.ids import Address, CurveKey
from zmqp2p.limits import ENDPOINT_MAX_BYTES, ENDPOINTS_MAX, RECORD_MAX_BYTES
from zmqp2p.records import (
    TIME_MAX_MS,
    PeerRecord,
    PeerUri,
    checksum_text,
    parse_address,
    parse_contact,
)

ALICE = SecretKey(bytes(31) + b"\x01")
BOB = SecretKey(bytes(31) + b"\x02")
ALICE_TEXT = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"  # The well-known address of key 1.
CURVE = CurveKey(bytes(range(32)))
ENDPOINTS = ("tcp://127.0.0.1:5555", "tcp://[::1]:5556", "ipc:///tmp/alice node.sock")
ISSUED_MS = 1_700_000_000_000
EXPIRES_MS = ISSUED_MS + 86_400_000


def record(**changes: object) -> PeerRecord:
    """Return Alice's record, issued with ``changes``."""
    fields: dict[str, object] = {
        "signer": ALICE,
        "curve_key": CURVE,
        "endpoints": ENDPOINTS,
        "issued_ms": ISSUED_MS,
        "expires_ms": EXPIRES_MS,
    }
    issue: Callable[..., PeerRecord] = PeerRecord.issue
    return issue(**(fields | changes))


def signed(*statement: object) -> bytes:
    """Return the encoding of any array that Alice signed in the way a record is signed."""
    values: tuple[Value, ...] = statement  # type: ignore[assignment]  # Wrong on purpose.
    digest = keccak256(b"zmqp2p peer record v1\n" + encode(values))
    return encode((*values, ALICE.sign(digest).to_bytes()))


def text_of(data: bytes) -> str:
    """Return ``data`` in the text form of a record, whatever it is."""
    return "zp2p:" + urlsafe_b64encode(data).rstrip(b"=").decode()


# --- Encoding and signature ---------------------------------------------------------------------


def test_a_record_is_the_documented_array_signed_over_the_documented_bytes() -> None:
    """Peers in other languages are written from this layout."""
    issued = record()
    expected = signed(1, ALICE.address, CURVE, ENDPOINTS, ISSUED_MS, EXPIRES_MS)
    assert issued.encode() == expected
    assert issued.version == 1
    assert issued.address == ALICE.address


def test_a_record_decodes_to_what_was_issued() -> None:
    assert PeerRecord.decode(record().encode()) == record()


def test_a_record_may_have_no_endpoints() -> None:
    """A node that only dials still needs a record for its HELLO."""
    assert PeerRecord.decode(record(endpoints=()).encode()).endpoints == ()


def test_the_largest_record_fits_the_limit() -> None:
    longest = "ipc://" + "x" * (ENDPOINT_MAX_BYTES - 6)
    largest = record(
        endpoints=[longest] * ENDPOINTS_MAX, issued_ms=TIME_MAX_MS - 1, expires_ms=TIME_MAX_MS
    )
    assert len(largest.encode()) <= RECORD_MAX_BYTES
    assert PeerRecord.parse(str(largest)) == largest


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        encode(1),
        encode(()),
        record().encode() + b"\x00",
        record().encode()[:-1],
        bytes(RECORD_MAX_BYTES + 1),
        encode((1, 2, 3, 4, 5, 6, 7)),
        signed(2, ALICE.address, CURVE, ENDPOINTS, ISSUED_MS, EXPIRES_MS),
        signed(True, ALICE.address, CURVE, ENDPOINTS, ISSUED_MS, EXPIRES_MS),
        signed(1, ALICE.address + b"\x00", CURVE, ENDPOINTS, ISSUED_MS, EXPIRES_MS),
        signed(1, ALICE.address, CURVE[:-1], ENDPOINTS, ISSUED_MS, EXPIRES_MS),
        signed(1, ALICE.address, CURVE, ("tcp://a:1",) * 9, ISSUED_MS, EXPIRES_MS),
        signed(1, ALICE.address, CURVE, (b"tcp://a:1",), ISSUED_MS, EXPIRES_MS),
        signed(1, ALICE.address, CURVE, ("tcp://a:0",), ISSUED_MS, EXPIRES_MS),
        signed(1, ALICE.address, CURVE, ENDPOINTS, -1, EXPIRES_MS),
        signed(1, ALICE.address, CURVE, ENDPOINTS, True, EXPIRES_MS),
        signed(1, ALICE.address, CURVE, ENDPOINTS, ISSUED_MS, 2**53),
        signed(1, ALICE.address, CURVE, ENDPOINTS, ISSUED_MS, ISSUED_MS),
        signed(1, ALICE.address, CURVE, ENDPOINTS, ISSUED_MS, EXPIRES_MS, 0),
        signed(1, ALICE.address, CURVE, ENDPOINTS, ISSUED_MS),
        encode((1, ALICE.address, CURVE, (), 1, 2, bytes(65))),
    ],
    ids=lambda data: f"{len(data)}-{data[-8:].hex()}",
)
def test_what_is_not_a_record_is_refused_as_malformed(data: bytes) -> None:
    """Each array is signed as it stands, so that only its form can be what is refused."""
    with pytest.raises(RecordError) as caught:
        PeerRecord.decode(data)
    assert caught.value.rule == "REC-1"


def test_an_over_long_record_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(RecordError, match="longer than 2048 bytes"):
        PeerRecord.decode(encode(bytes(RECORD_MAX_BYTES)))


def test_a_record_signed_by_another_key_is_refused() -> None:
    """The heart of it: nobody can bind a key of theirs to another's address."""
    genuine = decode(record().encode())
    assert type(genuine) is tuple
    forged = encode((*genuine[:6], record(signer=BOB).signature.to_bytes()))
    with pytest.raises(RecordError) as caught:
        PeerRecord.decode(forged)
    assert caught.value.rule == "REC-2"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", BOB.address),
        ("curve_key", CurveKey(bytes(32))),
        ("endpoints", ("tcp://evil.example:5555",)),
        ("issued_ms", ISSUED_MS + 1),
        ("expires_ms", EXPIRES_MS + 1),
    ],
)
def test_the_signature_covers_every_field(field: str, value: object) -> None:
    change: Callable[..., PeerRecord] = replace
    with pytest.raises(RecordError) as caught:
        change(record(), **{field: value})
    assert caught.value.rule == "REC-2"


def test_a_signature_that_no_key_fits_is_refused() -> None:
    """5 is the x of no point of the curve, so there is no key to recover."""
    hopeless = Signature((5).to_bytes(32), (1).to_bytes(32), 27)
    with pytest.raises(RecordError) as caught:
        replace(record(), signature=hopeless)
    assert caught.value.rule == "REC-2"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("curve_key", b"short"),
        ("curve_key", bytearray(32)),
        ("endpoints", ("tcp://a:1",) * (ENDPOINTS_MAX + 1)),
        ("issued_ms", -1),
        ("issued_ms", 1.0),
        ("expires_ms", 2**53),
        ("expires_ms", 2**64),
        ("expires_ms", ISSUED_MS),
    ],
)
def test_a_record_out_of_range_is_not_issued(field: str, value: object) -> None:
    """The caller is told which field, and nothing was signed."""
    with pytest.raises(InvalidValue) as caught:
        record(**{field: value})
    assert caught.value.field == field


def test_endpoints_are_a_tuple_in_a_record() -> None:
    """A list could change after the signature was checked."""
    change: Callable[..., PeerRecord] = replace
    with pytest.raises(InvalidValue, match="must be a tuple"):
        change(record(), endpoints=list(ENDPOINTS))


# --- Endpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://localhost:1",
        "tcp://node-1.example_net.org:65535",
        "tcp://10.0.0.1:5555",
        "tcp://[::1]:5555",
        "tcp://[2001:db8::ffff:1.2.3.4]:80",
        "ipc:///run/zmqp2p/alice.sock",
        "ipc://@abstract",
    ],
)
def test_endpoints_that_can_be_dialed_are_accepted(endpoint: str) -> None:
    assert record(endpoints=(endpoint,)).endpoints == (endpoint,)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "tcp://",
        "ipc://",
        "inproc://alice",
        "TCP://localhost:1",
        "udp://localhost:1",
        "localhost:1",
        "tcp://localhost",
        "tcp://localhost:",
        "tcp://localhost:0",
        "tcp://localhost:01",
        "tcp://localhost:65536",
        "tcp://localhost:999999999999",
        "tcp://localhost:*",
        "tcp://localhost:1/path",
        "tcp://localhost:1\n",
        "tcp://*:5555",
        "tcp://-host:5555",
        "tcp://10.0.0.1:0;10.0.0.2:5555",
        "tcp://::1:5555",
        "tcp://[::1:5555",
        "tcp://[]:5555",
        "tcp://[localhost]:5555",
        "tcp://[127.0.0.1]:5555",
        "tcp://[fe80::1%eth0]:5555",
        "tcp://hôte:5555",
        "ipc:///tmp/\x1b[2J",
        "ipc:///tmp/hôte",
        "ipc:///" + "x" * (ENDPOINT_MAX_BYTES - 6),
        b"tcp://localhost:1",
        None,
    ],
)
def test_endpoints_that_cannot_be_dialed_as_they_stand_are_refused(endpoint: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        record(endpoints=(endpoint,))
    assert caught.value.field == "endpoint"


def test_an_endpoint_instead_of_a_list_of_them_is_refused() -> None:
    with pytest.raises(InvalidValue):
        record(endpoints="tcp://localhost:1")


# --- Time and succession ------------------------------------------------------------------------


@pytest.mark.parametrize("now_ms", [ISSUED_MS - 300, ISSUED_MS, EXPIRES_MS - 1])
def test_a_record_is_good_from_its_issue_less_the_skew_to_just_before_it_expires(
    now_ms: int,
) -> None:
    record().check_time(now_ms, skew_ms=300)


@pytest.mark.parametrize(
    ("now_ms", "rule"),
    [(EXPIRES_MS, "REC-3"), (EXPIRES_MS + 9, "REC-3"), (ISSUED_MS - 301, "REC-4")],
)
def test_a_record_is_refused_outside_its_time(now_ms: int, rule: str) -> None:
    with pytest.raises(RecordError) as caught:
        record().check_time(now_ms, skew_ms=300)
    assert caught.value.rule == rule


def test_only_a_later_record_supersedes() -> None:
    """One issued at the same instant does not: it could flap between two."""
    later = record(issued_ms=ISSUED_MS + 1)
    assert later.supersedes(record())
    assert not record().supersedes(later)
    assert not record(endpoints=()).supersedes(record())


def test_records_of_two_addresses_are_not_compared() -> None:
    with pytest.raises(InvalidValue, match="another address"):
        record().supersedes(record(signer=BOB))


# --- Text forms ---------------------------------------------------------------------------------


def test_the_text_of_a_record_is_unpadded_base64url() -> None:
    text = str(record())
    assert text == text_of(record().encode())
    assert PeerRecord.parse(text) == record()
    assert parse_contact(f"  {text}\n") == record()


def test_each_length_of_text_parses() -> None:
    """Base64 ends in three ways; each must lose its padding and get it back."""
    for length in range(3):
        one = record(endpoints=("ipc://" + "x" * (1 + length),))
        assert PeerRecord.parse(str(one)) == one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zp2p",
        "ZP2P:" + str(record())[5:],
        "zp2p:*" + str(record())[5:],
        str(record()) + "=",
        str(record()) + "\n",
        str(record())[:40] + "\n" + str(record())[40:],
        str(record()).replace("zp2p:", "zp2p:é"),
        "zp2p:A",
        "zp2p:kB",  # "kA" is the canonical text of this byte; B sets bits that are no data.
        "zp2p:" + "A" * 2732,
    ],
)
def test_text_that_is_not_the_form_of_a_record_is_refused(text: str) -> None:
    with pytest.raises(RecordError) as caught:
        PeerRecord.parse(text)
    assert caught.value.rule == "REC-5"


def test_base64_in_the_standard_alphabet_is_refused() -> None:
    """One record, one text: ``+`` and ``/`` stand for ``-`` and ``_`` elsewhere."""
    text = next(t for t in (str(record(issued_ms=i)) for i in range(99)) if "_" in t)
    with pytest.raises(RecordError, match="REC-5"):
        PeerRecord.parse(text.replace("_", "/"))


def test_good_text_of_a_bad_record_is_refused_as_the_record_is() -> None:
    with pytest.raises(RecordError, match="REC-1"):
        PeerRecord.parse(text_of(b"\x00"))


URI_TEXT = f"zp2p://{ALICE_TEXT}@example.org:5555?curve={CURVE.hex()}"


def test_a_uri_says_address_key_and_endpoint() -> None:
    uri = PeerUri.parse(URI_TEXT)
    assert uri.address == ALICE.address
    assert uri.curve_key == CURVE
    assert uri.endpoint == "tcp://example.org:5555"
    assert uri.endpoints == ("tcp://example.org:5555",)
    assert str(uri) == URI_TEXT


def test_a_uri_takes_hex_of_either_case_and_writes_the_canonical_one() -> None:
    digits = CURVE.hex()
    for address in (ALICE_TEXT.lower(), "0x" + ALICE_TEXT[2:].upper()):
        text = f"zp2p://{address}@example.org:5555?curve={digits.upper()}"
        assert str(parse_contact(text)) == URI_TEXT


def test_a_uri_has_its_ipv6_host_in_brackets() -> None:
    text = URI_TEXT.replace("example.org", "[::1]")
    assert PeerUri.parse(text).endpoint == "tcp://[::1]:5555"
    assert str(PeerUri.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "zp2p://",
        URI_TEXT + "&x=1",
        URI_TEXT + "#x",
        URI_TEXT + "00",
        URI_TEXT[:-1],
        URI_TEXT.replace("?curve", "/?curve"),
        URI_TEXT.replace("?curve", "?key"),
        URI_TEXT.replace(":5555", ""),
        URI_TEXT.replace(":5555", ":0"),
        URI_TEXT.replace(":5555", ":65536"),
        URI_TEXT.replace("example.org", "::1"),
        URI_TEXT.replace("example.org", ""),
        URI_TEXT.replace("0x", ""),
        URI_TEXT.replace("0x7E5F", "0x7e5F"),  # Mixed case, wrong checksum.
        URI_TEXT.replace("@", ""),
        URI_TEXT.replace("@", "@user@"),
    ],
)
def test_a_malformed_uri_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_contact(text)
    assert caught.value.field == "contact"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", b""),
        ("curve_key", b""),
        ("endpoint", "ipc:///tmp/x"),
        ("endpoint", "tcp://*:1"),
    ],
)
def test_a_uri_is_not_made_of_what_it_cannot_say(field: str, value: object) -> None:
    make: Callable[..., PeerUri] = replace
    with pytest.raises(InvalidValue) as caught:
        make(PeerUri.parse(URI_TEXT), **{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["", "alice", "tcp://127.0.0.1:5555", ALICE_TEXT])
def test_what_is_neither_record_nor_uri_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_contact(text)
    assert caught.value.field == "contact"


# --- Addresses ----------------------------------------------------------------------------------

EIP_55_EXAMPLES = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize("text", EIP_55_EXAMPLES)
def test_the_examples_of_eip_55_parse_and_are_written_back(text: str) -> None:
    address = parse_address(text)
    assert address.hex() == text[2:].lower()
    assert checksum_text(address) == text


def test_an_address_of_one_case_carries_no_checksum() -> None:
    expected = ALICE.address
    assert parse_address(ALICE_TEXT.lower()) == expected
    assert parse_address("0x" + ALICE_TEXT[2:].upper()) == expected
    assert parse_address(bytes(expected)) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        ALICE_TEXT[2:],
        ALICE_TEXT[:-1],
        ALICE_TEXT + "0",
        ALICE_TEXT.lower() + "0",
        ALICE_TEXT + "\n",
        ALICE_TEXT.replace("0x", "0X"),
        ALICE_TEXT.replace("f", "g"),
        ALICE_TEXT.replace("7E5F", "7e5F"),
        b"",
        bytes(19),
        bytearray(20),
        20,
    ],
)
def test_what_is_not_an_address_is_refused(value: str | bytes) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_address(value)
    assert caught.value.field == "address"


def test_the_checksum_text_of_zero_has_no_case() -> None:
    assert checksum_text(Address(bytes(20))) == "0x" + "0" * 40
