"""FileFailedJobs: failed jobs in one file, for machines without a database."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from laraq.errors import StoreError
from laraq.failed.query import select
from laraq.messages.failure import FailedJob, FailedJobQuery


class FileFailedJobs:
    """Failed jobs as JSON lines, the newest first (Illuminate/Queue/Failed/FileFailedJobProvider.php).

    Processes and threads of one machine may write at once: a writer holds `flock` on `<path>.lock` and replaces
    the file as a whole, so readers need no lock and a crash leaves the old file. The kernel frees the lock of a
    writer that dies. Every change rewrites the file, hence the limit. Network file systems are not supported.
    """

    def __init__(self, path: str | os.PathLike[str], *, limit: int = 100) -> None:
        self.path = Path(path)
        #: How many records are kept; the oldest make room for new ones.
        self.limit = limit

    def record(self, failed: FailedJob) -> None:
        """Keep the record durably; a record with the same id is replaced, the oldest beyond the limit are dropped."""
        with self._changing() as records:
            others = [kept for kept in records if kept.id != failed.id]
            self._replace(select([failed, *others], FailedJobQuery(limit=self.limit)))

    def find(self, id: str) -> FailedJob | None:
        """The record, or None."""
        return next((failed for failed in self._read() if failed.id == id), None)

    def all(self, query: FailedJobQuery | None = None) -> Sequence[FailedJob]:
        """The records that match, newest first."""
        return select(self._read(), query)

    def forget(self, id: str, failed_at: datetime | None = None) -> bool:
        """Drop the record (only if its `failed_at` is equal, when given); return whether it existed."""
        with self._changing() as records:
            kept = [
                failed
                for failed in records
                if failed.id != id or (failed_at is not None and failed.failed_at != failed_at)
            ]
            return self._keep(kept, of=records)

    def flush(self, query: FailedJobQuery | None = None) -> int:
        """Drop every record that matches; return how many."""
        with self._changing() as records:
            dropped = {failed.id for failed in select(records, query)}
            self._keep([failed for failed in records if failed.id not in dropped], of=records)
            return len(dropped)

    def count(self, query: FailedJobQuery | None = None) -> int:
        """The number of records that match."""
        return len(self.all(query))

    @contextmanager
    def _changing(self) -> Iterator[list[FailedJob]]:
        """Yield the records to the one writer that holds the lock."""
        with self._errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A file of its own: the records' file is replaced, and a lock stays with the file that was replaced.
            with open(f"{self.path}.lock", "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self._read()

    def _keep(self, kept: list[FailedJob], *, of: list[FailedJob]) -> bool:
        """Write the remaining records if any were removed; return whether any were."""
        if len(kept) == len(of):
            return False
        self._replace(kept)
        return True

    def _replace(self, records: Iterable[FailedJob]) -> None:
        # Only the holder of the lock writes it, so one name is enough, and the remains of a crash are overwritten.
        new = f"{self.path}.new"
        with open(new, "w", encoding="ascii", opener=self._opener) as file:
            file.writelines(f"{json.dumps(failed.to_dict())}\n" for failed in records)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self.path)
        self._sync_folder()

    def _opener(self, path: str, flags: int) -> int:
        """Open with the mode of the file that is replaced; a first file is its owner's only, as it holds jobs."""
        file = os.open(path, flags, 0o600)
        os.fchmod(file, stat.S_IMODE(self.path.stat().st_mode) if self.path.exists() else 0o600)
        return file

    def _sync_folder(self) -> None:
        """Sync the folder, so that the new name of the file survives a power failure as well."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self) -> list[FailedJob]:
        with self._errors():
            try:
                lines = self.path.read_text(encoding="utf-8").split("\n")
            except FileNotFoundError:
                return []
            return [self._parse(number, line) for number, line in enumerate(lines, 1) if line]

    def _parse(self, number: int, line: str) -> FailedJob:
        try:
            return FailedJob.from_dict(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"Line {number} of {self.path} is not a failed job of laraq: {error!r}."
                " Check that it is the right file, or remove that line."
            ) from error

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"The failed jobs in {self.path} cannot be read or written: {error.strerror or error}."
                " Check the folder, its permissions and the free space."
            ) from error
