"""Batches: PendingBatch, which is configured and sent, and Batch, the view of it afterwards.

(Illuminate/Bus/PendingBatch.php, Batch.php, ChainedBatch.php.)
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Self

from laraq.current import current
from laraq.errors import BatchNotFoundError, BatchTimeoutError, ConfigurationError
from laraq.jobs.conditionable import Condition, Conditionable, holds
from laraq.jobs.fields.untyped import AsWritten
from laraq.jobs.job import Job
from laraq.messages.backoff import Backoff
from laraq.messages.options import Seconds, Text, checked, seconds
from laraq.messages.tally import BatchRecord, MemberState

if TYPE_CHECKING:
    from laraq.jobs.dispatched import Dispatched
    from laraq.workflow.batch_service import BatchService
    from laraq.workflow.progress_bar import ProgressBars

#: Seconds between the polls of `wait()`: the first interval, and the longest.
_FIRST_LOOK, _LONGEST_LOOK = 0.05, 1.0


class PendingBatch(Conditionable):
    """A batch that is being configured: `Bus.batch([...])`.

    Jobs may come from any iterable; a generator is read while they are sent and needs no memory for all of them. A list
    among them is a chain. Callbacks get the Batch, those of `catch` and `allow_failures` also the error; each may be a
    function, a Job, or a Celery signature, and runs as its own queued job.
    """

    def __init__(self, jobs: Iterable[Any] | Job) -> None:
        self.sources: list[Iterable[Any]] = []
        self.callbacks: dict[str, list[Any]] = {}
        self.label = ""
        self.failures_allowed = False
        self.queue: str | None = None
        self.connection: str | None = None
        #: The values set by `with_option`.
        self.options: dict[str, Any] = {}
        self.waits_for_commit: bool | None = None
        self.add(jobs)

    def add(self, jobs: Any) -> Self:
        """Add one job, or several."""
        several = isinstance(jobs, Iterable) and not callable(jobs) and not isinstance(jobs, (Job, Mapping))
        self.sources.append(jobs if several else [jobs])
        return self

    def name(self, name: str) -> Self:
        """Set the name shown in lists and progress bars."""
        self.label = name
        return self

    def before(self, callback: Any) -> Self:
        """Call once, when the batch is created and before its jobs start."""
        return self._on("before", callback)

    def progress(self, callback: Any) -> Self:
        """Call after each job that succeeded; with `allow_failures` also after each job that failed."""
        return self._on("progress", callback)

    def then(self, callback: Any) -> Self:
        """Call once, when every job has succeeded."""
        return self._on("then", callback)

    def catch(self, callback: Any) -> Self:
        """Call once, with the error of the first job that failed."""
        return self._on("catch", callback)

    def finally_(self, callback: Any) -> Self:
        """Call once, when every job is accounted for: it succeeded, failed, or will never run as its chain broke."""
        return self._on("finally", callback)

    def allow_failures(self, allow: Any = True) -> Self:
        """Do not cancel the batch when a job fails; a callback, or a list of them, is called for each failure."""
        self.failures_allowed = allow is not False
        for callback in allow if isinstance(allow, (list, tuple)) else [allow]:
            if not isinstance(callback, bool) and callback is not None:
                self._on("failure", callback)
        return self

    def on_queue(self, queue: Text) -> Self:
        """Set the queue of jobs and callbacks that name none."""
        self.queue = checked("queue", queue)
        return self

    def on_connection(self, connection: Text) -> Self:
        """Set the connection of jobs and callbacks that name none."""
        self.connection = checked("connection", connection)
        return self

    def with_option(self, key: str, value: Any) -> Self:
        """Store a JSON-ready value of your own in `batch.options`.

        Raises ConfigurationError for a value that is not JSON.
        """
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"Option {key!r} of a batch cannot be kept: {error}.") from None
        self.options[key] = value
        return self

    def after_commit(self) -> Self:
        """Send the jobs when the open transaction commits; a rollback removes the batch."""
        self.waits_for_commit = True
        return self

    def dispatch(self) -> Batch:
        """Create the batch and send its jobs.

        Raises InvalidJobError, DispatchError, StoreError. The batch is then deleted; jobs that were sent before the
        failing one run without it.
        """
        return current().batches.dispatch(self)

    async def adispatch(self) -> Batch:
        """`dispatch` without blocking the event loop."""
        return await asyncio.to_thread(self.dispatch)

    def dispatch_after_response(self) -> Dispatched:
        """Create the batch and send its jobs after the response has been sent (the `deferred` connection)."""
        return current().dispatcher.dispatch_after_response(self.as_job())

    def dispatch_if(self, condition: Condition) -> Batch | None:
        """`dispatch` if the condition holds; a callable is called, with this object if it takes a parameter."""
        return self.dispatch() if holds(condition, lambda: self) else None

    def dispatch_unless(self, condition: Condition) -> Batch | None:
        """`dispatch` unless the condition holds."""
        return None if holds(condition, lambda: self) else self.dispatch()

    def as_job(self) -> ChainedBatch:
        """The batch as a link of a chain."""
        job = ChainedBatch(described=current().batches.describe(self))
        job.queue, job.connection = self.queue, self.connection
        job.display_name = f"Batch {self.label or 'without a name'}"
        return job

    def _on(self, event: str, callback: Any) -> Self:
        self.callbacks.setdefault(event, []).append(callback)
        return self


class ChainedBatch(Job):
    """A batch as a link of a chain: it sends the batch, which takes over the rest of the chain."""

    _travels_as = "laraq.batch.ChainedBatch"

    #: The result of `BatchService.describe`.
    described: Annotated[Any, AsWritten]

    #: Each start continues the same batch: a worker or store that dies in between must not end the chain.
    tries = 10
    backoff = Backoff.exponential(1, cap=60)

    def handle(self) -> None:
        """Send the batch; a second run, after a crash, sends the same batch."""
        interactions = self._in_queue("A chained batch")
        current().batches.start(self.described, interactions.delivery.payload)
        interactions.hand_over_chain()


class Batch:
    """The counts of a batch at one moment; `fresh()` reads them again."""

    def __init__(self, record: BatchRecord, service: BatchService) -> None:
        self._record = record
        self._service = service

    @property
    def id(self) -> str:
        """The batch's uuid."""
        return self._record.id

    @property
    def name(self) -> str:
        """The batch's name, possibly empty."""
        return self._record.name

    @property
    def total_jobs(self) -> int:
        """The number of jobs added, including links of chains."""
        return self._record.total

    @property
    def pending_jobs(self) -> int:
        """The number of jobs that have not succeeded (yet); a failure does not lower it."""
        return self._record.pending

    @property
    def processed_jobs(self) -> int:
        """The number of jobs that succeeded."""
        return self._record.done

    @property
    def failed_jobs(self) -> int:
        """The number of jobs that failed for good and were not repaired since."""
        return self._record.failed

    @property
    def failed_job_ids(self) -> list[str]:
        """The uuids of the failed jobs, read from the store."""
        return list(self._service.store.jobs(self.id, MemberState.FAILED))

    @property
    def has_failures(self) -> bool:
        """Whether a job failed."""
        return self._record.failed > 0

    @property
    def progress(self) -> int:
        """Percent of the jobs that succeeded, 0 to 100."""
        return round(100 * self._record.done / self._record.total) if self._record.total else 0

    @property
    def finished(self) -> bool:
        """Whether every job is accounted for, or the batch was cancelled (Illuminate/Bus/Batch.php: finished())."""
        return self._record.finished_at is not None or self.cancelled

    @property
    def cancelled(self) -> bool:
        """Whether the batch was cancelled, by `cancel()` or by a failure."""
        return self._record.cancelled_at is not None

    @property
    def options(self) -> Mapping[str, Any]:
        """Connection, queue, and the values set by `with_option`."""
        options = self._record.options
        place = {"queue": options.get("queue"), "connection": options.get("connection")}
        return {**place, "allow_failures": self._record.allow_failures, **options.get("own", {})}

    @property
    def created_at(self) -> datetime | None:
        """When the batch was created; aware, UTC, by the store's clock."""
        return self._record.created_at

    @property
    def cancelled_at(self) -> datetime | None:
        """When the batch was cancelled; aware, UTC."""
        return self._record.cancelled_at

    @property
    def finished_at(self) -> datetime | None:
        """When every job was accounted for; aware, UTC."""
        return self._record.finished_at

    def cancel(self) -> None:
        """Cancel the batch; queued jobs still run unless they check `self.batch().cancelled` (SkipIfBatchCancelled)."""
        self._service.cancel(self.id)
        self._look()

    def add(self, jobs: Any) -> Batch:
        """Add jobs from inside one of the batch's jobs or callbacks; any iterable, as in `Bus.batch`.

        Raises BatchCancelledError, BatchNotFoundError, DispatchError; jobs that could not be sent are not counted.
        """
        self._service.add(self.id, jobs)
        return self.fresh()

    def delete(self) -> None:
        """Delete the batch; its queued jobs run without it, its callbacks do not."""
        self._service.delete([self.id])

    def fresh(self) -> Batch:
        """Read the current state of the batch.

        Raises BatchNotFoundError.
        """
        found = self._service.find(self.id)
        if found is None:
            raise BatchNotFoundError(self.id)
        return found

    def wait(self, timeout: Seconds | None = None, *, progress: bool | Callable[[Batch], object] = False) -> Batch:
        """Block until every job is accounted for, for at most `timeout`, and return the batch as it is then.

        `progress=True` draws a bar on stderr; a function is called with the batch after each poll. Raises
        BatchTimeoutError, BatchNotFoundError.
        """
        if progress is True:
            from laraq.workflow.progress_bar import ProgressBars

            with ProgressBars(sys.stderr) as bars:
                return self.wait(timeout, progress=lambda batch: batch.draw(bars))
        started, pause = time.monotonic(), _FIRST_LOOK
        limit = None if timeout is None else seconds(timeout)
        while True:
            self._look()
            if callable(progress):
                progress(self)
            if self._record.finished_at is not None:
                return self
            passed = time.monotonic() - started
            if limit is not None and passed >= limit:
                raise BatchTimeoutError(self.id, limit, self._record.unsettled)
            time.sleep(pause if limit is None else max(min(pause, limit - passed), 0.0))
            pause = min(pause * 1.5, _LONGEST_LOOK)

    def draw(self, bars: ProgressBars) -> None:
        """Show the batch as a progress bar."""
        bars.show(self.id, self.name or self.id, self.processed_jobs, self.total_jobs, self.failed_jobs)

    def to_dict(self) -> dict[str, Any]:
        """The batch as a JSON-ready dict (Illuminate/Bus/Batch.php: toArray())."""
        moments = {"created_at": self.created_at, "cancelled_at": self.cancelled_at, "finished_at": self.finished_at}
        return {
            "id": self.id,
            "name": self.name,
            "total_jobs": self.total_jobs,
            "pending_jobs": self.pending_jobs,
            "processed_jobs": self.processed_jobs,
            "progress": self.progress,
            "failed_jobs": self.failed_jobs,
            "options": dict(self.options),
            **{name: None if moment is None else moment.isoformat() for name, moment in moments.items()},
        }

    # For `dict(batch)`, and libraries that use it: FastAPI's jsonable_encoder, Django REST framework.

    def keys(self) -> Iterable[str]:
        """The keys of `to_dict()`."""
        return self.to_dict().keys()

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Let an endpoint return a batch; pydantic is imported only when it calls this."""
        from pydantic_core import core_schema

        shape = core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
        write = core_schema.plain_serializer_function_ser_schema(cls.to_dict, return_schema=shape)
        return core_schema.is_instance_schema(cls, serialization=write)

    def __repr__(self) -> str:
        return f"<Batch {self.name or self.id}: {self.processed_jobs} of {self.total_jobs}, {self.failed_jobs} failed>"

    def _look(self) -> None:
        self._record = self.fresh()._record
