"""The demo: import the file with a worker, look at what failed, put some rows right, count. See README.md.

    python demo.py [--keep]

The exit status is 0 when every row of the file is accounted for.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import places
import screen
from database import City, Confirmation, Report, create_tables, open_session
from jobs import QUEUE, import_cities, queue
from sqlalchemy import select
from worker import CONCURRENCY, HERE, StandstillError, Worker, WorkerDiedError, laraq

from laraq import Batch
from laraq.errors import BatchTimeoutError, LaraqError
from laraq.messages.failure import FailedJob

#: Seconds one step may take. All of them together take less than half a minute.
PATIENCE = 300
#: What a person finds out about the rows that failed, and no program could.
FINDINGS = {
    **dict.fromkeys(["AW", "BL", "CW", "MF", "SX", "TC", "VG"], "ISO 3166-2 lists no subdivisions of this country"),
    "3578069": "Plymouth on Montserrat was left when its volcano erupted, in 1995",
}


def main() -> int:
    """Run the demo; return the exit status."""
    keep = _arguments().keep
    # As with Ctrl-C, the worker and the folder must go first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with workplace(keep) as folder:
        create_tables()
        try:
            queue.migrate()
            return demo(folder, keep)
        except (LaraqError, WorkerDiedError, StandstillError) as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        finally:
            queue.store.close()


@contextmanager
def workplace(keep: bool) -> Iterator[Path]:
    """A new folder, with the environment pointing into it: the cities, and everything of laraq unless LARAQ_URL says
    where. The worker and the calls of `laraq` inherit that environment."""
    folder = Path(tempfile.mkdtemp(prefix="laraq-demo-"))
    os.environ["IMPORT_DATABASE"] = str(folder / "cities.db")
    os.environ.setdefault("LARAQ_URL", f"sqlite:///{folder / 'laraq.db'}")
    try:
        yield folder
    finally:
        if keep:
            print(f"\nKept in {folder}. To look around, in {HERE}:")
            for name in ("IMPORT_DATABASE", "LARAQ_URL"):
                print(f"  export {name}={os.environ[name]}")
            print("  laraq -A jobs batches")
            print("  laraq -A jobs failed")
        else:
            shutil.rmtree(folder)


@contextmanager
def importing(keep: bool) -> Iterator[Batch]:
    """Have the file imported, and leave nothing of it in a store that is not the demo's own."""
    batch = import_cities()
    try:
        yield batch
    finally:
        if not keep:
            for job in failures(batch):
                queue.failed.forget(job.id)
            batch.delete()


def demo(folder: Path, keep: bool) -> int:
    """All of it, in order."""
    rows = places.count()
    print(f"{rows:,} cities of North America and the Caribbean, from {places.CSV.name} into {folder / 'cities.db'}")
    print(f"Broker: {_without_password(os.environ['LARAQ_URL'])}; one worker, {CONCURRENCY} jobs at a time")
    with importing(keep) as batch, Worker(QUEUE, folder / "worker.log") as worker:
        follow(batch, worker)
        worker.wait_for(lambda: reports(batch), "The report of the import", PATIENCE)
        print(f"\n{batch.failed_jobs} rows could not be imported. The last of them to fail:\n")
        call("failed", "--queue", QUEUE, "--limit", "5")
        repair(batch, worker)
        return summarize(batch.fresh(), rows)


def follow(batch: Batch, worker: Worker) -> None:
    """Show how far the import is until every job is over."""
    with screen.progress() as show:

        def look(batch: Batch) -> None:
            show(batch)
            worker.check()

        try:
            batch.wait(PATIENCE, progress=look)
        except BatchTimeoutError as error:
            raise StandstillError(f"{error}\n{worker.last_words()}") from None


def repair(batch: Batch, worker: Worker) -> None:
    """What a person does about failed jobs: find out, put right what can be, and send them again."""
    with open_session() as session:
        session.add_all(Confirmation(subject=subject, reason=reason) for subject, reason in FINDINGS.items())
        session.commit()
    print("\nSome of these rows are right: seven countries have no divisions, and nobody lives in Plymouth any more,")
    print("which a volcano has buried. Confirmed, and all jobs that failed are sent again:\n")
    call("retry-batch", batch.id)
    follow(batch, worker)
    # The batch counts a job that fails again before its record is written.
    worker.wait_for(lambda: batch.failed_jobs == len(failures(batch)), "A retry", PATIENCE)


def summarize(batch: Batch, rows: int) -> int:
    """Show the numbers, and check them against the file, the database and the failed store; return the exit status."""
    with open_session() as session:
        imported = set(session.scalars(select(City.geonameid)))
    failed, written = failures(batch), reports(batch)
    refused = {place_of(job) for job in failed}
    assert batch.created_at
    assert batch.finished_at
    seconds = (batch.finished_at - batch.created_at).total_seconds()
    screen.table(
        "Import of cities.csv",
        {
            "rows in the file": f"{rows:,}",
            "rows imported": f"{len(imported):,}",
            "rows failed": f"{len(refused):,}",
            "jobs in the batch": f"{batch.total_jobs:,}",
            "jobs done": f"{batch.processed_jobs:,}",
            "jobs failed": f"{batch.failed_jobs:,}",
            "retries after an error": f"{written[0].retries:,}",
            "failed jobs repaired": f"{written[0].failed - batch.failed_jobs:,}",
            "reports, by finally_": f"{len(written)}",
            "seconds, with the worker's start": f"{seconds:.1f}",
            "rows per second": f"{rows / seconds:,.0f}",
        },
    )
    all_rows = {place.geonameid for place in places.read()}
    is_whole = imported | refused == all_rows and not imported & refused
    adds_up = is_whole and len(failed) == batch.failed_jobs and len(written) == 1
    sentence = f"{len(imported):,} imported + {len(refused):,} failed = {len(all_rows):,} rows in the file"
    print(f"\nEvery row is accounted for: {sentence}" if adds_up else f"\nThe numbers do NOT add up: {sentence}")
    return 0 if adds_up else 1


def reports(batch: Batch) -> Sequence[Report]:
    """What `finally_` has written."""
    with open_session() as session:
        return session.scalars(select(Report).where(Report.batch_id == batch.id)).all()


def failures(batch: Batch) -> Sequence[FailedJob]:
    """The records of the batch in the failed store."""
    return queue.failed.all(batch_id=batch.id)


def place_of(job: FailedJob) -> int | None:
    """The row a failed job was about, None if it was about several."""
    place = job.payload["kwargs"].get("place")
    return place and int(place["geonameid"])


def call(*arguments: str) -> None:
    """Run the program `laraq` as a user does, in sight."""
    print(f"$ laraq -A jobs {' '.join(arguments)}", flush=True)
    subprocess.run(laraq(*arguments), cwd=HERE, check=True)


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="Import a file of cities through jobs.")
    parser.add_argument("--keep", action="store_true", help="keep the databases and the worker's log")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
