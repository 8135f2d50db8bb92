"""Ordinary Celery tasks: tasks that opt in to laraq's options, and tasks whose failures are only recorded."""

from __future__ import annotations

import inspect
import typing
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from celery import Task, signals

from laraq.errors import JobDefinitionError
from laraq.jobs import registry
from laraq.jobs.function import middleware_method
from laraq.jobs.job import Job
from laraq.messages.failure import FailedJob, json_ready, traceback_of
from laraq.messages.options import OPTIONS, nearest
from laraq.messages.payload import Payload
from laraq_celery.receivers import while_alive
from laraq_celery.worker.expiry import expiring_by_header
from laraq_celery.worker.task import JobTask, carrier_of, consumed_connection, is_sent_again

if TYPE_CHECKING:
    from laraq.app import Laraq

#: Options that Celery already gives an ordinary task under the same name.
_CELERYS_OWN = frozenset({"queue", "connection", "priority", "expires", "ignore_result"})


class LaraqTask(JobTask):
    """`@app.task(base=LaraqTask, tries=3, backoff=[1, 5], middleware=[...])`: an ordinary task that runs like a job.

    It keeps Celery's calling methods, its name, `bind=True`, and its own `self.retry()`.
    """

    abstract = True
    typing = True
    max_retries = Task.max_retries
    laraq_counts = False

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run a delivery when the worker calls this; else call the plain function."""
        if _is_plain_call(self):
            return Task.__call__(self, *args, **kwargs)
        return self._deliver(args, kwargs)

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any) -> Any:
        """Celery's `apply_async`; a unique or debounced task passes laraq's dispatcher first."""
        cls: Any = self.job_class
        sent = is_sent_again(self.app, task_id, options)
        task_id = None if task_id is None else str(task_id)
        if sent:
            options = expiring_by_header(self.app, self, options)
        if sent or not (cls.unique or cls.unique_until_processing or cls.debounce_for is not None):
            return Task.apply_async(self, args, kwargs, task_id=task_id, **options)
        return self._through_the_door(self.as_job(args, kwargs, options), task_id, options)

    def _job(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        assert self.job_class is not None
        return self.job_class(tuple(args), dict(kwargs))

    def _deliver_call(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._deliver(args, kwargs)

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Create the Job class by which the runner runs this task."""
        if cls.run is not JobTask.run and "job_class" not in cls.__dict__:
            cls.job_class = _task_job(cls)
            cls._function = inspect.getattr_static(cls, "run")
            cls.run = _Run()  # type: ignore[assignment,method-assign]


class _Run:
    """The `run` of such a task: runs a delivery when a worker calls it, also from the `__call__` of a user's base
    class; inside of that, and for other callers, the function. Celery's `autoretry_for` replaces it by another
    function."""

    def __get__(self, task: Any, owner: Any) -> Any:
        if task is None:
            return owner._function
        return task._function if _is_plain_call(task) else task._deliver_call

    def __set__(self, task: Any, function: Any) -> None:
        task._function = function


def _is_plain_call(task: Task) -> bool:
    request = task.request
    return bool(request.called_directly or getattr(request, "laraq_delivery", None) is not None)


class TaskJob(Job):
    """An ordinary task as a job: its arguments are the fields, unchanged."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    _has_own_task = True
    _call: ClassVar[Any] = None
    _app: ClassVar[Any] = None

    def entry(self) -> tuple[Callable[..., Any], Mapping[str, Any]]:
        """The task's function with its own arguments; nothing is injected."""
        run = type(self)._call
        return lambda: run(*self.args, **self.kwargs), {}

    def positional(self) -> tuple[Any, ...]:
        """The task's positional arguments."""
        return self.args


class TaskFields:
    """The codec of a TaskJob: its arguments are sent as Celery's serializer writes them, without checks."""

    def __init__(self, cls: type[TaskJob]) -> None:
        self._cls = cls

    def dump(self, job: TaskJob) -> dict[str, Any]:
        """The keyword arguments."""
        return dict(job.kwargs)

    def prove(self, job: TaskJob) -> None:
        """No check: the serializer need not be JSON."""

    def load(self, args: Sequence[Any], fields: Mapping[str, Any], discreet: bool = False) -> TaskJob:
        """Create an instance with the arguments."""
        load = self._cls._app().laraq.codec.untyped.load
        return self._cls(tuple(map(load, args)), {name: load(value) for name, value in fields.items()})


def _task_job(task_class: type[Task]) -> type[TaskJob]:
    attributes: dict[str, Any] = {}
    for base in reversed(task_class.__mro__[: task_class.__mro__.index(LaraqTask)]):
        attributes |= vars(base)
    where = _where(task_class)
    members: dict[str, Any] = {}
    for name, value in attributes.items():
        if name in OPTIONS - _CELERYS_OWN:
            members[name] = value
        # Not `hasattr`: `LaraqTask.app` would bind the class itself.
        elif not any(name in vars(one) for one in LaraqTask.__mro__) and (near := nearest(name)) is not None:
            raise JobDefinitionError(f"{where}: unknown option {name!r}. Did you mean {near!r}?")
    if members.get("encrypted"):
        raise JobDefinitionError(
            f"{where}: encrypted is for jobs only, Celery itself writes the arguments of tasks."
            " Make it a Job or a @job function."
        )
    members["middleware"] = middleware_method(attributes.get("middleware", ()), where)
    members["__module__"], members["__qualname__"] = task_class.__module__, task_class.__name__
    members["_fields_codec"] = classmethod(TaskFields)
    # Weakly: the class stays in the registry, the app need not. The instance in the app, not the class: functions
    # with `bind=True` get it as `self`.
    own_name = task_class.name
    app: Callable[[], Any] = weakref.ref(task_class.app)
    members["_call"] = staticmethod(lambda *args, **kwargs: app().tasks[own_name].run(*args, **kwargs))
    members["_app"] = app
    try:
        cls = typing.cast("type[TaskJob]", type(task_class.__name__, (TaskJob,), members))
    except JobDefinitionError as error:
        error.add_note(where)
        raise
    cls._name = own_name
    registry.register(cls, own_name)
    return cls


def _where(task_class: type[Task]) -> str:
    """The task, and where it is defined: Celery creates it when the app is first used."""
    function = vars(task_class).get("run")
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    return f"Task {task_class.name}" + (f" ({code.co_filename}:{code.co_firstlineno})" if code else "")


def record_failures(laraq: Laraq, app: Any) -> None:
    """Record failed ordinary tasks of the app in the failed store if `laraq_record_failed_tasks` is set."""

    def on_failure(
        sender: Any = None,
        task_id: str = "",
        exception: BaseException | None = None,
        args: Any = (),
        kwargs: Any = None,
        **_: Any,
    ) -> None:
        if sender is None or sender.app is not app or isinstance(sender, JobTask):
            return
        if not laraq.settings.record_failed_tasks or exception is None:
            return
        request = sender.request
        payload = Payload(str(task_id), sender.name, kwargs or {}, tuple(args or ()), carrier=carrier_of(request))
        laraq.failed.record(
            FailedJob(
                id=payload.id,
                connection=consumed_connection(laraq),
                queue=(request.delivery_info or {}).get("routing_key") or str(app.conf.task_default_queue),
                job=sender.name,
                payload=json_ready(payload.to_dict()),
                exception=traceback_of(exception),
                failed_at=datetime.now(UTC),
                attempts=(request.retries or 0) + 1,
            )
        )

    while_alive(app, signals.task_failure, on_failure)
