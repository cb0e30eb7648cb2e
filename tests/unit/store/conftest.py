"""Both stores, so that one contract suite runs on each."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import zmqp2p
from zmqp2p.store import MemoryStore, SqliteStore, Store

RunChild = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Return a store that was never opened."""
    made: Store = SqliteStore(tmp_path / "node.db") if request.param == "sqlite" else MemoryStore()
    yield made
    made.close()


@pytest.fixture
def run_child() -> RunChild:
    """Return a function that runs Python code in a process of its own and waits for its end."""
    root = Path(*zmqp2p.__path__).parent

    def run(code: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run
