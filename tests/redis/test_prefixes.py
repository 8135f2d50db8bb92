"""Applications on one Redis: what tells their records apart, and how records without a prefix are taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery import Celery

from laraq import Laraq
from laraq.errors import ConfigurationError
from laraq.messages.failure import FailedJob
from laraq.messages.tally import BatchRecord, MemberState
from laraq.ports import DelayedMessage, Line, ParkedJob
from laraq_celery.worker.signals import _warn_of_shared_store
from laraq_redis.store.store import RedisStore

OpenApp = Callable[..., Laraq]


@pytest.fixture
def open_app(redis_url: str) -> Iterator[OpenApp]:
    opened: list[Laraq] = []

    def open_one(keyprefix: str | None = None, url: str = redis_url, **settings: Any) -> Laraq:
        app = Celery("shop", broker=url, set_as_current=False)
        if keyprefix is not None:
            app.conf.broker_transport_options = {"global_keyprefix": keyprefix}
        opened.append(Laraq(app, **settings))
        return opened[-1]

    yield open_one
    for laraq in opened:
        laraq.store.close()


def failed(id: str, job: str = "shop.Job") -> FailedJob:
    return FailedJob(id, "default", "celery", job, {}, "ValueError", datetime.now(UTC))


def fill(store: RedisStore, names: str) -> None:
    """One of everything that is kept, and more of what has keys in common."""
    for name in names:
        store.failed.record(failed(name))
        store.locks.acquire(f"lock {name}", "me", 600)
        store.batches.create(BatchRecord(id=name), ["j1", "j2"], 600)
        store.delayed.put("broker", [(DelayedMessage(name, "celery", "{}"), 600)])
        store.parking.park(ParkedJob(Line("app", f"lock {name}"), name, "{}", 0, ()))
        store.cache.put(f"cached {name}", name, 600)


def contents(store: RedisStore) -> tuple[Any, ...]:
    store_batches = sorted(batch.id for batch in store.batches.all())
    return (
        sorted(job.id for job in store.failed.all()),
        [store.locks.owner(f"lock {name}") for name in "abc"],
        [(name, list(store.batches.jobs(name, MemberState.PENDING))) for name in store_batches],
        store.delayed.count("broker", "celery"),
        sorted(message.id for message in store.delayed.waiting("broker", "celery")),
        [store.parking.count(Line("app", f"lock {name}")) for name in "abc"],
        [cached.value if (cached := store.cache.get(f"cached {name}")) else None for name in "abc"],
    )


@pytest.mark.parametrize("how", ["global_keyprefix", "laraq_prefix", "a store of its own"])
def test_apps_with_different_prefixes_do_not_see_each_other(open_app: OpenApp, redis_url: str, how: str) -> None:
    match how:
        case "global_keyprefix":
            one, two = open_app("one:"), open_app("two:")
        case "laraq_prefix":
            one, two = open_app(prefix="one:"), open_app("not this:", prefix="two:")
        case _:
            one, two = open_app("one:", store=redis_url), open_app("two:", store=redis_url, batches=redis_url)
    nobody = contents(two.store)  # type: ignore[arg-type]
    fill(one.store, "abc")  # type: ignore[arg-type]
    assert contents(two.store) == nobody  # type: ignore[arg-type]
    assert two.failed.all() == []
    assert two.store.locks.acquire("lock a", "somebody else", 60)
    assert two.batches.find("a") is None
    with redis.Redis.from_url(redis_url) as client:
        assert {key.decode().partition(":")[0] for key in client.scan_iter()} == {"one", "two"}


def test_processes_with_the_same_prefix_share_their_records_whatever_they_are_called(open_app: OpenApp) -> None:
    web, worker = open_app("shop:"), open_app("shop:")
    web.host.app.main = "web"  # type: ignore[attr-defined]
    fill(web.store, "a")  # type: ignore[arg-type]
    assert [job.id for job in worker.failed.all()] == ["a"]
    assert worker.store.locks.owner("lock a") == "me"


def test_without_any_the_keys_are_what_they_were(open_app: OpenApp, redis_url: str) -> None:
    before = RedisStore.from_url(redis_url)
    fill(before, "ab")
    for laraq in (open_app(), open_app("shop:", prefix="")):
        assert contents(laraq.store) == contents(before)  # type: ignore[arg-type]
    before.close()


def test_records_without_a_prefix_are_taken_over_and_merged(open_app: OpenApp, redis_url: str) -> None:
    """Also twice: old processes may have written since."""
    old, expected = RedisStore.from_url(redis_url), open_app("expected:")
    fill(expected.store, "abc")  # type: ignore[arg-type]
    laraq = open_app("shop:")
    store: RedisStore = laraq.store  # type: ignore[assignment]
    fill(old, "a")
    assert store.strays()
    assert laraq.adopt() > 5
    fill(old, "b")
    fill(store, "c")
    assert laraq.adopt() > 5
    assert contents(store) == contents(expected.store)  # type: ignore[arg-type]
    assert (store.strays(), laraq.adopt(), contents(old)[0]) == (False, 0, [])
    old.close()


def test_of_a_record_on_both_sides_the_newer_stays(open_app: OpenApp, redis_url: str) -> None:
    old, laraq = RedisStore.from_url(redis_url), open_app("shop:")
    old.failed.record(failed("a", "shop.Old"))
    laraq.store.failed.record(failed("a", "shop.New"))
    laraq.adopt()
    assert [job.job for job in laraq.failed.all()] == ["shop.New"]
    old.close()


def test_a_database_is_no_place_for_a_prefix(open_app: OpenApp, sqlite_url: str) -> None:
    laraq = open_app(url="memory://", store=sqlite_url, prefix="shop:")
    with pytest.raises(ConfigurationError, match=r"laraq_prefix = 'shop:' .* a schema of its own"):
        laraq.ready()
    laraq.settings = laraq.settings.model_copy(update={"prefix": None})


def test_a_worker_says_who_else_keeps_records_in_its_store(
    open_app: OpenApp, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def started(laraq: Laraq, name: str) -> str:
        caplog.clear()
        laraq.host.app.main = name  # type: ignore[attr-defined]
        _warn_of_shared_store(laraq)
        return caplog.text

    assert started(open_app(), "one") == ""
    assert "keeps the records of Celery app 'one', which share failed jobs, locks and limits" in started(
        open_app(), "two"
    )
    assert started(open_app("three:"), "three") == ""
    with RedisStore.from_url(redis_url).client as client:
        client.hset("{laraq}:failed", "id", "{}")
    assert "holds records without the prefix of Celery app 'three'" in started(open_app("three:"), "three")
