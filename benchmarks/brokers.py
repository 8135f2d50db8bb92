"""Brokers compared: whole stock Celery workers, interleaved rounds, late acknowledgements, prefork -c 2.

    python benchmarks/brokers.py --rounds 3                     # drain, jobs per second
    python benchmarks/brokers.py --what latency                 # idle, enqueue to start
    python benchmarks/brokers.py --pool solo                    # the same in one process
    python benchmarks/brokers.py --what delayed                 # drain with 1,000,000 delayed rows beside
    python benchmarks/brokers.py --what punctual                # 1,000 jobs due in 1 to 5 s beside 100,000 due tomorrow
    python benchmarks/brokers.py --brokers redis laraq-sqlite   # some of them

Levels move with the machine; compare within one run and quote ratios. Needs the servers named in `BROKERS`
(URLs can be replaced by environment variables of the same name).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from celery import Celery

from laraq_redis.broker import register as register_redis
from laraq_sqlalchemy.broker import register as register_sqlalchemy

register_redis()
register_sqlalchemy()

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/7")
POSTGRES = os.environ.get("POSTGRES_URL", "postgresql+psycopg://root@127.0.0.1:5432/postgres")
MARIADB = os.environ.get("MARIADB_URL", "mysql+pymysql://root@127.0.0.1:3306/laraq_bench")

#: Name -> (broker URL with {dir} for a fresh directory, jobs in one drain: some seconds' worth for each).
BROKERS = {
    "redis": (REDIS, 4000),
    "laraq-redis": (f"laraq-{REDIS}", 12000),
    "sqla-sqlite": ("sqla+sqlite:///{dir}/sqla.db", 500),
    "sqla-postgres": (f"sqla+{POSTGRES}", 500),
    "laraq-sqlite": ("laraq-db+sqlite:///{dir}/laraq.db", 6000),
    "laraq-postgres": (f"laraq-db+{POSTGRES}", 6000),
    "laraq-mariadb": (f"laraq-db+{MARIADB}", 3000),
}


def _options(url: str) -> dict[str, Any]:
    # kombu's own sqla transport hands every option to create_engine, which refuses this one
    return {"create_tables": True} if url.startswith("laraq-db") else {}


app = Celery("brokers", broker=os.environ.get("BENCH_BROKER", REDIS), set_as_current=False)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue="bench",
    broker_connection_retry_on_startup=True,
    broker_transport_options=_options(os.environ.get("BENCH_BROKER", "")),
    worker_prefetch_multiplier=int(os.environ.get("BENCH_MULTIPLIER", "4")),
)

#: count, first and last second: one file per pool process, so that counting costs the job next to nothing.
_MARK = struct.Struct("qdd")
_mark: mmap.mmap | None = None


def _my_mark() -> mmap.mmap:
    global _mark
    if _mark is None:
        path = Path(os.environ["BENCH_DIR"]) / f"mark-{os.getpid()}"
        path.write_bytes(_MARK.pack(0, time.time(), 0))
        with path.open("r+b") as file:
            _mark = mmap.mmap(file.fileno(), _MARK.size)
    return _mark


@app.task(name="noop")
def noop(n: int) -> None:
    mark = _my_mark()
    count, first, _ = _MARK.unpack(mark)
    _MARK.pack_into(mark, 0, count + 1, first, time.time())


@app.task(name="stamp")
def stamp(sent: float) -> None:
    with open(Path(os.environ["BENCH_DIR"]) / "stamps", "a") as file:
        file.write(f"{time.time() - sent}\n")


@contextmanager
def worker(url: str, directory: Path, concurrency: int, pool: str = "prefork") -> Iterator[psutil.Process]:
    """A stock worker in a process of its own."""
    env = dict(
        os.environ,
        BENCH_BROKER=url,
        BENCH_DIR=str(directory),
        PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    )
    command = [sys.executable, "-m", "celery", "-A", "brokers", "worker", "-l", "WARNING", "-P", pool]
    command += ["-c", str(concurrency), "-n", f"bench-{os.getpid()}@%h"]
    log = (directory / "worker.log").open("w")
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=directory)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        process.kill()
        process.wait()
        log.close()


def marks(directory: Path) -> list[tuple[int, float, float]]:
    """(count, first, last) of every pool process so far."""
    contents = [path.read_bytes() for path in directory.glob("mark-*")]
    return [_MARK.unpack(content) for content in contents if len(content) == _MARK.size]


def empty(url: str) -> None:
    """Nothing left of earlier runs."""
    app.conf.broker_url = url
    app.conf.broker_transport_options = _options(url)
    with app.connection_for_write(url) as connection:
        channel = connection.default_channel
        app.amqp.queues["bench"](channel).declare()
        channel.queue_purge("bench")


def fill(url: str, count: int) -> None:
    """`count` no-op jobs, through the ordinary API."""
    with app.connection_for_write(url) as connection:
        producer = app.amqp.Producer(connection)
        with producer.batch() if hasattr(producer, "batch") else contextlib.nullcontext():
            for n in range(count):
                noop.apply_async((n,), producer=producer)


def drain(url: str, count: int, directory: Path, pool: str = "prefork") -> dict[str, float]:
    """Jobs per second of a worker that finds `count` jobs, and the CPU time of its main process."""
    empty(url)
    fill(url, count)
    return work_off(url, count, directory, pool)


def work_off(url: str, count: int, directory: Path, pool: str = "prefork") -> dict[str, float]:
    """`drain` of what is in the queue."""
    with worker(url, directory, concurrency=2, pool=pool) as process:
        deadline = time.monotonic() + 120
        while sum(mark[0] for mark in marks(directory)) < count:
            if time.monotonic() > deadline or not process.is_running():
                raise SystemExit(f"{url}: not drained, see {directory}/worker.log")
            time.sleep(0.02)
        found = marks(directory)
        cpu = sum(process.cpu_times()[:2])
    seconds = max(mark[2] for mark in found) - min(mark[1] for mark in found)
    return {"jobs_per_s": count / seconds, "cpu_us_per_job": cpu / count * 1e6}


def latency(url: str, count: int, directory: Path) -> dict[str, float]:
    """Milliseconds from the call of `delay` to the first line of the job, one job at a time."""
    empty(url)
    stamps = directory / "stamps"
    with worker(url, directory, concurrency=1), app.connection_for_write(url) as connection:
        producer = app.amqp.Producer(connection)
        stamp.apply_async((time.time(),), producer=producer)
        deadline = time.monotonic() + 30
        while not stamps.exists():
            if time.monotonic() > deadline:
                raise SystemExit(f"{url}: worker did not start, see {directory}/worker.log")
            time.sleep(0.05)
        time.sleep(1)
        for _ in range(count):
            stamp.apply_async((time.time(),), producer=producer)
            time.sleep(0.06)
        time.sleep(2)
        ms = sorted(float(line) * 1000 for line in stamps.read_text().split()[1:])
    assert len(ms) == count, f"{len(ms)} of {count} started"
    return {"p50_ms": statistics.median(ms), "p99_ms": ms[int(count * 0.99)], "max_ms": ms[-1]}


def delayed(url: str, count: int, directory: Path) -> dict[str, float]:
    """`drain` with a million jobs beside that are due tomorrow, in the same queue, after one without them."""
    from sqlalchemy import create_engine

    without, beside = (directory / name for name in ("without", "beside"))
    without.mkdir()
    beside.mkdir()
    alone = drain(url, count, without)
    engine = create_engine(url.partition("+")[2])
    generate = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)"
    tomorrow = int((time.time() + 86400) * 1000)
    with engine.begin() as connection:
        if engine.dialect.name == "mysql":
            connection.exec_driver_sql("SET max_recursive_iterations = 1000001")
        connection.exec_driver_sql(
            "INSERT INTO laraq_jobs (queue, priority, payload, available_at, created_at, attempts)"
            f" {generate} SELECT 'bench', 0, '{{}}', {tomorrow} + i, {tomorrow}, 0 FROM n"
        )
    if engine.dialect.name == "postgresql":
        # Delayed jobs come one by one in life, not as a flood that autovacuum is still busy with.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE laraq_jobs")
    engine.dispose()
    try:
        fill(url, count)
        figures = work_off(url, count, beside)
    finally:
        empty(url)
    return figures | {
        "cost_beside_to_alone": alone["jobs_per_s"] / figures["jobs_per_s"],
        "cpu_beside_to_alone": figures["cpu_us_per_job"] / alone["cpu_us_per_job"],
    }


def punctual(url: str, count: int, directory: Path) -> dict[str, float]:
    """Milliseconds after their due time at which `count` jobs start, and the memory of the worker's main process."""
    empty(url)
    with app.connection_for_write(url) as connection:
        producer = app.amqp.Producer(connection)
        with producer.batch() if hasattr(producer, "batch") else contextlib.nullcontext():
            for n in range(100_000):
                noop.apply_async((n,), producer=producer, countdown=86400 + n)
    stamps = directory / "stamps"
    with worker(url, directory, concurrency=2) as process, app.connection_for_write(url) as connection:
        producer = app.amqp.Producer(connection)
        stamp.apply_async((time.time(),), producer=producer)
        while not stamps.exists():
            time.sleep(0.05)
        with producer.batch() if hasattr(producer, "batch") else contextlib.nullcontext():
            for n in range(count):
                due = time.time() + 1 + 4 * n / count
                stamp.apply_async((due,), producer=producer, countdown=due - time.time())
        deadline = time.monotonic() + 60
        while len(ms := [float(line) * 1000 for line in stamps.read_text().split()[1:]]) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"{url}: {len(ms)} of {count} started, see {directory}/worker.log")
            time.sleep(0.1)
        memory = process.memory_info().rss / 1e6
    empty(url)
    ms.sort()
    figures = {"p50_ms": statistics.median(ms), "p99_ms": ms[int(count * 0.99)], "max_ms": ms[-1]}
    return {**figures, "memory_mb": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["drain", "latency", "delayed", "punctual"], default="drain")
    parser.add_argument("--pool", choices=["prefork", "solo", "threads"], default="prefork")
    parser.add_argument("--brokers", nargs="+", choices=list(BROKERS), default=list(BROKERS))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    measure = {
        "drain": partial(drain, pool=options.pool),
        "latency": latency,
        "delayed": delayed,
        "punctual": punctual,
    }[options.what]
    counts = {"latency": 80, "punctual": 1000}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in options.brokers}
    for round_ in range(options.rounds):
        for name in options.brokers:
            url, count = BROKERS[name]
            with tempfile.TemporaryDirectory(prefix="brokers-") as directory:
                figures = measure(url.format(dir=directory), counts.get(options.what, count), Path(directory))
            results[name].append(figures)
            print(round_ + 1, name, json.dumps({key: round(value, 2) for key, value in figures.items()}), flush=True)
    print()
    reference = results.get("redis")
    for name, runs in results.items():
        medians: dict[str, Any] = {key: round(statistics.median(r[key] for r in runs), 2) for key in runs[0]}
        if reference and options.what == "drain":
            ratios = [r["jobs_per_s"] / ref["jobs_per_s"] for r, ref in zip(runs, reference, strict=True)]
            medians["vs_redis"] = round(statistics.median(ratios), 2)
        print(f"{name:16}", medians)


if __name__ == "__main__":
    main()
