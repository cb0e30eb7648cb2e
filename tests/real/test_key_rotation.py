"""A node has another CURVE key while messages go to and fro, with both faces, on real ZeroMQ."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.real.face_world import World
from tests.real.faces import Face
from tests.real.parties import HASTY, LOOPBACK, PATIENCE_S, Journal, Note, numbers_into, until
from zmqp2p import Identity, InvalidValue, KeyFileError, PeerRecord, parse_contact
from zmqp2p.errors import EndpointError
from zmqp2p.events import Event, LinkRefused, PeerDisconnected

QUICK = replace(HASTY, duplicate_grace_s=0.1)


@pytest.fixture(params=["blocking", "aio"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = World(request.param, durable=True, folder=tmp_path)
    yield made
    made.close()


def met(world: World, endpoint: str | None = LOOPBACK) -> tuple[Face, Face]:
    """Return Alice at ``endpoint`` (None: she only dials), and Bob, who have met."""
    alice = world.start("alice", endpoint, limits=QUICK)
    bob = world.start("bob", limits=QUICK)
    if endpoint is None:
        alice.add_peer(bob.record)
    else:
        bob.add_peer(alice.record)
    until(lambda: connected(alice) and connected(bob), bool)
    return alice, bob


def connected(face: Face) -> bool:
    return any(status.connected for status in face.peers())


def contact(world: World, name: str, face: Face) -> PeerRecord:
    """Return what ``name`` knows of ``face``, as its store has it."""
    with sqlite3.connect(world.folder / f"{name}.db") as store:
        rows = store.execute("SELECT contact FROM peers WHERE contact != ''").fetchall()
    found = [parse_contact(text) for (text,) in rows]
    (known,) = [each for each in found if each.address == face.address]
    assert isinstance(known, PeerRecord)
    return known


@pytest.mark.parametrize("who", ["listener", "dialer"])
def test_nothing_is_lost_when_a_key_is_replaced_under_traffic(world: World, who: str) -> None:
    alice, bob = met(world) if who == "listener" else met(world, None)
    at_alice, at_bob = Journal[int](), Journal[int]()
    alice.on_message(numbers_into(at_alice))
    bob.on_message(numbers_into(at_bob))
    dropped = Journal[PeerDisconnected]()
    bob.on_event(lambda e: dropped(e) if isinstance(e, PeerDisconnected) else None)
    former = alice.record
    for number in range(1, 601):
        alice.send(bob.address, Note(number))
        bob.send(alice.address, Note(number))
        if number == 200:
            alice.rotate_curve_key()
    alice.flush(PATIENCE_S)
    bob.flush(PATIENCE_S)
    until(lambda: len(at_alice.entries) == len(at_bob.entries) == 600, bool)
    assert at_alice.entries == at_bob.entries == list(range(1, 601))
    assert alice.record.curve_key != former.curve_key
    assert alice.record.issued_ms > former.issued_ms
    until(lambda: contact(world, "bob", alice) == alice.record, bool)
    assert dropped.entries == []  # There was a link all the time.


def test_bob_who_was_away_gets_in_with_the_former_record_and_learns_the_new(world: World) -> None:
    alice = world.start("alice", limits=QUICK)
    former = alice.record
    alice.rotate_curve_key()
    assert alice.record.endpoints != former.endpoints
    bob = world.start("bob", None, limits=QUICK)
    bob.add_peer(former)
    until(lambda: connected(bob), bool)
    until(lambda: contact(world, "bob", alice) == alice.record, bool)
    arrived = Journal[int]()
    alice.on_message(numbers_into(arrived))
    bob.send(alice.address, Note(1)).wait(PATIENCE_S)
    assert arrived.entries == [1]


def test_the_former_key_ends_and_the_new_one_has_its_place(world: World) -> None:
    first = world.start("alice", limits=QUICK)
    (place,) = first.record.endpoints
    first.close()
    alice = world.start("alice", place, limits=QUICK)
    bob = world.start("bob", None, limits=QUICK)  # Alice cannot dial him.
    bob.add_peer(alice.record)
    former = alice.record
    until(lambda: connected(alice), bool)
    seen = Journal[Event]()
    bob.on_event(seen)
    alice.rotate_curve_key(grace_s=0.2)
    assert alice.record.endpoints == former.endpoints
    seen.first(PeerDisconnected)
    until(lambda: connected(bob), bool)
    arrived = Journal[int]()
    alice.on_message(numbers_into(arrived))
    bob.send(alice.address, Note(1)).wait(PATIENCE_S)
    carol = world.start("carol", None, limits=QUICK)
    carol.add_peer(former)
    until(carol.peers, lambda known: "wrong_key" in known[0].why_not)
    carol.add_peer(alice.record)
    until(lambda: connected(carol), bool)


def test_the_key_is_kept_in_the_file_and_used_after_a_restart(world: World) -> None:
    path = world.folder / "alice.key"
    world._identities["alice"] = Identity.load_or_create(path)  # noqa: SLF001  # Its own file.
    alice, bob = met(world)
    alice.rotate_curve_key()
    assert Identity.load(path).curve_public == alice.record.curve_key
    until(lambda: contact(world, "bob", alice) == alice.record, bool)
    alice.close()
    world._identities["alice"] = Identity.load(path)  # noqa: SLF001  # As above.
    again = world.start("alice", alice.record.endpoints[0], limits=QUICK)
    until(lambda: connected(bob), bool)
    assert again.record.curve_key == alice.record.curve_key


def test_a_key_that_cannot_be_kept_is_not_used(world: World) -> None:
    path = world.folder / "alice.key"
    world._identities["alice"] = Identity.load_or_create(path)  # noqa: SLF001  # Its own file.
    alice, bob = met(world)
    former = alice.record
    path.unlink()
    with pytest.raises(KeyFileError):
        alice.rotate_curve_key()
    assert world.identity("alice").curve_public == former.curve_key
    bob.on_message(numbers_into(Journal[int]()))
    alice.send(bob.address, Note(1)).wait(PATIENCE_S)


def test_what_cannot_be_is_refused_and_changes_nothing(world: World) -> None:
    alice, bob = met(world)
    former = world.identity("alice").curve_public
    with pytest.raises(InvalidValue):
        alice.rotate_curve_key(grace_s=-1.0)
    with pytest.raises(EndpointError):
        alice.rotate_curve_key("tcp://0.0.0.0:0")  # Nobody can dial that.
    with pytest.raises(EndpointError):
        alice.rotate_curve_key(bob.record.endpoints[0])  # In use.
    assert world.identity("alice").curve_public == former


def test_keys_are_replaced_many_times_on_both_sides(world: World) -> None:
    alice, bob = met(world)
    refused = Journal[LinkRefused]()
    for face in (alice, bob):
        face.on_event(lambda e: refused(e) if isinstance(e, LinkRefused) else None)
    arrived = Journal[int]()
    bob.on_message(numbers_into(arrived))
    for number in range(1, 7):
        (alice if number % 2 else bob).rotate_curve_key()
        alice.send(bob.address, Note(number)).wait(PATIENCE_S)
    assert arrived.entries == list(range(1, 7))
    until(lambda: contact(world, "bob", alice) == alice.record, bool)
    until(lambda: contact(world, "alice", bob) == bob.record, bool)
