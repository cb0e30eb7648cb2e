"""The network between Alice and Bob is cut, and heals: everything completes by itself.

For 3 s; with ZMQP2P_LONG=1 in the environment for 20 s.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.real.faults.proxy import HOLE, PASS, FaultProxy
from tests.real.parties import (
    PATIENCE_S,
    Journal,
    Note,
    Parties,
    events_of,
    numbers_into,
    outcome_of,
    status_of,
    until_connected,
)
from zmqp2p import Limits, P2PService, approve_all
from zmqp2p.chain import SimulatedChain
from zmqp2p.events import ChannelStep, Event, PeerConnected, PeerDisconnected
from zmqp2p.objectives.base import Status

OUTAGE_S = 20.0 if os.environ.get("ZMQP2P_LONG") == "1" else 3.0
NOTICED_S = 2.5
LIMITS = Limits(redial_max_s=1.0)  # Liveness is as by default: it is what is shown here.


class Network:
    """Alice, who only dials, and Bob behind a proxy: all their traffic goes through it."""

    def __init__(self, parties: Parties, chain: SimulatedChain) -> None:
        reserved = parties.start("bob")
        (real,) = reserved.record.endpoints
        reserved.close()
        self.proxy = FaultProxy(real)
        settings = {"chain": chain, "policy": approve_all, "limits": LIMITS}
        self.alice = parties.start("alice", None, store=parties.store("alice"), **settings)
        shown = (self.proxy.endpoint,)
        self.bob = parties.start(
            "bob", real, advertise=shown, store=parties.store("bob"), **settings
        )
        self.events = {"alice": events_of(self.alice), "bob": events_of(self.bob)}
        self.alice.add_peer(self.bob.record)
        until_connected(self.alice, self.bob.address)

    def break_down(self, how: str) -> None:
        if how == "reset":
            self.proxy.refuse(True)
        else:
            self.proxy.set(HOLE)

    def heal(self) -> None:
        self.proxy.refuse(False)
        self.proxy.set(PASS)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[SimulatedChain]:
    """Return a chain slow enough for the network to break while a channel is funded."""
    with closing(SimulatedChain(tmp_path / "chain.db", block_interval_s=0.3)) as made:
        yield made


@pytest.fixture
def network(parties: Parties, chain: SimulatedChain) -> Iterator[Network]:
    made = Network(parties, chain)
    yield made
    made.alice.close()
    made.bob.close()
    made.proxy.close()


def disconnected(events: Journal[Event]) -> PeerDisconnected:
    return events.first(PeerDisconnected)


@pytest.mark.parametrize("how", ["reset", "black hole"])
def test_what_is_under_way_in_an_outage_completes_when_it_is_over(
    how: str, network: Network, chain: SimulatedChain
) -> None:
    """A channel that is being funded, and messages both ways; nobody does anything."""
    alice, bob = network.alice, network.bob
    at_alice, at_bob = Journal[int](), Journal[int]()
    alice.on_message(numbers_into(at_alice), message_type=Note)
    bob.on_message(numbers_into(at_bob), message_type=Note)
    receipts = [alice.send_message(bob.address, Note(0)), bob.send_message(alice.address, Note(0))]
    for receipt in receipts:
        receipt.wait(PATIENCE_S)
    channel = alice.fund_channel(bob.address, outcome_of((alice.address, 5), (bob.address, 7)))
    network.events["bob"].first(ChannelStep)
    network.break_down(how)
    assert channel.status().status is Status.APPROVED
    over_at = time.monotonic() + OUTAGE_S
    for number in range(1, 201):
        receipts.append(alice.send_message(bob.address, Note(number)))
        receipts.append(bob.send_message(alice.address, Note(number)))
    disconnected(network.events["alice"])
    disconnected(network.events["bob"])
    assert not receipts[-1].ended
    threading.Event().wait(over_at - time.monotonic())  # The outage itself.
    network.heal()
    for receipt in receipts:
        receipt.wait(PATIENCE_S)
    assert at_alice.entries == at_bob.entries == list(range(201))
    funded = channel.result(PATIENCE_S)
    assert bob.channel(channel.channel_id).result(PATIENCE_S) == funded
    assert [deposit.amount for deposit in chain.deposits()] == [5, 7]
    assert status_of(alice, bob.address).reconnects >= 1


def test_a_black_hole_is_noticed_soon_on_both_sides(network: Network) -> None:
    """Whatever TCP says, which would say nothing for a quarter of an hour."""
    network.break_down("black hole")
    since = time.monotonic()
    for events in network.events.values():
        assert "silent for" in disconnected(events).reason
    assert time.monotonic() - since < NOTICED_S


def test_a_connection_that_is_reset_is_resumed_at_once(network: Network) -> None:
    before = status_of(network.alice, network.bob.address)
    network.break_down("reset")
    disconnected(network.events["alice"])
    network.heal()
    network.events["alice"].until(
        lambda events: sum(isinstance(event, PeerConnected) for event in events) == 2
    )
    after = status_of(network.alice, network.bob.address)
    assert (before.reconnects, after.reconnects) == (0, 1)
    assert reconnected_by_alice(network.bob)


def reconnected_by_alice(bob: P2PService) -> bool:
    """Whether Bob has a link, though he has no endpoint of Alice's to dial."""
    (status,) = bob.peers()
    return status.connected and status.endpoints == ()


def test_messages_that_keep_flowing_through_many_cuts_arrive_once_and_in_order(
    network: Network,
) -> None:
    alice, bob = network.alice, network.bob
    arrived = Journal[int]()
    bob.on_message(numbers_into(arrived), message_type=Note)
    receipts = []
    for round_ in range(5):
        numbers = range(round_ * 200, (round_ + 1) * 200)
        receipts += [alice.send_message(bob.address, Note(number)) for number in numbers]
        arrived.count(round_ * 200 + 50)
        network.break_down("reset")
        network.heal()
    for receipt in receipts:
        receipt.wait(PATIENCE_S)
    assert arrived.entries == list(range(1000))
