"""The ChainService protocol: where deposits are made and seen.

The node calls it from a thread of its own, so it may block for as long as a real chain does.
"""

from dataclasses import dataclass
from typing import Protocol

from zmqp2p.ids import Address, ChannelId
from zmqp2p.objectives.base import Deposit


@dataclass(frozen=True, slots=True)
class Deposited:
    """After a confirmed deposit ``channel`` holds ``held`` of ``asset``. Names no depositor."""

    block: int
    channel: ChannelId
    asset: Address
    held: int


class ChainService(Protocol):
    """One chain, seen by one account. Thread-safe; calls may block."""

    def deposit(self, deposit: Deposit) -> str:
        """Submit ``deposit`` and return the transaction's hash, ``0x…``, once it is accepted.

        Raises:
            ChainError: refused (the holdings are not ``expected_held``, no funds), or unreachable.
        """
        ...

    def holdings(self, channel: ChannelId, asset: Address) -> int:
        """Return what ``channel`` holds of ``asset``, counting confirmed deposits only."""
        ...

    def events(self, after_block: int) -> list[Deposited]:
        """Return the confirmed deposits in blocks after ``after_block``, oldest first."""
        ...

    def wait(self, after_block: int, timeout_s: float) -> None:
        """Block until a confirmed block after ``after_block`` may exist, at most ``timeout_s``."""
        ...

    def close(self) -> None:
        """Release what the service holds; a `wait` in another thread returns. Idempotent."""
        ...
