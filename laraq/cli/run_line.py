"""RunLine: the line that `laraq work` prints for a job: time, name, outcome, duration. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import click

from laraq.cli.fitting import cells
from laraq.cli.output import printable

#: Colour by status.
COLOURS = {"RUNNING": "yellow", "RELEASED": "yellow", "PARKED": "yellow", "DONE": "green", "FAIL": "red"}

#: Fewest dots between a job and its status.
FEWEST_DOTS = 3


@dataclass(frozen=True, slots=True)
class RunLine:
    """One start of a job or task, or the end of one."""

    #: In local time.
    at: datetime
    #: The job's display name, or the dotted path of its class.
    job: str
    id: str
    #: RUNNING, DONE, FAIL, RELEASED, PARKED or SKIPPED.
    status: str
    #: Seconds; None at the start, and for a run that did not end by itself.
    seconds: float | None = None
    #: Details added by `-v`: ("queue high", "attempt 2").
    details: tuple[str, ...] = ()

    def text(self, width: int | None = None, *, coloured: bool = False) -> str:
        """The line; with a width the status is at its end, behind dots."""
        details = f" ({', '.join(self.details)})" if self.details else ""
        left = printable(f"{self.at:%Y-%m-%d %H:%M:%S}  {self.job}  {self.id}{details}").replace("\n", " ")
        right = ("" if self.seconds is None else f"{duration(self.seconds)}  ") + self.status
        dots = "" if width is None else "." * max(FEWEST_DOTS, width - cells(left) - cells(right) - 2)
        if coloured:
            coloured_status = click.style(self.status, fg=COLOURS.get(self.status), bold=True)
            right = right.removesuffix(self.status) + coloured_status
            dots = click.style(dots, dim=True) if dots else dots
        return " ".join(part for part in (left, dots, right) if part) if dots else f"{left}  {right}"


def duration(seconds: float) -> str:
    """`4 ms`, `1.25 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
