"""The one door out: dispatch, sync, after_response, bulk, and Celery's own verbs pass here."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from laraq import events, registry
from laraq.context import Context
from laraq.current import current
from laraq.errors import DispatchError, InvalidJobError
from laraq.events import Events
from laraq.options import delay_seconds, epoch, read, travelling
from laraq.payload import Payload

if TYPE_CHECKING:
    from laraq.app import Laraq


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What a dispatch did."""

    #: The job's uuid; for a skipped unique job that of the one already queued.
    id: str
    #: Nothing was sent: the same unique job is there already, or the job cancelled itself.
    skipped: bool = False
    #: What the carrier answered to the push.
    sent: Any = field(default=None, repr=False, compare=False)

    @property
    def result(self) -> Any:
        """Celery's AsyncResult."""
        return self.sent if self.sent is not None else current().host.result(self.id)


class Dispatcher:
    """Sends jobs for one Laraq."""

    def __init__(self, laraq: Laraq) -> None:
        self._laraq = laraq

    def dispatch(
        self,
        job: Any,
        *,
        id: str | None = None,
        connection: str | None = None,
        carrier: Mapping[str, Any] | None = None,
        session: Any = None,
    ) -> Dispatched:
        """Send the job; when this returns, the broker has it, or the open transaction it waits for does.

        `session` names the transaction; else it is the one open in this thread or asyncio task.

        Raises InvalidJobError for fields of the wrong type and DispatchError when the broker cannot take it;
        nothing is in any queue then.
        """
        if job.prepare_for_dispatch() is False:
            return Dispatched("", skipped=True)
        payload = self.payload(job, id or str(uuid.uuid4()), connection)
        if carrier:
            payload = payload.with_(carrier={**payload.carrier, **carrier})
        claimed, holder = self._claim(payload, job)
        if holder is not None:
            return Dispatched(holder, skipped=True)
        delay = _delay(job)
        if (session is not None or self._waits(job, payload)) and self._defer(claimed, job, delay, session):
            return Dispatched(claimed.id)
        return Dispatched(claimed.id, sent=self._send(claimed, job, delay))

    async def adispatch(self, job: Any) -> Dispatched:
        """`dispatch` in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.dispatch, job)

    def dispatch_sync(self, job: Any) -> Any:
        """Run the job in this process, middleware, events and `failed()` included; its exceptions reach the caller.

        Raises ReleasedInSyncError when the job releases itself, for nothing would start it again.
        """
        if job.prepare_for_dispatch() is False:
            return None
        payload = self.payload(job, str(uuid.uuid4()), "sync")
        return self._laraq.connection("sync").push(payload)

    def dispatch_after_response(self, job: Any) -> Dispatched:
        """Hand the job to the `deferred` connection."""
        return self.dispatch(job, connection="deferred")

    def bulk(self, jobs: Iterable[Any]) -> Sequence[Dispatched]:
        """Send many jobs in as few round trips as their brokers allow, grouped by connection."""
        groups: dict[str, list[tuple[Payload, float, Any]]] = {}
        sent = []
        for job in jobs:
            if job.prepare_for_dispatch() is False:
                sent.append(Dispatched("", skipped=True))
                continue
            payload, holder = self._claim(self.payload(job, str(uuid.uuid4())), job)
            if holder is not None:
                sent.append(Dispatched(holder, skipped=True))
                continue
            delay = _delay(job)
            sent.append(Dispatched(payload.id))
            if self._waits(job, payload) and self._defer(payload, job, delay):
                continue
            Events.emit(events.JobQueueing, payload, job, delay)
            groups.setdefault(payload.connection or "", []).append((payload, delay, job))
        for name, group in groups.items():
            try:
                self._laraq.connection(name or None).bulk([(payload, delay) for payload, delay, _ in group])
            except Exception:
                for payload, _, job in group:
                    self._take_back(payload, job)
                raise
            for payload, delay, job in group:
                Events.emit(events.JobQueued, payload, job, delay)
        return sent

    def resend(self, payload: Payload, delay: float = 0) -> None:
        """Send a payload that exists already: a retry of a failed job."""
        self._laraq.connection(payload.connection).push(payload, delay)

    def payload(self, job: Any, id: str, connection: str | None = None) -> Payload:
        """What of the job travels.

        Raises InvalidJobError.
        """
        now = time.time()
        cls = type(job)
        if not registry.knows(cls.job_name()):
            raise InvalidJobError(cls.job_name(), f"{cls.job_name()} has no handle(): there is nothing to run.")
        route_queue, route_connection = self._laraq.routes.find(cls)
        _check_middleware(job)
        until = read(job, "retry_until")
        queue = self._laraq.routes.forwarded(read(job, "queue") or route_queue)
        return Payload(
            id=id,
            job=cls.job_name(),
            fields=self._laraq.codec.dump(job),
            args=job.positional(),
            queue=queue,
            connection=connection or read(job, "connection") or route_connection,
            options=travelling(job),
            retry_until=None if until is None else epoch(until, now),
            created_at=now,
            context=Context.all(),
            tags=tuple(read(job, "tags") or ()),
            carrier=_carrier(job),
        )

    def _defer(self, payload: Payload, job: Any, delay: float, session: Any = None) -> bool:
        """Hold the job until the open transaction commits; False when none is open."""

        def send() -> None:
            try:
                self._send(payload, job, delay)
            except DispatchError as error:
                message = f"{error} The transaction it waited for is committed; the job's id is {payload.id}."
                raise DispatchError(message) from error

        return self._laraq.after_commit.defer(send, partial(self._take_back, payload, job), session)

    def _waits(self, job: Any, payload: Payload) -> bool:
        """Whether the job is for after the commit: the job says, else its connection, else the setting.

        (Illuminate/Queue/Queue.php: shouldDispatchAfterCommit())
        """
        if job._after_commit is not None:
            return bool(job._after_commit)
        settings = self._laraq.settings
        config = settings.connections.get(payload.connection or settings.default)
        said = config.get("after_commit") if isinstance(config, Mapping) else None
        return settings.after_commit if said is None else bool(said)

    def _claim(self, payload: Payload, job: Any) -> tuple[Payload, str | None]:
        """The payload with its unique lock or debounce token; or the id of the job that is in its place."""
        if not job.unique and not job.unique_until_processing and job.debounce_for is None:
            return payload, None
        claim, holder = self._laraq.unique.claim(job, payload.id)
        if holder is not None:
            Events.emit(events.UniqueJobSkipped, payload, job, holder)
        return payload.with_(unique=claim), holder

    def _take_back(self, payload: Payload, job: Any) -> None:
        """Free what was claimed for a job that was never sent."""
        if payload.unique:
            self._laraq.unique.release(payload.unique, job)
            self._laraq.unique.forget_token(payload.unique)

    def _send(self, payload: Payload, job: Any, delay: float) -> Any:
        connection = self._laraq.connection(payload.connection)
        if connection.immediate:
            connection.push(payload, delay)  # the run frees what was claimed
            return None
        Events.emit(events.JobQueueing, payload, job, delay)
        try:
            sent = connection.push(payload, delay)
        except Exception:
            self._take_back(payload, job)
            raise
        if payload.unique and getattr(connection, "joins_transactions", False):
            # The message may be part of an open transaction: what was claimed for it goes with a rollback.
            self._laraq.after_commit.defer(_nothing, partial(self._take_back, payload, job))
        Events.emit(events.JobQueued, payload, job, delay)
        return sent


def _nothing() -> None:
    """The message is in the transaction already."""


def _check_middleware(job: Any) -> None:
    """A middleware that names something unknown, such as a rate limiter, is refused before the job is sent."""
    for one in job.middleware():
        if (check := getattr(one, "check", None)) is not None:
            check()


def _delay(job: Any) -> float:
    countdown = read(job, "countdown")
    if not countdown:
        return 0.0
    try:
        return delay_seconds(countdown, datetime.now(UTC))
    except ValueError as error:
        raise InvalidJobError(job.job_name(), f"{job.job_name()}: {error}") from None


def _carrier(job: Any) -> dict[str, Any]:
    """The options that are the carrier's own; `shadow` is the name that Celery's logs, events and tools show."""
    own = {"priority": "priority", "expires": "expires", "ignore_result": "ignore_result", "shadow": "display_name"}
    return {theirs: value for theirs, ours in own.items() if (value := read(job, ours)) is not None}
