"""The node's two threads to the chain: one submits, one watches.

A chain may take seconds to answer; the loop does not wait for it. What the chain says comes back
as calls that the loop makes.
"""

import queue
import threading
from collections.abc import Callable
from typing import Protocol

from zmqp2p.chain.base import ChainService, Deposited
from zmqp2p.engine.output import Watch
from zmqp2p.errors import ChainError
from zmqp2p.ids import Address, ChannelId
from zmqp2p.objectives.base import Deposit

_WAIT_S = 0.25  # The longest wait for a block, and so for the thread to end.
_RETRY_S = 1.0  # Pause after the chain could not be asked.


class ChainListener(Protocol):
    """What the threads tell the node; each method may be called on any thread."""

    def chain_deposited(self, deposits: list[Deposited], block: int) -> None:
        """All confirmed deposits up to ``block``."""
        ...

    def chain_holdings(self, channel: ChannelId, asset: Address, held: int) -> None:
        """The answer to a watch."""
        ...

    def chain_refused(self, deposit: Deposit, error: str) -> None:
        """A deposit was not made."""
        ...

    def chain_failed(self, error: str) -> None:
        """The chain could not be asked; it is asked again."""
        ...

    def chain_crashed(self, error: BaseException) -> None:
        """One of the threads failed for good: a bug, here or in the chain service."""
        ...


class ChainLink:
    """Submits deposits and reports what the chain holds, until closed."""

    def __init__(self, chain: ChainService, listener: ChainListener, after_block: int) -> None:
        self._chain = chain
        self._listener = listener
        self._cursor = after_block
        self._work: queue.SimpleQueue[Deposit | Watch | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(target,), name=f"zmqp2p-chain-{name}")
            for name, target in (("submit", self._submit), ("watch", self._watch))
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.daemon = True  # A chain that hangs must not keep the process from ending.
            thread.start()

    def submit(self, work: Deposit | Watch) -> None:
        """Take in a deposit to make or holdings to report."""
        self._work.put(work)

    def close(self, timeout_s: float) -> None:
        """End both threads, waiting up to ``timeout_s`` for each. The chain stays its owner's."""
        self._stopping.set()
        self._work.put(None)
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as fault:  # noqa: BLE001  # Handed to the node, which stops and raises it.
            self._listener.chain_crashed(fault)

    def _submit(self) -> None:
        while (work := self._work.get()) is not None and not self._stopping.is_set():
            try:
                if isinstance(work, Watch):
                    self._report(work.channel, work.assets)
                else:
                    self._deposit(work)
            except ChainError as fault:
                if self._stopping.is_set():
                    return
                self._listener.chain_failed(str(fault))
                self._stopping.wait(_RETRY_S)
                self._work.put(work)

    def _deposit(self, deposit: Deposit) -> None:
        try:
            self._chain.deposit(deposit)
        except ChainError as fault:
            if self._stopping.is_set():
                return
            # First what the chain holds now: the deposit may have been made before a restart.
            self._report(deposit.channel, (deposit.asset,))
            self._listener.chain_refused(deposit, str(fault))

    def _report(self, channel: ChannelId, assets: tuple[Address, ...]) -> None:
        for asset in assets:
            held = self._chain.holdings(channel, asset)
            self._listener.chain_holdings(channel, asset, held)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                deposits = self._chain.events(self._cursor)
                if deposits:
                    self._cursor = max(deposit.block for deposit in deposits)
                    self._listener.chain_deposited(deposits, self._cursor)
                else:
                    self._chain.wait(self._cursor, _WAIT_S)
            except ChainError as fault:
                if self._stopping.is_set():
                    return
                self._listener.chain_failed(str(fault))
                self._stopping.wait(_RETRY_S)
