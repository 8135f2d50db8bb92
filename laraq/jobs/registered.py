"""What a message may name besides jobs: functions, and middleware of `through`.

Anyone who can write to the broker names what runs, so a name is looked up only where the application allows it: in
modules that define jobs or tasks, and among objects with `@register`. A look-up imports nothing and runs no code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from laraq.current import current
from laraq.errors import JobDefinitionError, PayloadError
from laraq.jobs import registry

T = TypeVar("T", bound=Callable[..., Any])

#: Dotted paths.
_names: set[str] = set()


def register(thing: T) -> T:
    """Let messages name a function or middleware class that is not in a module with jobs.

    A decorator, or a call for other people's code: `register(their.Middleware)`. Workers must import the module. Raises
    JobDefinitionError for an object that a worker could not find by its name.
    """
    name = getattr(thing, "__qualname__", "<")
    if "<" in name or not isinstance(thing, (type, FunctionType)):
        raise JobDefinitionError(f"{thing!r} cannot be registered: expected a class or function of a module.")
    _names.add(registry.name_of(thing.__module__, name))
    return thing


def is_registered(thing: Any) -> bool:
    """Whether messages may name this class or function."""
    if registry.name_of(thing.__module__, thing.__qualname__) in _names:
        return True
    module = _as_imported(thing.__module__)
    ours = module.partition(".")[0] == "laraq"
    return not ours and (
        any(_as_imported(cls.__module__) == module for cls in registry.classes())
        or current().host.defines_tasks(thing.__module__)
    )


def find(name: str) -> Any:
    """The class or function of that dotted path, if an imported module defines it, else None."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        found = look_up(_imported(module), ".".join(parts[end:]))
        if found is not None and found.__module__ in (module, "__main__"):
            return found
    return None


def find_function(name: str) -> Callable[..., Any]:
    """The registered function of that name.

    Raises PayloadError, which says what to do.
    """
    function = find(name)
    if type(function) is not FunctionType:
        raise PayloadError(f"Function {name!r} cannot be found by this worker: import its module, or deploy its code.")
    if not is_registered(function):
        raise PayloadError(f"Function {name!r} is not run from a message: {REMEDY}")
    return function


#: The end of the message of an error about something that exists but is not registered.
REMEDY = (
    "it is not registered. Put @laraq.register on it, or define it in a module that defines jobs; workers must import"
    " that module."
)


def look_up(module: ModuleType | None, qualname: str) -> Any:
    """The class or function, without calling any `__getattr__`: that of a module may import others."""
    found: Any = module
    for part in qualname.split("."):
        if not isinstance(found, ModuleType if found is module else type):
            return None
        found = vars(found).get(part)
        if not issubclass(type(found), (type, FunctionType)):  # isinstance() would resolve a lazy proxy
            return None
    return found


def _imported(module: str) -> ModuleType | None:
    return sys.modules.get(module) or (sys.modules["__main__"] if _as_imported("__main__") == module else None)


def _as_imported(module: str) -> str:
    """The name under which workers import the module, which may be a script here."""
    return registry.name_of(module, "").removesuffix(".")
