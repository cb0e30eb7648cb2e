"""The memory for messages that wait to be processed, shared by all peers of a node."""

from dataclasses import dataclass
from typing import NamedTuple

from zmqp2p.limits import BODY_MAX_BYTES

MESSAGE_BYTES = 160  # What a message that waits costs besides its body: small ones are not free.
_GUESTS_SHARES = 4  # Of what guests may have together while others are connected.
RESERVED_BYTES = 2 * BODY_MAX_BYTES  # Each peer's own: others cannot keep it from going on.


class Allowance(NamedTuple):
    """How many messages a peer may bring, or have waiting, and of how many bytes in all."""

    messages: int
    size_bytes: int


@dataclass(slots=True)
class _Share:
    """What so many peers may have together."""

    most_bytes: int
    used_bytes: int = 0
    incomplete_bytes: int = 0  # Of that, for messages whose parts are still coming.

    def admits(self, incomplete_bytes: int) -> bool:
        """Whether there is room for so much of such messages: half is for complete ones."""
        return self.incomplete_bytes + incomplete_bytes <= self.most_bytes // 2


class InboxRoom:
    """Counts the bytes in all inboxes. A peer within its reserve is never turned away.

    Guests, who came by themselves and may be one and the same in many disguises, have a share of
    it; contacts have what is left, so guests cannot keep them from anything.

    Invariant: what is used is the sum of what the inboxes hold, and `MESSAGE_BYTES` for each
    message; at most ``most_bytes``, and one reserve for each peer.
    """

    def __init__(self, most_bytes: int, guests_most_bytes: int | None = None) -> None:
        self._all = _Share(most_bytes)
        self._guests = _Share(most_bytes if guests_most_bytes is None else guests_most_bytes)
        self.crowded = (
            False  # Whether several peers are connected: guests have a small window then.
        )
        self._promised = Allowance(0, 0)  # To all guests.
        self.waiting: set[object] = set()  # Inboxes that could not begin a message of parts.

    @property
    def used_bytes(self) -> int:
        """What all inboxes hold."""
        return self._all.used_bytes

    @property
    def incomplete_bytes(self) -> int:
        """Of that, what is reserved for messages whose parts are still coming."""
        return self._all.incomplete_bytes

    def add(self, used_bytes: int, incomplete_bytes: int, *, guest: bool) -> None:
        """Count so much in, or out."""
        self._all.used_bytes += used_bytes
        self._all.incomplete_bytes += incomplete_bytes
        if guest:
            self._guests.used_bytes += used_bytes
            self._guests.incomplete_bytes += incomplete_bytes

    def admits(self, incomplete_bytes: int, *, guest: bool = False) -> bool:
        """Whether a message of parts may be begun: half of each share is for complete ones."""
        if guest and not self._guests.admits(incomplete_bytes):
            return False
        return self._all.admits(incomplete_bytes)

    def left_bytes(self, own_bytes: int, *, guest: bool = False) -> int:
        """Return how much more a peer may bring that has ``own_bytes`` here."""
        left = self._all.most_bytes - self._all.used_bytes
        if guest:
            left = min(left, self._guests.most_bytes - self._guests.used_bytes)
        return max(left, RESERVED_BYTES - own_bytes, 0)

    def promise(self, before: Allowance, now: Allowance) -> None:
        """A guest that may have had ``before`` here may have ``now``: what waits, and more."""
        self._promised = Allowance(
            self._promised.messages + now.messages - before.messages,
            self._promised.size_bytes + now.size_bytes - before.size_bytes,
        )

    def guest_share(self, own: Allowance, most: Allowance, least: Allowance) -> Allowance:
        """Return how much a guest that is promised ``own`` may have here: a part of what is left.

        All guests together may have four times ``most``; each has ``least`` even if none is left.
        """
        left = (
            _GUESTS_SHARES * most.messages - self._promised.messages + own.messages,
            _GUESTS_SHARES * most.size_bytes - self._promised.size_bytes + own.size_bytes,
        )
        return Allowance(
            max(left[0] // _GUESTS_SHARES, least.messages),
            max(left[1] // _GUESTS_SHARES, least.size_bytes),
        )
