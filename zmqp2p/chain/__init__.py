"""Where deposits are made and seen: the `ChainService` protocol and a simulated chain."""

from zmqp2p.chain.base import ChainService, Deposited
from zmqp2p.chain.ledger import MinedDeposit
from zmqp2p.chain.simulated import SimulatedChain

__all__ = ["ChainService", "Deposited", "MinedDeposit", "SimulatedChain"]
