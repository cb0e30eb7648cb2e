"""What both faces are given is checked before a node is made of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zmqp2p.errors import EndpointError, InvalidValue, LocalError, RecordError
from zmqp2p.identity import Identity
from zmqp2p.ids import ZERO_ADDRESS, Address, ChannelId
from zmqp2p.limits import BODY_MAX_BYTES, Limits
from zmqp2p.messages import AcceptState, decode_message, message
from zmqp2p.node.build import (
    CHALLENGE_DURATION_S,
    address_of,
    check_filter,
    check_timeout,
    contact_of,
    encode,
    options_of,
    start_node,
    terms_of,
)
from zmqp2p.node.loop import utc_ms
from zmqp2p.persistence import PutIssued
from zmqp2p.records import PeerRecord, PeerUri
from zmqp2p.store import MemoryStore
from zmqp2p.transport import MemoryNetwork, MemoryTransport

ME, PEER = Identity.generate(), Identity.generate()
URI = PeerUri(PEER.address, PEER.curve_public, "tcp://127.0.0.1:9000")
RECORD = PeerRecord.issue(PEER, PEER.curve_public, ("tcp://127.0.0.1:9000",), 1, 2**50)


@message(7101)
@dataclass(frozen=True)
class Ping:
    """A message of these tests."""


@pytest.mark.parametrize(
    "name", [PEER.address, "0x" + PEER.address.hex(), URI, RECORD], ids=["bytes", "text", "u", "r"]
)
def test_a_peer_is_named_by_address_text_or_contact(name: Any) -> None:
    assert address_of(name) == PEER.address


@pytest.mark.parametrize("name", [b"short", "0x12", 5, None])
def test_what_names_no_peer_is_refused(name: Any) -> None:
    with pytest.raises(InvalidValue, match="address"):
        address_of(name)


def test_a_contact_is_given_as_such_or_as_text() -> None:
    assert contact_of(RECORD, ME.address) is RECORD
    assert contact_of(str(RECORD), ME.address) == RECORD
    assert contact_of(f" {URI}\n", ME.address) == URI
    for bad in (PEER.address, None, "bob"):
        with pytest.raises(InvalidValue, match="contact"):
            contact_of(bad, ME.address)  # type: ignore[arg-type]
    with pytest.raises(RecordError):
        contact_of("zp2p:AAAA", ME.address)
    with pytest.raises(LocalError, match="own contact"):
        contact_of(RECORD, PEER.address)


def test_messages_are_chosen_by_class_and_channel() -> None:
    check_filter(None, None)
    check_filter(AcceptState, ChannelId(b"\x42" * 32))
    with pytest.raises(InvalidValue, match="message_type"):
        check_filter("AcceptState", None)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="channel_id"):
        check_filter(None, ChannelId(b"short"))


@pytest.mark.parametrize(
    ("endpoint", "endpoints"),
    [
        (None, ()),
        ("tcp://127.0.0.1:0", ("tcp://127.0.0.1:0",)),
        (["tcp://127.0.0.1:0", "ipc://x"], ("tcp://127.0.0.1:0", "ipc://x")),
    ],
)
def test_endpoints_are_one_several_or_none(endpoint: Any, endpoints: tuple[str, ...]) -> None:
    assert options_of(endpoint, ME).endpoints == endpoints


def test_a_setting_that_does_not_exist_is_an_error() -> None:
    for name in ("colour", "endpoints"):
        with pytest.raises(InvalidValue, match="is no setting; there are admission, "):
            options_of(None, ME, **{name: ("blue",)})


@pytest.mark.parametrize("endpoint", [5, b"tcp://127.0.0.1:0", ["tcp://127.0.0.1:0", 5], {}])
def test_what_is_no_endpoint_is_refused(endpoint: Any) -> None:
    with pytest.raises(InvalidValue, match="endpoint: must be"):
        options_of(endpoint, ME)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("identity", (None, ME.address, Identity)),
        ("store", (5, b"node.db", object())),
        ("chain", (5, "chain.db", MemoryStore())),
        ("policy", (None, True)),
        ("limits", (None, {})),
        ("advertise", ("tcp://192.0.2.1:5", 5, [5])),
        (
            "record_lifetime_s",
            (None, True, "1", 0, -1.0, float("nan"), float("inf"), 10 * 365 * 24 * 3600),
        ),
    ],
)
def test_a_setting_of_the_wrong_kind_is_named_before_anything_is_open(
    name: str, values: tuple[Any, ...]
) -> None:
    for value in values:
        settings = {"identity": ME, name: value}
        with pytest.raises(InvalidValue, match="must be") as refused:
            options_of(None, **settings)
        assert refused.value.field == name


@pytest.mark.parametrize("timeout_s", [True, "1", float("nan"), float("inf"), -float("inf"), 1e300])
def test_what_nobody_can_wait_for_is_refused(timeout_s: Any) -> None:
    with pytest.raises(InvalidValue, match="timeout_s"):
        check_timeout(timeout_s)


@pytest.mark.parametrize("timeout_s", [None, 0, 1, 0.5, -1, 1e9])
def test_a_wait_is_without_end_or_so_many_seconds(timeout_s: float | None) -> None:
    check_timeout(timeout_s)


def test_terms_are_this_node_first_with_a_random_nonce() -> None:
    one, other = terms_of(ME.address, PEER.address), terms_of(ME.address, [RECORD])
    assert one.participants == other.participants == (ME.address, PEER.address)
    assert one.channel_nonce != other.channel_nonce
    assert (one.challenge_duration, one.app_definition) == (CHALLENGE_DURATION_S, ZERO_ADDRESS)
    third = Address(b"\x03" * 20)
    many = terms_of(ME.address, (str_of(PEER.address), third), channel_nonce=0)
    assert many.participants == (ME.address, PEER.address, third)
    assert many.channel_nonce == 0


def str_of(address: Address) -> str:
    return "0x" + address.hex()


def test_a_deadline_is_encoded_from_now_on() -> None:
    before = utc_ms()
    deadline_ms = decode_message(encode(Ping(), 60.0)).deadline_ms
    assert deadline_ms is not None
    assert before + 60_000 <= deadline_ms <= utc_ms() + 60_000
    assert decode_message(encode(Ping(), None)).deadline_ms is None


@pytest.mark.parametrize("expires_in_s", [0, -1.0, float("nan"), float("inf"), 1e12, True, "1"])
def test_a_deadline_that_makes_no_sense_is_refused(expires_in_s: Any) -> None:
    with pytest.raises(InvalidValue, match="expires_in_s"):
        encode(Ping(), expires_in_s)


def memory_transport() -> MemoryTransport:
    return MemoryTransport(MemoryNetwork(), curve_public=ME.curve_public, host="host")


def test_a_node_runs_on_what_it_is_given() -> None:
    """Any transport and store that keep their contracts will do."""
    store = MemoryStore()
    node = start_node(options_of(None, ME, transport=memory_transport(), store=store))
    assert node.record.endpoints == ()
    assert node.record.address == ME.address
    node.stop(10.0)
    first = node.record.issued_ms
    again = start_node(options_of(None, ME, transport=memory_transport(), store=store))
    again.stop(10.0)
    assert again.record.issued_ms > first  # Even if the clock has not moved.


def test_a_record_is_newer_than_the_last_one_though_the_clock_went_back() -> None:
    """Peers refuse a record that is older than one they know."""
    store, future_ms = MemoryStore(), utc_ms() + 10**5
    store.open(ME.address, 1)
    store.apply([PutIssued(future_ms)])
    store.commit()
    store.close()
    node = start_node(options_of(None, ME, transport=memory_transport(), store=store))
    node.stop(10.0)
    assert node.record.issued_ms == future_ms + 1


def test_a_store_is_a_path_in_either_form(tmp_path: Path) -> None:
    for path in (tmp_path / "one.db", str(tmp_path / "two.db")):
        start_node(options_of(None, ME, transport=memory_transport(), store=path)).stop(10.0)
        assert Path(path).exists()


@pytest.mark.parametrize("endpoint", ["tcp://*:0", "tcp://0.0.0.0:0", "tcp://[::]:0"])
def test_a_wildcard_needs_an_endpoint_to_show(endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    with pytest.raises(EndpointError, match="advertise"):
        start_node(options_of(endpoint, ME, store=path))
    assert not path.exists()
    node = start_node(options_of(endpoint, ME, advertise=["tcp://192.0.2.1:5"]))
    node.stop(10.0)
    assert node.record.endpoints == ("tcp://192.0.2.1:5",)


def test_an_inbox_too_small_for_the_largest_message_is_refused_before_anything_is_open() -> None:
    """A peer may send such a message, and it would wait for a window that never opens."""
    least_bytes = 1000 + BODY_MAX_BYTES
    limits = Limits(message_max_bytes=1000, inbox_max_bytes=least_bytes - 1)
    with pytest.raises(InvalidValue, match="inbox_max_bytes"):
        start_node(options_of(None, ME, limits=limits))
    enough = Limits(message_max_bytes=1000, inbox_max_bytes=least_bytes)
    start_node(options_of(None, ME, limits=enough)).stop(10.0)
