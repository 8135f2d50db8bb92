"""Models: how mapped instances of an ORM are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Models(Protocol):
    """An ORM whose mapped instances are sent as identifiers."""

    def handles(self, type_: Any) -> bool:
        """Whether `type_` is a mapped class of this ORM."""

    def identify(self, instance: Any, relations: bool = True) -> Mapping[str, Any]:
        """A JSON-ready identifier: class, primary key, and with `relations` the names of the loaded relationships."""

    def open(self) -> None:
        """Begin the unit of work of one job, nested in that of an outer job if there is one; nothing connects yet."""

    def fetch(self, type_: Any, identifiers: Sequence[Mapping[str, Any]]) -> Sequence[Any | None]:
        """The rows in the order of the identifiers, None for missing rows, with the named relationships loaded."""

    def close(self) -> None:
        """End the innermost unit of work."""

    def bind(self, container: Any) -> None:
        """Bind in the container what handlers can have injected by type."""
