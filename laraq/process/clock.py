"""The clock that jobs wait by. In a test it may be ahead of the system's (`laraq.testing`)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

_ahead = 0.0


def now() -> float:
    """Epoch seconds."""
    return time.time() + _ahead


def moment() -> datetime:
    """The same, aware."""
    return datetime.fromtimestamp(now(), UTC)


def ahead() -> float:
    """By how many seconds it is ahead of the system's."""
    return _ahead


def put_ahead(seconds: float) -> None:
    """Put it ahead by so many seconds in all, 0 for the system's own time."""
    global _ahead
    _ahead = seconds
