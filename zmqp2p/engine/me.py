"""The node, as it introduces itself."""

from dataclasses import dataclass
from enum import Enum

from zmqp2p.crypto import Signer
from zmqp2p.ids import InstanceId
from zmqp2p.records import PeerRecord


class Told(Enum):
    """Which of the peers that are connected are told of a newer record of this node."""

    NOBODY = "nobody"  # A link goes on with the record it began with, whichever clock is right.
    MOVING = "moving"  # Those on links of a CURVE key that was replaced.
    ALL = "all"  # Those too whom this node has dialed: its record is about to expire.


@dataclass(slots=True)
class Me:
    """Who this node is: its identity, its run, and the records it shows."""

    signer: Signer
    incarnation: int
    instance: InstanceId
    record: PeerRecord | None = None  # Set before the first link exists.
    former: PeerRecord | None = None  # Of the CURVE key before, while its links may go on.
