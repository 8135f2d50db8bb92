"""Output: tables and records for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import click


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Drawn by rich on a terminal, where it is installed; else aligned columns, with nothing cut off.

    The first column, which people copy, is never wrapped.
    """
    cells = [[_one_line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and find_spec("rich") is not None:
        _draw(headings, cells)
    else:
        _align([[heading.upper() for heading in headings], *cells])


def record(entries: Mapping[str, str]) -> None:
    """Names and values below each other; a value of several lines gets lines of its own."""
    width = max(map(len, entries)) + 2
    for name, value in entries.items():
        value = printable(value)
        title = name if _colourless() else click.style(name, bold=True)
        if "\n" in value:
            click.echo(f"\n{title}\n{value}")
        else:
            click.echo(title + " " * (width - len(name)) + value)


def as_json(value: Any) -> None:
    """Pure ASCII, whatever the terminal or pipe can take."""
    click.echo(json.dumps(value, indent=2))


def printable(text: str) -> str:
    """Text without control characters: what a job wrote must not steer a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _colourless() -> bool:
    """NO_COLOR (no-color.org), or `celery --no-color`."""
    return bool(os.environ.get("NO_COLOR")) or bool(getattr(click.get_current_context().obj, "no_color", False))


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _draw(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, header_style="none" if _colourless() else "table.header")
    for position, heading in enumerate(headings):
        drawn.add_column(heading, no_wrap=position == 0, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(no_color=_colourless()).print(drawn)


def _align(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
