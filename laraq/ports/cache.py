"""The cache: short texts and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Cached:
    """A live value of the cache."""

    value: str
    #: Seconds it still lives.
    ends_in: float

    @property
    def count(self) -> int:
        """The value of a key that is only ever incremented."""
        return int(self.value)


class Cache(Protocol):
    """Short texts and counts that all processes see. Every one ends by itself."""

    def get(self, key: str) -> Cached | None:
        """The live value, or None."""

    def put(self, key: str, value: str, seconds: float) -> None:
        """Set the value, whatever was there, to live for `seconds`."""

    def add(self, key: str, value: str, seconds: float) -> bool:
        """Set the value if none is alive; of any number of racing calls exactly one is told that it did."""

    def increment(self, key: str, amount: int, seconds: float) -> Cached:
        """Add to a count, losing no racing call; the first one lets it live for `seconds`, later ones keep that end."""

    def forget(self, key: str, value: str | None = None) -> bool:
        """Drop it (only while it is still `value`, when given); say whether that was there."""
