"""The registry: job name <-> class. It is process-wide, as class definitions are."""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from laraq.errors import UnknownJobError

_classes: dict[str, type[Any]] = {}
_listeners: list[Callable[[type[Any]], None]] = []


def name_of(module: str, qualname: str) -> str:
    """The dotted path of a class or function in messages.

    A class or function of a script gets the name under which a worker imports that script
    (Celery does the same: `celery.utils.imports: gen_task_name`).
    """
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        file = getattr(main, "__file__", None)
        module = spec.name.removesuffix(".__main__") if spec else Path(file).stem if file else module
    return f"{module}.{qualname}"


def register(cls: type[Any], name: str) -> None:
    """Register the class under its name and notify the listeners; a class defined again replaces the first."""
    _classes[name] = cls
    for listener in tuple(_listeners):
        listener(cls)


def find(name: str) -> type[Any]:
    """The class of that name.

    Raises UnknownJobError.
    """
    try:
        return _classes[name]
    except KeyError:
        raise UnknownJobError(name) from None


def get(name: str) -> type[Any] | None:
    """The class of that name, or None."""
    return _classes.get(name)


def knows(name: str) -> bool:
    """Whether a class of that name is registered."""
    return name in _classes


def classes() -> Iterator[type[Any]]:
    """Yield every registered class."""
    return iter(tuple(_classes.values()))


def listen(listener: Callable[[type[Any]], None]) -> None:
    """Call `listener` with every class registered from now on; a method is called as long as its object lives."""
    if not inspect.ismethod(listener):
        _listeners.append(listener)
        return

    def forget(_: Any) -> None:
        if notify in _listeners:
            _listeners.remove(notify)

    method = weakref.WeakMethod(listener, forget)

    def notify(cls: type[Any]) -> None:
        if (alive := method()) is not None:
            alive(cls)

    _listeners.append(notify)
