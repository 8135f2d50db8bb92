"""Queue.clear: what no worker has is told and dropped, on every broker; what a worker has stays with it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu import pools

from laraq import Bus, Job, Laraq, Queue, WithoutOverlapping
from laraq.errors import StoreError
from laraq.messages.payload import Payload
from laraq_redis.store.store import RedisStore

#: Jobs of the big test.
MANY = int(os.environ.get("LARAQ_TEST_CLEARED", "1200"))


class Import(Job):
    row: int
    unique = True
    tries = 3

    def unique_id(self) -> int:
        return self.row

    def middleware(self) -> list[Any]:
        return [WithoutOverlapping(self.row)]

    def handle(self) -> None: ...


class Latest(Job):
    debounce_for = 60

    def handle(self) -> None: ...


class Plain(Job):
    row: int

    def handle(self) -> None: ...


def called(*_: object) -> None: ...


class Shop:
    """An app on one broker, with a Redis store, and a consumer that holds what it takes."""

    def __init__(self, url: str, store: str, queue: str) -> None:
        self.app = Celery("shop", broker=url, set_as_current=False)
        self.laraq = Laraq(self.app, store=store, batches=store)
        if url.startswith("laraq-"):
            self.laraq.host.migrate()
        self.queue = queue
        self.store: RedisStore = self.laraq.store  # type: ignore[assignment]  # its URL says so
        self._consuming = self.app.connection_for_read()

    def take(self) -> str:
        """The id of the next job, which a worker has from now on."""
        message = self._consuming.default_channel.basic_get(self.queue)
        return str(message.headers["id"])

    def send(self, *jobs: Job) -> None:
        for job in jobs:
            self.laraq.dispatcher.dispatch(job.on_queue(self.queue))

    def is_held(self, key: str) -> bool:
        return self.store.locks.owner(key) is not None

    def close(self) -> None:
        self._consuming.close()
        self.app.close()
        pools.reset()


@pytest.fixture(params=["laraq-redis", "redis", "amqp", "laraq-db+sqlite", "laraq-db+postgres", "laraq-db+mariadb"])
def shop(request: pytest.FixtureRequest, redis_url: str, queue_name: str) -> Iterator[Shop]:
    kind = request.param.removeprefix("laraq-db+").removeprefix("laraq-")
    url = request.getfixturevalue(f"{kind}_url")
    ours = request.param.removesuffix(kind)
    shop = Shop(ours + url, redis_url, queue_name)
    with shop.laraq:
        yield shop
    shop.close()


def test_what_is_cleared_frees_what_it_held_and_is_told(shop: Shop) -> None:
    shop.send(Import(0), Import(1), Import(2).with_delay(600), Latest(), Plain(3))
    held = shop.take()
    chain = Bus.chain([Plain(4), Plain(5)]).catch(called)
    batch = Bus.batch([Plain(6), Plain(7).with_delay(600), chain]).finally_(called)
    batch = batch.on_queue(shop.queue).on_connection("default").dispatch()  # type: ignore[assignment]
    shop.app.send_task("ordinary", queue=shop.queue)
    unique = [f"unique:{Import.job_name()}:{row}" for row in range(3)]
    assert all(map(shop.is_held, unique))
    assert Queue.clear(shop.queue) == 8
    assert [shop.is_held(key) for key in unique] == [True, False, False]
    assert shop.store.cache.get(f"debounced:{Latest.job_name()}:") is None
    found = shop.laraq.batches.find(batch.id)
    assert found is not None
    assert (found.total_jobs, found.failed_jobs, found.finished, found.cancelled) == (4, 3, True, True)
    left = {shop.take(), shop.take()}
    assert held not in left, "the callbacks of the chain and of the batch are all that came into the queue"
    assert Queue.clear(shop.queue) == 0
    assert shop.store.failed.count() == 0, "somebody wanted them gone"


def test_what_a_started_job_holds_goes_with_it(shop: Shop) -> None:
    """Its worker died, or it went back: the lease on its overlap lock is its own until it is over."""
    key = f"overlap:{Import.job_name()}:1"
    job = Import(1).on_queue(shop.queue)
    payload = shop.laraq.packer.payload(job, "11111111-1111-1111-1111-111111111111").with_(attempts=1)
    shop.store.locks.acquire(key, payload.run_key, 600)
    shop.laraq.connection().push(payload)
    assert Queue.clear(shop.queue) == 1
    assert not shop.is_held(key)


def test_nothing_is_dropped_untold(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store goes away in the middle; the next time, all of it is told."""
    jobs = [Import(row).on_queue(shop.queue).with_delay(600 * (row % 2)) for row in range(6)]
    Bus.bulk(jobs)
    notify, notified = shop.laraq.discards.notify, []

    def fail(payloads: list[Payload], *rest: Any) -> None:
        if notified:
            raise StoreError("The store does not answer")
        notified.extend(payloads)
        notify(payloads, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(shop.laraq.discards, "notify", fail)
        with pytest.raises(StoreError):
            Queue.clear(shop.queue)
    locks = [f"unique:{Import.job_name()}:{row}" for row in range(6)]
    assert 0 < sum(map(shop.is_held, locks)) < 6 or len(notified) == 6
    assert Queue.clear(shop.queue) == 6 - len(notified)
    assert not any(map(shop.is_held, locks))


def test_many_are_cleared_in_pages(shop: Shop) -> None:
    batch = Bus.batch(Plain(row) for row in range(MANY)).allow_failures().on_queue(shop.queue).dispatch()
    began = time.monotonic()
    assert Queue.clear(shop.queue) == MANY
    print(f"{MANY} cleared in {time.monotonic() - began:.2f} s")
    found = shop.laraq.batches.find(batch.id)
    assert found is not None
    assert (found.failed_jobs, found.finished) == (MANY, True)
