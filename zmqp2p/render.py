"""Decoded values as indented lines for people. Bounded, and safe to print.

Text that a peer wrote is shown as a Python literal: control characters, which a terminal would
obey, are escaped.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from enum import Enum

from zmqp2p.crypto import Signature

_SHOWN_ITEMS = 64  # Of one array; a list longer than a screen helps nobody.
_SHOWN_BYTES = 96  # Hashes and signatures are shown whole.


def render(label: str, value: object, indent: int = 1) -> str:
    """Return ``value`` (a dataclass or a codec value) as lines, the first one ``label: …``."""
    return "\n".join(_lines(label, value, indent))


def hex_text(data: bytes) -> str:
    """Return ``data`` as ``0x…``, the first bytes of it if it is long."""
    if len(data) <= _SHOWN_BYTES:
        return "0x" + data.hex()
    return f"0x{data[:_SHOWN_BYTES].hex()}… ({len(data)} bytes)"


def printable(text: str, most_bytes: int) -> str:
    """Return ``text``, which a peer wrote, safe to show: escaped where it does not print, and cut.

    Terminals obey control characters, in logs and status displays too.
    """
    if not text.isprintable():
        text = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    return text.encode()[:most_bytes].decode(errors="ignore")


def _lines(label: str, value: object, indent: int) -> Iterator[str]:
    parts = _parts(value)
    head = f"{'  ' * indent}{label}: "
    if parts is None:
        yield head + _scalar(value)
        return
    yield head + _kind(value)
    for shown, (name, part) in enumerate(parts):
        if shown == _SHOWN_ITEMS:
            yield f"{'  ' * (indent + 1)}…"
            return
        yield from _lines(name, part, indent + 1)


def _parts(value: object) -> Iterable[tuple[str, object]] | None:
    """Return the named parts of ``value``; None if it is shown on one line."""
    if isinstance(value, Signature):
        return None
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, tuple):
        return ((f"[{index}]", item) for index, item in enumerate(value))
    if isinstance(value, dict):
        return ((str(key), item) for key, item in value.items())
    return None


def _kind(value: object) -> str:
    if isinstance(value, tuple | dict):
        return f"{len(value)} item{'' if len(value) == 1 else 's'}"
    return type(value).__name__


def _scalar(value: object) -> str:
    if isinstance(value, Signature):
        return hex_text(value.to_bytes())
    if isinstance(value, bytes):
        return hex_text(value)
    if isinstance(value, str) and len(value) > _SHOWN_BYTES:
        return f"{value[:_SHOWN_BYTES]!r}… ({len(value)} characters)"
    if isinstance(value, Enum):
        return value.name.lower()
    return repr(value)
