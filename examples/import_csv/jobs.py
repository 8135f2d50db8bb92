"""The jobs: one splits the file, some three hundred import a piece each, and one repairs each row that is incomplete.

There is no Celery app here. `laraq -A jobs work` runs these jobs on the broker at LARAQ_URL.
"""

from __future__ import annotations

import ledger
import places
from database import City, Confirmation, open_session
from gazetteer import Gazetteer, NoDivisionsError
from places import Place
from sqlalchemy import select
from sqlalchemy.orm import Session

from laraq import Bus, Job, Laraq

#: Rows in one job.
PIECE = 40
QUEUE = "cities"

queue = Laraq(sessions=open_session)
queue.container.singleton(Gazetteer)
ledger.keep()


class NobodyLivesThereError(Exception):
    """A population of 0, which may be true, or a gap in the data."""


class ImportFile(Job):
    """Sends the pieces of the file."""

    queue = QUEUE
    tries = 3

    def handle(self) -> None:
        Bus.bulk(ImportRows(first, PIECE) for first in range(0, places.count(), PIECE))


class ImportRows(Job):
    """Imports the complete rows of a piece, and sends the others to be repaired.

    It may run twice, as every job may that is not acknowledged in time: the second run finds its rows there.
    """

    first: int
    rows: int

    queue = QUEUE
    tries = 5
    backoff = [1, 2, 5]
    timeout = 30

    def handle(self, session: Session) -> None:
        piece = list(places.read(self.first, self.rows))
        known = set(session.scalars(select(City.geonameid).where(City.geonameid.in_([p.geonameid for p in piece]))))
        new = [place for place in piece if place.geonameid not in known]
        session.add_all(City(**place.model_dump()) for place in new if place.is_complete)
        session.commit()
        Bus.bulk(RepairRow(place) for place in new if not place.is_complete)


class RepairRow(Job):
    """Completes one row and imports it.

    A gazetteer that is busy raises, and the job is started again after its backoff. What no later start can
    change fails at once.
    """

    place: Place

    queue = QUEUE
    tries = 8
    backoff = [0.5, 1, 2]
    timeout = 30

    def handle(self, session: Session, gazetteer: Gazetteer) -> None:
        place = self.place
        if not place.has_division:
            try:
                division = gazetteer.division_of(place, f"{place.geonameid}/{self.attempts}")
            except NoDivisionsError as error:
                return self.fail(error)
            place = place.model_copy(update={"division": division})
        if place.population == 0 and session.get(Confirmation, place.geonameid) is None:
            return self.fail(NobodyLivesThereError(f"{place}: is its population really 0?"))
        session.merge(City(**place.model_dump()))
        session.commit()
        return None
