"""The report of sizes names what is long and nothing else."""

from pathlib import Path

from tests.tidy.sizes import FILE_LINES, FUNCTION_LINES, oversized


def function(name: str, lines: int) -> str:
    """Return the source of a function of ``lines`` lines."""
    return f"async def {name}():\n" + "    pass\n" * (lines - 1)


def test_long_files_and_functions_are_listed(tmp_path: Path) -> None:
    root = tmp_path / "package"
    (root / "room").mkdir(parents=True)
    (root / "long.py").write_text("\n" * (FILE_LINES + 1))
    (root / "room" / "wordy.py").write_text("\n" + function("f", FUNCTION_LINES + 1))
    assert oversized(root) == [
        "package/long.py: 301 lines",
        "package/room/wordy.py:2 f: 41 lines",
    ]


def test_files_and_functions_of_the_permitted_size_are_not_listed(tmp_path: Path) -> None:
    source = function("f", FUNCTION_LINES)
    (tmp_path / "fine.py").write_text(source + "\n" * (FILE_LINES - FUNCTION_LINES))
    assert oversized(tmp_path) == []
