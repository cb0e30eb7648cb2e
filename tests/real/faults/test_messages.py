"""Messages both ways while the connection is broken in each way: all arrive, once and in order.

For few messages; with ZMQP2P_LONG=1 in the environment for ten times as many.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.real.faults.ports import reserved_ports
from tests.real.faults.proxy import HOLE, PASS, FaultProxy, Flow, Way
from tests.real.parties import Journal, Note, Parties, events_of, numbers_into, until_connected
from zmqp2p import Limits, Receipt
from zmqp2p.events import PeerDisconnected

LONG = os.environ.get("ZMQP2P_LONG") == "1"
PATIENCE_S = 40.0
COUNT = 5_000 if LONG else 500
LIMITS = Limits(redial_max_s=0.2)


class Conversation:
    """Alice, who only dials, and Bob behind the proxy, sending notes to each other."""

    def __init__(self, parties: Parties, stack: ExitStack) -> None:
        (port,) = stack.enter_context(reserved_ports(1))
        real = f"tcp://127.0.0.1:{port}"
        self.proxy = stack.enter_context(FaultProxy(real))
        shown = [self.proxy.endpoint]  # Or Alice would learn where he is, and go round the proxy.
        self.bob = parties.start("bob", real, advertise=shown, limits=LIMITS)
        self.alice = parties.start("alice", None, limits=LIMITS)
        self.alice.add_peer(self.bob.record)
        until_connected(self.alice, self.bob.address)
        self.events = (events_of(self.alice), events_of(self.bob))
        self.arrived: tuple[Journal[int], Journal[int]] = (Journal(), Journal())
        for service, journal in zip((self.alice, self.bob), self.arrived, strict=True):
            service.on_message(numbers_into(journal), message_type=Note)
        self.receipts: list[Receipt] = []
        self._next = 0

    def send(self, count: int, size: int = 0) -> None:
        """Send so many notes each way."""
        for number in range(self._next, self._next + count):
            note = Note(number, "x" * size)
            self.receipts.append(self.alice.send_message(self.bob.address, note))
            self.receipts.append(self.bob.send_message(self.alice.address, note))
        self._next += count

    def until_disconnected(self) -> None:
        """Wait until both have noticed."""
        for events in self.events:
            events.first(PeerDisconnected)

    def until_reset(self, times: int) -> None:
        assert self.proxy.until(lambda: self.proxy.resets >= times, PATIENCE_S)

    def check(self) -> None:
        """Everything is acked, and arrived once and in order."""
        for receipt in self.receipts:
            receipt.wait(PATIENCE_S)
        for journal in self.arrived:
            assert journal.entries == list(range(self._next))


@pytest.fixture
def talk(parties: Parties) -> Iterator[Conversation]:
    with ExitStack() as stack:
        made = Conversation(parties, stack)
        stack.callback(made.alice.close)  # Before the proxy: it need not notice that it is gone.
        yield made


def reset(talk: Conversation) -> None:
    talk.proxy.reset()
    talk.until_disconnected()


def half_close(way: Way) -> Callable[[Conversation], None]:
    def act(talk: Conversation) -> None:
        talk.proxy.half_close(way)
        talk.until_disconnected()

    return act


def hole(*ways: Way) -> Callable[[Conversation], None]:
    """Nothing gets through: both sides notice by the silence, or by the goodbye of the other."""

    def act(talk: Conversation) -> None:
        talk.proxy.set(HOLE, *ways)
        talk.send(COUNT)
        talk.until_disconnected()

    return act


def cut(after_bytes: int, way: Way) -> Callable[[Conversation], None]:
    """The connection ends in the midst of a frame; and again so far into the next one."""

    def act(talk: Conversation) -> None:
        for count in (1, 2):
            talk.proxy.set(Flow(cut_after_bytes=after_bytes), way)
            talk.send(COUNT)
            talk.until_reset(count)

    return act


def reset_often(talk: Conversation) -> None:
    """Sooner than much can be sent, and at times sooner than the two have introduced themselves."""
    talk.proxy.reset_every(0.05)
    talk.send(10 * COUNT)
    talk.until_reset(10)
    talk.proxy.reset_every(None)


FAULTS = {
    "reset": reset,
    "reset every 50 ms": reset_often,
    "half close there": half_close(Way.THERE),
    "half close back": half_close(Way.BACK),
    "black hole": hole(Way.THERE, Way.BACK),
    "black hole there": hole(Way.THERE),
    "black hole back": hole(Way.BACK),
    "cut in a header there": cut(5, Way.THERE),
    "cut in a batch there": cut(1_501, Way.THERE),
    "cut in a batch back": cut(2_003, Way.BACK),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_sent_before_in_and_after_a_fault_arrives_once_and_in_order(
    fault: str, talk: Conversation
) -> None:
    talk.send(COUNT)
    talk.arrived[1].count(COUNT // 10)
    FAULTS[fault](talk)
    talk.send(COUNT)
    talk.proxy.set(PASS)
    talk.send(COUNT)
    talk.check()
    assert talk.proxy.resets >= 1 or "half" in fault


@pytest.mark.parametrize(
    "flow", [Flow(delay_s=0.1), Flow(bytes_per_s=100_000)], ids=["delay", "throttle"]
)
def test_a_slow_network_is_no_broken_one(flow: Flow, talk: Conversation) -> None:
    """Nobody is taken for dead who only answers late."""
    talk.proxy.set(flow)
    talk.send(COUNT, size=100)
    talk.check()
    assert not any(events.entries for events in talk.events)


def test_a_network_slow_in_one_way_only_is_no_broken_one(talk: Conversation) -> None:
    talk.proxy.set(Flow(delay_s=0.3, bytes_per_s=50_000), Way.BACK)
    talk.send(COUNT // 2)
    talk.check()
    assert not any(events.entries for events in talk.events)


def test_20_000_messages_pass_a_network_that_resets_the_connection_every_200_ms(
    parties: Parties,
) -> None:
    """Raw ROUTER and DEALER lose thousands. Throttled, so that it takes many connections."""
    total = 20_000
    with ExitStack() as stack:
        talk = Conversation(parties, stack)
        stack.callback(talk.alice.close)
        talk.proxy.set(Flow(bytes_per_s=1_000_000), Way.THERE)
        talk.proxy.reset_every(0.2)
        for number in range(total):
            receipt = talk.alice.send_message(talk.bob.address, Note(number, "x" * 80))
        receipt.wait(PATIENCE_S)
        assert talk.arrived[1].entries == list(range(total))
        assert talk.proxy.resets >= 8
