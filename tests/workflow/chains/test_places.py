"""Where links go, and how long the first one waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from laraq import Bus, Queue
from laraq.workflow.chains import PendingChain
from tests.support.line import Line
from tests.workflow.chains.jobs import Note


class OwnPlace(Note):
    queue = "own"
    connection = "other"


@pytest.mark.parametrize(
    ("place", "places"),
    [
        (lambda pending: pending, [(None, None), ("own", "other"), (None, None)]),
        (lambda pending: pending.on_queue("q"), [("q", None), ("own", "other"), ("q", None)]),
        (lambda pending: pending.on_connection("other"), [(None, "other"), ("own", "other"), (None, "other")]),
        (lambda pending: pending.all_on_queue("q"), [("q", None), ("own", "other"), ("q", None)]),
    ],
)
def test_a_link_goes_where_it_says_else_where_its_chain_says(
    line: Line, place: Callable[[PendingChain], PendingChain], places: list[Any]
) -> None:
    place(Bus.chain([Note(1), OwnPlace(2), Note(3)])).dispatch()
    line.work()
    assert [(payload.queue, payload.connection) for payload in line.taken] == places


def test_all_on_a_queue_or_connection_overrules_the_first_job(line: Line) -> None:
    Bus.chain([OwnPlace(1), OwnPlace(2)]).on_queue("q").on_connection("line").dispatch()
    Bus.chain([OwnPlace(1), OwnPlace(2)]).all_on_queue("q").all_on_connection("line").dispatch()
    line.work()
    places = [(payload.fields["n"], payload.queue, payload.connection) for payload in line.taken]
    assert places == [(1, "own", "other"), (1, "q", "line"), (2, "own", "other"), (2, "own", "other")]


def test_the_place_of_a_chain_beats_the_route_of_a_class_for_every_link(line: Line) -> None:
    Queue.route(Note, queue="routed", connection="other")
    Bus.chain([Note(1), Note(2)]).on_queue("q").on_connection("line").dispatch()
    Bus.chain([Note(1), Note(2)]).dispatch()
    line.work()
    assert [(payload.queue, payload.connection) for payload in line.taken] == [
        ("q", "line"),
        ("routed", "other"),
        ("q", "line"),
        ("routed", "other"),
    ]


def test_a_forwarded_queue_is_forwarded_for_links(line: Line) -> None:
    Queue.forward("old", "new")
    Bus.chain([Note(1), Note(2), Note(3).on_queue("old")]).on_queue("old").dispatch()
    line.work()
    assert [payload.queue for payload in line.taken] == ["new"] * 3


def test_the_delay_of_a_chain_is_for_its_first_job(line: Line) -> None:
    Bus.chain([Note(1), Note(2).with_delay(7), Note(3)]).with_delay(timedelta(minutes=1)).dispatch()
    Bus.chain([Note(4).with_delay(3)]).delay(60).dispatch()
    assert [delay for _, delay in line.waiting] == [60, 3]
    line.step()
    assert [delay for _, delay in line.waiting] == [3, 7]
    line.waiting.pop(0)
    line.step()
    assert [delay for _, delay in line.waiting] == [0]
