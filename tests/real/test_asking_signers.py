"""Who has signed, asked by handlers on threads: the same with helpers and without."""

import threading
from dataclasses import replace

import pytest

from tests.real.parties import HASTY, Journal, Parties
from tests.unit.engine.test_proofs import propose
from zmqp2p import Delivery, Identity
from zmqp2p.ids import Address
from zmqp2p.node import node as node_module
from zmqp2p.node.helpers import Helpers, helpers_of

COUNT = 600


@pytest.fixture
def _two_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine of three cores, whatever this one has."""

    def of_three(most: int) -> Helpers | None:
        return helpers_of(most, 3)

    monkeypatch.setattr(node_module, "helpers_of", of_three)


@pytest.mark.parametrize("helpers_max", [0, 3])
@pytest.mark.usefixtures("_two_helpers")
def test_each_is_told_whose_it_is_in_order(parties: Parties, helpers_max: int) -> None:
    alice, bob = parties.pair(limits=replace(HASTY, helpers_max=helpers_max))
    heard: Journal[tuple[int, Address | None]] = Journal()
    workers: set[str] = set()

    def handle(delivery: Delivery) -> None:
        heard((delivery.message.state.variable.turn_num, delivery.signer))
        workers.update(thread.name for thread in threading.enumerate())

    bob.on_message(handle)
    one, other = Identity.generate(), Identity.generate()
    for turn in range(2, COUNT + 2):
        signer = other if turn % 7 == 0 else one
        alice.send_message(bob.address, propose(turn, signer))  # type: ignore[arg-type]
    alice.flush(15.0)
    expected = [(turn, (other if turn % 7 == 0 else one).address) for turn in range(2, COUNT + 2)]
    assert heard.entries == expected
    helpers = {name for name in workers if name.startswith("zmqp2p-helper")}
    assert len(helpers) == (2 if helpers_max else 0)
    bob.close()
    alice.close()
    left = {thread.name for thread in threading.enumerate()}
    assert not left & helpers
