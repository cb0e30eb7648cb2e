"""The fuzzers' targets without a fuzzer: their seeds, what was found before, and any bytes."""

import importlib.util
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import main
from tests.fuzz.script import Script, blob
from tests.fuzz.seeds import findings
from tests.fuzz.targets import TARGETS
from zmqp2p import codec
from zmqp2p.errors import PeerError
from zmqp2p.messages import decode_message
from zmqp2p.records import PeerRecord
from zmqp2p.wire.encoding import decode_frame

HAS_ATHERIS = importlib.util.find_spec("atheris") is not None
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_no_seed_and_no_past_finding_shows_a_fault(name: str) -> None:
    inputs = TARGETS[name].inputs(name)
    assert inputs
    for data in inputs:
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=400))
def test_no_bytes_show_a_fault(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_no_change_of_a_seed_shows_a_fault(seed: int, data: st.DataObject) -> None:
    """What a fuzzer does first."""
    name = data.draw(st.sampled_from(list(TARGETS)))
    inputs = TARGETS[name].inputs(name)
    changed = bytearray(inputs[seed % len(inputs)])
    if changed:
        changed[seed % len(changed)] ^= data.draw(st.integers(1, 255))
    TARGETS[name].run(bytes(changed))


def test_past_findings_are_of_targets_that_there_are() -> None:
    known = [finding for name in TARGETS for finding in findings(name)]
    assert len(known) == len(findings(None))


def test_a_script_reads_what_was_written_and_then_zeros() -> None:
    script = Script(b"\x05\xf9\x01\x02" + blob(b"abc") + b"rest")
    assert (script.byte(), script.number(), script.blob()) == (5, 0x0102, b"abc")
    assert script
    assert script.rest() == b"rest"
    assert not script
    assert (script.below(7), script.number(), script.blob()) == (0, 0, b"")


# --- Memory -------------------------------------------------------------------------------------

_CLAIMS = {
    "an array of 2**32 - 1": b"\xdd" + b"\xff" * 4,
    "a map of 2**32 - 1": b"\xdf" + b"\xff" * 4,
    "bytes of 2**32 - 1": b"\xc6" + b"\xff" * 4,
    "text of 2**32 - 1": b"\xdb" + b"\xff" * 4,
    "arrays of 65,535 in each other": b"\xdc\xff\xff" * 300,
    "arrays of 65,535 in each other, longer": b"\xdc\xff\xff" * 3000,
    "arrays of 60,000 in each other, in 64,000 bytes": b"\xdc\xea\x60" * 21_333,
    "an array of arrays": b"\xdc\x07\xff" + b"\xdc\x00\xff" * 2047,
}


@pytest.mark.parametrize("claim", _CLAIMS)
def test_what_bytes_claim_takes_no_more_memory_than_what_they_are(claim: str) -> None:
    """ENC-4: less than 4 MiB, however much is claimed."""
    data = _CLAIMS[claim]
    rules = set()
    tracemalloc.start()
    try:
        for decode in (decode_message, PeerRecord.decode, lambda one: decode_frame([one])):
            with pytest.raises(PeerError) as caught:
                decode(data)
            rules.add(caught.value.rule)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rules <= {"ENC-1", "ENC-4", "REC-1"}
    assert most_bytes < 4 * 1024 * 1024


def test_short_bytes_claim_in_vain_what_fits_them() -> None:
    """ENC-4: they are decoded uncounted, 340 levels deep; each would make room for 1,024 items."""
    data = b"\xdc\x04\x00" * 341
    tracemalloc.start()
    try:
        with pytest.raises(PeerError, match="ENC-1"):
            codec.decode(data)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 256 * 1024


# --- The program --------------------------------------------------------------------------------


def test_the_program_names_its_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(TARGETS)


def test_the_program_runs_one_input(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"\x0c\xc0")
    assert main(["codec", "--input", str(file)]) == 0


@pytest.mark.parametrize("arguments", [[], ["codec", "--all"], ["nothing"], ["--seconds", "1"]])
def test_the_program_fuzzes_one_target_or_all(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.skipif(not HAS_ATHERIS, reason="atheris has no wheel for this Python")
def test_the_program_fuzzes(tmp_path: Path) -> None:
    """And keeps what it learned, in the folder that it was given."""
    asked = ["zap", "--seconds", "1", "--corpus", str(tmp_path)]
    command = [sys.executable, "-m", "tests.fuzz", *asked]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("zap")
    assert len(list((tmp_path / "zap").iterdir())) > len(TARGETS["zap"].inputs("zap"))
