"""`laraq doctor`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import LARAQ
from tests.support.project import Project

SOURCE = """
    import os
    from celery import Celery
    from laraq import Job, Laraq, Queue

    app = Celery("proj", broker=os.environ["BROKER"])
    app.conf.worker_pool = os.environ.get("POOL", "prefork")
    queue = Laraq(app, store=os.environ["STORE"])

    class Pay(Job):
        timeout = 30

        def handle(self): ...
"""


def diagnosis(folder: Path, status: int, **env: str) -> dict[str, dict[str, Any]]:
    printed = project(folder, **env).run([*LARAQ, "-A", "proj", "doctor", "--json"], status=status)
    return {finding["check"]: finding for finding in json.loads(printed)}


def project(folder: Path, **env: str) -> Project:
    return Project(folder, {"proj.py": SOURCE}, env=env)


def test_problems_are_told_from_advice(tmp_path: Path, redis_url: str) -> None:
    found = diagnosis(tmp_path, 0, BROKER=redis_url, STORE=redis_url)
    assert found["visibility timeout"]["advice"] is True
    assert not [finding for finding in found.values() if not finding["advice"]]
    found = diagnosis(tmp_path, 1, BROKER=redis_url, STORE=redis_url, POOL="threads")
    assert (found["timeouts"]["advice"], found["timeouts"]["mend"]) == (False, "worker_pool = 'prefork'")
    text = project(tmp_path, BROKER=redis_url, STORE=redis_url, POOL="threads").run(
        [*LARAQ, "-A", "proj", "doctor"], status=1
    )
    assert text.startswith("Problem (timeouts): The pool threads cannot stop a job: the timeout of proj.Pay has no")
    assert "\n    Mend it with: worker_pool = 'prefork'\n" in text


def test_missing_tables_are_found_until_they_are_made(tmp_path: Path, postgres_url: str, redis_url: str) -> None:
    env = {"BROKER": f"laraq-db+{postgres_url}", "STORE": postgres_url}
    found = diagnosis(tmp_path, 1, **env)
    assert "laraq migrate" in found["tables"]["mend"]
    project(tmp_path, **env).run([*LARAQ, "-A", "proj", "migrate"])
    assert "tables" not in diagnosis(tmp_path, 0, **env)


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1/0", "amqp://guest:secret@127.0.0.1:1//"])
def test_a_broker_that_does_not_answer_is_a_problem(tmp_path: Path, broker: str, redis_url: str) -> None:
    found = diagnosis(tmp_path, 1, BROKER=broker, STORE=redis_url)
    assert "does not answer" in found["broker"]["says"]
    assert "secret" not in json.dumps(found)


def test_a_store_that_does_not_answer_is_a_problem(tmp_path: Path, redis_url: str) -> None:
    assert "store" in diagnosis(tmp_path, 1, BROKER=redis_url, STORE="redis://127.0.0.1:1/0")


def test_a_queue_whose_jobs_nobody_takes_is_a_problem(tmp_path: Path, redis_url: str) -> None:
    env = {"BROKER": redis_url, "STORE": redis_url}
    project(tmp_path, **env).python("import proj; proj.Pay.dispatch(); proj.Queue.pause('low')")
    found = diagnosis(tmp_path, 1, **env)
    assert found["workers"]["says"] == "Queue default:celery has pending jobs (1), and no worker takes them."
    assert found["paused"]["mend"] == "laraq resume default:low"
    with project(tmp_path, **env).worker(queues=["celery"]):
        assert "workers" not in diagnosis(tmp_path, 0, **env)
