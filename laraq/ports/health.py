"""What a store can tell about itself, for `laraq doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """None: it cannot tell."""

    #: Migrations that were not run.
    missing: Sequence[str] = ()
    #: What the server does when its memory is full; "noeviction": it refuses to write.
    eviction: str | None = None
    #: Whether records survive a restart of the server.
    durable: bool | None = None
    #: Epoch seconds by its clock.
    now: float | None = None


@runtime_checkable
class Examined(Protocol):
    """A store that can be examined; the others are taken to be well."""

    def examine(self) -> StoreHealth:
        """Ask the server. Raises StoreError when it does not answer."""
