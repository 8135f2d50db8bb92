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
from functools import partial
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen, check_output
from zlib import crc32

import psutil
import pytest

from tests.cli.programs import LARAQ
from tests.support.full import full
from tests.support.waiting import wait_until

FOLDER = Path(__file__).parents[2] / "examples" / "import_csv"
#: Seconds the demo may take in all, beside other tests.
PATIENCE = 110

with (FOLDER / "cities.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))
NO_DIVISION = [row for row in ROWS if row["division"] in ("", "00")]
NO_POPULATION = [row for row in ROWS if row["population"] == "0"]
WITH_DIVISIONS = {row["country"] for row in ROWS if row not in NO_DIVISION}
REPAIRED = [row for row in NO_DIVISION if row["country"] in WITH_DIVISIONS]
#: Countries without divisions, and Plymouth, where nobody lives: right as they are.
CONFIRMED = [row for row in ROWS if row["country"] not in WITH_DIVISIONS or row["geonameid"] == "3578069"]
FAILED = len(NO_POPULATION) - 1
JOBS = 1 + math.ceil(len(ROWS) / 40) + len(NO_DIVISION) + len(NO_POPULATION)


def refusals(geonameid: str) -> int:
    """How often the gazetteer is too busy for a row before it answers."""
    attempt = 1
    while crc32(f"{geonameid}/{attempt}".encode()) % 3 == 0:
        attempt += 1
    return attempt - 1


@contextmanager
def demo(folder: Path, *options: str, url: str | None = None) -> Iterator[Popen[str]]:
    """`laraq demo` in a pipe, its files below `folder`, broker and store at the URL; gone when the block ends."""
    with Popen(
        [*LARAQ, "demo", *options],
        env=environment(folder, url),
        cwd=folder,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        # A shell has what it runs in the background ignore Ctrl-C, and so would the demo.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def environment(folder: Path, url: str | None) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("LARAQ_")}
    return {**env, "TMPDIR": str(folder), **({"LARAQ_URL": url} if url else {})}


def summary_of(output: str) -> dict[str, int]:
    """The numbers of the last table, without those of the clock."""
    lines: list[tuple[str, str]] = re.findall(r"^  (\w.*?) {2,}([\d.,]+)$", output, re.M)
    return {name: int(value.replace(",", "")) for name, value in lines if "second" not in name}


EXPECTED = {
    "rows in the file": len(ROWS),
    "rows imported": len(ROWS) - FAILED,
    "rows failed": FAILED,
    "jobs in the batch": JOBS,
    "jobs done": JOBS - FAILED,
    "jobs failed": FAILED,
    "retries after an error": sum(refusals(row["geonameid"]) for row in NO_DIVISION),
    "failed jobs repaired": len(CONFIRMED),
    "reports, by finally_": 1,
}


def worker_of(process: Popen[str]) -> psutil.Process:
    """The worker's main process, once it has begun to import."""
    assert process.stdout is not None
    while not re.match("Import cities.csv: [1-9]", line := process.stdout.readline()):
        assert line, "the demo ended"
    return next(child for child in psutil.Process(process.pid).children() if "work" in child.cmdline())


def test_every_row_is_imported_or_in_the_failed_store(tmp_path: Path) -> None:
    with demo(tmp_path, "--keep") as process:
        output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, output
    assert summary_of(output) == EXPECTED
    assert "NoDivisionsError" in output
    (database,) = tmp_path.glob("laraq-demo-*/cities.db")
    with closing(sqlite3.connect(database)) as connection:
        cities = connection.execute(f"SELECT {', '.join(ROWS[0])} FROM cities").fetchall()
    imported = {str(city[0]): [str(value) for value in city] for city in cities}
    as_they_are = [row for row in ROWS if row not in NO_DIVISION and row not in NO_POPULATION] + CONFIRMED
    assert [imported[row["geonameid"]] for row in as_they_are] == [list(row.values()) for row in as_they_are]
    assert imported.keys() == {row["geonameid"] for row in as_they_are + REPAIRED}


@pytest.mark.parametrize("server", ["redis", pytest.param("postgres", marks=full)])
def test_a_server_at_laraq_url_carries_it_and_keeps_nothing(
    server: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"{server}_url")
    with demo(tmp_path, url=url) as process:
        output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, output
    assert summary_of(output) == EXPECTED
    for listing, nothing in (("batches", "No batches.\n"), ("failed", "No failed jobs.\n")):
        command = [*LARAQ, "-A", "jobs", listing]
        assert check_output(command, env=environment(tmp_path, url), cwd=FOLDER, text=True) == nothing


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
