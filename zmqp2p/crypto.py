"""Keccak-256 and recoverable secp256k1 signatures; the only module that knows the libraries.

Pure: signing is deterministic (RFC 6979) and needs no randomness.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import NoReturn, Protocol

import coincurve
import sha3

from zmqp2p.errors import InvalidValue, SignatureError
from zmqp2p.ids import (
    ADDRESS_SIZE,
    HASH_SIZE,
    SIGNATURE_SIZE,
    STREAM_DIGEST_SIZE,
    Address,
    StreamDigest,
)

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER = _ORDER // 2
_LONG_BYTES = 16 * 1024  # Copying them takes longer than another call.
_V_OFFSET = 27  # Ethereum writes v as 27 + the recovery id.


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte Keccak-256 hash (the original padding, which is not SHA3-256)."""
    return sha3.keccak_256(data).digest()  # type: ignore[no-any-return]


def next_digest(digest: StreamDigest, body: bytes) -> StreamDigest:
    """Return the digest of a stream after one message more (RES-11).

    Before the first message it is the stream's id. SHA-256 and no Keccak: each message is hashed
    once on each side, and every language has it built in. Cut to 16 bytes: it tells two histories
    of honest nodes apart, and what an adversary sends is its own affair.
    """
    if len(body) < _LONG_BYTES:
        return StreamDigest(sha256(digest + body).digest()[:STREAM_DIGEST_SIZE])
    whole = sha256(digest)
    whole.update(body)  # Long ones are not copied for it.
    return StreamDigest(whole.digest()[:STREAM_DIGEST_SIZE])


@dataclass(frozen=True, slots=True)
class Signature:
    """A recoverable secp256k1 signature: ``r`` and ``s`` of 32 bytes, ``v`` 27 or 28.

    Raises:
        InvalidValue: a wrong size, a ``v`` other than 27 or 28, ``r`` or ``s`` out of range, or a
            high ``s`` (a second signature that anybody can make from the first; EIP-2).
    """

    r: bytes
    s: bytes
    v: int

    def __post_init__(self) -> None:
        for name, part, most in (("r", self.r, _ORDER - 1), ("s", self.s, _HALF_ORDER)):
            if type(part) is not bytes or len(part) != HASH_SIZE:
                raise InvalidValue(f"signature.{name}", "must be 32 bytes")
            if not 0 < int.from_bytes(part) <= most:
                raise InvalidValue(f"signature.{name}", "out of range")
        if type(self.v) is not int or self.v not in (27, 28):
            raise InvalidValue("signature.v", "must be 27 or 28")

    @classmethod
    def from_bytes(cls, data: bytes) -> "Signature":
        """Read ``r || s || v``, 65 bytes; ``v`` may also be written 0 or 1."""
        if type(data) is not bytes or len(data) != SIGNATURE_SIZE:
            raise InvalidValue("signature", f"must be {SIGNATURE_SIZE} bytes")
        r, s, v = data[:HASH_SIZE], data[HASH_SIZE:-1], data[-1]
        return cls(r, s, v + _V_OFFSET if v in (0, 1) else v)

    def to_bytes(self) -> bytes:
        """Return ``r || s || v``, 65 bytes, with ``v`` 27 or 28."""
        return self.r + self.s + bytes((self.v,))


class Signer(Protocol):
    """Whoever can sign for one address: an `Identity`, a remote signer, a test key."""

    @property
    def address(self) -> Address:
        """The address that signatures recover to."""
        ...

    def sign(self, digest: bytes) -> Signature:
        """Return a low-s signature over the 32-byte ``digest``."""
        ...


class SecretKey:
    """A secp256k1 private key of 32 bytes. Never shown by ``repr``.

    Raises:
        InvalidValue: not 32 bytes, zero, or not below the group order.
    """

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        if type(secret) is not bytes or len(secret) != HASH_SIZE:
            raise InvalidValue("secret", f"must be {HASH_SIZE} bytes")
        if not 0 < int.from_bytes(secret) < _ORDER:
            raise InvalidValue("secret", "out of range")
        self._key = coincurve.PrivateKey(secret)
        self.address = _address_of(self._key.public_key)

    @classmethod
    def generate(cls) -> "SecretKey":
        """Return a new key from the operating system's randomness."""
        return cls(coincurve.PrivateKey().secret)

    @property
    def secret(self) -> bytes:
        """The 32 secret bytes. Keep them out of logs."""
        return self._key.secret

    def sign(self, digest: bytes) -> Signature:
        """Return the RFC 6979 low-s signature over the 32-byte ``digest``."""
        _check_digest(digest)
        joined = self._key.sign_recoverable(digest, hasher=None)
        return Signature.from_bytes(joined)

    def __repr__(self) -> str:
        return f"SecretKey(address=0x{self.address.hex()})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse: a pickle would carry the secret to wherever it goes."""
        raise TypeError("a SecretKey is not to be copied or pickled")


def recover_address(digest: bytes, signature: Signature) -> Address:
    """Return the address whose key signed the 32-byte ``digest``.

    Raises:
        InvalidValue: ``digest`` is not 32 bytes.
        SignatureError: no public key fits (rule SIG-1).
    """
    _check_digest(digest)
    recoverable = signature.r + signature.s + bytes((signature.v - _V_OFFSET,))
    try:
        key = coincurve.PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except ValueError as fault:
        raise SignatureError("SIG-1", "no key fits the signature") from fault
    return _address_of(key)


def _check_digest(digest: bytes) -> None:
    if type(digest) is not bytes or len(digest) != HASH_SIZE:
        raise InvalidValue("digest", f"must be {HASH_SIZE} bytes")


def _address_of(key: coincurve.PublicKey) -> Address:
    return Address(keccak256(key.format(compressed=False)[1:])[-ADDRESS_SIZE:])
