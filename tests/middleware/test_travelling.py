from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from cryptography.fernet import Fernet
from pydantic import SecretStr

from laraq import Job, Laraq, closure, job
from laraq.errors import (
    InvalidJobError,
    LimiterNotFoundError,
    PayloadError,
    TamperedPayloadError,
    UnknownMiddlewareError,
)
from laraq.limits.limits import Limit, RateLimiter
from laraq.local.memory.store import MemoryStore
from laraq.messages.delivery import Delivery, Done, Fail, Release, Verdict
from laraq.messages.payload import Payload
from laraq.middleware import (
    FailOnException,
    RateLimited,
    RateLimitedWithRedis,
    Skip,
    ThrottlesExceptions,
    WithoutOverlapping,
)
from laraq.middleware import Release as ReleaseMiddleware
from laraq.middleware.travelling import pack, unpack
from tests.middleware.travellers import Connected, Greets, Guarded, Named, Plain, Sensitive, Slotted, function, log


@pytest.fixture
def queue() -> Iterator[Laraq]:
    log.clear()
    keys = [Fernet.generate_key().decode()]
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://", keys=keys) as queue:
        yield queue


@pytest.fixture
def arrive(queue: Laraq) -> Callable[..., Verdict]:
    """One start of a job that came as JSON, its header changed as the keywords say."""

    def arrive(job: Job, **header: Any) -> Verdict:
        message = queue.packer.payload(job, str(uuid4())).to_dict()
        message["laraq"].update(header)
        payload = Payload.from_dict(json.loads(json.dumps(message)))
        return queue.runner.run(Delivery(payload, 1, "default", "default")).verdict

    return arrive


def travelled(queue: Laraq, middleware: Any) -> Any:
    packed = json.loads(json.dumps(pack([middleware], Greets(), queue.keys)))
    (again,) = unpack(packed, queue.keys)
    return again


def test_it_runs_outside_of_the_jobs_own_in_its_order(arrive: Callable[..., Verdict]) -> None:
    assert arrive(Greets().through([Named("a", timedelta(seconds=2), ["x"]), Connected("b")])) == Done("ran")
    assert log == [("a", timedelta(seconds=2), ["x"]), "b", ("own", {}), "handle"]


def test_a_dataclass_that_would_arrive_as_another_is_refused(queue: Laraq) -> None:
    with pytest.raises(InvalidJobError, match="its token: a SecretStr would arrive as another"):
        pack([Guarded(SecretStr("4111"))], Greets(), queue.keys)


@job
def greet() -> str:
    return "greeted"


def say() -> str:
    return "said"


def test_functions_and_closures_may_have_it(arrive: Callable[..., Verdict]) -> None:
    assert arrive(greet.job().through([Named("a")])) == Done("greeted")
    assert arrive(closure(say).through([Named("b")])) == Done("said")
    assert [entry[0] for entry in log] == ["a", "b"]


def test_dispatch_sync_has_it_too(queue: Laraq) -> None:
    assert Greets().through([Named("a")]).dispatch_sync() == "ran"
    assert log[0][0] == "a"


def test_it_is_asked_at_the_dispatch_whether_it_can_work(queue: Laraq) -> None:
    with pytest.raises(LimiterNotFoundError):
        Greets().through([RateLimited("nobody named it")]).dispatch()


@pytest.mark.parametrize(
    "middleware",
    [
        Plain("a", deep={"list": [1, 2.5, None, True]}),
        WithoutOverlapping("k").shared().expire_after(timedelta(minutes=2)).park(),
        WithoutOverlapping(7).release_after(5).dont_count().with_prefix("p:"),
        RateLimited("reports").dont_release(),
        RateLimitedWithRedis("reports").connection("redis://limits/1"),
        ThrottlesExceptions(3, timedelta(minutes=5)).by("api").backoff(timedelta(minutes=1)).when([OSError, KeyError]),
        FailOnException(json.JSONDecodeError),
        Skip.when(True),
        Skip.unless(True),
        ReleaseMiddleware.when(True, after=timedelta(seconds=3)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_travels_is_the_same_again(queue: Laraq, middleware: Any) -> None:
    again = travelled(queue, middleware)
    assert type(again) is type(middleware)
    assert vars(again) == vars(middleware)


def test_built_in_middleware_works_as_when_the_class_says_it(arrive: Callable[..., Verdict]) -> None:
    RateLimiter.for_("one a year", lambda job: Limit(1, 365 * 86400))
    job = Greets().through([RateLimited("one a year").release_after(30).dont_count()])
    assert [arrive(job), arrive(job)] == [Done("ran"), Release(30, counted=False)]
    assert arrive(Greets().through([Skip.when(True)])) == Done(None)


@dataclass
class Unprintable:
    thing: Any

    def handle(self, job: Any, next: Any) -> Any:
        return next(job)


class Local:
    """Made where no worker finds it."""

    @staticmethod
    def make() -> Any:
        class Hidden:
            def handle(self, job: Any, next: Any) -> Any:
                return next(job)

        return Hidden()


@pytest.mark.parametrize(
    ("middleware", "reason"),
    [
        (function, r"expected an object with handle\(job, next\)"),
        (object(), r"is an object with handle\(job, next\)"),
        (Local.make(), "workers would not find its class as"),
        (Slotted(), "it has __slots__"),
        (Plain("a", thing=object()), "its more is <object"),
        (Plain("a", numbers={1: 2}), "has the key 1"),
        (Skip.when(lambda: True), "its holds is <function.* Add it in the job's own"),
        (ThrottlesExceptions(1, 1).when(lambda error: True), "its when is <function"),
        (ReleaseMiddleware.when(True, after=datetime.now(UTC)), "its after is datetime"),
        (RateLimitedWithRedis("r").connection(MemoryStore()), "its connection is <"),
        (FailOnException(type("Odd", (Exception,), {})), "its matches is Odd, which workers could not find"),
        (Unprintable(object()), "Unable to serialize"),
    ],
)
def test_what_cannot_travel_is_refused_at_the_dispatch(queue: Laraq, middleware: Any, reason: str) -> None:
    RateLimiter.for_("r", lambda job: None)
    with pytest.raises(InvalidJobError, match=f"Greets: through\\(\\): .*{reason}"):
        Greets().through([middleware]).dispatch()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("logging.FileHandler", TamperedPayloadError),
        ("tests.middleware.travellers.Greets", TamperedPayloadError),
        ("tests.middleware.travellers.function", PayloadError),
        ("tests.middleware.travellers.timedelta", UnknownMiddlewareError),
        ("tests.middleware.travellers.log", UnknownMiddlewareError),
    ],
)
def test_a_message_names_nothing_but_middleware(arrive: Callable[..., Verdict], name: str, error: type) -> None:
    verdict = arrive(Greets(), through=[{"class": name, "state": {"filename": "/tmp/x"}}])
    assert isinstance(verdict, Fail | Release)
    assert type(verdict.error) is error
    assert log == []


def test_a_message_that_is_none_of_ours_fails(arrive: Callable[..., Verdict]) -> None:
    for through in (["x"], [{}], [{"class": "tests.middleware.travellers.Named", "state": {"name": []}}]):
        verdict = arrive(Greets(), through=through)
        assert isinstance(verdict, Fail | Release)
        assert isinstance(verdict.error, PayloadError)


def test_middleware_that_the_worker_does_not_have_yet_gives_the_job_back(arrive: Callable[..., Verdict]) -> None:
    verdict = arrive(Greets(), through=[{"class": "shop.tomorrow.Named", "state": {}}])
    assert isinstance(verdict, Release)
    assert isinstance(verdict.error, UnknownMiddlewareError)
    assert not verdict.counted


def test_the_middleware_of_an_encrypted_job_travels_encrypted(queue: Laraq, arrive: Callable[..., Verdict]) -> None:
    job = Sensitive().through([Plain("ann@example.com")])
    assert "ann@example.com" not in json.dumps(queue.packer.payload(job, "1").to_dict())
    assert arrive(job) == Done("ran")
    assert log == [("ann@example.com", {})]


def test_a_script_is_found_under_the_name_that_workers_import_it_by(
    queue: Laraq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["tests.middleware.travellers"])
    monkeypatch.setattr(Plain, "__module__", "__main__")
    (packed,) = pack([Plain("a")], Greets(), queue.keys)
    assert packed["class"] == "tests.middleware.travellers.Plain"
