"""``zmqp2p demo``: start two parties, pass on a record, watch, and verify what they claim."""

import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic

from zmqp2p.chain import SimulatedChain
from zmqp2p.cli import script
from zmqp2p.cli.children import Child
from zmqp2p.cli.script import DemoFailed, Step
from zmqp2p.cli.verdict import Verdict, judge, messages_sent

PARTY_COMMAND = (sys.executable, "-m", "zmqp2p.cli.party")

_EXIT_MAX_S = 2.0  # From the end of a party's stdout, which its exit closes, to its exit code.

Show = Callable[[Step, float], None]
"""Called with each step as it happens, and the milliseconds since that party's previous one."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo has shown, and verified itself."""

    verdict: Verdict
    messages: int  # Sent and acknowledged, of both parties.
    total_ms: float


def run_demo(
    folder: Path, timeout_s: float, show: Show, command: tuple[str, ...] = PARTY_COMMAND
) -> DemoResult:
    """Let Alice and Bob fund a channel in ``folder``, which must be empty.

    ``command`` starts a party; its name, the folder and the instant of the start are appended. No
    process is left when this returns or raises, KeyboardInterrupt included.

    Raises:
        DemoFailed: not done in ``timeout_s``, a party failed, or what they report is not so.
    """
    started = monotonic()
    lines: SimpleQueue[tuple[str, str | None]] = SimpleQueue()
    with ExitStack() as stack:
        children = {}
        for name in script.NAMES:
            arguments = (*command, name, str(folder), repr(started))
            children[name] = Child(name, arguments, folder / f"{name}.log", lines)
            stack.callback(children[name].end)
        watch = _Watch(children, lines, started + timeout_s, show)
        watch.run()
    with closing(SimulatedChain(folder / script.CHAIN_FILE)) as chain:
        verdict = judge(watch.keys, watch.reports, chain.deposits())
    messages = sum(messages_sent(folder / f"{name}.db") for name in script.NAMES)
    return DemoResult(verdict, messages, round((monotonic() - started) * 1000, 1))


class _Watch:
    """Follows the parties until both have ended well; ``deadline`` is in monotonic seconds."""

    def __init__(
        self,
        children: dict[str, Child],
        lines: "SimpleQueue[tuple[str, str | None]]",
        deadline: float,
        show: Show,
    ) -> None:
        self.keys: dict[str, Step] = {}
        self.reports: dict[str, Step] = {}
        self._children = children
        self._lines = lines
        self._deadline = deadline
        self._show = show
        self._last: dict[str, Step] = {}
        self._running = set(children)

    def run(self) -> None:
        """Return once both parties have told their report and exited; raises `DemoFailed`."""
        while self._running:
            batch = self._batch()
            steps = [Step.parse(who, line) for who, line in batch if line is not None]
            for step in sorted(steps, key=lambda step: step.at_ms):
                self._take(step)
            for who, line in batch:
                if line is None:
                    self._ended(who)

    def _batch(self) -> list[tuple[str, str | None]]:
        """Wait for a line and return it with all others there: the parties' pipes may race."""
        try:
            batch = [self._lines.get(timeout=self._left_s())]
        except Empty:
            raise self._too_slow() from None
        while True:
            try:
                batch.append(self._lines.get_nowait())
            except Empty:
                return batch

    def _take(self, step: Step) -> None:
        before = self._last.get(step.who)
        self._last[step.who] = step
        self._show(step, step.at_ms - (before.at_ms if before else 0.0))
        if step.what == script.KEYS_MADE:
            self.keys[step.who] = step
        elif step.what == script.LISTENING and step.who == script.BOB:
            # All that the parties are told of each other. Bob learns of Alice by her HELLO.
            self._children[script.ALICE].tell(script.CONTACT + step.text("record"))
        elif step.what == script.REPORT:
            self.reports[step.who] = step
            if len(self.reports) == len(self._children):
                for child in self._children.values():
                    child.tell(script.END)

    def _ended(self, who: str) -> None:
        child = self._children[who]
        code = child.exit_code(_EXIT_MAX_S)
        if code is None:
            raise DemoFailed(f"{who} closed its stdout but does not exit {self._after(who)}.")
        if code != 0 or who not in self.reports or who not in self.keys:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            words = child.last_words() or " It wrote nothing to stderr."
            raise DemoFailed(f"{who} ended with {how} {self._after(who)}.{words}")
        self._running.discard(who)

    def _too_slow(self) -> DemoFailed:
        stand = "; ".join(f"{who} {self._after(who)}" for who in sorted(self._running))
        words = "".join(self._children[who].last_words() for who in sorted(self._running))
        return DemoFailed(f"not done in time: {stand}.{words}")

    def _after(self, who: str) -> str:
        last = self._last.get(who)
        return f"after the step {last.what}" if last else "before its first step"

    def _left_s(self) -> float:
        return max(self._deadline - monotonic(), 0.0)
