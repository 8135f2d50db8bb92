"""Dispatched: the result of a dispatch."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Any

from laraq.current import current
from laraq.errors import WrongCallError
from laraq.jobs.verbs import SETTERS, as_written, shown


@dataclass(frozen=True)
class Dispatched:
    """The result of a dispatch. Its fields are JSON-ready, for any library that serializes dataclasses."""

    #: The job's uuid; for a skipped unique job the uuid of the job that is already queued.
    id: str
    #: Whether nothing was sent: the same unique job is already queued or running, or the job cancelled itself.
    skipped: bool = False
    #: The carrier's answer to the push: the result, or a function that creates it.
    sent: InitVar[Any] = None
    job: InitVar[Any] = None

    def __post_init__(self, sent: Any, job: Any) -> None:
        vars(self)["_sent"], vars(self)["_job"] = sent, job

    @property
    def result(self) -> Any:
        """Celery's AsyncResult."""
        sent = vars(self)["_sent"]
        if sent is None:
            return current().host.result(self.id)
        return sent() if callable(sent) else sent

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name not in SETTERS:
                raise AttributeError(f"'Dispatched' object has no attribute {name!r}")
            job = vars(self).get("_job")

            def too_late(*args: Any, **kwargs: Any) -> None:
                given = ", ".join([*map(shown, args), *(f"{key}={shown(value)}" for key, value in kwargs.items())])
                written = "Job(...)" if job is None else as_written(job)
                raise WrongCallError(
                    f"{name}({given}) comes too late, the job was sent by dispatch(): write"
                    f" {written}.{name}({given}).dispatch()."
                )

            return too_late
