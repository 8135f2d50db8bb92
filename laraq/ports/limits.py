"""Limits. Their seconds are counted by the store's clock, to the millisecond, never by the worker's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from laraq.messages.delivery import Demand


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to demands; true if they were granted."""

    granted: bool
    #: Seconds until the end of the last window with too little left, 0 when granted.
    available_in: float
    #: What is left after this answer, in the order of the demands.
    remaining: tuple[int, ...]

    def __bool__(self) -> bool:
        return self.granted


@dataclass(frozen=True, slots=True)
class Usage:
    """The current state of a limit's window."""

    used: int
    #: Seconds until the window ends.
    ends_in: float


class Limits(Protocol):
    """Counts in fixed, aligned windows. The current window keeps its end, whatever length later demands have."""

    def take(self, demands: Sequence[Demand]) -> Grant:
        """Take all demands (of different keys) or none, atomically; no window ever exceeds its maximum."""

    def usage(self, key: str) -> Usage:
        """What was taken in the current window; nothing, ending in 0 s, when there is none."""

    def clear(self, key: str) -> None:
        """Reset the count."""
