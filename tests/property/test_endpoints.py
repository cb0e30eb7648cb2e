"""Endpoints and ZAP requests that nobody thought of: read in one way, or refused in one way."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqp2p.errors import EndpointError
from zmqp2p.transport.endpoints import Endpoint, parse_dial, parse_listen
from zmqp2p.transport.options import ZAP_DOMAIN
from zmqp2p.transport.zap import answer

WILDCARDS = ["0.0.0.0", "[::]", "[::0]", "[0:0:0:0:0:0:0:0]"]  # noqa: S104  # Not bound.
addresses = (
    st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map("[{}]".format)
    | st.sampled_from(WILDCARDS)
)
ports = st.integers(-1, 70_000)
tcp = st.builds("tcp://{}:{}".format, addresses, ports)
paths = st.text(max_size=120).map("ipc://".__add__)
PARSERS = [parse_dial, parse_listen]


def parsed(parse: Callable[[str], Endpoint], text: str) -> Endpoint | None:
    """Return the endpoint, or None if it was refused in the one way allowed."""
    try:
        return parse(text)
    except EndpointError:
        return None


@pytest.mark.parametrize("parse", PARSERS)
@given(text=tcp | paths | st.text(max_size=60).map("tcp://".__add__) | st.text(max_size=60))
def test_what_is_accepted_is_accepted_again_as_it_is_given_to_the_library(
    parse: Callable[[str], Endpoint], text: str
) -> None:
    endpoint = parsed(parse, text)
    if endpoint is not None:
        assert endpoint.text == text
        assert parse(endpoint.address).address == endpoint.address


@given(address=addresses, port=ports)
def test_exactly_the_ports_of_the_range_are_accepted(address: str, port: int) -> None:
    """And a wildcard, or port 0, only to listen at."""
    text = f"tcp://{address}:{port}"
    wildcard = address in WILDCARDS
    assert (parsed(parse_listen, text) is not None) == (0 <= port < 2**16)
    assert (parsed(parse_dial, text) is not None) == (1 <= port < 2**16 and not wildcard)


@given(text=st.text(max_size=60))
def test_nothing_that_is_dialed_has_to_be_looked_up(text: str) -> None:
    """A name is resolved in libzmq's only thread."""
    endpoint = parsed(parse_dial, f"tcp://{text}:1")
    if endpoint is not None:
        assert endpoint.host == "127.0.0.1" or ":" in endpoint.host or endpoint.host[0].isdigit()


# --- ZAP ----------------------------------------------------------------------------------------

GOOD = [b"1.0", b"1", ZAP_DOMAIN, b"192.0.2.1", b"", b"CURVE", bytes(32)]


@given(st.lists(st.binary(max_size=40), max_size=9), st.booleans())
def test_any_request_is_answered_and_none_of_them_admitted(
    request: list[bytes], curve: bool
) -> None:
    reply = answer(request, lambda _key, _address: True, curve=curve)
    assert [len(reply), reply[0], reply[2]] == [6, b"1.0", b"400"]
    assert reply[4] == b""


@given(at=st.sampled_from([0, 2, 5, 6]), data=st.data())
def test_a_request_with_one_field_changed_is_refused(at: int, data: st.DataObject) -> None:
    changed = data.draw(st.binary(max_size=40).filter(lambda one: len(one) != len(GOOD[at])))
    request = [*GOOD[:at], changed, *GOOD[at + 1 :]]
    assert answer(GOOD, lambda _key, _address: True, curve=True)[2] == b"200"
    assert answer(request, lambda _key, _address: True, curve=True)[2] == b"400"


@given(address=st.binary(max_size=40))
def test_no_address_makes_the_answer_fail(address: bytes) -> None:
    request = [*GOOD[:3], address, *GOOD[4:]]
    assert answer(request, lambda _key, _address: True, curve=True)[2] == b"200"
