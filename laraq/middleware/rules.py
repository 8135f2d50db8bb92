"""Rules: converts the conditions and kinds of errors that users pass to middleware to one callable each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from laraq.errors import StoreError
from laraq.jobs.conditionable import asked
from laraq.jobs.job import Job

#: A value, or a callable, which gets the job if it takes a parameter. The truth value decides.
Condition: TypeAlias = "bool | Callable[[], object] | Callable[[Any], object]"

#: A callable that gets the error, and the job if it takes a second parameter.
ErrorPredicate: TypeAlias = "Callable[[Any], object] | Callable[[Any, Any], object]"
ErrorTypes: TypeAlias = "type[BaseException] | Sequence[type[BaseException]]"
#: An error matches when it is an instance of one of the types, or when the predicate is true.
ErrorRule: TypeAlias = "ErrorTypes | ErrorPredicate"


@dataclass(frozen=True, slots=True)
class Always:
    """A constant condition; unlike a callable it can be sent in a message."""

    answer: bool

    def __call__(self, _job: Any) -> bool:
        return self.answer


@dataclass(frozen=True, slots=True)
class OfTypes:
    """A rule about types of errors; unlike a predicate it can be sent in a message."""

    types: tuple[type[BaseException], ...]
    #: Dotted paths of types that this process has not imported.
    names: tuple[str, ...] = ()

    def __call__(self, error: BaseException, _job: Any) -> bool:
        return isinstance(error, self.types) or any(
            f"{one.__module__}.{one.__qualname__}" in self.names for one in type(error).__mro__ if self.names
        )


def condition(given: Condition) -> Callable[[Any], bool]:
    """The condition as a predicate of a job; it is evaluated in every run, also when the middleware is shared."""
    return asked(given) if callable(given) else Always(bool(given))


def error_rule(given: ErrorRule) -> Callable[[BaseException, Any], bool]:
    """The rule as a predicate of an error and the job that raised it. Raises TypeError for an invalid rule."""
    types = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    if all(isinstance(one, type) and issubclass(one, BaseException) for one in types):
        return OfTypes(types)  # type: ignore[arg-type] # checked in the line above
    if callable(given):
        return asked(given)
    raise TypeError(f"{given!r} is invalid: expected an exception type, a list of them, or a function of the error.")


def is_before_the_run(job: Job, error: BaseException) -> bool:
    """Whether the error is of other middleware that could not reach its store: the runner releases such a job."""
    return isinstance(error, StoreError) and job._interactions is not None and not job._interactions.entered
