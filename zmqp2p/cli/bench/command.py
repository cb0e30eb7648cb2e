"""``zmqp2p bench``: its options, its progress bar, and what it prints."""

import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from zmqp2p.cli.bench.report import print_rows, to_json
from zmqp2p.cli.bench.runner import Row, measure
from zmqp2p.cli.bench.workloads import DEFAULT, NAMES, Settings

F = TypeVar("F", bound=Callable[..., Any])

_INTERRUPTED = 130  # What shells report for a command that SIGINT has ended.
_MESSAGES_MAX = 1_000_000
_PEERS_MAX = 64
_TIMEOUT_MAX_S = 3_600.0
_WIDTH = 120  # Of the table where the output is no terminal.

_OPTIONS = (
    click.option("--store", type=click.Choice(["memory", "sqlite"]), default="memory"),
    click.option("--curve/--no-curve", "secure", default=True, help="Encrypt, or not."),
    click.option(
        "--payload",
        type=click.Choice(["opaque", "signed"]),
        default="opaque",
        help="350 bytes, or a signed propose_state that the handler verifies.",
    ),
    click.option("--face", type=click.Choice(["blocking", "asyncio"]), default="blocking"),
    click.option("--trials", type=click.IntRange(1, 100), default=5, help="Print medians of N."),
    click.option(
        "--messages", type=click.IntRange(1, _MESSAGES_MAX), help="Of each sender and trial."
    ),
    click.option("--window", type=click.IntRange(1, 50_000), help="Most that are not acked yet."),
    click.option("--rate", type=click.FloatRange(1, 100_000), help="Messages a second, of paced."),
    click.option("--peers", type=click.IntRange(1, _PEERS_MAX), default=4, help="Of fan-in."),
    click.option("--floor/--no-floor", default=True, help="Measure plain pyzmq beside it."),
    click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(1, _TIMEOUT_MAX_S),
        default=60.0,
        metavar="SECONDS",
        help="For one trial.",
    ),
)


def _with_settings(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command(context_settings={"show_default": True})
@click.argument("workloads", nargs=-1, type=click.Choice(NAMES))
@_with_settings
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where stores are made: a disk of the kind that counts. The system's temporary one.",
)
@click.option("--json", "output", type=click.File("w"), help="Write all trials to FILE too.")
def bench(workloads: tuple[str, ...], folder: Path | None, output: Any, **chosen: Any) -> None:
    """Measure what messages cost on this machine, beside plain pyzmq that does the same work.

    WORKLOADS are pingpong (one at a time), burst (1000 at once), sustained (as many as a window
    takes), paced (by the clock, whatever comes back), bulk (1 MiB each) and fan-in (several peers
    to one); the first five if none is named. The exit code is 1 if a message is lost or anything
    fails.
    """
    settings = Settings(**chosen)
    names = workloads or DEFAULT
    try:
        with _interruptible(), tempfile.TemporaryDirectory("-zmqp2p-bench", dir=folder) as made:
            rows = _measure_all(names, settings, Path(made))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        raise SystemExit(_INTERRUPTED) from None
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    print_rows(rows, console)
    if output is not None:
        output.write(to_json(rows) + "\n")


def _measure_all(names: Sequence[str], settings: Settings, folder: Path) -> list[Row]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        kinds = 2 if settings.floor and settings.connect is None else 1
        task = bar.add_task("starting", total=len(names) * settings.trials * kinds)

        def show(what: str) -> None:
            bar.update(task, description=what)
            bar.advance(task)

        return [measure(name, settings, folder, show) for name in names]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: no process and no store stays."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
