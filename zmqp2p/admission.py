"""Who may be a peer at all: everyone, those on a list, all but those on a list, or as you decide.

Asked by address: before a signature is verified, a session made or anything stored, before a dial,
and of all sessions whenever the answer may have changed. (Whose *channels* to fund is another
question: see `zmqp2p.policy`.)

Lists follow the hand-overs that the application accepted: who was let in is under his new address
too, and who was kept out stays out under each. A function is asked for each address alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

from zmqp2p.ids import Address
from zmqp2p.records import PeerRecord, PeerUri, parse_address

Admission = Callable[[Address], bool]
"""Decides at once, on the node's thread; True lets the peer in. One that raises lets nobody in."""


def everyone(_peer: Address) -> bool:
    """Let everyone in who proves to be who he says: the default."""
    return True


def known_peers_only(_peer: Address) -> bool:
    """Let those in whom the application has added with ``add_peer``, in this run or an earlier one.

    The node knows who they are; as a function of its own this lets nobody in.
    """
    return False


@dataclass(frozen=True, slots=True)
class Only:
    """Let in those on a list; see `only_these`."""

    peers: frozenset[Address]

    def __call__(self, peer: Address) -> bool:
        """Whether ``peer`` is on it."""
        return peer in self.peers


@dataclass(frozen=True, slots=True)
class AllBut:
    """Let in those not on a list; see `all_but_these`."""

    peers: frozenset[Address]

    def __call__(self, peer: Address) -> bool:
        """Whether ``peer`` is not on it."""
        return peer not in self.peers


def only_these(*peers: Address | bytes | str | PeerRecord | PeerUri) -> Only:
    """Let in ``peers``, by address or contact, and nobody else. Raises InvalidValue."""
    return Only(_addresses(peers))


def all_but_these(*peers: Address | bytes | str | PeerRecord | PeerUri) -> AllBut:
    """Let in everyone but ``peers``, by address or contact. Raises InvalidValue.

    New identities cost nothing: this keeps out a peer that errs, not one that is determined.
    """
    return AllBut(_addresses(peers))


def _addresses(
    peers: tuple[Address | bytes | str | PeerRecord | PeerUri, ...],
) -> frozenset[Address]:
    known = (each.address if isinstance(each, PeerRecord | PeerUri) else each for each in peers)
    return frozenset(parse_address(each) for each in known)
