"""`laraq retry-batch`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from laraq import Laraq
from laraq.messages.failure import FailedJob
from laraq.messages.tally import FIRST_LOAD, BatchRecord, MemberState
from tests.cli.programs import FORMS
from tests.support.project import Project

Call = Callable[..., Result]

SOURCE = """
    import os
    from pathlib import Path
    from celery import Celery
    from laraq import Bus, Job, Laraq

    app = Celery("proj", broker=os.environ["BROKER"])
    queue = Laraq(app)

    class Note(Job):
        n: int

        def handle(self):
            if self.n > 1 and not Path("repaired").exists():
                raise ValueError("out of order")

    def say(what):
        with open("said", "a") as said:
            print(what, file=said)

    def on_then(batch):
        say("then")

    def on_finally(batch):
        say(f"finally {batch.processed_jobs}")

    def send():
        batch = Bus.batch([Note(n) for n in range(4)]).allow_failures().then(on_then).finally_(on_finally)
        return batch.dispatch().id
"""


def test_what_failed_runs_again_and_then_is_called_once(tmp_path: Path, redis_url: str) -> None:
    project = Project(tmp_path, {"proj.py": SOURCE}, env={"BROKER": redis_url})
    work = [*FORMS["laraq"], "work", "--stop-when-empty", "--quiet", "--concurrency", "1"]
    id = project.python("import proj; print(proj.send())").strip()
    project.run(work)
    assert (tmp_path / "said").read_text() == "finally 2\n"
    (tmp_path / "repaired").touch()
    assert project.run([*FORMS["celery"], "retry-batch", id, id]) == f"Batch {id}: 2 failed jobs sent again\n"
    project.run(work)
    assert (tmp_path / "said").read_text() == "finally 2\nthen\n"
    shown = json.loads(project.run([*FORMS["celery"], "batches", id, "--json"]))
    assert (shown["failed_jobs"], shown["failed_job_ids"], shown["processed_jobs"]) == (0, [], 4)
    assert project.run([*FORMS["laraq"], "retry-batch", id]) == f"Batch {id}: no failed jobs\n"


@pytest.fixture
def batch(queue: Laraq, fail: Callable[..., FailedJob]) -> str:
    """A batch with two failed jobs, of which one has a record."""
    store = queue.batches.store
    store.create(BatchRecord(id="b", allow_failures=True), ["kept", "lost"], 60)
    store.end_load("b", FIRST_LOAD)
    for job in ("kept", "lost"):
        store.settle("b", MemberState.FAILED, job)
    fail("kept", batch_id="b")
    return "b"


def test_an_unknown_batch_is_a_problem_and_the_others_are_sent(call: Call, batch: str) -> None:
    result = call("retry-batch", "nobody", batch)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: There is no batch 'nobody'")
    assert f"Batch {batch}: 1 failed job sent again" in result.stdout


def test_jobs_whose_record_is_gone_are_told(call: Call, batch: str) -> None:
    result = call("retry-batch", batch)
    assert (result.exit_code, result.stdout) == (1, f"Batch {batch}: 1 failed job sent again\n")
    assert result.stderr == f"Error: Batch {batch}: 1 failed job is not among the failed jobs and cannot be retried.\n"
    again = call("retry-batch", batch)
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == f"Error: Batch {batch}: 2 failed jobs are not among the failed jobs and cannot be retried.\n"


def test_no_id_is_wrong_usage(call: Call) -> None:
    assert call("retry-batch").exit_code == 2
