"""`laraq unlock`, as a user runs it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.project import Project

JOBS = """
from laraq import Job

class Import(Job):
    account: int
    unique = True

    def unique_id(self):
        return self.account

    def handle(self): ...
"""


def test_unlock_frees_the_lock_of_a_job(tmp_path: Path, redis_url: str) -> None:
    project = Project(tmp_path, {"jobs.py": JOBS}, env={"LARAQ_URL": redis_url, "LARAQ_STORE": redis_url})
    laraq = str(Path(sys.executable).parent / "laraq")
    dispatch = "import jobs; print(jobs.Import.dispatch(7).skipped)"
    assert project.python(dispatch).strip() == "False"
    assert project.python(dispatch).strip() == "True"
    assert project.run([laraq, "-A", "jobs", "unlock", "jobs.Import", "7"]).strip() == "Unlocked: jobs.Import 7"
    assert project.python(dispatch).strip() == "False"
    project.run([laraq, "-A", "jobs", "unlock", "jobs.Import", "8"], status=1)
