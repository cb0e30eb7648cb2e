"""What nodes do in a world while things go wrong: messages, channels, old copies put back."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from random import Random

from zmqp2p.codes import RefusalCode
from zmqp2p.errors import RefuseMessage
from zmqp2p.events import DataLossDetected, MessageFailed, PeerDisconnected
from zmqp2p.ids import ZERO_ADDRESS
from zmqp2p.limits import KIB, Limits
from zmqp2p.messages import message
from zmqp2p.node.deliveries import Delivery
from zmqp2p.objectives.base import Status
from zmqp2p.state import Allocation, AssetExit, destination_of
from zmqp2p.testing.account import Broken
from zmqp2p.testing.faults import CALM, Faults
from zmqp2p.testing.node import Node
from zmqp2p.testing.world import World

TROUBLE_S = 20.0  # How long the faults last.
CALM_MAX_S = 120.0  # How long everything may take to complete then.
_REFUSED_EACH = 11  # The ledger refuses one item of so many.
_ANSWERED_EACH = 7  # And answers one of so many: the answer, too, must come once.
_LARGE_BYTES = 300 * KIB  # Of a message that goes in parts.
# A smaller window and fewer attempts at an outbox than usual, so that limits are met.
_LIMITS = Limits(inbox_max_messages=16)


@message(31_344)
@dataclass(frozen=True)
class Item:
    """What the nodes of a scenario send each other."""

    number: int
    padding: bytes = dataclasses.field(default=b"", repr=False)


class Ledger:
    """An application: keeps the items in the store's transaction, and answers some of them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(self, node: Node) -> None:
        """Subscribe, at the start of a run."""
        node.on_message(partial(self._take, node), Item)

    def _take(self, node: Node, delivery: Delivery) -> None:
        if delivery.message.number % _REFUSED_EACH == 0:
            raise RefuseMessage(RefusalCode.PAYLOAD_INVALID, "not this one")
        execute = delivery.transaction.execute
        execute("CREATE TABLE IF NOT EXISTS app_items (number INTEGER PRIMARY KEY, sender BLOB)")
        # A plain INSERT: an item that is handed out twice is an error.
        execute("INSERT INTO app_items VALUES (?, ?)", (delivery.message.number, delivery.sender))
        if delivery.message.number > 0 and delivery.message.number % _ANSWERED_EACH == 0:
            node.send(self._world.named(delivery.sender), Item(-delivery.message.number))


class _Traffic:
    """Items between all nodes, at random moments."""

    def __init__(self, world: World, count: int) -> None:
        self._world = world
        self._left = count
        self._plan()

    def _plan(self) -> None:
        self._world.after(self._world.rng.expovariate(self._left / TROUBLE_S + 1), self._send)

    def _send(self) -> None:
        world, rng = self._world, self._world.rng
        one, other = rng.sample(list(world.nodes.values()), 2)
        if one.up:
            for _ in range(min(rng.choice((1, 1, 1, 5, 20)), self._left)):
                padding = bytes(_LARGE_BYTES) if rng.random() < 0.01 else b""  # noqa: PLR2004
                one.send(other, Item(self._left, padding))
                self._left -= 1
        if self._left > 0:
            self._plan()


def messages(world: World) -> None:
    """Two or three nodes send each other 100 items."""
    _meet(world)
    _Traffic(world, 100)
    _trouble(world)


def funding(world: World) -> None:
    """They also fund six channels."""
    _meet(world)
    _Traffic(world, 30)
    rng, nodes = world.rng, list(world.nodes.values())
    for nonce in range(6):
        one, other = rng.sample(nodes, 2)
        world.after(rng.uniform(0, TROUBLE_S / 2), _fund_once(world, one, other, nonce))
    _trouble(world)
    world.run(lambda: _funded(world, 6), CALM_MAX_S)
    for (_, asset), held in world.chain.held.items():
        if asset != ZERO_ADDRESS or held != _SHARE_ONE + _SHARE_OTHER:
            raise Broken(f"a channel holds {held}")


def rollback(world: World) -> None:
    """Now and then a store is put back to an older copy: either nothing is missing, or it is said.

    That nobody processes or takes for processed what is another's is the `Account`'s to see.
    """
    messages(world)


def rotation(world: World) -> None:
    """Nodes replace their CURVE keys while they send each other items.

    Two that replaced theirs while they were apart find each other again only if they are given
    each other's record, as people do: here when the faults stop.
    """
    _meet(world)
    _Traffic(world, 100)
    rng, nodes = world.rng, list(world.nodes.values())
    for _ in range(8):
        node, grace_s = rng.choice(nodes), rng.choice((0.0, 0.5, 5.0, 60.0))
        world.after(rng.uniform(0, TROUBLE_S), partial(node.rotate, grace_s))
    world.run_for(TROUBLE_S)
    world.heal()
    for one, other in permutations(nodes, 2):
        world.after(world.faults.outage_max_s + 1.0, partial(one.add_peer, other))  # All are up.
    _complete(world)


def calm(world: World) -> None:
    """Nothing goes wrong: nobody is disconnected, and nothing is sent twice."""
    messages(world)
    for node in world.nodes.values():
        if any(isinstance(event, PeerDisconnected | DataLossDetected) for event in node.events):
            raise Broken(f"{node.name} was disconnected: {node.events}")
        if node.resent():
            raise Broken(f"{node.name} has sent {node.resent()} messages again")


SCENARIOS: dict[str, Callable[[World], None]] = {
    "messages": messages,
    "funding": funding,
    "rollback": rollback,
    "rotation": rotation,
    "calm": calm,
}


def play(seed: int, scenario: str, trace: Callable[[str], None] | None = None) -> World:
    """Run one scenario under one seed; raises `Broken`, or AssertionError of an invariant."""
    rng = Random(f"{scenario}/{seed}")  # noqa: S311  # As the world's.
    faults = CALM if scenario == "calm" else Faults.some(rng)
    if scenario == "rollback":
        faults = replace(faults, crash_s=faults.crash_s or 5.0, rollbacks=rng.choice((1, 2)))
    world = World(seed, faults, _LIMITS)
    world.trace = trace
    SCENARIOS[scenario](world)
    return world


_SHARE_ONE, _SHARE_OTHER = 5, 7


def _meet(world: World) -> None:
    names = ("alice", "bob", "carol")[: world.rng.choice((2, 2, 3))]
    nodes = [world.node(name, Ledger(world)) for name in names]
    for one, other in permutations(nodes, 2):
        one.add_peer(other)
    for node in nodes:
        node.turn()  # Whom they know is committed before anything goes wrong.


def _trouble(world: World) -> None:
    world.run_for(TROUBLE_S)
    world.heal()
    _complete(world)


def _complete(world: World) -> None:
    world.run(world.complete, CALM_MAX_S)
    for node in world.nodes.values():
        failed = [event for event in node.events if isinstance(event, MessageFailed)]
        if failed:  # Each handler works at its second attempt: some effect was there before it.
            raise Broken(f"{node.name}: {failed[0]}")


def _fund_once(world: World, one: Node, other: Node, nonce: int) -> Callable[[], None]:
    """Return what proposes a channel, again until it is committed: a crash may lose the call."""
    shares = ((one, _SHARE_ONE), (other, _SHARE_OTHER))
    allocations = tuple(Allocation(destination_of(who.address), sum_) for who, sum_ in shares)
    outcome = (AssetExit(ZERO_ADDRESS, allocations),)

    def propose() -> None:
        if one.up and not one.proposed(other, nonce):
            one.fund(other, outcome, nonce)
        if not one.up or not one.proposed(other, nonce):
            world.after(1.0, propose)

    return propose


def _funded(world: World, count: int) -> bool:
    completed = [
        status
        for node in world.nodes.values()
        for status in node.funded().values()
        if status is Status.COMPLETED
    ]
    return len(completed) == 2 * count
