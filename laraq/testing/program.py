"""Program: a process beside a test, with its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: Seconds until a program must have started, and stopped.
PATIENCE = 30.0


class Program:
    """A process and those it starts, in a group of their own."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], folder: Path | None = None) -> None:
        """`name`: what it is, in errors."""
        self._name = name
        self._log: list[str] = []
        self._process = subprocess.Popen(  # noqa: S603 # a worker, of the app that is tested
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of its main process."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return "".join(self._log)

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def wait_until(self, condition: Callable[[], T], timeout: float = 10) -> T:
        """Look again and again until the condition is true, and return what it gave.

        Raises AssertionError after `timeout` seconds, or when the program has ended.
        """

        def look() -> T:
            if not (found := condition()) and self.status is not None:
                raise AssertionError(f"{self._name} has ended with status {self.status}:\n{self.log}")
            return found

        return wait_until(look, timeout, lambda: f"{self._name}'s log:\n{self.log}")

    def send(self, number: int) -> None:
        """Send a signal to the main process; SIGKILL to all of its group, as the end of a machine would be."""
        if self.status is None:
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
                self._end()
            else:
                self._process.send_signal(number)

    def stop(self, patience: float = PATIENCE) -> None:
        """Let it end; what has not ended after `patience` seconds is killed."""
        self.send(signal.SIGTERM)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
        self._end()

    def _end(self) -> None:
        self._process.wait()
        self._reader.join(PATIENCE)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._log.extend(self._process.stdout)


def wait_until(condition: Callable[[], T], timeout: float, log: Callable[[], str]) -> T:
    """What the condition gives once it is true. Raises AssertionError with the log after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"The condition is not true after {timeout:g} s. {log()}")
        time.sleep(0.02)
    return found


def import_path(*first: str | Path) -> str:
    """A PYTHONPATH by which a program finds the modules that the test finds, those of other folders first."""
    return os.pathsep.join([*map(str, first), *filter(None, sys.path)]) or os.getcwd()
