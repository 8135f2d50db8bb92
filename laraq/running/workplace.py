"""Workplace: what a job finds around it while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from laraq.container import Container
from laraq.jobs.job import Job
from laraq.ports import Models


class Workplace:
    """Of the jobs of one Laraq: their context, the sessions of ORMs, and what handlers ask for by type."""

    def __init__(
        self,
        around: Callable[[Mapping[str, Any]], AbstractContextManager[None]],
        models: Callable[[], Sequence[Models]],
        container: Container,
        injectables: Callable[[], Mapping[Any, Any]],
    ) -> None:
        #: What a job with that context runs in.
        self.around = around
        self.container = container
        self._models = models
        self._injectables = injectables

    def open(self) -> None:
        """Make ready what a job is given for itself."""
        for models in self._models():
            models.open()

    def close(self) -> None:
        """Let go of what a job was given for itself."""
        for models in self._models():
            models.close()

    def offers(self, job: Any) -> dict[Any, Any]:
        """What the handler may ask for by type, beside what is bound in the container."""
        return {Job: job, type(job): job, **self._injectables()}
