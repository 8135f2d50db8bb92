from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from laraq.current import use
from laraq.errors import LockTimeoutError, StoreError
from laraq.limits.locks import Lock, lock
from laraq.local.memory.locks import MemoryLocks
from laraq.local.memory.store import MemoryStore
from laraq.testing.suite.board import Board
from laraq.testing.suite.forking import in_children
from laraq_redis import RedisStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(autouse=True)
def in_use(store: MemoryStore) -> Iterator[None]:
    with use(cast(Any, SimpleNamespace(store=store))):
        yield


def test_a_lock_is_made_without_taking_it(store: MemoryStore) -> None:
    lock("key", 10)
    assert store.locks.owner("key") is None


def test_a_lock_is_taken_and_freed() -> None:
    mine = lock("key", 10)
    assert mine.acquire() is True
    assert lock("key", 10).acquire() is False
    assert mine.release() is True
    assert mine.release() is False
    assert lock("key", 10).acquire() is True


def test_a_lock_is_in_the_current_store_unless_another_is_said(store: MemoryStore) -> None:
    other = MemoryStore()
    assert lock("key", 10).acquire()
    assert lock("key", 10, store=other).acquire()
    assert store.locks.owner("key") != other.locks.owner("key")


def test_the_owner_is_a_token_of_each_acquisition(store: MemoryStore) -> None:
    mine = lock("key", 10)
    assert mine.owner is None
    mine.acquire()
    first = mine.owner
    assert first == store.locks.owner("key")
    mine.release()
    mine.acquire()
    assert mine.owner not in (None, first)


def test_an_object_that_holds_the_lock_does_not_get_it_twice() -> None:
    mine = lock("key", 10)
    assert mine.acquire() is True
    assert mine.acquire() is False
    assert mine.release() is True


def test_a_given_owner_frees_the_lock_elsewhere_and_may_extend_it(store: MemoryStore) -> None:
    mine = lock("key", 10)
    mine.acquire()
    elsewhere = lock("key", 10, owner=mine.owner)
    assert elsewhere.acquire() is True
    assert elsewhere.release() is True
    assert mine.release() is False


def test_another_owner_cannot_free_it_but_by_force() -> None:
    mine, other = lock("key", 10), lock("key", 10, owner="other")
    mine.acquire()
    assert other.release() is False
    assert other.is_locked() is True
    assert other.force_release() is True
    assert other.is_locked() is False


def test_a_lock_never_acquired_is_neither_released_nor_refreshed() -> None:
    assert lock("key", 10).release() is False
    assert lock("key", 10).refresh() is False


def test_refresh_extends_the_lease() -> None:
    mine = lock("key", 0.05)
    mine.acquire()
    assert mine.refresh(10) is True
    time.sleep(0.06)
    assert mine.is_locked()
    assert mine.refresh(timedelta(milliseconds=10)) is True
    time.sleep(0.02)
    assert mine.refresh() is False


@pytest.mark.parametrize("seconds", [0, -1, timedelta(0)])
def test_a_lock_without_an_end_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match=r"Lock 'key' for .* positive duration"):
        lock("key", seconds)


def test_a_block_holds_the_lock(store: MemoryStore) -> None:
    with lock("key", 10) as held:
        assert isinstance(held, Lock)
        assert store.locks.owner("key") is not None
    assert store.locks.owner("key") is None


def test_a_block_frees_the_lock_when_it_raises(store: MemoryStore) -> None:
    with pytest.raises(ZeroDivisionError), lock("key", 10):
        _ = 1 / 0
    assert store.locks.owner("key") is None


def test_a_block_that_does_not_get_the_lock_raises_at_once() -> None:
    lock("key", 10).acquire()
    with pytest.raises(LockTimeoutError, match="Lock 'key' is held by another owner") as caught, lock("key", 10):
        pytest.fail("inside without the lock")
    assert caught.value.key == "key"
    assert isinstance(caught.value, TimeoutError)


def test_a_block_waits_for_the_lock_as_long_as_it_says() -> None:
    lock("key", 0.1).acquire()
    with lock("key", 10, block=5):
        pass
    lock("key", 10).acquire()
    began = time.monotonic()
    with pytest.raises(LockTimeoutError, match=r"waited 0\.1 s"), lock("key", 10, block=0.1):
        pass
    assert time.monotonic() - began == pytest.approx(0.1, abs=0.09)


def test_block_takes_the_lock_and_may_open_a_with(store: MemoryStore) -> None:
    lock("key", 0.1).acquire()
    mine = lock("key", 10)
    with mine.block(5):
        assert store.locks.owner("key") == mine.owner
    assert store.locks.owner("key") is None
    mine.block(0)
    assert store.locks.owner("key") == mine.owner
    assert mine.release() is True
    lock("key", 10).acquire()
    with pytest.raises(LockTimeoutError):
        mine.block(timedelta(0))


def test_a_lock_shared_by_threads_lets_one_in_at_a_time(store: MemoryStore) -> None:
    shared = lock("key", 10, block=20, store=store)
    inside, most = 0, 0

    def work(_: int) -> None:
        nonlocal inside, most
        with shared:
            inside += 1
            most = max(most, inside)
            time.sleep(0.001)
            inside -= 1

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(8)))
    assert most == 1


def test_what_one_thread_blocked_for_another_does_not_enter_with(store: MemoryStore) -> None:
    shared = lock("key", 10, store=store)
    shared.block(0)
    with ThreadPoolExecutor(1) as thread, pytest.raises(LockTimeoutError):
        thread.submit(shared.__enter__).result()


def test_a_block_may_end_in_another_thread_than_it_began(store: MemoryStore) -> None:
    mine = lock("key", 10, store=store)
    mine.__enter__()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(mine.__exit__, None, None, None).result()
    assert store.locks.owner("key") is None


def test_a_block_that_outlived_its_lock_says_so_and_leaves_the_next_owner_alone(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    with lock("key", 0.01):
        time.sleep(0.02)
        assert lock("key", 10, owner="next").acquire()
    assert store.locks.owner("key") == "next"
    assert "<Lock 'key'> expired before its block ended" in caplog.text


def test_a_store_that_is_down_at_the_end_does_not_undo_the_work(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down(*_: object) -> bool:
        raise StoreError("The store memory is down.")

    with caplog.at_level(logging.WARNING), lock("key", 10):
        monkeypatch.setattr(MemoryLocks, "release", down)
    assert "could not be released and will expire on its own: The store memory is down." in caplog.text


async def _acquire_and_release() -> None:
    mine = lock("key", 10)
    assert await mine.aacquire() is True
    assert await lock("key", 10).aacquire() is False
    assert await mine.arefresh(20) is True
    assert await mine.arelease() is True
    assert await mine.arelease() is False


def test_async_code_takes_and_frees_locks() -> None:
    asyncio.run(_acquire_and_release())


def test_async_blocks_hold_the_lock_one_at_a_time(store: MemoryStore) -> None:
    shared = lock("key", 10, block=20)
    inside, most = 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with shared:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(4)))

    asyncio.run(main())
    assert most == 1
    assert store.locks.owner("key") is None


def test_async_blocks_raise_when_the_lock_is_held() -> None:
    async def main() -> None:
        lock("key", 10).acquire()
        with pytest.raises(LockTimeoutError):
            async with lock("key", 10):
                pytest.fail("inside without the lock")
        with pytest.raises(LockTimeoutError, match=r"waited 0\.05 s"):
            await lock("key", 10).ablock(0.05)

    asyncio.run(main())


def test_an_async_block_may_be_opened_by_ablock(store: MemoryStore) -> None:
    async def main() -> None:
        async with await lock("key", 10).ablock(1) as held:
            assert store.locks.owner("key") == held.owner

    asyncio.run(main())
    assert store.locks.owner("key") is None


def test_waiting_does_not_block_the_event_loop() -> None:
    lock("key", 0.2).acquire()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        async with lock("key", 10, block=5):
            ticking.cancel()

    asyncio.run(main())
    assert ticks > 5


def test_a_cancelled_wait_gives_back_what_its_thread_still_gets(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()
    acquire = MemoryLocks.acquire

    def slow(*arguments: Any) -> bool:
        asked.set()
        answer.wait(10)
        return acquire(*arguments)

    monkeypatch.setattr(MemoryLocks, "acquire", slow)

    async def main() -> None:
        waiting = asyncio.create_task(lock("key", 10).aacquire())
        await asyncio.to_thread(asked.wait, 10)
        waiting.cancel()
        answer.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert store.locks.owner("key") is None


def test_an_object_made_before_a_fork_is_no_common_holder(redis_url: str) -> None:
    store = RedisStore.from_url(redis_url)
    shared = lock("key", 10, store=store)
    got = Board(4)

    def take(child: int) -> None:
        if shared.acquire():
            got.add(child)

    in_children([partial(take, child) for child in range(4)])
    assert got.totals() == [1]
    store.close()
