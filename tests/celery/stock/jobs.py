"""The job that the tests send."""

from __future__ import annotations

from laraq import Job


class Import(Job):
    row: int

    def handle(self) -> None: ...
