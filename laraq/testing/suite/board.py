"""Board: numbers that forked processes write and all of them read."""

from __future__ import annotations

import mmap


class Board:
    """A table in shared memory. Each cell has one writer, so that nothing is lost without a lock."""

    def __init__(self, rows: int, columns: int = 1) -> None:
        self._columns = columns
        self._cells = memoryview(mmap.mmap(-1, rows * columns * 8)).cast("d")

    def write(self, row: int, value: float, column: int = 0) -> None:
        """Set one cell."""
        self._cells[row * self._columns + column] = value

    def add(self, row: int, column: int = 0) -> None:
        """Count one more in one cell."""
        self._cells[row * self._columns + column] += 1

    def column(self, column: int = 0) -> list[float]:
        """What all rows say."""
        return [float(cell) for cell in self._cells[column :: self._columns]]

    def totals(self) -> list[float]:
        """The sum of each column."""
        return [sum(self.column(column)) for column in range(self._columns)]
