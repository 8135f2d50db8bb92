"""Events: one frozen dataclass each, and the one place that passes them to listeners.

Listeners are process-wide, like Celery's signals; in prefork they run in the pool child that ran the job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from laraq.messages.delivery import Delivery, Verdict
from laraq.messages.payload import Payload
from laraq.messages.stop_reason import StopReason
from laraq.process.hooks import reported

logger = logging.getLogger("laraq.events")
E = TypeVar("E", bound="Event")


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events; a listener to it receives every event."""


@dataclass(frozen=True, slots=True)
class SendEvent(Event):
    """Something happened to a job on its way into a queue."""

    payload: Payload
    #: The Job instance, None when only its payload is known (`laraq retry`).
    job: Any = None

    @property
    def id(self) -> str:
        """The job's uuid."""
        return self.payload.id

    @property
    def name(self) -> str:
        """Dotted path of the Job class."""
        return self.payload.job


@dataclass(frozen=True, slots=True)
class JobQueueing(SendEvent):
    """A job is about to be sent."""

    #: Seconds until it may start.
    delay: float = 0


@dataclass(frozen=True, slots=True)
class JobQueued(SendEvent):
    """The broker has the job."""

    #: Seconds until it may start.
    delay: float = 0


@dataclass(frozen=True, slots=True)
class UniqueJobSkipped(SendEvent):
    """A unique job was not sent because the same job is queued or running."""

    #: The uuid of the job that holds the lock.
    existing_id: str = ""


@dataclass(frozen=True, slots=True)
class JobRetryRequested(SendEvent):
    """A failed job is sent again by `laraq retry`."""


@dataclass(frozen=True, slots=True)
class QueueFailedOver(SendEvent):
    """A failover connection could not use one of its connections and used the next."""

    connection: str = ""
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class RunEvent(Event):
    """Something happened to a delivered job."""

    delivery: Delivery
    #: The Job instance, None when it could not be created from the message.
    job: Any = None

    @property
    def id(self) -> str:
        """The job's uuid."""
        return self.delivery.payload.id

    @property
    def name(self) -> str:
        """Dotted path of the Job class."""
        return self.delivery.payload.job

    @property
    def queue(self) -> str:
        """The queue it came from."""
        return self.delivery.queue

    @property
    def connection(self) -> str:
        """The connection it came from."""
        return self.delivery.connection

    @property
    def attempts(self) -> int:
        """The number of this start, from 1."""
        return self.delivery.attempt


@dataclass(frozen=True, slots=True)
class JobPopping(Event):
    """A worker process is about to take up a message; its content is not read yet."""

    #: The connection and queue it came from.
    connection: str
    queue: str


@dataclass(frozen=True, slots=True)
class JobPopped(RunEvent):
    """A worker process has taken up a message; its payload is read, the job is not created yet."""


@dataclass(frozen=True, slots=True)
class JobProcessing(RunEvent):
    """A delivered job is about to be processed; emitted also when it turns out to be exhausted.

    A listener may end it before its handler runs: `event.job.delete()`, `.release()`, `.fail()`.
    """


@dataclass(frozen=True, slots=True)
class JobDebounced(RunEvent):
    """The job ended without running: a later dispatch has replaced it."""


@dataclass(frozen=True, slots=True)
class JobProcessed(RunEvent):
    """The job succeeded."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class JobAttempted(RunEvent):
    """A run ended, with whatever outcome."""

    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class JobExceptionOccurred(RunEvent):
    """The job raised, timed out, died, or had no attempts left.

    A later event says whether it is released or failed.
    """

    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class JobReleased(RunEvent):
    """The job went back to its queue because the job or a middleware released it."""

    #: Seconds.
    delay: float = 0


@dataclass(frozen=True, slots=True)
class JobParked(RunEvent):
    """The job waits in the store until it may start: a middleware refused it, or `before` is not over."""


@dataclass(frozen=True, slots=True)
class JobReleasedAfterException(RunEvent):
    """The job went back to its queue because it raised, timed out or died."""

    #: Seconds.
    backoff: float = 0
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class JobFailed(RunEvent):
    """The job failed for good and is in the failed store."""

    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class JobTimedOut(RunEvent):
    """The job ran longer than its timeout."""

    #: Seconds, None when the limit is not known.
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class BatchEvent(Event):
    """Something happened to a batch."""

    #: The `laraq.workflow.batch.Batch`, with its counts at that moment.
    batch: Any


@dataclass(frozen=True, slots=True)
class BatchDispatched(BatchEvent):
    """The jobs of the batch are sent."""


@dataclass(frozen=True, slots=True)
class BatchStarted(BatchEvent):
    """The first job of the batch has ended."""


@dataclass(frozen=True, slots=True)
class BatchCancelled(BatchEvent):
    """The batch was cancelled, by `cancel()` or by its first failure."""

    #: The error of the job whose failure cancelled the batch; None when `cancel()` was called.
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class BatchFinished(BatchEvent):
    """Every job of the batch is accounted for; emitted again when a repair or `add` has changed a finished batch."""


@dataclass(frozen=True, slots=True)
class QueueBusy(Event):
    """`laraq monitor` found as many jobs in a queue as its limit, or more."""

    connection: str
    queue: str
    size: int


@dataclass(frozen=True, slots=True)
class QueuePaused(Event):
    """A queue was paused; emitted in the process that did it, as the next three events."""

    connection: str
    queue: str
    #: Seconds until it goes on by itself; None: when it is resumed.
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class QueueResumed(Event):
    """A paused queue was resumed; not emitted when its seconds are over."""

    connection: str
    queue: str


@dataclass(frozen=True, slots=True)
class QueuesPaused(Event):
    """All queues were paused."""

    #: Seconds until they go on by themselves; None: when they are resumed.
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class QueuesResumed(Event):
    """The pause of all queues was undone."""


@dataclass(frozen=True, slots=True)
class MaintenanceModeEnabled(Event):
    """`laraq down` was called; emitted in its process, as the next event."""


@dataclass(frozen=True, slots=True)
class MaintenanceModeDisabled(Event):
    """`laraq up` was called."""


@dataclass(frozen=True, slots=True)
class WorkerEvent(Event):
    """Something happened to the worker process."""

    #: Celery's node name.
    worker: str = ""


@dataclass(frozen=True, slots=True)
class WorkerStarting(WorkerEvent):
    """The worker is about to consume."""


@dataclass(frozen=True, slots=True)
class Looping(WorkerEvent):
    """The worker is alive and consuming; about once a second."""


@dataclass(frozen=True, slots=True)
class WorkerIdle(WorkerEvent):
    """The worker consumes and has nothing to run; about once a second."""


@dataclass(frozen=True, slots=True)
class WorkerQueuePaused(WorkerEvent):
    """The worker leaves a queue alone: it is paused, or the application is down."""

    connection: str = ""
    queue: str = ""


@dataclass(frozen=True, slots=True)
class WorkerQueueResumed(WorkerEvent):
    """The worker takes jobs of a queue again."""

    connection: str = ""
    queue: str = ""


@dataclass(frozen=True, slots=True)
class WorkerStopping(WorkerEvent):
    """The worker stops consuming and ends its running jobs: on a signal, after its work, or after a fatal error."""

    #: The exit status, as far as it is known.
    status: int = 0
    reason: StopReason = StopReason.INTERRUPTED
    #: Jobs and tasks that it has run, whatever their outcome, and when the last of them ended, to about a second.
    jobs_processed: int = 0
    last_job_processed_at: datetime | None = None
    #: Bytes of resident memory of its largest process.
    memory_usage: int = 0


class Events:
    """Listeners by event class. The exception of a listener is logged and has no other effect."""

    _listeners: dict[type[object], list[Callable[[Any], object]]] = {}

    @classmethod
    def listen(cls, event: type[E], listener: Callable[[E], object]) -> Callable[[], None]:
        """Call `listener` with every event of this class or its subclasses; returns a function that stops it."""
        cls._listeners.setdefault(event, []).append(listener)
        return lambda: cls.forget(listener)

    @classmethod
    def forget(cls, listener: Callable[[Any], object]) -> None:
        """Stop calling `listener` for all events."""
        for event, listeners in tuple(cls._listeners.items()):
            listeners[:] = [known for known in listeners if known is not listener]
            if not listeners:
                del cls._listeners[event]

    @classmethod
    @contextmanager
    def listening(cls, event: type[E], listener: Callable[[E], object]) -> Iterator[None]:
        """Listen for the length of a block."""
        stop = cls.listen(event, listener)
        try:
            yield
        finally:
            stop()

    @classmethod
    def heard(cls, event: type[Event]) -> bool:
        """Whether the event has listeners."""
        return any(kind in cls._listeners for kind in event.__mro__)

    @classmethod
    def emit(cls, event: type[Event], *args: Any, **kwargs: Any) -> None:
        """Build the event and pass it to its listeners; costs next to nothing when there are none."""
        if not cls._listeners:
            return
        listeners = [listener for kind in event.__mro__ for listener in cls._listeners.get(kind, ())]
        if not listeners:
            return
        happened = event(*args, **kwargs)
        for listener in listeners:
            with reported(logger, "A listener of %s raised", event.__name__):
                listener(happened)
