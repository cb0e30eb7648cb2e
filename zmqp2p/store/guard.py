"""What an application's SQL may do: anything to tables named ``app_…``, nothing to the rest.

SQLite asks an authorizer about every table, column and function while it compiles a statement.
This one is always installed and answers "yes" except while an application's statement runs:
installing one expires all compiled statements, so doing it each time would compile them each time.
"""

import re
import sqlite3
from collections.abc import Sequence
from typing import Any

from zmqp2p.errors import LocalError
from zmqp2p.store.base import SqlValue

APP_PREFIX = "app_"

# Compiled statements are cached by their text. The mark keeps an application's apart from this
# package's, which were compiled without being asked about.
_MARK = "/* app */ "

# What must be a name of the application's: the positions, among an action's two details.
_NAMES: dict[int, tuple[int, ...]] = {
    sqlite3.SQLITE_SELECT: (),
    sqlite3.SQLITE_RECURSIVE: (),
    sqlite3.SQLITE_READ: (0,),
    sqlite3.SQLITE_INSERT: (0,),
    sqlite3.SQLITE_UPDATE: (0,),
    sqlite3.SQLITE_DELETE: (0,),
    sqlite3.SQLITE_CREATE_TABLE: (0,),
    sqlite3.SQLITE_DROP_TABLE: (0,),
    sqlite3.SQLITE_ALTER_TABLE: (1,),  # The first detail is the database's name.
    sqlite3.SQLITE_CREATE_VIEW: (0,),
    sqlite3.SQLITE_DROP_VIEW: (0,),
    sqlite3.SQLITE_CREATE_INDEX: (0, 1),
    sqlite3.SQLITE_DROP_INDEX: (0, 1),
    sqlite3.SQLITE_CREATE_TRIGGER: (0, 1),
    sqlite3.SQLITE_DROP_TRIGGER: (0, 1),
    sqlite3.SQLITE_REINDEX: (0,),
}
_OWN_PREFIXES = (APP_PREFIX, "sqlite_autoindex_" + APP_PREFIX)
# SQLite's own lists of tables and counters, which it changes itself when a table is made. It
# refuses statements that write to them, except to the harmless sqlite_sequence.
_CATALOG = frozenset({"sqlite_master", "sqlite_temp_master", "sqlite_sequence"})
_READABLE = frozenset({"json_each", "json_tree"})
# Inside ALTER TABLE … RENAME TO, whose new name the authorizer is never told.
_RENAME_FUNCTION = "sqlite_rename_table"

_ACTIONS = {
    sqlite3.SQLITE_TRANSACTION: "transaction control",
    sqlite3.SQLITE_SAVEPOINT: "a savepoint",
    sqlite3.SQLITE_ATTACH: "ATTACH",
    sqlite3.SQLITE_DETACH: "DETACH",
    sqlite3.SQLITE_PRAGMA: "PRAGMA",
}
_QUOTED = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] | --[^\n]* | /\*.*?\*/""",
    re.VERBOSE | re.DOTALL,
)
_ROLLBACK = re.compile(r"\brollback\b", re.IGNORECASE)


class Guard:
    """Runs an application's statements on one connection and refuses what is not its business."""

    def __init__(self) -> None:
        self._watching = False
        self._denied = ""  # What the running statement was refused for.

    def install(self, db: sqlite3.Connection) -> None:
        """Be asked about every statement that ``db`` compiles from now on."""
        db.set_authorizer(self._authorize)

    def execute(
        self, db: sqlite3.Connection, sql: str, parameters: Sequence[SqlValue]
    ) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows. ``db`` must have this guard installed.

        Raises:
            LocalError: the statement is not permitted, or is not one statement with its parameters.
            sqlite3.Error: the database refused it.
        """
        # "INSERT OR ROLLBACK" and the like end the transaction without asking the authorizer.
        if _ROLLBACK.search(sql) and _ROLLBACK.search(_QUOTED.sub(" ", sql)):
            raise LocalError("ROLLBACK in an application's statement would end the transaction")
        self._denied = ""
        self._watching = True
        try:
            return db.execute(_MARK + sql, parameters).fetchall()
        except (sqlite3.ProgrammingError, OverflowError, UnicodeEncodeError) as fault:
            raise LocalError(f"application statement: {fault}") from None
        except sqlite3.DatabaseError:
            if self._denied:
                raise LocalError(self._denied) from None
            raise
        finally:
            self._watching = False

    def _authorize(
        self, action: int, first: str | None, second: str | None, _db: str | None, _by: str | None
    ) -> int:
        if not self._watching or _permitted(action, first, second):
            return sqlite3.SQLITE_OK
        subject = _ACTIONS.get(action) or repr(first or second or f"action {action}")
        self._denied = (
            f"an application's statement may use tables named {APP_PREFIX}… only, not {subject}"
        )
        return sqlite3.SQLITE_DENY


def _permitted(action: int, first: str | None, second: str | None) -> bool:
    if action == sqlite3.SQLITE_FUNCTION:
        return second != _RENAME_FUNCTION
    positions = _NAMES.get(action)
    if positions is None:
        return False
    names = (first, second)
    return all(_is_application(action, names[position] or "") for position in positions)


def _is_application(action: int, name: str) -> bool:
    name = name.lower()
    return (
        name.startswith(_OWN_PREFIXES)
        or name in _CATALOG
        or (action == sqlite3.SQLITE_READ and name in _READABLE)
    )
