"""Backoff: waits that grow with each start."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from laraq.messages.options import seconds


@dataclass(frozen=True, slots=True)
class Backoff:
    """A wait that grows: base, base*2, base*4, ... seconds, at most `cap`."""

    base: float
    cap: float
    #: Random share of the wait, 0 to 1.
    jitter: float

    @classmethod
    def exponential(cls, base: float | timedelta = 1, cap: float | timedelta = 3600, jitter: float = 0) -> Backoff:
        """`Backoff.exponential(2, cap=600, jitter=0.1)`: 2, 4, 8, ... 600 s, each up to 10 % shorter or longer."""
        return cls(seconds(base), seconds(cap), jitter)

    def after(self, attempt: int) -> float:
        """Seconds to wait after that start."""
        wait: float = min(self.cap, self.base * 2.0 ** min(attempt - 1, 64))
        return max(0.0, wait * (1.0 + self.jitter * random.uniform(-1, 1)))  # noqa: S311 - spreads load, guards nothing
