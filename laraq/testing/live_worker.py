"""LiveWorker: a real worker process beside a test, with everything it needs in one temporary file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, Self, TypeVar

from laraq.app import StandIn, store_at
from laraq.current import current
from laraq.errors import ConfigurationError
from laraq.ports import HostInTests
from laraq.testing.program import PATIENCE, Program, import_path

T = TypeVar("T")

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
            self._program = self._start(name)
            stack.callback(self._program.stop)
            self.wait_until(lambda: _READY.search(self.log), PATIENCE)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """The worker's main process."""
        return self._program.pid

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return self._program.log

    def wait_until(self, condition: Callable[[], T], timeout: float = 10) -> T:
        """Look again and again until the condition is true, and return what it gave.

        Raises AssertionError after `timeout` seconds, or when the worker has ended.
        """
        return self._program.wait_until(condition, timeout)

    def _start(self, name: str) -> Program:
        command = [sys.executable, "-m", "celery", "-A", name, "worker", "--loglevel", "INFO", "--concurrency", "1"]
        return Program(
            "The worker",
            [*command, "--without-mingle", "--without-gossip", "--hostname", f"laraq-{os.getpid()}-{id(self)}@%h"],
            {**os.environ, "PYTHONPATH": import_path(), "PYTHONUNBUFFERED": "1"},
        )


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
