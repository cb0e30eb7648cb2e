"""What the bench sends is what it says, and a receiver sees what is wrong with it."""

import pytest

from zmqp2p.cli.bench.payloads import Opaque, Source, Tally, bodies
from zmqp2p.cli.bench.script import Load
from zmqp2p.identity import Identity
from zmqp2p.ids import Address
from zmqp2p.messages import ProposeState
from zmqp2p.state import recover_signer

ALICE, BOB = Identity.generate(), Identity.generate()


def proposals(count: int) -> list[ProposeState]:
    made = Source("signed", ALICE, BOB.address).make(Load(count, window=1))
    return [each for each in made if isinstance(each, ProposeState)]


@pytest.mark.parametrize("size_bytes", [350, 2**20])
def test_an_opaque_body_has_the_size_that_was_asked_for(size_bytes: int) -> None:
    source = Source("opaque", ALICE, BOB.address)
    sizes = [len(body) for body in bodies(source.make(Load(300, 1, size_bytes=size_bytes)))]
    assert len(sizes) == 300
    assert all(size_bytes - 5 <= size <= size_bytes + 5 for size in sizes)


def test_numbers_go_on_from_load_to_load() -> None:
    source = Source("opaque", ALICE, BOB.address)
    made = source.make(Load(2, window=1)) + source.make(Load(2, window=1))
    assert [each.number for each in made if isinstance(each, Opaque)] == [1, 2, 3, 4]


def test_each_proposal_is_another_state_and_signed_by_its_sender() -> None:
    made = proposals(5)
    assert len({each.state for each in made}) == 5
    assert {recover_signer(each.state, each.signature) for each in made} == {ALICE.address}


def test_what_comes_once_in_order_and_well_signed_is_no_fault() -> None:
    tally = Tally()
    for number, proposal in enumerate(proposals(3), 1):
        tally.take(ALICE.address, proposal, ALICE.address)
        tally.take(BOB.address, Opaque(number, b""), None)
    assert (tally.received, tally.faults) == (6, 0)


@pytest.mark.parametrize("numbers", [(2,), (1, 1), (1, 3), (1, 2, 1)])
def test_a_number_that_is_not_the_next_is_a_fault(numbers: tuple[int, ...]) -> None:
    tally = Tally()
    for number in numbers:
        tally.take(ALICE.address, Opaque(number, b""), None)
    assert (tally.received, tally.faults) == (len(numbers), 1)


@pytest.mark.parametrize("signer", [ALICE.address, None])
def test_another_signer_than_the_sender_is_a_fault(signer: Address | None) -> None:
    tally = Tally()
    tally.take(BOB.address, proposals(1)[0], signer)
    assert tally.faults == 1
