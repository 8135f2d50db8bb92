"""The screen: a moving bar and a drawn table on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TypeAlias

from laraq import Batch

#: Takes the batch as it is by now.
Show: TypeAlias = Callable[[Batch], None]

#: Seconds between two plain lines.
PLAIN_INTERVAL = 2


@contextmanager
def progress() -> Iterator[Show]:
    """Show the progress of a batch for the length of a block."""
    if not _is_rich():
        yield _plain_progress()
        return
    from laraq.workflow.progress_bar import ProgressBars

    with ProgressBars(sys.stdout) as bars:
        yield lambda batch: batch.draw(bars)


def table(title: str, rows: Mapping[str, str]) -> None:
    """Show names and numbers."""
    if not _is_rich():
        width = max(map(len, rows))
        print(f"\n{title}")
        for name, value in rows.items():
            print(f"  {name:<{width}}  {value:>9}")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, box=SIMPLE_HEAD, show_header=False, title_justify="left", title_style="bold")
    drawn.add_column()
    drawn.add_column(justify="right")
    for name, value in rows.items():
        drawn.add_row(name, value)
    console = Console()
    console.print()
    console.print(drawn)


def _is_rich() -> bool:
    return sys.stdout.isatty() and find_spec("rich") is not None


def _plain_progress() -> Show:
    """A line now and then when something has changed, and one at the end."""
    shown_at, shown = 0.0, ""

    def show(batch: Batch) -> None:
        nonlocal shown_at, shown
        done = f"{batch.processed_jobs} of {batch.total_jobs} jobs done ({batch.progress}%)"
        line = f"{batch.name}: {done}, {batch.failed_jobs} failed"
        if line != shown and (batch.finished or time.monotonic() - shown_at >= PLAIN_INTERVAL):
            print(line, flush=True)
            shown_at, shown = time.monotonic(), line

    return show
