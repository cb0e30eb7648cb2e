"""What the demo's parent and its two parties agree on: names, amounts, files and lines.

A party tells each step as one JSON line on its stdout (`Step.line`) and obeys the lines `CONTACT`
and `END` on its stdin.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from zmqp2p.errors import P2PError

ALICE = "alice"
BOB = "bob"
NAMES = (ALICE, BOB)  # In the order of the channel's participants: Alice proposes.
DEPOSITS = {ALICE: 60, BOB: 40}  # Of the simulated chain's native asset, in its smallest unit.

CHAIN_FILE = "chain.db"
CONTACT = "contact "  # And the text of the other party's record: connect to it, fund a channel.
END = "end"  # Close and exit. The end of stdin without it means that the parent is gone.

# Steps that the parent acts on; all others it only shows.
KEYS_MADE = "keys_made"
LISTENING = "listening"
REPORT = "report"

_HEAD = ("at_ms", "who", "what")  # Of every step; the rest are its details.


class DemoFailed(P2PError):
    """The demo did not show what it is to show; says which party, what, and its last words."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that party ``who`` did, ``at_ms`` milliseconds after the demo began."""

    at_ms: float
    who: str
    what: str
    details: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the step as one JSON object, without a line end."""
        head = {"at_ms": self.at_ms, "who": self.who, "what": self.what}
        return json.dumps({**head, **self.details})

    @classmethod
    def parse(cls, who: str, line: str) -> "Step":
        """Return the step that ``who`` printed as ``line``.

        Raises:
            DemoFailed: it is not a step, or another party's.
        """
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        match fields:
            case {
                "at_ms": int() | float() as at_ms,
                "who": str() as name,
                "what": str() as what,
            } if name == who:
                details = {key: fields[key] for key in fields if key not in _HEAD}
                return cls(at_ms, who, what, details)
        raise DemoFailed(f"{who} printed what is no step: {line[:200]!r}")

    def text(self, name: str) -> str:
        """Return the detail ``name``, a text; raises `DemoFailed` if there is none."""
        value = self.details.get(name)
        if not isinstance(value, str):
            raise DemoFailed(f"{self.who}'s step {self.what} lacks the text {name!r}")
        return value
