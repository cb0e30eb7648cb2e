"""A chain for tests, demos and examples: one SQLite file that several processes share.

It keeps the one promise that funding relies on: a deposit is made only if the channel then holds
exactly what the depositor expects, checked and recorded in one transaction. There are no accounts
and no fees; nobody runs out of funds and no block is ever taken back.

With a block interval nobody mines in the background: whoever looks first mines the blocks that are
due by the clock, so the chain also stands still while no process has it open.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

from zmqp2p.chain import ledger
from zmqp2p.chain.base import Deposited
from zmqp2p.chain.ledger import MinedDeposit
from zmqp2p.errors import ChainError, InvalidValue
from zmqp2p.ids import ADDRESS_SIZE, HASH_SIZE, Address, ChannelId
from zmqp2p.objectives.base import Deposit

_BUSY_TIMEOUT_S = 10.0  # Others hold the file for microseconds; more means that one is stopped.
_AMOUNT_END = 1 << 8 * ledger.AMOUNT_BYTES


class SimulatedChain:
    """A `ChainService` in the file ``path``, created if missing. Thread-safe; calls may block.

    ``confirmations``: how many blocks must follow a block before it counts.
    ``block_interval_s``: None mines each deposit at once, in a block of its own. Otherwise a block
    comes each so many seconds of ``clock`` (seconds since 1970) and `deposit` waits for it.
    ``poll_interval_s``: how often `wait` and a waiting `deposit` look into the file.
    Processes that share a chain should give the same values; each goes by its own.

    A process may be killed at any point: no call leaves a transaction of the database open, and
    what was not committed did not happen. Power loss may take back the newest blocks.

    Raises:
        ChainError: the file is not a chain, or cannot be used.
        InvalidValue: a number of blocks or seconds that makes no sense.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        confirmations: int = 0,
        block_interval_s: float | None = None,
        poll_interval_s: float = 0.02,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if confirmations < 0:
            raise InvalidValue("confirmations", "must not be negative")
        if block_interval_s is not None and block_interval_s <= 0:
            raise InvalidValue("block_interval_s", "must be more than 0")
        if poll_interval_s <= 0:
            raise InvalidValue("poll_interval_s", "must be more than 0")
        self._path = Path(path).absolute()  # ":memory:" too must be a file, to be shared.
        self._confirmations = confirmations
        self._block_interval_s = block_interval_s
        self._poll_interval_s = poll_interval_s
        self._clock = clock
        self._closed = threading.Event()
        self._lock = threading.Lock()  # One thread at a time uses the connection.
        self._db = self._open()

    def deposit(self, deposit: Deposit) -> str:
        """Make ``deposit`` and return the transaction's hash, ``0x…``, once it is mined.

        Raises:
            ChainError: refused: the channel does not hold ``expected_held`` of the asset, now or
                when the block is mined, or a value is out of range. Or the chain cannot be used,
                or was closed meanwhile: then a pending transaction may still be mined.
        """
        self._check(deposit)
        with self._using() as db, ledger.transaction(db):
            self._mine_due(db)
            held = ledger.held(db, deposit.channel, deposit.asset)
            if held != deposit.expected_held:
                raise ChainError(self._mismatch(deposit, held))
            number, name = ledger.submit(db, deposit)
            if self._block_interval_s is None:
                ledger.mine(db, 1, self._clock())
            done = ledger.execution(db, number)
        while done is None:
            self._closed.wait(self._poll_interval_s)
            with self._reading() as db:
                done = ledger.execution(db, number)
        if done.reverted:
            raise ChainError(f"{self._mismatch(deposit, done.held_before)}: {name} reverted")
        return name

    def holdings(self, channel: ChannelId, asset: Address) -> int:
        """Return what ``channel`` holds of ``asset``, counting confirmed deposits only."""
        with self._reading() as db:
            return ledger.held(db, channel, asset, self._confirmed(db))

    def events(self, after_block: int) -> list[Deposited]:
        """Return the confirmed deposits in blocks after ``after_block``, oldest first."""
        with self._reading() as db:
            made = ledger.mined(db, after_block, self._confirmed(db))
        return [Deposited(one.block, one.channel, one.asset, one.held_after) for one in made]

    def wait(self, after_block: int, timeout_s: float) -> None:
        """Block until a confirmed block after ``after_block`` exists, or ``timeout_s`` passed.

        Returns at once when the chain is closed.
        """
        end = time.monotonic() + timeout_s
        while True:
            with self._lock, self._translated():
                if self._closed.is_set():
                    return
                self._catch_up(self._db)
                confirmed = self._confirmed(self._db)
            left_s = end - time.monotonic()
            if confirmed > after_block or left_s <= 0:
                return
            self._closed.wait(min(self._poll_interval_s, left_s))

    def close(self) -> None:
        """Release the file; a `wait` or `deposit` in another thread ends. Idempotent."""
        self._closed.set()
        with self._lock:
            self._db.close()

    # --- For tests and displays -----------------------------------------------------------------

    def mine(self, blocks: int = 1) -> None:
        """Add ``blocks`` blocks at once; the first holds all pending transactions.

        Raises:
            InvalidValue: ``blocks`` is less than 1.
        """
        if blocks < 1:
            raise InvalidValue("blocks", "must be 1 or more")
        with self._using() as db, ledger.transaction(db):
            self._mine_due(db)
            ledger.mine(db, blocks, self._clock())

    def height(self) -> int:
        """Return the number of the newest block, confirmed or not; 0 before the first."""
        with self._reading() as db:
            return ledger.height(db)

    def deposits(self) -> list[MinedDeposit]:
        """Return every deposit ever made, confirmed or not, oldest first."""
        with self._reading() as db:
            return ledger.mined(db, 0, ledger.ANY_BLOCK)

    # --- The file -------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        with self._translated():
            db = sqlite3.connect(
                self._path,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self._translated():
                self._prepare(db)
        except ChainError:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """See that the database is a chain, or make it one."""
        db.execute("PRAGMA synchronous = NORMAL")  # Survives a killed process, without a sync.
        known = ledger.is_chain(db)
        if known is None:
            _use_log(db)
            with ledger.transaction(db):
                known = ledger.is_chain(db)  # Again: another process may have been faster.
                if known is None:
                    ledger.create(db, self._clock())
        if known is False:
            raise ChainError(f"{self._path}: not a simulated chain")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Run queries on a chain on which all due blocks are mined."""
        with self._using() as db:
            self._catch_up(db)
            yield db

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated():
            if self._closed.is_set():
                raise ChainError(f"{self._path}: the chain was closed")
            yield self._db

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as fault:
            raise ChainError(f"{self._path}: {fault}") from None

    # --- Blocks ---------------------------------------------------------------------------------

    def _confirmed(self, db: sqlite3.Connection) -> int:
        """Return the newest block that counts; may be negative."""
        return ledger.height(db) - self._confirmations

    def _catch_up(self, db: sqlite3.Connection) -> None:
        """Mine the blocks that are due, taking the write lock only if there are any."""
        if self._due_blocks(db) > 0:
            with ledger.transaction(db):
                self._mine_due(db)

    def _mine_due(self, db: sqlite3.Connection) -> None:
        """Mine the blocks that are due, in the open transaction: others mine too."""
        blocks = self._due_blocks(db)
        if self._block_interval_s is not None and blocks > 0:
            instant = ledger.mined_at(db) + blocks * self._block_interval_s
            ledger.mine(db, blocks, instant)

    def _due_blocks(self, db: sqlite3.Connection) -> int:
        """Return how many blocks are overdue; negative if the clock went back."""
        if self._block_interval_s is None:
            return 0
        return int((self._clock() - ledger.mined_at(db)) // self._block_interval_s)

    # --- Refusals -------------------------------------------------------------------------------

    def _check(self, deposit: Deposit) -> None:
        if len(deposit.channel) != HASH_SIZE or len(deposit.asset) != ADDRESS_SIZE:
            raise ChainError(f"a channel id has {HASH_SIZE} bytes and an asset {ADDRESS_SIZE}")
        if deposit.amount < 0 or deposit.expected_held < 0:
            raise ChainError("an amount must not be negative")
        if deposit.amount + deposit.expected_held >= _AMOUNT_END:
            raise ChainError("the channel would hold more than a uint256 can say")

    def _mismatch(self, deposit: Deposit, held: int) -> str:
        return (
            f"{self._path}: channel 0x{deposit.channel.hex()} holds {held} of asset "
            f"0x{deposit.asset.hex()}, not the expected {deposit.expected_held}"
        )


def _use_log(db: sqlite3.Connection) -> None:
    """Switch a new file to the write-ahead log, with which readers and a writer do not wait.

    SQLite does not wait for the lock this needs. It is missing only while another process creates
    the same chain, which then makes the switch; if nobody can, the older journal serves as well.
    """
    with suppress(sqlite3.OperationalError):
        db.execute("PRAGMA journal_mode = WAL").fetchone()
