"""Hundreds of worlds in which everything goes wrong; a failure says how to see it again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zmqp2p.testing.__main__ import main, replay
from zmqp2p.testing.scenarios import play

ROOT = Path(__file__).parents[2]
SEEDS = {"messages": 240, "funding": 160, "rollback": 160, "rotation": 80, "calm": 20}
CHUNK = 20
CHUNKS = [(name, first) for name, count in SEEDS.items() for first in range(0, count, CHUNK)]


@pytest.mark.parametrize(("scenario", "first"), CHUNKS, ids=str)
def test_promises_hold_and_everything_completes(scenario: str, first: int) -> None:
    """Safety at every commit and frame, liveness once the faults have stopped."""
    processed = 0
    for seed in range(first, first + CHUNK):
        try:
            processed += play(seed, scenario).account.processed
        except AssertionError as fault:
            raise AssertionError(replay(scenario, seed, fault)) from fault
    assert processed > CHUNK * 10


@pytest.mark.parametrize("seed", [702005, 703632])
def test_clocks_that_were_ahead_lock_nobody_out_after_a_rotation(seed: int) -> None:
    """REC-8: of three records peers had taken the first, and the node remembered the second only.

    One seed in a thousand does it; these two failed while it remembered no more than that.
    """
    assert play(seed, "rotation").account.processed > 10


def test_a_seed_is_the_same_world_in_another_process() -> None:
    """Also where text is hashed otherwise: nothing hangs on the order of a set."""
    command = [sys.executable, "-m", "zmqp2p.testing", "--seed", "7", "--scenario", "funding"]
    told = [
        subprocess.run(
            [*command, "--trace"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert told[0].count(b"turns") > 100


def test_the_program_runs_many_seeds_and_says_what_happened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["zmqp2p.testing", "--seeds", "8", "--processes", "1"])
    assert main() == 0
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines()[-14:])
    assert rows["seeds"] == "8"
    assert rows["result"] == "clean"
    assert int(rows["processed"].replace(",", "")) > 100
