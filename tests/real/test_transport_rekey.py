"""Another CURVE key under live connections: what every transport with keys promises of it."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.real.transport_harness import (
    PATIENCE_S,
    Network,
    Node,
    Pair,
    curve_pair,
    dial,
    join,
    run,
)
from zmqp2p.errors import EndpointError
from zmqp2p.ids import CurveKey
from zmqp2p.transport import ZmqTransport
from zmqp2p.transport.endpoints import parse_listen
from zmqp2p.transport.listener import Listener
from zmqp2p.transport.options import CurvePair
from zmqp2p.wire.link import DownReason, LinkDown, LinkUp


@pytest.fixture(params=["tcp4", "tcp6", "ipc", "memory"])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Network]:
    made = Network(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def pair(network: Network) -> Pair:
    return join(network)


def nothing() -> None:
    """Keep nothing."""


def rekey(
    node: Node, *endpoints: str, keep: Callable[[], None] = nothing
) -> tuple[CurveKey, list[str]]:
    """Give ``node`` another key; return the former one, and where it listens with the other."""
    former = node.key
    pair = CurvePair(*curve_pair())
    bound = node.transport.rekey(pair, endpoints, keep)
    node.key = pair.public
    return former, bound


def refused(alice: Node, bob: Node, endpoint: str, key: CurveKey) -> DownReason:
    """Dial ``bob`` with ``key``, and return why that came to nothing."""
    link = alice.transport.dial(endpoint, key)
    run(alice, bob, until=lambda: any(down.link == link for down in alice.downs))
    return next(down.reason for down in alice.downs if down.link == link)


def test_links_go_on_until_the_former_key_ends(pair: Pair) -> None:
    rekey(pair.bob, pair.endpoint)
    for number in range(50):
        assert pair.alice.transport.send(pair.at_alice, (b"%d" % number,))
        assert pair.bob.transport.send(pair.at_bob, (b"%d" % number,))
    pair.run(lambda: len(pair.bob.received()) == 51 and len(pair.alice.received()) == 50)
    assert pair.alice.downs == pair.bob.downs == []


def test_a_place_is_the_former_keys_and_then_the_new_keys(network: Network, pair: Pair) -> None:
    former, bound = rekey(pair.bob, pair.endpoint)
    assert bound == [pair.endpoint]
    carol = network.node()
    assert refused(carol, pair.bob, pair.endpoint, pair.bob.key) is DownReason.WRONG_KEY
    old = carol.transport.dial(pair.endpoint, former)
    assert carol.transport.send(old, (b"old",))
    run(carol, pair.bob, until=lambda: len(pair.bob.ups) == 2)
    assert pair.bob.ups[1].former
    pair.bob.transport.end_former()
    pair.run(lambda: pair.alice.downs and len(pair.bob.downs) == 2)
    assert refused(carol, pair.bob, pair.endpoint, former) is DownReason.WRONG_KEY
    link = dial(carol, pair.bob, pair.endpoint)
    assert carol.transport.send(link, (b"new",))
    run(carol, pair.bob, until=lambda: len(pair.bob.ups) == 3)
    assert not pair.bob.ups[2].former


def test_a_place_is_passed_on_through_two_keys(network: Network, pair: Pair) -> None:
    """The second comes before the first has got it."""
    rekey(pair.bob, pair.endpoint)
    rekey(pair.bob, pair.endpoint)
    pair.bob.transport.end_former()
    carol = network.node()
    dial(carol, pair.bob, pair.endpoint)


def test_elsewhere_both_keys_are_listened_for(network: Network, pair: Pair) -> None:
    former, (second,) = rekey(pair.bob, network.endpoint())
    assert second != pair.endpoint
    carol, dave = network.node(), network.node()
    old = carol.transport.dial(pair.endpoint, former)
    new = dave.transport.dial(second, pair.bob.key)
    assert carol.transport.send(old, (b"old",))
    run(carol, pair.bob, until=lambda: len(pair.bob.ups) == 2)
    assert dave.transport.send(new, (b"new",))
    run(dave, pair.bob, until=lambda: len(pair.bob.ups) == 3)
    assert [(up.curve_key, up.former) for up in pair.bob.ups[1:]] == [
        (carol.key, True),
        (dave.key, False),
    ]


def test_dials_bear_the_new_key(network: Network, pair: Pair) -> None:
    """The peer is told it by CURVE; a dial that was under way bears the one it began with."""
    carol = network.node()
    endpoint = carol.transport.listen(network.endpoint())
    early = pair.bob.transport.dial(endpoint, carol.key)
    former, _bound = rekey(pair.bob, pair.endpoint)
    late = pair.bob.transport.dial(endpoint, carol.key)
    for link in (early, late):
        assert pair.bob.transport.send(link, (b"hello",))
    run(carol, pair.bob, until=lambda: len(carol.ups) == 2 and len(pair.bob.ups) == 3)
    assert {up.curve_key for up in carol.ups} == {former, pair.bob.key}
    assert {up.link: up.former for up in pair.bob.ups if up.dialed} == {early: True, late: False}


def test_the_end_of_the_former_key_ends_what_it_let_in(network: Network, pair: Pair) -> None:
    former, (second,) = rekey(pair.bob, network.endpoint())
    new = dial(pair.alice, pair.bob, second)
    assert pair.alice.transport.send(new, (b"new",))
    pair.run(lambda: len(pair.bob.ups) == 2)
    pair.bob.transport.end_former()
    pair.run(lambda: pair.alice.downs and pair.bob.downs)
    assert [down.link for down in pair.alice.downs] == [pair.at_alice]
    assert [down.link for down in pair.bob.downs] == [pair.at_bob]
    carol = network.node()
    assert refused(carol, pair.bob, pair.endpoint, former) is DownReason.UNREACHABLE
    assert pair.alice.transport.send(new, (b"more",))
    pair.run(lambda: (b"more",) in pair.bob.received())
    pair.bob.transport.end_former()  # Again is no harm.


def test_another_key_ends_the_one_before_the_former(network: Network, pair: Pair) -> None:
    rekey(pair.bob, network.endpoint())
    rekey(pair.bob, network.endpoint())
    pair.run(lambda: pair.alice.downs and pair.bob.downs)
    assert [down.link for down in pair.bob.downs] == [pair.at_bob]


def test_an_endpoint_that_is_in_use_changes_nothing(network: Network, pair: Pair) -> None:
    other = network.node()
    taken = other.transport.listen(network.endpoint())
    kept: list[int] = []
    with pytest.raises(EndpointError):
        pair.bob.transport.rekey(
            CurvePair(*curve_pair()), [network.endpoint(), taken], lambda: kept.append(1)
        )
    assert kept == []
    dial(pair.alice, pair.bob, pair.endpoint)  # With the key it always had.


def test_a_key_that_cannot_be_kept_changes_nothing(network: Network, pair: Pair) -> None:
    second = network.endpoint()

    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        rekey(pair.bob, pair.endpoint, second, keep=fail)
    dial(pair.alice, pair.bob, pair.endpoint)
    assert pair.alice.transport.send(pair.at_alice, (b"on",))
    pair.run(lambda: (b"on",) in pair.bob.received(pair.at_bob))
    if not second.endswith(":0"):  # It is free again.
        assert network.node().transport.listen(second) == second


def test_closing_releases_both_keys_endpoints(network: Network, pair: Pair) -> None:
    _former, (second,) = rekey(pair.bob, network.endpoint())
    pair.bob.transport.close()
    again = network.node()
    for endpoint in (pair.endpoint, second):
        assert again.transport.listen(endpoint) == endpoint


def test_a_link_that_is_up_keeps_its_name(pair: Pair) -> None:
    rekey(pair.alice)
    assert pair.alice.transport.send(pair.at_alice, (b"still",))
    pair.run(lambda: (b"still",) in pair.bob.received(pair.at_bob))
    assert [type(event) for event in pair.bob.events if isinstance(event, LinkUp | LinkDown)] == [
        LinkUp
    ]


def test_a_place_that_is_given_up_a_moment_later_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Libzmq's thread closes a listening socket when it comes to it."""
    secret, public = curve_pair()
    transport = ZmqTransport(curve_secret=secret, curve_public=public)
    with socket.create_server(("127.0.0.1", 0)) as held, closing(transport):
        endpoint = parse_listen(f"tcp://127.0.0.1:{held.getsockname()[1]}")
        shared = transport._shared  # noqa: SLF001  # What a listener is made with.
        with pytest.raises(EndpointError):
            Listener(shared, endpoint, (), bind_within_s=0.002)
        monkeypatch.setattr(time, "sleep", lambda _s: held.close())  # It is in use at first.
        Listener(shared, endpoint, (), bind_within_s=PATIENCE_S).close()
    assert held.fileno() == -1
