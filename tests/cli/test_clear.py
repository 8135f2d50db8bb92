"""`laraq clear`, as a user runs it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.project import Project

JOBS = """
from laraq import Job

class Import(Job):
    account: int
    unique = True

    def handle(self): ...
"""


def test_clear_drops_the_jobs_and_frees_their_locks(tmp_path: Path, redis_url: str) -> None:
    project = Project(tmp_path, {"jobs.py": JOBS}, env={"LARAQ_URL": redis_url, "LARAQ_STORE": redis_url})
    laraq = str(Path(sys.executable).parent / "laraq")
    dispatch = "import jobs, laraq; print(laraq.dispatch(jobs.Import(7).on_queue('imports')).skipped)"
    assert project.python(dispatch).strip() == "False"
    assert project.run([laraq, "-A", "jobs", "clear", "imports"]).strip() == "Dropped 1 job."
    assert project.run([laraq, "-A", "jobs", "clear"]).strip() == "Dropped 0 jobs."
    assert project.python(dispatch).strip() == "False"
