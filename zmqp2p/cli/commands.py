"""The commands, their options and their help. Faults are one line on stderr and exit code 1."""

import json
import math
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any

import click

import zmqp2p
from zmqp2p.cli.bench.command import bench, bench_peers
from zmqp2p.cli.contacts import SKEW_MS, explain_contact
from zmqp2p.cli.decode import explain, read_input
from zmqp2p.cli.demo import run_demo
from zmqp2p.cli.display import Display, JsonDisplay, TextDisplay
from zmqp2p.cli.losses import explain_beginning, explain_loss
from zmqp2p.cli.passphrases import ask_passphrase, load_identity, passphrase_file_option
from zmqp2p.cli.script import DemoFailed
from zmqp2p.errors import P2PError
from zmqp2p.identity import Identity
from zmqp2p.ids import Address
from zmqp2p.records import PeerRecord, PeerUri, checksum_text, parse_address, parse_contact
from zmqp2p.store.recovery import Pending, begin_anew, losses

_DAY_MS = 24 * 3600 * 1000
_LIFETIME_MAX_DAYS = 36_500
_DEMO_MAX_S = 86_400
_INTERRUPTED = 130  # What shells report for a command that SIGINT has ended.


class _Group(click.Group):
    """Commands whose faults are told in one line: no traceback for what a user can mend."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a `P2PError` becomes click's error, exit code 1."""
        try:
            return super().invoke(ctx)
        except P2PError as fault:
            raise click.ClickException(str(fault)) from fault


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(zmqp2p.__version__, message="zmqp2p %(version)s")
def cli() -> None:
    """Reliable peer-to-peer messages for state channels, over ZeroMQ."""


cli.add_command(bench)
cli.add_command(bench_peers)


# --- demo ---------------------------------------------------------------------------------------


def _seconds(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    """Refuse NaN, which is in any range."""
    if math.isnan(value):
        raise click.BadParameter("must be a number of seconds")
    return value


@cli.command()
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep keys, stores, chain and logs in DIR, which must be new or empty.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True, max=_DEMO_MAX_S),
    callback=_seconds,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so long.",
)
def demo(keep: Path | None, as_json: bool, timeout_s: float) -> None:
    """Let two processes, Alice and Bob, fund a channel on a simulated chain.

    Succeeds only if both report the same channel funded, this process has verified both signatures
    on the postfund state, and the chain holds each deposit once.

    With --json each line is an object. A step has at_ms (milliseconds since the start), took_ms
    (since that party's previous step), who (alice or bob), what, and details as text. The last
    line has what = "result" and ok; if ok, also channel_id, state_hash, addresses and deposits by
    party, transactions (their hashes), messages (a number), total_ms and folder (with --keep);
    else error.
    """
    try:
        with _interruptible(), _folder(keep) as folder:
            display: Display = JsonDisplay() if as_json else TextDisplay()
            try:
                result = run_demo(folder, timeout_s, display.step)
            except DemoFailed as fault:
                display.failure(fault)
                raise
            display.result(result, None if keep is None else str(keep))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        raise SystemExit(_INTERRUPTED) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: no process and no temporary key file stays."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give the demo's folder: ``keep``, made if missing, or a temporary one."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="zmqp2p-demo-") as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise click.BadParameter(f"{keep} is not empty", param_hint="--keep")
    except OSError as fault:
        raise click.ClickException(f"{keep}: {fault.strerror}") from None
    yield keep


# --- Keys and records ---------------------------------------------------------------------------


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--encrypt", is_flag=True, help="Keep the file under a passphrase.")
@click.option(
    "--import",
    "keystore",
    type=click.Path(path_type=Path),
    metavar="KEYSTORE",
    help="Take the address's key from another tool's V3 keystore, and its passphrase.",
)
@passphrase_file_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def keygen(
    path: Path, encrypt: bool, keystore: Path | None, passphrase_file: Path | None, as_json: bool
) -> None:
    """Make a node's keys in the new file PATH, and print the public ones.

    The file holds the secrets, mode 0600. An existing file is never overwritten. With --encrypt,
    --import or --passphrase-file it is an Ethereum V3 keystore, which geth and ethers read too.
    The passphrase is never an argument.
    """
    passphrase = None
    if keystore is not None:
        passphrase = ask_passphrase(passphrase_file, str(keystore), new=False)
        identity = Identity.import_keystore(keystore, passphrase)
    else:
        identity = Identity.generate()
        if encrypt or passphrase_file is not None:
            passphrase = ask_passphrase(passphrase_file, str(path), new=True)
    identity.save(path, passphrase=passphrase)
    address, curve = checksum_text(identity.address), identity.curve_public.hex()
    if as_json:
        click.echo(json.dumps({"path": str(path), "address": address, "curve": curve}))
    else:
        click.echo(f"address   {address}\ncurve key {curve}")


@cli.command()
@click.argument("keyfile", type=click.Path(path_type=Path), required=False)
@click.option("--endpoint", "endpoints", multiple=True, help="Where it listens; may be repeated.")
@click.option(
    "--lifetime-days",
    type=click.IntRange(1, _LIFETIME_MAX_DAYS),
    default=30,
    show_default=True,
    help="How long the record is valid.",
)
@click.option("--uri", is_flag=True, help="Print the short, unsigned URI instead.")
@click.option("--show", metavar="TEXT", help="Explain the record or URI TEXT; sign nothing.")
@passphrase_file_option
def record(  # noqa: PLR0913, PLR0917  # click gives them all by name.
    keyfile: Path | None,
    endpoints: tuple[str, ...],
    lifetime_days: int,
    uri: bool,
    show: str | None,
    passphrase_file: Path | None,
) -> None:
    """Print a fresh signed record of the node whose keys are in KEYFILE.

    With --show, verify and explain a record or URI instead; the exit code is 1 if it is not good,
    has expired or is not valid yet.
    """
    if show is not None:
        if keyfile is not None or endpoints or uri:
            raise click.UsageError("--show takes no KEYFILE, --endpoint or --uri")
        _show_contact(show)
        return
    if keyfile is None:
        raise click.UsageError("give a KEYFILE, or --show TEXT")
    if not endpoints:
        raise click.UsageError("give at least one --endpoint, such as tcp://192.0.2.1:7801")
    if uri and len(endpoints) > 1:
        raise click.UsageError("a URI has one --endpoint")
    identity = load_identity(keyfile, passphrase_file)
    if uri:
        click.echo(PeerUri(identity.address, identity.curve_public, endpoints[0]))
        return
    now_ms = _utc_ms()
    expires_ms = now_ms + lifetime_days * _DAY_MS
    issued = PeerRecord.issue(identity, identity.curve_public, endpoints, now_ms, expires_ms)
    click.echo(issued)


def _show_contact(text: str) -> None:
    contact = parse_contact(text)
    now_ms = _utc_ms()
    click.echo(explain_contact(contact, now_ms))
    if isinstance(contact, PeerRecord):
        contact.check_time(now_ms, SKEW_MS)


# --- decode -------------------------------------------------------------------------------------


@cli.command()
@click.argument("data", nargs=-1, metavar="[HEX | FILE | -]")
@click.option("--payload", metavar="HEX|FILE", help="The second frame of the same message.")
def decode(data: tuple[str, ...], payload: str | None) -> None:
    """Explain bytes: a wire frame, a message body or a peer record.

    They are given as hexadecimal digits (0x and white space allowed), as a file that holds them or
    their digits, or on standard input (-, or no argument). ./beef is a file, beef is two bytes.
    """
    first = read_input(" ".join(data) or "-")
    second = None if payload is None else read_input(payload)
    click.echo(explain(first, second, _utc_ms()))


# --- recover ------------------------------------------------------------------------------------


@cli.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--new-stream",
    "peers",
    multiple=True,
    metavar="PEER",
    help="Begin a new stream to this peer (0x…), whose session is held; may be repeated.",
)
@click.option(
    "--pending",
    type=click.Choice([each.value for each in Pending]),
    help="What to do with messages that the peer may not have processed; needed if there are any.",
)
def recover(store: Path, peers: tuple[str, ...], pending: str | None) -> None:
    """Show which sessions of STORE are held, why, and what is missing; begin anew when told.

    STORE is the file of a node that is not running. A session is held when its two sides remember
    different things: one of the stores was copied back from a backup, or lost. Nothing is changed
    without --new-stream. With it this node sends its messages in a new stream; and it takes up the
    peer's where that begins now, if the peer has dropped what this store lacks. It is for the side
    whose store is old: the other one need do nothing. The exit code is 1 while a session is held.
    """
    chosen = [parse_address(peer) for peer in peers]
    if chosen:
        _begin_anew(store, chosen, pending)
    held = losses(store)
    click.echo("\n\n".join(map(explain_loss, held)) or "no session is held")
    if held:
        raise SystemExit(1)


def _begin_anew(store: Path, peers: list[Address], pending: str | None) -> None:
    held = {loss.peer: loss for loss in losses(store)}
    if pending is None and any(held[peer].uncertain for peer in peers if peer in held):
        raise click.UsageError(
            "there are messages that the peer may not have processed: say --pending resend or drop"
        )
    for peer in peers:
        choice = Pending(pending or Pending.DROP.value)  # Without --pending there are none.
        begun = begin_anew(store, peer, choice, now_ms=_utc_ms())
        click.echo(explain_beginning(begun, choice))


def _utc_ms() -> int:
    return int(time() * 1000)
