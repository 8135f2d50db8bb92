"""Workers"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
import pytest

from laraq import Laraq, Queue
from laraq.cli.group import COMMANDS
from laraq.cli.work import work
from laraq.orders.maintenance import is_down
from laraq.orders.restarts import is_restarted
from laraq_celery.worker.steps.stop_when import StopRules

parity = pytest.mark.parity


@parity("A queue is paused on its connection, for a time or until it is resumed; all queues can be paused at once.")
def test_pause(heard: list[str]) -> None:
    Queue.pause("high")
    assert [Queue.paused(name) for name in ("high", "default:high", "low")] == [True, True, False]
    Queue.resume("high")
    Queue.pause_all(60)
    assert Queue.paused("low")
    Queue.resume_all()
    assert not Queue.paused("low")
    assert heard == ["QueuePaused", "QueueResumed", "QueuesPaused", "QueuesResumed"]


@parity("A worker stops for its memory, empty queues, its time or its number of jobs, checked in this order.")
def test_stop_order() -> None:
    every: dict[str, Any] = {"memory": 1, "idle": True, "empty": True, "lived": 1.0, "taken": 1}
    rules = StopRules(1, True, 0, 1, 1)
    assert rules.reason(**every) == "memory"
    assert replace(rules, memory=0).reason(**every) == "empty"
    assert replace(rules, memory=0).reason(**{**every, "empty": False}) == "max_time"
    assert replace(rules, memory=0, max_time=0).reason(**{**every, "empty": False}) == "max_jobs"


@parity("A restart ends workers that began before it, and none that begins later.")
def test_restart(queue: Laraq) -> None:
    began = dict(queue.orders.standing())
    queue.restarts.order()
    ordered = dict(queue.orders.standing())
    assert [is_restarted(began, ordered), is_restarted(ordered, ordered)] == [True, False]


@parity("While the application is down jobs wait, except for workers with `--force`; pauses stay beside it.")
def test_maintenance(queue: Laraq, heard: list[str]) -> None:
    queue.maintenance.down()
    assert (queue.maintenance.is_down(), is_down(queue.orders.standing()), Queue.paused("high")) == (True, True, False)
    assert [queue.maintenance.up(), queue.maintenance.up(), queue.maintenance.is_down()] == [True, False, False]
    assert heard == ["MaintenanceModeEnabled", "MaintenanceModeDisabled", "MaintenanceModeDisabled"]


def option(name: str) -> click.Parameter | None:
    return next((param for param in work.params if name in param.opts), None)


@parity(
    "`--memory` is unlimited unless it is given.",
    differs="Laravel's 128 MB are little for Python with Celery and an application; a worker has several processes.",
)
def test_memory_is_unlimited() -> None:
    memory = option("--memory")
    assert memory is not None
    assert memory.default == 0


@parity(
    "There are no `--sleep` and `--rest`.",
    differs="Brokers tell workers of new jobs, so none sleeps; Celery has no pause between two jobs of a process.",
)
def test_no_sleep() -> None:
    assert (option("--sleep"), option("--rest")) == (None, None)


@parity(
    "`laraq migrate` makes all tables.",
    differs="Laravel writes migrations into the application: `make:queue-table`, `make:queue-failed-table`.",
)
def test_migrate_instead_of_make_table() -> None:
    assert "migrate" in COMMANDS
