"""The faults that the in-memory network can be told to have."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.transport_harness import Network, Node, Pair, dial, join
from zmqp2p.errors import InvalidValue
from zmqp2p.ids import CurveKey
from zmqp2p.transport import MemoryNetwork, MemoryTransport
from zmqp2p.transport.memory import QUEUE_MAX_MESSAGES
from zmqp2p.wire.link import DownReason

ALICE_KEY, BOB_KEY = CurveKey(b"a" * 32), CurveKey(b"b" * 32)


class World:
    """Alice and Bob, joined, and the network between them."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.alice = Node(
            MemoryTransport(self.network, curve_public=ALICE_KEY, host="alice"), ALICE_KEY
        )
        self.bob = Node(MemoryTransport(self.network, curve_public=BOB_KEY, host="bob"), BOB_KEY)
        self.endpoint = self.bob.transport.listen("mem://bob")
        self.at_alice = dial(self.alice, self.bob, self.endpoint)
        self.alice.transport.send(self.at_alice, [b"hello"])
        self.turn()
        self.at_bob = self.bob.ups[0].link

    def turn(self) -> None:
        """Let both hear the news."""
        self.alice.turn(0)
        self.bob.turn(0)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    network = Network("memory", tmp_path)
    yield join(network)
    network.close()


def test_a_cut_drops_in_both_directions_without_a_word(world: World) -> None:
    world.network.cut("bob", "alice")
    assert world.alice.transport.send(world.at_alice, [b"there"])
    assert world.bob.transport.send(world.at_bob, [b"back"])
    world.turn()
    assert world.alice.received() == []
    assert world.bob.received() == [(b"hello",)]
    assert world.alice.downs + world.bob.downs == []


def test_after_healing_the_link_carries_on_without_what_was_dropped(world: World) -> None:
    world.network.cut("alice", "bob")
    world.alice.transport.send(world.at_alice, [b"dropped"])
    world.network.heal("alice", "bob")
    world.alice.transport.send(world.at_alice, [b"carried"])
    world.turn()
    assert world.bob.received(world.at_bob) == [(b"hello",), (b"carried",)]


def test_a_cut_concerns_no_other_hosts(world: World) -> None:
    world.network.cut("alice", "carol")
    world.alice.transport.send(world.at_alice, [b"through"])
    world.turn()
    assert (b"through",) in world.bob.received()


def test_nobody_is_reached_across_a_cut(world: World) -> None:
    world.network.cut("alice", "bob")
    link = world.alice.transport.dial(world.endpoint, BOB_KEY)
    world.turn()
    assert [(down.link, down.reason) for down in world.alice.downs] == [
        (link, DownReason.UNREACHABLE)
    ]


def test_a_close_behind_a_cut_is_heard_of_when_something_is_sent_after_healing(
    world: World,
) -> None:
    world.network.cut("alice", "bob")
    world.alice.transport.close_link(world.at_alice)
    world.turn()
    assert world.bob.downs == []
    assert world.bob.transport.send(world.at_bob, [b"into the void"])
    world.network.heal("alice", "bob")
    assert not world.bob.transport.send(world.at_bob, [b"anybody"])
    world.turn()
    assert [(down.link, down.reason) for down in world.bob.downs] == [
        (world.at_bob, DownReason.LOST)
    ]


def test_severing_ends_every_link_between_two_hosts_at_both_ends(world: World) -> None:
    second = dial(world.alice, world.bob, world.endpoint)
    world.network.sever("alice", "carol")
    world.turn()
    assert world.alice.downs == []
    world.network.sever("bob", "alice")
    world.turn()
    assert [down.link for down in world.alice.downs] == [world.at_alice, second]
    assert [down.link for down in world.bob.downs] == [world.at_bob]
    assert not world.alice.transport.send(second, [b"x"])
    world.network.sever("bob", "alice")
    world.turn()
    assert len(world.alice.downs) == 2


def test_closing_ends_links_that_have_carried_nothing_yet(world: World) -> None:
    quiet = dial(world.alice, world.bob, world.endpoint)
    world.bob.transport.close()
    world.alice.turn(0)
    assert {down.link for down in world.alice.downs} == {world.at_alice, quiet}


def test_a_transport_that_leaves_does_not_end_the_links_of_others(world: World) -> None:
    MemoryTransport(world.network, curve_public=ALICE_KEY, host="alice").close()
    world.turn()
    assert world.alice.downs + world.bob.downs == []


def test_reading_makes_room_for_more(pair: Pair) -> None:
    for _ in range(QUEUE_MAX_MESSAGES - 1):
        assert pair.alice.transport.send(pair.at_alice, [b"x"])
    before = len(pair.bob.received())
    pair.bob.turn(0)
    read = len(pair.bob.received()) - before
    assert read >= 200
    for _ in range(read):
        assert pair.alice.transport.send(pair.at_alice, [b"x"])
    assert pair.alice.transport.send(pair.at_alice, [b"x"])
    assert not pair.alice.transport.send(pair.at_alice, [b"x"])


def test_a_listener_that_closes_a_link_ends_the_connection_at_once(pair: Pair) -> None:
    pair.bob.transport.close_link(pair.at_bob)
    assert not pair.alice.transport.send(pair.at_alice, [b"x"])
    pair.alice.turn()
    assert [down.link for down in pair.alice.downs] == [pair.at_alice]


def test_an_end_is_told_after_the_messages_that_did_not_fit(pair: Pair) -> None:
    for _ in range(300):
        pair.alice.transport.send(pair.at_alice, [b"x"])
    pair.alice.transport.close_link(pair.at_alice)
    pair.bob.turn(0)
    assert pair.bob.downs == []
    pair.bob.turn(0)
    assert len(pair.bob.received()) == 301
    assert [down.link for down in pair.bob.downs] == [pair.at_bob]


def test_a_key_of_a_wrong_size_is_refused() -> None:
    with pytest.raises(InvalidValue, match="curve_public"):
        MemoryTransport(MemoryNetwork(), curve_public=CurveKey(b"short"))
