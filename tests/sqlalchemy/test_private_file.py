"""laraq.db, which nobody asked for and which holds every job, is readable by its owner only."""

from __future__ import annotations

import os
import stat
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from laraq_sqlalchemy import SqlStore
from tests.support.project import Project

JOBS = """
from laraq import Job

class Add(Job):
    n: int
    def handle(self):
        open("ran", "a").write("ran\\n")
"""


def modes(folder: Path) -> dict[str, int]:
    return {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.name.startswith("laraq.db")
    }


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_the_embedded_default_is_its_owners(tmp_path: Path) -> None:
    project = Project(tmp_path, {"jobs.py": JOBS})
    project.python(
        textwrap.dedent("""
        import os, sys
        os.umask(0)
        from jobs import Add
        from laraq import Failed
        Add.dispatch(1)
        Failed.all()
        for name in sorted(os.listdir(".")):
            if name.startswith("laraq.db") and os.path.isfile(name):
                print(name, oct(os.stat(name).st_mode & 0o777))
                assert os.stat(name).st_mode & 0o077 == 0, name
    """)
    )
    assert modes(tmp_path)["laraq.db"] == 0o600
    assert modes(tmp_path)["laraq.db-gate"] == 0o600


def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "laraq.db").touch()
    (tmp_path / "laraq.db").chmod(0o664)
    store = SqlStore.from_url("sqlite:///laraq.db")
    assert store.failed.count() == 0
    store.close()
    assert modes(tmp_path)["laraq.db"] == 0o664


def test_a_file_that_somebody_names_is_made_by_his_umask(tmp_path: Path) -> None:
    store = SqlStore.from_url(f"sqlite:///{tmp_path}/laraq.db.named")
    assert store.failed.count() == 0
    store.close()
    assert modes(tmp_path)["laraq.db.named"] == 0o644
