"""current(): the Laraq object in use here, and how another takes its place."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

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


@contextmanager
def use(laraq: Laraq) -> Iterator[Laraq]:
    """Make it current for the length of a block."""
    enter(laraq)
    try:
        yield laraq
    finally:
        leave()
