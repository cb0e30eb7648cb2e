"""Where the package grows beyond what is read in one sitting: a report, not a gate."""

import ast
from pathlib import Path

FILE_LINES = 300
FUNCTION_LINES = 40


def oversized(root: Path) -> list[str]:
    """Return a line for each file and function under ``root`` above the size it should have."""
    report = []
    for file in sorted(root.rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        name = file.relative_to(root.parent).as_posix()
        lines = len(source.splitlines())
        if lines > FILE_LINES:
            report.append(f"{name}: {lines} lines")
        report += [f"{name}:{found}" for found in _long_functions(ast.parse(source))]
    return report


def _long_functions(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                found.append(f"{node.lineno} {node.name}: {lines} lines")
    return found
