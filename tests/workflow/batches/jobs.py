"""The jobs and callbacks that write into `log`, and what is counted of a batch."""

from __future__ import annotations

from typing import Any

from laraq import Batch, Bus, Job, SkipIfBatchCancelled, current_job, job
from laraq.workflow.batch import PendingBatch

log: list[Any] = []


def note(what: Any) -> None:
    """Pickled by name, so that a closure writes into this module's log and not into a copy."""
    log.append(what)


class Note(Job):
    n: int

    def handle(self) -> None:
        log.append(self.n)


class Skippable(Note):
    def middleware(self) -> list[Any]:
        return [SkipIfBatchCancelled()]


class Breaks(Job):
    n: int = 0

    tries = 1

    def handle(self) -> None:
        log.append(f"break {self.n}")
        raise ValueError(f"no {self.n}")


class Again(Note):
    """Needs two starts."""

    tries = 2

    def handle(self) -> None:
        if self.attempts == 1:
            raise ValueError("the first start")
        log.append(self.n)


class Adds(Job):
    numbers: list[int]

    def handle(self) -> None:
        batch = self.batch()
        assert batch is not None
        log.append(f"total {batch.total_jobs}, then {batch.add(Note(n) for n in self.numbers).total_jobs}")


@job
def whose() -> None:
    batch = current_job().batch()
    log.append(None if batch is None else batch.id)


def on_before(batch: Batch) -> None:
    log.append("before")


def on_progress(batch: Batch) -> None:
    log.append("progress")


def on_then(batch: Batch) -> None:
    log.append("then")


def on_catch(batch: Batch, error: BaseException) -> None:
    log.append(f"catch {error}")


def on_failure(batch: Batch, error: BaseException) -> None:
    log.append(f"failure {error}")


def on_finally(batch: Batch) -> None:
    log.append("finally")


def on_catch_of_the_chain(error: BaseException) -> None:
    log.append(f"chain: {error}")


def watched(jobs: Any) -> PendingBatch:
    """A batch whose every event is logged."""
    pending = Bus.batch(jobs).before(on_before).progress(on_progress).then(on_then).catch(on_catch)
    return pending.finally_(on_finally)


def counts(batch: Batch) -> tuple[int, int, int, bool]:
    """Total, succeeded, failed, and whether every job is accounted for."""
    found = batch.fresh()
    return found.total_jobs, found.processed_jobs, found.failed_jobs, found.finished_at is not None
