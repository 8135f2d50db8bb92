"""ProgressBars: shows the progress of batches on a terminal; prints nothing in a pipe."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, TextIO

from laraq.errors import MissingExtraError

try:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
except ImportError:
    raise MissingExtraError("A progress bar", "rich", "cli") from None


class ProgressBars:
    """Progress bars that are redrawn in place, one for each key; a context manager."""

    def __init__(self, stream: TextIO) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}", style="red"),
            TimeElapsedColumn(),
            console=Console(file=stream),
            disable=not stream.isatty(),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, key: str, title: str, done: int, total: int, failed: int = 0) -> None:
        """Draw the bar of `key`: `done` of `total`."""
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(title, total=total, failed="")
        self._progress.update(
            self._tasks[key], completed=done, total=total, failed=f"{failed} failed" if failed else ""
        )
