"""What an application's SQL may do and what not, on each store."""

import pytest

from zmqp2p.errors import LocalError, StoreError
from zmqp2p.ids import Address
from zmqp2p.persistence import PutIssued
from zmqp2p.store import Store, Transaction
from zmqp2p.store.base import SqlValue

OWNER = Address(b"o" * 20)


@pytest.fixture
def transaction(store: Store) -> Transaction:
    """Return the open transaction of an open store with one application table, two rows in it."""
    store.open(OWNER, 1)
    opened = store.transaction
    opened.execute("CREATE TABLE app_items (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
    opened.execute("INSERT INTO app_items (name) VALUES ('tea'), ('milk')")
    return opened


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE app_new (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT UNIQUE) STRICT",
        "CREATE TABLE App_Upper (a)",
        "CREATE TABLE app_copy AS SELECT * FROM app_items",
        "CREATE INDEX app_by_name ON app_items (name)",
        "CREATE VIEW app_names AS SELECT name FROM app_items",
        "CREATE TRIGGER app_t AFTER INSERT ON app_items BEGIN DELETE FROM app_items; END",
        "ALTER TABLE app_items ADD COLUMN price INTEGER",
        "ALTER TABLE app_items RENAME COLUMN name TO title",
        "REINDEX app_items",
        "DROP TABLE app_items",
        "INSERT INTO app_items (name) VALUES ('tea') ON CONFLICT DO NOTHING",
        "UPDATE app_items SET name = upper(name) WHERE id = 1",
        "DELETE FROM app_items",
        "WITH one AS (SELECT * FROM app_items) SELECT count(*) FROM one",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT i FROM n",
        "SELECT name FROM sqlite_master",
        "SELECT value FROM json_each('[1, 2]')",
        "SELECT 'rollback' AS \"rollback\" -- rollback",
        "",
    ],
)
def test_the_application_may_do_as_it_likes_with_its_own_tables(
    transaction: Transaction, store: Store, sql: str
) -> None:
    transaction.execute(sql)
    store.commit()


def test_rows_come_back_as_tuples(transaction: Transaction) -> None:
    assert transaction.execute("SELECT id, name FROM app_items ORDER BY id") == [
        (1, "tea"),
        (2, "milk"),
    ]
    assert transaction.execute(
        "INSERT INTO app_items (name) VALUES (?) RETURNING id", ("egg",)
    ) == [(3,)]


def test_views_triggers_and_indexes_of_the_application_work_and_can_be_dropped(
    transaction: Transaction,
) -> None:
    logged = "INSERT INTO app_log VALUES (new.id)"
    for sql in (
        "CREATE TABLE app_log (id)",
        f"CREATE TRIGGER app_t AFTER INSERT ON app_items BEGIN {logged}; END",
        "CREATE VIEW app_v AS SELECT id FROM app_log",
        "CREATE INDEX app_i ON app_log (id)",
        "INSERT INTO app_items (name) VALUES ('egg')",
    ):
        transaction.execute(sql)
    assert transaction.execute("SELECT id FROM app_v") == [(3,)]
    for sql in ("DROP VIEW app_v", "DROP TRIGGER app_t", "DROP INDEX app_i", "DROP TABLE app_log"):
        transaction.execute(sql)
    names = transaction.execute("SELECT name FROM sqlite_master WHERE name LIKE 'app%'")
    assert names == [("app_items",)]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT * FROM peers", "'peers'"),
        ("SELECT count(*) FROM PEERS", "'PEERS'"),
        ("SELECT (SELECT max(seq) FROM outbox) FROM app_items", "'outbox'"),
        ("INSERT INTO app_items (name) SELECT contact FROM peers", "'peers'"),
        ("INSERT INTO meta (id) VALUES (2)", "'meta'"),
        ("UPDATE meta SET incarnation = 0", "'meta'"),
        ("DELETE FROM outbox", "'outbox'"),
        ("DROP TABLE objectives", "'objectives'"),
        ("ALTER TABLE refusals ADD COLUMN a", "'refusals'|'main'"),
        ("ALTER TABLE app_items RENAME TO items", "."),
        ("CREATE TABLE items (a)", "'items'"),
        ("CREATE TABLE json_each (a)", "'json_each'"),
        ("CREATE INDEX by_name ON app_items (name)", "'by_name'"),
        ("CREATE INDEX app_i ON peers ((1))", "'app_i'|'peers'"),
        ("CREATE TRIGGER app_t AFTER INSERT ON peers BEGIN SELECT 1; END", "'app_t'|'peers'"),
        ("CREATE VIEW v AS SELECT 1", "'v'"),
        ("CREATE TEMP TABLE app_temp (a)", "'app_temp'"),
        ("CREATE TEMP TRIGGER app_t AFTER INSERT ON main.peers BEGIN SELECT 1; END", "'app_t'"),
        ("CREATE VIRTUAL TABLE app_f USING fts5 (a)", "'app_f'"),
        ("ATTACH ':memory:' AS other", "ATTACH"),
        ("DETACH main", "DETACH"),
        ("PRAGMA synchronous = OFF", "PRAGMA"),
        ("SELECT * FROM pragma_table_info('peers')", "pragma_table_info|PRAGMA"),
        ("BEGIN", "transaction control"),
        ("COMMIT", "transaction control"),
        ("END", "transaction control"),
        ("SAVEPOINT mine", "a savepoint"),
        ("RELEASE handler", "a savepoint"),
        ("ANALYZE", "."),
    ],
)
def test_everything_else_is_refused_with_the_reason(
    transaction: Transaction, store: Store, sql: str, reason: str
) -> None:
    with pytest.raises(LocalError, match=f"app_… only, not.*(?:{reason})") as refused:
        transaction.execute(sql)
    assert not isinstance(refused.value, StoreError)
    assert len(transaction.execute("SELECT * FROM app_items")) == 2  # The transaction goes on.
    store.commit()


@pytest.mark.parametrize(
    "sql",
    [
        "ROLLBACK",
        "rollback to handler",
        "INSERT OR ROLLBACK INTO app_items VALUES (1, 'tea')",
        "INSERT OR /* ' */ ROLLBACK /* ' */ INTO app_items VALUES (1, 'tea')",
        "CREATE TABLE app_x (a UNIQUE ON CONFLICT ROLLBACK)",
        "CREATE TRIGGER app_t AFTER INSERT ON app_items BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    ],
)
def test_no_statement_can_undo_the_transaction(
    transaction: Transaction, store: Store, sql: str
) -> None:
    """It would undo the work of other handlers, and SQLite's authorizer is not asked about it."""
    store.savepoint()
    with pytest.raises(LocalError, match="ROLLBACK"):
        transaction.execute(sql)
    store.commit()
    assert len(store.transaction.execute("SELECT * FROM app_items")) == 2


def test_a_view_does_not_open_a_way_to_other_tables(transaction: Transaction) -> None:
    transaction.execute("CREATE VIEW app_spy AS SELECT * FROM peers")
    with pytest.raises(LocalError, match="'peers'"):
        transaction.execute("SELECT * FROM app_spy")


def test_a_trigger_does_not_open_a_way_to_other_tables(transaction: Transaction) -> None:
    transaction.execute(
        "CREATE TRIGGER app_t AFTER INSERT ON app_items BEGIN DELETE FROM outbox; END"
    )
    with pytest.raises(LocalError, match="'outbox'"):
        transaction.execute("INSERT INTO app_items (name) VALUES ('egg')")


def test_the_stores_own_statements_are_no_key_for_the_application(store: Store) -> None:
    """A compiled statement is found by its text; the store's own was compiled without questions."""
    store.open(OWNER, 1)
    store.apply([PutIssued(5)])
    with pytest.raises(LocalError, match="'meta'"):
        store.transaction.execute("UPDATE meta SET chain_cursor = ?", (0,))
    store.apply([PutIssued(6)])
    store.commit()


def test_the_store_goes_on_after_a_refusal(transaction: Transaction, store: Store) -> None:
    with pytest.raises(LocalError):
        transaction.execute("SELECT * FROM peers")
    store.apply([PutIssued(7)])
    store.commit()
    store.close()
    assert store.open(OWNER, 1).issued_ms == [7]


def test_several_statements_at_once_are_refused(transaction: Transaction) -> None:
    with pytest.raises(LocalError, match="one statement"):
        transaction.execute("DELETE FROM app_items; DELETE FROM app_items")
    assert len(transaction.execute("SELECT * FROM app_items")) == 2


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("SELECT ?", ()),
        ("SELECT ?", (1, 2)),
        ("SELECT ?", (2**63,)),
        ("SELECT ?", ("\ud800",)),
        ("SELECT '\ud800'", ()),
        ("SELECT \x00", ()),
    ],
)
def test_parameters_that_do_not_fit_are_the_callers_mistake(
    transaction: Transaction, sql: str, parameters: tuple[SqlValue, ...]
) -> None:
    with pytest.raises(LocalError, match="application statement") as refused:
        transaction.execute(sql, parameters)
    assert not isinstance(refused.value, StoreError)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nonsense FROM app_items", "no such column"),
        ("INSERT INTO app_items (name) VALUES ('tea')", "UNIQUE"),
        ("SELEKT", "syntax error"),
        ("UPDATE sqlite_master SET sql = ''", "may not be modified"),
    ],
)
def test_a_statement_that_fails_is_a_store_error_and_the_transaction_goes_on(
    transaction: Transaction, store: Store, sql: str, reason: str
) -> None:
    with pytest.raises(StoreError, match=reason):
        transaction.execute(sql)
    store.commit()
    assert len(store.transaction.execute("SELECT * FROM app_items")) == 2


def test_a_denial_is_not_blamed_for_a_later_error(transaction: Transaction) -> None:
    with pytest.raises(LocalError):
        transaction.execute("SELECT * FROM peers")
    with pytest.raises(StoreError, match="no such table"):
        transaction.execute("SELECT * FROM app_missing")
