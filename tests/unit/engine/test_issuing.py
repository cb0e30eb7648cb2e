"""When a node issues its records: no clock that is set brings one out that is refused for good."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.memory import remember
from zmqp2p.engine.instant import Instant
from zmqp2p.engine.issuing import Issuing
from zmqp2p.engine.output import EngineOutput
from zmqp2p.limits import DEFAULT_LIMITS, ISSUED_KEPT_S, ISSUED_MAX, REISSUE_MIN_S
from zmqp2p.persistence import PutIssued, Snapshot

START_MS = 1_700_000_000_000
SKEW_MS = int(DEFAULT_LIMITS.clock_skew_max_s * 1000)
HOUR_MS = 3_600_000


class Issuer:
    """A node as far as it issues records, its clock, and what its store would hold."""

    def __init__(self) -> None:
        self.clock = Instant(0.0, START_MS)
        self.memory = Snapshot(incarnation=1)
        self.all_ms: list[int] = []
        self.restart()

    def restart(self) -> None:
        """Begin another run; it issues a record."""
        self.output = EngineOutput()
        self.issuing = Issuing(self.clock, DEFAULT_LIMITS, self.output)
        self.issuing.load(self.memory.issued_ms)
        self.issue()

    def set(self, ahead_ms: int) -> None:
        """Set the clock to so much after the start."""
        self.clock.utc_ms = START_MS + ahead_ms

    def issue(self) -> int:
        """Issue a record, in a turn of its own; return when, from the start."""
        at_ms = self.issuing.next_ms()
        self.issuing.issued(at_ms)
        remember(self.memory, self.output.take().writes)
        self.issuing.check()
        self.all_ms.append(at_ms)
        return at_ms - START_MS


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def test_a_record_is_issued_at_the_present_and_that_is_stored(issuer: Issuer) -> None:
    issuer.set(5)
    assert issuer.issue() == 5
    assert issuer.memory.issued_ms == [START_MS, START_MS + 5]


def test_two_at_one_instant_have_different_times(issuer: Issuer) -> None:
    """IDN-4: the second one would not replace the first."""
    assert [issuer.issue(), issuer.issue()] == [1, 2]


def test_what_counts_is_followed_by_something_later_and_what_does_not_is_not(
    issuer: Issuer,
) -> None:
    """REC-8: to the millisecond, as peers with the same clock judge it."""
    issuer.set(HOUR_MS)
    issuer.issue()
    issuer.set(HOUR_MS - SKEW_MS)
    assert issuer.issue() == HOUR_MS + 1
    issuer.set(HOUR_MS - SKEW_MS - 1)
    assert issuer.issue() == HOUR_MS - SKEW_MS - 1


@pytest.mark.parametrize("restarts", [False, True])
def test_a_record_that_was_a_little_ahead_counts_though_a_later_one_does_not(
    issuer: Issuer, restarts: bool
) -> None:
    """Seeds 702518 and 708328 of the rotation: peers had taken the second of three.

    The clock was a little ahead, then far, then right. To know the last one only is not enough.
    """
    issuer.set(173_000)
    issuer.issue()
    issuer.set(2_700_000)
    issuer.issue()
    issuer.set(20_000)
    if restarts:
        issuer.restart()
        assert issuer.all_ms[-1] == START_MS + 173_001
    else:
        assert issuer.issue() == 173_001


@pytest.mark.parametrize("restarts", [False, True])
def test_a_record_counts_again_when_its_time_comes(issuer: Issuer, restarts: bool) -> None:
    """And from the same moment on the one shown counts less: a newer one is needed, once."""
    issuer.set(HOUR_MS)
    issuer.issue()
    issuer.set(0)
    issuer.restart() if restarts else issuer.issue()
    issuer.set(HOUR_MS - SKEW_MS - 1)
    assert not issuer.issuing.is_overtaken()
    issuer.set(HOUR_MS - SKEW_MS)
    assert issuer.issuing.is_overtaken()
    assert issuer.issue() == HOUR_MS + 1
    assert not issuer.issuing.is_overtaken()


def test_a_record_that_counts_overtakes_though_a_later_one_does_not_yet(issuer: Issuer) -> None:
    issuer.set(HOUR_MS)
    issuer.issue()
    issuer.set(20 * HOUR_MS)
    issuer.issue()
    issuer.set(0)
    issuer.issue()
    issuer.set(HOUR_MS)
    assert issuer.issuing.is_overtaken()


def test_a_refusal_calls_for_another_record_once_in_a_while(issuer: Issuer) -> None:
    """The peer may know of one that this store does not; and it may lie."""
    assert not issuer.issuing.is_overtaken()
    called = 0
    for second in range(100):
        issuer.clock.now = float(second)
        issuer.issuing.refused()
        if issuer.issuing.is_overtaken():
            called += 1
            issuer.issue()
            assert not issuer.issuing.is_overtaken()
    assert called == 1 + 99 // REISSUE_MIN_S


def test_a_refusal_does_not_call_for_a_record_in_the_future(issuer: Issuer) -> None:
    """REC-4: whatever peers say, others must be able to take it."""
    for _ in range(5):
        issuer.issuing.refused()
        assert issuer.issue() < 10


def test_what_is_a_day_old_is_forgotten(issuer: Issuer) -> None:
    kept_ms = int(ISSUED_KEPT_S * 1000)
    issuer.set(kept_ms)
    issuer.issue()
    assert issuer.memory.issued_ms == [START_MS, START_MS + kept_ms]
    issuer.set(kept_ms + 1)
    issuer.issue()
    assert issuer.memory.issued_ms == [START_MS + kept_ms, START_MS + kept_ms + 1]


@pytest.mark.parametrize("from_ms", [-HOUR_MS, 2 * HOUR_MS])
def test_of_too_many_those_go_that_lie_close(issuer: Issuer, from_ms: int) -> None:
    """A node that crashes again and again does not forget when its clock was ahead."""
    for ahead_ms in (100_000, 250_000, HOUR_MS):
        issuer.set(ahead_ms)
        issuer.issue()
    for number in range(3 * ISSUED_MAX):
        issuer.set(from_ms + 10 * number)
        issuer.restart()
    kept = {at_ms - START_MS for at_ms in issuer.memory.issued_ms}
    assert len(kept) == ISSUED_MAX
    assert {100_000, 250_000, HOUR_MS} <= kept


clocks = st.lists(
    st.tuples(st.integers(-2 * HOUR_MS, 2 * HOUR_MS), st.booleans()), max_size=ISSUED_MAX - 1
)


@given(clocks)
def test_each_record_is_later_than_all_that_count(settings: list[tuple[int, bool]]) -> None:
    """REC-8: and not later than needed, so that whoever took the last one takes this one."""
    issuer = Issuer()
    for ahead_ms, restarts in settings:
        issuer.set(ahead_ms)
        present_ms, before = START_MS + ahead_ms, list(issuer.all_ms)
        issuer.restart() if restarts else issuer.issue()
        counting = [at_ms for at_ms in before if at_ms <= present_ms + SKEW_MS]
        assert issuer.all_ms[-1] == max([present_ms, *(at_ms + 1 for at_ms in counting)])
        assert not issuer.issuing.is_overtaken()


@given(st.lists(st.integers(-2 * HOUR_MS, 2 * HOUR_MS), max_size=4 * ISSUED_MAX))
def test_few_are_remembered_and_the_store_knows_them(settings: list[int]) -> None:
    issuer = Issuer()
    for ahead_ms in settings:
        issuer.set(ahead_ms)
        issuer.issue()
        assert issuer.memory.issued_ms == issuer.issuing._issued_ms  # noqa: SLF001
        assert len(issuer.memory.issued_ms) <= ISSUED_MAX


def test_the_time_is_stored_with_the_turn_that_shows_the_record(issuer: Issuer) -> None:
    """Before it: the engine's writes are committed first."""
    issuer.issuing.issued(START_MS + 7)
    assert issuer.output.writes == [PutIssued(START_MS + 7)]
    assert all(one < other for one, other in pairwise(issuer.issuing._issued_ms))  # noqa: SLF001
