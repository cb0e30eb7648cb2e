"""Two nodes on two hosts with a bad network between them: messages both ways, and a channel.

The kernel's own TCP deals with what is lost; what it cannot deal with, the session does. For few
messages and a short outage; with ZMQP2P_LONG=1 in the environment for more.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.real.namespaces.hosts import DARK, Hosts, Weather
from tests.real.namespaces.setup import Outage, exchange_between
from tests.soak.exchange import Outcome, Plan
from tests.soak.items import Tally

LONG = os.environ.get("ZMQP2P_LONG") == "1"
MESSAGES = 2_000 if LONG else 64
OUTAGE_S = 30.0 if LONG else 4.0
# In the worst weather 2,000 messages take 45 to 60 s: TCP's own timeouts, at 32 in a window.
TIMEOUT_S = 110.0 if LONG else 55.0
# A small window: it takes many round trips, so that the network has its chance.
LIMITS = {"inbox_max_messages": 32, "message_max_bytes": 2**20}

WEATHERS = {
    "loss 20 %": Weather(loss=0.2),
    "delay 100 ms +- 50, reordering 25 %": Weather(delay_s=0.1, jitter_s=0.05, reorder=0.25),
    "all of that": Weather(loss=0.2, delay_s=0.1, jitter_s=0.05, reorder=0.25),
}

pytestmark = pytest.mark.timeout(TIMEOUT_S + 30)

SLOW = Weather(delay_s=0.05)
Switch = Callable[[], None]


def check(outcome: Outcome) -> None:
    """Everything came once and in order, is acked, and the channel is funded for both."""
    assert outcome.faults == []
    assert outcome.tallies == (Tally(MESSAGES, MESSAGES), Tally(MESSAGES, MESSAGES))
    assert outcome.acked == outcome.sent == 2 * MESSAGES
    assert outcome.channels == (1, 1)


def plan() -> Plan:
    return Plan(messages=MESSAGES, timeout_s=TIMEOUT_S, channels=1)


@pytest.mark.parametrize("weather", WEATHERS)
def test_messages_and_funding_complete_over_a_bad_network(weather: str, tmp_path: Path) -> None:
    with Hosts(seed=1) as hosts:
        hosts.set(WEATHERS[weather])
        check(exchange_between(hosts, tmp_path, plan(), limits=LIMITS).run())
        assert (hosts.counts.lost > 0) == (WEATHERS[weather].loss > 0)
        assert (hosts.counts.overtaken > 0) == (WEATHERS[weather].reorder > 0)


def unplugged(hosts: Hosts) -> tuple[Switch, Switch]:
    """One host knows that it has no link."""
    return partial(hosts.link, 0, up=False), partial(hosts.link, 0, up=True)


def dark(*sources: int) -> Callable[[Hosts], tuple[Switch, Switch]]:
    """The wire passes nothing, both ways or only what comes from one host, and nobody knows."""
    return lambda hosts: (partial(hosts.set, DARK, *sources), partial(hosts.set, SLOW, *sources))


OUTAGES = {
    "unplugged": unplugged,
    "dark": dark(),
    "dark from the first": dark(0),
    "dark from the second": dark(1),
}


@pytest.mark.parametrize("how", OUTAGES)
def test_messages_and_funding_complete_when_the_link_was_down(how: str, tmp_path: Path) -> None:
    """Without RST: TCP alone would hold both connections for a quarter of an hour.

    Cut in one direction only, one host hears the other and is not heard.
    """
    with Hosts() as hosts:
        hosts.set(SLOW)  # Or everything would be over before the link is down.
        outage = Outage(*OUTAGES[how](hosts), at_progress=0.1, duration_s=OUTAGE_S)
        made = exchange_between(hosts, tmp_path, plan(), limits=LIMITS, disturbances=[outage])
        outcome = made.run()
    check(outcome)
    assert OUTAGE_S <= outcome.worst_stall_s < OUTAGE_S + 15
    assert outcome.reconnects >= 2


def test_a_round_trip_of_two_seconds_is_a_long_way_and_no_outage(tmp_path: Path) -> None:
    """LIV-4: the dial takes five of them, and then nobody is taken for dead."""
    few = Plan(messages=64, timeout_s=TIMEOUT_S, channels=0)
    with Hosts() as hosts:
        hosts.set(Weather(delay_s=1.0))
        outcome = exchange_between(hosts, tmp_path, few, limits=LIMITS).run()
    assert outcome.faults == []
    assert outcome.tallies == (Tally(64, 64), Tally(64, 64))
    assert outcome.reconnects <= 2  # The side that was dialed may not wait for its first answer.
