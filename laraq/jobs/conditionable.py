"""Conditions, and the fluent methods `when` and `unless`.

(Illuminate/Support/Traits/Conditionable.php)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Self, TypeAlias

#: A value, or a callable, which gets the subject if it takes a parameter. The truth value decides.
Condition: TypeAlias = "object | Callable[[], object] | Callable[[Any], object]"


class Conditionable:
    """Conditional calls inside a chain of method calls."""

    def when(self, condition: Condition, then: Callable[[Self], object]) -> Self:
        """Apply `then` if the condition holds; a callable is called, with this object if it takes a parameter."""
        if holds(condition, lambda: self):
            then(self)
        return self

    def unless(self, condition: Condition, then: Callable[[Self], object]) -> Self:
        """Apply `then` unless the condition holds."""
        if not holds(condition, lambda: self):
            then(self)
        return self


def holds(condition: Condition, about: Callable[[], Any]) -> bool:
    """Whether a condition holds. The subject is created only for a callable that takes a parameter.

    Raises TypeError for an async callable.
    """
    if not callable(condition):
        return bool(condition)
    predicate: Callable[..., object] = condition
    return bool(predicate() if _wanted(predicate) == 0 else predicate(about()))


def asked(predicate: Callable[..., object]) -> Callable[..., bool]:
    """Call the predicate with as many arguments as it has parameters without a default (PHP ignores extra arguments).

    Raises TypeError for an async predicate.
    """
    wanted = _wanted(predicate)
    return lambda *about: bool(predicate(*about[:wanted]))


def _wanted(predicate: Callable[..., object]) -> int | None:
    """How many arguments the predicate takes; None for any number."""
    if inspect.iscoroutinefunction(predicate):
        raise TypeError(
            f"{predicate!r} is async, but it is called from sync code, where its result would always be true: make it a"
            " plain function."
        )
    try:
        parameters = inspect.signature(predicate).parameters.values()
    except ValueError:  # not written in Python
        return None
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in kinds and one.default is one.empty for one in parameters)
