"""A deterministic world: one seed drives clock, network, chain and nodes."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import replace
from random import Random

from zmqp2p.ids import Address
from zmqp2p.limits import DEFAULT_LIMITS, Limits
from zmqp2p.testing.account import Account, Broken
from zmqp2p.testing.chain import SimChain
from zmqp2p.testing.faults import CALM, Faults
from zmqp2p.testing.network import Network
from zmqp2p.testing.node import Doom, Node

START_MS = 1_800_000_000_000
CLOCK_SET_MAX_MS = 3_600_000
STEPS_MAX = 200_000  # A world that takes more is spinning.
_SAME_INSTANT_MAX = 2_000  # Steps without any time passing: a timer that is due for ever.


class World:
    """Nodes on a simulated network, with a simulated chain, in virtual time.

    What happens is a function of the seed, the faults and the applications. After every step the
    invariants of the node that took it are checked, and its commits by the `Account`; `invariants`
    are called too, and raise AssertionError. What a world cannot show: threads, sockets, a disk
    that forgets, and time that passes within a turn.
    """

    def __init__(self, seed: int, faults: Faults = CALM, limits: Limits = DEFAULT_LIMITS) -> None:
        self.seed = seed
        self.rng = Random(seed)  # noqa: S311  # A seed is what makes it repeatable.
        self.faults = faults
        self.limits = limits
        self.now = 0.0
        self.steps = 0
        self.counts = dict.fromkeys(("crashes", "cuts", "resets", "suspensions", "rollbacks"), 0)
        self.account = Account()
        self.network = Network(self.rng, faults, self.after)
        self.chain = SimChain(self.rng, faults, self.after)
        self.nodes: dict[str, Node] = {}
        self.invariants: list[Callable[[World], None]] = []
        self.trace: Callable[[str], None] | None = None  # Is told of each step.
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._planned: dict[str, float] = {}  # When each node's next turn is due.
        self._rollbacks = faults.rollbacks
        self._unmoved = 0
        self._healed = False
        self._plan_faults()

    # --- Building -------------------------------------------------------------------------------

    def node(self, name: str, application: Callable[[Node], None] = lambda _node: None) -> Node:
        """Make a node and start it; ``application`` is called at the start of each of its runs."""
        node = Node(self, name, len(self.nodes) + 1, application)
        self.nodes[name] = node
        node.start()
        return node

    def at(self, endpoint: str) -> Node:
        """Return the node at ``endpoint``."""
        return next(node for node in self.nodes.values() if node.endpoint == endpoint)

    def named(self, address: Address) -> Node:
        """Return the node with ``address``."""
        return next(node for node in self.nodes.values() if node.address == address)

    def utc_ms(self, node: Node) -> int:
        """Return what ``node``'s wall clock shows."""
        return START_MS + int(self.now * 1000) + node.clock_ms

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do ``action`` in ``delay_s`` virtual seconds."""
        heapq.heappush(self._events, (self.now + delay_s, next(self._count), action))

    # --- Running --------------------------------------------------------------------------------

    def run(self, until: Callable[[], object], within_s: float) -> None:
        """Let time pass until ``until()`` is true; raise Broken if it is not ``within_s``."""
        end_at = self.now + within_s
        while not until():
            if not self._events or self._events[0][0] > end_at:
                raise Broken(f"not within {within_s:g} s of virtual time: {self._standing()}")
            self._step()

    def run_for(self, duration_s: float) -> None:
        """Let ``duration_s`` virtual seconds pass."""
        end_at = self.now + duration_s
        while self._events and self._events[0][0] <= end_at:
            self._step()
        self.now = end_at

    def heal(self) -> None:
        """End all faults: nodes run, clocks are right, the network is quick and loses nothing."""
        self._healed = True
        self.faults = replace(CALM, delay_max_s=0.01)
        self.network.faults = self.chain.faults = self.faults
        self.network.cuts.clear()
        for node in self.nodes.values():
            node.clock_ms = 0
            node.doom = None
            node.asleep = False
            self.awake(node)

    def complete(self) -> bool:
        """Whether everything that was sent has been processed and acked, or is held aloud."""
        nodes = self.nodes.values()
        return all(node.up for node in nodes) and all(
            self._settled(one, other) for one in nodes for other in nodes if one is not other
        )

    def awake(self, node: Node) -> None:
        """``node`` has something to do now."""
        self._plan_turn(node, 0.0)

    def died(self, node: Node) -> None:
        """A run of ``node`` has ended; another one begins in a while."""
        self.counts["crashes"] += 1
        outage_s = self.rng.uniform(0, self.faults.outage_max_s) * self.rng.random()
        self.after(outage_s, lambda: self._restart(node))

    # --- Inside ---------------------------------------------------------------------------------

    def _step(self) -> None:
        at, _, action = heapq.heappop(self._events)
        self._unmoved = self._unmoved + 1 if at <= self.now else 0
        self.now = max(at, self.now)
        self.network.tick(self.now)
        self.steps += 1
        if self.steps > STEPS_MAX or self._unmoved > _SAME_INSTANT_MAX:
            raise Broken(f"{self.steps} steps, {self._unmoved} of them at one instant: it spins")
        action()
        for invariant in self.invariants:
            invariant(self)

    def _plan_turn(self, node: Node, delay_s: float) -> None:
        at = self.now + delay_s
        if at < self._planned.get(node.name, float("inf")):
            self._planned[node.name] = at
            run = node.runs
            self.after(delay_s, lambda: self._turn(node, run, at))

    def _turn(self, node: Node, run: int, at: float) -> None:
        if self._planned.get(node.name) != at or node.runs != run:
            return  # Planned anew meanwhile, or for a run that has ended.
        del self._planned[node.name]
        if not node.up or node.asleep:
            return
        self._note(f"{node.name} turns")
        patience_s = node.turn()
        if patience_s is not None and node.up:
            self._plan_turn(node, patience_s)

    def _restart(self, node: Node) -> None:
        self._planned.pop(node.name, None)
        if self._rollbacks and len(node.copies) > 1 and self.rng.random() < 0.5:  # noqa: PLR2004
            self._rollbacks -= 1
            self.counts["rollbacks"] += 1
            node.disk.put_back(self.rng.choice(node.copies[:-1]))
            self._note(f"{node.name} is put back to an older copy")
        self._note(f"{node.name} starts")
        node.start()

    def _settled(self, one: Node, other: Node) -> bool:
        if self.account.complete(one.address, other.address) and not one.waits_for(other):
            return True
        return bool(self.counts["rollbacks"]) and one.held(other) and other.held(one)

    def _standing(self) -> str:
        pairs = [
            f"{one.name} to {other.name} {sent}/{done}"
            for one in self.nodes.values()
            for other in self.nodes.values()
            for sent, done in (self.account.position(one.address, other.address),)
            if one is not other
        ]
        return f"{', '.join(pairs)} (sent/processed), {dict(self.counts)}"

    def _note(self, what: str) -> None:
        if self.trace is not None:
            self.trace(f"{self.now:10.4f} {self.steps:6} {what}")

    # --- Faults ---------------------------------------------------------------------------------

    def _plan_faults(self) -> None:
        faults = self.faults
        for mean_s, action in (
            (faults.partition_s, self._partition),
            (faults.one_way_s, self._cut_one_way),
            (faults.reset_s, self._reset),
            (faults.crash_s, self._crash),
            (faults.suspend_s, self._suspend),
            (faults.clock_s, self._set_clock),
        ):
            if mean_s:
                self._repeat(mean_s, action)

    def _repeat(self, mean_s: float, action: Callable[[], None]) -> None:
        def happen() -> None:
            if not self._healed:
                action()
                self._repeat(mean_s, action)

        self.after(self.rng.expovariate(1 / mean_s), happen)

    def _outage_s(self) -> float:
        return self.rng.uniform(0, self.faults.outage_max_s)

    def _pick(self) -> Node:
        return self.rng.choice(list(self.nodes.values()))

    def _partition(self) -> None:
        if len(self.nodes) > 1:
            one, other = self.rng.sample(list(self.nodes.values()), 2)
            self._cut({(one.endpoint, other.endpoint), (other.endpoint, one.endpoint)})

    def _cut_one_way(self) -> None:
        if len(self.nodes) > 1:
            one, other = self.rng.sample(list(self.nodes.values()), 2)
            self._cut({(one.endpoint, other.endpoint)})

    def _cut(self, ways: set[tuple[str, str]]) -> None:
        self.counts["cuts"] += 1
        self.network.cuts |= ways
        self._note(f"cut {sorted(ways)}")
        self.after(self._outage_s(), lambda: self.network.cuts.difference_update(ways))

    def _reset(self) -> None:
        self.counts["resets"] += 1
        self._note("a connection breaks")
        self.network.break_some()

    def _crash(self) -> None:
        node = self._pick()
        if not node.up or node.asleep:
            return
        doom = self.rng.choice([None, *Doom])
        self._note(f"{node.name} dies {'between two turns' if doom is None else doom.value}")
        node.doom = doom
        if doom is None:
            node.stop()

    def _suspend(self) -> None:
        node = self._pick()
        if not node.up or node.asleep:
            return
        self.counts["suspensions"] += 1
        self._note(f"{node.name} is suspended")
        node.asleep = True

        def wake() -> None:
            node.asleep = False
            self.awake(node)

        self.after(self._outage_s(), wake)

    def _set_clock(self) -> None:
        node = self._pick()
        node.clock_ms = self.rng.choice((0, self.rng.randint(-CLOCK_SET_MAX_MS, CLOCK_SET_MAX_MS)))
        self._note(f"{node.name}'s clock is set {node.clock_ms} ms ahead")
