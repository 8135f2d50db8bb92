"""Turnstile: writers of one SQLite file take turns, first come, first served."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from laraq.process.forks import after_fork

try:
    import fcntl
except ImportError:  # Windows: SQLite's own busy handler decides, unfairly but correctly
    fcntl = None  # type: ignore[assignment]


class Turnstile:
    """Two locked side files around every write.

    SQLite's busy handler sleeps between tries, so a process that commits in a loop starves the others: it writes again
    before a sleeper wakes. Here the next writer already waits inside the gate, and the kernel wakes it. After a crash
    the kernel releases the locks of the dead process.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._paths = (f"{database}-gate", f"{database}-turn")
        self._files: tuple[int, int] | None = None
        # A lock belongs to the open file, which a child shares with its parent. It opens its own, and must not hold
        # those of a parent that is killed.
        after_fork(self.close)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Run the block while no other user of the turnstile runs one."""
        if fcntl is None:
            yield
            return
        gate, turn = self._descriptors()
        fcntl.flock(gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
        finally:
            fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)

    def _descriptors(self) -> tuple[int, int]:
        if self._files is None:
            gate, turn = (os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._mode()) for path in self._paths)
            self._files = gate, turn
        return self._files

    def _mode(self) -> int:
        """The mode of the side files: only users of the database may take a turn."""
        with suppress(OSError):
            return os.stat(self._database).st_mode & 0o660
        return 0o660

    def close(self) -> None:
        """Close the side files; they stay on disk, because others may be waiting on them."""
        if self._files is not None:
            for file in self._files:
                os.close(file)
            self._files = None
