"""How the spec and its vectors write values and bytes as text.

A value is written in the diagnostic notation of CBOR (RFC 8949, section 8), of which MessagePack
needs little: ``[1, -2, true, "text", h'00ff', {1: 2}]``. ``h'5a'*3`` is ``h'5a5a5a'``. Bytes alone
are hexadecimal digits in groups: ``93 0001 5a*3`` is ``93 00 01 5a 5a 5a``.
"""

import json
import re
from collections.abc import Iterator

from zmqp2p.codec import Value

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<int>-?[0-9]+)
      | (?P<word>true|false)
      | (?P<text>"(?:[^"\\]|\\.)*")
      | h'(?P<hex>[0-9a-f]*)'(?:\*(?P<times>[0-9]+))?
      | (?P<mark>[\[\]{},:])
    )""",
    re.VERBOSE,
)


def unhex(text: str) -> bytes:
    """Return the bytes of groups of digits; ``5a*3`` is a group three times."""
    parts = []
    for group in text.split():
        digits, _, times = group.partition("*")
        parts.append(bytes.fromhex(digits) * int(times or "1"))
    return b"".join(parts)


def parse(text: str) -> Value:
    """Return the value that ``text`` writes."""
    tokens = _tokens(text)
    value = _value(tokens, next(tokens))
    if next(tokens, None) is not None:
        raise ValueError(f"more than one value: {text}")
    return value


def write(value: Value) -> str:
    """Return ``value`` in the notation, without repetitions; the inverse of `parse`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return f"[{', '.join(map(write, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {write(item)}' for key, item in value.items())}}}"
    return str(value)


def _tokens(text: str) -> Iterator[re.Match[str]]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"cannot read {text[at : at + 20]!r}")
        at = found.end()
        yield found


def _value(tokens: Iterator[re.Match[str]], token: re.Match[str]) -> Value:
    if token["int"]:
        return int(token["int"])
    if token["word"]:
        return token["word"] == "true"
    if token["text"]:
        return str(json.loads(token["text"]))
    if token["hex"] is not None:
        return bytes.fromhex(token["hex"]) * int(token["times"] or "1")
    if token["mark"] == "[":
        return tuple(_items(tokens, "]"))
    if token["mark"] == "{":
        return dict(_pairs(tokens))
    raise ValueError(f"unexpected {token['mark']}")


def _items(tokens: Iterator[re.Match[str]], end: str) -> Iterator[Value]:
    token = next(tokens)
    while token["mark"] != end:
        yield _value(tokens, token)
        token = next(tokens)
        if token["mark"] == ",":
            token = next(tokens)


def _pairs(tokens: Iterator[re.Match[str]]) -> Iterator[tuple[int, Value]]:
    token = next(tokens)
    while token["mark"] != "}":
        key = int(token["int"])
        if next(tokens)["mark"] != ":":
            raise ValueError("a colon must follow a key")
        yield key, _value(tokens, next(tokens))
        token = next(tokens)
        if token["mark"] == ",":
            token = next(tokens)
