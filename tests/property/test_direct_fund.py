"""DirectFund under chance: any order of events, with repeats, failed deposits and restarts."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.objectives.world import KEYS, TOKEN, Node, World, exit_of, fixed_of
from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import keccak256
from zmqp2p.events import ChannelFunded, ChannelProposed, ChannelRejected
from zmqp2p.ids import Address, TurnNum
from zmqp2p.messages import RejectProposal
from zmqp2p.objectives import Status
from zmqp2p.state import Outcome, recover_signer, state_hash

SEEDS = st.integers(0, 2**32 - 1)
COUNTS = st.integers(2, 5)


def random_outcome(rng: Random, count: int) -> Outcome:
    """Return 1 to 3 assets, each for some of the participants, in one order for all assets.

    Participants without an amount may stand anywhere: they deposit nothing.
    """
    order = [key.address for key in KEYS[:count]]
    rng.shuffle(order)
    exits = []
    for number in range(rng.randint(1, 3)):
        paying = [address for address in order if rng.random() < 0.8] or order[:1]
        shares = [(address, rng.choice((1, 9, 10**18, 2**200))) for address in paying]
        for address in set(order) - set(paying):
            if rng.random() < 0.5:
                shares.insert(rng.randint(0, len(shares)), (address, 0))
        exits.append(exit_of(Address(TOKEN[:-1] + bytes([number])), *shares))
    return tuple(exits)


def random_step(world: World, rng: Random) -> None:
    """Let one thing happen, if it can."""
    node = rng.choice(list(world.nodes.values()))
    waiting = [link for link, messages in world.links.items() if messages]
    match rng.randrange(9):
        case 0 | 1 | 2 if waiting:
            world.deliver(*rng.choice(waiting))
        case 3 if world.delivered:
            world.hand_over(*rng.choice(world.delivered))
        case 4:
            world.decide(node)
        case 5 | 6:
            world.chain_news(node)
        case 7:
            random_chain_step(world, node, rng)
        case 8 if rng.random() < 0.3:
            world.restart(node)
        case _:
            pass


def random_chain_step(world: World, node: Node, rng: Random) -> None:
    """Let a deposit be made, fail, be made but reported as failed, or be forgotten."""
    if node.orphans and rng.random() < 0.5:
        if rng.random() < 0.5:
            world.execute_orphan(node)
        else:
            node.orphans.pop(0)
    elif node.pending:
        world.execute(node, made=rng.random() < 0.6, reported=rng.random() < 0.7)


def signed_digests(world: World) -> set[bytes]:
    """Return what may be signed: one state for each of the two turns."""
    prefix = b"\x19Ethereum Signed Message:\n32"
    states = (world.prefund, world.postfund)
    return {keccak256(prefix + state_hash(state)) for state in states}


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, count=COUNTS)
def test_a_channel_is_funded_whatever_the_order_of_events(seed: int, count: int) -> None:
    """All complete, each pays exactly its share, and nobody signs two states for one turn.

    That no deposit is ever unsafe, that crank is pure and idempotent, that the stored form is
    faithful and that the invariants hold is checked by the world at every step.
    """
    rng = Random(seed)  # Repeatable chance, not secrets.
    outcome = random_outcome(rng, count)
    world = World(fixed_of(count), outcome)
    for _ in range(rng.randint(0, 150)):
        random_step(world, rng)
    world.settle()

    assert not world.refused
    allowed = signed_digests(world)
    shares = {
        (Address(allocation.destination[12:]), exit_.asset): allocation.amount
        for exit_ in outcome
        for allocation in exit_.allocations
        if allocation.amount
    }
    assert world.chain.paid == shares
    for node in world.nodes.values():
        assert node.fund is not None
        assert set(node.signer.digests) == allowed
        assert node.events.count(ChannelFunded(world.channel)) == 1
        state, signatures = node.fund.funded_state()
        assert state == world.postfund
        assert [recover_signer(state, one) for one in signatures] == list(world.nodes)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, count=COUNTS)
def test_a_rejection_reaches_everyone_and_keeps_all_money_back(seed: int, count: int) -> None:
    """One or more reject: nobody deposits, all end rejected, also if the news outran the proposal.

    Who approves after the news of a rejection was lost on it (it knew no such channel yet) must
    not wait for ever.
    """
    rng = Random(seed)  # Repeatable chance, not secrets.
    world = World(fixed_of(count), random_outcome(rng, count))
    others = list(world.nodes.values())[1:]
    for node in rng.sample(others, rng.randint(1, len(others))):
        node.rejects = True
    for _ in range(rng.randint(0, 100)):
        random_step(world, rng)
    world.settle()

    assert not world.chain.log
    allowed = signed_digests(world)
    for node in world.nodes.values():
        assert node.fund is not None
        assert node.fund.status is Status.REJECTED
        assert node.submitted == 0
        assert set(node.signer.digests) < allowed
        assert not (node.rejects and node.signer.digests)
        rejections = [event for event in node.events if isinstance(event, ChannelRejected)]
        assert [event.reason for event in rejections] == ["not today"]
        assert sum(isinstance(event, ChannelProposed) for event in node.events) <= 1
        assert not node.fund.signatures(TurnNum(1))
    for fault in world.refused:
        assert fault.code is not RefusalCode.SIGNATURE_INVALID


def test_a_rejection_that_outran_the_proposal_is_said_again() -> None:
    """The seed behind the rule, by hand: Carol rejects before Bob has heard of the channel."""
    world = World(fixed_of(3), (exit_of(TOKEN, *((key.address, 1) for key in KEYS[:3])),))
    alice, bob, carol = world.nodes
    world.nodes[carol].rejects = True
    world.deliver(alice, carol)
    world.decide(world.nodes[carol])
    world.deliver(carol, bob)  # Bob knows no such channel: lost.
    assert world.nodes[bob].fund is None
    world.deliver(alice, bob)
    world.decide(world.nodes[bob])
    assert [type(message) for message in world.links[carol, bob]] == []
    world.deliver(bob, carol)
    assert [type(message) for message in world.links[carol, bob]] == [RejectProposal]
    world.settle()
    assert {node.fund.status for node in world.nodes.values() if node.fund} == {Status.REJECTED}
