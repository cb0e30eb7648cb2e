"""Who finds a place at a node that serves everybody, when everybody comes."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.real.parties import (
    HASTY,
    PATIENCE_S,
    Note,
    Parties,
    status_of,
    until,
    until_connected,
    until_why_not,
)
from zmqp2p import P2PService


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    made = Parties(tmp_path)
    yield made
    made.close()


def crowd(parties: Parties, bob: P2PService) -> list[P2PService]:
    """Let three guests come, of whom one finds no place; return those that did."""
    guests = [parties.start(f"mallory {number}") for number in range(3)]
    for guest in guests:
        guest.add_peer(bob.record)
    (left_out,) = until(
        lambda: [each for each in guests if not status_of(each, bob.address).connected],
        lambda out: len(out) == 1 and "too_many" in status_of(out[0], bob.address).why_not,
    )
    return [each for each in guests if each is not left_out]


def test_a_contact_finds_a_place_though_guests_have_all_of_theirs(parties: Parties) -> None:
    """Identities are free: whoever had some held all connections for good."""
    bob = parties.start("bob", limits=replace(HASTY, connections_max=4))  # 3 of one source.
    bob.on_message(lambda _: None)
    guests = crowd(parties, bob)
    alice = parties.start("alice", endpoint=None)  # She cannot be dialed.
    bob.add_peer(alice.record)
    alice.add_peer(bob.record)
    alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
    for guest in guests:  # Those that are served are served on.
        guest.send_message(bob.address, Note(2)).wait(PATIENCE_S)


def test_a_guest_makes_room_for_contacts_when_they_need_it(parties: Parties) -> None:
    bob = parties.start("bob", limits=replace(HASTY, connections_max=4))
    guests = crowd(parties, bob)
    for name in ("alice", "carol"):
        contact = parties.start(name, endpoint=None)
        bob.add_peer(contact.record)
        contact.add_peer(bob.record)
        until_connected(contact, bob.address)
    looks = [partial(status_of, guest, bob.address) for guest in guests]
    until(lambda: [look() for look in looks], lambda all_of: sum(e.connected for e in all_of) == 1)
    until(lambda: bob.defences().connections, lambda told: "a contact needs the place" in told)
    (sent_away,) = [guest for guest in guests if not status_of(guest, bob.address).connected]
    until_why_not(sent_away, bob.address, "too_many")
