"""Who is at the other end of a link: the checks of a HELLO, none of which can be skipped.

CURVE proves which Curve25519 key the other end holds. The record in its HELLO, signed with the
identity key, says that this very key is the identity's. Together they bind the wire to the address.
"""

from zmqp2p.codes import ByeCode
from zmqp2p.errors import PeerError, RecordError
from zmqp2p.ids import Address, address_text
from zmqp2p.records import PeerRecord
from zmqp2p.session.handshake import Link
from zmqp2p.wire.frames import NEWEST_RECORD, VERSION, Hello


class Unwelcome(PeerError):
    """A HELLO that is not accepted; ``code`` goes into the BYE."""

    def __init__(self, rule: str, code: ByeCode, detail: str) -> None:
        super().__init__(rule, detail)
        self.code = code


def admit(link: Link, hello: Hello, me: Address, *, utc_ms: int, skew_ms: int) -> PeerRecord:
    """Return the record that ``hello`` proves.

    Raises:
        Unwelcome: one of HEL-1, REC-1 to REC-4, IDN-1 to IDN-3, RES-13 does not hold.
    """
    if VERSION not in hello.versions:
        detail = f"I speak version {VERSION}, you {list(hello.versions)}"
        raise Unwelcome("HEL-1", ByeCode.VERSION_UNSUPPORTED, detail)
    record = link.shown  # Said again, it need not be verified again.
    if record is None or record.encode() != hello.record:
        record = _decoded(hello.record)
    _check_time(record, utc_ms, skew_ms)
    if link.curve_key is not None and record.curve_key != link.curve_key:
        detail = "the record's CURVE key is not the one that opened this link"
        raise Unwelcome("IDN-1", ByeCode.KEY_MISMATCH, detail)
    if link.expected is not None and record.address != link.expected:
        detail = f"dialed {address_text(link.expected)}, {address_text(record.address)} answered"
        raise Unwelcome("IDN-2", ByeCode.ADDRESS_MISMATCH, detail)
    if record.address == me:
        raise Unwelcome("IDN-3", ByeCode.DUPLICATE_INSTANCE, "this is my own identity")
    if hello.incarnation > utc_ms + skew_ms:
        # It would be remembered, and no later run of this identity ever be accepted (RES-3): so
        # could a thief of its CURVE key lock the owner out, for longer than he has the key.
        detail = f"incarnation {hello.incarnation} is later than the present, {utc_ms}"
        raise Unwelcome("RES-13", ByeCode.PROTOCOL_ERROR, detail)
    return record


def newest_of(hello: Hello, record: PeerRecord, *, utc_ms: int, skew_ms: int) -> PeerRecord:
    """Return the newest record that ``hello`` tells of its sender, whose ``record`` was admitted.

    It is for later links (IDN-5): who is at the other end of this one, only ``record`` says.

    Raises:
        Unwelcome: it is not good by REC-1 to REC-4, of another address, or not newer.
    """
    data = hello.extensions.get(NEWEST_RECORD)
    if data is None:
        return record
    newest = _decoded(data)
    _check_time(newest, utc_ms, skew_ms)
    if newest.address != record.address or not newest.supersedes(record):
        detail = "the extension is no newer record of the same address"
        raise Unwelcome("IDN-5", ByeCode.RECORD_INVALID, detail)
    return newest


def _decoded(data: bytes) -> PeerRecord:
    try:
        return PeerRecord.decode(data)
    except PeerError as fault:
        raise Unwelcome(fault.rule, ByeCode.RECORD_INVALID, fault.detail) from fault


def _check_time(record: PeerRecord, utc_ms: int, skew_ms: int) -> None:
    try:
        record.check_time(utc_ms, skew_ms)
    except RecordError as fault:
        expired = fault.rule == "REC-3"
        code = ByeCode.RECORD_EXPIRED if expired else ByeCode.RECORD_INVALID
        raise Unwelcome(fault.rule, code, fault.detail) from fault
