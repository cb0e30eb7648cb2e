"""What frames count that bring nothing new (RAT-1)."""

from zmqp2p.errors import PeerError
from zmqp2p.session.bucket import Bucket
from zmqp2p.wire.frames import Ack, Bulk, Bye, Data, Hello

# DATA and BULK count only if they bring nothing new; an ACK that does not counts as every other
# frame. A peer that has nothing to say sends two of those in a second.
COSTS: dict[type, float] = {Hello: 50.0, Data: 0.0, Bulk: 0.0, Ack: 1.0, Bye: 0.0}
IDLE_COST = 10.0


def count(bucket: Bucket, frames: float, now: float) -> None:
    """Count frames that bring nothing new; nobody needs many (RAT-1).

    Raises:
        PeerError: they are more than that.
    """
    if not bucket.take(frames, now):
        raise PeerError("RAT-1", "more frames that bring nothing new than anybody needs")
