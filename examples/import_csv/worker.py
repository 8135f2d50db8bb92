"""The worker: a real one in processes of its own, started as in production."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).parent
#: Jobs at the same time.
CONCURRENCY = 2
#: Seconds a worker that was told to stop may take.
PATIENCE = 20
#: Seconds between two looks.
GLANCE = 0.2


def laraq(*arguments: str) -> list[str]:
    """A command line of the program `laraq` of this environment, about the jobs of this example."""
    return [str(Path(sys.executable).with_name("laraq")), "-A", "jobs", *arguments]


class WorkerDiedError(Exception):
    """The worker is gone before its work is done."""


class StandstillError(Exception):
    """Nothing has happened for too long."""


class Worker:
    """Works inside a `with` block."""

    def __init__(self, queue: str, log: Path) -> None:
        self.command: Sequence[str] = laraq("work", "--queue", queue, "--concurrency", str(CONCURRENCY))
        self.log = log

    def __enter__(self) -> Worker:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                # Ctrl-C is for the program around it, which then stops the worker.
                self.command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """Raise WorkerDiedError, with the end of the log, when it is not running."""
        if self._process.poll() is not None:
            raise WorkerDiedError(f"The worker ended ({self._process.returncode}):\n{self.last_words()}")

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float) -> None:
        """Wait until it holds.

        Raises WorkerDiedError and StandstillError.
        """
        end = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() >= end:
                raise StandstillError(f"{what} has not come within {seconds} s:\n{self.last_words()}")
            time.sleep(GLANCE)

    def last_words(self, lines: int = 20) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
