"""Job: fields, options, methods.

class ProcessPodcast(Job):
    podcast: Podcast
    bitrate: int = 128

    tries = 5

    def handle(self, audio: AudioProcessor) -> None: ...

ProcessPodcast.dispatch(podcast)
ProcessPodcast(podcast, bitrate=64).on_queue("high").with_delay(600).dispatch()
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar, overload

from typing_extensions import dataclass_transform

from laraq.current import current
from laraq.errors import NotInQueueError
from laraq.jobs.definition import define
from laraq.jobs.in_tests import InTests
from laraq.jobs.interactions import Interactions
from laraq.jobs.pipeline import listed
from laraq.jobs.verbs import SETTERS, ConditionalVerb, DelayVerb, HostVerb, Verb, configures
from laraq.messages.delivery import Delivery
from laraq.messages.options import Delay, Text, checked_of

if TYPE_CHECKING:
    from laraq.jobs.dispatched import Dispatched
    from laraq.workflow.batch import Batch
    from laraq.workflow.chains import PendingChain

P = ParamSpec("P")
J = TypeVar("J")

#: mypy assumes that this is true. It reads a class's constructor from a classmethod only, pyright from a descriptor
#: as well, and only a descriptor can distinguish `X.dispatch(fields)` from `X(fields).dispatch()`.
MYPY = False

_running: ContextVar[Any] = ContextVar("laraq_job", default=None)


class ChainVerb:
    """`with_chain`: accepts the jobs that follow; returns the instance or, on the class, a PendingChain."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Callable[[Iterable[Any]], PendingChain]: ...
    @overload
    def __get__(self, instance: J, owner: type[J]) -> Callable[[Iterable[Any]], J]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        chains = current().chains
        return chains.pending(owner) if instance is None else chains.pending_of(instance)


@dataclass_transform()
class Job(InTests):
    """The base of all jobs. Annotated names are fields (dataclass rules), the options below are options.

    Options may be class attributes, `@job(...)` keywords, or set on an instance; those marked () may be methods.
    """

    #: Named connection (`connections={...}`); None: the app's own broker.
    connection: Any = None
    #: Queue name; None: as set by `Queue.route`, the connection, or Celery's routes.
    queue: Any = None
    #: () Most starts; 0 is unlimited. None: the worker's `--tries`, else 1.
    tries: Any = None
    #: Most unhandled exceptions and timeouts over all starts; None: no limit.
    max_exceptions: Any = None
    #: () Seconds to wait after an exception: number, timedelta, list by start, or `Backoff.exponential()`.
    backoff: Any = None
    #: Seconds a run may take; 0: no limit. None: the worker's `--timeout`, else Celery's own limits.
    timeout: Any = None
    #: Whether a timeout fails the job at once instead of releasing it.
    fail_on_timeout: Any = None
    #: () Moment (datetime, timedelta from dispatch) after which the job is not started again; overrides `tries`.
    retry_until: Any = None
    #: Seconds, timedelta or moment before which the job does not start.
    countdown: Any = None
    #: Whether only one such job may be queued or running.
    unique: Any = False
    #: Whether only one such job may be queued; the lock is freed right before `handle`.
    unique_until_processing: Any = False
    #: () Most seconds the unique lock is held; None: 24 hours.
    unique_for: Any = None
    #: () The key that makes two jobs of the class the same; None: the class alone.
    unique_id: Any = None
    #: () The store that holds the lock; None: the default one.
    unique_via: Any = None
    #: Seconds in which a later dispatch of the same job (`unique_id`) replaces this one; only the last job runs.
    debounce_for: Any = None
    #: Seconds after the first of such dispatches by which a job runs at the latest.
    debounce_max_wait: Any = None
    #: Whether the fields are sent encrypted with `laraq_keys`.
    encrypted: Any = False
    #: Whether the job ends quietly when a row it refers to is gone; else it fails.
    delete_when_missing_models: Any = False
    #: () The name shown by Celery's logs, events and tools; None: the class's dotted path.
    display_name: Any = None
    #: () Labels by which the job can be found.
    tags: Any = None
    #: Whether completed runs are left out of the dashboard.
    silenced: Any = False
    #: Celery's option: whether the result is discarded; None: as the app is configured.
    ignore_result: Any = None
    #: Celery's option; its meaning depends on the broker.
    priority: Any = None
    #: Celery's option: seconds or moment after which a waiting job is dropped.
    expires: Any = None
    #: Whether mapped instances are sent without the names of their loaded relationships.
    without_relations: Any = False

    # `after_commit` is an option and a setter; the option's value is kept beside it.
    _after_commit: Any = None
    _interactions: Interactions | None = None
    _through: tuple[Any, ...] = ()
    #: The rest of the chain, a `laraq.workflow.chains.Rest`.
    _rest: Any = None
    _name: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        define(cls, _VERBS)

    # -- hooks that a job may define ----------------------------------------------------------------------------

    def middleware(self) -> Sequence[Any]:
        """The middleware around `handle`, outermost first."""
        return ()

    def failed(self, error: BaseException | None) -> None:
        """Called once on a fresh instance when the job has failed for good."""

    def prepare_for_dispatch(self) -> bool | None:
        """Called before the job is sent; False cancels the dispatch silently."""
        return None

    def interrupted(self, signal: int) -> None:
        """Called in the running process when the worker is asked to stop while this job runs; the job goes on.

        In pools of processes and in the solo pool. (Laravel 13.7: Illuminate/Contracts/Queue/Interruptible.php)
        """

    # -- inside handle ------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The uuid of the running job.

        Raises NotInQueueError outside of a run.
        """
        return self._in_queue("id").delivery.payload.id

    @property
    def attempts(self) -> int:
        """The number of this start, from 1; 1 without a worker."""
        return self._interactions.delivery.attempt if self._interactions else 1

    def release(self, delay: Delay = 0, *, counted: bool = True) -> None:
        """Release the job to its queue after this run, to start again after `delay`. The call only records this.

        `counted=False`: this start uses no attempt. Raises NotInQueueError outside of a run.
        """
        self._in_queue("release()").release(delay, counted=counted)

    def fail(self, error: BaseException | str | None = None) -> None:
        """Fail the job after this run, whatever tries are left.

        Raises NotInQueueError outside of a run.
        """
        self._in_queue("fail()").fail(error)

    def delete(self) -> None:
        """End the job after this run, even if an exception follows.

        Raises NotInQueueError outside of a run.
        """
        self._in_queue("delete()").delete()

    def batch(self) -> Batch | None:
        """The current state of the job's batch, read from the store; None without a batch, or when it is deleted.

        In a callback for `progress`, a failure or `catch` the counts are those of that event.
        """
        if self._fake_batch is not None:
            return self._fake_batch  # type: ignore[no-any-return] # a BatchFake
        payload = self._interactions.delivery.payload if self._interactions else None
        if payload is None or payload.batch_id is None:
            return None
        return current().batches.find(payload.batch_id, payload.counts)

    def prepend_to_chain(self, *jobs: Any) -> None:
        """Run these jobs, in their order, right after this one if this attempt succeeds; lists are flattened.

        Raises NotInQueueError outside of a run.
        """
        self._in_queue("prepend_to_chain()").prepend(jobs)

    def append_to_chain(self, *jobs: Any) -> None:
        """Run these jobs at the end of the chain if this attempt succeeds.

        Raises NotInQueueError outside of a run.
        """
        self._in_queue("append_to_chain()").append(jobs)

    def _in_queue(self, verb: str) -> Interactions:
        if self._interactions is None:
            raise NotInQueueError(f"{verb} of {self.job_name()} needs a running job: this one was not sent.")
        return self._interactions

    # -- configured, on the instance ----------------------------------------------------------------------------

    def _set(self, name: str, value: Any) -> Self:
        setattr(self, name, checked_of(self, name, value))
        return self

    @configures
    def on_queue(self, queue: Text) -> Self:
        """Set the queue."""
        return self._set("queue", queue)

    @configures
    def on_connection(self, connection: Text) -> Self:
        """Set the connection."""
        return self._set("connection", connection)

    @configures
    def with_delay(self, delay: Delay) -> Self:
        """Start the job no earlier than this; seconds, timedelta, or an aware datetime."""
        return self._set("countdown", delay)

    @configures
    def without_delay(self) -> Self:
        """Start the job as soon as possible, whatever the class sets."""
        return self._set("countdown", 0)

    @configures
    def after_commit(self) -> Self:
        """Send the job when the open transaction commits, never when it rolls back."""
        self._after_commit = True
        return self

    @configures
    def before_commit(self) -> Self:
        """Send the job now, whatever the class or connection sets."""
        self._after_commit = False
        return self

    @configures
    def through(self, middleware: Sequence[Any]) -> Self:
        """Add middleware outside of the job's own; middleware that cannot be sent is refused at the dispatch."""
        self._through = tuple(listed(self, middleware, "through(): it was given"))
        return self

    @configures
    def with_tags(self, *tags: Text) -> Self:
        """Replace the tags."""
        return self._set("tags", list(tags))

    @configures
    def with_priority(self, priority: int) -> Self:
        """Set Celery's message priority."""
        return self._set("priority", priority)

    @configures
    def expires_at(self, expires: float | datetime) -> Self:
        """Drop the job when it has not started by then; seconds or an aware datetime."""
        return self._set("expires", expires)

    #: On an instance: set the jobs that start one after the other once it has succeeded. On the class: the same for the
    #: job that `dispatch(...)` of the PendingChain creates from its fields.
    with_chain: ClassVar[ChainVerb] = ChainVerb()

    @configures
    def all_on_queue(self, queue: Text) -> Self:
        """Set the queue of the job, and of the links of its chain that name none."""
        current().chains.rest_of(self).queue = self.on_queue(queue).queue
        return self

    @configures
    def all_on_connection(self, connection: Text) -> Self:
        """Set the connection of the job, and of the links of its chain that name none."""
        current().chains.rest_of(self).connection = self.on_connection(connection).connection
        return self

    # -- sending ------------------------------------------------------------------------------------------------

    if MYPY:

        @classmethod
        def dispatch(cls: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Dispatched:
            raise AssertionError

        @classmethod
        def dispatch_sync(cls: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any: ...

        @classmethod
        async def adispatch(cls: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Dispatched:
            raise AssertionError

        @classmethod
        def dispatch_after_response(cls: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Dispatched:
            raise AssertionError

        @classmethod
        def dispatch_if(
            cls: Callable[P, Any], condition: object, *args: P.args, **kwargs: P.kwargs
        ) -> Dispatched | None: ...

        @classmethod
        def dispatch_unless(
            cls: Callable[P, Any], condition: object, *args: P.args, **kwargs: P.kwargs
        ) -> Dispatched | None: ...

        @overload
        @classmethod
        def delay(cls: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any: ...
        @overload
        @classmethod
        def delay(cls: object, delay: Delay, /) -> Any: ...
        @classmethod
        def delay(cls: Any, *args: Any, **kwargs: Any) -> Any: ...

        @classmethod
        def si(cls: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any: ...
    else:
        dispatch: ClassVar[Verb[Dispatched]] = Verb(
            lambda job: current().dispatcher.dispatch(job),
            "Send the job; when this returns, the broker has it. Raises DispatchError, InvalidJobError.",
        )
        dispatch_sync: ClassVar[Verb[Any]] = Verb(
            lambda job: current().dispatcher.dispatch_sync(job),
            "Run the job now, in this process, and return the result of `handle`; its exceptions reach the caller.",
        )
        adispatch: ClassVar[Verb[Coroutine[Any, Any, Dispatched]]] = Verb(
            lambda job: current().dispatcher.adispatch(job), "`dispatch` without blocking the event loop."
        )
        dispatch_after_response: ClassVar[Verb[Dispatched]] = Verb(
            lambda job: current().dispatcher.dispatch_after_response(job),
            "Run the job in this process after the response has been sent (the `deferred` connection).",
        )
        dispatch_if: ClassVar[ConditionalVerb[Dispatched]] = ConditionalVerb(
            lambda job: current().dispatcher.dispatch(job),
            "`dispatch` if the condition holds; a callable is called, with the job if it takes a parameter.",
        )
        dispatch_unless: ClassVar[ConditionalVerb[Dispatched]] = ConditionalVerb(
            lambda job: current().dispatcher.dispatch(job), "`dispatch` unless the condition holds.", wanted=False
        )

        # Celery's own methods, through the same dispatcher.
        delay: ClassVar[DelayVerb] = DelayVerb(
            lambda cls, *args, **fields: current().host.task(cls).delay(*args, **fields),
            lambda job, delay: job.with_delay(delay),
            "On the class: Celery's `delay(fields)`, which sends the job and returns Celery's AsyncResult."
            " On an instance: Laravel's `delay`, which starts the job no earlier than this, as `with_delay`.",
        )
        si: ClassVar[HostVerb] = HostVerb(
            lambda cls, *args, **fields: current().host.task(cls).si(*args, **fields),
            lambda job: current().host.task(type(job)).signature_of(job),
            "Celery's immutable signature: it does not receive the result of the previous task.",
        )

    if TYPE_CHECKING:

        @classmethod
        def apply_async(
            cls, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
        ) -> Any: ...

        @classmethod
        def s(cls: Callable[P, Any], *args: Any, **kwargs: Any) -> Any: ...
    else:
        apply_async = HostVerb(
            lambda cls, args=(), kwargs=None, **options: (
                current().host.task(cls).apply_async(tuple(args), dict(kwargs or {}), **options)
            ),
            lambda job, **options: current().host.task(type(job)).send(job, **options),
            "Celery's `apply_async` with its options; returns Celery's AsyncResult.",
            options=True,
        )
        s = HostVerb(
            lambda cls, *args, **fields: current().host.task(cls).s(*args, **fields),
            lambda job: current().host.task(type(job)).signature_of(job),
            "Celery's signature, for its `chain`, `group` and `chord`. The signature of an instance is immutable,"
            " because its fields are set.",
        )

    # -- the rest -----------------------------------------------------------------------------------------------

    @classmethod
    def job_name(cls) -> str:
        """The dotted path that messages carry; also the name of the job's Celery task."""
        return cls._name

    @classmethod
    def _written_as(cls) -> str:
        """An example of how to create an instance."""
        return cls.__name__

    def entry(self) -> tuple[Callable[..., Any], Mapping[str, Any]]:
        """The callable of a run, and its arguments that are not injected."""
        handle: Callable[..., Any] = self.handle  # type: ignore[attr-defined] # a Job without one is not registered
        return handle, {}

    def positional(self) -> tuple[Any, ...]:
        """Fields that are sent by position; those of an ordinary Celery task are."""
        return ()

    def __repr__(self) -> str:
        if self.encrypted:
            return f"<{self.job_name()}: encrypted>"
        fields = ", ".join(f"{field.name}={getattr(self, field.name, None)!r}" for field in dataclasses.fields(self))  # type: ignore[arg-type] # _define made it one
        return f"{type(self).__name__}({fields})"


# Options are not fields, and some of their types exist for type checkers only: they must not be resolved.
Job.__annotations__ = {}


def current_job() -> Any:
    """The job running in this thread or task, for function jobs and code they call.

    Raises NotInQueueError outside of a run.
    """
    job = _running.get()
    if job is None:
        raise NotInQueueError("current_job() needs a running job.")
    return job


def running() -> Any:
    """The job running in this thread or task, or None."""
    return _running.get()


def enter(job: Any, delivery: Delivery) -> Interactions:
    """Make the instance the running job."""
    job._interactions = interactions = Interactions(delivery)
    if delivery.queue and not delivery.last and not callable(job.queue):
        job.queue = delivery.queue
    _running.set(job)
    return interactions


def leave(outer: Any) -> None:
    """Make `outer` the running job again: the job that ran this one with `dispatch_sync`, or None."""
    _running.set(outer)


#: Names of Job that a field must not have, because code inside and outside of the job relies on them.
_VERBS = frozenset(name for cls in (Job, InTests) for name in vars(cls) if not name.startswith("_"))
_VERBS |= {"handle", "batch", "chain"}
SETTERS.update(("with_chain", "delay"))
