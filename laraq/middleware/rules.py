"""Rules: the conditions and kinds of errors that users give to middleware, as one question each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from laraq.errors import StoreError
from laraq.jobs.conditionable import asked
from laraq.jobs.job import Job

#: A plain answer, or a callable that is given the job if it takes a parameter. Truth decides.
Condition: TypeAlias = "bool | Callable[[], object] | Callable[[Any], object]"

#: One that is given the error, and the job if it takes a second parameter.
ErrorPredicate: TypeAlias = "Callable[[Any], object] | Callable[[Any, Any], object]"
ErrorTypes: TypeAlias = "type[BaseException] | Sequence[type[BaseException]]"
#: An error matches when it is of one of the types, or when the predicate says so.
ErrorRule: TypeAlias = "ErrorTypes | ErrorPredicate"


@dataclass(frozen=True, slots=True)
class Always:
    """A condition that is known already; unlike a callable it can travel."""

    answer: bool

    def __call__(self, _job: Any) -> bool:
        return self.answer


@dataclass(frozen=True, slots=True)
class OfTypes:
    """A rule about types of errors; unlike a predicate it can travel."""

    types: tuple[type[BaseException], ...]
    #: Dotted paths of those that this process has not imported.
    names: tuple[str, ...] = ()

    def __call__(self, error: BaseException, _job: Any) -> bool:
        return isinstance(error, self.types) or any(
            f"{one.__module__}.{one.__qualname__}" in self.names for one in type(error).__mro__ if self.names
        )


def condition(given: Condition) -> Callable[[Any], bool]:
    """The condition as a question about a job; it is asked in every run, also where the middleware is shared."""
    return asked(given) if callable(given) else Always(bool(given))


def error_rule(given: ErrorRule) -> Callable[[BaseException, Any], bool]:
    """The rule as a question about an error and the job that raised it. Raises TypeError for what is neither."""
    types = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    if all(isinstance(one, type) and issubclass(one, BaseException) for one in types):
        return OfTypes(types)  # type: ignore[arg-type] # checked in the line above
    if callable(given):
        return asked(given)
    raise TypeError(f"{given!r} is invalid: expected an exception type, a list of them, or a function of the error.")


def is_before_the_run(job: Job, error: BaseException) -> bool:
    """Whether the error says that other middleware could not ask its store: the runner gives such a job back."""
    return isinstance(error, StoreError) and job._interactions is not None and not job._interactions.entered
