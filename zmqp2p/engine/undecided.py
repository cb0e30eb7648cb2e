"""Proposed channels that wait for this node's decision: how many, and how large, of whom.

They wait in memory and in the store until the application decides, which may be never.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from zmqp2p.ids import Address, ChannelId
from zmqp2p.limits import Limits


@dataclass(frozen=True, slots=True)
class _Waiting:
    size_bytes: int
    guest: bool  # It was brought by a peer that came by itself.
    signers: frozenset[Address]


@dataclass(slots=True)
class Undecided:
    """Counts proposals against everyone who has signed them: that is proven, the rest is a name.

    Invariant: the sums are those of what waits.
    """

    limits: Limits
    _waiting: dict[ChannelId, _Waiting] = field(default_factory=dict)
    _numbers: Counter[Address] = field(default_factory=Counter)
    _bytes: Counter[Address] = field(default_factory=Counter)
    _guests_bytes: int = 0

    def has_room(self, sender: Address, size_bytes: int, *, guest: bool) -> bool:
        """Whether one more of ``sender`` may wait."""
        limits = self.limits
        return (
            self._numbers[sender] < limits.proposals_max_per_peer
            and self._bytes[sender] + size_bytes <= limits.proposals_max_bytes_per_peer
            and (not guest or self._guests_bytes + size_bytes <= limits.proposals_guests_max_bytes)
        )

    def add(
        self, channel: ChannelId, size_bytes: int, signers: frozenset[Address], *, guest: bool
    ) -> None:
        """One more waits."""
        self._waiting[channel] = _Waiting(size_bytes, guest, frozenset())
        self._guests_bytes += size_bytes if guest else 0
        self.signed(channel, signers)

    def signed(self, channel: ChannelId, signers: frozenset[Address]) -> None:
        """``signers`` have signed ``channel``, which waits, by now."""
        waiting = self._waiting[channel]
        for signer in signers - waiting.signers:
            self._numbers[signer] += 1
            self._bytes[signer] += waiting.size_bytes
        self._waiting[channel] = _Waiting(waiting.size_bytes, waiting.guest, signers)

    def remove(self, channel: ChannelId) -> None:
        """``channel`` is decided; of no matter if it did not wait."""
        waiting = self._waiting.pop(channel, None)
        if waiting is None:
            return
        self._guests_bytes -= waiting.size_bytes if waiting.guest else 0
        for signer in waiting.signers:
            self._numbers[signer] -= 1
            self._bytes[signer] -= waiting.size_bytes
            if not self._numbers[signer]:
                del self._numbers[signer], self._bytes[signer]

    def check(self) -> None:
        """Assert the invariant."""
        every = self._waiting.values()
        assert +self._numbers == Counter(signer for one in every for signer in one.signers)
        assert +self._bytes == +_sums(every)
        assert self._guests_bytes == sum(one.size_bytes for one in every if one.guest)


def _sums(every: Iterable[_Waiting]) -> Counter[Address]:
    sums: Counter[Address] = Counter()
    for one in every:
        for signer in one.signers:
            sums[signer] += one.size_bytes
    return sums
