"""The example `import_csv`, run as `laraq demo` runs it, against the file it imports."""

from __future__ import annotations

import csv
import math
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from zlib import crc32

import psutil
import pytest

from tests.cli.programs import LARAQ
from tests.support.waiting import wait_until

FOLDER = Path(__file__).parents[2] / "examples" / "import_csv"
PLYMOUTH = "3578069"
#: Seconds the demo may take in all, beside other tests.
PATIENCE = 110

with (FOLDER / "cities.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))
NO_DIVISION = [row for row in ROWS if row["division"] in ("", "00")]
NO_POPULATION = [row for row in ROWS if row["population"] == "0"]
WITH_DIVISIONS = {row["country"] for row in ROWS if row not in NO_DIVISION}
REPAIRABLE = [row for row in NO_DIVISION if row["country"] in WITH_DIVISIONS]
FAILED = len(NO_DIVISION) - len(REPAIRABLE) + len(NO_POPULATION) - 1
JOBS = 1 + math.ceil(len(ROWS) / 40) + len(NO_DIVISION) + len(NO_POPULATION)


def refusals(geonameid: str) -> int:
    """How often the gazetteer is too busy for a row before it answers."""
    attempt = 1
    while crc32(f"{geonameid}/{attempt}".encode()) % 3 == 0:
        attempt += 1
    return attempt - 1


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[Popen[str]]:
    """`laraq demo` in a pipe, on its own SQLite files below `folder`, gone when the block ends."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LARAQ_")}
    env["TMPDIR"] = str(folder)
    with Popen([*LARAQ, "demo", *options], env=env, cwd=folder, stdout=PIPE, stderr=STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def worker_of(process: Popen[str]) -> psutil.Process:
    """The worker's main process, once it has begun to import."""
    assert process.stdout is not None
    while not re.match("Importing: [1-9]", line := process.stdout.readline()):
        assert line, "the demo ended"
    return next(child for child in psutil.Process(process.pid).children() if "work" in child.cmdline())


def test_every_row_is_imported_or_in_the_failed_store(tmp_path: Path) -> None:
    with demo(tmp_path, "--keep") as process:
        output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, output
    summary = dict(re.findall(r"^  (\w.*?) {2,}([\d.,]+)$", output, re.M))
    assert {name: int(value.replace(",", "")) for name, value in summary.items() if "second" not in name} == {
        "rows in the file": len(ROWS),
        "rows imported": len(ROWS) - FAILED,
        "rows failed": FAILED,
        "jobs": JOBS,
        "jobs processed": JOBS - FAILED,
        "retries after an error": sum(refusals(row["geonameid"]) for row in NO_DIVISION),
        "jobs in the failed store": FAILED,
        "failed jobs mended and retried": 1,
    }
    assert "NoDivisionsError" in output
    (database,) = tmp_path.glob("laraq-demo-*/cities.db")
    with closing(sqlite3.connect(database)) as connection:
        cities = connection.execute(f"SELECT {', '.join(ROWS[0])} FROM cities").fetchall()
    imported = {str(city[0]): [str(value) for value in city] for city in cities}
    complete = [row for row in ROWS if row not in NO_DIVISION and row not in NO_POPULATION]
    assert [imported[row["geonameid"]] for row in complete] == [list(row.values()) for row in complete]
    assert len(imported) == len(complete) + len(REPAIRABLE) + 1
    assert imported.keys() >= {PLYMOUTH, *(row["geonameid"] for row in REPAIRABLE)}


@pytest.mark.fault
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        worker = worker_of(process)
        family = [worker, *worker.children(recursive=True)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert not list(tmp_path.glob("laraq-demo-*"))
    wait_until(lambda: not any(map(psutil.Process.is_running, family)), message="the worker is gone")


@pytest.mark.fault
def test_a_demo_whose_worker_dies_fails_and_says_so(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        worker_of(process).kill()
        output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1
    assert "The worker ended (-9)" in output
