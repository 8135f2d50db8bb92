"""The ledger: what became of each job, written by laraq's events and counted for the progress bar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from database import Base, City, engine
from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from laraq import Events
from laraq.events import JobFailed, JobProcessed, JobQueued, JobReleasedAfterException, JobRetryRequested

QUEUED, RETRIED, PROCESSED, FAILED = "queued", "retried", "processed", "failed"


class Entry(Base):
    """One event in the life of one job. What a second delivery repeats is not counted again."""

    __tablename__ = "ledger"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    event: Mapped[str] = mapped_column(primary_key=True)
    #: Which start of the job was followed by another; 0 for what happens to a job once.
    attempt: Mapped[int] = mapped_column(primary_key=True)


@dataclass(frozen=True, slots=True)
class Tally:
    """How far the import is."""

    #: Rows in the database.
    imported: int
    #: Jobs sent so far.
    jobs: int
    processed: int
    failed: int
    #: Starts that ended in an exception and were followed by another.
    retries: int

    @property
    def is_over(self) -> bool:
        """Whether every job is over: a job that sends others is unfinished until it has sent them all."""
        return 0 < self.jobs == self.processed + self.failed


def keep() -> None:
    """Have this process write down what happens to jobs."""
    Events.listen(JobQueued, lambda event: _note(event.id, QUEUED))
    Events.listen(JobReleasedAfterException, lambda event: _note(event.id, RETRIED, event.attempts))
    Events.listen(JobProcessed, lambda event: _note(event.id, PROCESSED))
    Events.listen(JobFailed, lambda event: _note(event.id, FAILED))
    Events.listen(JobRetryRequested, lambda event: _reopen(event.id))


def tally(session: Session) -> Tally:
    """Count. Everything that counts jobs is here; with a batch around them, the batch knows these numbers."""
    counts = Counter(session.scalars(select(Entry.event).where(_is_ours())))
    return Tally(
        imported=session.scalar(select(func.count(City.geonameid))) or 0,
        jobs=counts[QUEUED],
        processed=counts[PROCESSED],
        failed=counts[FAILED],
        retries=counts[RETRIED],
    )


def failed_ids(session: Session) -> Sequence[str]:
    """The jobs that have failed and were not sent again."""
    return session.scalars(select(Entry.job_id).where(Entry.event == FAILED, _is_ours())).all()


def _is_ours() -> ColumnElement[bool]:
    """Of a job sent by this run. On a broker that is shared the worker may meet others, of a run cut short."""
    return Entry.job_id.in_(select(Entry.job_id).where(Entry.event == QUEUED))


def _note(job_id: str, event: str, attempt: int = 0) -> None:
    try:
        with engine().begin() as connection:
            connection.execute(insert(Entry).values(job_id=job_id, event=event, attempt=attempt))
    except IntegrityError:
        pass  # noted before the job was delivered a second time


def _reopen(job_id: str) -> None:
    """`laraq retry` begins the job anew: that it failed is no longer true."""
    with engine().begin() as connection:
        connection.execute(delete(Entry).where(Entry.job_id == job_id, Entry.event == FAILED))
