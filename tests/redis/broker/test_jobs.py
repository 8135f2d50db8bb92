"""laraq's jobs on the Redis broker: attempts, delays, inspection, clearing."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from redis import Redis

from laraq_redis.store.store import RedisStore
from tests.support.project import Project
from tests.support.waiting import wait_until

SOURCE = """
    import json, os
    from celery import Celery
    from laraq import Job, Laraq

    app = Celery("jobs", broker=os.environ["BROKER"])
    app.conf.update(broker_connection_retry_on_startup=True)
    queue = Laraq(app, retry_after=2, store=os.environ["STORE"])

    class Kill(Job):
        tries = 3

        def handle(self) -> None:
            with open("starts", "a") as file:
                file.write(f"{self.attempts}\\n")
            if self.attempts < 3:
                os.kill(os.getppid() if os.getppid() != 1 else os.getpid(), 9)
                os.kill(os.getpid(), 9)

    class Again(Job):
        tries = 2

        def handle(self) -> None:
            with open("starts", "a") as file:
                file.write(f"{self.attempts}\\n")
            if self.attempts == 1:
                self.release(60)
"""


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    return Project(tmp_path, {"jobs.py": SOURCE}, env={"BROKER": f"laraq-{redis_url}", "STORE": redis_url})


def _starts(project: Project) -> list[str]:
    path = project.folder / "starts"
    return path.read_text().split() if path.exists() else []


@pytest.mark.fault
@pytest.mark.serial
def test_a_job_that_kills_its_worker_is_started_as_often_as_it_may(project: Project) -> None:
    project.python("import jobs; jobs.Kill.dispatch()")
    for start in range(1, 4):
        with project.worker("jobs"):
            wait_until(lambda start=start: len(_starts(project)) >= start, timeout=20)  # type: ignore[misc]  # a default binds the loop's value
    assert _starts(project) == ["1", "2", "3"]


def test_queues_can_be_looked_into_and_cleared(project: Project) -> None:
    with project.worker("jobs"):
        project.python("import jobs; jobs.Again.dispatch(); jobs.Again.dispatch()")
        wait_until(lambda: len(_starts(project)) == 2, timeout=20)
        wait_until(lambda: _look(project)["delayed"] == 2)
    project.python("import jobs; jobs.Again.dispatch()")
    found = _look(project)
    assert (found["size"], found["pending"], found["delayed"], found["reserved"]) == (3, 1, 2, 0)
    assert found["names"] == ["jobs.Again"]
    assert project.python("import jobs\nfrom laraq import Queue\nprint(Queue.clear())").strip() == "3"


def _look(project: Project) -> dict[str, object]:
    printed = project.python(
        """
        import json, jobs
        from laraq import Queue
        print(json.dumps({
            "size": Queue.size(), "pending": Queue.pending_size(), "delayed": Queue.delayed_size(),
            "reserved": Queue.reserved_size(), "names": [job.name for job in Queue.pending_jobs()],
        }))
        """
    )
    found: dict[str, object] = json.loads(printed)
    return found


def test_an_item_that_is_no_message_is_kept_as_a_failed_job_with_its_bytes(project: Project, redis_url: str) -> None:
    garbage = [b"{", b"\xff\x00"]
    with Redis.from_url(redis_url) as client:
        client.lpush("celery", *garbage)
    with project.worker("jobs"):
        store = RedisStore.from_url(redis_url)
        wait_until(lambda: len(store.failed.all()) == len(garbage), timeout=20)
        failed = store.failed.all()
        store.close()
    assert {base64.b64decode(record.payload["raw"]) for record in failed} == set(garbage)
    assert {(record.job, record.queue, record.attempts) for record in failed} == {("laraq.undecodable", "celery", 1)}
