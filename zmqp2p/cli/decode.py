"""``zmqp2p decode``: bytes from a log, a file or a wire capture, made readable.

What the bytes are is found out by decoding them: a peer record, a message body, a frame's header.
Of an array that starts with an odd number above 63, which could be an ignorable frame or an
application's message, the message is the likelier one and is shown.
"""

import re
import sys
from pathlib import Path

from zmqp2p import codec, limits
from zmqp2p.cli.contacts import explain_contact
from zmqp2p.errors import DecodeError, LocalError, RecordError
from zmqp2p.messages import APPLICATION_TAG_MIN, TAG_END, decode_message, describe
from zmqp2p.records import RECORD_TEXT_PREFIX, PeerRecord, parse_contact
from zmqp2p.render import hex_text, render
from zmqp2p.wire.encoding import decode_frame
from zmqp2p.wire.frames import Bulk, Data, Frame, Hello, Ignored, Kind

INPUT_MAX_BYTES = 4 * limits.MIB  # The hexadecimal text of the largest message is 2 MiB.

_HEX = re.compile(r"\s*(?:0x)?[0-9a-fA-F\s]*", re.ASCII)
_SHOWN_BYTES = 16  # Of what cannot be decoded.
# What stands in for the second frame of a message whose header alone was given.
_NO_PAYLOAD = {
    Kind.DATA: codec.encode((b"",)),
    Kind.BULK: bytes(limits.BULK_MIN_BYTES),
}


class Undecodable(LocalError):
    """The input is not bytes in a known form, or the bytes are nothing that zmqp2p writes."""


def read_input(text: str) -> bytes:
    """Return the bytes that ``text`` stands for: hexadecimal digits, a file, or ``-`` for stdin.

    A record's or URI's text is returned as it is. What is read may itself be text of these forms.

    Raises:
        Undecodable: an odd number of digits, no such file, or more than `INPUT_MAX_BYTES`.
    """
    if text == "-":
        return _from_content(sys.stdin.buffer.read(INPUT_MAX_BYTES + 1))
    if text.startswith(RECORD_TEXT_PREFIX) or _HEX.fullmatch(text):
        return _from_content(text.encode(errors="replace"))
    try:
        with Path(text).open("rb") as file:
            return _from_content(file.read(INPUT_MAX_BYTES + 1))
    except (OSError, ValueError) as fault:  # ValueError: a zero character in the name.
        raise Undecodable(
            f"{text[:80]!r} is neither hexadecimal nor a file that can be read: {fault}"
        ) from None


def explain(data: bytes, payload: bytes | None, now_ms: int) -> str:
    """Return lines about what ``data`` encodes; ``payload`` is the second frame of its message.

    Raises:
        Undecodable: nothing that is known; says why, for each form.
        RecordError, InvalidValue: the text of a record or URI that is not good.
    """
    if payload is not None:
        return _explain_frames((data, payload), now_ms)
    if data.startswith(RECORD_TEXT_PREFIX.encode()):
        return explain_contact(parse_contact(data.decode("ascii", errors="replace")), now_ms)
    try:
        codec.decode(data)
    except DecodeError as fault:
        raise Undecodable(f"{_shown(data)}: {fault}") from None
    reasons = []
    for form in (_explain_record, _explain_message, _explain_header):
        try:
            return form(data, now_ms)
        except (DecodeError, RecordError) as fault:
            reasons.append(f"{_FORMS[form]} ({fault})")
    raise Undecodable(f"{_shown(data)}: {'; '.join(reasons)}")


def _shown(data: bytes) -> str:
    more = ".." if len(data) > _SHOWN_BYTES else ""
    return f"{len(data)} bytes {hex_text(data[:_SHOWN_BYTES])}{more}"


def _from_content(data: bytes) -> bytes:
    if len(data) > INPUT_MAX_BYTES:
        raise Undecodable(f"more than {INPUT_MAX_BYTES} bytes of input")
    if not data.isascii():
        return data
    text = data.decode("ascii").strip()
    if text.startswith(RECORD_TEXT_PREFIX):
        return text.encode()
    if not text or not _HEX.fullmatch(text):
        return data
    digits = "".join(text.removeprefix("0x").split())
    if len(digits) % 2:
        raise Undecodable(f"an odd number of hexadecimal digits: {len(digits)}")
    return bytes.fromhex(digits)


def _explain_record(data: bytes, now_ms: int) -> str:
    return explain_contact(PeerRecord.decode(data), now_ms)


def _explain_message(data: bytes, _now_ms: int) -> str:
    try:
        decode_message(data)
    except DecodeError:
        if not _is_application_message(data):
            raise
        return f"message of an application, whose type is not known here: {describe(data)}"
    return f"message: {describe(data)}"


def _is_application_message(data: bytes) -> bool:
    value = codec.decode(data)
    if type(value) is not tuple or not value or type(value[0]) is not int:
        return False
    return APPLICATION_TAG_MIN <= value[0] < TAG_END


def _explain_header(data: bytes, now_ms: int) -> str:
    kind = _kind_of(data)
    if kind not in _NO_PAYLOAD:
        return _explain_frames((data,), now_ms)
    frame = decode_frame((data, _NO_PAYLOAD[kind]))
    return f"{_head(frame, (data,))}\n  its second frame, the payload, was not given"


def _kind_of(data: bytes) -> Kind | None:
    value = codec.decode(data)
    if type(value) is tuple and value and type(value[0]) is int and value[0] in set(Kind):
        return Kind(value[0])
    return None


def _explain_frames(parts: tuple[bytes, ...], now_ms: int) -> str:
    try:
        frame = decode_frame(parts)
    except DecodeError as fault:
        if len(parts) == 1:
            raise
        raise Undecodable(f"no frame: {fault}") from None
    head = _head(frame, parts)
    match frame:
        case Data(seq, _, _, bodies):
            return "\n".join((head, *(_body(seq + n, body) for n, body in enumerate(bodies))))
        case Bulk(seq, _, _, body):
            return f"{head}\n{_body(seq, body)}"
        case Hello():
            return f"{head}\n{_record_in(frame, now_ms)}"
        case _:
            return head


def _head(frame: Frame, parts: tuple[bytes, ...]) -> str:
    sizes = " + ".join(str(len(part)) for part in parts)
    title = f"frame {type(frame).__name__.upper()}, {sizes} bytes"
    match frame:
        case Data(seq, digest, progress, _) | Bulk(seq, digest, progress, _):
            fields = {"seq": seq, "digest": digest, "progress": progress}
            return "\n".join((title, *(render(name, value) for name, value in fields.items())))
        case Ignored(kind):
            return f"{title}: unknown kind {kind}, which is odd and may be ignored"
        case _:
            return f"{title}\n{render('frame', frame)}"


def _body(seq: int, body: bytes) -> str:
    return f"message {seq}: {describe(body)}"


def _record_in(hello: Hello, now_ms: int) -> str:
    try:
        return f"its record: {_explain_record(hello.record, now_ms)}"
    except RecordError as fault:
        return f"its record is not good: {fault}"


_FORMS = {
    _explain_record: "no peer record",
    _explain_message: "no message",
    _explain_header: "no frame",
}
