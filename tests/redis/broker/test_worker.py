"""A stock Celery worker on the Redis broker, with plain tasks."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import os

import pytest

from tests.redis.broker.project import RedisProject
from tests.support.waiting import wait_until

#: Jobs sent to an idle worker, one by one; thousands for a soak.
SENDS = int(os.environ.get("LARAQ_SOAK_SENDS", "30"))


def test_a_delayed_job_of_a_stock_producer_waits_in_redis_too(project: RedisProject) -> None:
    with project.worker():
        project.python_on(
            project.stock,
            """
            import proj, time
            proj.note.apply_async((time.time() + 2,), countdown=2)
            proj.note.apply_async(("tomorrow",), countdown=86400)
            """,
        )
        wait_until(lambda: project.count().delayed == 2)
        wait_until(lambda: len(project.marks("end")) == 1, timeout=15)
        (start,) = project.marks("start")
        assert (start["attempts"], start["redelivered"]) == (1, False)
        assert -0.01 <= start["at"] - start["start"] < 0.6
        assert project.count().delayed == 1


NO_MESSAGES = [
    b"{",
    b"[]",
    b'{"headers": {}}',
    b'{"headers": {"eta": 5}, "properties": {"delivery_info": {}}}',
    b'{"body": "%", "headers": {}, "properties": {"delivery_info": {}, "body_encoding": "rot13"}}',
    b"\xff\x00{",
    b"[" * 100_000,
]


def test_an_item_that_is_no_message_is_put_aside_and_the_rest_goes_on(project: RedisProject) -> None:
    with project.worker():
        for payload in NO_MESSAGES:
            project.queues.client.lpush("celery", payload)
        project.python("import proj; proj.note.delay('after')")
        wait_until(lambda: project.names("end") == ["after"], timeout=15)
        wait_until(lambda: project.count().total == 0)
        assert project.queues.client.lrange("laraq.undecodable", 0, -1)[::-1] == NO_MESSAGES


@pytest.mark.serial
@pytest.mark.timeout(120 + SENDS // 2)
def test_no_job_sent_to_an_idle_worker_waits_for_the_next_look(project: RedisProject) -> None:
    with project.worker():
        project.python(
            f"""
            import proj, random, time
            for n in range({SENDS}):
                time.sleep(random.uniform(0.02, 0.2))
                proj.note.delay(time.time())
            """,
            timeout=60 + SENDS / 2,
        )
        wait_until(lambda: len(project.marks("end")) == SENDS, timeout=15)
    assert max(mark["at"] - mark["start"] for mark in project.marks("start")) < 1  # `poll` is 30 s here
