"""One store, one user: an exclusive lock on the database file itself.

The lock is ``flock``'s, which belongs to an open file and ends with it, also when the process is
killed. SQLite uses the other kind (``fcntl``), so the two do not meet.
"""

import fcntl
import os
import stat
import threading
from pathlib import Path

from zmqp2p.errors import StoreError, StoreForeign, StoreLocked

_MAGIC = b"SQLite format 3\x00"

# Files this process holds, as (device, inode). Closing *any* descriptor of a file drops all of the
# process's fcntl locks on it, SQLite's too. So a second opening in one process must be noticed
# before it opens a descriptor, which flock alone cannot do.
_held: set[tuple[int, int]] = set()
_held_guard = threading.Lock()


class FileLock:
    """A locked database file: an SQLite file, or an empty one. Created, if missing, with mode 0600.

    Take it before SQLite opens the file and release it after SQLite has closed it.

    Raises:
        StoreLocked: another process, or another store in this one, holds the file.
        StoreForeign: not an SQLite database.
        StoreError: cannot be created, opened or locked.
    """

    def __init__(self, path: Path) -> None:
        with _held_guard:
            if _identity(path) in _held:
                raise _locked(path)
            try:
                self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except (OSError, ValueError) as fault:  # ValueError: a NUL in the path.
                raise StoreError(f"{path}: cannot open: {_reason(fault)}") from None
            try:
                self._key = _lock(self._fd, path)
            except StoreError:
                os.close(self._fd)
                raise
            _held.add(self._key)

    def release(self) -> None:
        """Unlock the file."""
        with _held_guard:
            _held.discard(self._key)
            os.close(self._fd)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None  # Not there yet, or os.open is about to say why not.
    return found.st_dev, found.st_ino


def _lock(fd: int, path: Path) -> tuple[int, int]:
    """Lock the file and return its identity."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise StoreForeign(f"{path}: not a file")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        start = os.pread(fd, len(_MAGIC), 0)
    except BlockingIOError:
        raise _locked(path) from None
    except OSError as fault:
        raise StoreError(f"{path}: cannot lock and read: {_reason(fault)}") from None
    if start not in (b"", _MAGIC):
        raise StoreForeign(f"{path}: not a zmqp2p store")
    return found.st_dev, found.st_ino


def _locked(path: Path) -> StoreLocked:
    return StoreLocked(f"{path}: another process or service has this store open")


def _reason(fault: OSError | ValueError) -> str:
    return getattr(fault, "strerror", None) or str(fault)
