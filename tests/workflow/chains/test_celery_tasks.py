"""Signatures of ordinary tasks as links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from laraq import Bus
from tests.support.line import Line
from tests.workflow.chains.jobs import Note, by_name, caught, log


@pytest.fixture
def legacy() -> Iterator[Line]:
    app = Celery("t", broker="memory://", set_as_current=False)
    app.conf.task_default_queue = "line"

    app.task(name="legacy.task", shared=False)(by_name)
    with Line.attached(app) as line:
        yield line


def test_a_signature_is_sent_as_celery_would_send_it(legacy: Line) -> None:
    app: Any = legacy.laraq.host.app  # type: ignore[attr-defined] # Celery's host has one
    signature = app.signature("legacy.task", args=[1], kwargs={"x": 2}, immutable=True).set(priority=3, countdown=9)
    Bus.chain([Note(1), signature, Note(2)]).on_queue("q").dispatch()
    legacy.step()
    [(payload, delay)] = legacy.waiting
    assert (payload.job, payload.args, payload.fields) == ("legacy.task", (1,), {"x": 2})
    assert (payload.queue, delay, payload.carrier["priority"]) == ("q", 9, 3)
    assert [link["job"] for link in payload.chain["rest"]] == [Note.job_name()]
    legacy.waiting.clear()
    legacy.laraq.books.succeeded(payload)
    legacy.work()
    assert log == [1, 2]


def test_a_signature_may_come_first(legacy: Line) -> None:
    app: Any = legacy.laraq.host.app  # type: ignore[attr-defined] # Celery's host has one
    sent = Bus.chain([app.signature("legacy.task"), Note(2)]).on_queue("q").dispatch()
    [(payload, _)] = legacy.waiting
    assert (payload.id, payload.job, payload.queue) == (sent.id, "legacy.task", "q")
    legacy.waiting.clear()
    legacy.laraq.books.succeeded(payload)
    legacy.work()
    assert log == [2]


def test_a_task_that_fails_stops_the_chain(legacy: Line) -> None:
    app: Any = legacy.laraq.host.app  # type: ignore[attr-defined] # Celery's host has one
    Bus.chain([app.signature("legacy.task"), Note(2)]).catch(caught).dispatch()
    payload, _ = legacy.waiting.pop()
    legacy.laraq.books.failed(payload, ValueError("of the task"))
    legacy.work()
    assert log == [("caught", "ValueError", "of the task")]


def test_the_links_of_a_jobs_signature_travel_with_it(line: Line) -> None:
    linked = Note.si(2).set(link=Note.si(5), queue="low")
    Bus.chain([Note(1), linked, Note(3)]).on_queue("q").dispatch()
    line.work()
    assert [payload.queue for payload in line.taken] == ["q", "low", "q"]
    assert line.taken[1].carrier["link"]
