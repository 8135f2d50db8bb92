"""The demo: import the file with a worker, look at what failed, put one row right, count. See README.md.

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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import places
import screen
from database import City, Confirmation, create_tables, open_session
from jobs import QUEUE, ImportFile, queue
from ledger import Tally, failed_ids, tally
from sqlalchemy import select
from sqlalchemy.orm import Session
from worker import CONCURRENCY, HERE, Worker, WorkerDiedError, laraq

from laraq.errors import LaraqError
from laraq.failure import FailedJob

#: Plymouth on Montserrat, buried by a volcano from 1995 on: its population is 0, and that is no mistake.
PLYMOUTH = 3578069
#: Seconds between two looks at the numbers.
GLANCE = 0.2
#: Seconds without any change after which the demo gives up. The longest backoff of a job is a few seconds.
PATIENCE = 60


class StandstillError(Exception):
    """Nothing has happened for too long."""


def main() -> int:
    """Run the demo; return the exit status."""
    keep = _arguments().keep
    # As with Ctrl-C, the worker and the folder must go first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with workplace(keep) as folder:
        create_tables()
        try:
            return demo(folder)
        except (LaraqError, WorkerDiedError, StandstillError) as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        finally:
            if not keep:
                forget_failed_jobs()
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
            print("  laraq -A jobs failed")
        else:
            shutil.rmtree(folder)


def demo(folder: Path) -> int:
    """All of it, in order."""
    rows = places.count()
    print(f"{rows:,} cities of North America and the Caribbean, from {places.CSV.name} into {folder / 'cities.db'}")
    print(f"Broker: {_without_password(os.environ['LARAQ_URL'])}; one worker, {CONCURRENCY} jobs at a time")
    with Worker(QUEUE, folder / "worker.log") as worker:
        begun = time.monotonic()
        ImportFile.dispatch()
        first = follow(worker, "Importing", rows)
        seconds = time.monotonic() - begun
        print(f"\n{first.failed} rows could not be imported. The last of them to fail:\n")
        call("failed", "--queue", QUEUE, "--limit", "5")
        mend_plymouth(worker, rows)
    return summarize(first, seconds, rows)


def follow(worker: Worker, title: str, rows: int) -> Tally:
    """Show how far the import is until every job is over.

    Raises WorkerDiedError and StandstillError.
    """
    before, changed = None, time.monotonic()
    with screen.progress(title, rows) as show, open_session() as session:
        while True:
            now = tally(session)
            session.rollback()  # the next look is at what has been committed by then
            show(now.imported + now.failed, f"{now.processed} jobs done, {now.retries} retries, {now.failed} failed")
            if now.is_over:
                return now
            if now != before:
                before, changed = now, time.monotonic()
            elif time.monotonic() - changed > PATIENCE:
                raise StandstillError(f"Nothing happened for {PATIENCE} s: {now}\n{worker.last_words()}")
            worker.check()
            time.sleep(GLANCE)


def mend_plymouth(worker: Worker, rows: int) -> None:
    """What a person does about a failed job: find out, put it right, and send the job again."""
    with open_session() as session:
        session.add(Confirmation(geonameid=PLYMOUTH, reason="left after the eruptions of the Soufrière Hills"))
        session.commit()
        id = next(job.id for job in failed_jobs(session) if place_of(job) == PLYMOUTH)
    print("\nPlymouth failed, for it has no inhabitants: a volcano drove them away. Confirmed, and sent again:\n")
    call("retry", id)
    follow(worker, "Retrying", rows)


def summarize(first: Tally, seconds: float, rows: int) -> int:
    """Show the numbers, and check them against the file, the database and the failed store; return the exit status."""
    with open_session() as session:
        last = tally(session)
        imported = set(session.scalars(select(City.geonameid)))
        failed = failed_jobs(session)
    screen.table(
        "Import of cities.csv",
        {
            "rows in the file": f"{rows:,}",
            "rows imported": f"{last.imported:,}",
            "rows failed": f"{last.failed:,}",
            "jobs": f"{last.jobs:,}",
            "jobs processed": f"{last.processed:,}",
            "retries after an error": f"{last.retries:,}",
            "jobs in the failed store": f"{len(failed):,}",
            "failed jobs mended and retried": f"{first.failed - last.failed:,}",
            "seconds, with the worker's start": f"{seconds:.1f}",
            "rows per second": f"{rows / seconds:,.0f}",
        },
    )
    refused = {place_of(job) for job in failed}
    all_rows = {place.geonameid for place in places.read()}
    adds_up = imported | refused == all_rows and not imported & refused and PLYMOUTH in imported
    sentence = f"{len(imported):,} imported + {len(refused):,} failed = {len(all_rows):,} rows in the file"
    print(f"\nEvery row is accounted for: {sentence}" if adds_up else f"\nThe numbers do NOT add up: {sentence}")
    return 0 if adds_up else 1


def failed_jobs(session: Session) -> list[FailedJob]:
    """The failed store's records of this run."""
    return [job for id in failed_ids(session) if (job := queue.failed.find(id)) is not None]


def place_of(job: FailedJob) -> int:
    """The row a failed job was about."""
    geonameid: int = job.payload["kwargs"]["place"]["geonameid"]
    return geonameid


def call(*arguments: str) -> None:
    """Run the program `laraq` as a user does, in sight."""
    print(f"$ laraq -A jobs {' '.join(arguments)}", flush=True)
    subprocess.run(laraq(*arguments), cwd=HERE, check=True)


def forget_failed_jobs() -> None:
    """Leave nothing in a store that is not the demo's own."""
    with open_session() as session:
        for id in failed_ids(session):
            queue.failed.forget(id)


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="Import a file of cities through jobs.")
    parser.add_argument("--keep", action="store_true", help="keep the databases and the worker's log")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
