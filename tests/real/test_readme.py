"""The README promises a program that runs: run it, as it is written there."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_program_in_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    """In an empty folder, with the package and nothing else."""
    programs = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(programs) == 1
    (tmp_path / "program.py").write_text(programs[0], encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "bob got: hello\n"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"program.py", "alice.key", "bob.key", "alice.db", "bob.db"}


def test_every_page_that_the_readme_links_exists() -> None:
    """A newcomer follows them."""
    links = re.findall(r"\]\(([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
