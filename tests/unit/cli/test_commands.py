"""The commands as a user meets them: output, exit codes, and faults in one line."""

import json
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import zmqp2p
from zmqp2p import Identity, PeerRecord, PeerUri
from zmqp2p.cli.commands import cli
from zmqp2p.records import checksum_text

ROOT = Path(__file__).parents[3]
ENDPOINT = "tcp://192.0.2.1:7801"
DAY_MS = 24 * 3600 * 1000


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments], input=stdin)


def fault(result: Result) -> str:
    """Return the one line that a failed command wrote to stderr."""
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")


@pytest.fixture
def keyfile(tmp_path: Path) -> Path:
    Identity.generate().save(tmp_path / "a.key")
    return tmp_path / "a.key"


def record_of(keyfile: Path, issued_ms: int, expires_ms: int) -> PeerRecord:
    identity = Identity.load(keyfile)
    return PeerRecord.issue(identity, identity.curve_public, [ENDPOINT], issued_ms, expires_ms)


# --- The program --------------------------------------------------------------------------------


def test_it_tells_its_version() -> None:
    assert run("--version").output == f"zmqp2p {zmqp2p.__version__}\n"


@pytest.mark.parametrize("name", ["demo", "keygen", "record", "decode", "recover"])
def test_each_command_is_listed_and_explains_itself(name: str) -> None:
    assert f"\n  {name} " in run("--help").output
    helped = run(name, "-h")
    assert helped.exit_code == 0
    assert helped.output.startswith(f"Usage: cli {name} ")


def test_the_package_alone_imports_neither_click_nor_rich() -> None:
    """Who uses the library should not load a terminal's toys; the demo's parties load neither."""
    program = (
        "import sys, zmqp2p, zmqp2p.cli.party\n"
        "sys.exit(str([x for x in ('click', 'rich') if x in sys.modules] or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zmqp2p", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"zmqp2p {zmqp2p.__version__}\n"


# --- keygen -------------------------------------------------------------------------------------


def test_keygen_makes_a_private_file_and_prints_what_is_public(tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    result = run("keygen", path)
    identity = Identity.load(path)
    assert result.exit_code == 0
    assert result.output == (
        f"address   {checksum_text(identity.address)}\ncurve key {identity.curve_public.hex()}\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keygen_prints_json(tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    told = json.loads(run("keygen", path, "--json").output)
    identity = Identity.load(path)
    assert told == {
        "path": str(path),
        "address": checksum_text(identity.address),
        "curve": identity.curve_public.hex(),
    }


def test_keygen_never_prints_a_secret(tmp_path: Path) -> None:
    result = run("keygen", tmp_path / "new.key")
    secrets = json.loads((tmp_path / "new.key").read_text())
    for name in ("secp256k1_secret", "curve_secret"):
        assert secrets[name] not in result.output


def test_keygen_never_overwrites(keyfile: Path) -> None:
    before = keyfile.read_bytes()
    assert "never overwritten" in fault(run("keygen", keyfile))
    assert keyfile.read_bytes() == before


# --- record -------------------------------------------------------------------------------------


def test_record_prints_a_fresh_record(keyfile: Path) -> None:
    before_ms = int(time.time() * 1000)
    endpoints = (ENDPOINT, "ipc:///run/a")
    told = run("record", keyfile, "--endpoint", endpoints[0], "--endpoint", endpoints[1])
    made = PeerRecord.parse(told.output.strip())
    assert (made.address, made.endpoints) == (Identity.load(keyfile).address, endpoints)
    assert before_ms <= made.issued_ms <= time.time() * 1000
    assert made.expires_ms - made.issued_ms == 30 * DAY_MS


def test_a_records_lifetime_can_be_chosen(keyfile: Path) -> None:
    told = run("record", keyfile, "--endpoint", ENDPOINT, "--lifetime-days", 2)
    made = PeerRecord.parse(told.output.strip())
    assert made.expires_ms - made.issued_ms == 2 * DAY_MS


def test_record_prints_a_uri(keyfile: Path) -> None:
    told = run("record", keyfile, "--endpoint", ENDPOINT, "--uri")
    identity = Identity.load(keyfile)
    expected = PeerUri(identity.address, identity.curve_public, ENDPOINT)
    assert PeerUri.parse(told.output.strip()) == expected


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give a KEYFILE, or --show TEXT"),
        (["x.key"], "give at least one --endpoint"),
        (["x.key", "--endpoint", "a", "--endpoint", "b", "--uri"], "a URI has one --endpoint"),
        (["x.key", "--show", "zp2p:"], "--show takes no KEYFILE"),
        (["--endpoint", "a", "--show", "zp2p:"], "--show takes no KEYFILE"),
        (["--uri", "--show", "zp2p:"], "--show takes no KEYFILE"),
        (["x.key", "--endpoint", "a", "--lifetime-days", "0"], "--lifetime-days"),
    ],
)
def test_wrong_usage_of_record_is_told(arguments: list[str], reason: str) -> None:
    result = run("record", *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_a_missing_key_file_and_a_bad_endpoint_are_told(keyfile: Path) -> None:
    assert "no such key file" in fault(run("record", "none.key", "--endpoint", ENDPOINT))
    assert fault(run("record", keyfile, "--endpoint", "tcp://x")).startswith("endpoint: ")


def test_show_explains_a_good_record(keyfile: Path) -> None:
    now_ms = int(time.time() * 1000)
    result = run("record", "--show", record_of(keyfile, now_ms, now_ms + DAY_MS))
    assert result.exit_code == 0
    assert result.output.startswith("peer record, version 1\n")
    assert "  time       valid for " in result.output


def test_show_explains_a_uri(keyfile: Path) -> None:
    identity = Identity.load(keyfile)
    result = run("record", "--show", PeerUri(identity.address, identity.curve_public, ENDPOINT))
    assert result.exit_code == 0
    assert result.output.startswith("peer URI\n")


@pytest.mark.parametrize(
    ("issued_ms", "expires_ms", "shown", "reason"),
    [
        (1000, 2000, "EXPIRED", "REC-3: expired"),
        (2**52, 2**53 - 1, "NOT VALID YET", "REC-4: issued"),
    ],
)
def test_show_explains_a_record_out_of_its_time_and_fails(
    keyfile: Path, issued_ms: int, expires_ms: int, shown: str, reason: str
) -> None:
    result = run("record", "--show", record_of(keyfile, issued_ms, expires_ms))
    assert shown in result.stdout
    assert fault(result).startswith(reason)


def test_show_refuses_a_record_that_was_changed(keyfile: Path) -> None:
    text = str(record_of(keyfile, 1000, 2000))
    changed = text[:40] + ("A" if text[40] != "A" else "B") + text[41:]
    assert fault(run("record", "--show", changed)).startswith("REC-2: ")


# --- decode -------------------------------------------------------------------------------------


def test_decode_explains_digits_given_in_pieces() -> None:
    result = run("decode", "92", "0a", "05")
    assert (result.exit_code, result.output) == (
        0,
        "frame PING, 3 bytes\n  frame: Ping\n    token: 5\n",
    )


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_decode_reads_standard_input(arguments: list[str]) -> None:
    assert run("decode", *arguments, stdin=b"\x92\x0a\x05").output.startswith("frame PING")


def test_decode_takes_the_second_frame_as_an_option(tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(bytes.fromhex("91c401c1"))
    result = run(
        "decode",
        "9a0401c410" + "0a" * 16 + "0100c410" + "0b" * 16 + "0090cd040005",
        "--payload",
        tmp_path / "batch",
    )
    assert result.exit_code == 0
    assert "\nmessage 1: undecodable, 1 bytes" in result.output


def test_decode_says_in_one_line_why_it_cannot() -> None:
    assert fault(run("decode", "c0")).startswith("1 bytes 0xc0: ENC-3: ")


# --- demo ---------------------------------------------------------------------------------------


def test_demo_prints_json_and_keeps_its_files(tmp_path: Path) -> None:
    result = run("demo", "--json", "--keep", tmp_path / "kept")
    assert result.exit_code == 0, result.output
    *steps, last = map(json.loads, result.stdout.splitlines())
    assert (last["what"], last["ok"], last["folder"]) == ("result", True, str(tmp_path / "kept"))
    assert {step["channel_id"] for step in steps if "channel_id" in step} == {last["channel_id"]}
    kept = {file.name for file in (tmp_path / "kept").iterdir()}
    suffixes = ("key", "db", "log")
    assert kept == {f"{x}.{end}" for x in ("alice", "bob") for end in suffixes} | {"chain.db"}


def test_demo_refuses_a_folder_that_is_not_empty(keyfile: Path) -> None:
    """Stores and keys of something else would mix with its own."""
    result = run("demo", "--keep", keyfile.parent)
    assert result.exit_code == 2
    assert f"{keyfile.parent} is not empty" in result.stderr
    assert result.stdout == ""


def test_demo_refuses_a_folder_that_cannot_be_made(keyfile: Path) -> None:
    assert fault(run("demo", "--keep", keyfile / "below")) == f"{keyfile}/below: Not a directory"


@pytest.mark.parametrize("flag", ["--json", None])
def test_demo_that_takes_too_long_fails(flag: str | None) -> None:
    result = run("demo", "--timeout", "0.001", *([flag] if flag else []))
    told = "not done in time: alice before its first step; bob before its first step."
    assert fault(result) == told
    if flag:
        assert json.loads(result.stdout) == {"what": "result", "ok": False, "error": told}


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "nan", "inf", "1e300", "86401"])
def test_demo_refuses_a_timeout_that_makes_no_sense(timeout: str) -> None:
    result = run("demo", "--timeout", timeout)
    assert result.exit_code == 2
    assert "Invalid value for '--timeout'" in result.stderr


def test_demo_leaves_the_handling_of_signals_as_it_was() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        run("demo", "--timeout", "0.001")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
