"""Frames to bytes and back. Any bytes give a frame or a `PeerError`, nothing else.

A ZMTP message is one header frame, a canonical MessagePack array whose first item is the kind, and
for DATA and BULK one more frame. DATA's is a MessagePack array of bin, one per message; BULK's is
the body itself. One packed frame instead of one per message: each ZMTP frame costs about 4 µs in
Python on each side, a packed message 0.5 µs.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from zmqp2p import codec, limits
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.errors import DecodeError
from zmqp2p.ids import (
    INSTANCE_ID_SIZE,
    STREAM_DIGEST_SIZE,
    STREAM_ID_SIZE,
    InstanceId,
    Seq,
    StreamDigest,
    StreamId,
)
from zmqp2p.wire.frames import (
    Ack,
    Bulk,
    Bye,
    Data,
    Frame,
    Gap,
    Hello,
    Ignored,
    Kind,
    Ping,
    Pong,
    Progress,
    Refusal,
    Who,
)

NUMBER_MAX = 2**53 - 1  # Every language reads it exactly, and every store can hold it.
VERSIONS_MAX = 16
EXTENSIONS_MAX = 16
_KNOWN = {int(kind): kind for kind in Kind}
_PONG_HEAD = bytes((0x99, Kind.PONG))  # An array of nine; the token follows.
_PONG_TAIL_AT = len(_PONG_HEAD) + 1  # Where the token is 0.


def encode_frame(frame: Frame) -> tuple[bytes, ...]:
    """Return the ZMTP frames, one or two, that say ``frame``."""
    if isinstance(frame, Ignored):
        return (codec.encode_trusted((frame.kind,)),)
    kind, fields_of = _WRITERS[type(frame)]
    header = codec.encode_trusted((kind, *fields_of(frame)))
    if isinstance(frame, Data):
        return header, codec.encode_trusted(frame.bodies)
    if isinstance(frame, Bulk):
        return header, frame.body
    return (header,)


def pong_tail(progress: Progress) -> bytes:
    """Return how the encoding of each PONG ends that says ``progress``, whatever its token."""
    return encode_frame(Pong(0, progress))[0][_PONG_TAIL_AT:]


def is_pong(parts: Sequence[bytes], token: int, tail: bytes) -> bool:
    """Whether ``parts`` are the encoding of the PONG with ``token`` that ends with ``tail``."""
    return len(parts) == 1 and parts[0] == _PONG_HEAD + codec.encode_trusted(token) + tail


def decode_frame(parts: Sequence[bytes]) -> Frame:
    """Return the frame that the ZMTP frames ``parts`` say.

    Raises:
        DecodeError: anything else (FRM-1 to FRM-6, ENC-1 to ENC-5).
    """
    if not 1 <= len(parts) <= 2:  # noqa: PLR2004  # FRM-1: a header and at most one frame more.
        raise DecodeError("FRM-1", f"{len(parts)} frames")
    if len(parts[0]) > limits.HEADER_MAX_BYTES:
        raise DecodeError("FRM-2", f"header of {len(parts[0])} bytes")
    header = codec.decode(parts[0], depth_max=4, items_max=limits.HEADER_MAX_ITEMS)
    if type(header) is not tuple or not header or type(header[0]) is not int or header[0] < 0:
        raise DecodeError("FRM-2", "header is not an array that starts with a kind")
    number, fields = header[0], header[1:]
    kind = _KNOWN.get(number)
    if kind is None:
        if number % 2:
            return Ignored(number)
        raise DecodeError("FRM-4", f"unknown kind {number}")
    if (kind in (Kind.DATA, Kind.BULK)) != (len(parts) == 2):  # noqa: PLR2004  # FRM-1 as above.
        raise DecodeError("FRM-1", f"kind {kind} with {len(parts)} frames")
    return _decode_known(kind, fields, parts[-1])


def clip_reason(reason: str) -> str:
    """Return ``reason`` cut to what may travel: `REASON_MAX_BYTES` of valid UTF-8."""
    data = reason.encode(errors="replace")[: limits.REASON_MAX_BYTES]
    return data.decode(errors="ignore")


def _decode_known(kind: Kind, fields: tuple[codec.Value, ...], payload: bytes) -> Frame:
    count, read = _READERS[kind]
    if len(fields) != count:
        raise DecodeError("FRM-3", f"{kind.name} has {len(fields)} fields, not {count}")
    return read(fields, payload)


def _progress_fields(progress: Progress) -> tuple[codec.Value, ...]:
    return (
        progress.base,
        progress.ack,
        progress.digest,
        progress.received,
        _refusal_fields(progress.refusals),
        progress.window_messages,
        progress.window_bytes,
    )


def _progress(fields: tuple[codec.Value, ...]) -> Progress:
    base, ack, digest, received, refusals, window_messages, window_bytes = fields
    progress = Progress(
        _seq(base),
        Seq(_number(ack, "ack")),
        _digest(digest),
        Seq(_number(received, "received")),
        _refusals(refusals, _number(ack, "ack")),
        _number(window_messages, "window_messages"),
        _number(window_bytes, "window_bytes"),
    )
    if progress.received < progress.ack:
        raise DecodeError("ACK-2", "received is below ack")
    return progress


def _hello_fields(hello: Hello) -> tuple[codec.Value, ...]:
    return (
        hello.versions,
        hello.record,
        hello.incarnation,
        hello.instance,
        hello.stream,
        hello.base,
        hello.base_digest,
        hello.next,
        hello.seen_stream,
        hello.cursor,
        hello.seen_digest,
        hello.heard,
        _refusal_fields(hello.refusals),
        (hello.window_messages, hello.window_bytes),
        {key: hello.extensions[key] for key in sorted(hello.extensions)},
    )


def _decode_hello(fields: tuple[codec.Value, ...]) -> Hello:
    cursor = Seq(_number(fields[9], "cursor"))
    window = fields[13]
    if type(window) is not tuple or len(window) != 2:  # noqa: PLR2004  # Messages and bytes.
        raise DecodeError("FRM-3", "window is not a pair")
    hello = Hello(
        versions=_versions(fields[0]),
        record=_bytes(fields[1], "record", limits.RECORD_MAX_BYTES),
        incarnation=_number(fields[2], "incarnation"),
        instance=InstanceId(_sized(fields[3], "instance", INSTANCE_ID_SIZE)),
        stream=StreamId(_sized(fields[4], "stream", STREAM_ID_SIZE)),
        base=_seq(fields[5]),
        base_digest=_digest(fields[6]),
        next=_seq(fields[7]),
        seen_stream=StreamId(_sized_or_empty(fields[8], "seen_stream", STREAM_ID_SIZE)),
        cursor=cursor,
        seen_digest=StreamDigest(_sized_or_empty(fields[10], "seen_digest", STREAM_DIGEST_SIZE)),
        heard=_seq(fields[11]),
        refusals=_refusals(fields[12], cursor),
        window_messages=_number(window[0], "window_messages"),
        window_bytes=_number(window[1], "window_bytes"),
        extensions=_extensions(fields[14]),
    )
    if hello.next < hello.base:
        raise DecodeError("HEL-2", "next is below base")
    if not hello.seen_stream and hello.cursor:
        raise DecodeError("HEL-2", "a cursor without a stream")
    if bool(hello.seen_stream) != bool(hello.seen_digest):
        raise DecodeError("HEL-2", "seen_stream and seen_digest: one without the other")
    return hello


def _refusal_fields(refusals: tuple[Refusal, ...]) -> tuple[codec.Value, ...]:
    return tuple((r.seq, r.code.value, r.reason) for r in refusals)


def _refusals(value: codec.Value, ack: int) -> tuple[Refusal, ...]:
    if value == ():
        return ()
    if type(value) is not tuple or len(value) > limits.REFUSALS_MAX:
        raise DecodeError("REF-3", "refusals are not an array of permitted length")
    refusals = tuple(_refusal(item) for item in value)
    numbers = [refusal.seq for refusal in refusals]
    if any(a >= b for a, b in pairwise(numbers)) or numbers[-1] > ack:
        raise DecodeError("REF-3", "refusals must ascend and be covered by the ack")
    return refusals


def _refusal(item: codec.Value) -> Refusal:
    if type(item) is not tuple or len(item) != 3:  # noqa: PLR2004  # [seq, code, reason]
        raise DecodeError("REF-3", "a refusal is [seq, code, reason]")
    code = _number(item[1], "code")
    try:
        known = RefusalCode(code)
    except ValueError:
        raise DecodeError("REF-1", f"unknown refusal code {code}") from None
    return Refusal(_seq(item[0]), known, _reason(item[2]))


def _versions(value: codec.Value) -> tuple[int, ...]:
    if type(value) is not tuple or not 1 <= len(value) <= VERSIONS_MAX:
        raise DecodeError("HEL-1", "versions are not an array of permitted length")
    return tuple(_number(version, "version") for version in value)


def _extensions(value: codec.Value) -> dict[int, bytes]:
    """Known and odd keys are kept; the meaning of an even one would have to be understood."""
    if type(value) is not dict or len(value) > EXTENSIONS_MAX:
        raise DecodeError("FRM-5", "extensions are not a map of permitted size")
    for key, item in value.items():
        if key % 2 == 0:
            raise DecodeError("FRM-5", f"unknown extension {key}")
        _bytes(item, f"extension {key}", limits.RECORD_MAX_BYTES)
    return value  # type: ignore[return-value]  # Each value was just checked.


def _bodies(payload: bytes) -> tuple[bytes, ...]:
    if len(payload) > limits.BATCH_MAX_BYTES + limits.BULK_MIN_BYTES:
        raise DecodeError("FRM-6", f"a batch of {len(payload)} bytes")
    bodies = codec.decode(payload, depth_max=1, items_max=limits.HEADER_MAX_ITEMS)
    if type(bodies) is not tuple or not 1 <= len(bodies) <= limits.BATCH_MAX_MESSAGES:
        raise DecodeError("FRM-6", "a batch is an array of 1 to 256 messages")
    if not all(type(body) is bytes for body in bodies):
        raise DecodeError("FRM-6", "a batch holds bin only")
    return bodies  # type: ignore[return-value]  # Each item was just checked.


def _bulk_body(payload: bytes) -> bytes:
    if not limits.BULK_MIN_BYTES <= len(payload) <= limits.BODY_MAX_BYTES:
        raise DecodeError("FRM-6", f"a bulk body of {len(payload)} bytes")
    return payload


def _sized_or_empty(value: codec.Value, name: str, size: int) -> bytes:
    return b"" if value == b"" else _sized(value, name, size)


def _digest(value: codec.Value) -> StreamDigest:
    return StreamDigest(_sized(value, "digest", STREAM_DIGEST_SIZE))


def _bye_code(value: codec.Value) -> ByeCode:
    code = _number(value, "code")
    try:
        return ByeCode(code)
    except ValueError:
        raise DecodeError("BYE-1", f"unknown code {code}") from None


def _seq(value: codec.Value) -> Seq:
    number = _number(value, "sequence number")
    if number == 0:
        raise DecodeError("SEQ-1", "the first number is 1")
    return Seq(number)


def _number(value: codec.Value, name: str) -> int:
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise DecodeError("FRM-3", f"{name} is not an integer from 0 to 2**53 - 1")
    return value


def _sized(value: codec.Value, name: str, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise DecodeError("FRM-3", f"{name} is not bin {size}")
    return value


def _bytes(value: codec.Value, name: str, most: int) -> bytes:
    if type(value) is not bytes or len(value) > most:
        raise DecodeError("FRM-3", f"{name} is not bin of at most {most} bytes")
    return value


def _reason(value: codec.Value) -> str:
    if type(value) is not str or len(value.encode()) > limits.REASON_MAX_BYTES:
        raise DecodeError("FRM-3", f"reason is not str of at most {limits.REASON_MAX_BYTES} bytes")
    return value


_Fields = tuple[codec.Value, ...]

_WRITERS: dict[type, tuple[Kind, Callable[[Any], _Fields]]] = {
    Hello: (Kind.HELLO, _hello_fields),
    Data: (Kind.DATA, lambda data: (data.seq, data.digest, *_progress_fields(data.progress))),
    Bulk: (Kind.BULK, lambda bulk: (bulk.seq, bulk.digest, *_progress_fields(bulk.progress))),
    Ack: (Kind.ACK, lambda ack: _progress_fields(ack.progress)),
    Gap: (Kind.GAP, lambda gap: _progress_fields(gap.progress)),
    Ping: (Kind.PING, lambda ping: (ping.token,)),
    Pong: (Kind.PONG, lambda pong: (pong.token, *_progress_fields(pong.progress))),
    Bye: (Kind.BYE, lambda bye: (bye.code.value, clip_reason(bye.reason))),
    Who: (Kind.WHO, lambda _who: ()),
}

# How many fields follow the kind, and what reads them and the second frame.
_READERS: dict[Kind, tuple[int, Callable[[_Fields, bytes], Frame]]] = {
    Kind.HELLO: (15, lambda fields, _: _decode_hello(fields)),
    Kind.DATA: (9, lambda f, p: Data(_seq(f[0]), _digest(f[1]), _progress(f[2:]), _bodies(p))),
    Kind.BULK: (9, lambda f, p: Bulk(_seq(f[0]), _digest(f[1]), _progress(f[2:]), _bulk_body(p))),
    Kind.ACK: (7, lambda fields, _: Ack(_progress(fields))),
    Kind.GAP: (7, lambda fields, _: Gap(_progress(fields))),
    Kind.PING: (1, lambda fields, _: Ping(_number(fields[0], "token"))),
    Kind.PONG: (8, lambda f, _: Pong(_number(f[0], "token"), _progress(f[1:]))),
    Kind.BYE: (2, lambda fields, _: Bye(_bye_code(fields[0]), _reason(fields[1]))),
    Kind.WHO: (0, lambda _fields, _: Who()),
}
