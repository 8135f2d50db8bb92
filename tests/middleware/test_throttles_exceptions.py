from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import Retry

from laraq import Laraq
from laraq.errors import JobTimedOutError, StoreError, TamperedPayloadError
from laraq.local.memory.store import MemoryStore
from laraq.messages.delivery import Done, Fail, Release
from laraq.middleware import ThrottlesExceptions, ThrottlesExceptionsWithRedis
from laraq.ports import Cached, Store
from tests.middleware.conftest import Deliver, attached, delivered
from tests.middleware.works import raises, work
from tests.support.waiting import wait_until


class Service:
    """A body that fails while it is down, and counts its calls."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls = 0

    def __call__(self, _job: Any) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "ran"


def ends_in(queue: Laraq, key: str) -> float:
    seen = queue.store.cache.get(key)
    assert seen is not None
    return seen.ends_in


def test_after_the_maximum_of_exceptions_the_handler_is_left_alone(deliver: Deliver, asynchronous: bool) -> None:
    service = Service(ValueError("down"))
    cls = work(ThrottlesExceptions(3, 5), body=service, asynchronous=asynchronous)
    verdicts = [deliver(cls) for _ in range(5)]
    assert service.calls == 3
    assert verdicts[:3] == [Release(0)] * 3
    for verdict in verdicts[3:]:
        assert isinstance(verdict, Release)
        assert 5 * 60 < verdict.delay <= 5 * 60 + 3


def test_a_success_returns_its_result_and_forgets_the_exceptions(deliver: Deliver, asynchronous: bool) -> None:
    service = Service(ValueError("down"))
    cls = work(ThrottlesExceptions(2, 5), body=service, asynchronous=asynchronous)
    deliver(cls)
    service.error = None
    assert deliver(cls) == Done("ran")
    service.error = ValueError("down again")
    deliver(cls)
    deliver(cls)
    assert service.calls == 4


def test_the_window_is_fixed_from_the_first_exception(queue: Laraq, deliver: Deliver) -> None:
    throttles = ThrottlesExceptions(9, timedelta(seconds=60))
    cls = work(throttles, body=raises(ValueError()))
    deliver(cls)
    key = throttles.key(cls())
    first = ends_in(queue, key)
    wait_until(lambda: ends_in(queue, key) < first - 0.05)
    deliver(cls)
    seen = queue.store.cache.get(key)
    assert seen is not None
    assert seen.count == 2
    assert seen.ends_in < first - 0.05


def test_exceptions_are_forgotten_when_the_window_is_over(queue: Laraq, deliver: Deliver) -> None:
    throttles = ThrottlesExceptions(1, timedelta(milliseconds=50))
    service = Service(ValueError("down"))
    cls = work(throttles, body=service)
    deliver(cls)
    wait_until(lambda: queue.store.cache.get(throttles.key(cls())) is None)
    deliver(cls)
    assert service.calls == 2


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [
        (5, 300),
        (0.5, 30),
        (timedelta(seconds=7), 7),
        (lambda error: int(str(error)), 120),
        (lambda error: timedelta(seconds=int(str(error))), 2),
    ],
)
def test_backoff_is_the_wait_after_an_exception(deliver: Deliver, backoff: Any, seconds: float) -> None:
    cls = work(ThrottlesExceptions(9, 5).backoff(backoff), body=raises(ValueError("2")))
    assert deliver(cls) == Release(seconds)


def test_dont_count_lets_releases_of_both_kinds_cost_no_attempt(deliver: Deliver) -> None:
    cls = work(ThrottlesExceptions(1, 5).backoff(1).dont_count(), body=raises(ValueError()))
    after_exception, refused = deliver(cls), deliver(cls)
    assert after_exception == Release(60, counted=False)
    assert isinstance(refused, Release)
    assert not refused.counted


def test_swallowed_exceptions_do_not_count_for_max_exceptions(deliver: Deliver) -> None:
    cls = work(ThrottlesExceptions(9, 5), body=raises(ValueError()), max_exceptions=1)
    assert deliver(cls) == Release(0)


RULES: dict[str, Any] = {
    "type": KeyError,
    "types": [OSError, KeyError],
    "predicate": lambda error: isinstance(error, KeyError),
    "predicate of the job": lambda error, job: isinstance(error, KeyError) and job.attempts == 1,
}


@pytest.fixture(params=RULES)
def key_errors(request: pytest.FixtureRequest) -> Any:
    """A rule for KeyErrors, in each of its forms."""
    return RULES[request.param]


def test_what_when_does_not_name_is_neither_counted_nor_swallowed(
    queue: Laraq, deliver: Deliver, key_errors: Any
) -> None:
    throttles = ThrottlesExceptions(9, 5).when(key_errors)
    error = ValueError()
    other, named = work(throttles, body=raises(error), tries=1), work(throttles, body=raises(KeyError()))
    assert deliver(other) == Fail(error)
    assert queue.store.cache.get(throttles.key(other())) is None
    assert deliver(named) == Release(0)
    seen = queue.store.cache.get(throttles.key(named()))
    assert seen is not None
    assert seen.count == 1


def test_delete_when_ends_the_job_quietly_and_counts_nothing(queue: Laraq, deliver: Deliver, key_errors: Any) -> None:
    throttles = ThrottlesExceptions(9, 5).delete_when(key_errors)
    cls = work(throttles, body=raises(KeyError()))
    assert deliver(cls) == Done()
    assert queue.store.cache.get(throttles.key(cls())) is None
    assert deliver(work(throttles, body=raises(ValueError()))) == Release(0)


def test_fail_when_fails_the_job_whatever_tries_are_left(queue: Laraq, deliver: Deliver, key_errors: Any) -> None:
    throttles, error = ThrottlesExceptions(9, 5).fail_when(key_errors), KeyError()
    cls = work(throttles, body=raises(error))
    assert deliver(cls) == Fail(error)
    assert queue.store.cache.get(throttles.key(cls())) is None
    assert deliver(work(throttles, body=raises(ValueError()))) == Release(0)


def test_delete_when_beats_fail_when(deliver: Deliver) -> None:
    throttles = ThrottlesExceptions(9, 5).fail_when(Exception).delete_when(KeyError)
    assert deliver(work(throttles, body=raises(KeyError()))) == Done()
    assert isinstance(deliver(work(throttles, body=raises(ValueError()))), Fail)


@pytest.mark.parametrize(
    ("modify", "logged"),
    [
        (lambda one: one, False),
        (lambda one: one.report(), True),
        (lambda one: one.report(KeyError), False),
        (lambda one: one.report(lambda error: str(error) == "down"), True),
    ],
)
def test_report_logs_what_is_swallowed(
    deliver: Deliver,
    caplog: pytest.LogCaptureFixture,
    modify: Callable[[ThrottlesExceptions], ThrottlesExceptions],
    logged: bool,
) -> None:
    with caplog.at_level(logging.ERROR, "laraq.middleware"):
        deliver(work(modify(ThrottlesExceptions(9, 5)), body=raises(ValueError("down"))))
    assert ("ValueError: down" in caplog.text) is logged


def test_jobs_of_a_class_are_counted_together_unless_a_key_says_otherwise() -> None:
    a, b, named = work(), work(), work(display_name="Named")
    throttles = ThrottlesExceptions()
    assert throttles.key(a()) == f"throttles_exceptions:{a.job_name()}"
    assert throttles.key(a()) != throttles.key(b())
    assert throttles.key(named()) == "throttles_exceptions:Named"
    assert {throttles.by("stripe").key(cls()) for cls in (a, b, named)} == {"throttles_exceptions:stripe"}


def test_by_job_counts_each_job_for_itself(deliver: Deliver) -> None:
    service = Service(ValueError("down"))
    cls = work(ThrottlesExceptions(1, 5).by_job(), body=service)
    for id in ("a", "a", "b", "b"):
        deliver(cls, id=id)
    assert service.calls == 2


def test_two_apps_on_one_store_count_together(store: Store) -> None:
    service = Service(ValueError("down"))
    cls = work(ThrottlesExceptions(2, 5), body=service)
    verdicts = []
    for _ in range(3):
        with attached(store) as queue:
            verdicts.append(delivered(queue, cls))
    assert service.calls == 2
    assert isinstance(verdicts[2], Release)
    assert verdicts[2].delay > 60


@pytest.mark.parametrize("error", [JobTimedOutError("slow"), TamperedPayloadError("forged")])
def test_what_the_runner_judges_by_itself_passes(queue: Laraq, deliver: Deliver, error: Exception) -> None:
    throttles = ThrottlesExceptions(9, 5)
    cls = work(throttles, body=raises(error), fail_on_timeout=True)
    assert deliver(cls) == Fail(error)
    assert queue.store.cache.get(throttles.key(cls())) is None


def test_celerys_own_exceptions_pass(deliver: Deliver) -> None:
    with pytest.raises(Retry):
        deliver(work(ThrottlesExceptions(9, 5), body=raises(Retry())))


def test_dispatch_sync_shows_the_exception_to_its_caller(queue: Laraq) -> None:
    throttles = ThrottlesExceptions(9, 5)
    cls = work(throttles, body=raises(ValueError("down")))
    with pytest.raises(ValueError, match="down"):
        cls.dispatch_sync()
    assert queue.store.cache.get(throttles.key(cls())) is not None


def test_a_store_that_is_down_after_the_run_leaves_the_outcome_alone(
    queue: Laraq, deliver: Deliver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Down:
        def get(self, key: str) -> None:
            return None

        def forget(self, key: str) -> bool:
            raise StoreError("redis is down")

        def increment(self, key: str, amount: int, seconds: float) -> Cached:
            raise StoreError("redis is down")

    monkeypatch.setattr(queue.store, "_cache", Down())
    assert deliver(work(ThrottlesExceptions(9, 5))) == Done("ran")
    assert deliver(work(ThrottlesExceptions(9, 5).backoff(1), body=raises(ValueError()))) == Release(60)
    assert caplog.text.count("redis is down") == 2


def test_with_redis_counts_in_the_store_it_is_given_and_waits_no_longer_than_the_window(deliver: Deliver) -> None:
    elsewhere = MemoryStore()
    throttles = ThrottlesExceptionsWithRedis(1, 5).connection(elsewhere)
    cls = work(throttles, body=raises(ValueError()))
    deliver(cls)
    refused = deliver(cls)
    assert elsewhere.cache.get(throttles.key(cls())) is not None
    assert isinstance(refused, Release)
    assert 299 < refused.delay <= 300


@pytest.mark.parametrize("decay", [0, -1, timedelta(0)])
def test_a_window_without_a_length_is_refused(decay: Any) -> None:
    with pytest.raises(ValueError, match="cannot be counted for"):
        ThrottlesExceptions(1, decay)


def test_ten_exceptions_in_ten_minutes_are_the_defaults() -> None:
    assert repr(ThrottlesExceptions()) == "ThrottlesExceptions(10, 10)"
    assert repr(ThrottlesExceptions(3, timedelta(seconds=90))) == "ThrottlesExceptions(3, 1.5)"
