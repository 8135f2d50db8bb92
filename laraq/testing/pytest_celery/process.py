"""LocalContainer: a local process in the place of one of Docker's containers."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from laraq.testing.program import PATIENCE, Program, import_path

#: What is started with the test's own Python.
_OF_PYTHON = {"python": [sys.executable], "celery": [sys.executable, "-m", "celery"]}


class ExecResult(NamedTuple):
    """What a command in a container said."""

    exit_code: int
    output: bytes


class LocalContainer:
    """What pytest-celery asks of `docker.models.containers.Container`, of a process in a folder.

    Processes share the machine: they have its host name, its network and all of its files.
    """

    def __init__(
        self, folder: Path, command: Sequence[str], env: Mapping[str, str], content: Mapping[str, bytes]
    ) -> None:
        """`content`: the files of the folder, as of a container's volume."""
        self.id = uuid.uuid4().hex
        self.name = f"laraq-{self.id[:12]}"
        self._folder = folder
        first, *rest = command
        # A container has a host name of its own.
        self._command = [*_OF_PYTHON.get(first, [first]), *(part.replace("%h", self.id[:12]) for part in rest)]
        self._env = {**os.environ, **env, "PYTHONPATH": import_path(folder)}
        for name, source in content.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source)
        self._earlier = ""
        self._program = self._start()

    @property
    def program(self) -> Program:
        """The process as it was started last."""
        return self._program

    @property
    def status(self) -> str:
        """As Docker tells it."""
        return "running" if self._program.status is None else "exited"

    @property
    def attrs(self) -> Mapping[str, Any]:
        """What Docker would tell of it, as far as it is asked; no port is mapped."""
        return {
            "Config": {"Hostname": "localhost", "Env": [f"{name}={value}" for name, value in self._env.items()]},
            "HostConfig": {"PortBindings": {}},
            "NetworkSettings": {"Networks": {}, "Ports": {}},
        }

    def wait_for(self, prompt: str) -> None:
        """Wait until it has printed that, in its last start."""
        program = self._program
        program.wait_until(lambda: prompt in program.log, PATIENCE)

    def reload(self) -> None:
        """Nothing: what it tells is true when it is asked."""

    def logs(self) -> bytes:
        """All it has printed, in earlier starts as well."""
        return (self._earlier + self._program.log).encode()

    def kill(self, signal: str | int | None = None) -> None:
        """Send a signal; without one, all of its processes are killed."""
        self._program.send(_number(signal or "SIGKILL"))

    def stop(self, timeout: float = PATIENCE) -> None:
        """Let it end; after `timeout` seconds it is killed."""
        self._program.stop(timeout)

    def restart(self, timeout: float = PATIENCE) -> None:
        """Stop it, unless it has ended, and start it again."""
        self.stop(timeout)
        self._earlier += self._program.log
        self._program = self._start()

    def exec_run(self, command: str | Sequence[str], **_options: Any) -> ExecResult:
        """Run a command beside it, in its folder and with its environment."""
        first, *rest = shlex.split(command) if isinstance(command, str) else command
        done = subprocess.run(  # noqa: S603 # as the test says
            [*_OF_PYTHON.get(first, [first]), *rest],
            cwd=self._folder,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return ExecResult(done.returncode, done.stdout)

    def _start(self) -> Program:
        return Program(self.name, self._command, self._env, self._folder)


def _number(name: str | int) -> int:
    return name if isinstance(name, int) else signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
