"""Figures of many peers count only if every message of theirs has come, and no odd frame."""

import sys
from pathlib import Path

import pytest

from tests.engine_world import LOW, record_of
from zmqp2p.cli.bench.scale import Crowd, Scale, measure_peers
from zmqp2p.cli.bench.script import BenchFailed

# A worker that does nothing and says that all is well. Each report adds 0.5 s of CPU and 100 KiB.
WORKER = """
import json, sys
plan = json.loads(sys.argv[1])
side, restarted = plan["side"], not plan["endpoint"].endswith(":0")
print(json.dumps({"ready": "CONTACT"}), flush=True)
received, faults, reports = 124_300, 0, 0
if restarted:
    received = 100
for line in sys.stdin:
    if line == "end\\n":
        break
    if line == "report\\n":
        reports += 1
        answer = {"received": received, "faults": faults, "cpu_s": reports / 2,
                  "resident_bytes": reports * 102_400, "peak_bytes": 2**20}
    else:
        answer = {"messages": 20_000, "elapsed_s": 0.5, "p50_ms": 1.0, "p95_ms": 2.0,
                  "p99_ms": 3.0, "max_ms": 4.0}
    print(json.dumps(answer), flush=True)
""".replace("CONTACT", str(record_of(LOW)))


def run(folder: Path, old: str = "", new: str = "", messages: int = 20_000) -> Scale:
    """Measure ten peers with the fake worker, changed so."""
    assert old in WORKER
    command = (sys.executable, "-c", WORKER.replace(old, new) if old else WORKER)
    crowd = Crowd(10, idle_s=1.0, settle_s=0.0, messages=messages)
    return measure_peers(crowd, folder, lambda _: None, command)


def test_figures_are_those_of_the_node_for_each_peer(tmp_path: Path) -> None:
    scale = run(tmp_path)
    assert (scale.peers, scale.accepted_s, scale.accept_p95_ms) == (10, 0.5, 2.0)
    assert (scale.kib_each, scale.idle_cpu) == (10.0, 0.5)
    assert scale.all_rate == 200.0
    assert (scale.restarted_s, scale.restarted_p50_ms) == (0.5, 1.0)
    assert (scale.alone.rate, scale.alone.paced_p95_ms) == (40_000.0, 2.0)


def test_the_one_that_sends_may_send_less(tmp_path: Path) -> None:
    """2,000 first; then, alone and among the others, three times 100, and 5 by the clock."""
    run(tmp_path, "124_300", "2_910", messages=100)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("124_300", "124_299", "124299 of 124300 received"),
        ("124_300", "124_301", "124301 of 124300 received"),
        ("faults, reports = 124_300, 0", "faults, reports = 124_300, 1", "1 faulty"),
        ("received = 100", "received = 99", "restarted: 99 of 100 received"),
        ('"faults": faults', '"faults": side == "swarm"', "True unexpected frames"),
    ],
)
def test_what_goes_wrong_is_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(BenchFailed, match=said):
        run(tmp_path, old, new)
