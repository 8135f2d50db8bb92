"""Rules: the conditions and kinds of errors that users give to middleware, as one question each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

#: A plain answer, or a callable that is given the job if it takes a parameter. Truth decides.
Condition: TypeAlias = "bool | Callable[[], object] | Callable[[Any], object]"

#: One that is given the error, and the job if it takes a second parameter.
ErrorPredicate: TypeAlias = "Callable[[Any], object] | Callable[[Any, Any], object]"
ErrorTypes: TypeAlias = "type[BaseException] | Sequence[type[BaseException]]"
#: An error matches when it is of one of the types, or when the predicate says so.
ErrorRule: TypeAlias = "ErrorTypes | ErrorPredicate"


def condition(given: Condition) -> Callable[[Any], bool]:
    """The condition as a question about a job; it is asked in every run, also where the middleware is shared."""
    if callable(given):
        return _asked(given)
    return lambda _job: bool(given)


def error_rule(given: ErrorRule) -> Callable[[BaseException, Any], bool]:
    """The rule as a question about an error and the job that raised it. Raises TypeError for what is neither."""
    types = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    if all(isinstance(one, type) and issubclass(one, BaseException) for one in types):
        return lambda error, _job: isinstance(error, types)  # type: ignore[arg-type] # checked in the line above
    if callable(given):
        return _asked(given)
    raise TypeError(f"{given!r} is no exception type, no list of them, and no predicate.")


def _asked(predicate: Callable[..., object]) -> Callable[..., bool]:
    """Call it with as many arguments as it has parameters without a default (PHP ignores what is too much)."""
    if inspect.iscoroutinefunction(predicate):
        raise TypeError(f"{predicate!r} is async, but middleware asks it in sync code, where its answer is no answer.")
    parameters = inspect.signature(predicate).parameters.values()
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return lambda *about: bool(predicate(*about))
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    told = sum(one.kind in kinds and one.default is one.empty for one in parameters)
    return lambda *about: bool(predicate(*about[:told]))
