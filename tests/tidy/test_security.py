"""docs/security.md names a test for each mechanism: each must be there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`")


def named_tests() -> list[tuple[str, str]]:
    """Return file and function of each test that the page names; no function if it is all."""
    text = (ROOT / "docs" / "security.md").read_text()
    return sorted(set(NAMED.findall(text)))


def test_the_page_names_tests() -> None:
    assert len(named_tests()) > 20


@pytest.mark.parametrize(("file", "function"), named_tests())
def test_what_the_page_names_is_there(file: str, function: str) -> None:
    text = (ROOT / file).read_text()
    assert re.search(rf"^def {function or 'test_'}", text, re.MULTILINE)


def test_each_row_of_its_table_names_one() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    table = text.partition("| attack | mechanism | test |")[2].partition("\n\n")[0]
    rows = table.strip().splitlines()[1:]
    assert len(rows) > 20
    assert [row for row in rows if not NAMED.search(row)] == []
