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
from laraq.running.journal import RunJournal
from laraq.running.loading import Loader
from laraq.running.persistence import is_outage, persistently
from laraq.running.run import Run
from laraq.running.settlement import Settlement, settlement
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

    def settle(
        self,
        run: Run,
        *,
        record: bool = True,
        follow: Callable[[Payload], None] | None = None,
        park: Callable[[Run, Obstacle], bool] | None = None,
        journal: RunJournal | None = None,
        can_hand_over: bool = False,
    ) -> Settlement:
        """Keep the books of a run: Done, Release or Fail each in their order, every step repeatable.

        `record=False` leaves the failed store alone, and `follow` takes the next link of a chain instead of its being
        run inside of this call (sync). `park` keeps a job until an obstacle is gone, and says whether it could; without
        it the job goes back to its queue. `journal` is where its start was noted, if it was. With `can_hand_over` the
        host notifies batches of successes itself, where that is all that follows. Raises StoreError or DispatchError
        when the books cannot be kept.
        """
        due = settlement(
            run,
            journalled=journal is not None,
            can_hand_over=can_hand_over,
            can_park=park is not None,
            counts_at_once=run.payload.is_member and self._batches().store.settles_at_once,
        )
        with self._workplace.around(run.payload.context):
            if journal is not None and due.noted:
                journal.finish(run.payload.run_key, run.delivery.start)
            if journal is not None and due.handed_over:
                journal.hand_over(run.payload.run_key, run.delivery.start)
            if run.payload.unique and not isinstance(due.verdict, Release):
                self._unlock(run)
            if isinstance(due.verdict, Done):
                try:
                    self._go_on(due, follow)
                except Exception as refusal:
                    if is_outage(refusal):
                        raise
                    # What follows can never be sent. Then what is behind it must hear that it will not run.
                    logger.exception(
                        "The next job of the chain or batch of %s cannot be sent, so the job fails", run.payload
                    )
                    due = due.failing(refusal)
            if due.parked is not None and park is not None and not park(run, due.parked):
                due = due.released()
            if isinstance(due.verdict, Fail):
                self._break_off(run.payload, due.verdict.error)
                self._call_failed(run, due.verdict.error)
                if record:
                    self._record(run, due.verdict.error)
            _announce(due)
        return due

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

    def _go_on(self, due: Settlement, follow: Callable[[Payload], None] | None) -> None:
        """What comes after a job that is done: the next link, then its batch learns of it."""
        run = due.run
        if isinstance(due.verdict, Superseded):
            # Another one does its work. Nothing follows this one, and its batch must not wait for it.
            if run.payload.is_member:
                persistently(lambda: self._batches().dropped(run.payload), run.payload)
            self._end_callback(run.payload)
            return
        self._proceed(run.payload, follow)
        if not due.handed_over:
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


def _announce(due: Settlement) -> None:
    delivery, job = due.run.delivery, due.run.job
    match due.verdict:
        case Superseded():
            pass
        case Done(result):
            Events.emit(events.JobProcessed, delivery, job, result)
        case Release() if due.parked is not None:
            Events.emit(events.JobParked, delivery, job)
        case Release(delay, error) if error is not None and due.verdict.obstacle is None:
            Events.emit(events.JobReleasedAfterException, delivery, job, delay, error)
        case Release(delay):
            Events.emit(events.JobReleased, delivery, job, delay)
        case Fail(error):
            Events.emit(events.JobFailed, delivery, job, error)
    Events.emit(events.JobAttempted, delivery, job, due.verdict)


@contextmanager
def _unless_outage(what: str, payload: Payload) -> Iterator[None]:
    """One step of the books. An outage stops all of them, to be kept later; anything else stops no other step."""
    try:
        yield
    except Exception as error:
        if is_outage(error):
            raise
        logger.exception(what, payload)
