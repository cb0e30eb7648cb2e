"""``zmqp2p bench``: its options, its progress bar, and what it prints."""

import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from zmqp2p.cli.bench.check import check, load_baseline
from zmqp2p.cli.bench.report import print_rows, print_scale, scale_to_json, to_json
from zmqp2p.cli.bench.runner import Row, measure
from zmqp2p.cli.bench.scale import Crowd, measure_peers
from zmqp2p.cli.bench.serving import contacts_of, serving
from zmqp2p.cli.bench.workloads import DEFAULT, NAMES, Settings
from zmqp2p.limits import DEFAULT_LIMITS, KIB, MIB, PEERS_GUESTS_SHARE

F = TypeVar("F", bound=Callable[..., Any])

_INTERRUPTED = 130  # What shells report for a command that SIGINT has ended.
_OWN = (  # Not of `Settings`, or several of them.
    "stores",
    "payloads",
    "folder",
    "output",
    "baseline",
    "connect",
    "serve",
    "advertise",
)
_LONG_S = 3_600.0
_MESSAGES_MAX = 1_000_000
_PEERS_MAX = 64
_SIZE_MIN, _SIZE_MAX = 16, 16 * MIB - KIB  # A number and nothing else; as large as they get.
_BUSY_MAX = 16
_IDLE_PEERS_MAX = int(PEERS_GUESTS_SHARE * DEFAULT_LIMITS.peers_max)  # They are guests.
_TIMEOUT_MAX_S = 3_600.0
_WIDTH = 120  # Of the table where the output is no terminal.

_OPTIONS = (
    click.option("--curve/--no-curve", "secure", default=True, help="Encrypt, or not."),
    click.option("--face", type=click.Choice(["blocking", "asyncio"]), default="blocking"),
    click.option("--trials", type=click.IntRange(1, 100), default=5, help="Print medians of N."),
    click.option(
        "--messages", type=click.IntRange(1, _MESSAGES_MAX), help="Of each sender and trial."
    ),
    click.option("--window", type=click.IntRange(1, 50_000), help="Most that are not acked yet."),
    click.option("--rate", type=click.FloatRange(1, 100_000), help="Messages a second, of paced."),
    click.option(
        "--size",
        "size_bytes",
        type=click.IntRange(_SIZE_MIN, _SIZE_MAX),
        metavar="BYTES",
        help="Of an opaque message; of all workloads.",
    ),
    click.option("--peers", type=click.IntRange(1, _PEERS_MAX), default=4, help="Of fan-in."),
    click.option(
        "--busy",
        type=click.IntRange(0, _BUSY_MAX),
        default=0,
        help="Threads in each process that run Python code all the time, as applications may.",
    ),
    click.option(
        "--switch-ms",
        type=click.FloatRange(0.01, 1_000),
        default=5.0,
        help="How long such a thread keeps the interpreter: sys.setswitchinterval.",
    ),
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
@click.option(
    "--store",
    "stores",
    type=click.Choice(["memory", "sqlite"]),
    multiple=True,
    default=("memory",),
    help="May be repeated.",
)
@click.option(
    "--payload",
    "payloads",
    type=click.Choice(["opaque", "signed"]),
    multiple=True,
    default=("opaque",),
    help="350 bytes, or a signed propose_state that the handler verifies. May be repeated.",
)
@_with_settings
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where stores are made: a disk of the kind that counts. The system's temporary one.",
)
@click.option("--json", "output", type=click.File("w"), help="Write all trials to FILE too.")
@click.option(
    "--check",
    "baseline",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Fail where a ratio is over 3 times that in FILE, which --json wrote.",
)
@click.option("--connect", metavar="ADDRESS", help="To a remote node: what its --serve printed.")
@click.option("--serve", metavar="ENDPOINT", help="Be that node, such as tcp://0.0.0.0:7801.")
@click.option("--advertise", metavar="ENDPOINT", help="Where --serve is reached, if elsewhere.")
def bench(workloads: tuple[str, ...], **options: Any) -> None:
    """Measure what messages cost on this machine, beside plain pyzmq that does the same work.

    WORKLOADS are pingpong (one at a time), burst (1000 at once), sustained (as many as a window
    takes), paced (by the clock, whatever comes back), bulk (1 MiB each), fan-in (several peers to
    one) and fund (channels, on a simulated chain); the first five if none is named. The exit code
    is 1 if a message is lost or anything fails.

    Between two machines: zmqp2p bench --serve on one, which uses this port and the next for the
    floor, and --connect on the other; with the same --store, --curve, --payload and --face.
    """
    own = {name: options.pop(name) for name in _OWN}
    connect = {} if own["connect"] is None else contacts_of(own["connect"])
    settings = Settings(
        **options, store=own["stores"][0], payload=own["payloads"][0], connect=connect
    )
    names = workloads or DEFAULT
    if "fund" in names and (connect or settings.face == "asyncio"):
        raise click.UsageError("fund has both nodes here, and the blocking face")
    chosen = [
        replace(settings, store=store, payload=payload)
        for store, payload in product(own["stores"], own["payloads"])
    ]
    baseline = None if own["baseline"] is None else load_baseline(own["baseline"])
    with _interruptible(), _folder(own["folder"]) as folder:
        if own["serve"] is not None:
            _serve(settings, own["serve"], own["advertise"], folder)
        rows = _measure_all(list(product(chosen, names)), folder)
    print_rows(rows, _console())
    if own["output"] is not None:
        own["output"].write(to_json(rows) + "\n")
    if baseline is not None:
        check(rows, baseline)


@click.command("bench-peers", context_settings={"show_default": True})
@click.option("--peers", type=click.IntRange(1, _IDLE_PEERS_MAX), default=1_000)
@click.option(
    "--seconds",
    "idle_s",
    type=click.FloatRange(0.5, _TIMEOUT_MAX_S),
    default=10.0,
    help="How long the node is watched while nothing happens.",
)
@click.option(
    "--messages",
    type=click.IntRange(100, _MESSAGES_MAX),
    default=20_000,
    help="Of the one that sends.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(1, _TIMEOUT_MAX_S),
    default=60.0,
    metavar="SECONDS",
    help="For all peers to connect, to send, or to come back.",
)
@click.option("--json", "output", type=click.File("w"), help="Write the figures to FILE too.")
def bench_peers(peers: int, idle_s: float, messages: int, timeout_s: float, output: Any) -> None:
    """Measure what many connected peers cost a node, and whether one that sends feels them.

    At last the node is restarted, and all of them come back at once.

    The peers are one process that speaks the protocol by hand; each needs a descriptor or two. The
    exit code is 1 if a message is lost, a peer is refused, or anything fails.
    """
    console = Console(stderr=True)
    with _interruptible(), _folder(None) as folder, console.status("") as status:
        crowd = Crowd(peers, idle_s, timeout_s, messages=messages)
        scale = measure_peers(crowd, Path(folder), status.update)
    print_scale(scale, _console())
    if output is not None:
        output.write(scale_to_json(scale) + "\n")


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    return console


def _folder(parent: Path | None) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="zmqp2p-bench-", dir=parent)


def _serve(settings: Settings, endpoint: str, advertise: str | None, folder: str) -> NoReturn:
    """Serve until interrupted."""
    store = str(Path(folder) / "serve") if settings.store == "sqlite" else None
    with serving(settings, endpoint, advertise, store) as address:
        click.echo(address)
        while True:
            time.sleep(_LONG_S)


def _measure_all(plan: Sequence[tuple[Settings, str]], folder: str) -> list[Row]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        trials = sum(settings.trials * len(settings.kinds(name)) for settings, name in plan)
        task = bar.add_task("starting", total=trials)

        def show(what: str) -> None:
            bar.update(task, description=what)
            bar.advance(task)

        rows = []
        for number, (settings, name) in enumerate(plan):
            own_folder = Path(folder) / str(number)
            own_folder.mkdir()
            rows.append(measure(name, settings, own_folder, show))
        return rows


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and then the command: nothing stays behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        raise SystemExit(_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
