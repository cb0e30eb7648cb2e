"""How to reach a peer: signed peer records, and the short URI that people can type.

A record binds an address to a CURVE key and endpoints by the signature of the address's key, so it
can come from anywhere. A URI is unsigned: it is worth as much as the way it came by. Pure: the time
is an argument, in milliseconds since 1970, UTC.
"""

import ipaddress
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from zmqp2p.codec import Value, decode, encode_trusted
from zmqp2p.crypto import Signature, Signer, keccak256, recover_address
from zmqp2p.errors import DecodeError, InvalidValue, RecordError, SignatureError
from zmqp2p.ids import ADDRESS_SIZE, CURVE_KEY_SIZE, Address, CurveKey, address_text
from zmqp2p.limits import ENDPOINT_MAX_BYTES, ENDPOINTS_MAX, RECORD_MAX_BYTES

RECORD_VERSION = 1
RECORD_DOMAIN = b"zmqp2p peer record v1\n"  # No other signature of this key can pass for a record.
RECORD_TEXT_PREFIX = "zp2p:"
URI_PREFIX = "zp2p://"
TIME_MAX_MS = 2**53 - 1  # The largest integer that every language reads exactly.

_TEXT_MAX_CHARS = len(RECORD_TEXT_PREFIX) + -(-RECORD_MAX_BYTES * 4 // 3)
_TCP = "tcp://"
_IPC = "ipc://"
_HOST_PORT = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|[0-9A-Za-z][0-9A-Za-z._-]*):(?P<port>[0-9]+)")
_PORT = re.compile(r"[1-9][0-9]{0,4}")  # No leading zeros: one port, one text.
_PORT_MAX = 65_535
_ADDRESS = re.compile(r"0x([0-9a-fA-F]{40})")
_URI = re.compile(r"zp2p://(?P<address>[^@]*)@(?P<host>[^?]*)\?curve=(?P<curve>[0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRecord:
    """A node's signed statement of its keys and endpoints; one that exists bears a good signature.

    ``endpoints`` may be empty: a node that only dials. ``issued_ms`` and ``expires_ms`` are
    milliseconds since 1970, UTC; `check_time` compares them with a clock.

    Raises:
        InvalidValue: a field is out of range; names it.
        RecordError: REC-2, the signature does not recover to ``address``.
    """

    version: int = RECORD_VERSION
    address: Address
    curve_key: CurveKey
    endpoints: tuple[str, ...]
    issued_ms: int
    expires_ms: int
    signature: Signature

    def __post_init__(self) -> None:
        _check(self._statement)
        self._check_signature()

    @classmethod
    def issue(
        cls,
        signer: Signer,
        curve_key: CurveKey,
        endpoints: Sequence[str],
        issued_ms: int,
        expires_ms: int,
    ) -> "PeerRecord":
        """Return a record of ``signer``'s address, signed by it; raises as the class does."""
        address, listed = signer.address, tuple(endpoints)
        statement = (RECORD_VERSION, address, curve_key, listed, issued_ms, expires_ms)
        _check(statement)  # Nothing is signed that is not a record.
        return cls(
            address=address,
            curve_key=curve_key,
            endpoints=listed,
            issued_ms=issued_ms,
            expires_ms=expires_ms,
            signature=signer.sign(_digest(statement)),
        )

    @classmethod
    def decode(cls, data: bytes) -> "PeerRecord":
        """Return the record that ``data`` encodes, its signature verified, its time not.

        Raises:
            RecordError: REC-1, not the canonical encoding of a record; REC-2, not signed by its
                address.
        """
        if len(data) > RECORD_MAX_BYTES:
            raise RecordError("REC-1", f"longer than {RECORD_MAX_BYTES} bytes")
        try:
            record = _from_value(decode(data))
        except (DecodeError, InvalidValue) as fault:
            raise RecordError("REC-1", str(fault)) from None
        if record.encode() != data:  # A signature's v may be written in two ways elsewhere.
            raise RecordError("REC-1", "not the canonical encoding")
        return record

    @classmethod
    def parse(cls, text: str) -> "PeerRecord":
        """Return the record written as ``text``; the inverse of ``str(record)``.

        Raises:
            RecordError: REC-5, not ``zp2p:`` and canonical base64url without padding; REC-1 and
                REC-2 as for `decode`.
        """
        return cls.decode(_from_text(text))

    def encode(self) -> bytes:
        """Return the canonical MessagePack array of the seven fields, at most 2 KiB."""
        return encode_trusted((*self._statement, self.signature.to_bytes()))

    def __str__(self) -> str:
        return RECORD_TEXT_PREFIX + _base64url(self.encode())

    def check_time(self, now_ms: int, skew_ms: int) -> None:
        """Check the record against a clock that the issuer's may be ``skew_ms`` ahead of.

        Raises:
            RecordError: REC-3, expired at ``now_ms``; REC-4, issued later than the skew allows.
        """
        if now_ms >= self.expires_ms:
            raise RecordError("REC-3", f"expired {now_ms - self.expires_ms} ms ago")
        ahead_ms = self.issued_ms - now_ms
        if ahead_ms > skew_ms:
            raise RecordError("REC-4", f"issued {ahead_ms} ms in the future")

    def supersedes(self, other: "PeerRecord") -> bool:
        """Tell whether this record replaces ``other``, which must be of the same address."""
        if self.address != other.address:
            raise InvalidValue("record", "of another address")
        return self.issued_ms > other.issued_ms

    def _check_signature(self) -> None:
        try:
            signer = recover_address(_digest(self._statement), self.signature)
        except SignatureError as fault:
            raise RecordError("REC-2", fault.detail) from None
        if signer != self.address:
            raise RecordError("REC-2", "not signed by its address")

    @property
    def _statement(self) -> "_Statement":
        """What the signature covers: every field but itself."""
        return (
            self.version,
            self.address,
            self.curve_key,
            self.endpoints,
            self.issued_ms,
            self.expires_ms,
        )


@dataclass(frozen=True, slots=True)
class PeerUri:
    """A peer by address, key and one TCP endpoint: ``zp2p://0xADDRESS@host:port?curve=HEX``.

    Unsigned. ``str`` gives the canonical text: EIP-55 address, lower-case key.

    Raises:
        InvalidValue: a field is out of range; names it.
    """

    address: Address
    curve_key: CurveKey
    endpoint: str  # tcp://host:port, an IPv6 host in brackets.

    def __post_init__(self) -> None:
        _check_size("address", self.address, ADDRESS_SIZE)
        _check_size("curve_key", self.curve_key, CURVE_KEY_SIZE)
        _check_endpoint(self.endpoint)
        if not self.endpoint.startswith(_TCP):
            raise InvalidValue("endpoint", f"must begin with {_TCP}")

    @classmethod
    def parse(cls, text: str) -> "PeerUri":
        """Return the URI written as ``text``; hex of either case, a mixed-case address by EIP-55.

        Raises:
            InvalidValue: ``contact``, with what is wrong.
        """
        found = _URI.fullmatch(text)
        if found is None:
            raise InvalidValue("contact", "must read zp2p://0xADDRESS@host:port?curve=HEX")
        curve_key = CurveKey(bytes.fromhex(found["curve"]))
        try:
            return cls(parse_address(found["address"]), curve_key, _TCP + found["host"])
        except InvalidValue as fault:
            raise InvalidValue("contact", str(fault)) from None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The one endpoint, under the name it has in a record."""
        return (self.endpoint,)

    def __str__(self) -> str:
        host = self.endpoint.removeprefix(_TCP)
        return f"{URI_PREFIX}{checksum_text(self.address)}@{host}?curve={self.curve_key.hex()}"


Contact = PeerRecord | PeerUri
"""Either way of saying who a peer is and where; both have address, curve_key and endpoints."""


def parse_contact(text: str) -> Contact:
    """Return the record or URI written as ``text``; white space around it is ignored.

    Raises:
        RecordError: REC-5, REC-1 or REC-2, a record that is not good.
        InvalidValue: ``contact``, a malformed URI or neither of the two.
    """
    trimmed = text.strip()  # What was read from a file ends in a newline.
    if trimmed.startswith(URI_PREFIX):
        return PeerUri.parse(trimmed)
    if trimmed.startswith(RECORD_TEXT_PREFIX):
        return PeerRecord.parse(trimmed)
    raise InvalidValue("contact", "must begin with zp2p: (a record) or zp2p:// (a URI)")


def parse_address(text: str | bytes) -> Address:
    """Return the address given as 20 bytes or as ``0x`` and 40 hex digits.

    Digits of mixed case must have the EIP-55 checksum; all of one case carry none.

    Raises:
        InvalidValue: ``address``, with what is wrong.
    """
    if not isinstance(text, str):
        _check_size("address", text, ADDRESS_SIZE)
        return Address(text)
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise InvalidValue("address", "must be 0x and 40 hexadecimal digits")
    digits = found[1]
    address = Address(bytes.fromhex(digits))
    one_case = digits in (digits.lower(), digits.upper())
    if not one_case and text != checksum_text(address):
        raise InvalidValue("address", "wrong EIP-55 checksum: a digit or its case is mistyped")
    return address


def checksum_text(address: Address) -> str:
    """Return ``0x…`` in the mixed case of EIP-55, which catches a mistyped digit."""
    digits = address_text(address)[2:]
    marks = keccak256(digits.encode("ascii")).hex()
    return "0x" + "".join(
        digit.upper() if mark >= "8" else digit
        for digit, mark in zip(digits, marks, strict=False)  # The hash has 24 digits more.
    )


# --- What a record consists of ------------------------------------------------------------------

_Statement = tuple[int, Address, CurveKey, tuple[str, ...], int, int]


def _digest(statement: _Statement) -> bytes:
    return keccak256(RECORD_DOMAIN + encode_trusted(statement))


def _from_value(value: Value) -> PeerRecord:
    """Return the record of a decoded array.

    Raises:
        InvalidValue: ``record`` if it is no such array, otherwise as `PeerRecord` does.
    """
    match value:
        case (
            int() as version,
            bytes() as address,
            bytes() as curve_key,
            tuple() as endpoints,
            int() as issued_ms,
            int() as expires_ms,
            bytes() as signature,
        ):
            return PeerRecord(
                version=version,
                address=Address(address),
                curve_key=CurveKey(curve_key),
                endpoints=endpoints,
                issued_ms=issued_ms,
                expires_ms=expires_ms,
                signature=Signature.from_bytes(signature),
            )
    raise InvalidValue("record", "must be an array of the seven fields of a record")


def _check(statement: _Statement) -> None:
    """Check every field; raises `InvalidValue`."""
    version, address, curve_key, endpoints, issued_ms, expires_ms = statement
    if type(version) is not int or version != RECORD_VERSION:
        raise InvalidValue("version", f"must be {RECORD_VERSION}")
    _check_size("address", address, ADDRESS_SIZE)
    _check_size("curve_key", curve_key, CURVE_KEY_SIZE)
    if type(endpoints) is not tuple or len(endpoints) > ENDPOINTS_MAX:
        raise InvalidValue("endpoints", f"must be a tuple of at most {ENDPOINTS_MAX}")
    for endpoint in endpoints:
        _check_endpoint(endpoint)
    _check_time_ms("issued_ms", issued_ms)
    _check_time_ms("expires_ms", expires_ms)
    if expires_ms <= issued_ms:
        raise InvalidValue("expires_ms", "must be later than issued_ms")


def _check_size(field: str, value: object, size: int) -> None:
    if type(value) is not bytes or len(value) != size:
        raise InvalidValue(field, f"must be {size} bytes")


def _check_time_ms(field: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= TIME_MAX_MS:
        raise InvalidValue(field, "must be milliseconds since 1970, below 2**53")


def _check_endpoint(value: object) -> None:
    """Check that ``value`` is an endpoint that can be dialed as it stands.

    Stricter than ZeroMQ, because records come from strangers: no wildcards, no interface names as
    source (``tcp://source;host:port``), no port 0.
    """
    if type(value) is not str or not (value.isascii() and value.isprintable()):
        raise InvalidValue("endpoint", "must be printable ASCII")
    if len(value) > ENDPOINT_MAX_BYTES:
        raise InvalidValue("endpoint", f"longer than {ENDPOINT_MAX_BYTES} bytes")
    if value.startswith(_TCP):
        _check_host_port(value.removeprefix(_TCP))
    elif not value.startswith(_IPC) or value == _IPC:
        raise InvalidValue("endpoint", "must be tcp://host:port or ipc://path")


def _check_host_port(text: str) -> None:
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        raise InvalidValue("endpoint", "must name a host and a port: host:port or [ipv6]:port")
    port = found["port"]
    if not _PORT.fullmatch(port) or int(port) > _PORT_MAX:
        raise InvalidValue("endpoint", f"the port must be 1 to {_PORT_MAX}")
    if found["ipv6"] is not None and not _is_ipv6(found["ipv6"]):
        raise InvalidValue("endpoint", "not an IPv6 address in the brackets")


def _is_ipv6(text: str) -> bool:
    """Tell whether ``text`` is an IPv6 address; one with a zone means nothing to other hosts."""
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


# --- The text form of a record ------------------------------------------------------------------


def _from_text(text: str) -> bytes:
    """Return the bytes in the text form; raises `RecordError` REC-5 unless it is the one form."""
    if not text.startswith(RECORD_TEXT_PREFIX):
        raise RecordError("REC-5", f"must begin with {RECORD_TEXT_PREFIX}")
    if len(text) > _TEXT_MAX_CHARS:
        raise RecordError("REC-5", f"longer than {_TEXT_MAX_CHARS} characters")
    digits = text.removeprefix(RECORD_TEXT_PREFIX)
    try:
        data = urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    except ValueError:  # A wrong length, or a character outside ASCII.
        raise RecordError("REC-5", "not base64url") from None
    if _base64url(data) != digits:  # The library skips foreign characters and stray bits.
        raise RecordError("REC-5", "not canonical base64url without padding")
    return data


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
