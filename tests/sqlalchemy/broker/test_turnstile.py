from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from laraq_kombu import Lease, Posting
from laraq_sqlalchemy.broker.store import open_store
from tests.support.waiting import wait_until

#: Jobs that wait before anybody begins, so that no step finds an empty queue.
BACKLOG = 30_000


def _consume(url: str, stop: Event) -> None:
    store = open_store(url, {})
    acks = list[Lease]()
    while not stop.is_set():
        acks = [job.lease for job in store.step(acks, ["q"], 4).jobs]
    store.close()


def _produce(url: str, stop: Event) -> None:
    store = open_store(url, {})
    while not stop.is_set():
        store.put([Posting("q", "x" * 500)])
    store.close()


@pytest.mark.serial
def test_a_producer_in_a_loop_does_not_starve_the_workers(sqlite_url: str) -> None:
    store = open_store(sqlite_url, {})
    store.connect()
    store.put([Posting("q", "x" * 500)] * BACKLOG)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    producer, *_ = others = [
        context.Process(target=work, args=(sqlite_url, stop)) for work in (_produce, _consume, _consume)
    ]
    for process in others:
        process.start()
    try:
        wait_until(lambda: store.count("q").reserved)
        times, acks = list[float](), list[Lease]()
        for _ in range(200):
            start = time.perf_counter()
            acks = [job.lease for job in store.step(acks, ["q"], 4).jobs]
            times.append(time.perf_counter() - start)
            assert acks
        print(
            f"a step beside a producer and two workers, ms: p50 {sorted(times)[100] * 1e3:.1f},"
            f" p98 {sorted(times)[-4] * 1e3:.1f}, max {max(times) * 1e3:.1f}"
        )
    finally:
        stop.set()
        for process in others:
            process.join()
        store.close()
    # without the turnstile, steps of seconds: the busy handler sleeps while the producer commits again and again
    assert sorted(times)[-4] < 0.25
    assert producer.exitcode == 0


def test_the_side_files_are_beside_the_database(sqlite_url: str, tmp_path: Path) -> None:
    store = open_store(sqlite_url, {})
    store.connect()
    store.put([Posting("q", "x")])
    store.close()
    assert {"laraq.sqlite3-gate", "laraq.sqlite3-turn"} <= set(os.listdir(tmp_path))
