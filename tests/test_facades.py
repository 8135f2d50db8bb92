from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from laraq import Bus, Events, Failed, Job, Laraq, Queue, dispatch, events, job
from laraq.errors import JobDefinitionError
from laraq.messages.delivery import Delivery
from laraq.messages.payload import Payload


class Ship(Job):
    n: int = 0

    connection = "null"

    def handle(self) -> int:
        return self.n


class Breaks(Ship):
    def handle(self) -> int:
        raise ValueError("no")


@job(connection="null")
def send() -> str:
    return "sent"


def plain() -> str:
    return "plain"


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://") as queue:
        yield queue


@pytest.mark.parametrize("door", [dispatch, Bus.dispatch])
@pytest.mark.parametrize("thing", [Ship(1), Ship, send, plain], ids=["instance", "class", "@job function", "function"])
def test_dispatch_takes_everything_that_can_be_a_job(queue: Laraq, door: Callable[[Any], Any], thing: Any) -> None:
    Queue.route(Job, connection="null")
    assert door(thing).id


@pytest.mark.parametrize(("thing", "result"), [(Ship(3), 3), (send, "sent"), (plain, "plain")])
def test_bus_dispatch_sync_runs_it_here(thing: Any, result: Any) -> None:
    assert Bus.dispatch_sync(thing) == result


def test_what_is_no_job_is_refused() -> None:
    with pytest.raises(JobDefinitionError):
        dispatch("shop.jobs.Ship")


def test_bulk_takes_any_iterable_of_jobs() -> None:
    assert len(Bus.bulk(Ship(n) for n in range(3))) == 3
    assert Bus.bulk([]) == []


@pytest.mark.parametrize(
    ("hook", "event", "thing"),
    [
        (Queue.before, events.JobProcessing, Ship),
        (Queue.after, events.JobProcessed, Ship),
        (Queue.failing, events.JobFailed, Breaks),
        (Queue.exception_occurred, events.JobExceptionOccurred, Breaks),
    ],
    ids=["before", "after", "failing", "exception_occurred"],
)
def test_a_hook_hears_its_event_until_it_is_removed(
    hook: Callable[[Callable[[Any], object]], Callable[[], None]], event: type[events.Event], thing: type[Ship]
) -> None:
    heard: list[Any] = []
    remove = hook(heard.append)
    run(thing())
    remove()
    run(thing())
    assert [type(each) for each in heard] == [event]


@pytest.mark.parametrize(
    ("hook", "event"),
    [
        (Queue.looping, events.Looping),
        (Queue.starting, events.WorkerStarting),
        (Queue.stopping, events.WorkerStopping),
    ],
    ids=["looping", "starting", "stopping"],
)
def test_a_worker_hook_hears_its_event_until_it_is_removed(
    hook: Callable[[Callable[[Any], object]], Callable[[], None]], event: type[events.Event]
) -> None:
    heard: list[Any] = []
    remove = hook(heard.append)
    Events.emit(event, "worker-1")
    remove()
    Events.emit(event, "worker-1")
    assert [(type(each), each.worker) for each in heard] == [(event, "worker-1")]


def run(job: Ship) -> None:
    try:
        job.dispatch_sync()
    except ValueError:
        assert isinstance(job, Breaks)


def test_failed_is_about_the_current_laraq(queue: Laraq) -> None:
    for id in "123":
        payload = Payload(id, Breaks.job_name(), connection="null")
        queue.books.settle(queue.runner.run(Delivery(payload, 1, "orders", "null")))
    assert [failed.id for failed in Failed.all()] == ["3", "2", "1"]
    assert [failed.id for failed in Failed.all("orders", limit=1)] == ["3"]
    found = Failed.find("2")
    assert found is not None
    assert found.queue == "orders"
    assert Failed.retry("1") == ["1"]
    assert Failed.forget("2")
    assert Failed.prune() == 0
    with Laraq(Celery("u", broker="memory://", set_as_current=False), store="memory://"):
        assert not Failed.all()
    assert Failed.flush() == 1
