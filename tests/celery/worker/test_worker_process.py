"""The tests' own worker, with a plain Celery task: what every other test with a worker relies on."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.support.project import Project

SOURCE = """
    import os, time
    from pathlib import Path
    from celery import Celery

    app = Celery("proj", broker=os.environ["BROKER"])
    app.conf.task_default_queue = os.environ["QUEUE"]

    @app.task
    def greet(name):
        Path("greeting").write_text(f"hello {name}")

    @app.task
    def hang():
        print("hanging")
        time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path, broker_url: str, queue_name: str) -> Project:
    return Project(tmp_path, {"proj.py": SOURCE}, env={"BROKER": broker_url, "QUEUE": queue_name})


def test_a_plain_task_runs(project: Project) -> None:
    with project.worker() as worker:
        project.python("import sys, proj; proj.greet.delay(sys.argv[1])", "you")
        worker.wait_for_log(r"Task proj\.greet\[.*\] succeeded")
        assert (project.folder / "greeting").read_text() == "hello you"
        assert worker.terminate() == 0


def test_a_message_sent_earlier_waits_for_the_worker(project: Project) -> None:
    project.python("import proj; proj.greet.delay('early')")
    with project.worker(pool="solo") as worker:
        worker.wait_for_log(r"Task proj\.greet\[.*\] succeeded")
        assert worker.child_pids() == []


@pytest.mark.fault
def test_a_kill_leaves_no_process_of_the_group(project: Project) -> None:
    with project.worker(concurrency=2) as worker:
        project.python("import proj; proj.hang.delay()")
        worker.wait_for_log("hanging")
        family = [worker.pid, *worker.child_pids()]
        assert sorted(worker.group_pids()) == sorted(family)
        assert len(family) == 3
        worker.kill()
        assert worker.group_pids() == []
        assert not any(map(_is_running, family))


@pytest.mark.fault
def test_what_a_killed_parent_leaves_is_cleaned_up(project: Project) -> None:
    with project.worker() as worker:
        project.python("import proj; proj.hang.delay()")
        worker.wait_for_log("hanging")
        worker.kill_parent()
        assert worker.pid not in worker.group_pids()  # its child most often is: it sees to the pipe later
    assert worker.group_pids() == []


def test_a_worker_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    project = Project(tmp_path, {"proj.py": "raise RuntimeError('a bad day')"})
    with pytest.raises(AssertionError, match="a bad day"), project.worker():
        pytest.fail("entered without a worker")


def test_a_worker_that_is_not_awaited_gives_its_exit_status(tmp_path: Path) -> None:
    project = Project(tmp_path, {"proj.py": "raise SystemExit(3)"})
    with project.worker(await_ready=False) as worker:
        assert worker.wait() == 3


def test_the_log_of_a_worker_is_printed_when_the_test_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path, {"proj.py": "raise SystemExit('as said')"})
    with pytest.raises(AssertionError, match="no such line"), project.worker(await_ready=False) as worker:
        worker.wait_for_log("no such line")
    assert "as said" in capsys.readouterr().out


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
