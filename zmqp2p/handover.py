"""A node's identity passes to another key: a statement that both keys have signed.

Neither key can do it alone: the old one must agree to go, the new one to be taken for the other.
Pure: the time is an argument, in milliseconds since 1970, UTC.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from zmqp2p.codec import Value, decode, encode_trusted
from zmqp2p.crypto import Signature, Signer, keccak256, recover_address
from zmqp2p.errors import DecodeError, InvalidValue, RecordError, SignatureError
from zmqp2p.ids import ADDRESS_SIZE, Address
from zmqp2p.limits import HAND_OVER_MAX_BYTES
from zmqp2p.records import TIME_MAX_MS

HAND_OVER_VERSION = 1
HAND_OVER_DOMAIN = b"zmqp2p hand-over v1\n"  # No other signature of these keys can pass for it.
HAND_OVER_PREFIX = "zp2p-hand-over:"

_TEXT_MAX_CHARS = len(HAND_OVER_PREFIX) + -(-HAND_OVER_MAX_BYTES * 4 // 3)
_Statement = tuple[int, Address, Address, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """Whoever was ``old_address`` is ``new_address`` from now on; both have signed it.

    One that exists bears two good signatures. ``issued_ms`` is for people and for `check_time`:
    which of two statements counts does not depend on it (HND-3).

    Raises:
        InvalidValue: a field is out of range, or the two addresses are one; names it.
        RecordError: HND-2, a signature is not by its address.
    """

    version: int = HAND_OVER_VERSION
    old_address: Address
    new_address: Address
    issued_ms: int
    signature_old: Signature
    signature_new: Signature

    def __post_init__(self) -> None:
        _check(self._statement)
        digest = _digest(self._statement)
        for signature, address in (
            (self.signature_old, self.old_address),
            (self.signature_new, self.new_address),
        ):
            if not _is_by(digest, signature, address):
                raise RecordError("HND-2", "not signed by both of its addresses")

    @classmethod
    def issue(cls, old: Signer, new: Signer, issued_ms: int) -> "HandOver":
        """Return the statement that ``old`` is ``new`` from now on; raises as the class does."""
        statement = (HAND_OVER_VERSION, old.address, new.address, issued_ms)
        _check(statement)  # Nothing is signed that is no statement.
        digest = _digest(statement)
        return cls(
            old_address=old.address,
            new_address=new.address,
            issued_ms=issued_ms,
            signature_old=old.sign(digest),
            signature_new=new.sign(digest),
        )

    @classmethod
    def decode(cls, data: bytes) -> "HandOver":
        """Return the statement that ``data`` encodes, its signatures verified, its time not.

        Raises:
            RecordError: HND-1, not the canonical encoding of a statement; HND-2, not signed.
        """
        if len(data) > HAND_OVER_MAX_BYTES:
            raise RecordError("HND-1", f"longer than {HAND_OVER_MAX_BYTES} bytes")
        try:
            statement = _from_value(decode(data))
        except (DecodeError, InvalidValue) as fault:
            raise RecordError("HND-1", str(fault)) from None
        if statement.encode() != data:  # A signature's v may be written in two ways elsewhere.
            raise RecordError("HND-1", "not the canonical encoding")
        return statement

    @classmethod
    def parse(cls, text: str) -> "HandOver":
        """Return the statement written as ``text``; white space around it is ignored.

        Raises:
            RecordError: HND-1, not its prefix and canonical base64url; otherwise as `decode`.
        """
        trimmed = text.strip()  # What was read from a file ends in a newline.
        digits = trimmed.removeprefix(HAND_OVER_PREFIX)
        if digits == trimmed or len(trimmed) > _TEXT_MAX_CHARS:
            raise RecordError("HND-1", f"must be {HAND_OVER_PREFIX} and its bytes")
        try:
            data = urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
        except ValueError:  # A wrong length, or a character outside ASCII.
            raise RecordError("HND-1", "not base64url") from None
        if _base64url(data) != digits:  # The library skips foreign characters and stray bits.
            raise RecordError("HND-1", "not canonical base64url without padding")
        return cls.decode(data)

    def encode(self) -> bytes:
        """Return the canonical MessagePack array of the six fields."""
        signatures = (self.signature_old.to_bytes(), self.signature_new.to_bytes())
        return encode_trusted((*self._statement, *signatures))

    def __str__(self) -> str:
        return HAND_OVER_PREFIX + _base64url(self.encode())

    def check_time(self, now_ms: int, skew_ms: int) -> None:
        """Raise `RecordError` HND-1 if it was issued after the clock's present and the skew."""
        if self.issued_ms - now_ms > skew_ms:
            raise RecordError("HND-1", f"issued {self.issued_ms - now_ms} ms in the future")

    @property
    def _statement(self) -> _Statement:
        """What both signatures cover."""
        return self.version, self.old_address, self.new_address, self.issued_ms


def _digest(statement: _Statement) -> bytes:
    return keccak256(HAND_OVER_DOMAIN + encode_trusted(statement))


def _is_by(digest: bytes, signature: Signature, address: Address) -> bool:
    try:
        return recover_address(digest, signature) == address
    except SignatureError:
        return False


def _from_value(value: Value) -> HandOver:
    match value:
        case (
            int() as version,
            bytes() as old,
            bytes() as new,
            int() as issued_ms,
            bytes() as signature_old,
            bytes() as signature_new,
        ):
            return HandOver(
                version=version,
                old_address=Address(old),
                new_address=Address(new),
                issued_ms=issued_ms,
                signature_old=Signature.from_bytes(signature_old),
                signature_new=Signature.from_bytes(signature_new),
            )
    raise InvalidValue("hand-over", "must be an array of the six fields of a hand-over")


def _check(statement: _Statement) -> None:
    """Check every field; raises `InvalidValue`."""
    version, old, new, issued_ms = statement
    if type(version) is not int or version != HAND_OVER_VERSION:
        raise InvalidValue("version", f"must be {HAND_OVER_VERSION}")
    for name, address in (("old_address", old), ("new_address", new)):
        if type(address) is not bytes or len(address) != ADDRESS_SIZE:
            raise InvalidValue(name, f"must be {ADDRESS_SIZE} bytes")
    if old == new:
        raise InvalidValue("new_address", "is the old one")
    if type(issued_ms) is not int or not 0 <= issued_ms <= TIME_MAX_MS:
        raise InvalidValue("issued_ms", "must be milliseconds since 1970, below 2**53")


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
