"""The gazetteer: knows in which division a place is."""

from __future__ import annotations

from collections import defaultdict
from math import cos, hypot, radians
from zlib import crc32

import places
from places import Place


class GazetteerBusyError(Exception):
    """It refused to answer now; ask again later."""


class NoDivisionsError(Exception):
    """It knows no divisions in the whole country."""


class Gazetteer:
    """Stands for a web service: it answers from the file, and is too busy for one request in three.

    Which ones is settled by a checksum of the request, so that all runs of the example count the same.
    """

    def __init__(self) -> None:
        self._known: dict[str, list[Place]] = defaultdict(list)
        for place in places.read():
            if place.has_division:
                self._known[place.country].append(place)

    def division_of(self, place: Place, request: str) -> str:
        """The division of the nearest place in the same country.

        Raises GazetteerBusyError and NoDivisionsError.
        """
        if crc32(request.encode()) % 3 == 0:
            raise GazetteerBusyError(f"{place}: the gazetteer is too busy")
        neighbours = self._known.get(place.country)
        if not neighbours:
            raise NoDivisionsError(f"{place}: the gazetteer knows no divisions in {place.country}")
        return min(neighbours, key=lambda other: _distance(place, other)).division


def _distance(one: Place, other: Place) -> float:
    """In degrees of latitude; good enough to compare places near each other."""
    east = (one.longitude - other.longitude) * cos(radians(one.latitude))
    return hypot(one.latitude - other.latitude, east)
