"""A chain in virtual time: one ledger for all nodes, which is slow, and fails without a reason."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Protocol

from zmqp2p.chain.base import Deposited
from zmqp2p.ids import Address, ChannelId
from zmqp2p.objectives.base import Deposit
from zmqp2p.testing.faults import Faults
from zmqp2p.testing.network import Schedule

BLOCK_MAX_S = 0.5  # From a deposit to its block, and from a block to each node's news of it.


class Watcher(Protocol):
    """A run of a node, as the chain sees it."""

    block: int  # The last whose deposits it has been told of.

    def deposited(self, deposits: list[Deposited], block: int) -> None:
        """All deposits up to ``block``, those that it has not heard of."""
        ...

    def holdings(self, channel: ChannelId, asset: Address, held: int) -> None:
        """What a channel holds."""
        ...

    def refused(self, deposit: Deposit) -> None:
        """A deposit was not made."""
        ...


@dataclass(slots=True)
class SimChain:
    """Who deposits into what. Invariant: no deposit is made beside what it expects to be held."""

    rng: Random
    faults: Faults
    schedule: Schedule
    held: dict[tuple[ChannelId, Address], int] = field(default_factory=dict)
    deposits: list[Deposited] = field(default_factory=list)
    watchers: list[Watcher] = field(default_factory=list)

    def submit(self, deposit: Deposit, watcher: Watcher) -> None:
        """Take in a deposit; it is made, or refused, in a while, also if its node dies."""
        fails = self.rng.random() < self.faults.deposit_fails
        self._later(lambda: self._execute(deposit, watcher, fails=fails))

    def report(self, channel: ChannelId, asset: Address, watcher: Watcher) -> None:
        """Tell ``watcher`` in a while what a channel holds then."""
        self._later(lambda: watcher.holdings(channel, asset, self.held.get((channel, asset), 0)))

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` of every deposit after the block that it knows, and of those to come."""
        self.watchers.append(watcher)
        self._later(lambda: self._tell(watcher))

    def forget(self, watcher: Watcher) -> None:
        """Tell ``watcher`` no more."""
        self.watchers.remove(watcher)

    def _tell(self, watcher: Watcher) -> None:
        news = [deposit for deposit in self.deposits if deposit.block > watcher.block]
        if news and watcher in self.watchers:
            watcher.block = news[-1].block
            watcher.deposited(news, watcher.block)

    def _execute(self, deposit: Deposit, watcher: Watcher, *, fails: bool) -> None:
        key = (deposit.channel, deposit.asset)
        held = self.held.get(key, 0)
        if fails or held != deposit.expected_held:
            watcher.holdings(deposit.channel, deposit.asset, held)
            watcher.refused(deposit)
            return
        self.held[key] = held + deposit.amount
        block = len(self.deposits) + 1
        self.deposits.append(Deposited(block, *key, self.held[key]))
        for each in self.watchers:
            self._later(partial(self._tell, each))

    def _later(self, action: Callable[[], None]) -> None:
        self.schedule(self.rng.uniform(0.001, BLOCK_MAX_S), action)
