"""The jobs: one splits the file, some three hundred import a piece each, and one repairs each row that is incomplete.

All are in one batch, which begins with the first and grows. There is no Celery app here: `laraq -A jobs work` runs
these jobs on the broker at LARAQ_URL.
"""

from __future__ import annotations

import places
from database import City, Confirmation, Report, Retry, open_session
from gazetteer import Gazetteer, NoDivisionsError
from places import Place
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from laraq import Batch, Bus, Events, Job, Laraq
from laraq.events import JobReleasedAfterException

#: Rows in one job.
PIECE = 40
QUEUE = "cities"

queue = Laraq(sessions=open_session)
queue.container.singleton(Gazetteer)


class NobodyLivesThereError(Exception):
    """A population of 0, which may be true, or a gap in the data."""


def import_cities() -> Batch:
    """Have the file imported. A row that cannot be is no reason to stop."""
    batch = Bus.batch([ImportFile()]).name("Import cities.csv").allow_failures().finally_(report)
    return batch.on_queue(QUEUE).dispatch()


class ImportFile(Job):
    """Adds the pieces of the file to the batch."""

    tries = 3

    def handle(self) -> None:
        if batch := self.batch():  # None when it was deleted, which calls the import off
            batch.add(ImportRows(first, PIECE) for first in range(0, places.count(), PIECE))


class ImportRows(Job):
    """Imports the complete rows of a piece, and adds a job for each of the others.

    It may run twice, as every job may that is not acknowledged in time: the second run finds its rows there.
    """

    first: int
    rows: int

    tries = 5
    backoff = [1, 2, 5]
    timeout = 30

    def handle(self, session: Session) -> None:
        piece = list(places.read(self.first, self.rows))
        known = set(session.scalars(select(City.geonameid).where(City.geonameid.in_([p.geonameid for p in piece]))))
        new = [place for place in piece if place.geonameid not in known]
        session.add_all(City(**place.model_dump()) for place in new if place.is_complete)
        session.commit()
        incomplete = [place for place in new if not place.is_complete]
        if incomplete and (batch := self.batch()):
            batch.add(RepairRow(place) for place in incomplete)


class RepairRow(Job):
    """Completes one row and imports it.

    A gazetteer that is busy raises, and the job is started again after its backoff. What no later start can
    change fails at once.
    """

    place: Place

    tries = 8
    backoff = [0.5, 1, 2]
    timeout = 30

    def handle(self, session: Session, gazetteer: Gazetteer) -> None:
        place = self.place
        if not place.has_division and session.get(Confirmation, place.country) is None:
            try:
                division = gazetteer.division_of(place, f"{place.geonameid}/{self.attempts}")
            except NoDivisionsError as error:
                return self.fail(error)
            place = place.model_copy(update={"division": division})
        if place.population == 0 and session.get(Confirmation, str(place.geonameid)) is None:
            return self.fail(NobodyLivesThereError(f"{place}: is its population really 0?"))
        session.merge(City(**place.model_dump()))
        session.commit()
        return None


def report(batch: Batch, session: Session) -> None:
    """Write down how the import went; called once, when each of its jobs has succeeded or failed."""
    session.add(
        Report(
            batch_id=batch.id,
            imported=session.scalar(select(func.count(City.geonameid))) or 0,
            failed=batch.failed_jobs,
            retries=session.scalar(select(func.count()).select_from(Retry).where(Retry.batch_id == batch.id)) or 0,
        )
    )
    session.commit()


def _note_retry(event: JobReleasedAfterException) -> None:
    """A batch counts jobs, not their starts."""
    with open_session() as session:
        session.merge(Retry(job_id=event.id, attempt=event.attempts, batch_id=event.delivery.payload.batch_id))
        session.commit()


Events.listen(JobReleasedAfterException, _note_retry)
