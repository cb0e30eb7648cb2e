"""Laws of records and contacts, for values and bytes nobody thought of."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from zmqp2p.codec import Value, encode
from zmqp2p.crypto import SecretKey
from zmqp2p.errors import InvalidValue, RecordError
from zmqp2p.ids import Address, CurveKey
from zmqp2p.limits import ENDPOINTS_MAX
from zmqp2p.records import (
    TIME_MAX_MS,
    PeerRecord,
    PeerUri,
    checksum_text,
    parse_address,
    parse_contact,
)

SIGNER = SecretKey(bytes(range(1, 33)))

ports = st.integers(1, 65_535)
hosts = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
    st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,60}", fullmatch=True),
)
tcp_endpoints = st.builds("tcp://{}:{}".format, hosts, ports)
printable = st.characters(min_codepoint=32, max_codepoint=126)
ipc_endpoints = st.text(printable, min_size=1, max_size=100).map("ipc://".__add__)
endpoints = st.lists(tcp_endpoints | ipc_endpoints, max_size=ENDPOINTS_MAX)
times_ms = st.lists(st.integers(0, TIME_MAX_MS), min_size=2, max_size=2, unique=True).map(sorted)
addresses = st.binary(min_size=20, max_size=20).map(Address)
curve_keys = st.binary(min_size=32, max_size=32).map(CurveKey)
records = st.builds(
    lambda key, where, when: PeerRecord.issue(SIGNER, key, where, when[0], when[1]),
    curve_keys,
    endpoints,
    times_ms,
)
uris = st.builds(PeerUri, addresses, curve_keys, tcp_endpoints)
values: st.SearchStrategy[Value] = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.text(max_size=9) | st.binary(max_size=70),
    lambda inner: st.lists(inner, max_size=8).map(tuple),
    max_leaves=12,
)


@given(record=records)
@settings(deadline=None)
def test_every_record_comes_back_from_its_bytes_and_its_text(record: PeerRecord) -> None:
    assert PeerRecord.decode(record.encode()) == record
    assert parse_contact(str(record)) == record


@given(uri=uris)
@settings(deadline=None)
def test_every_uri_comes_back_from_its_text(uri: PeerUri) -> None:
    assert parse_contact(str(uri)) == uri


@given(record=records, data=st.data())
@settings(deadline=None)
def test_no_changed_byte_leaves_a_record_that_is_accepted(
    record: PeerRecord, data: st.DataObject
) -> None:
    """Whoever passes a record on can withhold it, but cannot alter it."""
    encoded = bytearray(record.encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    assert refusal(bytes(encoded)) in {"REC-1", "REC-2"}


@given(data=st.binary(max_size=300) | values.map(encode))
@settings(deadline=None)
@example(b"\x91" * 2000)  # Nested deeper than any recursion limit.
def test_any_bytes_are_refused_by_rule(data: bytes) -> None:
    """No signature can be guessed, so nothing drawn is a record; and nothing else is raised."""
    assert refusal(data) in {"REC-1", "REC-2"}


def refusal(data: bytes) -> str | None:
    """Return the rule that ``data`` breaks, None if it is a record."""
    try:
        PeerRecord.decode(data)
    except RecordError as fault:
        return fault.rule
    return None


@given(
    text=st.one_of(
        st.text(max_size=200),
        st.text(max_size=200).map("zp2p:".__add__),
        st.text(max_size=200).map("zp2p://".__add__),
        st.from_regex(r"zp2p://0x[0-9a-f]{40}@.{0,40}\?curve=[0-9a-f]{64}"),
    )
)
@settings(deadline=None)
def test_any_text_is_a_contact_or_refused_with_a_typed_error(text: str) -> None:
    """What is accepted is written back to a text that means the same."""
    try:
        contact = parse_contact(text)
    except (RecordError, InvalidValue):
        return
    assert parse_contact(str(contact)) == contact


@given(address=addresses)
def test_every_address_comes_back_from_its_checksum_text(address: Address) -> None:
    assert parse_address(checksum_text(address)) == address


@given(address=addresses, position=st.integers(2, 41))
def test_a_letter_in_the_wrong_case_is_noticed(address: Address, position: int) -> None:
    """Unless it leaves all letters in one case, which carries no checksum."""
    text = checksum_text(address)
    wrong = text[:position] + text[position].swapcase() + text[position + 1 :]
    if wrong == text or wrong[2:] in (wrong[2:].lower(), wrong[2:].upper()):
        assert parse_address(wrong) == address
    else:
        assert refused(wrong)


def refused(text: str) -> bool:
    """Tell whether ``text`` is refused as an address."""
    try:
        parse_address(text)
    except InvalidValue:
        return True
    return False
