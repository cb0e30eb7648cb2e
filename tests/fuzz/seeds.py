"""Where the fuzzers begin: the vectors of the spec, and inputs that once showed a fault."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.script import blob
from tests.notation import unhex
from tests.unit.objectives.test_record import ALL
from zmqp2p import codec
from zmqp2p.transport.options import ZAP_DOMAIN

VECTORS = Path(__file__).parents[1] / "vectors"
FINDINGS = Path(__file__).parent / "findings.json"
_LONGEST = 16 * 1024  # Longer inputs teach a fuzzer little, and are slow.


def findings(target: str | None) -> list[bytes]:
    """Return the inputs that once showed a fault in what ``target`` runs; all, for None."""
    found: list[dict[str, str]] = json.loads(FINDINGS.read_text(encoding="utf-8"))
    return [unhex(one["input"]) for one in found if target in (None, one["target"])]


def values() -> Iterator[bytes]:
    """Encoded values, good and bad, each after its bound on nesting."""
    for case in [*_cases("encoding", "good"), *_cases("encoding", "bad")]:
        yield from _short(bytes([codec.DEPTH_MAX]) + unhex(case["bytes"]))


def frames() -> Iterator[bytes]:
    """Frames, good and bad."""
    for group in ("good", "ignored", "bad"):
        for case in _cases("frames", group):
            parts = [unhex(part) for part in case["frames"]]
            if all(len(part) < 1 << 16 for part in parts[:-1]):
                head = b"".join(map(blob, parts[:-1]))
                yield from _short(bytes([len(parts)]) + head + b"".join(parts[-1:]))


def bodies() -> Iterator[bytes]:
    """Bodies of messages, good and bad."""
    for group in ("good", "tolerated", "bad"):
        for case in _cases("messages", group):
            yield from _short(unhex(case["bytes"]))
    pair = (5, "five")
    yield codec.encode((64_001, -1, "text", b"data", True, (pair, pair), (b"", (False,))))
    yield codec.encode((64_001, 2**63, "", b"", False, (), (b"\x00", ()), {1: 5, 3: 1}))


def records() -> Iterator[bytes]:
    """Records, good and bad; and the same without signature, for the fuzzer to sign."""
    for case in [*_cases("records", "good"), *_cases("records", "bad")]:
        data = unhex(case["bytes"])
        yield b"\x00" + data
        if data[0] == 0x97:  # An array of seven; the last field is the signature.
            yield b"\x01\x96" + data[1:-67]


def objectives() -> Iterator[bytes]:
    """Channels at several points of their funding."""
    for fund in (make() for make in ALL):
        yield fund.encode()


def contacts() -> Iterator[bytes]:
    """Records and URIs as text, and addresses."""
    content = _load("records")
    uris = content["uris"]
    for case in [*content["good"], *content["keys"]["cases"], *uris["good"], *uris["bad"]]:
        yield (case if isinstance(case, str) else case["text"]).encode()
    for case in content["bad_texts"]:
        yield case["text"].encode()


def endpoints() -> Iterator[bytes]:
    """Endpoints as people write them."""
    yield b"tcp://127.0.0.1:7001"
    yield b"tcp://[2001:db8::1%eth0]:7001"
    yield b"tcp://localhost:65535"
    yield b"tcp://*:0"
    yield b"ipc:///run/zmqp2p/alice"


def zap_requests() -> Iterator[bytes]:
    """Requests that are admitted, with CURVE and without."""
    head = [b"1.0", b"1", ZAP_DOMAIN, b"192.0.2.1", b"routing id"]
    yield b"\x01\x07" + b"".join(map(blob, [*head, b"CURVE", bytes(32)]))
    yield b"\x00\x06" + b"".join(map(blob, [*head, b"NULL"]))


def parts() -> Iterator[bytes]:
    """Messages of two and of three parts, and one that breaks off."""
    yield bytes([1, 0, 0, 0, 0, 1, 0, 0])
    yield bytes([2, 0, 0, 0, 1, 0, 0, 0, 0, 3, 0, 0])
    yield bytes([9, 0, 0, 0, 3, 0, 0, 3]) + blob(codec.encode((0, 8, b"x")))


# Steps of `conversation`, and what `speech` makes of the bytes: an honest peer, mostly.
_PROGRESS = bytes([0, 0, 0, 0, 1, 0, 0])
_LOW, _HIGH = bytes([1, 0, 0, 0]), bytes([1, 1, 1, 0])  # They come in and say HELLO.
_HANDLED, _FAILED, _LATER = b"\x03\x00\x05", b"\x03\x00\x01", b"\x05\x04"
_APPROVED, _PROPOSE = b"\x0d\x01", b"\x10"
_SEND, _DIAL, _ASK = b"\x04\x00\x00\x01", b"\x07\x00\x08\x00\x01", b"\x12\x00\x01"


def _data(*body: int, link: int = 0) -> bytes:
    return bytes([0, link, 0, 0, 1]) + _PROGRESS + bytes([0, *body, 0, 0])


def _bulk(*body: int, link: int = 0) -> bytes:
    return bytes([0, link, 3, 0, 1]) + _PROGRESS + bytes([*body, 0])


def _deposits(*held: int) -> bytes:
    return b"".join(bytes([17, 0, index, 0]) for index in held)


def conversations() -> Iterator[bytes]:
    """What honest peers and applications do, and chance."""
    yield _LOW + _data(0, 1) * 3 + _HANDLED
    yield _DIAL + _data(0, 1) + _SEND + _data(0, 1) + _ASK
    yield _LOW + _bulk(3, 1, 0) + _data(3, 0, 1) + _SEND + _ASK
    yield _LOW + _data(0, 1) + _FAILED + _LATER + _FAILED + _LATER + _FAILED + _ASK
    yield _LOW + _HIGH + (_data(0, 3) + _data(0, 3, link=1)) * 3 + _HANDLED * 4
    proposed = _LOW + _HIGH + _data(0, 7) + _APPROVED + _data(0, 16, link=1)
    yield proposed + _deposits(1, 2, 3) + _data(0, 19) + _data(0, 20, link=1)
    yield proposed + bytes([17, 0, 1, 1]) + _LATER + _deposits(1, 2) + b"\x0f" + _deposits(3)
    yield _LOW + _PROPOSE + _data(0, 23) + _deposits(1, 2) + _data(0, 24)
    waiting = _LOW + _HIGH + _data(0, 1) + _data(0, 1, link=1)  # Nobody handles these two.
    yield waiting + (_bulk(4, 3) + _bulk(4, 3, link=1)) * 6  # More than there is room for.
    undecodable = bytes([0, 0, 0, 0, 1]) + _PROGRESS + bytes([2, 0, 5, 0, 5, 0, 5, 0, 0])
    yield _LOW + undecodable * 24  # More refusals than may be unheard.
    yield bytes(range(256)) * 2
    for seed in range(40):
        yield Random(seed).randbytes(300)


def _short(data: bytes) -> Iterator[bytes]:
    if len(data) <= _LONGEST:
        yield data


def _load(name: str) -> dict[str, Any]:
    file = VECTORS / "zp2p-1" / f"{name}.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _cases(name: str, group: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = _load(name)[group]
    return cases
