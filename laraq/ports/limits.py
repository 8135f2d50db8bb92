"""Limits. Their seconds are counted by the store's clock, to the millisecond, never by the worker's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from laraq.messages.delivery import Demand


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to demands; true when they were granted."""

    granted: bool
    #: Seconds until the last window that had too little left is over, 0 when granted.
    available_in: float
    #: What is left after this answer, in the order of the demands.
    remaining: tuple[int, ...]

    def __bool__(self) -> bool:
        return self.granted


@dataclass(frozen=True, slots=True)
class Usage:
    """What a limit's window holds at the moment."""

    used: int
    #: Seconds until the window is over.
    ends_in: float


class Limits(Protocol):
    """Counts in fixed, aligned windows. A window in progress keeps its end, whatever length later demands name."""

    def take(self, demands: Sequence[Demand]) -> Grant:
        """Take all demands (of different keys) or none, atomically: no window ever gives more than its maximum."""

    def usage(self, key: str) -> Usage:
        """What was taken in the window in progress; nothing, ending in 0 s, when there is none."""

    def clear(self, key: str) -> None:
        """Forget what was taken."""
