"""LiveWorker: a real worker process beside a test, with everything it needs in one temporary file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, Self, TypeVar

from laraq.app import StandIn, store_at
from laraq.current import current
from laraq.errors import ConfigurationError
from laraq.ports import HostInTests

T = TypeVar("T")

#: Seconds until a worker must have started, and stopped.
PATIENCE = 30.0

_READY = re.compile(r" ready\.$", re.MULTILINE)


class LiveWorker:
    """`celery worker` of the current Laraq's app, whose jobs go to a SQLite file for the length of the block.

    Test and worker share nothing but that file. A store that the app names in its own code stays what it is.
    """

    def __init__(self, folder: Path, app: str = "") -> None:
        """`app`: as in `celery -A`; where it is empty the app is looked for in the imported modules."""
        self._folder = folder
        self._name = app
        self._stack = ExitStack()
        self._log: list[str] = []

    def __enter__(self) -> Self:
        laraq = current()
        host = laraq.host
        if not isinstance(host, HostInTests):
            raise ConfigurationError("A worker process needs a Celery app: attach one, queue = Laraq(app).")
        name = self._name or _place_of(host)
        url = f"sqlite:///{self._folder / 'laraq.sqlite3'}"
        with self._stack as stack:
            stack.enter_context(host.at_broker(f"laraq-db+{url}"))
            store = store_at(url)
            store.migrate()
            host.migrate()
            stack.enter_context(laraq.standing_in(StandIn(lambda _name, make: make(), store)))
            stack.callback(self._stop)
            self._start(name)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """The worker's main process."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return "".join(self._log)

    def wait_until(self, condition: Callable[[], T], timeout: float = 10) -> T:
        """Look again and again until the condition is true, and return what it gave.

        Raises AssertionError after `timeout` seconds, or when the worker has ended.
        """
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            if self._process.poll() is not None:
                raise AssertionError(f"The worker has ended with status {self._process.returncode}:\n{self.log}")
            if time.monotonic() > deadline:
                raise AssertionError(f"The condition is not true after {timeout:g} s. The worker's log:\n{self.log}")
            time.sleep(0.02)
        return found

    def _start(self, name: str) -> None:
        path = os.pathsep.join(str(entry) for entry in sys.path if entry) or os.getcwd()
        command = [sys.executable, "-m", "celery", "-A", name, "worker", "--loglevel", "INFO", "--concurrency", "1"]
        self._process = subprocess.Popen(  # noqa: S603 # a worker, of the app that is tested
            [*command, "--without-mingle", "--without-gossip", "--hostname", f"laraq-{os.getpid()}-{id(self)}@%h"],
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_until(lambda: _READY.search(self.log), PATIENCE)

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._log.extend(self._process.stdout)

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(PATIENCE)
        if self._process.stdout is not None:
            self._process.stdout.close()


def _place_of(host: Any) -> str:
    """The module and the name under which the host's app can be imported."""
    for module_name, module in sorted(sys.modules.items()):
        if isinstance(module, ModuleType) and module_name not in ("__main__", "conftest"):
            for name, value in vars(module).items():
                if value is host.app:
                    return f"{module_name}:{name}"
    raise ConfigurationError(
        "The app of the worker was not found in any module: name it in pytest's configuration, laraq_app = shop:app."
    )
