"""The node, as it introduces itself."""

from dataclasses import dataclass

from zmqp2p.crypto import Signer
from zmqp2p.ids import InstanceId
from zmqp2p.records import PeerRecord


@dataclass(slots=True)
class Me:
    """Who this node is: its identity, its run, and the records it shows."""

    signer: Signer
    incarnation: int
    instance: InstanceId
    record: PeerRecord | None = None  # Set before the first link exists.
    former: PeerRecord | None = None  # Of the CURVE key before, while its links may go on.
