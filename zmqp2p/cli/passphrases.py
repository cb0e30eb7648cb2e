"""Where the commands get a passphrase: a file, the environment or a prompt, never an argument.

Arguments are shown by ``ps`` to every user of the machine, and kept in the shell's history.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from zmqp2p.errors import WrongPassphrase
from zmqp2p.identity import Identity
from zmqp2p.key_file import check_private

ENVIRONMENT_VARIABLE = "ZMQP2P_PASSPHRASE"

_FILE_MAX_CHARS = 4096

passphrase_file_option: Callable[[Any], Any] = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Read the passphrase from FILE's first line; else {ENVIRONMENT_VARIABLE}, or a prompt.",
)


def load_identity(path: Path, passphrase_file: Path | None) -> Identity:
    """Return the identity in a key file; a passphrase is asked for only if it is encrypted."""
    try:
        return Identity.load(path)
    except WrongPassphrase:
        pass
    return Identity.load(path, passphrase=ask_passphrase(passphrase_file, str(path), new=False))


def ask_passphrase(passphrase_file: Path | None, what: str, *, new: bool) -> str:
    """Return a passphrase from the first place that has one; a ``new`` one is typed twice."""
    if passphrase_file is not None:
        return _first_line(passphrase_file)
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    if given is not None:
        return given
    text = f"New passphrase of {what}" if new else f"Passphrase of {what}"
    answer: str = click.prompt(text, hide_input=True, confirmation_prompt=new, err=True)
    return answer


def _first_line(path: Path) -> str:
    """Return it; the file must be as private as a key file. Raises KeyFileError if it is not."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            check_private(path, os.fstat(file.fileno()))
            line = file.readline(_FILE_MAX_CHARS)
    except OSError as fault:
        raise click.ClickException(f"{path}: {fault.strerror}") from None
    return line.rstrip("\r\n")
