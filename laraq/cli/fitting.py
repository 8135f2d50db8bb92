"""fit(): fits a table into a width. Long cells are cut with an ellipsis, never wrapped. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

#: Characters between two columns.
GAP = 2

#: Fewest cells in which a cut text is useful: below that, another column is left out if possible.
NARROWEST = 10

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and how its cells may be shortened."""

    heading: str
    #: Never cut: people copy it, or a part of it would read as another number or moment.
    whole: bool = False
    #: Cut at its beginning: the end is the most useful part, as in the dotted path of a class.
    from_left: bool = False
    #: Left out before other columns become too narrow; the widest is left out first.
    optional: bool = False


def fit(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int
) -> tuple[Sequence[Column], Sequence[Sequence[str]]]:
    """The columns that fit, and the lines, headings first, with no cell wider than its column."""
    shown = list(range(len(columns)))
    lines = [[column.heading for column in columns], *rows]
    while True:
        natural = [max(cells(line[each]) for line in lines) for each in shown]
        whole = [columns[each].whole for each in shown]
        widths = shares(natural, whole, width - GAP * (len(shown) - 1))
        tight = any(given < min(want, NARROWEST) for given, want in zip(widths, natural, strict=True))
        spare = [(want, each) for want, each in zip(natural, shown, strict=True) if columns[each].optional]
        if not tight or not spare:
            break
        shown.remove(max(spare)[1])
    cut_lines = [
        [cut(line[each], most, columns[each].from_left) for each, most in zip(shown, widths, strict=True)]
        for line in lines
    ]
    return [columns[each] for each in shown], cut_lines


def shares(natural: Sequence[int], whole: Sequence[bool], width: int) -> list[int]:
    """The width of each column: the natural width while there is room, else the widest are narrowed first."""
    left = width - sum(want for want, keeps in zip(natural, whole, strict=True) if keeps)
    widths = list(natural)
    flexible = sorted((each for each, keeps in enumerate(whole) if not keeps), key=lambda each: natural[each])
    for place, each in enumerate(flexible):
        fair = max(1, left // (len(flexible) - place))
        widths[each] = min(natural[each], fair)
        left -= widths[each]
    return widths


def cells(text: str) -> int:
    """The number of terminal cells that a text takes."""
    return sum(_cells_of(char) for char in text)


def cut(text: str, width: int, from_left: bool = False) -> str:
    """At most `width` cells of a text, with an ellipsis for the rest."""
    if cells(text) <= width:
        return text
    kept, room = "", width - 1
    for char in reversed(text) if from_left else text:
        room -= _cells_of(char)
        if room < 0:
            break
        kept += char
    return ELLIPSIS + kept[::-1] if from_left else kept + ELLIPSIS


def _cells_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
