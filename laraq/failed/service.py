"""Failed: the service around the failed store: retry, forget, flush, prune."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from laraq import events
from laraq.errors import BatchNotFoundError, PayloadError, StoreRefusedError
from laraq.events import Events
from laraq.jobs import registry
from laraq.messages.failure import SHORTENED, FailedJob, FailedJobQuery
from laraq.messages.options import epoch, read
from laraq.messages.payload import Payload
from laraq.messages.tally import MemberState
from laraq.ports import FailedJobs
from laraq.process import clock
from laraq.sending.dispatcher import Dispatcher
from laraq.sending.unique import UniqueLocks
from laraq.workflow.batch_service import BatchService

if TYPE_CHECKING:  # importing it would import pydantic
    from laraq.jobs.fields.codec import Codec

logger = logging.getLogger("laraq.failed")


class FailedService:
    """The methods behind `laraq failed|retry|forget|flush|prune-failed`."""

    def __init__(
        self,
        jobs: FailedJobs,
        dispatcher: Dispatcher,
        codec: Codec,
        unique: UniqueLocks,
        batches: Callable[[], BatchService],
        default: str,
    ) -> None:
        """`default` is the name of the default connection."""
        self.jobs = jobs
        self._dispatcher = dispatcher
        self._codec = codec
        self._unique = unique
        self._batches = batches
        self._default = default

    def record(self, failed: FailedJob) -> None:
        """Record a failure: long texts are shortened, and the message is left out if the store refuses it.

        Raises StoreError while the store is down.
        """
        try:
            self.jobs.record(failed.shortened())
        except (StoreRefusedError, ValueError, TypeError, OverflowError, RecursionError) as error:
            logger.error("The record of job %s is kept without its message: %s", failed.id, error)
            self.jobs.record(failed.without_message(error))

    def all(self, queue: str | None = None, **which: Any) -> Sequence[FailedJob]:
        """The failed jobs, newest first; keywords as in FailedJobQuery."""
        return self.jobs.all(FailedJobQuery(queue=queue, **which))

    def find(self, id: str) -> FailedJob | None:
        """One failed job, or None."""
        return self.jobs.find(id)

    def retry(self, ids: str | Iterable[str], queue: str | None = None, **which: Any) -> list[str]:
        """Send failed jobs again under their old uuid with attempts 0 and a new `retry_until`; return the ids sent.

        `ids` is one id, several, or "all". A record is removed only after the broker has the job, and only if the job
        did not fail again meanwhile: a crash in between leaves both, never neither.
        """
        if ids == "all":
            chosen: Iterable[FailedJob | None] = self.all(queue, **which)
        else:
            chosen = (self.jobs.find(id) for id in ([ids] if isinstance(ids, str) else ids))
        sent = []
        for failed in chosen:
            if failed is None or (queue is not None and failed.queue != queue):
                continue
            if ids == "all" and (lacking := _lacking(failed)):
                logger.warning("%s", lacking)
                continue
            self._retry(failed)
            sent.append(failed.id)
        return sent

    def retry_batch(self, id: str) -> tuple[list[str], list[str]]:
        """Send the failed jobs of a batch again; return the ids sent, and the ids without a failed record.

        Raises BatchNotFoundError, DispatchError.
        """
        store = self._batches().store
        if store.find(id) is None:
            raise BatchNotFoundError(id)
        failed = store.jobs(id, MemberState.FAILED)
        recorded = [job.id for job in self.all(batch_id=id) if "event" not in job.payload.get("laraq", {})]
        return self.retry(recorded), sorted(set(failed) - set(recorded))

    def forget(self, id: str) -> bool:
        """Drop one record; return whether it existed."""
        return self.jobs.forget(id)

    def flush(self, hours: float | None = None, queue: str | None = None) -> int:
        """Drop all records, or those older than `hours`; return how many."""
        return self.jobs.flush(FailedJobQuery(queue=queue, before=_ago(hours)))

    def prune(self, hours: float = 24) -> int:
        """Drop records older than `hours`; return how many."""
        return self.jobs.flush(FailedJobQuery(before=_ago(hours)))

    def _retry(self, failed: FailedJob) -> None:
        if lacking := _lacking(failed):
            raise PayloadError(lacking)
        payload = Payload.from_dict(failed.payload)
        payload = payload.with_(
            unique=self._claim_again(payload),
            returns=0,
            attempts=0,
            uncounted=0,
            exceptions=0,
            last_error=None,
            retried=payload.retried + 1,
            retry_until=self._retry_until(payload),
            queue=failed.queue,
            connection=None if failed.connection == self._default else failed.connection,
        )
        Events.emit(events.JobRetryRequested, payload)
        self._batches().reopen(payload)
        self._dispatcher.resend(payload)
        self.jobs.forget(failed.id, failed.failed_at)

    def _claim_again(self, payload: Payload) -> Mapping[str, Any]:
        """Claim the job's unique lock again unless another job holds it; the explicit retry is sent in either case."""
        return self._unique.claim_again(payload.unique, registry.get(payload.job))

    def _retry_until(self, payload: Payload) -> float | None:
        """The new `retry_until`: computed by the job's own rule, else the same length of time from now."""
        if payload.retry_until is None:
            return None
        now = clock.now()
        try:
            until = read(self._codec.load(registry.find(payload.job), payload), "retry_until")
        except Exception:  # a class or row that is gone must not stop the retry: the worker will report it
            until = None
        if until is not None:
            return epoch(until, now)
        return now + (payload.retry_until - (payload.created_at or payload.retry_until))


def _lacking(failed: FailedJob) -> str:
    """The reason why a job cannot be retried; empty when it can."""
    if "raw" in failed.payload:
        return f"Job {failed.id} cannot be retried: its message is unreadable."
    if SHORTENED in failed.payload:
        return f"Job {failed.id} cannot be retried: the store refused its message ({failed.payload[SHORTENED]})."
    return ""


def _ago(hours: float | None) -> datetime | None:
    return None if hours is None else datetime.now(UTC) - timedelta(hours=hours)
