"""A link's table and its clocks."""

from itertools import product

import pytest

from zmqp2p.ids import LinkId
from zmqp2p.limits import Limits
from zmqp2p.session.handshake import TABLE, Action, Link, LinkState
from zmqp2p.wire.frames import Kind

LIMITS = Limits(ping_interval_s=0.5, silence_max_s=1.5, hello_timeout_s=2.0)


def link_of(state: LinkState, *, heard_at: float = 10.0, pinged_at: float = 10.0) -> Link:
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
        pinged_at=pinged_at,
        greeted_at=10.0,
    )


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
    assert link.deadline(LIMITS) == 12.0
    assert link.expired(11.999, LIMITS) == ""
    assert link.expired(12.0, LIMITS) == "no HELLO within 2 s"


@pytest.mark.parametrize("state", [LinkState.SILENT, LinkState.GREETED])
def test_nobody_is_pinged_before_the_introduction(state: LinkState) -> None:
    assert not link_of(state).ping_due(100.0, LIMITS)


def test_a_quiet_link_is_pinged() -> None:
    """LIV-1."""
    link = link_of(LinkState.ESTABLISHED)
    assert link.deadline(LIMITS) == 10.5
    assert not link.ping_due(10.499, LIMITS)
    assert link.ping_due(10.5, LIMITS)


def test_the_next_ping_waits_an_interval_too() -> None:
    """LIV-1."""
    link = link_of(LinkState.ESTABLISHED, pinged_at=10.5)
    assert link.deadline(LIMITS) == 11.0
    assert not link.ping_due(10.999, LIMITS)
    assert link.ping_due(11.0, LIMITS)


def test_whatever_is_heard_postpones_the_ping() -> None:
    """LIV-1: traffic is proof enough of life."""
    link = link_of(LinkState.ESTABLISHED, heard_at=10.4)
    assert not link.ping_due(10.899, LIMITS)
    assert link.ping_due(10.9, LIMITS)


def test_a_silent_link_is_dead_whatever_the_network_says() -> None:
    """LIV-2."""
    link = link_of(LinkState.ESTABLISHED, pinged_at=11.4)
    assert link.deadline(LIMITS) == 11.5
    assert link.expired(11.499, LIMITS) == ""
    assert link.expired(11.5, LIMITS) == "silent for 1.5 s"
