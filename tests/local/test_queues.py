from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from laraq import Bus, Context, Events, Job, Laraq, deferring, events
from laraq.errors import ReleasedInSyncError


class Store(Job):
    n: int

    def handle(self) -> int:
        log.append(("handle", self.n))
        return self.n * 2


class Breaks(Store):
    def handle(self) -> int:
        raise ValueError(f"no {self.n}")

    def failed(self, error: BaseException | None) -> None:
        log.append(("failed", str(error)))


class Releases(Store):
    def handle(self) -> int:
        self.release(30)
        return 0


log: list[Any] = []


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    log.clear()
    connections = {"here": {"driver": "sync"}, "gone": {"driver": "null"}, "after": {"driver": "deferred"}}
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", connections=connections) as queue:
        yield queue


def heard() -> list[str]:
    return [entry for entry in log if isinstance(entry, str)]


@pytest.fixture
def listening() -> Iterator[None]:
    with Events.listening(events.Event, lambda event: log.append(type(event).__name__)):
        yield


# -- sync -----------------------------------------------------------------------------------------------------------


def test_sync_runs_the_job_where_it_is_dispatched_and_returns_its_result() -> None:
    assert Store.dispatch_sync(2) == 4
    assert log == [("handle", 2)]


@pytest.mark.parametrize("connection", ["sync", "here"])
def test_a_job_dispatched_to_sync_ran_when_dispatch_returns(connection: str) -> None:
    assert Store(3).on_connection(connection).dispatch().id
    assert log == [("handle", 3)]


def test_a_delay_is_ignored_on_sync() -> None:
    Store(3).on_connection("sync").with_delay(600).dispatch()
    assert log == [("handle", 3)]


def test_an_exception_on_sync_reaches_the_caller_and_failed_was_called() -> None:
    with pytest.raises(ValueError, match="no 1"):
        Breaks.dispatch_sync(1)
    assert log == [("failed", "no 1")]


@pytest.mark.usefixtures("listening")
def test_there_is_one_attempt_on_sync_whatever_tries_say() -> None:
    job = Breaks(1)
    job.tries = 5
    with pytest.raises(ValueError, match="no 1"):
        job.dispatch_sync()
    assert ("failed", "no 1") in log
    assert "JobFailed" in heard()
    assert "JobReleasedAfterException" not in heard()


def test_a_failure_on_sync_is_not_put_into_the_failed_store(queue: Laraq) -> None:
    with pytest.raises(ValueError, match="no"):
        Breaks.dispatch_sync(1)
    assert not queue.failed.all()


def test_a_release_on_sync_is_refused_instead_of_losing_the_job() -> None:
    with pytest.raises(ReleasedInSyncError, match=r"Releases.*30 s"):
        Releases.dispatch_sync(1)


@pytest.mark.usefixtures("listening")
def test_a_sync_job_fires_the_events_of_a_run() -> None:
    Store.dispatch_sync(1)
    assert heard() == ["JobProcessing", "JobProcessed", "JobAttempted"]


def test_the_connection_and_queue_of_a_sync_job_are_called_sync() -> None:
    found: list[events.JobProcessing] = []
    with Events.listening(events.JobProcessing, found.append):
        Store.dispatch_sync(1)
        Store(1).on_queue("high").on_connection("here").dispatch()
    assert [(event.connection, event.queue, event.attempts) for event in found] == [
        ("sync", "sync", 1),
        ("here", "high", 1),
    ]


def test_a_sync_job_runs_its_middleware_and_leaves_the_caller_s_context_alone() -> None:
    class Wrapped(Store):
        def middleware(self) -> list[Any]:
            return [lambda job, next: next(job) + 1]

        def handle(self) -> int:
            Context.add("inner", 1)
            return int(Context.get("outer"))

    with Context.scope():
        Context.add("outer", 5)
        assert Wrapped.dispatch_sync(1) == 6
        assert Context.get("inner") is None


def test_the_first_failure_of_a_bulk_on_sync_stops_the_rest() -> None:
    jobs = [Store(1), Breaks(2), Store(3)]
    with pytest.raises(ValueError, match="no 2"):
        Bus.bulk(job.on_connection("sync") for job in jobs)
    assert ("handle", 1) in log
    assert ("handle", 3) not in log


# -- null -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connection", ["null", "gone"])
def test_null_drops_every_job(connection: str) -> None:
    assert Store(1).on_connection(connection).dispatch().id
    Bus.bulk([Store(2).on_connection(connection)])
    assert log == []


# -- deferred -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connection", ["deferred", "after"])
def test_deferred_jobs_run_in_order_when_the_block_ends(connection: str) -> None:
    with deferring():
        Store(1).on_connection(connection).dispatch()
        Bus.bulk([Store(2).on_connection(connection), Store(3).on_connection(connection)])
        assert log == []
    assert log == [("handle", 1), ("handle", 2), ("handle", 3)]


def test_dispatch_after_response_defers_the_job() -> None:
    with deferring():
        Store.dispatch_after_response(1)
        Store(2).dispatch_after_response()
        assert log == []
    assert log == [("handle", 1), ("handle", 2)]


def test_deferred_jobs_are_dropped_when_the_block_raises() -> None:
    with pytest.raises(KeyError), deferring():  # noqa: PT012 - what a block does is the point
        Store.dispatch_after_response(1)
        raise KeyError
    assert log == []


def test_a_deferred_job_that_fails_is_reported_and_does_not_stop_the_next(caplog: pytest.LogCaptureFixture) -> None:
    with deferring():
        Breaks.dispatch_after_response(1)
        Store.dispatch_after_response(2)
    assert log == [("failed", "no 1"), ("handle", 2)]
    assert "no 1" in caplog.text


def test_the_inner_block_runs_its_own_jobs_only() -> None:
    with deferring():
        Store.dispatch_after_response(1)
        with deferring():
            Store.dispatch_after_response(2)
        assert log == [("handle", 2)]
    assert log == [("handle", 2), ("handle", 1)]


def test_a_deferred_job_sees_the_context_of_its_dispatch() -> None:
    class Sees(Store):
        def handle(self) -> int:
            log.append(Context.get("request"))
            return 0

    with deferring(), Context.scope():
        Context.add("request", "r-1")
        Sees.dispatch_after_response(1)
    assert log == ["r-1"]


def test_what_a_deferred_job_defers_runs_in_the_same_block() -> None:
    class Defers(Store):
        def handle(self) -> int:
            Store.dispatch_after_response(2)
            return 0

    with deferring():
        Defers.dispatch_after_response(1)
    assert log == [("handle", 2)]


def test_without_a_block_deferred_jobs_run_when_the_process_ends() -> None:
    code = (
        "from celery import Celery; from laraq import Job, Laraq\n"
        "class Says(Job):\n"
        "    word: str\n"
        "    def handle(self): print(self.word)\n"
        "queue = Laraq(Celery('t', broker='memory://'), store='memory://')\n"
        "Says.dispatch_after_response('first'); Says.dispatch_after_response('second'); print('end')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout.split() == ["end", "first", "second"], ended.stderr
