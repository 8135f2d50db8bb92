"""What cannot be a chain is refused, and nothing is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import chain, chord, group

from laraq import Bus
from laraq.errors import ConfigurationError, DispatchError, InvalidJobError, JobDefinitionError
from tests.support.line import Line
from tests.workflow.chains.jobs import Note


@pytest.mark.parametrize(
    ("jobs", "error", "text"),
    [
        ([], JobDefinitionError, r"Bus.chain\(\[\]\) has no job"),
        ([None, False], JobDefinitionError, "has no job"),
        ([Note(1), 5], JobDefinitionError, "5 is not a job"),
        ([Note(1), "shop.Note"], JobDefinitionError, "'shop.Note' is not a job"),
        ([Note("one"), Note(2)], InvalidJobError, "n\n"),  # type: ignore[arg-type] # that is the point
        ([Note(1), Note("two")], InvalidJobError, "n\n"),  # type: ignore[arg-type] # that is the point
        ([Note(1), Note], TypeError, "n"),
        ([Note(1), lambda: None], ConfigurationError, "laraq_keys"),
    ],
)
def test_what_cannot_be_a_link_is_refused_before_anything_is_sent(
    line: Line, jobs: list[Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Bus.chain(jobs).dispatch()
    assert line.taken == []


def test_a_lambda_as_a_catch_needs_keys(line: Line) -> None:
    with pytest.raises(ConfigurationError, match="laraq_keys"):
        Bus.chain([Note(1)]).catch(lambda error: None).dispatch()
    assert line.taken == []


@pytest.mark.parametrize("made", [chain, group, lambda *tasks: chord(tasks[:1], tasks[1])])
def test_a_canvas_of_celery_cannot_be_a_link(line: Line, made: Callable[..., Any]) -> None:
    with pytest.raises(JobDefinitionError, match=r"Celery's (chain|group|chord) cannot be a link.*Bus\.chain"):
        Bus.chain([Note(1), made(Note.si(1), Note.si(2))]).dispatch()
    assert line.taken == []


def test_a_broker_that_is_down_is_told_to_the_sender(line: Line) -> None:
    line.errors = [DispatchError("down")]
    with pytest.raises(DispatchError, match="down"):
        Bus.chain([Note(1), Note(2)]).dispatch()
    assert line.taken == []
