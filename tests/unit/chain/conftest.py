"""A chain's file and processes that share it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zmqp2p

StartChild = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a chain can be made."""
    return tmp_path / "chain.db"


@pytest.fixture
def start_child() -> StartChild:
    """Return a function that starts Python code in a process of its own."""
    root = Path(*zmqp2p.__path__).parent

    def start(code: str, *arguments: str | Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    return start
