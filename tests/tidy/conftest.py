"""Shows the report of sizes at the end of a run that includes these tests."""

from pathlib import Path

import pytest

from tests.tidy.sizes import FILE_LINES, FUNCTION_LINES, oversized

PACKAGE = Path(__file__).parents[2] / "zmqp2p"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List files and functions that have grown long: places to look at, not failures."""
    report = oversized(PACKAGE)
    if report:
        terminalreporter.section(f"over {FILE_LINES} lines, functions over {FUNCTION_LINES}")
        for line in report:
            terminalreporter.line(line)
