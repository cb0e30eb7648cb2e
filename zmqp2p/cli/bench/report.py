"""A bench's figures as a table for people and as JSON for programs."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import zmq
from rich.console import Console
from rich.table import Table

import zmqp2p
from zmqp2p.cli.bench.figures import Trial
from zmqp2p.cli.bench.runner import Row
from zmqp2p.cli.bench.scale import Scale
from zmqp2p.cli.bench.script import Kind
from zmqp2p.cli.bench.workloads import FAN_IN
from zmqp2p.limits import MIB

_COLUMNS = ("P50 ms", "P95 ms", "P99 ms", "max ms", "msg/s", "MB/s", "CPU s/10k", "peak MiB")


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """Print the medians of each row, zmqp2p's above the floor's and the ratio of the two."""
    several = any(row.workload == FAN_IN for row in rows)
    table = Table("workload", "", *_COLUMNS, *(["fair"] if several else []))
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        title = _title(row)
        for kind in row.trials:
            table.add_row(title, kind, *_cells(row, kind), *_fairness(row, kind, shown=several))
            title = ""
        if ratios := row.ratios():
            shown = {name: f"{ratio:.2f}x" for name, ratio in ratios.items()}
            times = (shown.get(name, "") for name in ("p50_ms", "p95_ms", "p99_ms"))
            end = ("", "") if several else ("",)
            table.add_row("", "ratio", *times, "", shown["rate"], "", shown.get("cpu_s", ""), *end)
        table.add_section()
    console.print(table)
    console.print(_explanation(rows), highlight=False)


def _title(row: Row) -> str:
    what = "channels" if row.load.channels else row.settings.payload_of(row.workload)
    return f"{row.workload} {what} {row.settings.store}"


def _cells(row: Row, kind: Kind) -> list[str]:
    median = row.median(kind)
    assert median is not None
    bulk = row.load.size_bytes >= MIB
    return [
        *(f"{value:.2f}" for value in _times(median)),
        f"{median.rate:,.0f}",
        f"{median.rate * row.load.size_bytes / 1e6:,.0f}" if bulk else "",
        f"{median.cpu_s:.2f}",
        f"{median.peak_mib:.0f}",
    ]


def _fairness(row: Row, kind: Kind, *, shown: bool) -> list[str]:
    """Return the cell of how even the senders' rates were; none if no row has it."""
    median = row.median(kind)
    assert median is not None
    return [f"{median.fairness:.2f}" if row.workload == FAN_IN else ""] if shown else []


def _times(trial: Trial) -> tuple[float, float, float, float]:
    return trial.p50_ms, trial.p95_ms, trial.p99_ms, trial.max_ms


def _explanation(rows: Sequence[Row]) -> str:
    settings = rows[0].settings  # In what is told here all rows are the same.
    security = "CURVE" if settings.secure else "no encryption"
    where = "to a remote node" if settings.connect else "two processes on loopback"
    busy = (
        f", {settings.busy} busy threads in each, switch interval {settings.switch_ms:g} ms"
        if settings.busy
        else ""
    )
    return (
        f"Medians of {settings.trials}; {where}, {security}, "
        f"{settings.face} face{busy}. Latency: from send to the ack after the handler.\n"
        "floor: plain pyzmq, one thread in each process, acks by hand for each batch"
        f"{_durably(rows)}. ratio: how many times the floor's cost.\n"
        f"{_fairly(rows)}"
        f"CPU and memory: of the processes here, and of the largest. {_versions()}"
    )


def _versions() -> str:
    about = environment()
    return (
        f"zmqp2p {about['zmqp2p']}, Python {about['python']}, pyzmq {about['pyzmq']}, "
        f"libzmq {about['libzmq']}, {about['cpus']} CPUs, load {about['load_1m']:.1f}."
    )


def _fairly(rows: Sequence[Row]) -> str:
    several = any(row.workload == FAN_IN for row in rows)
    return "fair: the slowest sender's rate to the fastest one's.\n" if several else ""


def _durably(rows: Sequence[Row]) -> str:
    durable = any(row.settings.store == "sqlite" for row in rows)
    return ", one fdatasync for each batch on both sides if sqlite" if durable else ""


def print_scale(scale: Scale, console: Console) -> None:
    """Print what many connected peers cost a node."""
    table = Table("one node, CURVE, SQLite store", "", show_header=False)
    alone, among = scale.alone, scale.among
    for name, value in (
        ("connected peers", f"{scale.peers:,}"),
        ("until all are accepted", f"{scale.accepted_s:.2f} s"),
        ("memory for each", f"{scale.kib_each:.1f} KiB"),
        ("idle, with liveness on", f"{scale.idle_cpu:.1%} of a core"),
        ("all send, 10 messages each", f"{scale.all_rate:,.0f} msg/s"),
        ("acked of them", f"half in {scale.all_p50_ms:,.0f} ms, all in {scale.all_max_ms:,.0f} ms"),
        ("one sends, alone", f"{alone.rate:,.0f} msg/s, {alone.cpu_us:.1f} us of CPU each"),
        ("one sends, among them", f"{among.rate:,.0f} msg/s, {among.cpu_us:.1f} us of CPU each"),
        ("500 msg/s, alone", f"P50 {alone.paced_p50_ms:.2f}, P95 {alone.paced_p95_ms:.2f} ms"),
        ("500 msg/s, among them", f"P50 {among.paced_p50_ms:.2f}, P95 {among.paced_p95_ms:.2f} ms"),
        (
            "restarted: all served again",
            f"in {scale.restarted_s:.2f} s, half of them in {scale.restarted_p50_ms:,.0f} ms",
        ),
    ):
        table.add_row(name, value)
    console.print(table)
    console.print(_versions(), highlight=False)


def scale_to_json(scale: Scale) -> str:
    """Return the same, and where it was measured, as one JSON document."""
    return json.dumps({"environment": environment(), "scale": asdict(scale)}, indent=1)


def to_json(rows: Sequence[Row]) -> str:
    """Return the rows, trial by trial, and where they were measured, as one JSON document."""
    return json.dumps({"environment": environment(), "rows": [_row(row) for row in rows]}, indent=1)


def _row(row: Row) -> dict[str, Any]:
    medians = {kind: row.median(kind) for kind in row.trials}
    return {
        "workload": row.workload,
        "settings": {**asdict(row.settings), "connect": bool(row.settings.connect)},
        "load": asdict(row.load),
        "medians": {kind: asdict(median) for kind, median in medians.items() if median},
        "ratios": row.ratios(),
        "trials": {kind: [asdict(t) for t in trials] for kind, trials in row.trials.items()},
    }


def environment() -> dict[str, Any]:
    """Return what a figure must be told with: versions, machine, and how busy that is."""
    return {
        "zmqp2p": zmqp2p.__version__,
        "python": platform.python_version(),
        "pyzmq": zmq.pyzmq_version(),
        "libzmq": zmq.zmq_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load_1m": os.getloadavg()[0],
    }
