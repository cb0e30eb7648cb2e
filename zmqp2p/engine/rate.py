"""How often something may happen: so often for each source, and so often in all."""

from collections import OrderedDict
from ipaddress import IPv6Address

from zmqp2p.session.bucket import Bucket

_SOURCES_MAX = 4_096  # Remembered; of the others it is as if nothing had been heard.


def source_of(remote: str) -> str:
    """Return who counts as one source: of IPv6 the network, which its owner fills as he likes.

    ``remote`` is an IP address; whatever else it is, as "localhost" for ipc, is its own source.
    """
    if ":" not in remote:
        return remote
    try:
        whole = IPv6Address(remote.partition("%")[0])
    except ValueError:
        return remote
    return f"{IPv6Address(int(whole) >> 64 << 64)}/64"


class Rates:
    """A rate for each source (an IP address, or "localhost" for all of ipc), and one for all.

    Invariant: no more than so many sources are remembered, whoever makes them up.
    """

    def __init__(self, each: tuple[float, float], total: tuple[float, float]) -> None:
        """Let each source do ``each``, (per second, at once), and all together ``total``."""
        self._each = each
        self._total = Bucket(*total)
        self._sources: OrderedDict[str, Bucket] = OrderedDict()

    def allows(self, source: str, now: float) -> bool:
        """Whether ``source`` may do it once now. What it is refused is not taken from the total."""
        return self._of(source).take(1, now) and self._total.take(1, now)

    def charge(self, source: str, times: float, now: float) -> None:
        """Count it so many times more, whether or not that was allowed."""
        self._of(source).charge(times, now)

    def give_back(self, source: str) -> None:
        """It was allowed once, and does not count after all."""
        if source in self._sources:
            self._sources[source].earn(1)

    def is_spent(self, source: str, now: float) -> bool:
        """Whether ``source`` has had all it may have for now."""
        rate = self._sources.get(source)
        return rate is not None and not rate.has(1, now)

    def check(self) -> None:
        """Assert the invariant."""
        assert len(self._sources) <= _SOURCES_MAX

    def _of(self, source: str) -> Bucket:
        rate = self._sources.pop(source, None) or Bucket(*self._each)
        self._sources[source] = rate  # The least recently heard of is forgotten first.
        if len(self._sources) > _SOURCES_MAX:
            self._sources.popitem(last=False)
        return rate
