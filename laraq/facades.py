"""Facades: Laravel's names for what the current Laraq does: `Queue.before(f)`, `Bus.bulk([...])`, `Failed.all()`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from laraq import events
from laraq.current import current
from laraq.errors import ConfigurationError, ConnectionNotFoundError, NotInspectableError
from laraq.events import Events
from laraq.failed.service import FailedService
from laraq.jobs.closures import as_job
from laraq.jobs.dispatched import Dispatched
from laraq.jobs.job import Job
from laraq.messages import options
from laraq.messages.failure import FailedJob
from laraq.messages.inspection import InspectedJob, QueueState
from laraq.messages.options import Seconds, Text
from laraq.ports import Inspection, QueueConnection
from laraq.workflow.batch import Batch, PendingBatch
from laraq.workflow.chains import PendingChain

if TYPE_CHECKING:
    from laraq.testing import BusFake, ChainedBatchMatcher, QueueFake, TestingQueue


def dispatch(job: Any, *, session: Any = None) -> Dispatched:
    """Send a job: an instance, a `@job` function or Job class without fields, or a function or lambda (a closure).

    With `session` the job is part of the session's transaction if the broker lives in the same database, else it waits
    for the commit; laraq need not know the session. If the session has no open transaction, the job is sent at once.
    """
    return current().dispatcher.dispatch(as_job(job), session=session)


class _Facade(type):
    """`Queue.assert_pushed(...)` asks the fake in use."""

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> Any:
            if not name.startswith("assert_"):
                raise AttributeError(f"{cls.__name__} has no attribute {name!r}")
            return getattr(_testing("faking").fake_in_use(cls.__name__, name), name)


def _testing(module: str) -> Any:
    # Fakes stand above everything they fake.
    return importlib.import_module(f"laraq.testing.{module}")


class Queue(metaclass=_Facade):
    """Hooks and routes (Illuminate/Support/Facades/Queue.php). Every hook method returns a function that removes it."""

    @staticmethod
    def fake(only: Any = None) -> QueueFake:
        """`with Queue.fake() as fake:` records jobs instead of sending them; with `only`, just those.

        Celery tasks are seen as well. No broker is needed.
        """
        return _testing("queue_fake").QueueFake(only)  # type: ignore[no-any-return]

    @staticmethod
    def testing() -> TestingQueue:
        """`with Queue.testing() as queue: ...; queue.drain()` runs jobs in this process, as a worker would."""
        return _testing("testing_queue").TestingQueue()  # type: ignore[no-any-return]

    @staticmethod
    def before(hook: Callable[[events.JobProcessing], object]) -> Callable[[], None]:
        """Call the hook before each delivered job."""
        return Events.listen(events.JobProcessing, hook)

    @staticmethod
    def after(hook: Callable[[events.JobProcessed], object]) -> Callable[[], None]:
        """Call the hook after each job that succeeded."""
        return Events.listen(events.JobProcessed, hook)

    @staticmethod
    def failing(hook: Callable[[events.JobFailed], object]) -> Callable[[], None]:
        """Call the hook after each job that failed for good."""
        return Events.listen(events.JobFailed, hook)

    @staticmethod
    def exception_occurred(hook: Callable[[events.JobExceptionOccurred], object]) -> Callable[[], None]:
        """Call the hook after each run that raised, timed out or died."""
        return Events.listen(events.JobExceptionOccurred, hook)

    @staticmethod
    def looping(hook: Callable[[events.Looping], object]) -> Callable[[], None]:
        """Call the hook about once a second in the worker's main process."""
        return Events.listen(events.Looping, hook)

    @staticmethod
    def starting(hook: Callable[[events.WorkerStarting], object]) -> Callable[[], None]:
        """Call the hook when a worker begins to consume."""
        return Events.listen(events.WorkerStarting, hook)

    @staticmethod
    def stopping(hook: Callable[[events.WorkerStopping], object]) -> Callable[[], None]:
        """Call the hook when a worker begins to stop."""
        return Events.listen(events.WorkerStopping, hook)

    @staticmethod
    def route(cls: type[Any], *, queue: Text | None = None, connection: Text | None = None) -> None:
        """Set where jobs of a class, its subclasses or users of a mixin go unless they name a place themselves."""
        route = {"queue": options.checked("queue", queue), "connection": options.checked("connection", connection)}
        current().routes.add(cls, **route)

    @staticmethod
    def forward(old: Text, new: Text) -> None:
        """Send jobs for the queue `old` to the queue `new`."""
        current().routes.forward(options.checked("queue", old), options.checked("queue", new))

    @staticmethod
    def size(queue: Text | None = None) -> int:
        """The number of jobs in any state. `queue` is a name, or "connection:name" (required if the name has a colon);
        None is the default queue.

        This method and the following ones raise NotInspectableError when the broker cannot tell.
        """
        inspection, name = _inspection(queue)
        return inspection.size(name)

    @staticmethod
    def pending_size(queue: Text | None = None) -> int:
        """The number of jobs that are due and not reserved by a worker."""
        return _count(queue, QueueState.PENDING)

    @staticmethod
    def delayed_size(queue: Text | None = None) -> int:
        """The number of jobs that are not due yet."""
        return _count(queue, QueueState.DELAYED)

    @staticmethod
    def reserved_size(queue: Text | None = None) -> int:
        """The number of jobs that workers have reserved."""
        return _count(queue, QueueState.RESERVED)

    @staticmethod
    def pending_jobs(queue: Text | None = None, limit: int | None = None) -> Sequence[InspectedJob]:
        """The jobs that are due, next first."""
        return _jobs(queue, QueueState.PENDING, limit)

    @staticmethod
    def delayed_jobs(queue: Text | None = None, limit: int | None = None) -> Sequence[InspectedJob]:
        """The jobs that are not due yet."""
        return _jobs(queue, QueueState.DELAYED, limit)

    @staticmethod
    def reserved_jobs(queue: Text | None = None, limit: int | None = None) -> Sequence[InspectedJob]:
        """The jobs that workers have reserved."""
        return _jobs(queue, QueueState.RESERVED, limit)

    @staticmethod
    def oldest_pending(queue: Text | None = None) -> datetime | None:
        """When the next job was dispatched; None if no job is due, or its message does not say."""
        return next((job.created_at for job in _jobs(queue, QueueState.PENDING, 1)), None)

    @staticmethod
    def clear(queue: Text | None = None) -> int:
        """Drop the jobs of a queue; return how many. Jobs that are running continue."""
        inspection, name = _inspection(queue)
        return inspection.clear(name)

    @staticmethod
    def pause(queue: Text | None = None, seconds: Seconds | None = None) -> None:
        """Let the jobs of a queue wait, for some seconds or until it is resumed; those that run go on.

        Workers obey within about a second, also those that start later. `queue` as for `size`.
        """
        current().pauses.pause(*place_of(queue), _duration(seconds))

    @staticmethod
    def resume(queue: Text | None = None) -> bool:
        """Let workers take the jobs of a paused queue again; return whether it was paused."""
        return current().pauses.resume(*place_of(queue))

    @staticmethod
    def pause_all(seconds: Seconds | None = None) -> None:
        """Let the jobs of all queues of all connections wait."""
        current().pauses.pause_all(_duration(seconds))

    @staticmethod
    def resume_all() -> bool:
        """Undo `pause_all`; return whether there was something to undo. Queues paused one by one stay paused."""
        return current().pauses.resume_all()

    @staticmethod
    def paused(queue: Text | None = None) -> bool:
        """Whether the queue, or every queue, is paused."""
        return current().pauses.paused(*place_of(queue))


def place_of(queue: Text | None) -> tuple[str, str]:
    """The names of connection and queue that a name such as "redis:emails" means."""
    place, name = _place(queue)
    if getattr(place, "inspection", None) is None:
        raise ConfigurationError(f"Connection {place.name!r} keeps no jobs: it has no queue to pause.")
    return str(place.name), name or place.default_queue()


def _duration(seconds: Seconds | None) -> float | None:
    duration = None if seconds is None else options.seconds(seconds)
    if duration is not None and not options.is_lease(duration):
        raise ValueError(f"A pause of {seconds!r} seconds: expected a positive duration, or None.")
    return duration


def _inspection(queue: Text | None) -> tuple[Inspection, str]:
    place, name = _place(queue)
    inspection = getattr(place, "inspection", None)
    if inspection is None:
        raise NotInspectableError("its jobs", f"Connection {place.name!r}", "it keeps none")
    return inspection, name or place.default_queue()


def _place(queue: Text | None) -> tuple[QueueConnection, str]:
    laraq = current()
    name = options.checked("queue", queue) or ""
    connection, colon, _ = name.partition(":")
    if colon:  # a queue with a colon in its name is given with its connection
        known = [one for one in laraq.connection_names() if name.startswith(f"{one}:")]
        connection = max(known, key=len, default=connection)
        name = name.removeprefix(f"{connection}:") if known else name
    else:
        connection = ""
    try:
        place = laraq.connection(connection or None)
    except ConnectionNotFoundError as error:
        error.add_note(
            f"A queue with a colon in its name must be given with its connection: '{laraq.settings.default}:{name}'"
        )
        raise
    return place, name


def _count(queue: Text | None, state: QueueState) -> int:
    inspection, name = _inspection(queue)
    return inspection.count(name, state)


def _jobs(queue: Text | None, state: QueueState, limit: int | None) -> Sequence[InspectedJob]:
    inspection, name = _inspection(queue)
    return inspection.jobs(name, state, limit)


class Bus(metaclass=_Facade):
    """Several jobs at once (Illuminate/Support/Facades/Bus.php)."""

    @staticmethod
    def fake(only: Any = None) -> BusFake:
        """`with Bus.fake() as fake:` records what is dispatched, chained and batched; with `only`, just those jobs."""
        return _testing("bus_fake").BusFake(only)  # type: ignore[no-any-return]

    @staticmethod
    def chained_batch(where: Callable[[Any], object] | None = None) -> ChainedBatchMatcher:
        """A batch in an expected chain: `fake.assert_chained([Prepare, Bus.chained_batch(lambda batch: ...)])`."""
        return _testing("matching").ChainedBatchMatcher(where)  # type: ignore[no-any-return]

    @staticmethod
    def dispatch(job: Any) -> Dispatched:
        """Send a job; the same as `dispatch()`."""
        return dispatch(job)

    @staticmethod
    def dispatch_sync(job: Any) -> Any:
        """Run a job now, in this process."""
        return current().dispatcher.dispatch_sync(as_job(job))

    @staticmethod
    def bulk(jobs: Iterable[Any]) -> Sequence[Dispatched]:
        """Send many jobs, pipelined where the broker can."""
        return current().dispatcher.bulk(as_job(job) for job in jobs)

    @staticmethod
    def chain(jobs: Iterable[Any]) -> PendingChain:
        """A chain: each job starts when the previous one has succeeded. Batches and Celery signatures may be links."""
        return PendingChain(jobs)

    @staticmethod
    def batch(jobs: Iterable[Any] | Job = ()) -> PendingBatch:
        """A batch: jobs that are counted together. A list among them is a chain, a Celery signature is a job."""
        return PendingBatch(jobs)

    @staticmethod
    def find_batch(id: str) -> Batch | None:
        """The batch as it is now, or None."""
        return current().batches.find(id)


class Failed:
    """The failed jobs (Illuminate/Queue/Console: retry, forget, flush, prune-failed)."""

    @staticmethod
    def all(queue: str | None = None, **which: Any) -> Sequence[FailedJob]:
        """The failed jobs, newest first; keywords as in FailedJobQuery."""
        return _failed().all(queue, **which)

    @staticmethod
    def find(id: str) -> FailedJob | None:
        """One failed job, or None."""
        return _failed().find(id)

    @staticmethod
    def retry(ids: str | Iterable[str], queue: str | None = None) -> list[str]:
        """Send failed jobs again, "all" for all; return the ids sent."""
        return _failed().retry(ids, queue)

    @staticmethod
    def forget(id: str) -> bool:
        """Forget one failed job; return whether it existed."""
        return _failed().forget(id)

    @staticmethod
    def flush(hours: float | None = None) -> int:
        """Forget all failed jobs, or those older than `hours`; return how many."""
        return _failed().flush(hours)

    @staticmethod
    def prune(hours: float = 24) -> int:
        """Forget failed jobs older than `hours`; return how many."""
        return _failed().prune(hours)


def _failed() -> FailedService:
    return current().failed
