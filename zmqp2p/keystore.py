"""The two secrets of a node as a document: JSON in the clear, or under a passphrase.

Under a passphrase the document is an Ethereum V3 keystore, so that the secp256k1 key moves between
tools. The CURVE secret is in one more member, ``x-zmqp2p``, which geth and ethers skip (ethers
keeps its own ``x-ethers`` that way). It is encrypted under the secp256k1 secret, not under the
passphrase: whoever has that secret is the node anyway, and so the CURVE key can be replaced while
the node runs, without the passphrase in memory and without a second scrypt.

No secret is in any exception: what a library raises may carry one, so it is never chained.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zmqp2p.errors import InvalidValue, KeyFileError, WrongPassphrase
from zmqp2p.ids import HASH_SIZE

KEY_FILE_VERSION = 1
SCRYPT_N = 262_144  # What geth takes by default: 256 MiB and about a second for each guess.

_V3 = 3
_FIELDS = frozenset({"version", "address", "secp256k1_secret", "curve_secret"})
_OURS = "x-zmqp2p"
_OURS_VERSION = 1
_CURVE_DOMAIN = b"zmqp2p curve key in a keystore v1\n"
_HEX_32 = re.compile(r"[0-9a-fA-F]{64}")
_HEX_16 = re.compile(r"[0-9a-fA-F]{32}")
_SALT = re.compile(r"(?:[0-9a-fA-F]{2}){1,64}")
_ADDRESS = re.compile(r"(?:0[xX])?([0-9a-fA-F]{40})")
# A file that somebody slips in must not take all memory, or hours.
_SCRYPT_MAX_BYTES = 1024**3
_SCRYPT_P_MAX = 16
_PBKDF2_MAX = 10_000_000


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What a document keeps; ``curve`` is None in a keystore made by another tool."""

    secp256k1: bytes
    curve: bytes | None
    address: str | None  # 40 lower-case digits, as the document says; nothing vouches for it.


class Malformed(Exception):  # For `identity`, which knows the file's name.
    """The document cannot be used; says why, with no word of its content."""


# --- Reading ------------------------------------------------------------------------------------


def parse(data: bytes, passphrase: str | None) -> Secrets:
    """Return the secrets in a document, with ``passphrase`` if it is encrypted.

    Raises:
        Malformed: not a document of a version that this package reads.
        WrongPassphrase: it is wrong, or missing. KeyFileError: it is given and not needed.
        InvalidValue: ``passphrase`` is none.
    """
    fields = _json(data)
    if not isinstance(fields, dict) or type(fields.get("version")) is not int:
        raise Malformed("not a JSON object with a version")
    if fields["version"] == _V3:
        return _decrypt_all(fields, passphrase)
    if fields["version"] != KEY_FILE_VERSION:
        raise KeyFileError(
            f"key file version {fields['version']}, this package reads versions "
            f"{KEY_FILE_VERSION} and {_V3}; use the package that wrote it"
        )
    if passphrase is not None:
        raise KeyFileError("is not encrypted: load it without a passphrase, and save it with one")
    return _clear(fields)


def _json(data: bytes) -> object:
    """Return the decoded JSON, or None; so that no exception chain holds the document."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _clear(fields: dict[str, Any]) -> Secrets:
    if fields.keys() != _FIELDS or not all(type(fields[x]) is str for x in _FIELDS - {"version"}):
        raise Malformed("must have exactly the text fields of version 1")
    texts = (fields["secp256k1_secret"], fields["curve_secret"])
    if not all(_HEX_32.fullmatch(text) for text in texts):
        raise Malformed("a secret is not 64 hexadecimal digits")
    secret, curve_secret = (bytes.fromhex(text) for text in texts)
    return Secrets(secret, curve_secret, _address(fields["address"]))


def _address(text: object) -> str:
    found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise Malformed("its address is not 40 hexadecimal digits")
    return found[1].lower()


def _decrypt_all(fields: dict[str, Any], passphrase: str | None) -> Secrets:
    # All is checked before the passphrase is tried: that takes a second. Some write a capital C.
    crypto = _checked(fields.get("crypto", fields.get("Crypto")))
    ours = _ours_in(fields)
    address = _address(fields["address"]) if "address" in fields else None  # V3 may leave it out.
    if passphrase is None:
        raise WrongPassphrase("is encrypted: give its passphrase")
    secret = _decrypt(crypto, to_bytes(passphrase))
    if secret is None:
        raise WrongPassphrase("the passphrase is wrong")
    curve_secret = None if ours is None else _decrypt(ours, _CURVE_DOMAIN + secret)
    if ours is not None and curve_secret is None:
        raise Malformed("its CURVE secret belongs to another key")
    return Secrets(secret, curve_secret, address)


def _ours_in(fields: dict[str, Any]) -> dict[str, Any] | None:
    ours = fields.get(_OURS)
    if ours is None:
        return None
    if not isinstance(ours, dict) or ours.get("version") != _OURS_VERSION:
        raise Malformed(f"its member {_OURS} is not of version {_OURS_VERSION}")
    return _checked(ours.get("crypto"))


def _checked(crypto: object) -> dict[str, Any]:
    """Return it if the library will not stumble over it, nor spend too much; else `Malformed`."""
    if not isinstance(crypto, dict):
        raise Malformed("no keystore of version 3")
    params, cipher_params = crypto.get("kdfparams"), crypto.get("cipherparams")
    if crypto.get("cipher") != "aes-128-ctr" or not isinstance(cipher_params, dict):
        raise Malformed("its cipher is not aes-128-ctr")
    texts = (
        (crypto.get("ciphertext"), _HEX_32),
        (crypto.get("mac"), _HEX_32),
        (cipher_params.get("iv"), _HEX_16),
    )
    if not all(isinstance(text, str) and form.fullmatch(text) for text, form in texts):
        raise Malformed("its ciphertext, mac or iv is malformed")
    if not isinstance(params, dict) or not _is_kdf(crypto.get("kdf"), params):
        raise Malformed("its key derivation is unknown, malformed, or costs too much")
    return crypto


def _is_kdf(kdf: object, params: Mapping[str, object]) -> bool:
    salt = params.get("salt")
    if not isinstance(salt, str) or not _SALT.fullmatch(salt) or params.get("dklen") != HASH_SIZE:
        return False
    n, r, p, c = (_whole(params.get(name)) for name in "nrpc")
    if kdf == "pbkdf2":
        return params.get("prf") == "hmac-sha256" and 0 < c <= _PBKDF2_MAX
    power_of_two = n > 1 and n & (n - 1) == 0
    return kdf == "scrypt" and (
        power_of_two and 0 < 128 * n * r <= _SCRYPT_MAX_BYTES and 0 < p <= _SCRYPT_P_MAX
    )


def _whole(value: object) -> int:
    return value if type(value) is int else 0


# --- Writing ------------------------------------------------------------------------------------


def clear_document(address: bytes, secret: bytes, curve_secret: bytes) -> bytes:
    """Return the document without a passphrase."""
    return _dump(
        {
            "version": KEY_FILE_VERSION,
            "address": f"0x{address.hex()}",
            "secp256k1_secret": secret.hex(),
            "curve_secret": curve_secret.hex(),
        }
    )


def encrypted_document(secret: bytes, curve_secret: bytes, passphrase: str, scrypt_n: int) -> bytes:
    """Return the document under ``passphrase``; ``scrypt_n`` is the cost of a guess.

    Raises:
        InvalidValue: ``passphrase`` is none, or ``scrypt_n`` is no power of two from 2 up to 2**20.
    """
    if not _is_kdf("scrypt", {"n": scrypt_n, "r": 8, "p": 1, "dklen": HASH_SIZE, "salt": "00"}):
        raise InvalidValue("scrypt_n", "must be a power of two from 2 to 2**20")
    key = to_bytes(passphrase)
    fields = _library().create_keyfile_json(secret, key, kdf="scrypt", iterations=scrypt_n)
    return _dump({**fields, _OURS: _ours(secret, curve_secret)})


def is_of(data: bytes, address: bytes) -> bool:
    """Tell whether ``data`` is a document that says to be of ``address``."""
    fields = _json(data)
    found = _ADDRESS.fullmatch(str(fields.get("address"))) if isinstance(fields, dict) else None
    return found is not None and found[1].lower() == address.hex()


def with_curve_secret(data: bytes, secret: bytes, curve_secret: bytes) -> bytes:
    """Return the document ``data``, clear or encrypted, with another CURVE secret in it.

    ``data`` must be one that `parse` reads, and ``secret`` the secp256k1 secret in it.
    """
    fields: dict[str, Any] = json.loads(data)
    if fields["version"] == _V3:
        return _dump({**fields, _OURS: _ours(secret, curve_secret)})
    return _dump({**fields, "curve_secret": curve_secret.hex()})


def to_bytes(passphrase: str) -> bytes:
    """Return the bytes of a passphrase: UTF-8, as geth takes it.

    Raises:
        InvalidValue: empty, no text, or not a text that UTF-8 can write.
    """
    if type(passphrase) is not str or not passphrase:
        raise InvalidValue("passphrase", "must be a text that is not empty")
    data = passphrase.encode("utf-8", "replace")  # Not strictly: the error would hold all of it.
    if data.decode() != passphrase:
        raise InvalidValue("passphrase", "must be valid Unicode")
    return data


def _ours(secret: bytes, curve_secret: bytes) -> dict[str, object]:
    # One iteration: the password is a secret of 256 bits, there is nothing to stretch.
    password = _CURVE_DOMAIN + secret
    try:
        sealed = _library().create_keyfile_json(curve_secret, password, kdf="pbkdf2", iterations=1)
    except ValueError:
        sealed = None
    if sealed is None:  # One in 2**128; but somebody may have made it so.
        raise InvalidValue("curve_secret", "is above the order of secp256k1: make another one")
    # Its "address" would be that of the CURVE secret as a key of another kind: it says nothing.
    return {"version": _OURS_VERSION, "crypto": sealed["crypto"]}


def _decrypt(crypto: dict[str, Any], password: bytes) -> bytes | None:
    """Return the secret, None if the password is wrong; ``crypto`` was checked."""
    library = _library()
    try:
        return bytes(library.decode_keyfile_json({"version": _V3, "crypto": crypto}, password))
    except ValueError:
        return None  # The exception ends here, and its frames, which hold the password.


def _library() -> Any:
    try:
        import eth_keyfile  # noqa: PLC0415  # An extra, and slow to import.
    except ImportError:
        raise KeyFileError(
            "a passphrase needs the package eth-keyfile: pip install 'zmqp2p[keystore]'"
        ) from None
    return eth_keyfile


def _dump(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, indent=2).encode("ascii") + b"\n"
