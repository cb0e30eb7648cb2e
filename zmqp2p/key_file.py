"""A private file: whole or not there, durable, and for nobody but its owner.

It comes into being by ``link(2)``, and is replaced by ``rename(2)``, from a finished, synced
temporary file in the same folder. So a crash leaves the old content or the new one, and of several
processes that create it at once one wins. What is in it is not this module's business.
"""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from zmqp2p.errors import KeyFileError

KEY_FILE_MODE = 0o600
KEY_FILE_MAX_BYTES = 8192  # An encrypted one has about 1,100; other tools' have some more.

_SUPERUSER = 0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read(path: Path) -> bytes | None:
    """Return the content of the file at ``path``, None if there is no file.

    Raises:
        KeyFileError: unreadable, too long, another user's, or accessible by group or others.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(KEY_FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise KeyFileError(
            f"{path}: cannot be read ({fault.strerror}); give the path of a key file of your own"
        ) from fault
    check_private(path, status)
    if len(data) > KEY_FILE_MAX_BYTES:
        raise malformed(path, f"longer than {KEY_FILE_MAX_BYTES} bytes")
    return data


def check_private(path: Path, status: os.stat_result) -> None:
    """Check that nobody else has access to the open file at ``path``, by its ``status``.

    Its owner can give himself access. So it must be whoever runs this, or the superuser, who reads
    everything anyway.

    Raises:
        KeyFileError: somebody else has.
    """
    if status.st_uid not in (os.geteuid(), _SUPERUSER):
        raise KeyFileError(
            f"{path}: belongs to user {status.st_uid}, who has access to its secrets; "
            f"make it your own with chown, or new keys if they are not that user's to know"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHERS:
        raise KeyFileError(
            f"{path}: mode {mode:04o}, group or others have access to its secrets; "
            f"run chmod 600, and make new keys if anyone may have read them"
        )


def create(path: Path, content: bytes) -> bool:
    """Make the file at ``path``, whole and durable; False if something is there already.

    No temporary file is left, unless the process is killed here: then a private, unused one.

    Raises:
        KeyFileError: the file system refused.
    """
    return _put(path, content, os.link, "created")


def replace(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of the file at ``path``, which is a link no longer if it was.

    Raises:
        KeyFileError: the file system refused; the file is as it was.
    """
    _put(path, content, os.replace, "replaced")


def malformed(path: Path, detail: str) -> KeyFileError:
    """Return the error for a file with a content that cannot be used."""
    return KeyFileError(
        f"{path}: {detail}; restore it from a copy, or move it away to make new keys"
    )


def _put(path: Path, content: bytes, name: Callable[[Path, Path], None], done: str) -> bool:
    temporary = path.parent / f".zmqp2p-{secrets.token_hex(8)}.tmp"
    try:
        try:
            _write_new(temporary, content)
            name(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        return False
    except OSError as fault:
        raise KeyFileError(
            f"{path}: cannot be {done} ({fault.strerror}); "
            f"choose a folder that exists, that you may write to, and that supports hard links"
        ) from fault
    return True


def _write_new(path: Path, content: bytes) -> None:
    # O_EXCL never follows a link; the mode holds from the first moment, whatever the umask.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_FILE_MODE)
    with open(descriptor, "wb") as file:  # noqa: PTH123  # A descriptor, not a path.
        os.fchmod(descriptor, KEY_FILE_MODE)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    # The new name must survive a power loss as the content does.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
