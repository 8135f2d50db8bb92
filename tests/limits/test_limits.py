from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from laraq.current import use
from laraq.errors import ConfigurationError, LimiterNotFoundError
from laraq.limits.limits import UNLIMITED, Limit, RateLimiter
from laraq.local.memory.store import MemoryStore
from laraq.ports import Demand
from laraq.testing.suite.board import Board
from laraq.testing.suite.forking import in_children
from laraq_redis import RedisStore

#: Seconds of a window that ends once in 31 years.
LONG = 1e9


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(autouse=True)
def in_use(store: MemoryStore) -> Iterator[None]:
    with use(cast(Any, SimpleNamespace(store=store))):
        yield


@pytest.fixture(autouse=True)
def no_limiters_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RateLimiter, "_callbacks", {})


def job(**fields: Any) -> Any:
    return SimpleNamespace(**fields)


# Limit


@pytest.mark.parametrize(
    ("limit", "maximum", "seconds"),
    [
        (Limit.per_second(5), 5, 1),
        (Limit.per_second(50, 10), 50, 10),
        (Limit.per_second(50, timedelta(milliseconds=500)), 50, 0.5),
        (Limit.per_minute(5), 5, 60),
        (Limit.per_minute(5, 2), 5, 120),
        (Limit.per_minutes(10, 5), 5, 600),
        (Limit.per_hour(5), 5, 3600),
        (Limit.per_hour(5, 6), 5, 21_600),
        (Limit.per_day(5), 5, 86_400),
        (Limit.per_day(5, 7), 5, 604_800),
    ],
)
def test_limits_are_named_as_in_laravel(limit: Limit, maximum: int, seconds: float) -> None:
    assert (limit.maximum, limit.seconds, limit.key, limit.weight) == (maximum, seconds, "", 1)


def test_a_limit_is_changed_in_copies() -> None:
    limit = Limit.per_minute(5)
    changed = limit.by(7).cost(3)
    assert (changed.key, changed.weight) == ("7", 3)
    assert limit == Limit.per_minute(5)


def test_a_window_without_length_and_a_negative_cost_are_refused() -> None:
    with pytest.raises(ValueError, match="longer than 0"):
        Limit.per_second(5, 0)
    with pytest.raises(ValueError, match="cost -1"):
        Limit.per_second(5).cost(-1)


# Named limiters


def test_a_limiter_is_named_by_a_call_or_by_a_decorator() -> None:
    @RateLimiter.for_("decorated")
    def decorated(job: Any) -> Limit:
        return Limit.per_minute(1)

    def called(job: Any) -> Limit:
        return Limit.per_minute(2)

    assert RateLimiter.for_("called", called) is called
    assert RateLimiter.limiter("decorated") is decorated
    assert RateLimiter.limiter("called") is called


def test_an_unknown_limiter_is_named_with_the_nearest_one() -> None:
    RateLimiter.for_("backups", lambda job: Limit.per_minute(1))
    with pytest.raises(LimiterNotFoundError, match=r"'backup' is not defined\. Did you mean 'backups'\?") as caught:
        RateLimiter.take("backup")
    assert caught.value.name == "backup"
    assert isinstance(caught.value, ConfigurationError)


def test_a_limiter_lets_its_maximum_through() -> None:
    RateLimiter.for_("backups", lambda job: Limit.per_second(2, LONG))
    assert [RateLimiter.take("backups").granted for _ in range(3)] == [True, True, False]


def test_keys_are_counted_apart() -> None:
    RateLimiter.for_("backups", lambda job: Limit.per_second(1, LONG).by(job.user_id))
    assert RateLimiter.take("backups", job(user_id=1))
    assert RateLimiter.take("backups", job(user_id=2))
    assert not RateLimiter.take("backups", job(user_id=1))


def test_limiters_are_counted_apart() -> None:
    for name in ("backups", "uploads"):
        RateLimiter.for_(name, lambda job: Limit.per_second(1, LONG).by("same"))
    assert RateLimiter.take("backups")
    assert RateLimiter.take("uploads")


@pytest.mark.parametrize("nothing", [Limit.none(), [Limit.none()], [], None])
def test_no_limit_lets_everything_through_without_asking_the_store(nothing: Any) -> None:
    RateLimiter.for_("free", lambda job: nothing)
    grant = RateLimiter.take("free", store=cast(Any, object()))
    assert grant
    assert grant.remaining == ()


def test_of_several_limits_all_are_taken_or_none() -> None:
    RateLimiter.for_("api", lambda job: [Limit.per_second(5, LONG), Limit.per_second(1, LONG).by(job.user_id)])
    assert RateLimiter.take("api", job(user_id=1)).remaining == (4, 0)
    assert not RateLimiter.take("api", job(user_id=1))
    assert RateLimiter.take("api", job(user_id=2)).remaining == (3, 0)


def test_limits_with_one_key_are_told_apart_by_what_they_allow() -> None:
    RateLimiter.for_("api", lambda job: [Limit.per_minute(10).by(7), Limit.per_hour(100).by(7)])
    assert [demand.key for demand in RateLimiter.demands("api")] == [
        "limiter:api:7",
        "limiter:api:7:attempts:100:decay:3600",
    ]


def test_a_limit_said_twice_is_taken_once() -> None:
    RateLimiter.for_("api", lambda job: [Limit.per_second(5, LONG), Limit.per_second(5, LONG)])
    assert RateLimiter.take("api").remaining == (4,)


def test_a_job_may_cost_more_than_one() -> None:
    RateLimiter.for_("api", lambda job: Limit.per_second(10, LONG).cost(job.pages))
    assert RateLimiter.take("api", job(pages=8)).remaining == (2,)
    assert not RateLimiter.take("api", job(pages=3))
    assert RateLimiter.take("api", job(pages=2)).remaining == (0,)


def test_a_limiter_shows_its_state() -> None:
    RateLimiter.for_("api", lambda job: [Limit.per_second(5, LONG), Limit.per_second(2, LONG).by(job.user_id)])
    me, other = job(user_id=1), job(user_id=2)
    assert RateLimiter.remaining("api", me) == 2
    assert RateLimiter.available_in("api", me) == 0
    RateLimiter.take("api", me)
    RateLimiter.take("api", me)
    assert RateLimiter.remaining("api", me) == 0
    assert RateLimiter.available_in("api", me) > 0
    assert RateLimiter.remaining("api", other) == 2
    assert RateLimiter.available_in("api", other) == 0
    RateLimiter.clear("api", me)
    assert RateLimiter.remaining("api", me) == 2


def test_a_limiter_without_a_limit_has_all_that_is_left() -> None:
    RateLimiter.for_("free", lambda job: Limit.none())
    assert RateLimiter.remaining("free") == UNLIMITED
    assert RateLimiter.available_in("free") == 0


# Counting by hand


def test_hits_are_counted_beyond_any_maximum() -> None:
    assert [RateLimiter.hit("login:7", LONG) for _ in range(3)] == [1, 2, 3]
    assert RateLimiter.hit("login:7", LONG, amount=5) == 8
    assert RateLimiter.attempts("login:7") == 8
    assert RateLimiter.remaining("login:7", 5) == 0
    assert RateLimiter.remaining("login:7", 10) == 2
    assert RateLimiter.too_many_attempts("login:7", 8) is True
    assert RateLimiter.too_many_attempts("login:7", 9) is False
    assert 0 < RateLimiter.available_in("login:7") <= LONG


def test_an_unused_key_has_everything_left() -> None:
    assert RateLimiter.attempts("login:7") == 0
    assert RateLimiter.remaining("login:7", 5) == 5
    assert RateLimiter.available_in("login:7") == 0
    assert RateLimiter.too_many_attempts("login:7", 1) is False


def test_a_cleared_key_starts_anew() -> None:
    RateLimiter.hit("login:7", LONG)
    RateLimiter.clear("login:7")
    assert RateLimiter.attempts("login:7") == 0


def test_attempt_calls_until_the_maximum_is_reached() -> None:
    calls: list[int] = []
    answers = [RateLimiter.attempt("mail:7", 2, lambda: calls.append(1), LONG) for _ in range(3)]
    assert answers == [True, True, False]
    assert len(calls) == 2


def test_attempt_returns_what_was_returned() -> None:
    assert RateLimiter.attempt("mail:7", 2, lambda: "sent", LONG) == "sent"
    assert RateLimiter.attempt("mail:7", 2, lambda: 0, LONG) == 0
    assert RateLimiter.attempt("mail:7", 2, lambda: "sent", LONG) is False


def test_an_attempt_that_raises_is_counted() -> None:
    with pytest.raises(ZeroDivisionError):
        RateLimiter.attempt("mail:7", 1, lambda: 1 / 0, LONG)
    assert RateLimiter.attempt("mail:7", 1, lambda: "sent", LONG) is False


def test_what_is_counted_by_hand_does_not_touch_a_limiter() -> None:
    RateLimiter.for_("api", lambda job: Limit.per_second(1, LONG).by(7))
    RateLimiter.hit("api:7", LONG)
    assert RateLimiter.take("api")


def test_another_store_may_be_said() -> None:
    other = MemoryStore()
    RateLimiter.for_("api", lambda job: Limit.per_second(1, LONG))
    assert RateLimiter.take("api")
    assert RateLimiter.take("api", store=other)
    assert RateLimiter.hit("key", LONG, store=other) == 1
    assert RateLimiter.attempts("key") == 0
    assert other.limits.usage("key").used == 1


def test_processes_attempt_as_often_as_allowed_and_no_more(redis_url: str) -> None:
    store = RedisStore.from_url(redis_url)
    calls = Board(4)

    def attempt(child: int) -> None:
        for _ in range(20):
            RateLimiter.attempt("mail:7", 30, lambda: calls.add(child), LONG, store=store)

    in_children([partial(attempt, child) for child in range(4)])
    assert calls.totals() == [30]
    assert not store.limits.take([Demand("mail:7", 30, LONG)])
    store.close()
