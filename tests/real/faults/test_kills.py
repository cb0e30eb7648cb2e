"""Two processes that send each other messages are killed at random moments: nothing is lost.

Each is sender and receiver. The receivers count in the transaction that acknowledges a message, and
what their files hold is read at the end. For 2,000 messages each way; with ZMQP2P_LONG=1 in the
environment for 10,000, and more kills.
"""

import os
from pathlib import Path

import pytest

from tests.soak.items import Tally
from tests.soak.loopback import Settings, soak

LONG = os.environ.get("ZMQP2P_LONG") == "1"
MESSAGES = 10_000 if LONG else 2_000
KILLS = 20 if LONG else 4
TIMEOUT_S = 55.0
# Small turns and windows: there are many points at which to be killed, and much is under way.
LIMITS = {
    "turn_max_messages": 8,
    "inbox_max_messages": 64,
    "outbox_max_messages": 256,
    "message_max_bytes": 2**20,
}


@pytest.mark.parametrize(
    ("kills", "together"),
    [((KILLS, 0), False), ((0, KILLS), False), ((KILLS, KILLS), False), ((KILLS, KILLS), True)],
    ids=["the first", "the second", "either", "both at once"],
)
def test_each_message_is_processed_once_and_in_order_whoever_is_killed(
    kills: tuple[int, int], together: bool, tmp_path: Path
) -> None:
    settings = Settings(
        messages=MESSAGES,
        timeout_s=TIMEOUT_S,
        seed=sum(kills) + together,
        kills=kills,
        kills_together=together,
        report_interval_s=0.01,
        limits=LIMITS,
    )
    with soak(tmp_path, settings) as made:
        outcome = made.exchange.run()
    assert outcome.faults == []
    assert outcome.tallies == (Tally(MESSAGES, MESSAGES), Tally(MESSAGES, MESSAGES))
    assert outcome.acked == outcome.sent == 2 * MESSAGES
    assert outcome.kills == sum(kills)
