"""Parties to a conversation, and the chain they share."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.real.parties import Parties
from zmqp2p.chain import SimulatedChain


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    """Return a maker of services; all are closed at the end."""
    made = Parties(tmp_path)
    yield made
    made.close()


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[SimulatedChain]:
    """Return a chain that mines each deposit at once."""
    with closing(SimulatedChain(tmp_path / "chain.db")) as made:
        yield made
