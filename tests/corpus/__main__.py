"""Writes the hostile cases: ``python -m tests.corpus``. A test sees to it that they are current."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.corpus import links, messages, shapes, world
from tests.corpus.case import Case, Frame
from zmqp2p.records import PeerRecord

HOSTILE = Path(__file__).parents[1] / "vectors" / "hostile"
_RUN_MIN = 40  # A byte that is repeated so often is written once, with the number.

_CASES = {"shapes": shapes, "links": links, "messages": messages}


def files() -> Iterator[tuple[str, str]]:
    """Return the name and the content of each file."""
    yield "world.json", _text(_world())
    for name, module in _CASES.items():
        about = str(module.__doc__).splitlines()[0]
        yield f"{name}.json", _text({"about": about, "cases": list(map(_plain, module.cases()))})


def _world() -> dict[str, Any]:
    return {
        "about": "What there is before each case; see README.md.",
        "now_ms": world.NOW_MS,
        "node": {
            "secret": world.NODE.secret.hex(),
            "address": world.NODE.address.hex(),
            "record": world.NODE_RECORD.hex(),
            "window": [world.WINDOW_MESSAGES, world.WINDOW_BYTES],
            "message_max_bytes": world.MESSAGE_MAX_BYTES,
            "stream": world.NODE_STREAM.hex(),
            "outbox": [world.NODE_BODY.hex()],
        },
        "attacker": {
            "address": world.ATTACKER.address.hex(),
            "curve_key": world.CURVE[world.ATTACKER.address].hex(),
            "contact": str(PeerRecord.decode(world.RECORD)),
            "hello": _hex(world.hello()),
        },
    }


def _plain(case: Case) -> dict[str, Any]:
    said = [list(map(_hex, _parts(frame))) for frame in case.say]
    repeated = len(said) if said.count(said[0]) == len(said) else 1
    plain: dict[str, Any] = {
        "name": case.name,
        "rule": case.rule,
        "links": list(case.links),
        "say": said[:1] if repeated > 1 else said,
        "times": repeated,
        "expected": case.expected.plain(),
    }
    if case.apart:
        plain["apart"] = True
    if case.curve_key is not None:
        plain["curve_key"] = case.curve_key.hex()
    return plain


def _parts(frame: Frame) -> tuple[bytes, ...]:
    return (frame,) if isinstance(frame, bytes) else tuple(frame)


def _hex(data: bytes) -> str:
    """Return ``data`` in hex, in groups: ``5a*40`` is a byte 40 times."""
    groups, at = [], 0
    for start, end in _runs(data):
        groups += [data[at:start].hex(), f"{data[start]:02x}*{end - start}"]
        at = end
    return " ".join(filter(None, [*groups, data[at:].hex()]))


def _runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where a byte is repeated `_RUN_MIN` times or more begins and ends."""
    start = 0
    for at in range(1, len(data) + 1):
        if at == len(data) or data[at] != data[start]:
            if at - start >= _RUN_MIN:
                yield start, at
            start = at


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, text in files():
        (HOSTILE / name).write_text(text, encoding="utf-8")
