"""current(): the Laraq object in use here, and how another takes its place."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from laraq import context

if TYPE_CHECKING:
    from laraq.app import Laraq

#: Entered `with` blocks, innermost last.
_entered: ContextVar[tuple[Any, ...]] = ContextVar("laraq_current", default=())
_default: list[Any] = []


def current() -> Laraq:
    """The innermost `with queue:`, else the one attached first, else the embedded default, built now."""
    entered = _entered.get()
    if not entered and not _default:
        # The composition root is above this file; it is asked for by name, never imported here.
        importlib.import_module("laraq.app").Laraq()
        _default[0].implied = True
    laraq: Laraq = entered[-1] if entered else _default[0]
    return laraq


def set_default(laraq: Laraq) -> None:
    """Make it what `current()` returns outside of any `with`; the first attached app stays, an embedded one yields."""
    if not _default or _default[0].embedded:
        _default[:] = [laraq]


def enter(laraq: Laraq) -> None:
    """Make it current in this thread or asyncio task, until `leave`."""
    _entered.set((*_entered.get(), laraq))


def leave() -> None:
    """Undo the last `enter`."""
    _entered.set(_entered.get()[:-1])


class Surroundings:
    """What a job runs in: its Laraq, and the data that travelled with it. Once for every run, so it is no generator."""

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
    """Make it current for the length of a block."""
    enter(laraq)
    try:
        yield laraq
    finally:
        leave()
