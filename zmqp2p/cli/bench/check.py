"""Whether figures are far from a baseline: only ratios to the floor count, and only 3 times worse.

A ratio is much the same on a fast and on a slow machine, and on a busy one; not exactly, so that
less than 3 times says nothing. A baseline is what ``--json`` has written earlier.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zmqp2p.cli.bench.runner import Row
from zmqp2p.cli.bench.script import BenchFailed

WORSE_MAX = 3.0
# Not P95: on a machine that has no core to spare it grew 4 times, and P50 1.8 times.
CHECKED = ("p50_ms", "rate", "cpu_s")
_NAMED_BY = ("store", "secure", "payload", "face", "size_bytes", "busy", "switch_ms")


def load_baseline(path: Path) -> Mapping[str, Mapping[str, float]]:
    """Return the ratios in the file ``path`` by workload and settings; raises `BenchFailed`."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return {
            _name(row["workload"], row["settings"]): {
                figure: float(row["ratios"][figure]) for figure in CHECKED
            }
            for row in rows
            if row["ratios"]
        }
    except (OSError, ValueError, KeyError, TypeError) as fault:
        detail = f"{type(fault).__name__}: {fault}"
        raise BenchFailed(f"{path} is no baseline of figures with a floor: {detail}") from None


def check(rows: Sequence[Row], baseline: Mapping[str, Mapping[str, float]]) -> None:
    """Raise `BenchFailed`, naming all, if a row's ratios are far worse than the baseline's."""
    faults = []
    for row in rows:
        settings = {name: getattr(row.settings, name) for name in _NAMED_BY}
        name, found = _name(row.workload, settings), row.ratios()
        before = baseline.get(name)
        if before is None or not found:
            faults.append(f"{name}: nothing to compare, as {'floor' if before else 'baseline'}")
            continue
        faults += [
            f"{name}: {figure} is {found[figure]:.2f} times the floor's, was {before[figure]:.2f}"
            for figure in CHECKED
            if found[figure] > WORSE_MAX * before[figure]
        ]
    if faults:
        raise BenchFailed(f"more than {WORSE_MAX:g} times worse than before: " + "; ".join(faults))


def _name(workload: str, settings: Mapping[str, Any]) -> str:
    security = "curve" if settings["secure"] else "no-curve"
    parts = [workload, settings["payload"], settings["store"], security, settings["face"]]
    if settings["size_bytes"] is not None:
        parts.append(f"{settings['size_bytes']} bytes")
    if settings["busy"]:
        parts.append(f"{settings['busy']} busy, {settings['switch_ms']:g} ms")
    return " ".join(parts)
