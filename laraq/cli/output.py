"""Output: tables and records for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from shutil import get_terminal_size
from typing import Any

import click

from laraq.cli.fitting import GAP, Column, cells, fit


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, wide: bool = False) -> None:
    """Print a table. On a terminal, long cells are cut to its width; with `wide`, or in a pipe, nothing is cut.

    On a terminal it is drawn by rich if that is installed, else as aligned columns.
    """
    lines: Sequence[Sequence[str]] = [[_one_line(cell) for cell in row] for row in rows]
    on_terminal = sys.stdout.isatty()
    drawn = on_terminal and find_spec("rich") is not None
    if not drawn:
        columns = [replace(column, heading=column.heading.upper()) for column in columns]
    if on_terminal and not wide:
        _, lines = fit(columns, lines, get_terminal_size().columns)
    else:
        lines = [[column.heading for column in columns], *lines]
    if drawn:
        _draw(lines)
    else:
        _align(lines)


def record(entries: Mapping[str, str]) -> None:
    """Print names and values, one below the other; a value of several lines gets its own lines. Output longer than the
    terminal is shown in a pager."""
    width = max(map(len, entries)) + 2
    lines = []
    for name, value in entries.items():
        value = printable(value)
        title = name if _colourless() else click.style(name, bold=True)
        lines.append(f"\n{title}\n{value}" if "\n" in value else title + " " * (width - len(name)) + value)
    text = "\n".join(lines)
    is_long = sys.stdin.isatty() and sys.stdout.isatty() and text.count("\n") + 1 >= get_terminal_size().lines
    (click.echo_via_pager if is_long else click.echo)(text)


def as_json(value: Any) -> None:
    """Print JSON in pure ASCII, which any terminal or pipe accepts."""
    click.echo(json.dumps(value, indent=2))


def printable(text: str) -> str:
    """Text without control characters: what a job wrote must not steer a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _colourless() -> bool:
    """Whether colours are off: NO_COLOR (no-color.org), or `celery --no-color`."""
    return bool(os.environ.get("NO_COLOR")) or bool(getattr(click.get_current_context().obj, "no_color", False))


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _draw(lines: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    headings, *rows = lines
    # Between two columns are one space and the box's space: GAP.
    style = "none" if _colourless() else "table.header"
    drawn = Table(box=SIMPLE_HEAD, header_style=style, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in headings:
        drawn.add_column(Text(heading), no_wrap=True, overflow="ignore")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    wide = sum(max(map(cells, column)) + GAP for column in zip(*lines, strict=True))
    Console(no_color=_colourless(), width=max(wide, get_terminal_size().columns)).print(drawn, crop=False)


def _align(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    gap = " " * GAP
    for line in lines:
        click.echo(
            gap.join(cell + " " * (wide - cells(cell)) for cell, wide in zip(line, widths, strict=True)).rstrip()
        )
