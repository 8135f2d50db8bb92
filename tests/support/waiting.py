"""wait_until: for what no event tells about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks.
INTERVAL = 0.01


def wait_until(predicate: Callable[[], T], timeout: float = 10, message: str = "the condition holds") -> T:
    """Look again and again until the predicate is true, and return what it gave; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        last = predicate()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain until {message}; the last look gave {last!r}")
        time.sleep(INTERVAL)
