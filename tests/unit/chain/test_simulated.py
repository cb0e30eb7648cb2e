"""The simulated chain: each deposit once, seen by all who share the file."""

import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from zmqp2p.chain import ChainService, Deposited, MinedDeposit, SimulatedChain, ledger
from zmqp2p.errors import ChainError, InvalidValue
from zmqp2p.ids import ZERO_ADDRESS, Address, ChannelId
from zmqp2p.objectives.base import Deposit

StartChild = Callable[..., "subprocess.Popen[str]"]

CHANNEL = ChannelId(b"\x01" * 32)
OTHER_CHANNEL = ChannelId(b"\x02" * 32)
TOKEN = Address(b"\x03" * 20)
UINT256_MAX = 2**256 - 1
JOIN_S = 10.0


class Clock:
    """Seconds since 1970, moved by the test."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Background:
    """One call in a thread of its own; `end` gives its result or its ChainError."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._result: object = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except ChainError as fault:
            self._result = fault

    def end(self) -> object:
        """Wait for the call to end and return what came of it."""
        self.thread.join(JOIN_S)
        assert not self.thread.is_alive()
        return self._result


@pytest.fixture
def chain(path: Path) -> Iterator[SimulatedChain]:
    """Return a chain that mines each deposit at once."""
    with closing(SimulatedChain(path)) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slow(path: Path, clock: Clock) -> Iterator[SimulatedChain]:
    """Return a chain with a block every ten seconds of ``clock``."""
    with closing(
        SimulatedChain(path, block_interval_s=10.0, poll_interval_s=0.001, clock=clock)
    ) as opened:
        yield opened


def deposit(amount: int, expected_held: int, channel: ChannelId = CHANNEL) -> Deposit:
    return Deposit(channel, ZERO_ADDRESS, amount, expected_held)


def pending(path: Path, count: int) -> None:
    """Return when ``count`` transactions wait in the file for a block."""
    with closing(sqlite3.connect(path)) as db:
        for _ in range(1_000_000):
            (found,) = db.execute(
                "SELECT count(*) FROM transactions WHERE block IS NULL"
            ).fetchone()
            if found == count:
                return
    pytest.fail("the transactions were not submitted")


def descriptors(path: Path) -> int:
    """Return how many of this process's descriptors are of the file ``path``."""
    found = 0
    for entry in list(Path("/dev/fd").iterdir()):
        with suppress(OSError):  # The listing's own descriptor is in the list and closed by now.
            found += os.path.samestat(os.fstat(int(entry.name)), path.stat())
    return found


# --- Deposits -----------------------------------------------------------------------------------


def test_it_is_a_chain_service(chain: SimulatedChain) -> None:
    service: ChainService = chain
    assert service.events(0) == []
    assert service.holdings(CHANNEL, ZERO_ADDRESS) == 0
    assert chain.height() == 0


def test_deposits_add_up_and_each_is_an_event_in_a_block_of_its_own(chain: SimulatedChain) -> None:
    chain.deposit(deposit(5, 0))
    chain.deposit(deposit(7, 5))
    assert chain.holdings(CHANNEL, ZERO_ADDRESS) == 12
    assert chain.events(0) == [
        Deposited(1, CHANNEL, ZERO_ADDRESS, 5),
        Deposited(2, CHANNEL, ZERO_ADDRESS, 12),
    ]
    assert chain.events(1) == [Deposited(2, CHANNEL, ZERO_ADDRESS, 12)]
    assert chain.events(2) == []


def test_channels_and_assets_are_held_apart(chain: SimulatedChain) -> None:
    chain.deposit(deposit(5, 0))
    chain.deposit(Deposit(CHANNEL, TOKEN, 6, 0))
    chain.deposit(deposit(7, 0, OTHER_CHANNEL))
    assert chain.holdings(CHANNEL, ZERO_ADDRESS) == 5
    assert chain.holdings(CHANNEL, TOKEN) == 6
    assert chain.holdings(OTHER_CHANNEL, ZERO_ADDRESS) == 7
    assert chain.holdings(OTHER_CHANNEL, TOKEN) == 0
    assert [(event.channel, event.asset, event.held) for event in chain.events(0)] == [
        (CHANNEL, ZERO_ADDRESS, 5),
        (CHANNEL, TOKEN, 6),
        (OTHER_CHANNEL, ZERO_ADDRESS, 7),
    ]


def test_a_deposit_that_expects_other_holdings_is_refused_and_both_numbers_are_said(
    chain: SimulatedChain, path: Path
) -> None:
    """That is why a deposit submitted again after a crash is paid once."""
    chain.deposit(deposit(5, 0))
    for wrong in (0, 4, 6):
        with pytest.raises(ChainError, match=f"{path}: .* holds 5 .*expected {wrong}$"):
            chain.deposit(deposit(5, wrong))
    assert chain.holdings(CHANNEL, ZERO_ADDRESS) == 5
    assert len(chain.deposits()) == 1
    assert chain.height() == 1


def test_every_deposit_made_is_listed_with_its_transaction(chain: SimulatedChain) -> None:
    first = chain.deposit(deposit(5, 0))
    second = chain.deposit(deposit(0, 5))
    assert chain.deposits() == [
        MinedDeposit(first, 1, CHANNEL, ZERO_ADDRESS, 5, 5),
        MinedDeposit(second, 2, CHANNEL, ZERO_ADDRESS, 0, 5),
    ]


def test_equal_deposits_have_different_hashes(chain: SimulatedChain) -> None:
    """Two deposits of nothing are equal in everything but their place."""
    hashes = {chain.deposit(deposit(0, 0)) for _ in range(3)}
    assert len(hashes) == 3
    for name in hashes:
        assert name.startswith("0x")
        assert len(bytes.fromhex(name[2:])) == 32


def test_amounts_reach_to_the_end_of_uint256_and_not_beyond(chain: SimulatedChain) -> None:
    chain.deposit(deposit(UINT256_MAX - 1, 0))
    chain.deposit(deposit(1, UINT256_MAX - 1))
    assert chain.holdings(CHANNEL, ZERO_ADDRESS) == UINT256_MAX
    with pytest.raises(ChainError, match="uint256"):
        chain.deposit(deposit(1, UINT256_MAX))
    assert chain.deposits()[1].held_after == UINT256_MAX


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (deposit(-1, 1), "negative"),
        (deposit(1, -1), "negative"),
        (deposit(1, 0, ChannelId(b"short")), "32 bytes"),
        (Deposit(CHANNEL, Address(b"short"), 1, 0), "asset 20"),
    ],
)
def test_a_malformed_deposit_is_refused(chain: SimulatedChain, wrong: Deposit, reason: str) -> None:
    with pytest.raises(ChainError, match=reason):
        chain.deposit(wrong)
    assert chain.deposits() == []


# --- Blocks -------------------------------------------------------------------------------------


def test_only_confirmed_deposits_count(path: Path) -> None:
    with closing(SimulatedChain(path, confirmations=2)) as chain:
        chain.deposit(deposit(5, 0))
        for _ in range(2):
            assert chain.holdings(CHANNEL, ZERO_ADDRESS) == 0
            assert chain.events(0) == []
            assert len(chain.deposits()) == 1
            chain.mine()
        assert chain.holdings(CHANNEL, ZERO_ADDRESS) == 5
        assert chain.events(0) == [Deposited(1, CHANNEL, ZERO_ADDRESS, 5)]


def test_a_deposit_expects_the_newest_holdings_confirmed_or_not(path: Path) -> None:
    with closing(SimulatedChain(path, confirmations=2)) as chain:
        chain.deposit(deposit(5, 0))
        chain.deposit(deposit(6, 5))
        with pytest.raises(ChainError, match="holds 11"):
            chain.deposit(deposit(5, 0))
        chain.mine()
        assert chain.holdings(CHANNEL, ZERO_ADDRESS) == 5
        chain.mine()
        assert chain.holdings(CHANNEL, ZERO_ADDRESS) == 11


def test_empty_blocks_can_be_mined(chain: SimulatedChain) -> None:
    chain.mine()
    chain.mine(5)
    assert chain.height() == 6
    chain.deposit(deposit(5, 0))
    assert chain.events(6) == [Deposited(7, CHANNEL, ZERO_ADDRESS, 5)]


def test_a_deposit_waits_for_the_block_that_is_due(
    slow: SimulatedChain, path: Path, clock: Clock
) -> None:
    pay = Background(lambda: slow.deposit(deposit(5, 0)))
    pending(path, 1)
    assert slow.holdings(CHANNEL, ZERO_ADDRESS) == 0
    assert slow.deposits() == []
    clock.now += 9.9
    assert slow.height() == 0
    assert pay.thread.is_alive()
    clock.now += 0.2
    name = pay.end()
    assert slow.deposits() == [MinedDeposit(str(name), 1, CHANNEL, ZERO_ADDRESS, 5, 5)]


def test_all_blocks_due_are_mined_by_whoever_looks(slow: SimulatedChain, clock: Clock) -> None:
    clock.now += 35.0
    assert slow.height() == 3
    clock.now += 5.0  # Blocks come by the clock, not so many seconds after the last look.
    assert slow.height() == 4
    clock.now -= 1000.0
    assert slow.height() == 4


def test_a_deposit_goes_into_the_first_block_after_it(
    slow: SimulatedChain, path: Path, clock: Clock
) -> None:
    clock.now += 25.0
    pay = Background(lambda: slow.deposit(deposit(5, 0)))
    pending(path, 1)
    clock.now += 100.0
    pay.end()
    assert [(made.block, slow.height()) for made in slow.deposits()] == [(3, 12)]


def test_of_two_deposits_waiting_with_the_same_expectation_one_is_reverted(
    slow: SimulatedChain, path: Path, clock: Clock
) -> None:
    """Both were right when they were submitted; the chain decides when the block is mined."""
    first = Background(lambda: slow.deposit(deposit(5, 0)))
    pending(path, 1)
    second = Background(lambda: slow.deposit(deposit(6, 0)))
    pending(path, 2)
    clock.now += 10.0
    assert isinstance(first.end(), str)
    fault = second.end()
    assert isinstance(fault, ChainError)
    assert "holds 5 " in str(fault)
    assert "expected 0: 0x" in str(fault)
    assert str(fault).endswith("reverted")
    assert [made.amount for made in slow.deposits()] == [5]
    assert slow.events(0) == [Deposited(1, CHANNEL, ZERO_ADDRESS, 5)]
    slow.mine()
    assert slow.holdings(CHANNEL, ZERO_ADDRESS) == 5


def test_a_deposit_with_a_wrong_expectation_is_refused_without_waiting_for_a_block(
    slow: SimulatedChain,
) -> None:
    with pytest.raises(ChainError, match=r"holds 0 .*expected 9$"):
        slow.deposit(deposit(5, 9))


def test_mining_by_hand_does_not_wait_for_the_clock(slow: SimulatedChain, path: Path) -> None:
    pay = Background(lambda: slow.deposit(deposit(5, 0)))
    pending(path, 1)
    slow.mine()
    assert isinstance(pay.end(), str)


def test_mining_by_hand_adds_to_the_blocks_that_are_due(slow: SimulatedChain, clock: Clock) -> None:
    clock.now += 25.0
    slow.mine()
    assert slow.height() == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("confirmations", -1),
        ("block_interval_s", 0.0),
        ("block_interval_s", -1.0),
        ("poll_interval_s", 0.0),
    ],
)
def test_settings_that_make_no_sense_are_refused(path: Path, field: str, value: float) -> None:
    with pytest.raises(InvalidValue, match=field):
        SimulatedChain(path, **{field: value})  # type: ignore[arg-type]
    assert not path.exists()


def test_mining_no_block_is_refused(chain: SimulatedChain) -> None:
    with pytest.raises(InvalidValue, match="blocks"):
        chain.mine(0)


# --- Waiting and closing ------------------------------------------------------------------------


def test_wait_returns_at_once_if_there_is_a_newer_block(chain: SimulatedChain) -> None:
    chain.mine()
    chain.wait(0, timeout_s=1000.0)


def test_wait_returns_when_its_time_is_over(chain: SimulatedChain) -> None:
    chain.mine()
    chain.wait(1, timeout_s=0.0)
    chain.wait(1, timeout_s=0.05)
    assert chain.height() == 1


def test_wait_sees_a_block_of_another_user_of_the_file(chain: SimulatedChain, path: Path) -> None:
    waiting = Background(lambda: chain.wait(0, timeout_s=1000.0))
    with closing(SimulatedChain(path)) as other:
        assert waiting.thread.is_alive()
        other.deposit(deposit(5, 0))
    waiting.end()


def test_wait_waits_for_confirmed_blocks(path: Path) -> None:
    with closing(SimulatedChain(path, confirmations=1, poll_interval_s=0.001)) as chain:
        chain.mine()
        waiting = Background(lambda: chain.wait(0, timeout_s=1000.0))
        waiting.thread.join(0.05)
        assert waiting.thread.is_alive()
        chain.mine()
        waiting.end()


def test_wait_mines_the_block_it_waits_for(slow: SimulatedChain, clock: Clock) -> None:
    waiting = Background(lambda: slow.wait(0, timeout_s=1000.0))
    clock.now += 10.0
    waiting.end()
    assert slow.height() == 1


def test_close_ends_a_wait_in_another_thread(path: Path) -> None:
    chain = SimulatedChain(path, poll_interval_s=1000.0)
    waiting = Background(lambda: chain.wait(0, timeout_s=1000.0))
    chain.close()
    assert waiting.end() is None


def test_close_ends_a_deposit_that_waits_which_may_still_be_mined(path: Path, clock: Clock) -> None:
    chain = SimulatedChain(path, block_interval_s=10.0, poll_interval_s=1000.0, clock=clock)
    pay = Background(lambda: chain.deposit(deposit(5, 0)))
    pending(path, 1)
    chain.close()
    fault = pay.end()
    assert isinstance(fault, ChainError)
    assert "closed" in str(fault)
    with closing(SimulatedChain(path, block_interval_s=10.0, clock=clock)) as again:
        clock.now += 10.0
        assert [made.amount for made in again.deposits()] == [5]
        with pytest.raises(ChainError, match="holds 5"):
            again.deposit(deposit(5, 0))


def test_a_closed_chain_refuses_to_work_and_wait_returns(chain: SimulatedChain, path: Path) -> None:
    chain.close()
    chain.close()
    for use in (
        lambda: chain.deposit(deposit(5, 0)),
        lambda: chain.holdings(CHANNEL, ZERO_ADDRESS),
        lambda: chain.events(0),
        chain.mine,
        chain.height,
        chain.deposits,
    ):
        with pytest.raises(ChainError, match=f"{path}: the chain was closed"):
            use()
    chain.wait(0, timeout_s=1000.0)


def test_close_leaves_the_one_file(chain: SimulatedChain, path: Path) -> None:
    chain.deposit(deposit(5, 0))
    chain.close()
    assert list(path.parent.iterdir()) == [path]


# --- The file -----------------------------------------------------------------------------------


def test_a_chain_is_found_again(chain: SimulatedChain, path: Path) -> None:
    chain.deposit(deposit(5, 0))
    chain.mine()
    chain.close()
    with closing(SimulatedChain(path)) as again:
        assert again.height() == 2
        assert again.holdings(CHANNEL, ZERO_ADDRESS) == 5


@pytest.mark.parametrize(
    "content", [b"# notes\n" * 1000, "CREATE TABLE chain (a)", "PRAGMA application_id = 99"]
)
def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path, content: bytes | str) -> None:
    if isinstance(content, str):
        with closing(sqlite3.connect(path)) as db:
            db.execute(content)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ChainError, match=f"{path}: .*not a") as kept:
        SimulatedChain(path)
    assert path.read_bytes() == before
    assert descriptors(path) == 0, kept


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "chain.db"
    with pytest.raises(ChainError, match=f"{path}: unable to open"):
        SimulatedChain(path)


def test_damage_is_a_chain_error(chain: SimulatedChain, path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE transactions")
    with pytest.raises(ChainError, match=f"{path}: no such table"):
        chain.deposits()
    with pytest.raises(ChainError, match=f"{path}: no such table"):
        chain.deposit(deposit(5, 0))
    with closing(sqlite3.connect(path, timeout=0)) as db:
        db.execute("BEGIN IMMEDIATE")  # The failed deposit left no transaction open.


def test_a_chain_that_somebody_else_is_creating_is_waited_for(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger.create(other, 0.0)
        opening = Background(lambda: SimulatedChain(path))
        opening.thread.join(0.1)
        assert opening.thread.is_alive()
        other.execute("COMMIT")
    chain = opening.end()
    assert isinstance(chain, SimulatedChain)
    chain.deposit(deposit(5, 0))
    chain.close()


def test_threads_that_open_one_new_file_at_once_share_one_chain(path: Path) -> None:
    start = threading.Barrier(8)

    def pay() -> str:
        start.wait()
        with closing(SimulatedChain(path)) as chain:
            return chain.deposit(deposit(5, 0))

    results = [payer.end() for payer in [Background(pay) for _ in range(8)]]
    assert [type(result) for result in results].count(str) == 1
    with closing(SimulatedChain(path)) as chain:
        assert [made.held_after for made in chain.deposits()] == [5]


def test_threads_that_use_one_object_deposit_each_amount_once(chain: SimulatedChain) -> None:
    def pay() -> int:
        made = 0
        for step in range(100):
            try:
                chain.deposit(deposit(1, step))
                made += 1
            except ChainError as fault:
                if "not the expected" not in str(fault):
                    raise
                chain.wait(step, timeout_s=JOIN_S)  # Somebody else makes this one.
        return made

    counts = [payer.end() for payer in [Background(pay) for _ in range(4)]]
    assert sum(count for count in counts if isinstance(count, int)) == 100
    assert [made.held_after for made in chain.deposits()] == list(range(1, 101))


# --- Processes ----------------------------------------------------------------------------------

_PAY_EACH_STEP = """
import sys
from zmqp2p.chain import SimulatedChain
from zmqp2p.errors import ChainError
from zmqp2p.objectives.base import Deposit
chain = SimulatedChain(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
made = 0
for step in range(20):
    while chain.holdings(b"c" * 32, b"a" * 20) == step:
        try:
            chain.deposit(Deposit(b"c" * 32, b"a" * 20, 1, step))
            made += 1
        except ChainError as fault:
            assert "not the expected" in str(fault), fault
chain.close()
print(made)
"""

_KILLED_IN_A_TRANSACTION = """
import os, signal, sqlite3, sys
from zmqp2p.chain import SimulatedChain
from zmqp2p.objectives.base import Deposit
chain = SimulatedChain(sys.argv[1])
chain.deposit(Deposit(bytes([1]) * 32, bytes(20), 5, 0))
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE chain SET height = 99")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_that_race_for_the_same_deposits_make_each_once(
    path: Path, start_child: StartChild
) -> None:
    children = [start_child(_PAY_EACH_STEP, path) for _ in range(2)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    outputs = [child.communicate("go\n", timeout=JOIN_S)[0] for child in children]
    assert sum(int(output) for output in outputs) == 20
    with closing(SimulatedChain(path)) as chain:
        assert [made.held_after for made in chain.deposits()] == list(range(1, 21))
        assert chain.height() == 20


def test_a_process_killed_while_it_writes_leaves_the_chain_usable(
    path: Path, start_child: StartChild
) -> None:
    with start_child(_KILLED_IN_A_TRANSACTION, path) as child:
        assert child.wait(JOIN_S) == -signal.SIGKILL
    with closing(SimulatedChain(path)) as chain:
        assert chain.height() == 1
        chain.deposit(deposit(6, 5))
        assert [made.amount for made in chain.deposits()] == [5, 6]
