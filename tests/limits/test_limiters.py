from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from laraq.current import use
from laraq.errors import LimiterTimeoutError, StoreError
from laraq.limits.limiters import funnel, throttle
from laraq.local.memory.locks import MemoryLocks
from laraq.local.memory.store import MemoryStore
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


def into_a_window(seconds: float) -> None:
    time.sleep(seconds - time.time() % seconds + 0.005)


# Throttle


def test_a_throttle_lets_so_many_in_per_window() -> None:
    api = throttle("api").block(0).allow(2).every(LONG)
    assert [api.then(lambda: "in", lambda: "out") for _ in range(3)] == ["in", "in", "out"]


def test_a_throttle_that_is_only_named_allows_one_each_second() -> None:
    into_a_window(1)
    assert throttle("api").block(0).then(lambda: "in", lambda: "out") == "in"
    assert throttle("api").block(0).then(lambda: "in", lambda: "out") == "out"


def test_throttles_with_one_name_share_their_windows_and_others_do_not() -> None:
    assert throttle("api").block(0).every(LONG).then(lambda: True)
    assert not throttle("api").block(0).every(LONG).then(lambda: True, lambda: False)
    assert throttle("mail").block(0).every(LONG).then(lambda: True)


def test_a_refusal_without_an_otherwise_raises() -> None:
    api = throttle("api").block(0).every(LONG)
    api.then(lambda: None)
    with pytest.raises(LimiterTimeoutError, match=r"Limiter 'api' had no free slot.* next window opens in") as caught:
        api.then(lambda: pytest.fail("inside"))
    assert caught.value.key == "api"
    assert caught.value.available_in is not None
    assert isinstance(caught.value, TimeoutError)


def test_a_throttle_is_a_context_manager() -> None:
    api = throttle("api").block(0).every(timedelta(days=9999))
    with api:
        pass
    with pytest.raises(LimiterTimeoutError), api:
        pytest.fail("inside")


def test_a_throttle_waits_for_the_next_window() -> None:
    into_a_window(0.3)
    api = throttle("api").block(2).every(0.3)
    began = time.monotonic()
    with api:
        pass
    with api:
        assert 0.2 < time.monotonic() - began < 1


def test_a_throttle_does_not_wait_for_a_window_that_opens_too_late() -> None:
    api = throttle("api").block(5).every(LONG)
    began = time.monotonic()
    with api:
        pass
    assert api.then(lambda: "in", lambda: "out") == "out"
    assert time.monotonic() - began < 1


def test_an_entry_stays_used_when_the_block_raises() -> None:
    api = throttle("api").block(0).every(LONG)
    with pytest.raises(ZeroDivisionError), api:
        _ = 1 / 0
    assert api.then(lambda: "in", lambda: "out") == "out"


def test_the_error_of_the_work_is_no_refusal() -> None:
    def work() -> None:
        raise LimiterTimeoutError("another", 3)

    with pytest.raises(LimiterTimeoutError, match="another"):
        throttle("api").block(0).then(work, lambda: pytest.fail("refused"))


@pytest.mark.parametrize("limiter", [throttle("key"), funnel("key")])
def test_modifiers_change_a_copy(limiter: Any) -> None:
    before = dict(vars(limiter))
    limiter.block(9)
    getattr(limiter, "allow", limiter.block)(9)
    getattr(limiter, "limit", limiter.block)(9)
    assert vars(limiter) == before


def test_a_window_or_lease_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="windows longer than 0"):
        throttle("key").every(0)
    with pytest.raises(ValueError, match="positive duration"):
        funnel("key").release_after(0)


# Funnel


def test_a_funnel_lets_so_many_in_at_a_time() -> None:
    narrow = funnel("reports").limit(2).block(0)
    with narrow, narrow:
        assert narrow.then(lambda: "in", lambda: "out") == "out"
    assert narrow.then(lambda: "in", lambda: "out") == "in"


def test_a_funnel_that_is_full_raises_without_an_otherwise() -> None:
    with funnel("reports").block(0), pytest.raises(LimiterTimeoutError, match="'reports' had no free slot") as caught:
        funnel("reports").block(0).then(lambda: pytest.fail("inside"))
    assert caught.value.available_in is None


def test_a_slot_is_freed_when_the_work_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        funnel("reports").block(0).then(lambda: 1 / 0)
    assert funnel("reports").block(0).then(lambda: "in") == "in"


def test_a_slot_frees_itself_after_its_seconds() -> None:
    held = funnel("reports").release_after(0.05).block(0)
    held.__enter__()
    assert funnel("reports").block(0).then(lambda: "in", lambda: "out") == "out"
    assert funnel("reports").block(2).then(lambda: "in", lambda: "out") == "in"


def test_a_funnel_waits_for_a_slot(store: MemoryStore) -> None:
    narrow = funnel("reports", store=store).block(5)
    held, seen_full = Event(), Event()

    def hold() -> None:
        with narrow:
            held.set()
            seen_full.wait(5)

    with ThreadPoolExecutor(1) as thread:
        holding = thread.submit(hold)
        held.wait(5)
        assert narrow.block(0).then(lambda: "in", lambda: "out") == "out"
        seen_full.set()
        assert narrow.then(lambda: "in", lambda: "out") == "in"
        holding.result()


def test_a_funnel_and_a_lock_with_one_name_do_not_meet(store: MemoryStore) -> None:
    store.locks.acquire("reports", "a", 60)
    assert funnel("reports").block(0).then(lambda: "in") == "in"


def test_a_shared_funnel_gives_back_the_slots_of_those_who_left(store: MemoryStore) -> None:
    shared = funnel("reports", store=store).limit(3).block(5)
    inside, most = 0, 0

    def work(_: int) -> None:
        nonlocal inside, most
        with shared:
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(12)))
    assert 1 < most <= 3
    assert store.locks.force_release("funnel:reports") is False


def test_a_store_that_is_down_at_the_end_does_not_undo_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> bool:
        raise StoreError("The store memory is down.")

    monkeypatch.setattr(MemoryLocks, "release", down)
    assert funnel("reports").block(0).then(lambda: "done") == "done"


# Async


def test_async_work_waits_in_line() -> None:
    inside, most = 0, 0

    async def work() -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        inside -= 1
        return "done"

    async def main() -> list[str]:
        narrow = funnel("reports").limit(2).block(5)
        return await asyncio.gather(*(narrow.athen(work) for _ in range(4)))

    assert asyncio.run(main()) == ["done"] * 4
    assert most == 2


def test_async_refusals_go_to_the_otherwise_or_raise() -> None:
    async def work() -> str:
        return "in"

    async def otherwise() -> str:
        return "out"

    async def main() -> None:
        api = throttle("api").block(0).every(LONG)
        assert await api.athen(work, otherwise) == "in"
        assert await api.athen(work, otherwise) == "out"
        with pytest.raises(LimiterTimeoutError):
            await api.athen(work)
        with pytest.raises(LimiterTimeoutError):
            async with api:
                pytest.fail("inside")

    asyncio.run(main())


def test_async_blocks_give_back_their_slot(store: MemoryStore) -> None:
    async def main() -> None:
        async with funnel("reports").block(0):
            assert store.locks.owner("funnel:reports") is not None

    asyncio.run(main())
    assert store.locks.owner("funnel:reports") is None


def test_async_work_given_to_then_is_refused_with_the_way_out() -> None:
    async def work() -> None:
        pass

    with pytest.raises(TypeError, match=r"await \.athen"):
        _ = funnel("reports").then(work)


# Processes


def test_processes_are_never_more_than_the_slots(redis_url: str) -> None:
    store = RedisStore.from_url(redis_url)
    inside, most = Board(6), Board(6)

    def work(child: int) -> None:
        for _ in range(10):
            with funnel("reports", store=store).limit(2).block(20):
                inside.write(child, 1)
                most.write(child, max(sum(inside.column()), most.column()[child]))
                time.sleep(0.002)
                inside.write(child, 0)

    in_children([partial(work, child) for child in range(6)])
    assert 1 <= max(most.column()) <= 2
    store.close()
