"""How the demo looks: aligned lines for people, or JSON lines for programs. ASCII only."""

import json
from collections.abc import Callable
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from zmqp2p.cli import script
from zmqp2p.cli.demo import DemoResult
from zmqp2p.cli.script import DemoFailed, Step
from zmqp2p.ids import ZERO_ADDRESS, address_text
from zmqp2p.records import checksum_text

_STYLES = {script.ALICE: "cyan", script.BOB: "magenta"}
_SHOWN_CHARS = 72  # Of a detail nobody here has words for.


class Display(Protocol):
    """Shows a demo while it runs and when it has ended."""

    def step(self, step: Step, took_ms: float) -> None:
        """Show that something happened, ``took_ms`` after that party's previous step."""
        ...

    def result(self, result: DemoResult, kept: str | None) -> None:
        """Show how it ended; ``kept`` is the folder with its files, if they are kept."""
        ...

    def failure(self, fault: DemoFailed) -> None:
        """Show that it failed; the reason is also on stderr."""
        ...


class JsonDisplay:
    """One JSON object a line: the steps, then the result, which has ``ok``."""

    def step(self, step: Step, took_ms: float) -> None:
        """Print a step, with how long it took."""
        _print_json(
            {"at_ms": step.at_ms, "took_ms": round(took_ms, 1), "who": step.who, "what": step.what}
            | step.details
        )

    def result(self, result: DemoResult, kept: str | None) -> None:
        """Print what was verified."""
        verdict = result.verdict
        _print_json(
            {
                "what": "result",
                "ok": True,
                "channel_id": "0x" + verdict.channel_id.hex(),
                "state_hash": "0x" + verdict.state_hash.hex(),
                "addresses": {w: checksum_text(a) for w, a in verdict.addresses.items()},
                "deposits": dict(script.DEPOSITS),
                "transactions": [deposit.transaction for deposit in verdict.deposits],
                "messages": result.messages,
                "total_ms": result.total_ms,
                "folder": kept,
            }
        )

    def failure(self, fault: DemoFailed) -> None:
        """Print why it failed."""
        _print_json({"what": "result", "ok": False, "error": str(fault)})


class TextDisplay:
    """A line for each step: when, how long, who, what. Colours only on a terminal."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # By address, of the parties.
        self._console = Console(soft_wrap=True)
        self._line(Text("Alice and Bob fund a channel: two processes, TCP, CURVE.\n"))
        self._line(Text("   at ms    took  who    what", style="dim"))

    def step(self, step: Step, took_ms: float) -> None:
        """Print a step."""
        if step.what == script.KEYS_MADE:
            self._names[step.details.get("address", "")] = step.who
        style = _STYLES.get(step.who, "")
        words = _WORDS.get(step.what, _other)(step.details | self._named(step.details))
        self._line(
            Text.assemble(
                (f"{step.at_ms:8.0f}{f'+{took_ms:.0f}':>8}  ", "dim"),
                (f"{step.who:<5}  ", style),
                words,
            )
        )

    def result(self, result: DemoResult, kept: str | None) -> None:
        """Print what was verified."""
        verdict = result.verdict
        total = sum(script.DEPOSITS.values())
        blocks = " and ".join(str(deposit.block) for deposit in verdict.deposits)
        rows = [("channel", "0x" + verdict.channel_id.hex())]
        for who, address in verdict.addresses.items():
            rows.append((who, f"{checksum_text(address)}  deposited {script.DEPOSITS[who]}"))
        rows += [
            ("postfund", "0x" + verdict.state_hash.hex()),
            ("", "signed by both parties; both signatures verified here"),
            ("chain", f"holds {total}; each deposit made once, in blocks {blocks}"),
            ("messages", f"{result.messages}, each acknowledged"),
            ("time", f"{result.total_ms / 1000:.2f} s in all"),
        ]
        if kept is not None:
            rows.append(("files", kept))
        self._line(Text("\nFunded.\n", style="bold green"))
        for name, value in rows:
            self._line(Text.assemble((f"  {name:<10}", "dim"), value))

    def failure(self, fault: DemoFailed) -> None:
        """Print nothing: the reason is on stderr."""

    def _named(self, details: dict[str, Any]) -> dict[str, str]:
        """Return the details that are a party's address, as its name."""
        known = {name: self._names.get(str(value)) for name, value in details.items()}
        return {name: who for name, who in known.items() if who and name != "address"}

    def _line(self, text: Text) -> None:
        self._console.print(text)


def _print_json(fields: dict[str, Any]) -> None:
    print(json.dumps(fields), flush=True)  # noqa: T201  # A command's output.


def _other(details: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in details.items())[:_SHOWN_CHARS]


def _deposits(details: dict[str, Any]) -> str:
    return ", ".join(f"{who} {amount}" for who, amount in details.get("deposits", {}).items())


def _amount(details: dict[str, Any]) -> str:
    return str(details.get("detail")).replace(f" of asset {address_text(ZERO_ADDRESS)}", "")


def _with(words: str, *names: str) -> Callable[[dict[str, Any]], str]:
    """Return what says ``words`` with the details ``names`` filled in."""
    return lambda details: words.format(*(details.get(name, "?") for name in names))


_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "keys_made": _with("made keys {}", "address"),
    "listening": _with("listens at {}", "endpoint"),
    "record_received": _with("was handed the signed record of {}", "peer"),
    "connected": _with("connected: HELLO from {}", "peer"),
    "proposing": lambda details: f"proposes a channel: {_deposits(details)}",
    "proposal_received": _with("received the proposal, and approves it"),
    "prefund_signed": _with("signed the prefund state ({})", "detail"),
    "prefund_complete": _with("prefund complete ({})", "detail"),
    "deposit_submitted": lambda details: f"deposits {_amount(details)}",
    "funded_on_chain": _with("sees all deposits on chain"),
    "postfund_signed": _with("signed the postfund state ({})", "detail"),
    "funded": _with("complete: the channel is funded and signed"),
    "report": _with("every message acknowledged"),
    "trouble": _with("TROUBLE: {}", "detail"),
}
