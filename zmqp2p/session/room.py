"""The memory for messages that wait to be processed, shared by all peers of a node."""

from zmqp2p.limits import BODY_MAX_BYTES

MESSAGE_BYTES = 160  # What a message that waits costs besides its body: small ones are not free.
RESERVED_BYTES = 2 * BODY_MAX_BYTES  # Each peer's own: others cannot keep it from going on.


class InboxRoom:
    """Counts the bytes in all inboxes. A peer within its reserve is never turned away.

    Invariant: ``used_bytes`` is the sum of what the inboxes hold, and `MESSAGE_BYTES` for each
    message; at most ``most_bytes``, and one reserve for each peer.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.used_bytes = 0
        self.incomplete_bytes = 0  # Of that, for messages whose parts are still coming.

    def admits(self, incomplete_bytes: int) -> bool:
        """Whether a message of parts may be begun: half of the room is for complete ones."""
        return self.incomplete_bytes + incomplete_bytes <= self._most_bytes // 2

    def left_bytes(self, own_bytes: int) -> int:
        """Return how much more a peer may bring that has ``own_bytes`` here."""
        return max(self._most_bytes - self.used_bytes, RESERVED_BYTES - own_bytes, 0)
