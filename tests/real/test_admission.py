"""Who may be a peer, on real sockets, by both faces."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.face_world import World
from tests.real.faces import Face
from tests.real.parties import PATIENCE_S, Journal, Note, numbers_into, until
from zmqp2p import (
    InvalidValue,
    PeerStatus,
    all_but_these,
    everyone,
    known_peers_only,
    only_these,
)
from zmqp2p.codes import ByeCode
from zmqp2p.errors import UnknownPeer
from zmqp2p.events import CallbackFailed, Event, LinkRefused
from zmqp2p.ids import Address


@pytest.fixture(params=["blocking", "aio"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = World(request.param, durable=False, folder=tmp_path)
    yield made
    made.close()


def status_of(face: Face, peer: Address) -> PeerStatus:
    return next(status for status in face.peers() if status.address == peer)


def until_connected(face: Face, peer: Address) -> None:
    until(lambda: status_of(face, peer), lambda status: status.connected)


def until_why_not(face: Face, peer: Address, text: str) -> None:
    until(lambda: status_of(face, peer), lambda status: text in status.why_not)


def test_a_peer_that_is_forgotten_is_a_new_one_when_it_comes_again(world: World) -> None:
    alice, bob = world.pair()
    numbers: Journal[int] = Journal()
    bob.on_message(numbers_into(numbers), message_type=Note)
    alice.send(bob.address, Note(1)).wait(PATIENCE_S)
    bob.forget_peer(alice.address)
    alice.send(bob.address, Note(2)).wait(PATIENCE_S)
    assert numbers.entries == [1, 2]
    with pytest.raises(UnknownPeer):
        bob.forget_peer(Address(b"?" * 20))


def test_a_peer_is_banned_told_why_and_let_in_again_with_its_mail(world: World) -> None:
    """ADM-1 and ADM-2: nothing is lost, on either side."""
    alice, bob = world.pair()
    numbers: Journal[int] = Journal()
    bob.on_message(numbers_into(numbers), message_type=Note)
    alice.send(bob.address, Note(1)).wait(PATIENCE_S)
    bob.ban(alice.address, math.inf, "too loud")
    until_why_not(alice, bob.address, "banned: too loud")
    late = alice.send(bob.address, Note(2))
    assert bob.defences().bans == {alice.address: (math.inf, "too loud")}
    assert bob.defences().refused[ByeCode.NOT_ALLOWED] >= 1
    assert not late.acked
    assert bob.unban(alice.address)
    assert not bob.unban(alice.address)
    until(lambda: late.acked, bool, 2 * PATIENCE_S)  # Alice asks a banning peer every 5 s.
    assert numbers.entries == [1, 2]


def test_handshakes_of_a_refused_peer_are_refused_from_then_on(world: World) -> None:
    """ADM-1: by ZAP, which says so to the dialer before it can send anything."""
    bob = world.start("bob", admission=only_these())
    alice = world.start("alice")
    alice.add_peer(bob.record)
    until(lambda: bob.defences().barred_keys, lambda keys: keys == 1)
    until_why_not(alice, bob.address, "not_allowed")
    until_why_not(alice, bob.address, "does not admit us")
    bob.set_admission(everyone)
    until(lambda: status_of(alice, bob.address), lambda status: status.connected, 2 * PATIENCE_S)


def test_known_peers_only(world: World) -> None:
    bob = world.start("bob", admission=known_peers_only)
    alice, carol = world.start("alice"), world.start("carol")
    events: Journal[Event] = Journal()
    bob.on_event(events)
    bob.add_peer(alice.record)
    carol.add_peer(bob.record)
    until_connected(bob, alice.address)
    refused = events.first(LinkRefused)
    assert refused.code is ByeCode.NOT_ALLOWED
    assert refused.curve_key == world.identity("carol").curve_public
    assert [status.address for status in bob.peers()] == [alice.address]


def test_a_change_closes_live_sessions_and_another_opens_them(world: World) -> None:
    """ADM-2: by whoever dialed."""
    alice, bob = world.pair()
    until_connected(alice, bob.address)
    alice.set_admission(all_but_these(bob.address))
    until_why_not(bob, alice.address, "not_allowed")
    until_why_not(alice, bob.address, "not_allowed")
    alice.set_admission(everyone)
    until_connected(alice, bob.address)


def test_an_admission_that_raises_is_reported(world: World) -> None:
    def fails(_peer: Address) -> bool:
        raise LookupError("no list")

    bob = world.start("bob", admission=fails)
    events: Journal[Event] = Journal()
    bob.on_event(events)
    alice = world.start("alice")
    alice.add_peer(bob.record)
    assert events.first(CallbackFailed) == CallbackFailed("admission", "LookupError: no list")
    until_why_not(alice, bob.address, "not_allowed")


def test_what_is_no_admission_or_ban_is_refused(world: World) -> None:
    bob = world.start("bob")
    with pytest.raises(InvalidValue, match="admission"):
        bob.set_admission("everyone")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="admission"):
        world.start("carol", admission={bob.address})
    for seconds in (0, -1, math.nan, "60", None):
        with pytest.raises(InvalidValue, match="seconds"):
            bob.ban(bob.address, seconds, "")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="reason"):
        bob.ban(bob.address, 1.0, 5)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue):
        bob.unban(Address(b"short"))
