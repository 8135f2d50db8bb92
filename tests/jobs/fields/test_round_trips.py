"""What a lock, a limit, a look into the cache and the end of a batch's job cost on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from laraq.messages.tally import BatchRecord, MemberState
from laraq.ports import Demand, Store
from laraq_redis import RedisStore
from laraq_sqlalchemy import SqlStore
from tests.support.round_trips import RoundTrips

OPEN: dict[str, tuple[Callable[[str], Store], int]] = {
    "redis": (RedisStore.from_url, 6379),
    "postgres": (SqlStore.from_url, 5432),
    "mariadb": (SqlStore.from_url, 3306),
}

NUMBERS = count()
THOUSAND = [f"job {number}" for number in range(1000)]

#: More often than drivers wait before they prepare a statement, which is one more trip, once.
WARM = 12


@pytest.fixture(scope="module", params=OPEN)
def trips(request: pytest.FixtureRequest) -> Iterator[tuple[RoundTrips, Store]]:
    """Each server in turn, as the module has it: with what the tests before left in it."""
    open_store, port = OPEN[request.param]
    database = request.getfixturevalue(f"{request.param}_database")
    database.empty() if request.param == "redis" else database.create()
    with RoundTrips(database.url, port) as proxy:
        store = open_store(proxy.url)
        store.migrate()
        for id in ("b", "cancelled"):
            store.batches.create(BatchRecord(id=id, allow_failures=True), "abcd", 60)
        yield proxy, store
        store.close()


CHECKS: dict[str, Callable[[Store], object]] = {
    "acquire": lambda store: store.locks.acquire("held by a", "a", 60),
    "acquire refused": lambda store: store.locks.acquire("held by a", "b", 60),
    "acquire one of three slots": lambda store: store.locks.acquire("slots", "a", 60, 3),
    "acquire and release": lambda store: (store.locks.acquire("key", "a", 60), store.locks.release("key", "a")),
    "refresh": lambda store: store.locks.refresh("held by a", "a", 60),
    "owner": lambda store: store.locks.owner("held by a"),
    "force_release": lambda store: store.locks.force_release("key"),
    "take": lambda store: store.limits.take([Demand("key", 1000, 1e9)]),
    "take refused": lambda store: store.limits.take([Demand("empty", 0, 1e9)]),
    "take three": lambda store: store.limits.take([Demand(key, 1000, 1e9) for key in "abc"]),
    "take three refused": lambda store: store.limits.take(
        [Demand(key, maximum, 1e9) for key, maximum in (("a", 9), ("b", 0))]
    ),
    "usage": lambda store: store.limits.usage("key"),
    "clear": lambda store: store.limits.clear("key"),
    "get": lambda store: store.cache.get("key"),
    "put": lambda store: store.cache.put("key", "value", 60),
    "forget": lambda store: store.cache.forget("key"),
    "mark": lambda store: store.batches.mark("b", f"event {next(NUMBERS)}"),
    "find": lambda store: store.batches.find("b"),
}

#: What MariaDB does in a transaction.
SETTLINGS: dict[str, Callable[[Store], object]] = {
    "settle": lambda store: store.batches.settle("b", MemberState.DONE, f"job {next(NUMBERS)}"),
    "settle a broken chain": lambda store: store.batches.settle(
        "b", MemberState.FAILED, f"job {next(NUMBERS)}", dropped=["c", "d"]
    ),
    "settle again": lambda store: store.batches.settle("b", MemberState.DONE, "a"),
}

#: What only Redis does in one; a database begins and commits.
CHANGES: dict[str, Callable[[Store], object]] = {
    "create": lambda store: store.batches.create(BatchRecord(id=f"b{next(NUMBERS)}"), THOUSAND, 60),
    "add": lambda store: store.batches.add("b", "load", [f"{next(NUMBERS)} {job}" for job in THOUSAND], 60),
    "end_load": lambda store: store.batches.end_load("b", "load", keep=False),
    "cancel": lambda store: store.batches.cancel("cancelled"),
    "overdue": lambda store: store.batches.overdue(0),
    "lapsed": lambda store: store.batches.lapsed(),
}


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_is_one_round_trip(trips: tuple[RoundTrips, Store], check: str) -> None:
    proxy, store = trips
    for _ in range(WARM):
        CHECKS[check](store)
    before = proxy.count
    CHECKS[check](store)
    assert proxy.count - before == (2 if " and " in check else 1)


@pytest.mark.parametrize("trips", ["redis", "postgres"], indirect=True)
@pytest.mark.parametrize("settling", SETTLINGS)
def test_a_job_of_a_batch_is_settled_in_one_round_trip(trips: tuple[RoundTrips, Store], settling: str) -> None:
    proxy, store = trips
    for _ in range(WARM):
        SETTLINGS[settling](store)
    before = proxy.count
    SETTLINGS[settling](store)
    assert proxy.count - before == 1


@pytest.mark.parametrize("trips", ["redis"], indirect=True)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_batch_is_one_round_trip_on_redis(trips: tuple[RoundTrips, Store], change: str) -> None:
    proxy, store = trips
    CHANGES[change](store)
    before = proxy.count
    CHANGES[change](store)
    # Workers look all the time, and ask first whether there is anything to look at.
    assert proxy.count - before == (2 if change in ("overdue", "lapsed") else 1)
