"""What libzmq keeps of connections that are over, and never lets go of while its socket lives.

Of two connections that announce one routing id, a ROUTER never reads the second. What it has sent
stays; and once its queue is full, libzmq does not notice that it has ended either, so that its
descriptor stays too. There is no word of it, and no way to end it from outside: only when the
ROUTER is closed, all is free. (With ROUTER_HANDOVER it is the first connection that stays.)

Measured: 3,000 handshakes with the id of another, said nothing and gone, left 15 KB each; with ids
of their own, or none, nothing. But which of the two it was shows nowhere before a first message:
the id is in the handshake, which libzmq keeps to itself. So each of them counts, and what a source
may have of them is bounded (`Arrivals.may_greet`).
"""

from collections.abc import Collection

from zmqp2p.transport.arrivals import Arrival
from zmqp2p.transport.options import SocketLimits


class Clog:
    """Tells when one ROUTER is to be closed and opened again; there are so many ``places``."""

    def __init__(self, bounds: SocketLimits, places: int, now: float) -> None:
        self._bounds = bounds
        # What does not end has a place: half of those that guests leave are too many.
        self._stuck_max = min(bounds.stuck_connections_max, max(places // 8, 1))
        self._unheard = 0  # Handshakes less connections of which a message was read.
        self._not_before = now + bounds.listener_renewal_min_s

    def greeted(self) -> None:
        """A handshake is over; of which connection, libzmq does not tell."""
        self._unheard += 1

    def heard(self) -> None:
        """A first message has come over a connection."""
        self._unheard -= 1

    def is_clogged(self, arrivals: Collection[Arrival], now: float) -> bool:
        """Whether it is time: so many of ``arrivals`` do not end, or so much may stay of others."""
        bounds = self._bounds
        if now < self._not_before:
            return False
        stuck = sum(each.stuck for each in arrivals)
        gone = self._unheard - sum(not each.proven for each in arrivals)
        return stuck >= self._stuck_max or gone >= bounds.unread_connections_max
