"""Where there can be no network namespaces, these tests are not part of the run.

They are deselected, not skipped: nothing that was not run may look as if it had passed. The
reason stands at the end of the report.
"""

import pytest

from tests.real.namespaces.hosts import unavailable

_REASON = pytest.StashKey[str]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if "namespaces" in item.path.parts]
    reason = unavailable() if mine else ""
    if reason:
        config.stash[_REASON] = reason
        items[:] = [item for item in items if item not in mine]
        config.hook.pytest_deselected(items=mine)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    reason = config.stash.get(_REASON, "")
    if reason:
        terminalreporter.section("network namespaces: not tested")
        terminalreporter.line(reason)
