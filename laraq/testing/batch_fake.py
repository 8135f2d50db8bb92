"""BatchFake: the batch of a job whose `handle` a test calls (Illuminate/Support/Testing/Fakes/BatchFake.php)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from laraq.jobs.interactions import flat
from laraq.jobs.job import Job
from laraq.messages.tally import BatchRecord
from laraq.process import clock
from laraq.workflow.batch import Batch


class BatchFake(Batch):
    """A batch in memory: it has the counts it is given, and keeps what is added to it."""

    def __init__(
        self,
        id: str | None = None,
        name: str = "",
        total_jobs: int = 0,
        pending_jobs: int = 0,
        failed_jobs: int = 0,
        failed_job_ids: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        *,
        cancelled: bool = False,
        finished: bool = False,
    ) -> None:
        now = clock.moment()
        record = BatchRecord(
            id=id or str(uuid.uuid4()),
            name=name,
            total=total_jobs,
            done=total_jobs - pending_jobs,
            failed=failed_jobs,
            options={"own": dict(options or {})},
            created_at=now,
            cancelled_at=now if cancelled else None,
            finished_at=now if finished else None,
        )
        super().__init__(record, cast("Any", None))
        self._failed_job_ids = list(failed_job_ids)
        #: The jobs that were added.
        self.added: list[Any] = []
        #: Whether it was deleted.
        self.deleted = False

    @property
    def failed_job_ids(self) -> list[str]:
        """Those it was given."""
        return self._failed_job_ids

    def add(self, jobs: Any) -> BatchFake:
        """Keep them in `added`, and count them."""
        several = isinstance(jobs, Iterable) and not callable(jobs) and not isinstance(jobs, (Job, Mapping))
        added = flat(jobs if several else [jobs])
        self.added += added
        self._record = replace(self._record, total=self._record.total + len(added))
        return self

    def cancel(self) -> None:
        """Mark it."""
        self._record = replace(self._record, cancelled_at=clock.moment())

    def delete(self) -> None:
        """Note it in `deleted`."""
        self.deleted = True

    def fresh(self) -> BatchFake:
        """Itself."""
        return self
