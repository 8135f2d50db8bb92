"""WithoutOverlapping between processes that share a Redis."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from laraq import Job, Laraq
from laraq.messages.delivery import Done, Release
from laraq.middleware import WithoutOverlapping
from laraq.testing.suite.board import Board
from laraq.testing.suite.forking import Child, in_children
from laraq_redis import RedisStore
from tests.middleware.conftest import attached, delivered
from tests.middleware.works import work
from tests.support.waiting import wait_until

PROCESSES = 4
JOBS = 40
INSIDE, MET, RAN, REFUSED = range(4)


@pytest.fixture
def queue(redis_store: RedisStore) -> Iterator[Laraq]:
    with attached(redis_store) as queue:
        yield queue


def test_never_two_inside_at_once(queue: Laraq, asynchronous: bool) -> None:
    board = Board(PROCESSES, 4)
    row = 0

    def body(_job: Any) -> None:
        board.write(row, 1, INSIDE)
        for _ in range(5):
            if sum(board.column(INSIDE)) > 1:
                board.add(row, MET)
            time.sleep(0.0002)
        board.write(row, 0, INSIDE)
        board.add(row, RAN)

    cls = work(WithoutOverlapping("k"), body=body, asynchronous=asynchronous)

    def deliver_jobs(own_row: int) -> None:
        nonlocal row
        row = own_row
        for number in range(JOBS):
            while isinstance(delivered(queue, cls, id=f"{own_row}-{number}"), Release):
                board.add(row, REFUSED)

    in_children([partial(deliver_jobs, row) for row in range(PROCESSES)])
    _, met, ran, refused = board.totals()
    assert (met, ran) == (0, PROCESSES * JOBS)
    assert refused > 0


def dies_inside(overlapping: WithoutOverlapping) -> type[Job]:
    """A job whose first start kills its process."""

    def body(job: Any) -> str:
        if job.attempts == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return "ran"

    return work(overlapping, body=body)


def test_a_killed_job_keeps_others_out_but_not_its_own_next_start(queue: Laraq) -> None:
    overlapping = WithoutOverlapping("k").shared()
    cls, other = dies_inside(overlapping), work(overlapping)
    assert Child(lambda: delivered(queue, cls, id="killed")).wait() == -signal.SIGKILL
    assert delivered(queue, other) == Release(0)
    assert delivered(queue, cls, id="killed", attempt=2) == Done("ran")
    assert delivered(queue, other) == Done("ran")


def test_a_killed_job_keeps_others_out_no_longer_than_its_lease(queue: Laraq) -> None:
    overlapping = WithoutOverlapping("k").shared().expire_after(0.3)
    assert Child(lambda: delivered(queue, dies_inside(overlapping))).wait() == -signal.SIGKILL
    other = work(overlapping)
    started = time.monotonic()
    wait_until(lambda: delivered(queue, other) == Done("ran"))
    assert time.monotonic() - started < 2
