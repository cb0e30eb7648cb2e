"""Sending by a window and by the clock, in virtual time."""

from collections.abc import Callable

import pytest

from zmqp2p.cli.bench.loops import Clock, Sent, paced, windowed
from zmqp2p.cli.bench.script import BenchFailed, Load
from zmqp2p.errors import P2PError


class Time:
    """A clock that moves only when somebody sleeps, or something takes its time."""

    def __init__(self) -> None:
        self.at = 100.0

    def pass_s(self, duration_s: float) -> None:
        self.at += duration_s

    def clock(self) -> Clock:
        return Clock(lambda: self.at, self.pass_s)


class Receipt:
    """Acked when waited for, after ``takes_s``; at once if that is 0."""

    def __init__(self, time: Time, takes_s: float = 0.0, error: Exception | None = None) -> None:
        self.ended = not takes_s
        self.error = error
        self.waited = False
        self._time = time
        self._ready_at = time.at + takes_s

    def wait(self, timeout_s: float | None = None) -> None:
        assert timeout_s == 7.0
        self.waited = True
        self._time.at = max(self._time.at, self._ready_at)
        if self.error is not None:
            raise self.error

    def add_done_callback(self, callback: Callable[[Sent], None]) -> None:
        if self.ended:
            callback(self)


def test_one_at_a_time_each_message_waits_for_the_ack_of_the_one_before() -> None:
    time, sent_at = Time(), []

    def send(_: int) -> Receipt:
        sent_at.append(time.at)
        return Receipt(time, takes_s=2.0)

    outcome = windowed(send, range(3), Load(3, window=1, timeout_s=7.0), time.clock())
    assert sent_at == [100.0, 102.0, 104.0]
    assert (outcome.messages, outcome.elapsed_s) == (3, 6.0)
    assert (outcome.p50_ms, outcome.max_ms) == (2_000.0, 2_000.0)


def test_latency_begins_before_the_send() -> None:
    time = Time()

    def send(_: int) -> Receipt:
        time.pass_s(0.5)
        return Receipt(time, takes_s=2.0)

    outcome = windowed(send, range(1), Load(1, window=1, timeout_s=7.0), time.clock())
    assert outcome.max_ms == 2_500.0


def test_no_more_than_a_window_is_on_its_way() -> None:
    time, receipts, open_now = Time(), list[Receipt](), list[int]()

    def send(_: int) -> Receipt:
        receipts.append(Receipt(time, takes_s=1.0))
        waited = [receipt.waited for receipt in receipts]
        assert waited == sorted(waited, reverse=True), "waits for a later one than the oldest"
        open_now.append(waited.count(False))
        return receipts[-1]

    windowed(send, range(20), Load(20, window=4, timeout_s=7.0), time.clock())
    assert max(open_now) == 4
    assert all(receipt.waited for receipt in receipts)


@pytest.mark.parametrize("send_all", [windowed, paced])
def test_a_message_that_is_not_acked_fails_the_load(
    send_all: Callable[..., object],
) -> None:
    time = Time()
    load = Load(1, window=1, rate=1.0, timeout_s=7.0)
    with pytest.raises(P2PError, match="refused"):
        send_all(lambda _: Receipt(time, error=P2PError("refused")), range(1), load, time.clock())


def test_a_paced_load_is_sent_when_it_is_due() -> None:
    time, sent_at = Time(), []

    def send(_: int) -> Receipt:
        sent_at.append(time.at)
        return Receipt(time)

    outcome = paced(send, range(4), Load(4, window=1, rate=2.0, timeout_s=7.0), time.clock())
    assert sent_at == [100.0, 100.5, 101.0, 101.5]
    assert outcome.max_ms == 0.0


def test_what_a_slow_send_delays_has_waited_since_it_was_due() -> None:
    """No coordinated omission: measured from the sends, three of these would take no time."""
    time = Time()

    def send(number: int) -> Receipt:
        if number == 1:
            time.pass_s(10.0)
        return Receipt(time)

    outcome = paced(send, range(5), Load(5, window=1, rate=1.0, timeout_s=7.0), time.clock())
    assert outcome.max_ms == 10_000.0
    assert outcome.p50_ms == 8_000.0  # Of 0, 10, 9, 8 and 7 s.


def test_a_paced_load_that_is_not_acked_in_time_fails() -> None:
    time = Time()
    load = Load(2, window=1, rate=1.0, timeout_s=0.01)
    with pytest.raises(BenchFailed, match="0 of 2 acked"):
        paced(lambda _: Receipt(time, takes_s=99.0), range(2), load, time.clock())
