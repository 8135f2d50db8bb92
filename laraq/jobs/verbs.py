"""Verbs: methods called on a class with the fields, and on an instance without them, through one descriptor.

On an instance every verb is about that job. A call that could only be a mistake is refused with the intended call.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from laraq.errors import WrongCallError
from laraq.jobs.conditionable import Condition, holds
from laraq.jobs.definition import frozen
from laraq.messages.options import Delay

P = ParamSpec("P")
R = TypeVar("R")
J = TypeVar("J")
F = TypeVar("F", bound=Callable[..., Any])

#: The verbs that configure an instance, by name.
SETTERS: set[str] = set()


def make(cls: Callable[..., J], *args: Any, **fields: Any) -> J:
    """Create a job of the class."""
    try:
        return cls(*args, **fields)
    except dataclasses.FrozenInstanceError:
        raise frozen(cls) from None  # type: ignore[arg-type] # only a class raises that


def as_written(job: Any) -> str:
    """The expression that creates the job: `ChargeOrder(7)`; for an encrypted job without its fields."""
    if job.encrypted:
        return f"{job._written_as()}(...)"
    values = []
    by_position = True
    for field in dataclasses.fields(job):
        value = getattr(job, field.name, None)
        if not field.init or _is_default(field, value):
            by_position = False
            continue
        by_position = by_position and not field.kw_only
        values.append(shown(value) if by_position else f"{field.name}={shown(value)}")
    return f"{job._written_as()}({', '.join(values)})"


def shown(value: Any) -> str:
    """A value as most people would write it in an example, and short."""
    return json.dumps(value, ensure_ascii=False)[:60] if isinstance(value, str) else f"{value!r:.60}"


def _arguments(args: tuple[Any, ...], fields: dict[str, Any]) -> str:
    return ", ".join([*map(shown, args), *(f"{name}={shown(value)}" for name, value in fields.items())])


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    try:
        return bool(field.default == value)
    except Exception:  # a value that refuses to be compared
        return False


class Verb(Generic[R]):
    """A verb that accepts the fields on the class and nothing on an instance."""

    def __init__(self, perform: Callable[[Any], R], doc: str = "") -> None:
        self._perform = perform
        self.__doc__ = doc
        self.name = ""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: Callable[P, Any]) -> Callable[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> Callable[[], R]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return _Bound(self, owner, instance)

    def on_class(self, cls: Any, *args: Any, **fields: Any) -> Any:
        """`X.verb(fields)`."""
        return self._perform(make(cls, *args, **fields))

    def on_instance(self, job: Any, *args: Any, **fields: Any) -> Any:
        """`X(fields).verb()`."""
        if args or fields:
            given, name = "..." if job.encrypted else _arguments(args, fields), type(job).__name__
            raise WrongCallError(
                f"{as_written(job)}.{self.name}({given}): the job has its fields already. Write"
                f" {as_written(job)}.{self.name}() for this job, or {name}.{self.name}({given}) for"
                f" another {name}."
            )
        return self._perform(job)

    #: Parameters before the fields, and those on an instance.
    first: tuple[inspect.Parameter, ...] = ()
    on_instances: tuple[inspect.Parameter, ...] = ()
    takes_fields = True


_CONDITION = inspect.Parameter("condition", inspect.Parameter.POSITIONAL_ONLY)


class ConditionalVerb(Verb[R]):
    """A verb whose first argument is a condition. A callable is called, with the job if it takes a parameter."""

    first = on_instances = (_CONDITION,)

    def __init__(self, perform: Callable[[Any], R], doc: str = "", *, wanted: bool = True) -> None:
        super().__init__(perform, doc)
        self._wanted = wanted

    @overload  # type: ignore[override]
    def __get__(self, instance: None, owner: Callable[P, Any]) -> Callable[Concatenate[Condition, P], R | None]: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> Callable[[Condition], R | None]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return _Bound(self, owner, instance)

    def on_class(self, cls: Any, condition: Condition, /, *args: Any, **fields: Any) -> Any:  # type: ignore[override]
        """`X.verb(condition, fields)`; the job is not created if neither the condition nor the verb needs it."""
        build = functools.cache(lambda: make(cls, *args, **fields))
        return self._perform(build()) if holds(condition, build) is self._wanted else None

    def on_instance(self, job: Any, condition: Condition, /, *args: Any, **fields: Any) -> Any:  # type: ignore[override]
        """`X(fields).verb(condition)`."""
        if args or fields:
            return super().on_instance(job, condition, *args, **fields)
        return self._perform(job) if holds(condition, lambda: job) is self._wanted else None


class DelayVerb(Verb[Any]):
    """`delay`: Celery's on the class, which sends; Laravel's on an instance, which configures."""

    on_instances = (inspect.Parameter("delay", inspect.Parameter.POSITIONAL_ONLY),)

    def __init__(self, send: Callable[..., Any], configure: Callable[[Any, Any], Any], doc: str = "") -> None:
        super().__init__(send, doc)
        self._send, self._configure = send, configure

    @overload  # type: ignore[override]
    def __get__(self, instance: None, owner: Callable[P, Any]) -> Callable[P, Any]: ...
    @overload
    def __get__(self, instance: J, owner: Any) -> Callable[[Delay], J]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return _Bound(self, owner, instance)

    def on_class(self, cls: Any, *args: Any, **fields: Any) -> Any:
        """Celery's `delay`."""
        return self._send(cls, *args, **fields)

    def on_instance(self, job: Any, *args: Any, **fields: Any) -> Any:
        """Laravel's `delay`."""
        if len(args) != 1 or fields:
            written = as_written(job)
            raise WrongCallError(
                f"{written}.delay({'...' if args or fields else ''}): delay() of a job expects how long it waits:"
                f" {written}.delay(60).dispatch(). Without a delay: {written}.dispatch()."
            )
        return self._configure(job, args[0])


class HostVerb(Verb[Any]):
    """A verb of the host with the host's arguments: fields on the class, none on an instance, and options."""

    takes_fields = False
    first = (
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    )

    def __init__(
        self, of_class: Callable[..., Any], of_job: Callable[..., Any], doc: str = "", *, options: bool = False
    ) -> None:
        super().__init__(of_class, doc)
        self._of_class, self._of_job, self._options = of_class, of_job, options
        if options:
            self.on_instances = (inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD),)

    def on_class(self, cls: Any, *args: Any, **fields: Any) -> Any:
        """Call the host's method."""
        return self._of_class(cls, *args, **fields)

    def on_instance(self, job: Any, *args: Any, **fields: Any) -> Any:
        """Call the host's method for this job, as it is configured."""
        if args or (fields and not self._options) or fields.keys() & {"args", "kwargs"}:
            return super().on_instance(job, *args, **fields)
        return self._of_job(job, **fields)


class _Bound:
    """A verb bound to a class or an instance; its docstring and signature are created on access."""

    __slots__ = ("_instance", "_owner", "_verb")

    def __init__(self, verb: Verb[Any], owner: Any, instance: Any) -> None:
        self._verb, self._owner, self._instance = verb, owner, instance

    def __call__(self, /, *args: Any, **fields: Any) -> Any:
        if self._instance is None:
            return self._verb.on_class(self._owner, *args, **fields)
        return self._verb.on_instance(self._instance, *args, **fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Bound):
            return NotImplemented
        mine = (self._verb, self._owner) == (other._verb, other._owner)
        return mine and self._instance is other._instance

    def __hash__(self) -> int:
        return hash((self._verb, self._owner, id(self._instance)))

    def __getattr__(self, name: str) -> Any:
        if name == "__name__":
            return self._verb.name
        if name == "__qualname__":
            return f"{self._owner.__qualname__}.{self._verb.name}"
        raise AttributeError(f"{self!r} has no attribute {name!r}")

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._verb.__doc__

    @property
    def __signature__(self) -> inspect.Signature:
        verb = self._verb
        if self._instance is not None:
            return inspect.Signature(verb.on_instances)
        fields = inspect.signature(self._owner).parameters.values() if verb.takes_fields else ()
        return inspect.Signature([*verb.first, *fields])

    def __repr__(self) -> str:
        about = self._owner.__qualname__ if self._instance is None else repr(self._instance)
        return f"<verb {self._verb.name} of {about}>"


class _Setter:
    """A method that configures an instance; on the class, it raises an error with the intended call."""

    def __init__(self, method: Callable[..., Any]) -> None:
        functools.update_wrapper(self, method)  # type: ignore[arg-type] # for its name and docstring
        self._method = method

    def __set_name__(self, owner: type[Any], name: str) -> None:
        SETTERS.add(name)

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is not None:
            return MethodType(self._method, instance)
        method = self._method

        @functools.wraps(method)
        def misplaced(*args: Any, **kwargs: Any) -> Any:
            if args and isinstance(args[0], owner):
                return method(*args, **kwargs)
            fields = ", ".join(inspect.signature(owner).parameters)
            call = f"{method.__name__}({_arguments(args, kwargs)})"
            raise WrongCallError(
                f"{owner.__name__}.{call}: it configures a job, not the class: write"
                f" {owner._written_as()}({fields}).{call}.dispatch()."
            )

        return misplaced


if TYPE_CHECKING:

    def configures(method: F) -> F:
        """Mark a method of Job as one that configures an instance."""
        return method
else:
    configures = _Setter
