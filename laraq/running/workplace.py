"""Workplace: the surroundings of a job while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from laraq.container import Container
from laraq.jobs.job import Job
from laraq.ports import Models


class Workplace:
    """The surroundings of the jobs of one Laraq: context, ORM sessions, and injectable objects by type."""

    def __init__(
        self,
        around: Callable[[Mapping[str, Any]], AbstractContextManager[None]],
        models: Callable[[], Sequence[Models]],
        container: Container,
        injectables: Callable[[], Mapping[Any, Any]],
    ) -> None:
        #: Returns the context manager in which a job with that context runs.
        self.around = around
        self.container = container
        self._models = models
        self._injectables = injectables

    def open(self) -> None:
        """Prepare the resources of one job."""
        for models in self._models():
            models.open()

    def close(self) -> None:
        """Release the resources of the job."""
        for models in self._models():
            models.close()

    def offers(self, job: Any) -> dict[Any, Any]:
        """What the handler can have injected by type, in addition to the container's bindings."""
        return {Job: job, type(job): job, **self._injectables()}
