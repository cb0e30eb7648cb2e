"""The node on a transport and a store in memory: what can hardly be brought about from outside."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from zmqp2p.engine.engine import Engine
from zmqp2p.errors import Backpressure, Cancelled, ServiceClosed, UnknownPeer
from zmqp2p.identity import Identity
from zmqp2p.ids import Address, ChannelId
from zmqp2p.limits import Limits
from zmqp2p.node.build import options_of, start_node
from zmqp2p.node.node import Node
from zmqp2p.transport import MemoryNetwork, MemoryTransport
from zmqp2p.wire.link import LinkEvent

ME = Identity.generate()
CHANNEL = ChannelId(b"\x42" * 32)
NOBODY = Address(b"\x07" * 20)
PATIENCE_S = 10.0


class Transport(MemoryTransport):
    """A transport that fails when told to, and tells a hook when somebody wakes it."""

    def __init__(self) -> None:
        super().__init__(MemoryNetwork(), curve_public=ME.curve_public, host="host")
        self.fails = False
        self.on_wake: Callable[[], None] = lambda: None
        self._sleeps = threading.Event()

    def slept(self, within_s: float) -> None:
        """Return when the node waits for something from now on."""
        self._sleeps.clear()
        self.wake()
        assert self._sleeps.wait(within_s)

    def wait(self, timeout_s: float | None) -> list[LinkEvent]:
        if timeout_s != 0:
            self._sleeps.set()
        events = super().wait(timeout_s)
        if self.fails:
            raise OSError("no more descriptors")
        return events

    def wake(self) -> None:
        super().wake()
        self.on_wake()


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def node(transport: Transport) -> Iterator[Node]:
    limits = Limits(outbox_max_messages=1)
    made = start_node(options_of(None, ME, transport=transport, limits=limits))
    made.call(lambda _engine: None).result(PATIENCE_S)  # Its first turn is over.
    yield made
    with suppress(OSError, ZeroDivisionError):
        made.stop(PATIENCE_S)


def test_a_bug_in_what_the_loop_is_asked_to_do_ends_it_and_is_told_to_both(node: Node) -> None:
    """To who asked, and to who closes: the node's state can no longer be trusted."""

    def fail(_engine: Engine) -> Any:
        return 1 // 0

    future = node.call(fail)
    assert isinstance(future.exception(PATIENCE_S), ZeroDivisionError)
    node.ended.result(PATIENCE_S)
    assert isinstance(node.failure, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        node.stop(PATIENCE_S)
    assert node.failure is None


def test_what_waits_behind_a_failure_in_the_same_turn_is_answered(node: Node) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hold(_engine: Engine) -> None:
        inside.set()
        go_on.wait(PATIENCE_S)

    node.call(hold)
    assert inside.wait(PATIENCE_S)
    failed = node.call(lambda _engine: 1 // 0)
    behind: list[Any] = [node.flush(), node.funded(CHANNEL), node.channel_statuses()]
    receipt = node.send(NOBODY, b"body", 0)
    go_on.set()
    assert isinstance(failed.exception(PATIENCE_S), ZeroDivisionError)
    for future in behind:
        assert isinstance(future.exception(PATIENCE_S), ServiceClosed)
    node.ended.result(PATIENCE_S)
    assert isinstance(receipt.error, Cancelled)


def test_who_sends_many_lets_the_node_run_now_and_then(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 64, 128, 256...: it would have to wait for the interpreter, and the network with it."""
    node = start_node(options_of(None, ME, transport=transport))
    yielded: list[int] = []
    sent = 0
    monkeypatch.setattr("zmqp2p.node.node.time.sleep", lambda _seconds: yielded.append(sent))
    for _ in range(2):  # It begins anew when the node has slept.
        inside, go_on = threading.Event(), threading.Event()

        def hold(
            _engine: Engine, inside: threading.Event = inside, go_on: threading.Event = go_on
        ) -> None:
            inside.set()
            go_on.wait(PATIENCE_S)

        node.call(hold)
        assert inside.wait(PATIENCE_S)
        for sent in range(1, 301):  # noqa: B007  # Seen when somebody sleeps.
            receipt = node.send(NOBODY, b"body", 0)
        assert yielded == [64, 128, 256]
        yielded.clear()
        go_on.set()
        with pytest.raises(UnknownPeer):
            receipt.wait(PATIENCE_S)
        transport.slept(PATIENCE_S)
    node.stop(PATIENCE_S)


def test_a_message_that_cannot_be_numbered_ends_as_why_and_frees_its_place(node: Node) -> None:
    for _ in range(2):  # There is room for one.
        receipt = node.send(NOBODY, b"body", PATIENCE_S)
        with pytest.raises(UnknownPeer):
            receipt.wait(PATIENCE_S)
        assert not receipt.stored


def test_a_message_that_is_refused_by_a_closed_node_frees_its_place(
    node: Node, transport: Transport
) -> None:
    """It was open when the message was counted in, and closed when it was handed over."""
    node._loop.desk.gate.enter(NOBODY, 1, 0)  # noqa: SLF001  # As another thread would.
    with pytest.raises(Backpressure):
        node.send(NOBODY, b"body", 0)
    transport.fails = True
    transport.wake()
    node.ended.result(PATIENCE_S)
    with pytest.raises(ServiceClosed) as closed:
        node.send(NOBODY, b"body", 0)
    assert isinstance(closed.value.__cause__, OSError)


def test_what_is_posted_while_the_node_ends_is_answered(node: Node, transport: Transport) -> None:
    """Whoever posts sees that it has ended meanwhile, and does not wait for an answer."""
    waiting = threading.Event()

    def end() -> None:
        transport.on_wake = lambda: None
        waiting.set()
        node.ended.result(PATIENCE_S)

    transport.fails = True
    transport.on_wake = end
    future = node.flush()
    assert waiting.is_set()
    assert isinstance(future.exception(PATIENCE_S), ServiceClosed)
    with pytest.raises(OSError, match="no more descriptors"):
        node.stop(PATIENCE_S)


def test_many_threads_that_ask_while_it_closes_all_get_an_answer(node: Node) -> None:
    done = []

    def ask() -> None:
        with suppress(ServiceClosed):
            while True:
                node.channel_statuses().result(PATIENCE_S)
        done.append(True)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    node.stop(PATIENCE_S)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(done) == len(threads)


def test_every_subscription_that_ends_is_forgotten(node: Node) -> None:
    for _ in range(3):
        key = node.subscribe(lambda _: None, None, None, None).result(PATIENCE_S)
        node.unsubscribe(key).result(PATIENCE_S)
    node.unsubscribe(key).result(PATIENCE_S)  # Unknown by now: no error.
    assert node._loop.handlers._subscriptions == {}  # noqa: SLF001  # It would grow without bound.
