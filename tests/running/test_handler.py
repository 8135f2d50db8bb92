"""A handler runs under its own Laraq, and to its end."""

from __future__ import annotations

from typing import Any

from celery import Celery

from laraq import Job, Laraq, current
from laraq.messages.delivery import Done
from tests.running.runs import delivery


def test_the_laraq_that_runs_a_job_is_the_current_one(queue: Laraq) -> None:
    class Which(Job):
        def handle(self) -> bool:
            return current() is queue

    arrives = delivery(queue, Which())
    with Laraq(Celery("u", broker="memory://", set_as_current=False), store="memory://"):
        assert queue.runner.run(arrives).verdict == Done(True)


def test_a_handler_that_is_async_under_a_decorator_is_run_to_its_end(queue: Laraq) -> None:
    def decorated(function: Any) -> Any:
        def call(self: Any) -> Any:
            return function(self)

        return call

    class Decorated(Job):
        @decorated
        async def handle(self) -> str:
            return "done"

    assert queue.runner.run(delivery(queue, Decorated())).verdict == Done("done")
