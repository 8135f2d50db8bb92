"""Events: one frozen dataclass each, and the one place that hands them to listeners.

Listeners are process-wide, like Celery's signals; in prefork they run in the pool child that ran the job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from laraq.messages.delivery import Delivery, Verdict
from laraq.messages.payload import Payload
from laraq.process.hooks import reported

logger = logging.getLogger("laraq.events")
E = TypeVar("E", bound="Event")


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events; listening to it hears everything."""


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
    """A unique job was not sent because the same one is queued or running."""

    #: The uuid of the job that holds the lock.
    existing_id: str = ""


@dataclass(frozen=True, slots=True)
class JobRetryRequested(SendEvent):
    """`laraq retry` sends a failed job again."""


@dataclass(frozen=True, slots=True)
class QueueFailedOver(SendEvent):
    """A failover connection could not use one of its connections and took the next."""

    connection: str = ""
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class RunEvent(Event):
    """Something happened to a delivered job."""

    delivery: Delivery
    #: The Job instance, None when the message could not become one.
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
        """Which start this is."""
        return self.delivery.attempt


@dataclass(frozen=True, slots=True)
class JobPopping(Event):
    """A process of a worker is about to take up a message; what is in it is not read yet."""

    #: The connection and queue it came from.
    connection: str
    queue: str


@dataclass(frozen=True, slots=True)
class JobPopped(RunEvent):
    """A process of a worker has taken up a message; its payload is read, the job is not made yet."""


@dataclass(frozen=True, slots=True)
class JobProcessing(RunEvent):
    """A delivered job is looked at; fires also when it turns out to be exhausted.

    A listener may end it before its handler runs: `event.job.delete()`, `.release()`, `.fail()`.
    """


@dataclass(frozen=True, slots=True)
class JobDebounced(RunEvent):
    """The job ended without running: a later dispatch has taken its place."""


@dataclass(frozen=True, slots=True)
class JobProcessed(RunEvent):
    """The job succeeded."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class JobAttempted(RunEvent):
    """A run ended, however it did."""

    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class JobExceptionOccurred(RunEvent):
    """The job raised, timed out, died, or was started once too often.

    Whether it is released or failed is a later event.
    """

    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class JobReleased(RunEvent):
    """The job went back to its queue because it or a middleware asked for it."""

    #: Seconds.
    delay: float = 0


@dataclass(frozen=True, slots=True)
class JobParked(RunEvent):
    """The job waits in the store until it may start: a middleware did not let it in, or `before` is not over."""


@dataclass(frozen=True, slots=True)
class JobReleasedAfterException(RunEvent):
    """The job went back to its queue because it raised, timed out or died."""

    #: Seconds.
    backoff: float = 0
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class JobFailed(RunEvent):
    """The job is over and in the failed store."""

    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class JobTimedOut(RunEvent):
    """The job ran longer than its timeout."""

    #: Seconds, None when the limit is not known.
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class BatchEvent(Event):
    """Something happened to a batch."""

    #: The `laraq.workflow.batch.Batch`, as it was counted right then.
    batch: Any


@dataclass(frozen=True, slots=True)
class BatchDispatched(BatchEvent):
    """Its jobs are sent."""


@dataclass(frozen=True, slots=True)
class BatchStarted(BatchEvent):
    """The first of its jobs is over."""


@dataclass(frozen=True, slots=True)
class BatchCancelled(BatchEvent):
    """Somebody, or its first failure, cancelled it."""

    #: The error of the job whose failure cancelled it; None when somebody called `cancel()`.
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class BatchFinished(BatchEvent):
    """Every job is accounted for; again when a repair or `add` has changed a finished one."""


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
class WorkerStopping(WorkerEvent):
    """The worker stops consuming and ends its running jobs: it was told to, has done its work, or cannot go on."""


class Events:
    """Listeners by event class. A listener that raises is reported and stops nothing."""

    _listeners: dict[type[object], list[Callable[[Any], object]]] = {}

    @classmethod
    def listen(cls, event: type[E], listener: Callable[[E], object]) -> Callable[[], None]:
        """Call `listener` with every event of this class or its subclasses; returns what stops it."""
        cls._listeners.setdefault(event, []).append(listener)
        return lambda: cls.forget(listener)

    @classmethod
    def forget(cls, listener: Callable[[Any], object]) -> None:
        """Stop calling `listener`, whatever it listened to."""
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
        """Whether anybody listens."""
        return any(kind in cls._listeners for kind in event.__mro__)

    @classmethod
    def emit(cls, event: type[Event], *args: Any, **kwargs: Any) -> None:
        """Build the event and hand it out; costs next to nothing when nobody listens."""
        if not cls._listeners:
            return
        listeners = [listener for kind in event.__mro__ for listener in cls._listeners.get(kind, ())]
        if not listeners:
            return
        happened = event(*args, **kwargs)
        for listener in listeners:
            with reported(logger, "A listener of %s raised", event.__name__):
                listener(happened)
