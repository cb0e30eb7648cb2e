"""A party's process as the demo's parent sees it: lines in, lines out, and a certain end."""

import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

_GRACE_S = 1.0  # From the request to terminate until the process is killed.
_TAIL_LINES = 15
_TAIL_BYTES = 4096


class Child:
    """The process ``command``, called ``name``; its stderr goes to the file ``log``.

    Each line of its stdout is put into ``lines`` as ``(name, line)``, its end as ``(name, None)``.
    `end` must be called; until then the process may run.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        lines: "SimpleQueue[tuple[str, str | None]]",
    ) -> None:
        self.name = name
        self._log = log
        self._lines = lines
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(  # noqa: S603  # This package's own module.
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C is the parent's to handle.
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def tell(self, line: str) -> None:
        """Write ``line`` to its stdin; nothing happens if it has ended: its stdout says so."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def exit_code(self, timeout_s: float) -> int | None:
        """Return its exit code, negative for a signal; None if it runs after ``timeout_s``."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        """Return the last lines of its stderr, indented; empty if there are none."""
        data = self._log.read_bytes()[-_TAIL_BYTES:]
        lines = data.decode("utf-8", errors="replace").strip().splitlines()[-_TAIL_LINES:]
        return "".join(f"\n  {line}" for line in lines)

    def end(self) -> None:
        """Terminate the process, kill it if that does not help, release everything. Idempotent."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.terminate()  # Nothing happens if it has ended.
        if self.exit_code(_GRACE_S) is None:
            process.kill()
            process.wait()
        with suppress(BrokenPipeError):  # What `tell` could not write is still in the buffer.
            process.stdin.close()
        self._reader.join()
        process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put((self.name, line))
        self._lines.put((self.name, None))
