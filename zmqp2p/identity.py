"""A node's two secrets, its secp256k1 and CURVE keys, and the file that keeps them.

The one module beside the shell that touches files and randomness; the pure part is given a
`crypto.Signer` and never imports it. zmq is imported only where a public CURVE key is computed.

The file is JSON. It comes into being by ``link(2)`` from a finished, synced temporary file in the
same folder: it is there whole or not at all, and of several processes that create it at once one
wins and the others load what it made. No secret is in any exception: what would carry one (a
decoding error holds its document) is never chained.
"""

import json
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any

from zmqp2p.crypto import SecretKey, Signature
from zmqp2p.errors import InvalidValue, KeyFileError
from zmqp2p.ids import CURVE_KEY_SIZE, Address, CurveKey, address_text

KEY_FILE_VERSION = 1
KEY_FILE_MODE = 0o600

_FILE_MAX_BYTES = 4096  # A key file has about 260.
_FIELDS = frozenset({"version", "address", "secp256k1_secret", "curve_secret"})
_SECRET_HEX = re.compile(r"[0-9a-fA-F]{64}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

PathLike = str | os.PathLike[str]


class Identity:
    """The keys of one node; a `crypto.Signer`. Immutable; secrets are not in its ``repr``."""

    __slots__ = ("_curve_public", "_curve_secret", "_key")

    def __init__(self, key: SecretKey, curve_secret: bytes) -> None:
        if type(curve_secret) is not bytes or len(curve_secret) != CURVE_KEY_SIZE:
            raise InvalidValue("curve_secret", f"must be {CURVE_KEY_SIZE} bytes")
        self._key = key
        self._curve_secret = curve_secret
        self._curve_public = _curve_public(curve_secret)

    # --- Making one -----------------------------------------------------------------------------

    @classmethod
    def generate(cls) -> "Identity":
        """Return a new identity from the operating system's randomness."""
        return cls(SecretKey.generate(), secrets.token_bytes(CURVE_KEY_SIZE))

    @classmethod
    def from_secrets(cls, secret: bytes, curve_secret: bytes) -> "Identity":
        """Return the identity of a secp256k1 and a CURVE secret, 32 bytes each.

        Raises:
            InvalidValue: a secret is of the wrong size or out of range; names which.
        """
        return cls(SecretKey(secret), curve_secret)

    @classmethod
    def load(cls, path: PathLike) -> "Identity":
        """Return the identity kept in the file at ``path``.

        Raises:
            KeyFileError: missing, unreadable, accessible by group or others, or malformed; says
                what to do.
        """
        identity = _read(Path(path))
        if identity is None:
            raise KeyFileError(
                f"{path}: no such key file; give the path of one, or make it with load_or_create"
            )
        return identity

    @classmethod
    def load_or_create(cls, path: PathLike) -> "Identity":
        """Return the identity kept in the file at ``path``; make both if there is no file.

        Processes that race to create the file all get the same identity.

        Raises:
            KeyFileError: as `load` does, or the file cannot be created.
        """
        present = _read(Path(path))
        if present is not None:
            return present
        created = cls.generate()
        if _create(Path(path), created._document()):  # noqa: SLF001  # Its own class.
            return created
        return cls.load(path)  # Another process was faster.

    def save(self, path: PathLike) -> None:
        """Keep the identity in a new file at ``path``, mode 0600, durably.

        Raises:
            KeyFileError: ``path`` exists (it is never overwritten) or cannot be created.
        """
        if not _create(Path(path), self._document()):
            raise KeyFileError(
                f"{path}: exists and is never overwritten; choose another path or move it away"
            )

    # --- Using it -------------------------------------------------------------------------------

    @property
    def address(self) -> Address:
        """The node's name: the address of its secp256k1 key."""
        return self._key.address

    @property
    def curve_public(self) -> CurveKey:
        """The public CURVE key, 32 bytes, to give to peers in a record."""
        return self._curve_public

    @property
    def curve_secret(self) -> bytes:
        """The secret CURVE key, 32 bytes, for the transport. Keep it out of logs."""
        return self._curve_secret

    def sign(self, digest: bytes) -> Signature:
        """Return the low-s signature over the 32-byte ``digest``."""
        return self._key.sign(digest)

    def __repr__(self) -> str:
        return f"Identity(address={address_text(self.address)})"

    def _document(self) -> bytes:
        fields = {
            "version": KEY_FILE_VERSION,
            "address": address_text(self.address),
            "secp256k1_secret": self._key.secret.hex(),
            "curve_secret": self._curve_secret.hex(),
        }
        return json.dumps(fields, indent=2).encode("ascii") + b"\n"


def _curve_public(curve_secret: bytes) -> CurveKey:
    # Whoever only handles records and states need not load zmq.
    import zmq  # noqa: PLC0415
    from zmq.utils import z85  # noqa: PLC0415

    return CurveKey(z85.decode(zmq.curve_public(z85.encode(curve_secret))))


# --- Reading the file ---------------------------------------------------------------------------


def _read(path: Path) -> Identity | None:
    """Return the identity kept at ``path``, None if there is no file; raises `KeyFileError`."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise KeyFileError(
            f"{path}: cannot be read ({fault.strerror}); give the path of a key file of your own"
        ) from fault
    if mode & _OTHERS:
        raise KeyFileError(
            f"{path}: mode {mode:04o}, group or others have access to its secrets; "
            f"run chmod 600, and make new keys if anyone may have read them"
        )
    return _identity_of(path, _parse(path, data))


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    """Return the fields of a key file of a version this package reads; raises `KeyFileError`."""
    fields = _json(data) if len(data) <= _FILE_MAX_BYTES else None
    if not isinstance(fields, dict) or type(fields.get("version")) is not int:
        raise _malformed(path, "not a JSON object with a version")
    if fields["version"] != KEY_FILE_VERSION:
        raise KeyFileError(
            f"{path}: key file version {fields['version']}, this package reads version "
            f"{KEY_FILE_VERSION}; use the package that wrote it"
        )
    if fields.keys() != _FIELDS or not all(type(fields[x]) is str for x in _FIELDS - {"version"}):
        raise _malformed(path, "must have exactly the text fields of version 1")
    return fields


def _json(data: bytes) -> object:
    """Return the decoded JSON, or None; so that no exception chain holds the document."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _identity_of(path: Path, fields: dict[str, Any]) -> Identity:
    """Return the identity of the file's fields; raises `KeyFileError`."""
    texts = (fields["secp256k1_secret"], fields["curve_secret"])
    if not all(_SECRET_HEX.fullmatch(text) for text in texts):
        raise _malformed(path, "a secret is not 64 hexadecimal digits")
    secret, curve_secret = (bytes.fromhex(text) for text in texts)
    try:
        identity = Identity.from_secrets(secret, curve_secret)
    except InvalidValue as fault:
        raise _malformed(path, f"secp256k1_secret {fault.detail}") from None
    if fields["address"].lower() != address_text(identity.address):
        raise _malformed(path, "the address is not that of its secp256k1 secret")
    return identity


def _malformed(path: Path, detail: str) -> KeyFileError:
    return KeyFileError(
        f"{path}: {detail}; restore it from a copy, or move it away to make new keys"
    )


# --- Creating the file --------------------------------------------------------------------------


def _create(path: Path, document: bytes) -> bool:
    """Make the file at ``path``, whole and durable; False if something is there already.

    No temporary file is left, unless the process is killed here: then a private, unused one.

    Raises:
        KeyFileError: the file system refused.
    """
    temporary = path.parent / f".zmqp2p-{secrets.token_hex(8)}.tmp"
    try:
        try:
            _write_new(temporary, document)
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        return False
    except OSError as fault:
        raise KeyFileError(
            f"{path}: cannot be created ({fault.strerror}); "
            f"choose a folder that exists, that you may write to, and that supports hard links"
        ) from fault
    return True


def _write_new(path: Path, document: bytes) -> None:
    # O_EXCL never follows a link; the mode holds from the first moment, whatever the umask.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_FILE_MODE)
    with open(descriptor, "wb") as file:  # noqa: PTH123  # A descriptor, not a path.
        os.fchmod(descriptor, KEY_FILE_MODE)
        file.write(document)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    # The new name must survive a power loss as the content does.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
