"""Refusals: the messages of InjectionErrors."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, get_origin

from laraq.errors import InjectionError


def name_of(thing: Any) -> str:
    """The name of a type or function in messages: `shop.Mailer`, `shop.jobs.SendWelcome.handle`, `int`."""
    if isinstance(thing, types.MethodType):
        # The class of the job, not the base that defines `handle`.
        owner = thing.__self__ if isinstance(thing.__self__, type) else type(thing.__self__)
        return f"{name_of(owner)}.{thing.__name__}"
    if get_origin(thing) is not None or not hasattr(thing, "__qualname__"):
        return repr(thing)
    module = thing.__module__
    return str(thing.__qualname__) if module == "builtins" else f"{module}.{thing.__qualname__}"


def is_of_python(thing: Any) -> bool:
    """Whether a class comes with Python, so that its value (`str`, `Path`, `Lock`) cannot be guessed."""
    module = getattr(get_origin(thing) or thing, "__module__", "builtins")
    return module.partition(".")[0] in sys.stdlib_module_names


def can_be_built(thing: Any) -> bool:
    """Whether an unbound type is a class that can be built from its constructor alone."""
    cls = get_origin(thing) or thing
    return (
        isinstance(cls, type)
        and not is_of_python(cls)
        and not inspect.isabstract(cls)
        and not getattr(cls, "_is_protocol", False)
    )


def cannot_fill(name: str, function: Callable[..., Any], needed_by: Sequence[Any], why: str) -> InjectionError:
    """The error for a parameter without a value; `needed_by` leads from the function to the job, nearest first."""
    path = "".join(f", needed by {name_of(one)}" for one in needed_by)
    return InjectionError(f"Cannot fill parameter {name!r} of {name_of(function)}{path}: {why}.")


def nothing_bound(wanted: Any, function: Callable[..., Any]) -> str:
    """The reason for a type that is neither bound nor can be built, and what to do."""
    if isinstance(function, type) and is_of_python(wanted):
        # `str` is not bound in practice: the class that needs one needs a factory.
        return (
            f"nothing is bound to {name_of(wanted)}."
            f" Bind {name_of(function)} itself with container.bind({function.__name__}, factory)"
            " or give the parameter a default"
        )
    return (
        f"nothing is bound to {name_of(wanted)}."
        f" Bind it with container.bind({_short(wanted)}, ...) or give the parameter a default"
    )


def lives_for_one_job(part: Any, singleton: Any) -> InjectionError:
    """The error for a singleton that would outlive a part of it."""
    return InjectionError(
        f"Cannot make the singleton {name_of(singleton)}: {name_of(part)}, which it needs, lives for one job."
        f" Bind that with container.singleton({_short(part)}, ...), or {name_of(singleton)} per job."
    )


def cannot_make(wanted: Any) -> InjectionError:
    """The error for a directly requested type that is not bound."""
    return InjectionError(
        f"Cannot make {name_of(wanted)}: nothing is bound to it. Bind it with container.bind({_short(wanted)}, ...)."
    )


def cycle(path: Sequence[Any]) -> InjectionError:
    """The error for a type that needs itself; `path` begins and ends with it."""
    return InjectionError(
        f"Cannot make {name_of(path[0])}: it needs itself, {' -> '.join(name_of(one) for one in path)}."
        " Build one of them without the next."
    )


def async_only(wanted: Any, source: Any) -> InjectionError:
    """The error for an async factory in a sync job."""
    return InjectionError(
        f"Cannot make {name_of(wanted)} for a sync job: {name_of(source)} is async."
        " Write `async def handle`, or bind a factory that is not async."
    )


def _short(wanted: Any) -> str:
    return getattr(wanted, "__name__", None) if isinstance(wanted, type) else repr(wanted)  # type: ignore[return-value]
