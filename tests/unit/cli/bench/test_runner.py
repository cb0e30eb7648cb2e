"""The parent believes no worker: what is lost, wrong, late or dead makes the bench fail."""

import sys
from pathlib import Path

import pytest

from zmqp2p.cli.bench.runner import measure
from zmqp2p.cli.bench.script import BenchFailed
from zmqp2p.cli.bench.workloads import Settings

# A worker that sends nothing and says that all is well. What is said can be replaced.
WORKER = """
import json, sys
plan = json.loads(sys.argv[1])
print(json.dumps({"ready": "contact"}), flush=True)
received = faults = 0
for line in sys.stdin:
    if line == "end\\n":
        break
    if line == "report\\n":
        # The fake receiver knows what the fake senders are told: 200 to warm up, then 5 each time.
        reports = globals().get("reports", 0) + 1
        received = {1: 0, 2: 200, 3: 200}.get(reports, 200 + 5 * ((reports - 1) // 3))
        answer = {"received": received, "faults": faults, "cpu_s": 0.5, "peak_bytes": 2**20,
                  "resident_bytes": 2**20}
    else:
        load = json.loads(line)
        answer = {"messages": load["messages"], "elapsed_s": 0.5, "p50_ms": 1.0, "p95_ms": 2.0,
                  "p99_ms": 3.0, "max_ms": 4.0}
    print(json.dumps(answer), flush=True)
"""
SETTINGS = Settings(trials=2, messages=5, floor=False, timeout_s=0.2)


def run(folder: Path, *changes: tuple[str, str]) -> list[str]:
    """Measure with the fake worker, changed so; return what was shown."""
    program = WORKER
    for old, new in changes:
        assert old in program
        program = program.replace(old, new)
    shown: list[str] = []
    row = measure("burst", SETTINGS, folder, shown.append, (sys.executable, "-c", program))
    assert [trial.rate for trial in row.trials["zmqp2p"]] == [10.0, 10.0]
    return shown


def test_each_trial_is_announced(tmp_path: Path) -> None:
    assert run(tmp_path) == ["burst zmqp2p 1/2", "burst zmqp2p 2/2"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"received": received', '"received": received - 1'), "199 of 200 received"),
        (('"received": received', '"received": received + 1'), "201 of 200 received"),
        (("faults = 0", "faults = 1"), "1 faulty"),
        (('load["messages"]', 'load["messages"] - 1'), "199 of 200 acked"),
        (("    print(json.dumps(answer)", '    print("hello"'), "printed what is no answer"),
        (("    print(json.dumps(answer)", '    print("[]"'), "printed what is no answer"),
        (("        load = ", '        sys.exit("out of paper")\n        load = '), "out of paper"),
        (("        load = ", "        sys.exit()\n        load = "), "wrote nothing to stderr"),
        (("        break", "        sys.exit('burnt')"), "burnt"),
    ],
)
def test_what_goes_wrong_is_told(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(BenchFailed, match="burst-zmqp2p") as caught:
        run(tmp_path, change)
    assert said in str(caught.value)


def test_a_worker_that_does_not_answer_in_time_is_ended(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="is not done in"):
        run(tmp_path, ("        load = ", "        sys.stdin.read()\n        load = "))
