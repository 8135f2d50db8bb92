"""Tables are fitted to a terminal: pure, so these are tables of tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laraq.cli.batches import COLUMNS as BATCHES
from laraq.cli.failed import COLUMNS as FAILURES
from laraq.cli.fitting import GAP, Column, cells, cut, fit, shares

ID = "3c0b8a52-2f0e-4b6e-9a55-0d7f8f2f1a11"
MOMENT = "2026-11-21 20:29:56"
FAILED = [ID, MOMENT, "shop.billing.ChargeOrder", "celery", "ConnectionError: the bank does not answer"]
BATCH = [ID, "Import of all cities", "running", "42 %", "1200 of 12000", "12", MOMENT]


def width_of(line: list[str]) -> int:
    return sum(map(cells, line)) + GAP * (len(line) - 1)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (80, [ID, "…ing.ChargeOrder", "celery", "ConnectionError…"]),
        (100, [ID, MOMENT, "…ng.ChargeOrder", "celery", "ConnectionError…"]),
        (200, FAILED),
    ],
)
def test_failed_jobs_keep_what_is_copied_and_the_end_of_the_class(width: int, expected: list[str]) -> None:
    _, [headings, line] = fit(FAILURES, [FAILED], width)
    assert (list(line), len(headings)) == (expected, len(expected))


def test_batches_fit_80_columns() -> None:
    _, lines = fit(BATCHES, [BATCH], 80)
    assert [list(line) for line in lines] == [
        ["ID", "Name", "Status", "Jobs", "Failed"],
        [ID, "Import of…", "running", "1200 of 12000", "12"],
    ]


texts = st.text(max_size=40)


@given(rows=st.lists(st.tuples(texts, texts, texts, texts), max_size=4), width=st.integers(60, 200))
def test_no_line_is_wider_than_the_terminal_and_none_is_lost(rows: list[tuple[str, str, str, str]], width: int) -> None:
    columns = (Column("ID", whole=True), Column("Job", from_left=True), Column("Queue", optional=True), Column("Error"))
    rows = [(first[:18], *others) for first, *others in rows]
    _, lines = fit(columns, rows, width)
    assert len(lines) == len(rows) + 1
    assert all(width_of(list(line)) <= width for line in lines)
    assert [line[0] for line in lines[1:]] == [row[0] for row in rows]


@pytest.mark.parametrize(
    ("natural", "whole", "width", "expected"),
    [
        ([5, 5], [False, False], 20, [5, 5]),
        ([5, 30], [False, False], 20, [5, 15]),
        ([30, 30, 2], [False, False, False], 20, [9, 9, 2]),
        ([30, 30], [True, False], 40, [30, 10]),
        ([30, 30], [True, False], 20, [30, 1]),
    ],
)
def test_the_widest_give_first(natural: list[int], whole: list[bool], width: int, expected: list[int]) -> None:
    assert shares(natural, whole, width) == expected


@pytest.mark.parametrize(
    ("text", "width", "from_left", "expected"),
    [
        ("abc", 3, False, "abc"),
        ("abcd", 3, False, "ab…"),
        ("abcd", 3, True, "…cd"),
        ("日本語", 5, False, "日本…"),
        ("日本語", 6, False, "日本語"),
        ("e\u0301e\u0301e\u0301", 3, False, "e\u0301e\u0301e\u0301"),
    ],
)
def test_cells_are_counted_as_a_terminal_counts_them(text: str, width: int, from_left: bool, expected: str) -> None:
    assert cut(text, width, from_left) == expected
