"""A link's table and its clocks."""

from itertools import product

import pytest

from zmqp2p.ids import LinkId
from zmqp2p.limits import Limits
from zmqp2p.session.handshake import TABLE, Action, Link, LinkState
from zmqp2p.wire.frames import Kind

LIMITS = Limits(ping_interval_s=0.5, silence_max_s=1.5, hello_timeout_s=2.0)
SILENCE_S = 1.5


def link_of(
    state: LinkState,
    *,
    heard_at: float = 10.0,
    pinged_at: float = 10.0,
    measured: bool = True,
    hello_within_s: float = 2.0,
) -> Link:
    """Return a link opened at 10 s."""
    return Link(
        id=LinkId(1),
        dialed=state is LinkState.GREETED,
        curve_key=None,
        remote="there",
        expected=None,
        state=state,
        opened_at=10.0,
        heard_at=heard_at,
        spoke_at=heard_at,
        pinged_at=pinged_at,
        greeted_at=10.0,
        hello_within_s=hello_within_s,
        measured=measured,
    )


def deadline(link: Link, stalled_since: float | None = None) -> float:
    """Return when the link is to be looked at."""
    return link.deadline(LIMITS, SILENCE_S, stalled_since)


def expired(link: Link, now: float, stalled_since: float | None = None) -> str:
    """Return why the link must be given up."""
    return link.expired(now, SILENCE_S, stalled_since)


def test_the_table_has_an_action_for_every_frame_in_every_state() -> None:
    """HEL-3 to HEL-7."""
    assert set(TABLE) == set(product(LinkState, Kind))


def test_frames_of_a_session_are_processed_on_an_established_link_only() -> None:
    """HEL-3."""
    session = set(Kind) - {Kind.HELLO, Kind.WHO, Kind.BYE}
    processed = {key for key, action in TABLE.items() if action is Action.PROCESS}
    assert processed == {(LinkState.ESTABLISHED, kind) for kind in session}


@pytest.mark.parametrize("state", [LinkState.SILENT, LinkState.GREETED])
def test_who_has_not_said_hello_in_time_is_given_up(state: LinkState) -> None:
    """HEL-7: whatever else was heard meanwhile."""
    link = link_of(state, heard_at=11.9)
    assert deadline(link) == 12.0
    assert expired(link, 11.999) == ""
    assert expired(link, 12.0) == "no HELLO within 2 s"


@pytest.mark.parametrize("state", [LinkState.SILENT, LinkState.GREETED])
def test_nobody_is_pinged_before_the_introduction(state: LinkState) -> None:
    assert not link_of(state).ping_due(100.0, LIMITS)


def test_a_quiet_link_is_pinged() -> None:
    """LIV-1."""
    link = link_of(LinkState.ESTABLISHED)
    assert deadline(link) == 10.5
    assert not link.ping_due(10.499, LIMITS)
    assert link.ping_due(10.5, LIMITS)


def test_the_next_ping_waits_an_interval_too() -> None:
    """LIV-1."""
    link = link_of(LinkState.ESTABLISHED, pinged_at=10.5)
    assert deadline(link) == 11.0
    assert not link.ping_due(10.999, LIMITS)
    assert link.ping_due(11.0, LIMITS)


def test_whatever_is_heard_postpones_the_ping() -> None:
    """LIV-1: traffic is proof enough of life."""
    link = link_of(LinkState.ESTABLISHED, heard_at=10.4)
    assert not link.ping_due(10.899, LIMITS)
    assert link.ping_due(10.9, LIMITS)


def test_an_answer_does_not_postpone_the_next_ping() -> None:
    """LIV-1: so that one look at an idle link is enough for each PING."""
    link = link_of(LinkState.ESTABLISHED, pinged_at=10.5)
    link.heard_at = 10.6  # A PONG.
    assert deadline(link) == 11.0
    assert link.ping_due(11.0, LIMITS)


def test_who_dialed_lets_the_other_ask_first() -> None:
    """LIV-1: or both would ask each time; but nothing is left to the other alone."""
    link = link_of(LinkState.ESTABLISHED)
    link.dialed = True
    assert deadline(link) == 10.75
    assert not link.ping_due(10.749, LIMITS)
    assert link.ping_due(10.75, LIMITS)


def test_a_silent_link_is_dead_whatever_the_network_says() -> None:
    """LIV-2."""
    link = link_of(LinkState.ESTABLISHED, pinged_at=11.4)
    assert deadline(link) == 11.5
    assert expired(link, 11.499) == ""
    assert expired(link, 11.5) == "silent for 1.5 s"


# --- Long ways, and pauses ----------------------------------------------------------------------


def test_a_dial_that_took_long_leaves_as_long_for_the_hello() -> None:
    """HEL-7: the handshakes below took five round trips, HELLO takes one."""
    link = link_of(LinkState.GREETED, hello_within_s=8.0)
    assert deadline(link) == 18.0
    assert expired(link, 17.9) == ""
    assert expired(link, 18.0) == "no HELLO within 8 s"


def test_a_link_that_was_not_measured_is_pinged_whatever_is_heard() -> None:
    """LIV-1, LIV-4."""
    link = link_of(LinkState.ESTABLISHED, heard_at=10.4, measured=False)
    assert deadline(link) == 10.5
    assert link.ping_due(10.5, LIMITS)
    link.measured = True
    assert not link.ping_due(10.5, LIMITS)


def test_what_was_sent_and_makes_no_progress_ends_a_link_that_is_not_silent() -> None:
    """LIV-5."""
    link = link_of(LinkState.ESTABLISHED, heard_at=12.0)
    assert expired(link, 12.0, 10.6) == ""
    assert deadline(link, 10.6) == pytest.approx(12.1)
    assert expired(link, 12.11, 10.6) == "no progress for 1.5 s"


def test_messages_of_the_peer_show_that_its_queue_is_moving() -> None:
    """LIV-5: on a slow network, acknowledgements wait behind them."""
    link = link_of(LinkState.ESTABLISHED, heard_at=12.0)
    link.moved_at = 11.0
    assert expired(link, 12.11, 10.6) == ""
    assert expired(link, 12.5, 10.6) == "no progress for 1.5 s"
    assert expired(link, 12.5, 11.1) == ""


def test_a_silent_link_is_silent_whether_or_not_something_is_under_way() -> None:
    """LIV-2, LIV-5."""
    link = link_of(LinkState.ESTABLISHED)
    assert expired(link, 11.5, 10.0) == expired(link, 11.5, 11.4) == "silent for 1.5 s"


def test_each_ping_is_measured_once_and_none_after_a_later_one() -> None:
    """LIV-4: a way that takes longer than the interval would never be measured otherwise."""
    link = link_of(LinkState.ESTABLISHED)
    assert [link.ping(at) for at in (10.0, 10.5, 11.0)] == [1, 2, 3]
    assert link.answered(4, 12.0) is None
    assert link.answered(2, 12.0) == 1.5
    assert link.answered(2, 12.5) is None
    assert link.answered(1, 12.5) is None
    assert link.answered(3, 13.0) == 2.0


def test_only_the_newest_pings_are_kept() -> None:
    link = link_of(LinkState.ESTABLISHED)
    for number in range(100):
        link.ping(10.0 + number)
    assert list(link.pings) == list(range(37, 101))


def test_a_pause_of_this_node_is_no_silence_of_the_peer() -> None:
    """LIV-6: what was left of each limit is left, and nothing measures the pause."""
    link = link_of(LinkState.ESTABLISHED, heard_at=10.2)
    token = link.ping(10.7)
    link.postpone(100.0)
    assert expired(link, 111.6) == ""
    assert expired(link, 111.7) == "silent for 1.5 s"
    assert link.ping_due(110.7, LIMITS)
    assert link.answered(token, 110.8) is None
    early = link_of(LinkState.GREETED)
    early.postpone(100.0)
    assert (early.opened_at, early.greeted_at) == (110.0, 110.0)
