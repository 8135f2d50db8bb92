"""The reply of a stock broker is lost: the second message of a job is dropped once the first one has begun."""

from __future__ import annotations

from pathlib import Path

from tests.support.lost_replies import LostReplies
from tests.support.project import Project
from tests.support.waiting import wait_until

SOURCE = """
    import os, time
    from celery import Celery
    from laraq import Job, Laraq

    app = Celery("proj", broker=os.environ["BROKER"])
    queue = Laraq(app, store=os.environ["STORE"])

    class Note(Job):
        what: str

        def handle(self) -> None:
            with open("starts", "a") as file:
                print(self.what, file=file)
            time.sleep(1)
"""


def test_the_second_message_is_dropped_while_the_first_one_runs(tmp_path: Path, redis_url: str) -> None:
    starts = tmp_path / "starts"

    def started(what: str) -> bool:
        return starts.exists() and what in starts.read_text()

    project = Project(tmp_path, {"proj.py": SOURCE}, env={"BROKER": redis_url, "STORE": redis_url})
    with LostReplies(redis_url, 6379) as proxy, project.worker(concurrency=2) as worker:
        producer = Project(tmp_path, {}, env={"BROKER": proxy.url, "STORE": redis_url})
        proxy.lose_reply_to(b"this-one", meanwhile=lambda: wait_until(lambda: started("this-one")))
        producer.python("import proj; [proj.Note.dispatch(what) for what in ('before', 'this-one', 'after')]")
        assert proxy.lost == 1
        worker.wait_for_log("was sent twice")
        wait_until(lambda: started("after"))
    assert sorted(starts.read_text().split()) == ["after", "before", "this-one"]
