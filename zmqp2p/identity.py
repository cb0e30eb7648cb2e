"""A node's two secrets, its secp256k1 and CURVE keys, and how they are kept in a file.

The one module beside the shell that asks for randomness and, by `key_file`, touches files; the pure
part is given a `crypto.Signer` and never imports it. zmq is imported only where a public CURVE key
is computed. What is in the file says `keystore`. No secret is in any exception.
"""

import os
import secrets
from pathlib import Path
from typing import NoReturn

from zmqp2p import key_file, keystore
from zmqp2p.crypto import SecretKey, Signature
from zmqp2p.errors import InvalidValue, KeyFileError, WrongPassphrase
from zmqp2p.ids import CURVE_KEY_SIZE, Address, CurveKey, address_text
from zmqp2p.key_file import malformed
from zmqp2p.keystore import SCRYPT_N

PathLike = str | os.PathLike[str]


class Identity:
    """The keys of one node; a `crypto.Signer`. Secrets are not in its ``repr``; it is not pickled.

    The address never changes. The CURVE key changes with `replace_curve_key` only, which a running
    node's ``rotate_curve_key`` calls.
    """

    __slots__ = ("_curve_public", "_curve_secret", "_key", "_path")

    def __init__(self, key: SecretKey, curve_secret: bytes) -> None:
        self._key = key
        self._curve_public = curve_public_of(curve_secret)
        self._curve_secret = curve_secret
        self._path: Path | None = None  # The file that keeps it.

    # --- Making one -----------------------------------------------------------------------------

    @classmethod
    def generate(cls) -> "Identity":
        """Return a new identity from the operating system's randomness."""
        return cls(SecretKey.generate(), new_curve_secret())

    @classmethod
    def from_secrets(cls, secret: bytes, curve_secret: bytes) -> "Identity":
        """Return the identity of a secp256k1 and a CURVE secret, 32 bytes each.

        Raises:
            InvalidValue: a secret is of the wrong size or out of range; names which.
        """
        return cls(SecretKey(secret), curve_secret)

    @classmethod
    def load(cls, path: PathLike, *, passphrase: str | None = None) -> "Identity":
        """Return the identity kept in the file at ``path``, which ``passphrase`` opens.

        Raises:
            KeyFileError: missing, unreadable, accessible by group or others, or malformed; says
                what to do. Also if a passphrase is given and the file has none.
            WrongPassphrase: the file has another one, or none was given.
            InvalidValue: an empty passphrase.
        """
        identity = _read(Path(path), passphrase)
        if identity is None:
            raise KeyFileError(
                f"{path}: no such key file; give the path of one, or make it with load_or_create"
            )
        return identity

    @classmethod
    def load_or_create(
        cls, path: PathLike, *, passphrase: str | None = None, scrypt_n: int = SCRYPT_N
    ) -> "Identity":
        """Return the identity kept in the file at ``path``; make both if there is no file.

        Processes that race to create the file all get the same identity.

        Raises:
            KeyFileError: as `load` does, or the file cannot be created.
            InvalidValue: as `save`.
        """
        present = _read(Path(path), passphrase)
        if present is not None:
            return present
        created = cls.generate()
        if created._keep(Path(path), passphrase, scrypt_n):  # noqa: SLF001  # Its own class.
            return created
        return cls.load(path, passphrase=passphrase)  # Another process was faster.

    @classmethod
    def import_keystore(cls, path: PathLike, passphrase: str) -> "Identity":
        """Return the secp256k1 key of another tool's V3 keystore, with a new CURVE key.

        `save` it in a file of its own: what is at ``path`` is only read.

        Raises:
            KeyFileError, WrongPassphrase, InvalidValue: as `load`. KeyFileError, too, if the file
                has a CURVE key already: `load` it.
        """
        found = _secrets(Path(path), passphrase)
        if found is None:
            raise KeyFileError(f"{path}: no such file")
        if found.curve is not None:
            raise KeyFileError(f"{path}: is a key file of this package: load it as it is")
        return _identity_of(Path(path), found, new_curve_secret())

    def save(
        self, path: PathLike, *, passphrase: str | None = None, scrypt_n: int = SCRYPT_N
    ) -> None:
        """Keep the identity in a new file at ``path``, mode 0600, durably.

        With a ``passphrase`` the file is an Ethereum V3 keystore, whose secp256k1 key geth and
        ethers read too. ``scrypt_n`` is what each guess costs: the default takes 256 MiB and about
        a second, here too.

        Raises:
            KeyFileError: ``path`` exists (it is never overwritten) or cannot be created, or the
                package eth-keyfile is missing, which a passphrase needs.
            InvalidValue: ``passphrase`` is empty, or ``scrypt_n`` no power of two up to 2**20.
        """
        if not self._keep(Path(path), passphrase, scrypt_n):
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

    def replace_curve_key(self, curve_secret: bytes) -> None:
        """Have another CURVE secret of 32 bytes from now on, in the key file first if there is one.

        The file that it was loaded from or saved in last is replaced as a whole; its passphrase,
        if it has one, stays. For a node that runs: see ``P2PService.rotate_curve_key``.

        Raises:
            KeyFileError: the file cannot be replaced, or is not this identity's any more. Nothing
                has changed.
            InvalidValue: ``curve_secret`` cannot be one.
        """
        curve_public = curve_public_of(curve_secret)
        if self._path is not None:
            self._replace(self._path, curve_secret)
        self._curve_secret, self._curve_public = curve_secret, curve_public

    def __repr__(self) -> str:
        return f"Identity(address={address_text(self.address)})"

    def __copy__(self) -> NoReturn:
        """Refuse, as pickling: two copies would not agree on the CURVE key after a rotation."""
        raise TypeError("an Identity is not to be copied or pickled: load it from its file")

    def __deepcopy__(self, memo: object) -> NoReturn:
        """Refuse, as `__copy__`."""
        self.__copy__()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse: a pickle would carry the secrets to wherever it goes."""
        self.__copy__()

    def _keep(self, path: Path, passphrase: str | None, scrypt_n: int) -> bool:
        """Make the file at ``path``; False if something is there already."""
        secret, curve_secret = self._key.secret, self._curve_secret
        if passphrase is None:
            document = keystore.clear_document(self.address, secret, curve_secret)
        else:
            document = keystore.encrypted_document(secret, curve_secret, passphrase, scrypt_n)
        created = key_file.create(path, document)
        if created:
            self._path = path.absolute()
        return created

    def _replace(self, path: Path, curve_secret: bytes) -> None:
        document = key_file.read(path)
        if document is None or not keystore.is_of(document, self.address):
            raise KeyFileError(f"{path}: is not the key file of {address_text(self.address)} now")
        secret = self._key.secret
        key_file.replace(path, keystore.with_curve_secret(document, secret, curve_secret))


def new_curve_secret() -> bytes:
    """Return a CURVE secret from the operating system's randomness."""
    return secrets.token_bytes(CURVE_KEY_SIZE)


def curve_public_of(curve_secret: bytes) -> CurveKey:
    """Return the public key of a CURVE secret of 32 bytes; InvalidValue if it is none."""
    if type(curve_secret) is not bytes or len(curve_secret) != CURVE_KEY_SIZE:
        raise InvalidValue("curve_secret", f"must be {CURVE_KEY_SIZE} bytes")
    # Whoever only handles records and states need not load zmq.
    import zmq  # noqa: PLC0415
    from zmq.utils import z85  # noqa: PLC0415

    return CurveKey(z85.decode(zmq.curve_public(z85.encode(curve_secret))))


# --- Reading the file ---------------------------------------------------------------------------


def _read(path: Path, passphrase: str | None) -> Identity | None:
    """Return the identity kept at ``path``, None if there is no file; raises `KeyFileError`."""
    found = _secrets(path, passphrase)
    if found is None:
        return None
    if found.curve is None:
        raise KeyFileError(
            f"{path}: has no CURVE key, another tool made it; import it: zmqp2p keygen --import"
        )
    identity = _identity_of(path, found, found.curve)
    identity._path = path.absolute()  # noqa: SLF001  # The working directory may change.
    return identity


def _secrets(path: Path, passphrase: str | None) -> keystore.Secrets | None:
    document = key_file.read(path)
    if document is None:
        return None
    try:
        return keystore.parse(document, passphrase)
    except keystore.Malformed as fault:
        raise malformed(path, str(fault)) from None
    except WrongPassphrase as fault:
        raise WrongPassphrase(f"{path}: {fault}") from None
    except KeyFileError as fault:
        raise KeyFileError(f"{path}: {fault}") from None


def _identity_of(path: Path, found: keystore.Secrets, curve_secret: bytes) -> Identity:
    """Return the identity of the file's secrets; raises `KeyFileError`."""
    try:
        identity = Identity.from_secrets(found.secp256k1, curve_secret)
    except InvalidValue as fault:
        raise malformed(path, f"secp256k1_secret {fault.detail}") from None
    if found.address not in (None, identity.address.hex()):
        raise malformed(path, "the address is not that of its secp256k1 secret")
    return identity
