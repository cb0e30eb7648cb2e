"""Why a peer is not connected: each obstacle has a status of its own, soon, and disturbs no other.

What is said must be enough to act on: a wrong key must not look like a peer that is down.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.real.parties import (
    PATIENCE_S,
    Journal,
    Note,
    Parties,
    events_of,
    numbers_into,
    status_of,
    until,
    until_connected,
    until_why_not,
)
from tests.real.strangers import PlainRouter, TcpServer
from zmqp2p import Limits, P2PService, PeerRecord, PeerUri, RecordError, Refused
from zmqp2p.codes import ByeCode
from zmqp2p.events import DataLossDetected, Event, LinkRefused, PeerConnected
from zmqp2p.ids import Address, CurveKey

SOON_S = 5.0
HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


def uri_of(
    service: P2PService,
    *,
    address: Address | None = None,
    endpoint: str = "",
    curve_key: CurveKey | None = None,
) -> PeerUri:
    """Return the URI of ``service``, with one thing wrong."""
    record = service.record
    return PeerUri(
        address or record.address,
        curve_key or record.curve_key,
        endpoint or record.endpoints[0],
    )


class Obstacle:
    """Alice, honest Bob, and Carol, whom Alice cannot reach."""

    def __init__(self, parties: Parties) -> None:
        self.parties = parties
        self.strangers = ExitStack()
        self.alice = parties.start("alice")
        self.bob = parties.start("bob")
        self.bob.on_message(lambda _: None)
        self.carol = parties.start("carol", store=parties.store("carol"))

    def wrong_key(self) -> None:
        wrong = self.parties.identity("somebody").curve_public
        self.alice.add_peer(uri_of(self.carol, curve_key=wrong))

    def wrong_address(self) -> None:
        """Bob's endpoint and key under Carol's address."""
        self.alice.add_peer(uri_of(self.bob, address=self.carol.address))

    def nobody_there(self) -> None:
        self.carol.close()
        self.alice.add_peer(uri_of(self.carol))

    def http(self) -> None:
        server = self.strangers.enter_context(TcpServer(HTTP))
        self.alice.add_peer(uri_of(self.carol, endpoint=server.endpoint))

    def silent(self) -> None:
        server = self.strangers.enter_context(TcpServer(b""))
        self.alice.add_peer(uri_of(self.carol, endpoint=server.endpoint))

    def null_router(self) -> None:
        router = self.strangers.enter_context(PlainRouter())
        self.alice.add_peer(uri_of(self.carol, endpoint=router.endpoint))

    def expired(self) -> None:
        """Carol's own record has expired; by her URI that shows only when she answers."""
        self.carol.close()
        carol = self.parties.restart("carol", self.carol, record_lifetime_s=0.001)
        until(lambda: carol.record, has_expired)
        self.alice.add_peer(uri_of(carol))

    def no_name(self) -> None:
        self.alice.add_peer(uri_of(self.carol, endpoint="tcp://peer.example.net:9000"))


def has_expired(record: PeerRecord) -> bool:
    return time.time() * 1000 > record.expires_ms


@pytest.fixture
def obstacle(parties: Parties) -> Iterator[Obstacle]:
    with ExitStack() as strangers:
        made = Obstacle(parties)
        strangers.enter_context(made.strangers)
        yield made


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("wrong_key", "wrong_key: the listener does not hold the CURVE key dialed"),
        ("wrong_address", "address_mismatch: IDN-2: dialed 0x"),
        ("nobody_there", "unreachable: nobody listens there"),
        ("http", "not_zp2p: what answers does not speak ZMTP"),
        ("silent", "not_zp2p: accepts, but says nothing in time"),
        ("null_router", "not_zp2p: speaks ZMTP with mechanism 'NULL', not CURVE"),
        ("expired", "record_expired: REC-3: expired "),
        ("no_name", "a numeric address is needed; resolve names first"),
    ],
)
def test_each_obstacle_has_its_own_status_soon_and_disturbs_no_other(
    name: str, why: str, obstacle: Obstacle
) -> None:
    alice, bob, carol = obstacle.alice, obstacle.bob, obstacle.carol
    getattr(obstacle, name)()
    waiting = alice.send_message(carol.address, Note(1))
    # Who says nothing may be far away: five round trips of 2 s are waited for.
    patience_s = 20.0 if name == "silent" else SOON_S
    status = until(lambda: status_of(alice, carol.address), lambda s: why in s.why_not, patience_s)
    assert not status.connected
    assert status.rtt_s is None
    assert status.last_seen_ms is None
    assert status.unacked == 1
    assert status.unacked_bytes > 0
    alice.add_peer(bob.record)
    alice.send_message(bob.address, Note(2)).wait(PATIENCE_S)
    assert status_of(alice, bob.address).why_not == ""
    assert not waiting.ended


def test_when_the_right_node_starts_where_something_else_was_it_connects(
    obstacle: Obstacle,
) -> None:
    """Nobody does anything but what removes the obstacle."""
    alice, carol = obstacle.alice, obstacle.carol
    carol.close()
    server = TcpServer(HTTP)
    endpoint = server.endpoint
    alice.add_peer(uri_of(carol, endpoint=endpoint))
    receipt = alice.send_message(carol.address, Note(1))
    until_why_not(alice, carol.address, "does not speak ZMTP")
    server.close()
    until_why_not(alice, carol.address, "nobody listens there")
    carol = obstacle.parties.start("carol", endpoint, store=obstacle.parties.store("carol"))
    carol.on_message(lambda _: None)
    receipt.wait(PATIENCE_S)
    assert status_of(alice, carol.address).why_not == ""


@pytest.mark.parametrize("name", ["wrong_key", "http", "null_router"])
def test_a_better_contact_removes_the_obstacle(name: str, obstacle: Obstacle) -> None:
    alice, carol = obstacle.alice, obstacle.carol
    arrived = Journal[int]()
    carol.on_message(numbers_into(arrived))
    getattr(obstacle, name)()
    receipt = alice.send_message(carol.address, Note(1))
    until(lambda: status_of(alice, carol.address), lambda status: status.why_not, SOON_S)
    alice.add_peer(carol.record)
    receipt.wait(PATIENCE_S)
    assert arrived.entries == [1]


def test_a_record_that_has_expired_is_not_added(obstacle: Obstacle) -> None:
    short_lived = obstacle.parties.start("dave", record_lifetime_s=0.001)
    until(lambda: short_lived.record, has_expired)
    with pytest.raises(RecordError, match="REC-3: expired"):
        obstacle.alice.add_peer(short_lived.record)
    assert obstacle.alice.peers() == []


def test_a_record_that_expires_later_is_not_dialed_again(obstacle: Obstacle) -> None:
    """It could be anybody's by then; the application is told that it needs a newer one."""
    alice = obstacle.alice
    dave = obstacle.parties.start("dave", record_lifetime_s=0.5)
    alice.add_peer(dave.record)
    until_connected(alice, dave.address)
    dave.close()
    until_why_not(alice, dave.address, "record_expired: the record of this peer has expired")


def test_who_is_refused_hears_why_and_so_does_the_application(obstacle: Obstacle) -> None:
    """The ROUTER side says goodbye with a reason: here it serves as many peers as it is set to."""
    parties, alice, carol = obstacle.parties, obstacle.alice, obstacle.carol
    full = parties.start("full", limits=Limits(peers_max=1))
    carol.add_peer(full.record)
    until_connected(carol, full.address)
    at_full, at_alice = events_of(full), events_of(alice)
    alice.add_peer(full.record)
    status = until_why_not(alice, full.address, "too_many")
    assert "as many peers as this node serves" in status.why_not
    refused = at_alice.first(LinkRefused)
    assert (refused.peer, refused.code) == (full.address, ByeCode.TOO_MANY)
    assert at_full.first(LinkRefused).code is ByeCode.TOO_MANY
    assert status_of(carol, full.address).connected


def test_two_nodes_with_one_identity_are_told_on_both_sides(obstacle: Obstacle) -> None:
    """The second copy has an empty store of its own: going on with it would lose messages."""
    bob = obstacle.bob
    bob_hears, twin_hears = events_of(bob), Journal[Event]()
    carol = obstacle.carol
    carol.add_peer(bob.record)
    until_connected(carol, bob.address)
    twin = obstacle.parties.start("carol")  # In memory: it begins at another incarnation.
    twin.on_event(twin_hears)
    twin.add_peer(bob.record)
    twin_hears.until(
        lambda events: any(isinstance(e, PeerConnected | DataLossDetected) for e in events)
    )
    carol.close()
    carol = obstacle.parties.restart("carol", carol)
    carol_hears = events_of(carol)
    loss = carol_hears.first(DataLossDetected)
    assert loss.peer == bob.address
    assert "your store is older" in loss.detail
    assert bob_hears.first(DataLossDetected).peer == carol.address
    until_why_not(carol, bob.address, "store_rolled_back")


def test_a_node_that_dials_itself_under_another_name_says_so(obstacle: Obstacle) -> None:
    alice = obstacle.alice
    alice.add_peer(uri_of(alice, address=obstacle.carol.address))
    status = until(lambda: status_of(alice, obstacle.carol.address), lambda s: s.why_not, SOON_S)
    assert "IDN-" in status.why_not


def test_a_refused_message_does_not_show_as_an_unreachable_peer(obstacle: Obstacle) -> None:
    alice, carol = obstacle.alice, obstacle.carol
    alice.add_peer(carol.record)
    with pytest.raises(Refused):
        alice.send_message(carol.address, Note(1)).wait(PATIENCE_S)
    status = status_of(alice, carol.address)
    assert (status.connected, status.unacked, status.why_not) == (True, 0, "")
