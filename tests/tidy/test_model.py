"""What the README of the protocol model names exists: functions in the code, switches in the model.

The model is checked by spin, not here; this only keeps its description from pointing to nothing.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "docs" / "spec" / "model"
NAME = re.compile(r"`([A-Za-z_][\w.*]*)`")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under ``heading``, without its head."""
    text = (MODEL / "README.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    table = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def names_in(tree: ast.AST) -> Iterator[str]:
    """Yield each function and class, a method also with its class: ``f``, ``C``, ``C.f``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            inner = (each for each in node.body if isinstance(each, ast.FunctionDef))
            yield from (f"{node.name}.{each.name}" for each in inner)


def test_the_functions_that_the_model_maps_to_exist() -> None:
    code = {
        name
        for file in (ROOT / "zmqp2p").rglob("*.py")
        for name in names_in(ast.parse(file.read_text(encoding="utf-8")))
    }
    cited = {name for row in rows("How it maps to the code") for name in NAME.findall(row[1])}
    assert cited, "no function found: the table is to have them in its second column"
    assert sorted(cited - code) == []


def test_the_steps_that_are_mapped_exist_in_the_model() -> None:
    model = (MODEL / "session.pml").read_text(encoding="utf-8")
    cited = [name for row in rows("How it maps to the code") for name in NAME.findall(row[0])]
    assert cited
    assert [name for name in cited if re.search(rf"\b{name.rstrip('*')}", model) is None] == []


def test_each_mutation_is_in_the_model_in_the_check_and_in_the_readme() -> None:
    told = {name for row in rows("Mutations") for name in NAME.findall(row[0])}
    tried = set(re.findall(r'"(M_\w+)"', (MODEL / "check").read_text(encoding="utf-8")))
    coded = set(re.findall(r"\bM_\w+", (MODEL / "session.pml").read_text(encoding="utf-8")))
    assert told == tried
    assert tried <= coded
