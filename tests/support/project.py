"""Project: a folder with the Python files of a user, from which workers and producers run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from textwrap import dedent
from typing import IO, Literal

from tests.support.warm import start
from tests.support.worker import WorkerProcess


class Project:
    """`Project(tmp_path, {"proj.py": source})`: the sources may be indented; `env` is seen by all its processes."""

    def __init__(self, folder: Path, files: Mapping[str, str], env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        for name, source in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(source))
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._env = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(env or {})}

    def worker(
        self,
        app: str = "proj",
        *,
        command: Literal["celery", "laraq"] = "celery",
        pool: str = "prefork",
        concurrency: int = 1,
        queues: Sequence[str] = (),
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        await_ready: bool = True,
    ) -> WorkerProcess:
        """A worker for `with`; see WorkerProcess."""
        return WorkerProcess(
            self.folder,
            app,
            env={**self._env, **(env or {})},
            command=command,
            pool=pool,
            concurrency=concurrency,
            queues=queues,
            args=args,
            await_ready=await_ready,
        )

    def python(self, code: str, *args: str, timeout: float = 60) -> str:
        """Run a script in the project and return what it printed; fail with its errors if it does not exit with 0."""
        return self.run([sys.executable, "-c", dedent(code), *args], timeout=timeout)

    def run(self, command: Sequence[str], *, status: int = 0, timeout: float = 60) -> str:
        """Run a command in the project and return what it printed; fail unless it exits with `status`."""
        with TemporaryFile("w+", errors="replace") as stdout, TemporaryFile("w+", errors="replace") as stderr:
            process = start(command, self.folder, self._env, stdout.fileno(), stderr.fileno())
            try:
                ended = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                raise
            printed, errors = (_read(file) for file in (stdout, stderr))
        assert ended == status, f"exit status {ended}\n{printed}{errors}"
        return printed


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
