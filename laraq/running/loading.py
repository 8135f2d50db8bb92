"""Loader: from a message to the job it carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from laraq.errors import PayloadError
from laraq.jobs import registry
from laraq.jobs.job import enter
from laraq.messages.keys import Keys
from laraq.messages.options import WorkerOptions, apply, epoch, misfit, read
from laraq.messages.payload import Payload
from laraq.middleware.travelling import unpack
from laraq.process import clock
from laraq.running.retries import RetryPolicy
from laraq.running.run import Run

if TYPE_CHECKING:  # importing it would import pydantic
    from laraq.jobs.fields.codec import Codec


class Loader:
    """Loads jobs for one Laraq."""

    def __init__(self, codec: Codec, keys: Keys, worker: Callable[[], WorkerOptions]) -> None:
        self._codec = codec
        self._keys = keys
        self._worker = worker

    def load(self, run: Run) -> None:
        """Create the job of a run, with its retry policy and the middleware sent with it."""
        payload, worker = run.payload, self._worker()
        if run.delivery.error is not None:
            raise run.delivery.error
        if run.delivery.crash is not None and run.delivery.crash.kind == "broken":
            raise PayloadError(run.delivery.crash.detail)
        cls = registry.find(payload.job)
        if payload.retry_until is None:
            run.job = self.instance(cls, payload)
            if (until := read(run.job, "retry_until")) is not None:
                # A message of another sender, who did not compute it.
                run.payload = payload = payload.with_(retry_until=epoch(until, clock.now()))
        else:
            run.job = self.instance(cls, payload)
        job = run.job
        enter(job, run.delivery)
        tries, backoff = read(job, "tries"), job.backoff
        run.policy = RetryPolicy(
            tries=worker.tries if tries is None else tries,
            max_exceptions=read(job, "max_exceptions"),
            retry_until=payload.retry_until,
            backoff=worker.backoff if backoff is None else backoff,
            fail_on_timeout=bool(read(job, "fail_on_timeout")),
        )
        job._through = unpack(payload.through, self._keys, str(payload))

    def instance(self, cls: type[Any], payload: Payload) -> Any:
        """Create the job of a class from its message.

        Raises PayloadError, InvalidJobError, ModelNotFoundError.
        """
        job = self._codec.load(cls, payload)
        if payload.options:
            if (why := misfit(payload.options)) is not None:
                raise PayloadError(f"Job {payload.job} cannot be made from its message: {why}")
            apply(job, payload.options)
        return job

    def through(self, payload: Payload) -> tuple[Any, ...]:
        """The middleware sent with the job."""
        return unpack(payload.through, self._keys, str(payload))

    def recorded(self, payload: Payload) -> Payload:
        """The payload for the record of a failed job."""
        return self._codec.recorded(payload)
