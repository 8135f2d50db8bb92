"""`laraq health`, as a probe calls it beside a real worker."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import LARAQ
from tests.life.conftest import Stage
from tests.support.cutting import cut_connections
from tests.support.lost_replies import LostReplies
from tests.support.project import Project
from tests.support.waiting import wait_until

SOURCE = """
class Hold(Job):
    def handle(self):
        note("holds")
        while not record.get("go"): time.sleep(0.01)
        note("held")
"""


def ask(project: Project, path: Path, *, status: int, max_age: float = 20) -> dict[str, Any]:
    line = [*LARAQ, "health", "--file", str(path), "--max-age", str(max_age), "--json"]
    answer: dict[str, Any] = json.loads(project.run(line, status=status))
    assert answer["healthy"] is (status == 0)
    return answer


def problems_of(project: Project, path: Path, max_age: float) -> list[str]:
    line = [*LARAQ, "health", "--file", str(path), "--max-age", str(max_age), "--json"]
    problems: list[str] = json.loads(project.run(["sh", "-c", '"$@" || true', "sh", *line]))["problems"]
    return problems


def written(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.fault
@pytest.mark.parametrize("command", ["celery", "laraq"])
def test_a_worker_is_well_until_its_loop_freezes_and_again_when_it_turns(
    redis_stage: Stage, tmp_path: Path, command: Any
) -> None:
    project, path = redis_stage.project(SOURCE), tmp_path / "health"
    ready = {"await_ready": command == "celery"}
    with project.worker(command=command, concurrency=2, env={"LARAQ_HEALTH_FILE": str(path)}, **ready) as worker:
        wait_until(lambda: path.exists() and written(path)["state"] == "running", 60, "it takes jobs")
        answer = ask(project, path, status=0)
        assert (answer["pid"], answer["state"], answer["problems"]) == (worker.pid, "running", [])
        assert (written(path)["children"], written(path)["children_wanted"]) == (2, 2)
        worker.send_signal(signal.SIGSTOP)
        frozen = written(path)["at"]
        wait_until(lambda: "sign of life" in " ".join(problems_of(project, path, 2)), 20, "the frozen loop is seen")
        assert written(path)["at"] - frozen < 1
        worker.send_signal(signal.SIGCONT)
        wait_until(lambda: not problems_of(project, path, 20), 20, "it is well again")


@pytest.mark.fault
def test_a_killed_worker_is_not_well(redis_stage: Stage, tmp_path: Path) -> None:
    project, path = redis_stage.project(SOURCE), tmp_path / "health"
    with project.worker(env={"LARAQ_HEALTH_FILE": str(path)}) as worker:
        ask(project, path, status=0)
        worker.kill_parent()
        assert ask(project, path, status=1)["problems"] == [f"process {worker.pid} is gone"]


@pytest.mark.fault
@pytest.mark.parametrize("away", ["broker", "store"])
def test_a_worker_without_its_broker_or_its_store_is_not_well(redis_url: str, tmp_path: Path, away: str) -> None:
    path, between = tmp_path / "health", LostReplies(redis_url, 6379)
    urls = {"broker": redis_url, "store": redis_url, away: between.url}
    said = {"broker": "no connection to the broker", "store": "the store has not answered"}[away]
    stage = Stage(tmp_path, urls["broker"], urls["store"], "celery")
    with closing(stage), ExitStack() as ends:
        with between:
            worker = ends.enter_context(stage.project(SOURCE).worker(env={"LARAQ_HEALTH_FILE": str(path)}))
            project = stage.project(SOURCE)
            assert problems_of(project, path, 20) == []
        cut_connections(worker.pid)
        wait_until(lambda: said in " ".join(problems_of(project, path, 2)), 60, f"the lost {away} is seen")


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_workers_of_other_pools_write_it_again_and_again(redis_stage: Stage, tmp_path: Path, pool: str) -> None:
    project, path = redis_stage.project(SOURCE), tmp_path / "health"
    with project.worker(pool=pool, env={"LARAQ_HEALTH_FILE": str(path)}):
        wait_until(lambda: path.exists() and written(path)["state"] == "running", 20, "it takes jobs")
        first = written(path)["at"]
        wait_until(lambda: written(path)["at"] > first, 20, "it was written again")
        assert ask(project, path, status=0)["state"] == "running"


def test_a_worker_that_finishes_its_jobs_before_it_ends_is_well_and_then_gone(
    redis_stage: Stage, tmp_path: Path
) -> None:
    stage, path = redis_stage, tmp_path / "health"
    project = stage.project(SOURCE)
    with project.worker(env={"LARAQ_HEALTH_FILE": str(path)}) as worker:
        project.python("import proj; proj.Hold.dispatch()")
        stage.wait_for("holds")
        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: written(path)["state"] == "stopping", 20, "it stops")
        assert ask(project, path, status=0)["state"] == "stopping"
        stage.record.set("go", 1)
        assert worker.wait() == 0
        assert ask(project, path, status=1)["problems"] == [f"process {worker.pid} is gone"]
    assert len(stage.noted("held")) == 1


def test_a_worker_whose_file_cannot_be_written_says_so_and_works(redis_stage: Stage, tmp_path: Path) -> None:
    stage = redis_stage
    stage.record.set("go", 1)
    project = stage.project(SOURCE)
    with project.worker(env={"LARAQ_HEALTH_FILE": str(tmp_path / "missing" / "health")}) as worker:
        worker.wait_for_log("The health file cannot be written: .*No such file")
        project.python("import proj; proj.Hold.dispatch()")
        stage.wait_for("held")
        assert worker.terminate() == 0


def test_without_a_file_or_its_name_the_command_says_what_to_do(redis_stage: Stage, tmp_path: Path) -> None:
    project = redis_stage.project(SOURCE)
    assert "there is no" in ask(project, tmp_path / "none", status=1)["problems"][0]
    project.run([*LARAQ, "-A", "proj", "health"], status=2)
