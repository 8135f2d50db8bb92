"""The cache of short texts and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Cached:
    """A live value of the cache."""

    value: str
    #: Seconds until the value expires.
    ends_in: float

    @property
    def count(self) -> int:
        """The value of a key that is only incremented."""
        return int(self.value)


class Cache(Protocol):
    """Short texts and counts that all processes see. Every value expires."""

    def get(self, key: str) -> Cached | None:
        """The live value, or None."""

    def peek(self, key: str) -> str | None:
        """The live value without its end, or None: the cheapest query, for those who ask every second."""

    def put(self, key: str, value: str, seconds: float) -> None:
        """Set the value to live for `seconds`, replacing any other."""

    def add(self, key: str, value: str, seconds: float) -> bool:
        """Set the value if none is live; of any number of racing calls exactly one returns True."""

    def increment(self, key: str, amount: int, seconds: float) -> Cached:
        """Add to a count atomically; the first call lets it live for `seconds`, later calls keep that end."""

    def forget(self, key: str, value: str | None = None) -> bool:
        """Drop the value (only while it is still `value`, when given); return whether it existed."""
