"""The guard against regressions fails where it must, and says where."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from zmqp2p.cli.bench.check import check, load_baseline
from zmqp2p.cli.bench.figures import Trial
from zmqp2p.cli.bench.report import to_json
from zmqp2p.cli.bench.runner import Row
from zmqp2p.cli.bench.script import BenchFailed
from zmqp2p.cli.bench.workloads import Settings

FLOOR = Trial(1, 1, 1, 1, rate=100, cpu_s=1, peak_mib=1)


def row(
    *, p50_ms: float = 2, rate: float = 50, cpu_s: float = 2, settings: Settings | None = None
) -> Row:
    settings = settings or Settings()
    measured = Trial(p50_ms, p50_ms, p50_ms, p50_ms, rate, cpu_s, 1)
    trials = {"zmqp2p": [measured], "floor": [FLOOR]}
    return Row("burst", settings, settings.load("burst"), trials)  # type: ignore[arg-type]


def baseline_of(folder: Path, *rows: Row) -> Mapping[str, Mapping[str, float]]:
    path = folder / "baseline.json"
    path.write_text(to_json(rows), encoding="utf-8")
    return load_baseline(path)


def test_what_json_wrote_is_a_baseline_that_it_meets(tmp_path: Path) -> None:
    check([row()], baseline_of(tmp_path, row()))


def test_up_to_three_times_worse_is_no_fault(tmp_path: Path) -> None:
    check([row(p50_ms=6, rate=50 / 3, cpu_s=6)], baseline_of(tmp_path, row()))


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        (row(p50_ms=6.1), "p50_ms is 6.10 times the floor's, was 2.00"),
        (row(rate=16), "rate is 6.25 times the floor's, was 2.00"),
        (row(cpu_s=6.1), "cpu_s is 6.10 times the floor's, was 2.00"),
    ],
)
def test_more_than_three_times_worse_fails_and_names_the_figure(
    tmp_path: Path, worse: Row, said: str
) -> None:
    with pytest.raises(BenchFailed, match=r"burst opaque memory curve blocking") as caught:
        check([row(), worse], baseline_of(tmp_path, row()))
    assert said in str(caught.value)
    assert str(caught.value).count("was 2.00") == 1


@pytest.mark.parametrize(
    "other",
    [
        Settings(store="sqlite"),
        Settings(secure=False),
        Settings(payload="signed"),
        Settings(face="asyncio"),
        Settings(size_bytes=64),
        Settings(busy=1),
    ],
)
def test_another_setting_is_not_compared(tmp_path: Path, other: Settings) -> None:
    with pytest.raises(BenchFailed, match="nothing to compare, as baseline"):
        check([row(settings=other)], baseline_of(tmp_path, row()))


def test_without_a_floor_nothing_can_be_compared(tmp_path: Path) -> None:
    alone = Row("burst", Settings(), Settings().load("burst"), {"zmqp2p": [FLOOR]})
    with pytest.raises(BenchFailed, match="nothing to compare, as floor"):
        check([alone], baseline_of(tmp_path, row(), alone))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{}]}', json.dumps({"rows": 1})])
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchFailed, match="is no baseline"):
        load_baseline(path)


def test_a_baseline_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="FileNotFoundError"):
        load_baseline(tmp_path / "none.json")
