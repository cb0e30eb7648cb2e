"""The soak program itself: it counts right, notices what is wrong, and a short run is flawless."""

import queue
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

from tests.soak import __main__ as program
from tests.soak.exchange import Exchange, Outcome, Plan
from tests.soak.items import Item, Ledger, Tally, make_item, read_sent, read_tally
from tests.soak.loopback import Settings, soak
from tests.soak.party import News, Party, WorkerFailed
from tests.soak.worker import Report, Task
from zmqp2p.ids import Address, Seq, StreamDigest, StreamId
from zmqp2p.persistence import DropMessages, PutMessage, PutOutStream
from zmqp2p.store.base import Transaction
from zmqp2p.store.sqlite import SqliteStore

OWNER, PEER = Address(b"o" * 20), Address(b"p" * 20)


@dataclass
class FakeDelivery:
    """What a ledger needs of a delivery."""

    transaction: Transaction
    message: Item


class Desk:
    """A ledger and its store."""

    def __init__(self, path: Path, expected: int = 10) -> None:
        self.path = path
        self.store = SqliteStore(path)
        self.store.open(OWNER, 1)
        self.ledger = Ledger(expected)
        self._rng = Random(1)

    def take(self, *numbers: int) -> Tally:
        """Take items with these numbers; return the account in the file."""
        for number in numbers:
            self.take_item(make_item(number, self._rng))
        return read_tally(self.path)

    def take_item(self, item: Item) -> None:
        self.ledger.take(FakeDelivery(self.store.transaction, item))  # type: ignore[arg-type]
        self.store.commit()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "store.db")
    with closing(made.store):
        yield made


def test_what_comes_in_order_is_counted(desk: Desk) -> None:
    assert desk.take() == Tally()
    assert desk.take(1, 2, 3) == Tally(3, 3)
    assert desk.ledger.received == 3


def test_a_gap_is_lost_until_it_is_filled_and_then_reordered(desk: Desk) -> None:
    gapped = desk.take(1, 4)
    assert gapped == Tally(4, 2, missing=2)
    assert (gapped.lost(4), gapped.lost(6)) == (2, 4)
    filled = desk.take(3)
    assert filled == Tally(4, 3, reordered=1, missing=1)
    assert filled.lost(4) == 1


def test_what_comes_again_is_doubled(desk: Desk) -> None:
    assert desk.take(1, 2, 2, 1) == Tally(2, 2, doubled=2)
    assert desk.take(4, 3, 3) == Tally(4, 4, doubled=3, reordered=1)


@pytest.mark.parametrize("change", [{"number": 2}, {"filler": b"x" * 84}, {"checksum": 0}])
def test_what_was_changed_is_corrupt(change: dict[str, object], desk: Desk) -> None:
    desk.take_item(replace(make_item(1, Random(2)), **change))  # type: ignore[arg-type]
    assert read_tally(desk.path).corrupt == 1


def test_an_account_goes_on_where_the_store_was_left(desk: Desk) -> None:
    desk.take(1, 2)
    desk.ledger = Ledger(expected=3)
    assert desk.take(3) == desk.ledger.tally == Tally(3, 3)


def test_what_was_sent_is_what_was_acked_and_what_waits(desk: Desk) -> None:
    assert read_sent(desk.path, PEER) == 0
    messages = [PutMessage(PEER, Seq(number), b"x") for number in range(1, 6)]
    desk.store.apply([PutOutStream(PEER, StreamId(b"s" * 16)), *messages])
    desk.store.apply([DropMessages(PEER, Seq(2), StreamDigest(b"d" * 16))])
    assert read_sent(desk.path, PEER) == 0  # Not before it is committed.
    desk.store.commit()
    assert read_sent(desk.path, PEER) == 5


# --- What is noticed ----------------------------------------------------------------------------

FLAWLESS = Outcome(
    expected=20,
    sent=20,
    acked=20,
    tallies=(Tally(10, 10), Tally(10, 10)),
    resent=0,
    reconnects=0,
    kills=0,
    idle_kills=0,
    channels=(0, 0),
    worst_stall_s=0.0,
    stalled_until=0.0,
    duration_s=1.0,
)


def tallies(second: Tally) -> dict[str, tuple[Tally, Tally]]:
    return {"tallies": (Tally(10, 10), second)}


@pytest.mark.parametrize(
    "flaw",
    [
        tallies(Tally(9, 9)),
        tallies(Tally(10, 9, missing=1)),
        tallies(Tally(10, 10, doubled=1)),
        tallies(Tally(10, 10, reordered=1)),
        tallies(Tally(10, 10, corrupt=1)),
        {"acked": 19},
        {"sent": 19},
        {"faults": ["a store forgot"]},
    ],
)
def test_any_flaw_is_a_failure(flaw: dict[str, object]) -> None:
    assert FLAWLESS.flawless
    assert not replace(FLAWLESS, **flaw).flawless  # type: ignore[arg-type]


def party(folder: Path) -> Party:
    task = Task(
        key=str(folder / "party.key"),
        store=str(folder / "store.db"),
        endpoint="tcp://127.0.0.1:1",
        advertise=None,
        peer="nobody",
        messages=10,
        seed=0,
        report_interval_s=0.01,
    )
    return Party("alice", task, folder / "errors")


@pytest.mark.parametrize(
    ("stored", "received", "broken"), [(5, 7, 0), (4, 7, 1), (5, 6, 1), (0, 0, 2)]
)
def test_a_store_that_forgot_what_it_had_promised_is_noticed(
    stored: int, received: int, broken: int, tmp_path: Path
) -> None:
    """Before the restart 5 of its items were called stored, and 7 of the other's were acked."""
    made = party(tmp_path)
    news: queue.SimpleQueue[News] = queue.SimpleQueue()
    made.runs, made.stored = 1, 5
    made.start(news, promised=7)
    made.kill()
    made.take(News(made, 2, Report(stored, stored, 0, received, 0, 0, 0)))
    assert len(made.broken) == broken


def test_a_worker_that_ends_by_itself_fails_the_exchange(tmp_path: Path) -> None:
    """As these do: their contact is none."""
    (second := tmp_path / "second").mkdir()
    plan = Plan(messages=10, timeout_s=20)
    outcome = Exchange((party(tmp_path), party(second)), plan).run()
    assert not outcome.flawless
    assert "ended by itself" in outcome.faults[0]
    assert "Traceback" in outcome.faults[0]


def test_a_worker_that_is_refused_its_end_fails(tmp_path: Path) -> None:
    made = party(tmp_path)
    news: queue.SimpleQueue[News] = queue.SimpleQueue()
    made.start(news, promised=0)
    with pytest.raises(WorkerFailed, match="ended with 1"):
        made.finish()


def test_counts_are_of_all_runs_and_progress_is_the_highest(tmp_path: Path) -> None:
    made = party(tmp_path)
    for run, report in [(1, Report(5, 5, 4, 3, 0, 2, 9)), (2, Report(2, 2, 1, 1, 0, 1, 1))]:
        made.runs = run
        made.take(News(made, run, report))
    assert (made.sent, made.acked, made.received) == (5, 4, 3)
    assert (made.reconnects, made.resent) == (3, 10)


# --- Soaks --------------------------------------------------------------------------------------


def test_a_short_soak_with_everything_is_flawless(tmp_path: Path) -> None:
    settings = Settings(
        messages=5_000, timeout_s=50, seed=3, resets=True, partitions=True, kills=(2, 2)
    )
    with soak(tmp_path, settings) as made:
        outcome = made.exchange.run()
    assert outcome.faults == []
    assert outcome.flawless
    assert outcome.kills == 4


def test_what_does_not_end_in_time_fails_and_says_what_is_missing(tmp_path: Path) -> None:
    settings = Settings(messages=1_000_000, timeout_s=1.0, seed=3)
    with soak(tmp_path, settings) as made:
        outcome = made.exchange.run()
    assert not outcome.flawless
    assert outcome.lost > 0
    assert outcome.faults == ["not complete within 1 s"]
    assert outcome.duration_s < 10


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.soak", *arguments]
    root = Path(__file__).parents[2]
    return subprocess.run(
        command, cwd=root, capture_output=True, check=False, text=True, timeout=50
    )


def test_the_program_prints_its_figures_and_exits_by_them() -> None:
    memory = ("--store", "memory", "--faults", "resets")
    good = run("--messages", "500", *memory, "--seed", "1")
    assert good.returncode == 0, good.stdout + good.stderr
    figures = dict(line.split(maxsplit=1) for line in good.stdout.splitlines())
    assert figures["seed"] == "1"
    assert figures["sent"] == figures["delivered"] == figures["acked"] == "1000"
    assert figures["lost"] == figures["doubled"] == figures["reordered"] == "0"
    assert figures["result"] == "flawless"
    bad = run("--messages", "1000000", *memory, "--timeout", "1")
    assert bad.returncode == 1
    assert "FAILED" in bad.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--messages", "0"],
        ["--kills", "-1"],
        ["--timeout", "0"],
        ["--faults", "floods"],
        ["--store", "memory", "--faults", "kills"],
    ],
)
def test_the_program_refuses_what_makes_no_sense(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", *arguments])
    with pytest.raises(SystemExit):
        program.main()
    assert "error" in capsys.readouterr().err
