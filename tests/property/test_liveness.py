"""How long a link lives: as long as its peer answers, however far away, and not much longer."""

from hypothesis import given
from hypothesis import strategies as st

from tests.chance import Least
from zmqp2p.ids import LinkId
from zmqp2p.limits import Limits
from zmqp2p.session.handshake import Link, LinkState
from zmqp2p.session.rto import ResendTimer

LIMITS = Limits()
FIRST_PING_S = 0.02


class Path:
    """A link at one end, pinged as a node does; the other end answers until it is dead."""

    def __init__(self, rtts_s: list[float]) -> None:
        """Be established at 0 s; PING number n is answered after ``rtts_s[n]``, in order."""
        self.timer = ResendTimer(LIMITS, Least())
        self.link = Link(
            id=LinkId(1),
            dialed=False,
            curve_key=None,
            remote="there",
            expected=None,
            state=LinkState.ESTABLISHED,
            opened_at=0.0,
            heard_at=0.0,
            pinged_at=FIRST_PING_S - LIMITS.ping_interval_s,
            greeted_at=0.0,
            hello_within_s=LIMITS.hello_timeout_s,
        )
        self.now = 0.0
        self._rtts_s = rtts_s
        self._pongs: list[tuple[float, int]] = []

    def run(self, until_s: float, dead_from_s: float = float("inf")) -> str:
        """Let time pass; return why the link was given up, if it was."""
        while True:
            silence_s = self._silence_s()
            due_at = self.link.deadline(LIMITS, silence_s, None)
            if self._pongs and self._pongs[0][0] <= due_at:
                self._hear(*self._pongs.pop(0))
                continue
            if due_at > until_s:
                return ""
            self.now = due_at
            why = self.link.expired(self.now, silence_s, None)
            if why:
                return why
            if self.link.ping_due(self.now, LIMITS):
                self._ping(dead_from_s)

    def _silence_s(self) -> float:
        measured = self.link.measured
        return self.timer.silence_s() if measured else self.timer.unmeasured_silence_s()

    def _ping(self, dead_from_s: float) -> None:
        token = self.link.ping(self.now)
        arrives_at = self.now + self._rtts_s[token % len(self._rtts_s)]
        if self._pongs:
            arrives_at = max(arrives_at, self._pongs[-1][0])  # The order within a link is kept.
        if arrives_at < dead_from_s:
            self._pongs.append((arrives_at, token))

    def _hear(self, at: float, token: int) -> None:
        self.now = self.link.heard_at = at
        rtt_s = self.link.answered(token, at)
        if rtt_s is not None:
            self.timer.sample(rtt_s)
            self.link.measured = True


# What is left of the silence limit beside the interval between PINGs, and a little for both.
JITTER_S = LIMITS.silence_max_s - LIMITS.ping_interval_s - 0.1

STEADY = st.floats(0.0, 1.9).map(lambda rtt_s: [rtt_s])
JITTERED = st.floats(0.0, 0.5).flatmap(
    lambda least_s: st.lists(st.floats(least_s, least_s + JITTER_S), min_size=1, max_size=20)
)


@given(STEADY | JITTERED)
def test_a_peer_that_answers_is_never_given_up(rtts_s: list[float]) -> None:
    """LIV-4: up to 1.9 s away, or with as much jitter as there is room for beside the PINGs."""
    assert Path(rtts_s).run(120.0) == ""


@given(st.floats(2.0, 10.0))
def test_a_peer_further_away_is_measured_after_a_few_links(rtt_s: float) -> None:
    """LIV-4: each link that is given up before its first answer gives the next one more time."""
    path = Path([rtt_s])
    for _ in range(4):
        timer = path.timer
        if path.run(120.0) == "":
            break
        assert not path.link.measured
        timer.died_unmeasured()
        path = Path([rtt_s])
        path.timer = timer
    assert path.link.measured


@given(STEADY | JITTERED, st.floats(5.0, 60.0))
def test_a_peer_that_is_dead_is_given_up_in_bounded_time(
    rtts_s: list[float], dead_from_s: float
) -> None:
    """LIV-2, LIV-4: 1.5 s where the way is short, and never more than 20 s."""
    path = Path(rtts_s)
    assert path.run(200.0, dead_from_s).startswith("silent for")
    noticed_s = path.now - dead_from_s
    assert noticed_s <= LIMITS.silence_slow_max_s
    if max(rtts_s) <= 0.1:
        assert noticed_s <= LIMITS.silence_max_s
