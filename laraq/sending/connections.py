"""Connections: the places jobs are sent to, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from laraq.errors import ConnectionNotFoundError
from laraq.ports import QueueConnection


class Connections:
    """Resolves names to QueueConnections, each created once, on first use."""

    def __init__(
        self,
        default: str,
        configured: Mapping[str, Any],
        make: Callable[[str, Any], QueueConnection],
        builtin: Mapping[str, Callable[[], QueueConnection]],
        stand_in: Callable[[str, Callable[[], QueueConnection]], QueueConnection] | None = None,
    ) -> None:
        """`stand_in` gives what takes the place of a connection in a test."""
        self._stand_in = stand_in
        self._default = default
        self._configured = dict(configured)
        self._make = make
        self._builtin = builtin
        self._made: dict[str, QueueConnection] = {}

    def get(self, name: str | None) -> QueueConnection:
        """The connection of that name; None is the default connection.

        Raises ConnectionNotFoundError with the nearest name.
        """
        name = name or self._default
        made = self._made.get(name)
        if made is None:
            make = self._maker(name)
            made = self._made[name] = make() if self._stand_in is None else self._stand_in(name, make)
        return made

    def configured(self, name: str | None) -> Mapping[str, Any]:
        """The settings of a connection, if any."""
        configured = self._configured.get(name or self._default)
        return configured if isinstance(configured, Mapping) else {}

    def configure(self, connections: Mapping[str, Any]) -> None:
        """Add or replace connections."""
        self._configured.update(connections)
        for name in connections:
            self._made.pop(name, None)

    def names(self) -> list[str]:
        """Every name that can be used."""
        return sorted({*self._configured, *self._builtin})

    def _maker(self, name: str) -> Callable[[], QueueConnection]:
        if name in self._configured:
            given = self._configured[name]
            return (lambda: given) if hasattr(given, "push") else partial(self._make, name, given)
        if name in self._builtin:
            return self._builtin[name]
        raise ConnectionNotFoundError(name, self.names())
