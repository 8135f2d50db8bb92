"""The file: its rows, and what can be wrong with one."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, Field

CSV = Path(__file__).with_name("cities.csv")
#: Read once: it walks through a folder of hundreds of files.
TIMEZONES = available_timezones()
#: What GeoNames writes when it does not know the first-order division (state, province, parish) of a place.
NO_DIVISION = ("", "00")


def _known_timezone(name: str) -> str:
    if name not in TIMEZONES:
        raise ValueError(f"{name!r} is not in the time zone database")
    return name


class Place(BaseModel):
    """One row. A value of the wrong kind raises ValidationError; what is merely missing is left to the repair."""

    geonameid: Annotated[int, Field(gt=0)]
    name: Annotated[str, Field(min_length=1)]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    division: str
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    population: Annotated[int, Field(ge=0)]
    timezone: Annotated[str, AfterValidator(_known_timezone)]

    def __str__(self) -> str:
        return f"{self.name} ({self.country} {self.geonameid})"

    @property
    def has_division(self) -> bool:
        """Whether the row names the division."""
        return self.division not in NO_DIVISION

    @property
    def is_complete(self) -> bool:
        """Whether the row can be taken as it is."""
        return self.has_division and self.population > 0


def count() -> int:
    """Rows in the file, without the heading. No cell holds a line break."""
    with CSV.open("rb") as file:
        return sum(1 for _ in file) - 1


def read(first: int = 0, rows: int | None = None) -> Iterator[Place]:
    """So many rows from number `first` on, counted from 0."""
    with CSV.open(encoding="utf-8", newline="") as file:
        columns = next(csv.reader(file))
        lines = islice(file, first, None if rows is None else first + rows)
        for row in csv.DictReader(lines, columns):
            yield Place.model_validate(row)
