"""A child process is heard, told, and certainly ended."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import pytest

from zmqp2p.cli.children import Child

PATIENCE_S = 20.0
IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    time.sleep(60)
"""

Lines = SimpleQueue[tuple[str, str | None]]
Start = Callable[[str], tuple[Child, Lines]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a Python program as a child called "carol"."""
    with ExitStack() as stack:

        def run(program: str) -> tuple[Child, Lines]:
            lines: Lines = SimpleQueue()
            child = Child("carol", (sys.executable, "-c", program), tmp_path / "log", lines)
            stack.callback(child.end)
            return child, lines

        yield run


def test_its_lines_come_with_its_name_and_then_the_end(start: Start) -> None:
    _, lines = start("print('one'); print('two')")
    heard = [lines.get(timeout=PATIENCE_S) for _ in range(3)]
    assert heard == [("carol", "one\n"), ("carol", "two\n"), ("carol", None)]


def test_bytes_that_are_no_text_are_heard_too(start: Start) -> None:
    _, lines = start(r"import os; os.write(1, b'\xff\n')")
    assert lines.get(timeout=PATIENCE_S) == ("carol", "\ufffd\n")


def test_it_hears_what_it_is_told(start: Start) -> None:
    child, lines = start("print(input()[::-1])")
    child.tell("abc")
    assert lines.get(timeout=PATIENCE_S) == ("carol", "cba\n")
    assert child.exit_code(PATIENCE_S) == 0


def test_telling_a_dead_child_is_no_error(start: Start) -> None:
    """Its end is in the lines; the demo must not fail at the messenger."""
    child, _ = start("raise SystemExit(4)")
    assert child.exit_code(PATIENCE_S) == 4
    child.tell("abc")
    child.end()


def test_a_terminals_signals_do_not_reach_it(start: Start) -> None:
    """They go to the parent's process group; what they mean is the parent's to decide."""
    _, lines = start("import os; print(os.getpgid(0) == os.getpid())")
    assert lines.get(timeout=PATIENCE_S) == ("carol", "True\n")


def test_a_running_child_has_no_exit_code(start: Start) -> None:
    child, _ = start("input()")
    assert child.exit_code(0) is None


def test_a_child_that_ignores_sigterm_is_killed(start: Start) -> None:
    child, lines = start(IGNORES_SIGTERM)
    assert lines.get(timeout=PATIENCE_S) == ("carol", "ready\n")
    child.end()
    assert child.exit_code(0) == -9
    child.end()


def test_a_child_ends_by_sigterm_if_it_can(start: Start) -> None:
    child, lines = start("print('ready', flush=True); input()")
    assert lines.get(timeout=PATIENCE_S) == ("carol", "ready\n")
    child.end()
    assert child.exit_code(0) == -15


def test_its_last_words_are_the_last_lines_of_its_stderr(start: Start) -> None:
    child, _ = start("import sys; [print(i, file=sys.stderr) for i in range(100)]")
    assert child.exit_code(PATIENCE_S) == 0
    assert child.last_words() == "".join(f"\n  {i}" for i in range(85, 100))


def test_a_silent_child_has_no_last_words(start: Start) -> None:
    child, _ = start("")
    assert child.exit_code(PATIENCE_S) == 0
    assert child.last_words() == ""
