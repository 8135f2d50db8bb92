"""@job: turns a function into a job; the function's parameters are the fields.

@job(queue="emails", tries=3)
def send_welcome(user_id: int, mailer: Injected[Mailer] = injected()) -> None: ...

send_welcome.dispatch(42)
send_welcome(42)            # still the plain function
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, overload

from laraq.container import parameters_of
from laraq.current import current
from laraq.errors import JobDefinitionError, did_you_mean
from laraq.jobs.conditionable import Condition
from laraq.jobs.dispatched import Dispatched
from laraq.jobs.job import Job
from laraq.jobs.pipeline import unfit
from laraq.jobs.verbs import SETTERS
from laraq.messages.options import OPTIONS

P = ParamSpec("P")
R = TypeVar("R")


#: The keywords of `@job(...)`.
_KEYWORDS = OPTIONS | {"middleware", "failed"}


class FunctionJob(Job):
    """The Job class behind a `@job` function."""

    _function: ClassVar[Callable[..., Any]]

    @classmethod
    def _written_as(cls) -> str:
        return f"{cls.__name__}.job"

    def entry(self) -> tuple[Callable[..., Any], Mapping[str, Any]]:
        """The function and its arguments."""
        return type(self)._function, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


class JobFunction(Generic[P, R]):
    """A function that can also be dispatched."""

    __name__: str
    #: The Job class created from the function; `job_class(42).on_queue("low").dispatch()`.
    job_class: type[FunctionJob]

    def __init__(self, function: Callable[P, R], options: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self.job_class = _job_class(function, options)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(*args, **kwargs)

    def job(self, *args: P.args, **kwargs: P.kwargs) -> FunctionJob:
        """An instance to configure: `send_welcome.job(42).on_queue("low").dispatch()`."""
        return self.job_class(*args, **kwargs)

    def dispatch(self, *args: P.args, **kwargs: P.kwargs) -> Dispatched:
        """Send the job; when this returns, the broker has it."""
        return current().dispatcher.dispatch(self.job(*args, **kwargs))

    async def adispatch(self, *args: P.args, **kwargs: P.kwargs) -> Dispatched:
        """`dispatch` without blocking the event loop."""
        return await current().dispatcher.adispatch(self.job(*args, **kwargs))

    def dispatch_if(self, condition: Condition, /, *args: P.args, **kwargs: P.kwargs) -> Dispatched | None:
        """`dispatch` if the condition holds; a callable is called, with the job if it takes a parameter."""
        return self._verbs.dispatch_if(condition, *args, **kwargs)  # type: ignore[no-any-return]

    def dispatch_unless(self, condition: Condition, /, *args: P.args, **kwargs: P.kwargs) -> Dispatched | None:
        """`dispatch` unless the condition holds."""
        return self._verbs.dispatch_unless(condition, *args, **kwargs)  # type: ignore[no-any-return]

    def dispatch_sync(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the job now, in this process, with middleware and injection."""
        return current().dispatcher.dispatch_sync(self.job(*args, **kwargs))

    def dispatch_after_response(self, *args: P.args, **kwargs: P.kwargs) -> Dispatched:
        """Run the job in this process after the response has been sent."""
        return current().dispatcher.dispatch_after_response(self.job(*args, **kwargs))

    # -- the methods of a Celery task ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the job's Celery task."""
        return self.job_class.job_name()

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Celery's `delay`."""
        return self._task.delay(*args, **kwargs)

    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Celery's `apply_async`."""
        return self._task.apply_async(tuple(args), dict(kwargs or {}), **options)

    def apply(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Celery's `apply`: run in this process; the EagerResult keeps an exception."""
        return self._task.apply(tuple(args), dict(kwargs or {}), **options)

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's signature."""
        return self._task.s(*args, **kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's immutable signature."""
        return self._task.si(*args, **kwargs)

    def signature(self, args: Sequence[Any] | None = None, *more: Any, **options: Any) -> Any:
        """Celery's signature, with its options."""
        return self._task.signature(args, *more, **options)

    def map(self, it: Iterable[Any]) -> Any:
        """Celery's signature of one task that calls the function with each item."""
        return self._task.map(it)

    def starmap(self, it: Iterable[Sequence[Any]]) -> Any:
        """Celery's signature of one task that calls the function with the arguments in each item."""
        return self._task.starmap(it)

    def chunks(self, it: Iterable[Sequence[Any]], n: int) -> Any:
        """Celery's signature of a `starmap` for each `n` items."""
        return self._task.chunks(it, n)

    def AsyncResult(self, task_id: str, **options: Any) -> Any:
        """Celery's AsyncResult of a job of this function."""
        return self._task.AsyncResult(task_id, **options)

    @property
    def _task(self) -> Any:
        return current().host.task(self.job_class)

    @property
    def _verbs(self) -> Any:
        return self.job_class

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in SETTERS:
                return getattr(self.job_class, name)  # its error shows the intended call
            raise AttributeError(f"{self!r} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<job {self.job_class.job_name()}>"


@overload
def job(function: Callable[P, R]) -> JobFunction[P, R]: ...
@overload
def job(**options: Any) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
def job(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Turn a function into a job; keywords are the options of `Job`, `middleware` and `failed`."""
    if function is not None:
        return JobFunction(function, options)

    def decorate(function: Callable[..., Any]) -> JobFunction[..., Any]:
        return JobFunction(function, options)

    return decorate


def _job_class(function: Callable[..., Any], options: Mapping[str, Any]) -> type[FunctionJob]:
    where = f"{function.__module__}.{function.__qualname__}"
    members: dict[str, Any] = {"__module__": function.__module__, "__qualname__": function.__qualname__}
    for name, value in options.items():
        if name not in _KEYWORDS:
            raise JobDefinitionError(f"@job of {where}: unknown option {name!r}.{did_you_mean(name, _KEYWORDS)}")
        members[name] = _member(name, value, f"@job of {where}")
    annotations: dict[str, Any] = {}
    hints = inspect.get_annotations(function)
    injected = {parameter.name for parameter in parameters_of(function) if parameter.is_injected}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise JobDefinitionError(f"@job of {where}: parameter {parameter} cannot be a field: name each field.")
        if parameter.name in injected:
            continue
        annotations[parameter.name] = hints.get(parameter.name, Any)
        members[parameter.name] = _field(parameter)
    members["__annotations__"] = annotations
    members["_function"] = staticmethod(function)
    members["handle"] = staticmethod(function)
    members["__doc__"] = function.__doc__
    return typing.cast("type[FunctionJob]", type(function.__name__, (FunctionJob,), members))


def _field(parameter: inspect.Parameter) -> Any:
    """The parameter as a dataclass field: its default, not shared between jobs, and whether it is keyword-only."""
    by_keyword, default = parameter.kind is parameter.KEYWORD_ONLY, parameter.default
    if default is parameter.empty:
        return dataclasses.field(kw_only=by_keyword)
    if default.__class__.__hash__ is None:
        return dataclasses.field(default_factory=functools.partial(copy.deepcopy, default), kw_only=by_keyword)
    return dataclasses.field(default=default, kw_only=by_keyword)


def _member(name: str, value: Any, where: str) -> Any:
    """`middleware` may be a list; callables given as options are methods without `self` when they take no parameter."""
    if name == "middleware":
        return value if _makes_middleware(value) else middleware_method(value, where)
    if callable(value) and not isinstance(value, type) and not inspect.signature(value).parameters:
        return staticmethod(value)
    return value


def _makes_middleware(value: Any) -> bool:
    """Whether the value is a function of the job that returns the list, and not middleware itself."""
    if not callable(value) or isinstance(value, type) or hasattr(value, "handle"):
        return False
    wanted = [one for one in inspect.signature(value).parameters.values() if one.default is one.empty]
    return len(wanted) < 2


def middleware_method(given: Any, where: str) -> Callable[[Any], Any]:
    """A list of middleware as the method of a class. Raises JobDefinitionError for anything else."""
    if (why := unfit(given)) is not None:
        raise JobDefinitionError(f"{where}: middleware is {why}.")
    return lambda _job: given
