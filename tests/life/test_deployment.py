"""The texts of docs/deployment.md: a worker is started, reloaded and stopped by them while a job runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.docs.blocks import blocks
from tests.life.conftest import Stage
from tests.support.project import Project
from tests.support.waiting import wait_until

BIN = Path(sys.executable).parent

SOURCE = """
class Hold(Job):
    def handle(self):
        note("holds")
        while not record.get("go"): time.sleep(0.01)
        note("held", attempt=self.attempts)
"""


def text(language: str, having: str = "") -> str:
    """The one block of that language with that line in it."""
    found = [block for block in blocks("docs/deployment.md") if block.language == language]
    [block] = [block for block in found if having in block.source]
    return block.source


def tool(name: str) -> str:
    """Where a program is that is not a part of Python."""
    found = shutil.which(name, path=os.pathsep.join([str(BIN), os.environ["PATH"]]))
    if found is None:
        message = f"{name} is not installed"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    return str(found)


def may_unshare() -> bool:
    """Whether a test can be the first process of a namespace, as in a container."""
    line = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return shutil.which("unshare") is not None and subprocess.run(line, capture_output=True).returncode == 0


class Deployed:
    """A project, its environment, and what its worker says in its health file."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.folder, self.file = stage, folder, folder / "health"
        self.project: Project = stage.project(SOURCE)
        self.env = {
            **os.environ,
            "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "BROKER": stage.broker_url,
            "STORE": stage.store_url,
            "LARAQ_APP": "proj",
            "LARAQ_HEALTH_FILE": str(self.file),
        }

    @contextmanager
    def run(self, line: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """A program in a session of its own, of which nothing is left."""
        process = subprocess.Popen(line, cwd=self.folder, env=self.env, start_new_session=True)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def said(self) -> dict[str, Any]:
        """What the worker said last."""
        found: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {"state": None}
        return found

    def wait_for_state(self, state: str) -> dict[str, Any]:
        """Wait until the worker says that it is in this state."""
        return wait_until(lambda: said if (said := self.said())["state"] == state else None, 60, f"it is {state}")

    def hold(self, number: int) -> None:
        """Begin the so-manieth job, which runs on until it is let go."""
        self.stage.record.delete("go")
        self.project.python("import proj; proj.Hold.dispatch()")
        self.stage.wait_for("holds", times=number)

    def let_go(self) -> None:
        """Let the running job finish."""
        self.stage.record.set("go", 1)

    def held(self) -> list[int]:
        """The attempts of the jobs that finished."""
        return [entry["attempt"] for entry in self.stage.noted("held")]


def entry_point(deployed: Deployed) -> list[str]:
    """The container's script, and its command."""
    script = deployed.folder / "entrypoint.sh"
    script.write_text(text("sh"))
    script.chmod(0o755)
    [command] = [json.loads(line[4:]) for line in text("dockerfile").splitlines() if line.startswith("CMD ")]
    return [str(script), *command]


@pytest.fixture
def deployed(redis_stage: Stage, tmp_path: Path) -> Deployed:
    return Deployed(redis_stage, tmp_path)


@pytest.mark.parametrize(("target", "options"), [("multi-user", []), ("default", ["--user"])])
def test_the_units_are_ones_that_systemd_accepts(tmp_path: Path, target: str, options: list[str]) -> None:
    unit = tmp_path / "shop-worker.service"
    unit.write_text(text("ini", f"WantedBy={target}.target").replace("/srv/shop/.venv/bin", str(BIN)))
    verified = subprocess.run(
        [tool("systemd-analyze"), *options, "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_supervisor_starts_reloads_and_stops_a_worker_whose_jobs_finish(deployed: Deployed) -> None:
    program = (
        text("ini", "[program:shop-worker]")
        .replace("/srv/shop/.venv/bin", str(BIN))
        .replace("/srv/shop", str(deployed.folder))
        .replace("user=shop\n", "")
        .replace('LARAQ_APP="shop"', 'LARAQ_APP="proj"')
        .replace("/run/shop-worker/health", str(deployed.file))
        .replace("/var/log/shop-worker.log", str(deployed.folder / "worker.log"))
    )
    socket = deployed.folder / "s"
    config = deployed.folder / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={deployed.folder}/log\npidfile={deployed.folder}/pid\n"
        f"[unix_http_server]\nfile={socket}\n[supervisorctl]\nserverurl=unix://{socket}\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n" + program
    )
    control = [tool("supervisorctl"), "-c", str(config)]
    with deployed.run([tool("supervisord"), "-c", str(config)]) as supervisor:
        first = deployed.wait_for_state("running")
        deployed.hold(1)
        subprocess.run([*control, "signal", "HUP", "shop-worker"], check=True)
        deployed.wait_for_state("stopping")
        deployed.let_go()
        assert deployed.wait_for_state("running")["pid"] == first["pid"]
        deployed.hold(2)
        with deployed.run([*control, "stop", "shop-worker"]) as stop:
            deployed.wait_for_state("stopping")
            deployed.let_go()
            assert stop.wait(60) == 0
        assert deployed.held() == [1, 1]
        said = subprocess.run([*control, "status"], capture_output=True, text=True).stdout
        assert "STOPPED" in said
        supervisor.terminate()
        assert supervisor.wait(60) == 0


def test_the_entry_point_of_the_container_hands_the_signal_to_the_worker(deployed: Deployed) -> None:
    with deployed.run(entry_point(deployed)) as worker:
        assert deployed.wait_for_state("running")["pid"] == worker.pid
        deployed.hold(1)
        worker.terminate()
        deployed.wait_for_state("stopping")
        deployed.let_go()
        assert worker.wait(60) == 0
    assert deployed.held() == [1]


@pytest.mark.skipif(not may_unshare(), reason="only root may make a namespace of processes")
def test_the_entry_point_works_as_the_first_process_of_a_container(deployed: Deployed) -> None:
    with deployed.run(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *entry_point(deployed)]) as outer:
        assert deployed.wait_for_state("running")["pid"] == 1
        deployed.hold(1)
        [first] = psutil.Process(outer.pid).children()
        first.terminate()
        deployed.wait_for_state("stopping")
        deployed.let_go()
        assert outer.wait(60) == 0
    assert deployed.held() == [1]


def test_every_probe_of_the_containers_finds_a_worker_well_and_a_killed_one_not(deployed: Deployed) -> None:
    texts = text("dockerfile") + text("yaml")
    probes = [json.loads(line[line.index("[") :]) for line in texts.splitlines() if '"health"' in line]
    assert len(probes) == 4
    with deployed.run(["laraq", "work"]) as worker:
        deployed.wait_for_state("running")
        assert [subprocess.run(probe, env=deployed.env).returncode for probe in probes] == [0] * 4
        worker.kill()
        worker.wait()
        assert [subprocess.run(probe, env=deployed.env).returncode for probe in probes] == [1] * 4


def test_the_line_of_the_procfile_ends_well_when_all_its_processes_get_the_signal(deployed: Deployed) -> None:
    line = text("procfile").partition(": ")[2].replace("-A shop", "-A proj")
    with deployed.run(["sh", "-c", line]) as shell:
        deployed.wait_for_state("running")
        deployed.hold(1)
        os.killpg(shell.pid, signal.SIGTERM)
        deployed.wait_for_state("stopping")
        deployed.let_go()
        wait_until(lambda: deployed.held() == [1], 60, "the job has finished")
        shell.wait(60)
