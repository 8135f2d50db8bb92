"""Books: what is told and stored of a verdict, before the host acknowledges.

Every step may happen twice: the host repeats it when the process died in between.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from laraq import events
from laraq.events import Events
from laraq.failed.service import FailedService
from laraq.jobs import registry
from laraq.jobs.job import enter, leave, running
from laraq.messages.delivery import Done, Fail, Obstacle, Release, Superseded
from laraq.messages.failure import FailedJob, json_ready, traceback_of
from laraq.messages.payload import CIPHER, Payload
from laraq.process import aio
from laraq.process.hooks import reported
from laraq.running.loading import Loader
from laraq.running.persistence import is_outage, persistently
from laraq.running.run import Run
from laraq.running.workplace import Workplace
from laraq.sending.unique import UniqueLocks
from laraq.workflow.batch_service import BatchService
from laraq.workflow.chains import Chains

logger = logging.getLogger("laraq.runner")


class Books:
    """Keeps the books of runs for one Laraq."""

    def __init__(
        self,
        workplace: Workplace,
        loader: Loader,
        unique: UniqueLocks,
        chains: Chains,
        batches: Callable[[], BatchService],
        failed: Callable[[], FailedService],
    ) -> None:
        self._workplace = workplace
        self._loader = loader
        self._unique = unique
        self._chains = chains
        self._batches = batches
        self._failed = failed

    def must_note_success(self, run: Run) -> bool:
        """Whether the journal has to know that the job succeeded before what follows is told.

        Not where its batch is what follows, and takes it in at once: that is as good a note.
        """
        if not run.is_followed:
            return False
        return not run.is_counted or bool(run.payload.chain) or not self._batches().store.settles_at_once

    def settle(
        self,
        run: Run,
        *,
        record: bool = True,
        follow: Callable[[Payload], None] | None = None,
        park: Callable[[Run, Obstacle], bool] | None = None,
    ) -> None:
        """Keep the books of a run: Done, Release or Fail each in their order, every step repeatable.

        `record=False` leaves the failed store alone, and `follow` takes the next link of a chain instead of its being
        run inside of this call (sync). `park` keeps a job until an obstacle is gone, and says whether it could; without
        it the job goes back to its queue. Raises StoreError or DispatchError when the books cannot be kept.
        """
        with self._workplace.around(run.payload.context):
            if run.payload.unique and not isinstance(run.verdict, Release):
                self._unlock(run)
            if isinstance(run.verdict, Done):
                try:
                    self._go_on(run, follow)
                except Exception as refusal:
                    if is_outage(refusal):
                        raise
                    # What follows can never be sent. Then what is behind it must hear that it will not run.
                    logger.exception(
                        "The next job of the chain or batch of %s cannot be sent, so the job fails", run.payload
                    )
                    run.verdict = Fail(refusal)
            match run.verdict:
                case Superseded():
                    pass
                case Done(result):
                    Events.emit(events.JobProcessed, run.delivery, run.job, result)
                case Release(delay, obstacle=Obstacle() as obstacle):
                    run.parked = park is not None and park(run, obstacle)
                    if run.parked:
                        Events.emit(events.JobParked, run.delivery, run.job)
                    else:
                        Events.emit(events.JobReleased, run.delivery, run.job, delay)
                case Release(delay, None):
                    Events.emit(events.JobReleased, run.delivery, run.job, delay)
                case Release(delay, error):
                    Events.emit(events.JobReleasedAfterException, run.delivery, run.job, delay, error)
                case Fail(error):
                    self._break_off(run.payload, error)
                    self._call_failed(run, error)
                    if record:
                        self._record(run, error)
                    Events.emit(events.JobFailed, run.delivery, run.job, error)
            Events.emit(events.JobAttempted, run.delivery, run.job, run.verdict)

    def succeeded(self, payload: Payload) -> None:
        """A task of the host that is a link of a chain or a job of a batch has succeeded.

        Raises StoreError, DispatchError; may be repeated.
        """
        with self._workplace.around(payload.context):
            self._proceed(payload)
            self._count(payload)

    def failed(self, payload: Payload, error: BaseException) -> None:
        """The same, it has failed; or a message of a job was dropped without a run, by its expiry or by hand."""
        with self._workplace.around(payload.context):
            if payload.unique:
                self._unique.give_up(payload.unique, registry.get(payload.job))
            self._break_off(payload, error)

    def _unlock(self, run: Run) -> None:
        # The outcome stands, and the lock ends by itself.
        with reported(logger, "The unique lock of job %s could not be released", run.payload):
            self._unique.release(run.payload.unique, run.job or registry.get(run.payload.job))

    def _go_on(self, run: Run, follow: Callable[[Payload], None] | None = None) -> None:
        """What comes after a job that is done: the next link, then its batch learns of it."""
        if isinstance(run.verdict, Superseded):
            # Another one does its work. Nothing follows this one, and its batch must not wait for it.
            if run.payload.is_member:
                persistently(lambda: self._batches().dropped(run.payload), run.payload)
            self._end_callback(run.payload)
            return
        self._proceed(run.payload, follow)
        if not run.handed_over:
            self._count(run.payload)

    def _proceed(self, payload: Payload, follow: Callable[[Payload], None] | None = None) -> None:
        if payload.chain:
            persistently(lambda: self._chains.proceed(payload, follow), payload)

    def _count(self, payload: Payload) -> None:
        if payload.is_member:
            persistently(lambda: self._batches().succeeded(payload), payload)
        self._end_callback(payload)

    def _end_callback(self, payload: Payload) -> None:
        if payload.is_awaited:
            persistently(lambda: self._batches().called(payload), payload)

    def _break_off(self, payload: Payload, error: BaseException) -> None:
        """What comes after a job that failed: its batch learns of it, then the `catch` of its chain."""
        discreet = CIPHER in payload.fields
        if payload.is_member:
            with _unless_outage("The batch of job %s could not be notified of its failure", payload):
                persistently(lambda: self._batches().failed(payload, error, discreet=discreet), payload)
        with _unless_outage("The batch of callback %s could not be notified of its end", payload):
            self._end_callback(payload)
        if payload.chain:
            with _unless_outage("The chain of job %s could not be notified of its failure", payload):
                persistently(lambda: self._chains.stop(payload, error, discreet=discreet), payload)

    def _call_failed(self, run: Run, error: BaseException) -> None:
        """`failed(error)` on a fresh instance: what the run changed on its own does not count."""
        crash = run.delivery.crash
        if run.job is None or (crash is not None and (run.delivery.dropped or not crash.hooks)):
            return
        outer = running()
        with reported(logger, "failed() of job %s raised", run.payload):
            try:
                self._workplace.open()
                job = self._loader.instance(type(run.job), run.payload)
                enter(job, run.delivery)
                hook = job.failed(error)
                if inspect.iscoroutine(hook):
                    aio.run(hook)
            finally:
                leave(outer)
                self._workplace.close()

    def _record(self, run: Run, error: BaseException) -> None:
        delivery, payload = run.delivery, run.payload
        crash = delivery.crash
        message = self._loader.recorded(payload).to_dict()
        if crash is not None and crash.raw is not None:
            message["raw"] = crash.raw
        self._failed().record(
            FailedJob(
                id=payload.id,
                connection=delivery.connection,
                queue=delivery.queue,
                job=payload.job,
                payload=json_ready(message),
                exception=traceback_of(error),
                failed_at=datetime.now(UTC),
                attempts=delivery.attempt,
                tags=payload.tags,
                batch_id=payload.batch_id,
            )
        )


@contextmanager
def _unless_outage(what: str, payload: Payload) -> Iterator[None]:
    """One step of the books. An outage stops all of them, to be kept later; anything else stops no other step."""
    try:
        yield
    except Exception as error:
        if is_outage(error):
            raise
        logger.exception(what, payload)
