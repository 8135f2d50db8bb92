"""Conditions: what is asked, and `when` and `unless` for what is put together call by call.

(Illuminate/Support/Traits/Conditionable.php)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Self, TypeAlias

#: A plain answer, or a callable that is given what it is about if it takes a parameter. Truth decides.
Condition: TypeAlias = "object | Callable[[], object] | Callable[[Any], object]"


class Conditionable:
    """Calls on a condition, without leaving the chain of calls."""

    def when(self, condition: Condition, then: Callable[[Self], object]) -> Self:
        """Apply `then` if the condition holds; a callable is asked, with this if it takes a parameter."""
        if holds(condition, lambda: self):
            then(self)
        return self

    def unless(self, condition: Condition, then: Callable[[Self], object]) -> Self:
        """Apply `then` unless the condition holds."""
        if not holds(condition, lambda: self):
            then(self)
        return self


def holds(condition: Condition, about: Callable[[], Any]) -> bool:
    """Whether a condition holds. What it is about is made only for a callable that wants it.

    Raises TypeError for an async one.
    """
    if not callable(condition):
        return bool(condition)
    predicate: Callable[..., object] = condition
    return bool(predicate() if _wanted(predicate) == 0 else predicate(about()))


def asked(predicate: Callable[..., object]) -> Callable[..., bool]:
    """Call it with as many arguments as it has parameters without a default (PHP ignores what is too much).

    Raises TypeError for an async one.
    """
    wanted = _wanted(predicate)
    return lambda *about: bool(predicate(*about[:wanted]))


def _wanted(predicate: Callable[..., object]) -> int | None:
    """How many arguments it takes; None for any number."""
    if inspect.iscoroutinefunction(predicate):
        raise TypeError(
            f"{predicate!r} is async, but it is called from sync code, where its result would always be true: make it a"
            " plain function."
        )
    try:
        parameters = inspect.signature(predicate).parameters.values()
    except ValueError:  # it is not written in Python
        return None
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in kinds and one.default is one.empty for one in parameters)
