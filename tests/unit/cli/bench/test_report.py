"""The tables that people read."""

import io

from rich.console import Console

from zmqp2p.cli.bench.figures import Trial
from zmqp2p.cli.bench.report import print_rows
from zmqp2p.cli.bench.runner import Row
from zmqp2p.cli.bench.workloads import Settings

TRIAL = Trial(1, 2, 3, 4, rate=5_000, cpu_s=6, peak_mib=7, fairness=0.25)


def table_of(*workloads: str) -> list[list[str]]:
    """Return the cells of each line of the table that is printed, the header first."""
    settings = Settings()
    rows = [
        Row(name, settings, settings.load(name), {"zmqp2p": [TRIAL], "floor": [TRIAL]})
        for name in workloads
    ]
    console = Console(file=io.StringIO(), width=200)
    print_rows(rows, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().replace("┃", "│").splitlines()
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]


def test_how_even_senders_were_is_told_where_there_are_several() -> None:
    header, *rows = table_of("burst", "fan-in")
    assert header[-1] == "fair"
    assert [row[-1] for row in rows] == ["", "", "", "0.25", "0.25", ""]
    assert {len(row) for row in rows} == {len(header)}


def test_it_is_not_told_where_there_is_one() -> None:
    header, *rows = table_of("burst")
    assert "fair" not in header
    assert [row[1] for row in rows] == ["zmqp2p", "floor", "ratio"]
    assert {len(row) for row in rows} == {len(header)}
