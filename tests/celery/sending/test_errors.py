"""Whatever a broker's library raises, a dispatch raises a DispatchError, which shows no password."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest
from celery import Celery
from kombu.utils.url import url_to_parts
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from laraq import Bus, Job, Laraq
from laraq.errors import ConfigurationError, DispatchError, InspectionError


class Ship(Job):
    n: int = 1

    def handle(self) -> None: ...


class Bill(Ship):
    after_commit = True
    unique = True


def _after_commit(queue: Laraq) -> None:
    with Session(create_engine("sqlite://")) as session, session.begin():
        queue.dispatcher.dispatch(Bill(), session=session)


WAYS: dict[str, Callable[[Laraq], object]] = {
    "push": lambda queue: queue.dispatcher.dispatch(Ship()),
    "bulk": lambda queue: queue.dispatcher.bulk([Ship(), Ship()]),
    "delayed": lambda queue: queue.dispatcher.dispatch(Ship().with_delay(5000)),
    "delayed bulk": lambda queue: queue.dispatcher.bulk([Ship().with_delay(5000), Ship()]),
    "chain": lambda queue: Bus.chain([Ship(), Ship()]).dispatch(),
    "batch": lambda queue: Bus.batch([Ship(), Ship()]).dispatch(),
    "Celery's verb": lambda queue: Ship.delay(),
    "unique": lambda queue: queue.dispatcher.dispatch(Bill()),
}

URLS = {
    "an unknown scheme": "nope://user:secret@127.0.0.1/0",
    "a transport that is not installed": "zookeeper://user:secret@127.0.0.1",
    "a port that is none": "redis://user:secret/more@127.0.0.1:port/0",
    "nobody there": "redis://user:secret@127.0.0.1:1/0",
    "nobody there on a broker of ours": "laraq-redis://user:secret@127.0.0.1:1/0",
    "an option nobody knows": "laraq-redis://user:secret@127.0.0.1:1/0?depth=3",
    "no name for Sentinel": "laraq-sentinel://user:secret@127.0.0.1:1",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("url", URLS)
def test_a_dispatch_that_fails_raises_a_dispatch_error(way: str, url: str) -> None:
    with _attached(URLS[url]) as queue, pytest.raises((DispatchError, ConfigurationError)) as caught:
        WAYS[way](queue)
    if way != "batch":  # which asks for a store first, perhaps at the same URL
        assert isinstance(caught.value, DispatchError)
        assert "connection 'default'" in str(caught.value)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", ["user", "vhost"])
def test_rabbitmq_lets_nobody_in(amqp_url: str, way: str, change: str) -> None:
    parts = url_to_parts(amqp_url)
    user, vhost = ("nobody:secret", "") if change == "user" else (f"{parts[3]}:{parts[4]}", "not_there")
    url = f"amqp://{user}@{parts[1]}:{parts[2]}/{vhost}"
    with _attached(url) as queue, pytest.raises(DispatchError, match=r"AccessRefused|NotAllowed") as caught:
        WAYS[way](queue)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", URLS)
def test_a_broker_that_cannot_be_asked_is_an_inspection_error(url: str) -> None:
    with _attached(URLS[url]) as queue, pytest.raises(InspectionError, match="cannot be asked") as caught:
        queue.connection().inspection.size("celery")
    assert "secret" not in str(caught.value)


def test_the_exceptions_of_a_job_that_celery_runs_at_once_are_its_own() -> None:
    with _attached("memory://") as queue:
        queue.host.app.conf.update(task_always_eager=True, task_eager_propagates=True)
        with pytest.raises(ZeroDivisionError):
            queue.dispatcher.dispatch(Divides())


class Divides(Job):
    def handle(self) -> None:
        raise ZeroDivisionError


def _attached(url: str) -> Laraq:
    app = Celery("t", broker=url, set_as_current=False)
    app.conf.task_publish_retry_policy = {"max_retries": 0}
    return Laraq(app, store="memory://")
