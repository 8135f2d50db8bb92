"""current(): the Laraq object in use here, and how another takes its place."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laraq.app import Laraq

_current: ContextVar[Any] = ContextVar("laraq_current", default=None)
_default: list[Any] = []


def current() -> Laraq:
    """The innermost `with queue:`, else the one attached first, else the embedded default, built now."""
    found = _current.get()
    if found is None:
        if not _default:
            # The composition root is above this file; it is asked for by name, never imported here.
            importlib.import_module("laraq.app").Laraq()
        found = _default[0]
    laraq: Laraq = found
    return laraq


def set_default(laraq: Laraq) -> None:
    """Make it what `current()` returns outside of any `with`; the first attached app stays, an embedded one yields."""
    if not _default or _default[0].embedded:
        _default[:] = [laraq]


@contextmanager
def use(laraq: Laraq) -> Iterator[Laraq]:
    """Make it current for the length of a block, in this thread or asyncio task."""
    token = _current.set(laraq)
    try:
        yield laraq
    finally:
        _current.reset(token)
