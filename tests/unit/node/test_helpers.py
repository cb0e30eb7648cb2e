"""Helpers do what they are offered, and end when the node does."""

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from zmqp2p.engine.proofs import Proofs
from zmqp2p.node.helpers import Helpers, helpers_of

PATIENCE_S = 15.0


@dataclass
class Row:
    """Stands for a row of signatures: notes who works at it, and holds them up."""

    workers: list[str] = field(default_factory=list)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go_on: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Work at it until the test lets it end."""
        self.workers.append(threading.current_thread().name)
        self.begun.release()
        assert self.go_on.wait(PATIENCE_S)


def row() -> Any:  # Taken for `Proofs`.
    return Row()


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_nothing_runs_before_there_is_something_to_do() -> None:
    before = threading.active_count()
    helpers = Helpers(2)
    assert threading.active_count() == before
    helpers.close()


def test_all_help_with_what_is_offered_and_are_gone_after_close() -> None:
    helpers, work = Helpers(2), row()
    helpers.offer(work)
    for _ in range(2):
        assert work.begun.acquire(timeout=PATIENCE_S)
    assert set(work.workers) == {"zmqp2p-helper-0", "zmqp2p-helper-1"}
    work.go_on.set()
    helpers.close()
    assert not names() & set(work.workers)


def test_what_is_offered_while_all_are_busy_does_not_pile_up() -> None:
    """A helper that gets no time would else have the rows of an hour to look at."""
    helpers, first, second, third = Helpers(1), row(), row(), row()
    helpers.offer(first)
    assert first.begun.acquire(timeout=PATIENCE_S)
    helpers.offer(second)
    helpers.offer(third)
    for work in (first, second, third):
        work.go_on.set()
    helpers.close()
    assert [len(work.workers) for work in (first, second, third)] == [1, 1, 0]


def test_close_lets_what_was_offered_end() -> None:
    helpers, proofs = Helpers(1), Proofs()
    proof = proofs.add("no message at all")
    helpers.offer(proofs)
    helpers.close()
    assert proofs.take() is None
    assert proof.signer is None


@pytest.mark.parametrize(
    ("most", "cores", "count"),
    [(3, 1, 0), (3, 2, 1), (3, 4, 3), (3, 64, 3), (1, 64, 1), (0, 64, 0)],
)
def test_one_core_is_left_for_the_node(most: int, cores: int, count: int) -> None:
    helpers = helpers_of(most, cores)
    if helpers is None:
        assert count == 0
        return
    work = row()
    work.go_on.set()
    helpers.offer(work)
    helpers.close()
    assert len(work.workers) == count > 0


def test_this_machine_has_some_or_none() -> None:
    assert helpers_of(0) is None
