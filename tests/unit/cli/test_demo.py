"""The demo succeeds with real parties, and says what went wrong with bad ones."""

import json
import os
import select
import signal
import sys
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from time import monotonic

import pytest

from zmqp2p import Identity, P2PService, PeerRecord
from zmqp2p.cli.children import Child
from zmqp2p.cli.demo import PARTY_COMMAND, DemoResult, run_demo
from zmqp2p.cli.party import event_text
from zmqp2p.cli.script import ALICE, BOB, DemoFailed, Step
from zmqp2p.crypto import SecretKey
from zmqp2p.events import ChainFailed
from zmqp2p.ids import ChannelId

PATIENCE_S = 25.0
# A party that begins as a real one does; what follows is the test's.
PREFACE = """
import json, os, sys, time
name, folder = sys.argv[1:3]
def tell(what, **details):
    print(json.dumps({"at_ms": 1.0, "who": name, "what": what, **details}), flush=True)
tell("keys_made", pid=os.getpid())
"""


def play(program: str, folder: Path, timeout_s: float = PATIENCE_S) -> str:
    """Run the demo with two parties that run ``program``; return how it failed."""
    steps: list[Step] = []
    with pytest.raises(DemoFailed) as caught:
        run_demo(
            folder,
            timeout_s,
            lambda step, _took: steps.append(step),
            (sys.executable, "-c", PREFACE + program),
        )
    for step in steps:
        if "pid" in step.details:
            with pytest.raises(ProcessLookupError):
                os.kill(step.details["pid"], 0)
    return str(caught.value)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, list[tuple[Step, float]]]:
    """Return what a good demo has shown."""
    steps: list[tuple[Step, float]] = []
    folder = tmp_path_factory.mktemp("demo")
    result = run_demo(folder, PATIENCE_S, lambda *told: steps.append(told))
    return result, steps


def test_it_funds_a_channel_and_counts_the_messages(
    shown: tuple[DemoResult, list[tuple[Step, float]]],
) -> None:
    result, _ = shown
    assert [deposit.amount for deposit in result.verdict.deposits] == [60, 40]
    assert result.messages == 4
    assert 0 < result.total_ms < PATIENCE_S * 1000


def test_each_party_tells_its_story_in_order(
    shown: tuple[DemoResult, list[tuple[Step, float]]],
) -> None:
    _, steps = shown
    opening = ["keys_made", "listening"]
    funding = ["prefund_signed", "prefund_complete", "deposit_submitted", "funded_on_chain"]
    ending = ["postfund_signed", "funded", "report"]
    told = {who: [step.what for step, _ in steps if step.who == who] for who in (ALICE, BOB)}
    middle = ["record_received", "connected", "proposing"]
    assert told[ALICE] == [*opening, *middle, *funding, *ending]
    assert told[BOB] == [*opening, "connected", "proposal_received", *funding, *ending]


def test_the_time_of_each_step_counts_from_the_partys_previous_one(
    shown: tuple[DemoResult, list[tuple[Step, float]]],
) -> None:
    _, steps = shown
    for who in (ALICE, BOB):
        mine = [(step.at_ms, took) for step, took in steps if step.who == who]
        at = [0.0, *(at_ms for at_ms, _ in mine)]
        assert [took for _, took in mine] == [b - a for a, b in pairwise(at)]


def test_a_party_that_fails_is_quoted(tmp_path: Path) -> None:
    told = play("sys.exit('no luck' if name == 'bob' else input())", tmp_path)
    assert told == ("bob ended with exit code 1 after the step keys_made.\n  no luck")


def test_a_party_that_is_killed_is_told_by_its_signal(tmp_path: Path) -> None:
    told = play("os.kill(os.getpid(), 9) if name == 'bob' else input()", tmp_path)
    assert told == ("bob ended with signal 9 after the step keys_made. It wrote nothing to stderr.")


def test_a_party_that_fails_after_its_report_has_failed(tmp_path: Path) -> None:
    told = play("tell('report'); input(); sys.exit(5 if name == 'bob' else 0)", tmp_path)
    assert told.startswith("bob ended with exit code 5 after the step report.")


def test_no_party_is_told_to_end_before_both_have_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alice is done")
    alice = """
    tell("report")
    if select.select([0], [], [], 0.25)[0]:
        sys.exit("told too early")
    open(folder + "/alice is done", "w").close()
"""
    bob = 'open(folder + "/alice is done").close(); tell("report")'
    told = play(f"import select\nif name == 'alice':{alice}else: {bob}\ninput()", tmp_path)
    assert told == "alice's step keys_made lacks the text 'address'"  # Both have ended well.


def test_a_party_that_ends_well_but_without_a_report_has_failed(tmp_path: Path) -> None:
    told = play("input() if name == 'bob' else 0", tmp_path)
    assert told.startswith("alice ended with exit code 0 after the step keys_made.")


def test_a_report_without_keys_is_not_enough(tmp_path: Path) -> None:
    program = "print(json.dumps({'at_ms': 2, 'who': name, 'what': 'report'}), flush=True); input()"
    begin = "import json, sys\nname = sys.argv[1]\n"
    with pytest.raises(DemoFailed, match="ended with exit code 0"):
        run_demo(tmp_path, PATIENCE_S, lambda *_: None, (sys.executable, "-c", begin + program))


def test_a_party_that_fails_before_its_first_step_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="exit code 9 before its first step"):
        run_demo(
            tmp_path, PATIENCE_S, lambda *_: None, (sys.executable, "-c", "raise SystemExit(9)")
        )


def test_a_party_that_prints_something_else_has_failed(tmp_path: Path) -> None:
    told = play("print('hello', flush=True) if name == 'bob' else 0; input()", tmp_path)
    assert told == r"bob printed what is no step: 'hello\n'"


def test_a_record_that_is_missing_is_named(tmp_path: Path) -> None:
    told = play("tell('listening') if name == 'bob' else 0; input()", tmp_path)
    assert told == "bob's step listening lacks the text 'record'"


def test_parties_that_hang_are_ended_in_time(tmp_path: Path) -> None:
    began = monotonic()
    told = play("print(name, 'waits', file=sys.stderr, flush=True); input()", tmp_path, 2.0)
    assert 2.0 <= monotonic() - began < 5.0
    assert told == (
        "not done in time: alice after the step keys_made; bob after the step keys_made."
        "\n  alice waits\n  bob waits"
    )


def test_a_party_that_closes_its_stdout_but_stays_has_failed(tmp_path: Path) -> None:
    told = play("os.close(1) if name == 'bob' else 0; time.sleep(60)", tmp_path)
    assert told == "bob closed its stdout but does not exit after the step keys_made."


def test_a_false_report_fails_although_both_parties_end_well(tmp_path: Path) -> None:
    program = "tell('report', address='0x', state='0x90'); input()"
    assert play(program, tmp_path) == "alice's step keys_made lacks the text 'address'"


def test_a_party_ends_at_once_when_its_parent_is_gone(tmp_path: Path) -> None:
    """The parent's death closes the pipe, however it died."""
    read, write = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "zmqp2p.cli.party", "bob", str(tmp_path), "0"],
        os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, read, 0),
            (os.POSIX_SPAWN_CLOSE, write),
            (os.POSIX_SPAWN_OPEN, 1, str(tmp_path / "out"), os.O_WRONLY | os.O_CREAT, 0o600),
        ],
    )
    os.close(read)
    descriptor = os.pidfd_open(pid)
    try:
        os.close(write)
        ended, _, _ = select.select([descriptor], [], [], PATIENCE_S)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(descriptor)
    assert os.waitstatus_to_exitcode(status) == 3, "it outlives its parent"


def test_a_party_whose_node_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bob.db").write_text("not a store")
    with pytest.raises(DemoFailed) as caught:
        run_demo(tmp_path, PATIENCE_S, lambda *_: None)
    told, *words = str(caught.value).splitlines()
    assert told == "bob ended with exit code 1 after the step keys_made."
    assert len(words) == 1
    assert "bob.db" in words[0]


def test_a_party_that_meets_trouble_says_so(tmp_path: Path) -> None:
    """Here another address answers than the one that Alice was handed the record of."""
    lines: SimpleQueue[tuple[str, str | None]] = SimpleQueue()
    command = (*PARTY_COMMAND, ALICE, str(tmp_path), repr(monotonic()))
    with ExitStack() as stack:
        service = stack.enter_context(P2PService("tcp://127.0.0.1:0", identity=Identity.generate()))
        alice = Child(ALICE, command, tmp_path / "log", lines)
        stack.callback(alice.end)
        honest = service.record
        key, times = SecretKey.generate(), (honest.issued_ms, honest.expires_ms)
        record = PeerRecord.issue(key, honest.curve_key, honest.endpoints, *times)
        alice.tell(f"contact {record}")
        while (step := next_step(lines)).what != "trouble":
            pass
    detail = step.text("detail")
    assert detail.startswith("LinkRefused peer=")
    assert " code=ByeCode.ADDRESS_MISMATCH " in detail


def test_trouble_is_told_in_one_line_with_bytes_in_hex() -> None:
    event = ChainFailed(ChannelId(b"\1" * 32), "no chain")
    assert event_text(event) == f"ChainFailed channel=0x{'01' * 32} error=no chain"


def test_parties_that_have_reported_stay_until_they_are_told_to_end(tmp_path: Path) -> None:
    """Whoever left first could take the ack with it that the other one waits for."""
    lines: SimpleQueue[tuple[str, str | None]] = SimpleQueue()
    with ExitStack() as stack:
        parties = {}
        for name in (ALICE, BOB):
            command = (*PARTY_COMMAND, name, str(tmp_path), repr(monotonic()))
            parties[name] = Child(name, command, tmp_path / name, lines)
            stack.callback(parties[name].end)
        reported = 0
        while reported < 2:
            step = next_step(lines)
            reported += step.what == "report"
            if (step.who, step.what) == (BOB, "listening"):
                parties[ALICE].tell("contact " + step.text("record"))
        assert [party.exit_code(0.25) for party in parties.values()] == [None, None]
        for party in parties.values():
            party.tell("end")
        assert [party.exit_code(PATIENCE_S) for party in parties.values()] == [0, 0]


def next_step(lines: "SimpleQueue[tuple[str, str | None]]") -> Step:
    who, line = lines.get(timeout=PATIENCE_S)
    assert line is not None
    return Step.parse(who, line)


def test_steps_are_json_that_says_who_and_what(tmp_path: Path) -> None:
    """What a person sees in a party's own output, when one is run by hand."""
    assert json.loads(Step(1.5, ALICE, "listening", {"endpoint": str(tmp_path)}).line()) == {
        "at_ms": 1.5,
        "who": "alice",
        "what": "listening",
        "endpoint": str(tmp_path),
    }
