"""Claim: a number that no other test process on this machine holds."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO


def _any(number: int, used_by_tests: bool) -> bool:
    return True


class Claim:
    """Names what a test process has for itself: a Redis database, a prefix of databases and virtual hosts.

    Held by a file lock, so the system frees it however the process ends, and the next holder finds, and clears away,
    what a killed one left behind.
    """

    def __init__(self, number: int, lock: IO[str]) -> None:
        self.number = number
        self._lock = lock

    def free(self) -> None:
        """Let somebody else have the number."""
        self._lock.close()

    @classmethod
    def first_free(cls, kind: str, numbers: Iterable[int], fits: Callable[[int, bool], bool] = _any) -> Claim:
        """Claim the first number that nobody holds and that `fits(number, whether tests ever held it)`."""
        for number in numbers:
            path = Path(tempfile.gettempdir()) / f"laraq-tests-{kind}-{number}.lock"
            try:
                lock = path.open("a")
            except PermissionError:  # another user's
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                used_by_tests = lock.tell() > 0
                if fits(number, used_by_tests):
                    if not used_by_tests:
                        lock.write("held by tests of laraq\n")
                        lock.flush()
                    return cls(number, lock)
            except BlockingIOError:
                pass
            except BaseException:
                lock.close()
                raise
            lock.close()
        raise LookupError(f"every {kind} number is taken or does not fit")
