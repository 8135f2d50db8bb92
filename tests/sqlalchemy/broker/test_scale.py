"""What a full table costs: measured against the same table without the load."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Engine, create_engine

from laraq_kombu import Lease, Posting
from laraq_sqlalchemy.broker.store import TableStore

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]

#: Jobs that are due tomorrow, in the same queue.
DELAYED = 1_000_000

#: Jobs done while an old snapshot keeps their rows from being removed; transports are asked to bear 100,000.
DEAD = int(os.environ.get("LARAQ_DEAD_ROWS", "20000"))

Open = Callable[[str], TableStore]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def engine(url: str) -> Engine:
    return create_engine(url)


def test_a_million_delayed_jobs_cost_the_others_nothing(url: str, engine: Engine, open_stores: Open) -> None:
    store = open_stores(url)
    without = _step_time(store)
    _delay(engine, DELAYED)
    beside = _step_time(store)
    assert store.count("q").delayed == DELAYED
    idle = _time(lambda: store.step((), ["q"], 10))
    assert beside < without * 2 + 0.0005
    assert idle < 0.005


def test_dead_rows_behind_an_old_snapshot_do_not_slow_a_queue_down(postgres_url: str, open_stores: Open) -> None:
    store, engine = open_stores(postgres_url), create_engine(postgres_url)
    with engine.connect() as reader:
        reader.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.exec_driver_sql("SELECT count(*) FROM laraq_jobs")
        for _ in range(0, DEAD, 10_000):
            store.put([Posting("q", "x" * 200) for _ in range(10_000)])
        times, acks = [], list[Lease]()
        while True:
            start = time.perf_counter()
            jobs = store.step(acks, ["q"], 50).jobs
            times.append(time.perf_counter() - start)
            if not jobs:
                break
            acks = [job.lease for job in jobs]
    engine.dispose()
    quarter = len(times) // 4
    first, last = statistics.median(times[1:quarter]), statistics.median(times[-quarter:-1])
    print(f"{DEAD} dead rows: a step took {first * 1e3:.2f} ms at first and {last * 1e3:.2f} ms at last")
    assert last < first * 2


def _step_time(store: TableStore) -> float:
    """Median seconds of a step that acknowledges and reserves ten."""
    store.put([Posting("q", "x") for _ in range(600)])
    acks: Sequence[Lease] = ()
    times = []
    for _ in range(60):
        start = time.perf_counter()
        acks = [job.lease for job in store.step(acks, ["q"], 10).jobs]
        times.append(time.perf_counter() - start)
        assert len(acks) == 10
    store.step(acks, (), 0)
    return statistics.median(times[10:])


def _time(call: Callable[[], object]) -> float:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _delay(engine: Engine, count: int) -> None:
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
    tomorrow = int((time.time() + 86400) * 1000)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO laraq_jobs (queue, priority, payload, available_at, created_at)"
            f" {numbers} SELECT 'q', 0, 'x', {tomorrow} + i, 0 FROM n"
        )
    engine.dispose()
