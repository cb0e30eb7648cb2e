"""The two threads to the chain: what they ask, what they report, how they end."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from zmqp2p.chain.base import Deposited
from zmqp2p.engine.output import Watch
from zmqp2p.errors import ChainError
from zmqp2p.ids import ZERO_ADDRESS, Address, ChannelId
from zmqp2p.node.chain_link import ChainLink
from zmqp2p.objectives.base import Deposit

CHANNEL = ChannelId(b"\x42" * 32)
TOKEN = Address(b"\x11" * 20)
DEPOSIT = Deposit(CHANNEL, ZERO_ADDRESS, 5, 0)
PATIENCE_S = 10.0


class Chain:
    """A chain that answers as told: a value, or an exception to raise."""

    def __init__(self) -> None:
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()  # To deposits.
        self.news: queue.SimpleQueue[Any] = queue.SimpleQueue()  # For events.
        self.held: Any = 3
        self.asked_after: list[int] = []
        self.closed = threading.Event()

    def deposit(self, deposit: Deposit) -> str:
        return str(_raised(self.answers.get()) or deposit)

    def holdings(self, _channel: ChannelId, _asset: Address, /) -> int:
        held = self.held
        if isinstance(held, list):
            held = held.pop(0)
        return int(_raised(held))

    def events(self, after_block: int) -> list[Deposited]:
        self.asked_after.append(after_block)
        try:
            news: list[Deposited] = _raised(self.news.get(block=False))
        except queue.Empty:
            return []
        return news

    def wait(self, after_block: int, timeout_s: float) -> None:
        assert after_block >= 0
        self.closed.wait(min(timeout_s, 0.01))

    def close(self) -> None:
        self.closed.set()


def _raised(answer: Any) -> Any:
    if isinstance(answer, BaseException):
        raise answer
    return answer


@dataclass
class Node:
    """Notes what it is told."""

    told: "queue.SimpleQueue[tuple[Any, ...]]" = field(default_factory=queue.SimpleQueue)

    def chain_deposited(self, deposits: list[Deposited], block: int) -> None:
        self.told.put(("deposited", deposits, block))

    def chain_holdings(self, channel: ChannelId, asset: Address, held: int) -> None:
        self.told.put(("holdings", channel, asset, held))

    def chain_refused(self, deposit: Deposit, error: str) -> None:
        self.told.put(("refused", deposit, error))

    def chain_failed(self, error: str) -> None:
        self.told.put(("failed", error))

    def chain_crashed(self, error: BaseException) -> None:
        self.told.put(("crashed", error))

    def next(self) -> tuple[Any, ...]:
        return self.told.get(timeout=PATIENCE_S)


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def link(chain: Chain, node: Node) -> Iterator[ChainLink]:
    made = ChainLink(chain, node, 7)
    made.start()
    yield made
    chain.answers.put("")  # For a deposit that still waits.
    chain.close()
    made.close(PATIENCE_S)


def test_a_watch_reports_what_is_held_of_each_asset(link: ChainLink, node: Node) -> None:
    link.submit(Watch(CHANNEL, (ZERO_ADDRESS, TOKEN)))
    assert node.next() == ("holdings", CHANNEL, ZERO_ADDRESS, 3)
    assert node.next() == ("holdings", CHANNEL, TOKEN, 3)


def test_a_deposit_that_is_refused_is_reported_after_what_is_held(
    link: ChainLink, chain: Chain, node: Node
) -> None:
    """It may have been made before a restart: the holdings say so, and it is not made again."""
    chain.answers.put(ChainError("not the expected 0"))
    link.submit(DEPOSIT)
    assert node.next() == ("holdings", CHANNEL, ZERO_ADDRESS, 3)
    assert node.next() == ("refused", DEPOSIT, "not the expected 0")


def test_a_deposit_that_is_made_is_reported_by_its_event_only(
    link: ChainLink, chain: Chain, node: Node
) -> None:
    chain.answers.put("0xabc")
    link.submit(DEPOSIT)
    link.submit(Watch(CHANNEL, (TOKEN,)))
    assert node.next()[0] == "holdings"  # Of the watch.


def test_a_chain_that_cannot_be_asked_is_asked_again(
    link: ChainLink, chain: Chain, node: Node
) -> None:
    chain.held = [ChainError("unreachable"), 9]
    link.submit(Watch(CHANNEL, (TOKEN,)))
    assert node.next() == ("failed", "unreachable")
    assert node.next() == ("holdings", CHANNEL, TOKEN, 9)


def test_events_are_reported_with_the_newest_block_and_asked_for_from_there(
    link: ChainLink, chain: Chain, node: Node
) -> None:
    deposits = [Deposited(block, CHANNEL, TOKEN, block) for block in (8, 9)]
    chain.news.put(deposits)
    chain.news.put(ChainError("unreachable"))
    later = [Deposited(10, CHANNEL, TOKEN, 10)]
    chain.news.put(later)
    assert node.next() == ("deposited", deposits, 9)
    assert node.next() == ("failed", "unreachable")
    assert node.next() == ("deposited", later, 10)
    assert chain.asked_after[0] == 7
    assert sorted(set(chain.asked_after)) in ([7, 9], [7, 9, 10])
    assert link is not None


@pytest.mark.parametrize("error", [RuntimeError("a bug"), SystemExit(1)])
def test_a_bug_in_the_chain_service_is_handed_to_the_node(
    error: BaseException, link: ChainLink, chain: Chain, node: Node
) -> None:
    chain.answers.put(error)
    link.submit(DEPOSIT)
    assert node.next() == ("crashed", error)


def test_a_bug_in_watching_is_handed_to_the_node(link: ChainLink, chain: Chain, node: Node) -> None:
    error = RuntimeError("a bug")
    chain.news.put(error)
    assert node.next() == ("crashed", error)
    assert link is not None


class ClosingChain(Chain):
    """A chain that is closed under its users: each call in progress fails."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)

    def _until_closed(self) -> ChainError:
        self.entered.release()
        self.closed.wait(PATIENCE_S)
        return ChainError("closed")

    def deposit(self, _deposit: Deposit, /) -> str:
        raise self._until_closed()

    def holdings(self, _channel: ChannelId, _asset: Address, /) -> int:
        raise self._until_closed()

    def events(self, _after_block: int, /) -> list[Deposited]:
        raise self._until_closed()


@pytest.mark.parametrize("work", [DEPOSIT, Watch(CHANNEL, (TOKEN,))])
def test_what_fails_because_everything_closes_is_not_reported(
    work: Deposit | Watch, node: Node
) -> None:
    chain = ClosingChain()
    link = ChainLink(chain, node, 0)
    link.start()
    link.submit(work)
    for _ in range(2):
        assert chain.entered.acquire(timeout=PATIENCE_S)
    before = {thread.name for thread in threading.enumerate()}
    assert {"zmqp2p-chain-submit", "zmqp2p-chain-watch"} <= before
    link.close(0.01)  # Both calls are still under way.
    chain.close()
    link.close(PATIENCE_S)
    assert node.told.empty()
    after = {thread.name for thread in threading.enumerate()}
    assert not {"zmqp2p-chain-submit", "zmqp2p-chain-watch"} & after


def test_work_that_is_left_when_the_link_closes_is_not_begun(node: Node) -> None:
    """The node will ask for it again after its restart."""
    chain = ClosingChain()
    link = ChainLink(chain, node, 0)
    link.start()
    link.submit(DEPOSIT)
    link.submit(DEPOSIT)
    for _ in range(2):
        assert chain.entered.acquire(timeout=PATIENCE_S)
    link.close(0.01)
    chain.close()
    link.close(PATIENCE_S)
    assert not chain.entered.acquire(blocking=False)
