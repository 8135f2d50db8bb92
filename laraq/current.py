"""current(): the Laraq object in use here, and how to replace it."""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from laraq import context

if TYPE_CHECKING:
    from laraq.app import Laraq

#: Entered `with` blocks, innermost last.
_entered: ContextVar[tuple[Any, ...]] = ContextVar("laraq_current", default=())
#: Attached objects in order of attachment, as weak references, or the embedded default.
_default: list[Any] = []


def current() -> Laraq:
    """The Laraq of the innermost `with queue:`, else the first attached one, else the embedded default, built now."""
    entered = _entered.get()
    laraq: Laraq | None = entered[-1] if entered else _first()
    if laraq is None:
        # The composition root is above this file; it is found by name, never imported here.
        laraq = importlib.import_module("laraq.app").Laraq()
        laraq.implied = True
    return laraq


def set_default(laraq: Laraq) -> None:
    """Make it a default for `current()` outside of any `with`: the first attached app that is still alive is used,
    else the embedded default, which is kept here."""
    first = _first()
    if not laraq.embedded:
        alive = [entry for entry in _default if isinstance(entry, weakref.ref) and entry() is not None]
        _default[:] = [*alive, weakref.ref(laraq)]
    elif first is None or first.embedded:
        _default[:] = [laraq]


def _first() -> Laraq | None:
    for entry in _default:
        alive: Laraq | None = entry() if isinstance(entry, weakref.ref) else entry
        if alive is not None:
            return alive
    return None


def enter(laraq: Laraq) -> None:
    """Make a Laraq current in this thread or asyncio task, until `leave`."""
    _entered.set((*_entered.get(), laraq))


def leave() -> None:
    """Undo the last `enter`."""
    _entered.set(_entered.get()[:-1])


class Surroundings:
    """What a job runs in: its Laraq and the data sent with it. A class, because a generator is slower for each run."""

    __slots__ = ("_data", "_laraq", "_token")

    def __init__(self, laraq: Laraq, data: Mapping[str, Any]) -> None:
        self._laraq = laraq
        self._data = data

    def __enter__(self) -> None:
        enter(self._laraq)
        self._token = context.replace(self._data)

    def __exit__(self, *exc_info: object) -> None:
        context.restore(self._token)
        leave()


@contextmanager
def use(laraq: Laraq) -> Iterator[Laraq]:
    """Make a Laraq current for the length of a block."""
    enter(laraq)
    try:
        yield laraq
    finally:
        leave()
