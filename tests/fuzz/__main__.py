# ruff: noqa: T201  # A program: it prints for people.
"""Coverage-guided fuzzing of what strangers' bytes reach, with atheris (libFuzzer).

``python -m tests.fuzz session --minutes 10`` fuzzes one target, ``--all`` each one in turn, for as
long each; ``--list`` names them. Any bytes must lead to a value or to a typed error that names its
rule, in bounded time and memory, with every invariant held. The program prints for each target how
many inputs it ran and how much of the code they reached, and exits 0 if nothing was found. An
input that was is left in the corpus folder as ``crash-…``, or ``timeout-…``: run it again with
``python -m tests.fuzz TARGET --input FILE``, mend the fault, and add it to findings.json, which the
tests run without atheris. ``--corpus FOLDER`` keeps what was learned for the next run.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS

_GRACE_S = 60  # Beyond the time asked for: a run that does not end by itself is ended.
# One input may take so long, and hold so much: far above what honest ones do.
_INPUT_MAX_S = 10
_PROCESS_MAX_MIB = 1024
_ONE_MALLOC_MAX_MIB = 64
_DONE = re.compile(r"Done (\d+) runs in (\d+) second")
_REACHED = re.compile(r"cov: (\d+) ft: (\d+)")


def main(arguments: list[str]) -> int:
    """Run the program; return its exit status."""
    asked = _arguments(arguments)
    if asked.list:
        print("\n".join(TARGETS))
        return 0
    if asked.input:
        TARGETS[asked.target].run(asked.input.read_bytes())
        print("nothing is wrong with it")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("atheris is missing: pip install 'zmqp2p[fuzz]', where there are wheels of it")
        return 2
    names = list(TARGETS) if asked.all else [asked.target]
    folder = asked.corpus or Path(tempfile.mkdtemp(prefix="zmqp2p-fuzz-"))
    failed = [name for name in names if not fuzz(name, folder, asked.seconds, asked.seed)]
    if failed:
        print(f"found something: {', '.join(failed)}; the inputs are in {folder}")
    elif not asked.corpus:
        shutil.rmtree(folder)
    return 1 if failed else 0


def fuzz(name: str, folder: Path, seconds: int, seed: int) -> bool:
    """Fuzz one target in a process of its own, which libFuzzer ends; True if nothing was found.

    ``seed`` begins the chain of inputs; 0 is another one each time.
    """
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(TARGETS[name].inputs(name)):
        (corpus / f"seed-{number}").write_bytes(data)
    options = [
        str(corpus),
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={TARGETS[name].longest}",
        f"-timeout={_INPUT_MAX_S}",
        f"-rss_limit_mb={_PROCESS_MAX_MIB}",
        f"-malloc_limit_mb={_ONE_MALLOC_MAX_MIB}",
        f"-artifact_prefix={folder}{os.sep}{name}-",
        "-print_final_stats=0",
    ]
    command = [sys.executable, "-m", "tests.fuzz.child", name, *options]
    began_at = time.monotonic()
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + _GRACE_S, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"{name:10} does not end")
        return False
    return _report(name, run, time.monotonic() - began_at)


def _report(name: str, run: "subprocess.CompletedProcess[str]", took_s: float) -> bool:
    done, reached = _DONE.search(run.stderr), _REACHED.findall(run.stderr)
    if run.returncode or done is None:
        print(f"{name:10} FOUND A FAULT\n{run.stdout[-6000:]}\n{run.stderr[-3000:]}")
        return False
    blocks, features = reached[-1] if reached else ("?", "?")
    print(f"{name:10} {done[1]:>9} inputs in {took_s:.0f} s; {blocks} blocks, {features} features")
    return True


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=[*TARGETS], help="what to fuzz")
    parser.add_argument("--all", action="store_true", help="every target, in turn")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--minutes", type=float, default=0.0, help="for each target")
    parser.add_argument("--seconds", type=int, default=0, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="begin with it; 0: with any")
    parser.add_argument("--corpus", type=Path, help="where inputs are kept between runs")
    parser.add_argument("--input", type=Path, help="run this one input and nothing else")
    asked = parser.parse_args(arguments)
    if (asked.target is None) == (not (asked.all or asked.list)):
        parser.error("name one target, or --all")
    asked.seconds = asked.seconds + round(asked.minutes * 60) or 60
    return asked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
