"""Whatever decodes bytes of strangers: any bytes give a value or the one typed error, by a rule.

And one value has one encoding: what was accepted is written again as the same bytes.
"""

from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.fuzz.script import Script
from zmqp2p import codec
from zmqp2p.crypto import SecretKey, keccak256
from zmqp2p.errors import (
    DecodeError,
    EndpointError,
    InvalidValue,
    PeerError,
    RecordError,
    SignatureError,
)
from zmqp2p.messages import ProposeState, decode_message, describe, encode_message, message
from zmqp2p.objectives import DirectFund
from zmqp2p.records import RECORD_DOMAIN, PeerRecord, parse_address, parse_contact
from zmqp2p.session.parts import Assembly
from zmqp2p.state import recover_signer
from zmqp2p.transport.endpoints import parse_dial, parse_listen
from zmqp2p.transport.options import ZAP_DOMAIN
from zmqp2p.transport.zap import answer
from zmqp2p.wire.encoding import decode_frame, encode_frame
from zmqp2p.wire.frames import Ignored

SIGNER = SecretKey(b"\x01" * 32)
ENCODING_RULES = {f"ENC-{number}" for number in range(1, 6)}
FRAME_RULES = {f"FRM-{number}" for number in range(1, 7)} | {
    *("SEQ-1", "ACK-2", "REF-1", "REF-3", "BYE-1", "HEL-1", "HEL-2"),
}
MESSAGE_RULES = {f"MSG-{number}" for number in range(1, 6)}


def check_rule(fault: PeerError, rules: Container[str]) -> None:
    """Check that ``fault`` names one of ``rules``."""
    assert fault.rule in rules, fault


@dataclass(frozen=True)
class Pair:
    """Travels inside a sample."""

    number: int
    text: str


@message(64_001)
@dataclass(frozen=True)
class Sample:
    """An application message with fields of every type."""

    number: int
    text: str
    data: bytes
    flag: bool
    pairs: tuple[Pair, ...]
    group: tuple[bytes, tuple[bool, ...]]


def fuzz_codec(data: bytes) -> None:
    """The first byte bounds the nesting, the rest is to be decoded."""
    script = Script(data)
    depth_max, encoded = script.below(codec.DEPTH_MAX + 1), script.rest()
    try:
        value = codec.decode(encoded, depth_max=depth_max)
    except DecodeError as fault:
        check_rule(fault, ENCODING_RULES)
        return
    assert codec.encode(value) == encoded
    assert codec.decode(encoded) == value


def fuzz_wire(data: bytes) -> None:
    """A byte says how many ZMTP frames there are; all but the last one say their length."""
    script = Script(data)
    count = script.below(4)
    parts = [script.blob() for _ in range(count - 1)] + [script.rest()] * (count > 0)
    try:
        frame = decode_frame(parts)
    except DecodeError as fault:
        check_rule(fault, ENCODING_RULES | FRAME_RULES)
        return
    if isinstance(frame, Ignored):  # What may be ignored is not kept.
        assert frame.kind % 2
        assert decode_frame(encode_frame(frame)) == frame
    else:
        assert encode_frame(frame) == tuple(parts)


def fuzz_message(data: bytes) -> None:
    """The bytes are a body; people are shown it whatever it is."""
    shown = describe(data)
    try:
        envelope = decode_message(data)
    except DecodeError as fault:
        check_rule(fault, ENCODING_RULES | MESSAGE_RULES)
        check_rule(fault, shown)  # People are told it.
        return
    again = encode_message(envelope.message, envelope.deadline_ms)
    assert again == data or _has_unknown_extension(data)
    if isinstance(envelope.message, ProposeState):
        try:
            recover_signer(envelope.message.state, envelope.message.signature)
        except SignatureError as fault:
            check_rule(fault, {"SIG-1"})


def _has_unknown_extension(body: bytes) -> bool:
    value = codec.decode(body)
    return type(value) is tuple and type(value[-1]) is dict and bool(value[-1].keys() - {1})


def fuzz_record(data: bytes) -> None:
    """Bytes as a record; or, after a byte that is odd, what a malicious owner of a key signs."""
    script = Script(data)
    encoded = _signed(script.rest()) if script.below(2) else script.rest()
    try:
        record = PeerRecord.decode(encoded)
    except RecordError as fault:
        check_rule(fault, {"REC-1", "REC-2"})
        return
    assert record.encode() == encoded
    assert PeerRecord.parse(str(record)) == record
    try:
        record.check_time(1_800_000_000_000, 300_000)
    except RecordError as fault:
        check_rule(fault, {"REC-3", "REC-4"})


def _signed(statement: bytes) -> bytes:
    """Return ``statement``, six fields, with a good signature; other bytes as they are."""
    try:
        fields = codec.decode(statement)
    except DecodeError:
        return statement
    if type(fields) is not tuple or len(fields) >= 15:  # So the array's header is one byte.
        return statement
    digest = keccak256(RECORD_DOMAIN + statement)
    signature = codec.encode(SIGNER.sign(digest).to_bytes())
    return bytes([0x90 + len(fields) + 1]) + statement[1:] + signature


def fuzz_objective(data: bytes) -> None:
    """The bytes are a channel's, from a store."""
    try:
        fund = DirectFund.decode(data)
    except DecodeError as fault:
        check_rule(fault, ENCODING_RULES | {"OBJ-1"})
        return
    assert fund.encode() == data
    fund.check()


def fuzz_contact(data: bytes) -> None:
    """Text that somebody was given as a contact or an address: what is accepted has one meaning."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        contact = parse_contact(text)
    except (RecordError, InvalidValue):
        pass
    else:
        assert parse_contact(str(contact)) == contact
    with suppress(InvalidValue):
        assert len(parse_address(text)) == 20


def fuzz_endpoint(data: bytes) -> None:
    """Text of an endpoint: to be dialed it must be numeric, and is again what it was."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (parse_dial, parse_listen):
        try:
            endpoint = parse(text)
        except EndpointError:
            continue
        assert parse(endpoint.address).address == endpoint.address
        assert 0 <= endpoint.port < 2**16
        assert endpoint.scheme == "ipc" or endpoint.host[0] in "0123456789abcdefABCDEF:"


def fuzz_zap(data: bytes) -> None:
    """A ZAP request: it is answered, and admitted only if all of it is as it must be."""
    script = Script(data)
    curve = bool(script.below(2))
    request = [script.blob() for _ in range(script.below(9))]
    version, request_id, status, _text, user, _metadata = answer(
        request, lambda _key, address: "\ufffd" not in address, curve=curve
    )
    assert version == b"1.0"
    assert request_id == (request[1] if len(request) > 1 else b"")
    assert status in (b"200", b"400")
    if status == b"200":
        assert (request[0], request[2]) == (b"1.0", ZAP_DOMAIN)
        assert request[5:6] == [b"CURVE" if curve else b"NULL"]
        assert [user] == [key.hex().encode() for key in request[6:]] or not curve
    else:
        assert user == b""


def fuzz_parts(data: bytes) -> None:
    """Bodies that come one after the other: a message is put together, or a rule is broken."""
    script = Script(data)
    assembly = Assembly(1 << 20)
    while script:
        before = assembly.count
        try:
            complete = assembly.add(_part(script))
        except PeerError as fault:
            check_rule(fault, ENCODING_RULES | {"PRT-1"})
            complete, added = False, 0
        else:
            added = 1
        assert assembly.count == before + added
        if complete:
            expected = None if assembly.too_large else assembly.size_bytes
            body = assembly.take()
            assert (None if body is None else len(body)) == expected
        assembly.check()


def _part(script: Script) -> bytes:
    """Return a part that may be one, or any bytes."""
    left = script.number()
    size = script.pick([262_128, 1, 0, 5, 262_127, 262_129])
    head: tuple[Any, ...] = (script.pick([0, 1]), left, bytes(size))
    return script.blob() if script.below(4) == 3 else codec.encode(head)
