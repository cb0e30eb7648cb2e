"""Frames that no peer may send, whatever was said before (sections 1 and 3 of the spec)."""

from collections.abc import Iterator
from typing import Any

import msgpack

from tests.corpus.case import ANY, NOTHING, Case, Frame, ends
from tests.corpus.world import ack, bulk, data, hello, hello_fields, pack, progress

_PING = (10, 1)
_BIG = 2**53


def cases() -> Iterator[Case]:
    """Return the cases: each for a listener that knows the peer, or nothing of it, and a dialer."""
    for name, rule, frame in [*_encodings(), *_headers(), *_fields(), *_batches()]:
        yield Case(name, rule, (frame,), ends(), ANY)
    for name, frame in _ignored():
        yield Case(name, "FRM-4", (frame,), NOTHING, ANY)


def _encodings() -> Iterator[tuple[str, str, Frame]]:
    yield "no byte at all", "ENC-1", b""
    yield "a header cut short", "ENC-1", pack(_PING)[:-1]
    yield "a byte behind the header", "ENC-1", pack(_PING) + b"\x00"
    yield "a byte that MessagePack does not use", "ENC-1", b"\x92\x0a\xc1"
    yield "a reason that is not UTF-8", "ENC-1", b"\x93\x0e\x03\xa2\xc3\x28"
    yield "an array that claims 2**32 - 1 items", "ENC-1", b"\xdd" + b"\xff" * 4
    yield "a map that claims 2**32 - 1 pairs", "ENC-1", b"\xdf" + b"\xff" * 4
    yield "bytes that claim 4 GiB", "ENC-1", b"\x92\x0a\xc6" + b"\xff" * 4
    yield "arrays that claim 65,535 items each", "ENC-1", b"\xdc\xff\xff" * 1000
    yield "a token in more bytes than it needs", "ENC-2", b"\x92\x0a\xcc\x01"
    yield "a token as a signed integer", "ENC-2", b"\x92\x0a\xd0\x01"
    yield "a kind in more bytes than it needs", "ENC-2", b"\x92\xcd\x00\x0a\x01"
    yield "an array with a longer header", "ENC-2", b"\xdc\x00\x02\x0a\x01"
    yield "a reason with a longer header", "ENC-2", b"\x93\x0e\x01\xd9\x01x"
    yield "a digest with a longer header", "ENC-2", ack().replace(b"\xc4\x10", b"\xc5\x00\x10", 1)
    yield "a map with a longer header", "ENC-2", hello()[:-1] + b"\xde\x00\x00"
    yield "nil as token", "ENC-3", pack((10, None))
    yield "a float as token", "ENC-3", pack((10, 1.0))
    yield "an extension type as token", "ENC-3", pack((10, msgpack.ExtType(5, b"x")))
    yield "a timestamp as token", "ENC-3", b"\x92\x0a\xd6\xff\x00\x00\x00\x00"
    yield "a header of five levels", "ENC-4", pack((11, ((((),),),)))
    yield "a thousand levels", "ENC-4", b"\x91" * 1000 + b"\x90"
    yield "a batch of two levels", "ENC-4", (data(b"x")[0], pack(((b"x",),)))
    yield "a header of 1,025 items", "ENC-4", pack((11, *[0] * 1023))
    yield "a batch of 1,025 items", "ENC-4", (data(b"x")[0], pack((b"",) * 1024))
    yield "a batch that claims too much", "ENC-1", (data(b"x")[0], b"\xdd\x00\x01\x00\x00")
    yield "an extension twice", "ENC-5", hello()[:-1] + b"\x82\x07\xc4\x00\x07\xc4\x00"
    yield "extensions that descend", "ENC-5", hello()[:-1] + b"\x82\x09\xc4\x00\x07\xc4\x00"
    yield "text as the key of an extension", "ENC-5", hello()[:-1] + b"\x81\xa1x\xc4\x00"
    yield "an extension below zero", "ENC-5", hello()[:-1] + b"\x81\xff\xc4\x00"


def _headers() -> Iterator[tuple[str, str, Frame]]:
    yield "no ZMTP frame", "FRM-1", ()
    yield "three ZMTP frames", "FRM-1", (*data(b"x"), b"")
    yield "DATA without a batch", "FRM-1", data(b"x")[0]
    yield "BULK without a body", "FRM-1", bulk(bytes(32_768))[0]
    yield "PING with a second ZMTP frame", "FRM-1", (pack(_PING), b"")
    yield "WHO with a batch", "FRM-1", (pack((16,)), pack((b"x",)))
    yield "a header of 65,537 bytes", "FRM-2", pack((11, bytes(65_532)))
    yield "a header that is a map", "FRM-2", pack({10: 1})
    yield "a header that is a number", "FRM-2", pack(10)
    yield "a header of nothing", "FRM-2", pack(())
    yield "text as kind", "FRM-2", pack(("PING", 1))
    yield "true as kind", "FRM-2", pack((True, 1))
    yield "a kind below zero", "FRM-2", pack((-1, 1))
    yield "kind 0", "FRM-4", pack((0,))
    yield "an unknown even kind", "FRM-4", pack((20, 1))
    yield "the largest even kind", "FRM-4", pack((2**64 - 2,))


def _ignored() -> Iterator[tuple[str, Frame]]:
    yield "an unknown odd kind", pack((11, "what is this", {5: b""}))
    yield "an unknown odd kind with a second ZMTP frame", (pack((2**64 - 1,)), b"\xc1 any bytes")


def _fields() -> Iterator[tuple[str, str, Frame]]:
    yield "true as token", "FRM-3", pack((10, True))
    yield "a token below zero", "FRM-3", pack((10, -1))
    yield "a token of 2**53", "FRM-3", pack((10, _BIG))
    yield "PING without a token", "FRM-3", pack((10,))
    yield "WHO with a field", "FRM-3", pack((16, 0))
    yield "PONG without progress", "FRM-3", pack((12, 1))
    yield "BYE with bytes as reason", "FRM-3", pack((14, 1, b""))
    yield "BYE with a reason of 201 bytes", "FRM-3", pack((14, 1, "x" * 201))
    yield "BYE with code 0", "BYE-1", pack((14, 0, ""))
    yield "BYE with an unknown code", "BYE-1", pack((14, 15, ""))
    for name, rule, changes in _progresses():
        yield f"ACK with {name}", rule, ack(**changes)
    yield "GAP with received below ack", "ACK-2", pack((18, *progress(ack=1)))
    yield "ACK with a field too many", "FRM-3", pack((8, *progress(), 0))
    yield "DATA with number 0", "SEQ-1", data(b"x", seq=0)
    yield "DATA with number 2**53", "FRM-3", data(b"x", seq=_BIG)
    yield "DATA with true as number", "FRM-3", data(b"x", seq=True)
    yield "DATA with a digest of 15 bytes", "FRM-3", data(b"x", digest=bytes(15))
    for name, rule, changes in _hellos():
        yield f"HELLO with {name}", rule, hello(**changes)
    yield "HELLO with a field too few", "FRM-3", pack(tuple(hello_fields()[:-1]))


def _progresses() -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "base 0", "SEQ-1", {"base": 0}
    yield "an ack below zero", "FRM-3", {"ack": -1}
    yield "received below ack", "ACK-2", {"ack": 1, "received": 0}
    yield "text as received", "FRM-3", {"received": "1"}
    yield "a digest of 17 bytes", "FRM-3", {"ack_digest": bytes(17)}
    yield "a window of 2**53 messages", "FRM-3", {"window_messages": _BIG}
    yield "a window of less than nothing", "FRM-3", {"window_bytes": -1}
    one = {"ack": 5, "received": 5}
    yield "a refusal above ack", "REF-3", {**one, "refusals": ((6, 1, ""),)}
    yield "refusals that descend", "REF-3", {**one, "refusals": ((2, 1, ""), (1, 1, ""))}
    yield "a refusal twice", "REF-3", {**one, "refusals": ((2, 1, ""), (2, 1, ""))}
    yield (
        "65 refusals",
        "REF-3",
        {
            "ack": 99,
            "received": 99,
            "refusals": tuple((seq, 1, "") for seq in range(1, 66)),
        },
    )
    yield "a refusal of two items", "REF-3", {**one, "refusals": ((1, 1),)}
    yield "a map of refusals", "REF-3", {**one, "refusals": {}}
    yield "an unknown code of a refusal", "REF-1", {**one, "refusals": ((1, 10, ""),)}
    yield "a refusal of number 0", "SEQ-1", {**one, "refusals": ((0, 1, ""),)}
    yield "a refusal with a reason of 201 bytes", "FRM-3", {**one, "refusals": ((1, 1, "x" * 201),)}


def _hellos() -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "no versions", "HEL-1", {"versions": ()}
    yield "17 versions", "HEL-1", {"versions": tuple(range(1, 18))}
    yield "a next number below its base", "HEL-2", {"base": 3, "next": 2}
    yield "a cursor in a stream that it does not know", "HEL-2", {"cursor": 1}
    yield "a stream that it knows but no digest", "HEL-2", {"seen_stream": bytes(16)}
    yield "a digest but no stream", "HEL-2", {"seen_digest": bytes(16)}
    yield "a record of 2,049 bytes", "FRM-3", {"record": bytes(2049)}
    yield "an incarnation of 2**53", "FRM-3", {"incarnation": _BIG}
    yield "an instance of 9 bytes", "FRM-3", {"instance": bytes(9)}
    yield "a stream of 15 bytes", "FRM-3", {"stream": bytes(15)}
    yield "a window of one number", "FRM-3", {"window": (1,)}
    yield "heard 0", "SEQ-1", {"heard": 0}
    yield "an unknown even extension", "FRM-5", {"extensions": {2: b""}}
    yield "17 extensions", "FRM-5", {"extensions": {2 * n + 1: b"" for n in range(17)}}
    yield "an array of extensions", "FRM-5", {"extensions": ()}
    yield "an extension that is text", "FRM-3", {"extensions": {1: ""}}
    yield "an extension of 2,049 bytes", "FRM-3", {"extensions": {1: bytes(2049)}}


def _batches() -> Iterator[tuple[str, str, Frame]]:
    header = data(b"x")[0]
    yield "a batch of nothing", "FRM-6", (header, pack(()))
    yield "a batch of 257 messages", "FRM-6", (header, pack((b"",) * 257))
    yield "a batch of text", "FRM-6", (header, pack(("x",)))
    yield "a batch that is one message", "FRM-6", (header, pack(b"x"))
    yield "a batch of 81,921 bytes", "FRM-6", (header, pack((bytes(40_000), bytes(41_914))))
    yield "a batch that is not canonical", "ENC-2", (header, b"\x91\xc5\x00\x01x")
    yield "a bulk body of 32,767 bytes", "FRM-6", bulk(bytes(32_767))
    yield "a bulk body of 262,145 bytes", "FRM-6", bulk(bytes(262_145))
