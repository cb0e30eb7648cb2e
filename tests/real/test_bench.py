"""``zmqp2p bench`` and ``bench-peers``: every workload, both ends of a remote one, no leftovers."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.real.faults.ports import reserved_ports
from zmqp2p.cli.bench.workloads import NAMES

ROOT = Path(__file__).parents[2]
PATIENCE_S = 50.0
COMMAND = [sys.executable, "-m", "zmqp2p"]
TINY = ("--messages", "20", "--trials", "2", "--peers", "2", "--rate", "500", "--timeout", "20")


def start(folder: Path, *arguments: str, command: str = "bench") -> subprocess.Popen[str]:
    """Start the command; its temporary files go to ``folder``."""
    # A shell starts what it puts into the background with SIGINT ignored; that is inherited.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*COMMAND, command, *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    return process


def run(folder: Path, *arguments: str, command: str = "bench") -> tuple[int, str, str]:
    """Run the command to its end; return exit code, output and errors."""
    with ended(start(folder, *arguments, command=command)) as process:
        out, errors = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, errors


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill the process in the end, and let go of its pipes."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def measured(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run the bench well and return the rows of its JSON; nothing may stay in ``folder``."""
    temporary = folder / "temporary"
    temporary.mkdir()
    output = folder / "figures.json"
    code, out, errors = run(temporary, *arguments, *TINY, "--json", str(output))
    assert (code, errors.strip()) == (0, "")
    assert "Medians of 2" in out
    assert list(temporary.iterdir()) == []
    rows: list[dict[str, Any]] = json.loads(output.read_text(encoding="utf-8"))["rows"]
    for row in rows:
        for kind, trials in row["trials"].items():
            assert len(trials) == 2, kind
            for trial in trials:
                assert 0 < trial["p50_ms"] <= trial["p95_ms"] <= trial["p99_ms"] <= trial["max_ms"]
                assert trial["rate"] > 0
                assert trial["peak_mib"] > 1
    return rows


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (NAMES, ()),
        (("burst", "fan-in", "fund"), ("--store", "sqlite", "--payload", "signed")),
        (("paced", "fan-in"), ("--no-curve", "--face", "asyncio", "--payload", "signed")),
    ],
)
def test_every_workload_has_figures_beside_the_floors(
    tmp_path: Path, names: tuple[str, ...], options: tuple[str, ...]
) -> None:
    rows = measured(tmp_path, *names, *options)
    assert [row["workload"] for row in rows] == list(names)
    for row in rows:
        both = {"zmqp2p"} if row["workload"] == "fund" else {"zmqp2p", "floor"}
        assert set(row["medians"]) == both
        assert ("rate" in row["ratios"]) == (len(both) == 2)


def test_a_paced_load_is_sent_by_the_clock(tmp_path: Path) -> None:
    (row,) = measured(tmp_path, "paced")
    for kind in row["trials"].values():
        for trial in kind:
            assert trial["rate"] <= 20 / (19 / 500), "sent ahead of the clock"


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_a_remote_bench_is_served_until_it_is_interrupted(tmp_path: Path, face: str) -> None:
    served = tmp_path / "served"
    served.mkdir()
    options = ("--face", face, "--store", "sqlite")
    with ExitStack() as stack:
        (port,) = stack.enter_context(reserved_ports(1))
        endpoint = f"tcp://127.0.0.1:{port}"
        server = stack.enter_context(ended(start(served, "--serve", endpoint, *options)))
        assert server.stdout is not None
        address = server.stdout.readline()
        rows = measured(tmp_path, "burst", "fan-in", "--connect", address, *options)
        assert [set(row["medians"]) for row in rows] == [{"zmqp2p", "floor"}] * 2
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=PATIENCE_S)
        assert (server.returncode, errors) == (130, "interrupted\n")
    assert list(served.iterdir()) == []


def test_figures_far_from_the_baseline_fail_and_near_ones_do_not(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    options = ("pingpong", *TINY, "--check", str(baseline))
    assert run(tmp_path, "pingpong", *TINY, "--json", str(baseline))[0] == 0
    written = json.loads(baseline.read_text(encoding="utf-8"))
    ratios = written["rows"][0]["ratios"]
    ratios.update(p50_ms=1000.0, cpu_s=1000.0, rate=1000.0)
    baseline.write_text(json.dumps(written), encoding="utf-8")
    assert run(tmp_path, *options)[0] == 0
    ratios.update(rate=0.001)
    baseline.write_text(json.dumps(written), encoding="utf-8")
    code, _, errors = run(tmp_path, *options)
    assert code == 1
    assert "rate is" in errors
    assert "p50_ms is" not in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fund", "--face", "asyncio"), "fund has both nodes here"),
        (("fund", "--connect", "a,b"), "fund has both nodes here"),
        (("--connect", "zp2p:abc"), "two parts"),
        (("--connect", "zp2p:abc,def", "--timeout", "1"), "RecordError"),
        (("--check", "missing.json"), "is no baseline"),
        (("--serve", "tcp://nowhere"), "tcp://nowhere"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, errors = run(tmp_path, *arguments)
    assert code in (1, 2)
    assert out == ""
    assert said in errors
    assert list(tmp_path.iterdir()) == []


def test_a_load_that_takes_too_long_fails(tmp_path: Path) -> None:
    code, _, errors = run(tmp_path, "paced", "--rate", "1", "--messages", "5", "--timeout", "1")
    assert code == 1
    assert "paced-zmqp2p-send-0" in errors
    assert list(tmp_path.iterdir()) == []


def workers(bench: subprocess.Popen[str], stack: ExitStack) -> list[int]:
    """Return a descriptor of each worker's process, once all four run."""
    children = Path(f"/proc/{bench.pid}/task/{bench.pid}/children")
    found: list[int] = []
    while len(found) < 4:
        assert bench.poll() is None, "it ended before its workers had started"
        found = [int(each) for each in children.read_text(encoding="ascii").split()]
    descriptors = [os.pidfd_open(worker) for worker in found]
    for descriptor in descriptors:
        stack.callback(os.close, descriptor)
    return descriptors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_workers_of_a_bench_end_with_it(tmp_path: Path, number: signal.Signals) -> None:
    """By its own doing, and by themselves if it could not or was about to start them."""
    with ExitStack() as stack:
        bench = stack.enter_context(ended(start(tmp_path, "sustained", "--trials", "50")))
        running = workers(bench, stack)
        bench.send_signal(number)
        _, errors = bench.communicate(timeout=PATIENCE_S)
        for worker in running:
            assert select.select([worker], [], [], PATIENCE_S)[0], "a worker outlives its parent"
    if number != signal.SIGKILL:
        assert (bench.returncode, errors.strip()) == (130, "interrupted")
        assert list(tmp_path.iterdir()) == []


def test_many_connected_peers_are_measured(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    output = tmp_path / "scale.json"
    few = ("--peers", "30", "--seconds", "1", "--messages", "500")
    code, out, errors = run(temporary, *few, "--json", str(output), command="bench-peers")
    assert (code, errors.strip()) == (0, "")
    assert "connected peers" in out
    assert list(temporary.iterdir()) == []
    scale = json.loads(output.read_text(encoding="utf-8"))["scale"]
    assert scale["peers"] == 30
    assert 0 < scale["accepted_s"] < 10
    assert 0 < scale["idle_cpu"] < 1
    for name in ("all_rate", "kib_each", "restarted_s"):
        assert scale[name] > 0, name
    for active in (scale["alone"], scale["among"]):
        assert active["rate"] > 0
        assert 0 < active["paced_p50_ms"] <= active["paced_p95_ms"]


def test_peers_that_cannot_connect_in_time_fail(tmp_path: Path) -> None:
    code, _, errors = run(
        tmp_path, "--peers", "1000", "--timeout", "1", "--seconds", "0.5", command="bench-peers"
    )
    assert code == 1
    late = "swarm is not done in 2 s"  # On a machine that cannot even begin with all by then.
    assert "of 1000 peers wait after 1 s" in errors or late in errors
    assert list(tmp_path.iterdir()) == []
