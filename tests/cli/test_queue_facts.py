from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from laraq import Job, Laraq, Queue
from laraq.cli.host import RunningWorker
from laraq.cli.queue_facts import QueueFacts, known_places

NOW = datetime.now(UTC)


class Post(Job):
    queue = "post"

    def handle(self) -> None: ...


@pytest.mark.parametrize(
    ("pending", "oldest", "age"),
    [
        (2, NOW - timedelta(seconds=75), "1 min 15 s"),
        (2, NOW + timedelta(seconds=1), "0 ms"),
        (2, None, "-"),
        (0, None, ""),
        (None, None, "-"),
    ],
)
def test_the_age_of_a_queue(pending: int | None, oldest: datetime | None, age: str) -> None:
    assert QueueFacts("default", "high", pending, oldest_pending=oldest).age(NOW) == age


@pytest.mark.parametrize(
    ("paused", "seconds", "shown"), [(False, None, ""), (True, None, "yes"), (True, 90, "1 min 30 s")]
)
def test_the_pause_of_a_queue(paused: bool, seconds: float | None, shown: str) -> None:
    assert QueueFacts("default", "high", paused=paused, paused_for=seconds).pause() == shown


@pytest.mark.parametrize(
    ("pending", "workers", "paused", "forgotten"),
    [(1, 0, False, True), (1, 1, False, False), (1, None, False, False), (1, 0, True, False), (0, 0, False, False)],
)
def test_a_queue_with_jobs_and_without_a_worker_is_forgotten(
    pending: int, workers: int | None, paused: bool, forgotten: bool
) -> None:
    assert QueueFacts("default", "high", pending, workers=workers, paused=paused).is_forgotten is forgotten


def test_queues_are_known_from_all_that_names_them(queue: Laraq) -> None:
    queue.configure_connections({"mail": {"queue": "letters"}})
    with queue:
        Queue.pause("mail:slow")
        places = known_places(
            queue,
            {"default": ["celery"], "mail": ["letters"]},
            {"default": [RunningWorker("a", ("celery", "other"), ())], "mail": None},
        )
    wanted = [("default", name) for name in ("celery", "other", "post")] + [("mail", "letters"), ("mail", "slow")]
    assert [place for place in places if place in wanted] == wanted
