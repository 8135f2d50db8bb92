from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from laraq import Context, Events, Job, Laraq, events
from laraq.messages.delivery import Delivery
from laraq.messages.payload import Payload


class Sees(Job):
    def handle(self) -> dict[str, Any]:
        seen = dict(Context.all())
        Context.add("added in handle", 1)
        return seen


class SendsAnother(Job):
    def handle(self) -> None:
        Context.add("step", 2)
        Sees().on_connection("nowhere").dispatch()


class Fails(Job):
    def handle(self) -> None:
        raise ValueError("no")

    def failed(self, error: BaseException | None) -> None:
        told.append(Context.get("request"))


told: list[Any] = []


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    told.clear()
    connections = {"nowhere": {"driver": "null"}}
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", connections=connections) as queue, Context.scope({}):
        yield queue


def arrived(queue: Laraq, job: Job) -> Delivery:
    payload = Payload.from_dict(json.loads(json.dumps(queue.packer.payload(job, "1").to_dict())))
    return Delivery(payload, 1, "default", "default")


def test_values_are_added_read_and_forgotten() -> None:
    Context.add("request", "r-1")
    Context.add("user", 7)
    assert (Context.get("request"), Context.get("nobody"), Context.get("nobody", 5)) == ("r-1", None, 5)
    Context.forget("user")
    Context.forget("nobody")
    assert Context.all() == {"request": "r-1"}


def test_a_scope_puts_everything_back() -> None:
    Context.add("request", "r-1")
    with pytest.raises(KeyError), Context.scope():  # noqa: PT012 - what a block does is the point
        assert Context.get("request") == "r-1"
        Context.add("request", "r-2")
        raise KeyError
    assert Context.all() == {"request": "r-1"}


def test_a_job_sees_what_was_there_when_it_was_dispatched_and_nothing_else(queue: Laraq) -> None:
    Context.add("request", "r-1")
    Context.add("nested", {"a": [1, None]})
    delivery = arrived(queue, Sees())
    Context.add("later", True)
    run = queue.runner.run(delivery)
    assert run.verdict.result == {"request": "r-1", "nested": {"a": [1, None]}}  # type: ignore[union-attr] # Done


def test_what_a_job_adds_stays_in_it(queue: Laraq) -> None:
    delivery = arrived(queue, Sees())
    queue.books.settle(queue.runner.run(delivery))
    assert Context.all() == {}
    assert delivery.payload.context == {}


def test_jobs_that_a_job_dispatches_inherit_its_context(queue: Laraq) -> None:
    Context.add("request", "r-1")
    queued: list[events.JobQueued] = []
    with Events.listening(events.JobQueued, queued.append):
        queue.runner.run(arrived(queue, SendsAnother()))
    assert [event.payload.context for event in queued] == [{"request": "r-1", "step": 2}]


def test_hooks_and_listeners_see_the_context_of_the_job(queue: Laraq) -> None:
    Context.add("request", "r-1")
    delivery = arrived(queue, Fails())
    Context.forget("request")
    with Events.listening(events.RunEvent, lambda event: told.append(Context.get("request"))):
        queue.books.settle(queue.runner.run(delivery))
    assert set(told) == {"r-1"}


def test_two_runs_one_after_the_other_share_nothing(queue: Laraq) -> None:
    first = queue.runner.run(arrived(queue, Sees())).verdict
    second = queue.runner.run(arrived(queue, Sees())).verdict
    assert first == second


def test_threads_and_tasks_have_their_own() -> None:
    Context.add("request", "mine")
    seen = []

    def work() -> None:
        seen.append(Context.get("request"))
        Context.add("request", "other")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    async def task() -> None:
        seen.append(Context.get("request"))
        Context.add("request", "task")

    async def main() -> None:
        await asyncio.gather(task(), task())

    asyncio.run(main())
    assert seen == [None, "mine", "mine"]
    assert Context.get("request") == "mine"
