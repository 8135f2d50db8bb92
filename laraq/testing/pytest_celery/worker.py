"""LaraqWorker: a worker of a cluster whose app has laraq attached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pytest_celery import CeleryTestWorker, CeleryWorkerContainer

from laraq.testing.program import wait_until
from laraq.testing.pytest_celery.process import LocalContainer

T = TypeVar("T")

_ATTACH = b"""
from laraq import Laraq

queue = Laraq(app)
"""


class LaraqWorkerContainer(CeleryWorkerContainer):
    """A worker of the app that pytest-celery writes, with laraq attached to it.

    It wraps a LocalContainer, or one of Docker's whose image has laraq installed.
    """

    @classmethod
    def initial_content(cls, *args: Any, **kwargs: Any) -> dict[str, bytes]:
        """The worker's files: its `app.py` ends with `queue = Laraq(app)`."""
        content: dict[str, bytes] = super().initial_content(*args, **kwargs)
        return {**content, "app.py": content["app.py"] + _ATTACH}

    def ready(self) -> bool:
        """Whether it takes jobs: wait until it says so, in its last start."""
        if isinstance(self._container, LocalContainer):
            self._container.wait_for(f" {self.ready_prompt}")
            return True
        return bool(super().ready())

    def teardown(self) -> None:
        """Stop a local process; Docker's containers are ended by their fixtures."""
        if isinstance(self._container, LocalContainer):
            self._container.stop()


class LaraqWorker(CeleryTestWorker):
    """A worker node."""

    def wait_until(self, condition: Callable[[], T], timeout: float = 10) -> T:
        """Look again and again until the condition is true, and return what it gave.

        Raises AssertionError with the worker's log after `timeout` seconds.
        """
        return wait_until(condition, timeout, lambda: f"The log of {self.name()}:\n{self.logs()}")
