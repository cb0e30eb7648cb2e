"""Chance is an argument, like time: what import contracts cannot tell apart, tested here.

The contracts in pyproject.toml keep clocks, sockets and threads out of the pure part by module.
``random`` is permitted there for the type of an argument, and for nothing else.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPURE = {"zmqp2p.identity", "zmqp2p.key_file", "zmqp2p.keystore"}
CLOCKS = {"now", "today", "utcnow"}  # Of datetime and date.


def contract(kind: str, key: str) -> list[str]:
    """Return the list ``key`` of the one import contract of type ``kind``."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    (found,) = (each[key] for each in contracts if each["type"] == kind)
    return list(found)


def pure_files() -> list[Path]:
    """Return the files of the rooms that the contract calls pure."""
    rooms = contract("forbidden", "source_modules")
    places = [ROOT.joinpath(*room.split(".")) for room in rooms]
    files = [place.with_suffix(".py") for place in places]
    inside = [file for place in places for file in place.rglob("*.py")]
    return sorted(file for file in files + inside if file.is_file())


def impurities(source: str) -> Iterator[str]:
    """Yield each use of chance or of a clock in ``source``, other than the type ``Random``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (x.name for x in names if x.name == "random")
            case ast.ImportFrom(module="random", names=names):
                yield from (f"random.{x.name}" for x in names if x.name != "Random")
            case ast.Call(func=ast.Name(id="Random")):
                yield "Random()"
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCKS:
                yield name


def test_every_room_from_the_engine_down_is_called_pure() -> None:
    """But for identity and what it stands on: they read key files, and ask for randomness."""
    layers = contract("layers", "layers")
    top = next(i for i, layer in enumerate(layers) if "engine" in layer.split())
    below = layers[top:]
    rooms = {f"zmqp2p.{room}" for layer in below for room in re.findall(r"\w+", layer)}
    assert set(contract("forbidden", "source_modules")) == rooms - IMPURE


@pytest.mark.parametrize("file", pure_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_pure_part_makes_no_chance_and_reads_no_clock(file: Path) -> None:
    assert list(impurities(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from random import Random\ndef f(rng: Random) -> float: return rng.random()", []),
        ("import random", ["random"]),
        ("from random import Random, choice", ["random.choice"]),
        ("from random import Random\nrng = Random()", ["Random()"]),
        ("def f():\n    import random", ["random"]),
        ("from datetime import datetime\nat = datetime.now()", ["now"]),
    ],
)
def test_chance_and_clocks_are_found(source: str, found: list[str]) -> None:
    assert list(impurities(source)) == found
