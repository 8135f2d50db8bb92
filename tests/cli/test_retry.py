"""`laraq retry`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from click.testing import Result
from kombu import pools

from laraq import Laraq
from laraq.messages.failure import FailedJob
from tests.cli.programs import CELERY, FORMS
from tests.support.project import Project

Call = Callable[..., Result]
Fail = Callable[..., FailedJob]

SOURCE = """
    import os
    from pathlib import Path
    from celery import Celery
    from laraq import Job, Laraq

    app = Celery("proj", broker=os.environ["BROKER"])
    queue = Laraq(app)

    class Note(Job):
        n: int

        def handle(self):
            if not Path("repaired").exists():
                raise ValueError("out of order")
            with open("notes", "a") as notes:
                print(self.n, self.attempts, file=notes)
"""


def test_a_failed_job_runs_again_and_leaves_the_list(tmp_path: Path, redis_url: str) -> None:
    project = Project(tmp_path, {"proj.py": SOURCE}, env={"BROKER": redis_url})
    work = ["work", "--stop-when-empty", "--quiet", "--concurrency", "1"]
    id = project.python("import proj; print(proj.Note(7).dispatch().id)").strip()
    project.run([*FORMS["laraq"], *work])
    listed, same = (project.run([*form, "failed", "--json"]) for form in FORMS.values())
    [failed] = json.loads(listed)
    assert (failed["id"], failed["job"], failed["error"]) == (id, "proj.Note", "ValueError: out of order")
    assert same == listed
    (tmp_path / "repaired").touch()
    assert project.run([*FORMS["celery"], "retry", id]) == f"Sent again: {id}\n"
    assert project.run([*FORMS["laraq"], "failed"]) == "No failed jobs.\n"
    project.run([*FORMS["celery"], *work])
    assert (tmp_path / "notes").read_text() == "7 1\n"


@pytest.fixture
def sent(redis_url: str) -> Iterator[Callable[[str], list[str]]]:
    """Ids of the jobs in a queue, in the order they were sent."""
    with redis.Redis.from_url(redis_url) as client:

        def sent(name: str) -> list[str]:
            messages: list[bytes] = client.lrange(name, 0, -1)  # type: ignore[assignment] # redis types both clients
            return [json.loads(message)["headers"]["id"] for message in reversed(messages)]

        yield sent
    pools.reset()


def test_unknown_ids_are_a_problem_and_the_others_are_sent(
    queue: Laraq, call: Call, fail: Fail, sent: Callable[[str], list[str]]
) -> None:
    fail("a")
    fail("b")
    result = call("retry", "nobody", "b")
    assert (result.exit_code, result.stdout) == (1, "Sent again: b\n")
    assert result.stderr == "Error: No failed job has the id nobody.\n"
    assert sent("celery") == ["b"]
    assert [each.id for each in queue.failed.all()] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["all"], ["c", "b", "a"]),
        (["all", "--queue", "high"], ["b", "a"]),
        (["--queue", "high"], ["b", "a"]),
        (["all", "--job", "shop.Ship"], ["c", "a"]),
        (["all", "--queue", "high", "--job", "shop.Ship"], ["a"]),
    ],
)
def test_all_may_be_narrowed(
    call: Call, fail: Fail, sent: Callable[[str], list[str]], arguments: list[str], ids: list[str]
) -> None:
    fail("a", hours_ago=3, queue="high", job="shop.Ship")
    fail("b", hours_ago=2, queue="high")
    fail("c", hours_ago=1, job="shop.Ship")
    result = call("retry", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [f"Sent again: {id}" for id in ids]
    assert sorted(sent("high") + sent("celery")) == sorted(ids)


def test_a_message_that_was_never_read_stays_and_the_others_are_sent(
    queue: Laraq, call: Call, fail: Fail, sent: Callable[[str], list[str]]
) -> None:
    fail("a", payload={"raw": "Z2FyYmFnZQ=="})
    fail("b", hours_ago=1)
    result = call("retry", "all")
    assert (result.exit_code, result.stdout) == (1, "Sent again: b\n")
    assert "a cannot be retried" in result.stderr
    assert [each.id for each in queue.failed.all()] == ["a"]


def test_nothing_to_retry_is_no_problem(call: Call) -> None:
    result = call("retry", "all")
    assert (result.exit_code, result.stdout) == (0, "No failed jobs.\n")


def test_the_jobs_are_imported_to_ask_for_their_retry_until(tmp_path: Path, redis_url: str, fail: Fail) -> None:
    files = {
        "proj.py": """
            import os
            from celery import Celery
            from laraq import Laraq
            app = Celery("proj", broker=os.environ["BROKER"])
            Laraq(app, discover=["shop"])
        """,
        "shop/__init__.py": "",
        "shop/jobs.py": """
            from datetime import UTC, datetime
            from laraq import Job

            class Note(Job):
                n: int

                def retry_until(self):
                    return datetime(2999, 1, 1, tzinfo=UTC)

                def handle(self): ...
        """,
    }
    failed = fail("a", job="shop.jobs.Note")
    fail("a", job="shop.jobs.Note", payload={**failed.payload, "laraq": {"v": 1, "retry_until": 1.0}})
    Project(tmp_path, files, env={"BROKER": redis_url}).run([*CELERY, "-A", "proj", "laraq", "retry", "a"])
    with redis.Redis.from_url(redis_url) as client:
        message = json.loads(client.lindex("celery", 0))  # type: ignore[arg-type] # redis types both clients
    assert message["headers"]["laraq"]["retry_until"] == 32472144000.0
