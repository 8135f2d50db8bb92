"""Context: data that travels with jobs (Laravel's Context facade).

What a request adds is available in every job it dispatches, and in the jobs those dispatch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import MappingProxyType
from typing import Any

_data: ContextVar[Mapping[str, Any]] = ContextVar("laraq_context", default=MappingProxyType({}))


class Context:
    """JSON-ready values by name, local to the current thread or asyncio task."""

    @staticmethod
    def add(key: str, value: Any) -> None:
        """Set one value."""
        _data.set({**_data.get(), key: value})

    @staticmethod
    def get(key: str, default: Any = None) -> Any:
        """Return one value."""
        return _data.get().get(key, default)

    @staticmethod
    def forget(key: str) -> None:
        """Remove one value."""
        _data.set({name: value for name, value in _data.get().items() if name != key})

    @staticmethod
    def all() -> Mapping[str, Any]:
        """Return all values."""
        return _data.get()

    @staticmethod
    @contextmanager
    def scope(data: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Start a block with `data` (default: a copy of the current values); restore the previous values at its end."""
        token = replace(dict(_data.get() if data is None else data))
        try:
            yield
        finally:
            restore(token)


def replace(data: Mapping[str, Any]) -> Token[Mapping[str, Any]]:
    """Replace all values; `restore` brings the previous ones back."""
    return _data.set(data)


def restore(token: Token[Mapping[str, Any]]) -> None:
    """Undo a `replace`."""
    _data.reset(token)
