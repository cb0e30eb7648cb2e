"""An identity passes to another key, with both faces."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.face_world import World
from tests.real.parties import PATIENCE_S, Journal, Note, numbers_into, until
from tests.real.test_admission import status_of, until_why_not
from zmqp2p import HandOver, InvalidValue, LocalError, RecordError, UnknownPeer, only_these
from zmqp2p.events import Event, PeerHandedOver


@pytest.fixture(params=["blocking", "aio"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = World(request.param, durable=False, folder=tmp_path)
    yield made
    made.close()


def test_a_peer_follows_to_the_new_address_and_the_old_one_is_still_served(world: World) -> None:
    alice, bob = world.pair()
    carol = world.start("carol")  # Who Bob is to be.
    at_bob, at_carol = Journal[int](), Journal[int]()
    bob.on_message(numbers_into(at_bob))
    carol.on_message(numbers_into(at_carol))
    events = Journal[Event]()
    alice.on_event(events)
    statement = bob.hand_over(world.identity("carol"))
    assert alice.accept_hand_over(str(statement), str(carol.record)) == carol.address
    assert events.first(PeerHandedOver) == PeerHandedOver(bob.address, carol.address)
    alice.send(carol.address, Note(1)).wait(PATIENCE_S)
    alice.send(bob.address, Note(2)).wait(PATIENCE_S)  # Of a channel that is not closed yet.
    assert (at_carol.entries, at_bob.entries) == ([1], [2])
    with pytest.raises(UnknownPeer):
        alice.accept_hand_over(statement, carol.record)


def test_an_allow_list_follows_and_a_ban_too(world: World) -> None:
    """Bob is on Alice's list; Carol, who he is to be, comes in by that, and goes out with him."""
    alice, bob = world.pair()
    alice.set_admission(only_these(bob.address))
    carol = world.start("carol")
    carol.add_peer(alice.record)
    until_why_not(carol, alice.address, "not admitted")
    alice.accept_hand_over(bob.hand_over(world.identity("carol")), carol.record)
    until(lambda: status_of(alice, carol.address), lambda status: status.connected)
    alice.ban(bob.address, 60.0, "too loud")
    until_why_not(carol, alice.address, "banned: too loud")


def test_what_is_no_good_hand_over_is_refused(world: World) -> None:
    alice, bob = world.pair()
    carol = world.start("carol")
    dave = world.start("dave")
    statement = bob.hand_over(world.identity("carol"))
    with pytest.raises(InvalidValue, match="of the new address"):
        alice.accept_hand_over(statement, dave.record)
    with pytest.raises(InvalidValue):
        alice.accept_hand_over(5, carol.record)  # type: ignore[arg-type]  # That is the test.
    with pytest.raises(RecordError):
        alice.accept_hand_over("zp2p-hand-over:AA", carol.record)
    with pytest.raises(LocalError):
        alice.accept_hand_over(bob.hand_over(world.identity("alice")), alice.record)
    with pytest.raises(UnknownPeer):
        alice.accept_hand_over(dave.hand_over(world.identity("carol")), carol.record)
    future = HandOver.issue(world.identity("bob"), world.identity("carol"), 2**53 - 1)
    with pytest.raises(RecordError, match="in the future"):
        alice.accept_hand_over(future, carol.record)
    assert carol.address not in {status.address for status in alice.peers()}
    alice.accept_hand_over(statement, carol.record)
