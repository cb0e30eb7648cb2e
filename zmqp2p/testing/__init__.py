"""A deterministic world in which nodes meet every fault, for tests of your own application too.

See docs/howto/simulate.md. ``python -m zmqp2p.testing`` runs the scenarios of this package.
"""

from zmqp2p.testing.account import Account, Broken
from zmqp2p.testing.faults import CALM, Faults
from zmqp2p.testing.node import HandlerFault, Node
from zmqp2p.testing.world import World

__all__ = ["CALM", "Account", "Broken", "Faults", "HandlerFault", "Node", "World"]
