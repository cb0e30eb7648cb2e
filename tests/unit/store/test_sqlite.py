"""What only a store in a file promises: locks, files, damage, durability."""

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

import zmqp2p
from zmqp2p.errors import StoreError, StoreForeign, StoreLocked, StoreTooNew, StoreTooOld
from zmqp2p.ids import Address, Seq, StreamDigest, StreamId
from zmqp2p.persistence import PutCursor, PutIssued, PutMessage, Write
from zmqp2p.store import SqliteStore, schema

RunChild = Callable[..., "subprocess.CompletedProcess[str]"]

OWNER = Address(b"o" * 20)
BOB = Address(b"b" * 20)
KIB = 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """Return an open store."""
    opened = SqliteStore(path)
    opened.open(OWNER, 1)
    yield opened
    opened.close()


def message(number: int, size_bytes: int = 10) -> Write:
    return PutMessage(BOB, Seq(number), bytes(size_bytes))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection that knows nothing of stores."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


@contextmanager
def files_at_most(size_bytes: int) -> Iterator[None]:
    """Let every write beyond ``size_bytes`` into a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def descriptors(path: Path) -> int:
    """Return how many of this process's descriptors are of the file ``path``."""
    found = 0
    for entry in list(Path("/dev/fd").iterdir()):
        with suppress(OSError):  # The listing's own descriptor is in the list and closed by now.
            found += os.path.samestat(os.fstat(int(entry.name)), path.stat())
    return found


# --- Files --------------------------------------------------------------------------------------


def test_only_its_user_may_read_a_store(path: Path) -> None:
    old = os.umask(0)
    try:
        store = SqliteStore(path)
        store.open(OWNER, 1)
        store.apply([message(1)])
        store.commit()
    finally:
        os.umask(old)
    assert [mode(file) for file in sorted(path.parent.iterdir())] == [0o600] * 3
    store.close()
    assert mode(path) == 0o600


def test_close_leaves_the_one_file(store: SqliteStore, path: Path) -> None:
    store.apply([message(1)])
    store.commit()
    store.apply([message(2)])
    store.close()
    assert list(path.parent.iterdir()) == [path]


def test_close_leaves_no_descriptor(path: Path) -> None:
    store = SqliteStore(path)
    store.open(OWNER, 1)
    assert descriptors(path) == 2  # The lock's and SQLite's.
    store.close()
    assert descriptors(path) == 0


def test_close_leaves_the_one_file_though_an_error_is_kept(store: SqliteStore, path: Path) -> None:
    """A traceback keeps local variables alive; a cursor among them would keep the database open."""
    fails_at_row_2 = "WITH v(a) AS (VALUES (1), (-9223372036854775807 - 1)) SELECT abs(a) FROM v"
    with pytest.raises(StoreError) as kept:
        store.transaction.execute(fails_at_row_2)
    store.close()
    assert list(path.parent.iterdir()) == [path]
    assert "overflow" in str(kept.value)


def test_a_name_that_sqlite_takes_for_memory_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore(":memory:")
    store.open(OWNER, 1)
    store.close()
    assert (tmp_path / ":memory:").exists()


def test_every_commit_is_synced_and_the_log_is_bounded(path: Path) -> None:
    settings: dict[str, object] = {}

    class Peeking(SqliteStore):
        def _prepare(self, db: sqlite3.Connection) -> None:
            super()._prepare(db)
            for name in ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync"):
                (settings[name],) = db.execute(f"PRAGMA {name}").fetchone()

    store = Peeking(path)
    store.open(OWNER, 1)
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "fullfsync": 1,
        "checkpoint_fullfsync": 1,
    }
    log = path.with_name("node.db-wal")
    for turn in range(100):
        store.apply([message(turn * 64 + number, KIB) for number in range(64)])
        store.commit()
    assert log.stat().st_size < 6 * KIB * KIB
    store.apply([message(10_000 + number, 64 * KIB) for number in range(256)])
    store.commit()
    assert log.stat().st_size > 16 * KIB * KIB  # One huge transaction cannot be helped.
    store.apply([message(20_000)])
    store.commit()
    assert log.stat().st_size <= 8 * KIB * KIB
    store.close()


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    store = SqliteStore(path)
    assert store.open(OWNER, 5).incarnation == 5
    store.close()


def test_a_file_whose_maker_was_killed_before_its_first_commit_becomes_a_store(path: Path) -> None:
    with raw(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
    assert path.stat().st_size > 0
    store = SqliteStore(path)
    assert store.open(OWNER, 5).incarnation == 5
    store.close()


def test_ten_thousand_messages_are_written_in_one_turn_and_found_again(
    store: SqliteStore, path: Path
) -> None:
    store.apply([message(number) for number in range(10_000)])
    store.commit()
    store.close()
    found = store.open(OWNER, 1)
    assert [seq for seq, _ in found.peers[BOB].messages] == list(range(10_000))
    assert path.exists()


# --- One user -----------------------------------------------------------------------------------

_OPEN = """
import sys
from zmqp2p.errors import StoreLocked
from zmqp2p.store import SqliteStore, schema
try:
    SqliteStore(sys.argv[1]).open(b"o" * 20, 1)
except StoreLocked as fault:
    print(fault)
"""


def test_a_second_process_is_refused_and_the_file_is_named(
    store: SqliteStore, path: Path, run_child: RunChild
) -> None:
    assert run_child(_OPEN, path).stdout == (
        f"{path}: another process or service has this store open\n"
    )
    store.close()
    assert run_child(_OPEN, path).stdout == ""


def test_a_second_store_in_the_same_process_is_refused(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(StoreLocked, match=f"{name}: another process or service"):
            SqliteStore(name).open(OWNER, 1)
    store.close()
    second = SqliteStore(link)
    second.open(OWNER, 1)
    second.close()


def test_refusing_a_second_store_does_not_drop_the_first_ones_locks(
    store: SqliteStore, path: Path, run_child: RunChild
) -> None:
    """Closing any descriptor of a file drops SQLite's locks on it.

    The next tool to look into the file would then take itself for the only user and remove the log
    from under the store.
    """
    store.apply([message(1)])
    store.commit()
    with pytest.raises(StoreLocked):
        SqliteStore(path).open(OWNER, 1)
    look = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); print(*db.execute(sys.argv[2]))"
    assert run_child(look, path, "SELECT count(*) FROM outbox").stdout == "(1,)\n"
    assert path.with_name("node.db-wal").exists()


def test_the_store_of_a_killed_process_is_free(path: Path, run_child: RunChild) -> None:
    code = _OPEN + "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run_child(code, path).returncode == -signal.SIGKILL
    store = SqliteStore(path)
    assert store.open(OWNER, 1).incarnation == 2
    store.close()


def test_a_tool_that_holds_the_file_is_reported_as_such(store: SqliteStore, path: Path) -> None:
    with raw(path) as tool:
        tool.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLocked, match=f"{path}: cannot begin a transaction.*locked"):
            store.apply([message(1)])
        tool.execute("ROLLBACK")
    store.apply([message(1)])
    store.commit()


# --- Not a store --------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"x", b"SQLite format 3", b"# notes\n" * 1000])
def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreForeign, match=f"{path}: not a zmqp2p store"):
        SqliteStore(path).open(OWNER, 1)
    assert path.read_bytes() == content
    assert descriptors(path) == 0


@pytest.mark.parametrize(
    "sql",
    ["CREATE TABLE addresses (a)", "PRAGMA user_version = 1", "PRAGMA application_id = 99"],
)
def test_a_database_of_another_program_is_refused_and_left_alone(path: Path, sql: str) -> None:
    with raw(path) as db:
        db.execute(sql)
    content = path.read_bytes()
    with pytest.raises(StoreForeign, match=f"{path}: a database, but not a zmqp2p store"):
        SqliteStore(path).open(OWNER, 1)
    assert path.read_bytes() == content


def test_a_store_of_a_newer_version_is_refused_and_left_alone(
    store: SqliteStore, path: Path
) -> None:
    store.close()
    with raw(path) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    content = path.read_bytes()
    found, known = schema.VERSION + 1, schema.VERSION
    with pytest.raises(StoreTooNew, match=f"{path}: .*newer.*schema {found}.*up to {known}"):
        store.open(OWNER, 1)
    assert path.read_bytes() == content


def test_a_store_of_a_pre_release_is_refused_and_left_as_it_was(
    store: SqliteStore, path: Path
) -> None:
    """It holds no digests: to go on without them is what they are there to prevent."""
    store.close()
    with raw(path) as db:
        db.execute("PRAGMA user_version = 1")
    content = path.read_bytes()
    why = f"{path}: .*pre-release.*schema 1.*reads schema {schema.VERSION} only"
    with pytest.raises(StoreTooOld, match=why):
        store.open(OWNER, 1)
    assert path.read_bytes() == content


def test_a_schema_version_that_never_was_is_refused(store: SqliteStore, path: Path) -> None:
    store.close()
    with raw(path) as db:
        db.execute("PRAGMA user_version = 0")
    with pytest.raises(StoreForeign):
        store.open(OWNER, 1)


def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StoreForeign, match=f"{pipe}: not a file"):
        SqliteStore(pipe).open(OWNER, 1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/node.db", "No such file or directory"),
        ("file/node.db", "Not a directory"),
        (".", "Is a directory"),
        ("nul\x00.db", "null byte"),
        ("n" * 300, "File name too long"),
    ],
)
def test_a_path_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"(?s){tmp_path}.*: cannot open: .*{reason}"):
        SqliteStore(tmp_path / name).open(OWNER, 1)


def test_a_file_that_cannot_be_read_is_refused_with_the_reason() -> None:
    """Linux's view of the own memory: a file that opens and then fails at its first byte."""
    with pytest.raises(StoreError, match="/proc/self/mem: cannot lock and read: Input/output"):
        SqliteStore("/proc/self/mem").open(OWNER, 1)


def test_a_folder_in_which_no_log_can_be_made_is_refused(path: Path) -> None:
    log = path.with_name("node.db-wal")
    log.mkdir()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=f"{path}: cannot open"):
        store.open(OWNER, 1)
    log.rmdir()
    assert store.open(OWNER, 1).incarnation == 1  # Nothing was held.
    store.close()


def test_running_out_of_descriptors_is_a_store_error_and_the_lock_is_released(path: Path) -> None:
    store = SqliteStore(path)
    free = os.open(os.devnull, os.O_RDONLY)  # The lowest free descriptor.
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))
    try:
        with pytest.raises(StoreError, match=f"{path}: cannot open"):
            store.open(OWNER, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    store.open(OWNER, 1)
    store.close()


# --- Damage -------------------------------------------------------------------------------------


def test_a_damaged_file_is_refused(store: SqliteStore, path: Path) -> None:
    store.apply([message(number, KIB) for number in range(64)])
    store.commit()
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)  # All but the header's page.
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"{path}: cannot open.*malformed"):
        store.open(OWNER, 1)


def test_a_file_cut_short_is_refused(store: SqliteStore, path: Path) -> None:
    store.close()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StoreError, match=str(path)):
        store.open(OWNER, 1)


def test_a_store_without_owner_is_refused(store: SqliteStore, path: Path) -> None:
    store.close()
    with raw(path) as db:
        db.execute("DELETE FROM meta")
    with pytest.raises(StoreError, match=f"{path}: damaged, it names no owner"):
        store.open(OWNER, 1)


def test_rows_of_a_peer_that_is_not_there_are_damage(store: SqliteStore, path: Path) -> None:
    """Leaving them out would be a gap in a stream that nobody notices."""
    store.close()
    with raw(path) as db:
        db.execute("INSERT INTO outbox VALUES (7, 1, x'00')")
    with pytest.raises(StoreError, match=f"{path}: damaged.*7"):
        store.open(OWNER, 1)


# --- Full disk ----------------------------------------------------------------------------------


def test_a_commit_that_does_not_reach_the_disk_is_an_error_and_is_rolled_back(
    store: SqliteStore, path: Path
) -> None:
    store.apply([PutIssued(1)])
    store.commit()
    store.apply([PutIssued(2), *(message(number, KIB) for number in range(256))])
    with (
        files_at_most(path.with_name("node.db-wal").stat().st_size + 64 * KIB),
        pytest.raises(StoreError, match=f"{path}: cannot commit"),
    ):
        store.commit()
    store.apply([PutIssued(3)])
    store.commit()
    store.close()
    snapshot = store.open(OWNER, 1)
    assert snapshot.issued_ms == [1, 3]
    assert snapshot.peers == {}


def test_a_turn_too_large_for_the_disk_fails_while_it_is_written(
    store: SqliteStore, path: Path
) -> None:
    """What does not fit SQLite's cache goes to the log before the commit."""
    with (
        files_at_most(path.with_name("node.db-wal").stat().st_size + 64 * KIB),
        pytest.raises(StoreError, match=f"{path}: cannot write"),
    ):
        store.apply([message(number, 64 * KIB) for number in range(256)])
    with pytest.raises(StoreError, match="cannot write"):
        store.commit()
    store.close()
    assert store.open(OWNER, 1).peers == {}


def test_a_transaction_that_the_database_gave_up_cannot_be_committed(
    store: SqliteStore, path: Path
) -> None:
    """SQLite rolls everything back when it runs out of space; a handler may swallow the error."""
    store.transaction.execute("CREATE TABLE app_files (data BLOB)")
    store.commit()
    store.apply([PutIssued(2)])
    with (
        files_at_most(path.with_name("node.db-wal").stat().st_size + 64 * KIB),
        pytest.raises(StoreError, match="application statement"),
    ):
        store.transaction.execute("INSERT INTO app_files VALUES (zeroblob(8000000))")
    with pytest.raises(StoreError, match="application statement"):
        store.apply([message(1)])
    with pytest.raises(StoreError, match="application statement"):
        store.commit()
    store.close()
    snapshot = store.open(OWNER, 1)
    assert snapshot.issued_ms == []
    assert snapshot.peers == {}


# --- Killed -------------------------------------------------------------------------------------

_KILLED_AFTER_A_COMMIT = """
import os, signal, sys
from zmqp2p.persistence import *
from zmqp2p.store import SqliteStore, schema
store = SqliteStore(sys.argv[1])
store.open(b"o" * 20, 1)
store.transaction.execute("CREATE TABLE app_x (a)")
store.apply([PutIssued(1), PutMessage(b"b" * 20, 1, b"committed")])
store.commit()
store.transaction.execute("INSERT INTO app_x VALUES (1)")
store.apply([PutIssued(2), PutMessage(b"b" * 20, 2, b"not committed")])
os.kill(os.getpid(), signal.SIGKILL)
"""

_COMMITTING_WITHOUT_END = """
import sys
from itertools import count
from zmqp2p.persistence import *
from zmqp2p.store import SqliteStore, schema
store = SqliteStore(sys.argv[1])
store.open(b"o" * 20, 1)
store.transaction.execute("CREATE TABLE app_done (number INTEGER PRIMARY KEY)")
for number in count(1):
    store.apply([PutCursor(b"b" * 20, b"s" * 16, number, b"d" * 16)])
    store.transaction.execute("INSERT INTO app_done VALUES (?)", (number,))
    store.apply([PutMessage(b"b" * 20, number, bytes(2000))])
    store.commit()
    print(number, flush=True)
"""


def test_a_killed_process_leaves_what_it_committed_and_nothing_else(
    path: Path, run_child: RunChild
) -> None:
    child = run_child(_KILLED_AFTER_A_COMMIT, path)
    assert (child.returncode, child.stderr) == (-signal.SIGKILL, "")
    store = SqliteStore(path)
    snapshot = store.open(OWNER, 1)
    assert snapshot.incarnation == 2
    assert snapshot.issued_ms == [1]
    assert snapshot.peers[BOB].messages == [(1, b"committed")]
    assert store.transaction.execute("SELECT count(*) FROM app_x") == [(0,)]
    store.close()


@pytest.mark.parametrize("commits", [1, 7, 600])
def test_a_process_killed_at_any_moment_has_kept_whole_turns_only(path: Path, commits: int) -> None:
    """The last case is killed after the log has been copied into the database at least once."""
    root = Path(*zmqp2p.__path__).parent
    with subprocess.Popen(
        [sys.executable, "-c", _COMMITTING_WITHOUT_END, str(path)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        seen = [int(child.stdout.readline()) for _ in range(commits)]
        child.kill()
        seen.extend(int(line) for line in child.stdout.read().splitlines())
    store = SqliteStore(path)
    bob = store.open(OWNER, 1).peers[BOB]
    assert bob.cursor >= seen[-1]
    assert bob.in_stream == StreamId(b"s" * 16)
    assert [seq for seq, _ in bob.messages] == list(range(1, bob.cursor + 1))
    done = store.transaction.execute("SELECT number FROM app_done ORDER BY number")
    assert done == [(number,) for number in range(1, bob.cursor + 1)]
    store.close()


def test_a_cursor_written_after_the_kill_goes_on_from_there(
    path: Path, run_child: RunChild
) -> None:
    run_child(_KILLED_AFTER_A_COMMIT, path)
    store = SqliteStore(path)
    store.open(OWNER, 1)
    store.apply([PutCursor(BOB, StreamId(b"s" * 16), Seq(3), StreamDigest(b"d" * 16)), message(2)])
    store.commit()
    store.close()
    assert store.open(OWNER, 1).peers[BOB].cursor == 3
    store.close()
