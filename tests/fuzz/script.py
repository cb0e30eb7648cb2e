"""Bytes as a source of choices: a fuzzer that changes one byte changes one choice."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Script:
    """Reads choices from bytes; past their end every choice is the first one.

    The same bytes always give the same choices, so a finding can be kept and run without a fuzzer.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether bytes are left."""
        return self._at < len(self._data)

    def byte(self) -> int:
        """Return a number below 256."""
        at, self._at = self._at, self._at + 1
        return self._data[at] if at < len(self._data) else 0

    def below(self, end: int) -> int:
        """Return a number below ``end``, which is at most 256."""
        return self.byte() % end

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of ``choices``."""
        return choices[self.below(len(choices))]

    def number(self) -> int:
        """Return a number: mostly a small one, sometimes one of up to eight bytes."""
        first = self.byte()
        return first if first < 0xF8 else int.from_bytes(self.take(first - 0xF7))

    def take(self, size: int) -> bytes:
        """Return up to ``size`` bytes as they stand."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def blob(self) -> bytes:
        """Return bytes that say their own length, in two bytes."""
        return self.take(int.from_bytes(self.take(2)))

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data))


def blob(data: bytes) -> bytes:
    """Return what `Script.blob` reads as ``data``, of less than 64 KiB."""
    return len(data).to_bytes(2) + data
