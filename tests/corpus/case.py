"""A hostile case: what is said over one link, and what the node must make of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zmqp2p.codes import ByeCode, RefusalCode

ANY = ("established", "greeted", "silent")
Frame = bytes | Sequence[bytes]
"""A ZMTP message: its one ZMTP frame, or all of them."""


@dataclass(frozen=True)
class Expected:
    """What the node does: the frames that leave over the link, and whether it ends."""

    answers: tuple[str, ...] = ()
    closed: bool = False
    bye: ByeCode | None = None
    refusals: tuple[tuple[int, RefusalCode], ...] = ()  # As its last progress says.
    held: bool = False  # The session goes on with none of its links.

    def plain(self) -> dict[str, Any]:
        """Return it for a file; what is not said is not the case."""
        said: dict[str, Any] = {"answers": list(self.answers), "closed": self.closed}
        if self.bye is not None:
            said |= {"bye": self.bye.value, "bye_name": self.bye.name}
        if self.refusals:
            said["refusals"] = [[seq, code.value, code.name] for seq, code in self.refusals]
        if self.held:
            said["held"] = True
        return said


@dataclass(frozen=True)
class Case:
    """Frames over a link in a state, the rule that they break, and what follows."""

    name: str
    rule: str
    say: tuple[Frame, ...]
    expected: Expected
    links: tuple[str, ...] = ("established",)  # Or silent, or greeted: how it was before.
    apart: bool = False  # What came is processed before the next frame comes.
    curve_key: bytes | None = None  # Of the link; the attacker's if none is given.


def ends(code: ByeCode = ByeCode.PROTOCOL_ERROR, *before: str, held: bool = False) -> Expected:
    """Return that the link ends with BYE of ``code``; after the frames ``before``."""
    return Expected((*before, "BYE"), closed=True, bye=code, held=held)


NOTHING = Expected()
ASKED = Expected(("WHO",))


def answered(*kinds: str) -> Expected:
    """Return that the link goes on, with frames of ``kinds``."""
    return Expected(kinds)


def refused(code: RefusalCode, seq: int = 1, acks: int = 1) -> Expected:
    """Return that message ``seq`` is refused, and the link goes on."""
    return Expected(("ACK",) * acks, refusals=((seq, code),))
