"""Jobs against plain Celery tasks, whole `celery worker` processes, in interleaved rounds.

    python benchmarks/jobs.py                                       # drain, one dispatch, bulk, idle start; all systems
    python benchmarks/jobs.py --what drain --systems celery-redis laraq-redis --rounds 5
    python benchmarks/jobs.py --what dispatch bulk

Every system runs the same function: 16 bytes (moment of the dispatch, moment of the start) at the end of a file.
`celery-*` are plain tasks with late acknowledgement, the others jobs. Levels move with the machine; only the ratios of
one round count, and the table shows their median and range: to `celery-redis`, and to plain tasks on the same broker.
huey and dramatiq join in if they are installed beside laraq.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from celery import Celery

from laraq import Bus, Job, Laraq

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/7")
AMQP = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
POSTGRES = os.environ.get("POSTGRES_URL", "postgresql+psycopg://root@127.0.0.1:5432/postgres")
DIR = os.environ.get("BENCH_DIR") or tempfile.mkdtemp(prefix="laraq-bench", dir="/dev/shm")
HITS = os.path.join(DIR, "hits")
_RECORD = struct.Struct("dd")

#: Name -> (broker, store, jobs of one drain).
SYSTEMS = {
    "celery-redis": (REDIS, "", 6000),
    "celery-rabbitmq": (AMQP, "", 5000),
    "redis": (REDIS, REDIS, 8000),
    "rabbitmq": (AMQP, REDIS, 8000),
    "laraq-redis": (f"laraq-{REDIS}", REDIS, 20000),
    "sqlite": (f"laraq-db+sqlite:///{DIR}/laraq.db", f"sqlite:///{DIR}/laraq.db", 8000),
    "postgresql": (f"laraq-db+{POSTGRES}", POSTGRES, 8000),
}
BROKER, STORE, _ = SYSTEMS[os.environ.get("BENCH_SYSTEM", "celery-redis")]

app = Celery("jobs", broker=BROKER, set_as_current=True)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue="bench",
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "128")),
    worker_disable_rate_limits=True,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"create_tables": True} if BROKER.startswith("laraq-db") else {},
)
if STORE:
    queue = Laraq(app, store=STORE)

_file: int | None = None


def hit(sent_at: float) -> None:
    global _file
    if _file is None:
        _file = os.open(HITS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_file, _RECORD.pack(sent_at, time.time()))


@app.task(name="plain")
def plain(t: float) -> None:
    hit(t)


class Hit(Job):
    t: float

    def handle(self) -> None:
        hit(self.t)


# -- what runs in processes of their own ---------------------------------------------------------------------------


def reset() -> None:
    if STORE:
        queue.migrate()
    if "redis" in BROKER + STORE:
        import redis

        redis.Redis.from_url(REDIS).flushdb()
    if "redis" not in BROKER:
        with contextlib.suppress(Exception), app.connection_for_write() as connection:
            connection.default_channel.queue_purge("bench")


def fill(count: int) -> None:
    if STORE:
        Bus.bulk(Hit(0.0) for _ in range(count))
        return
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(count):
            plain.apply_async((0.0,), producer=producer)


def one() -> None:
    if STORE:
        Hit.dispatch(time.time())
    else:
        plain.delay(time.time())


def act(what: str, count: int) -> None:
    """Print seconds, and seconds of CPU, of one operation."""
    one_by_one: list[float] = []
    if what == "dispatch":
        for _ in range(50):
            one()
    elif what == "bulk":
        fill(20)
    began, cpu = time.perf_counter(), time.process_time()
    if what == "reset":
        reset()
    elif what in ("fill", "bulk"):
        fill(count)
    else:
        for _ in range(count):
            at = time.perf_counter()
            one()
            one_by_one.append(time.perf_counter() - at)
            if what == "paced":
                time.sleep(0.02)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    print(statistics.median(one_by_one) if one_by_one else took, took, used)


# -- the driver ------------------------------------------------------------------------------------------------------


def agent(system: str, what: str, count: int = 0) -> tuple[float, float, float]:
    shown = subprocess.run(
        [sys.executable, __file__, "--act", what, str(count)],
        env={**os.environ, "BENCH_SYSTEM": system, "BENCH_DIR": DIR},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    first, took, used = map(float, shown.stdout.split()[-3:])
    return first, took, used


@contextmanager
def worker(system: str, processes: int) -> Iterator[psutil.Process]:
    log = open(os.path.join(DIR, "worker.log"), "w")  # noqa: SIM115
    started = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "jobs", "worker", "-c", str(processes), "-l", "ERROR",
         "--without-gossip", "--without-mingle", "--without-heartbeat"],
        cwd=Path(__file__).parent, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, "BENCH_SYSTEM": system, "BENCH_DIR": DIR},
    )  # fmt: skip
    try:
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
        log.close()


def hits() -> int:
    return os.stat(HITS).st_size // _RECORD.size


def await_hits(count: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while hits() < count:
        if time.monotonic() > until:
            raise TimeoutError(f"{hits()} of {count}; see {DIR}/worker.log")
        time.sleep(0.002)


def cpu_of(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def clear() -> None:
    with open(HITS, "wb"):
        pass


def drain(system: str, scale: float, processes: int) -> tuple[float, float]:
    """Jobs a second, and microseconds of the worker's CPU a job, between the first and the last tenth."""
    count = int(SYSTEMS[system][2] * scale)
    agent(system, "reset")
    clear()
    agent(system, "fill", count)
    with worker(system, processes) as process:
        await_hits(count // 10, 60)
        began, first, cpu = time.perf_counter(), hits(), cpu_of(process)
        await_hits(count * 9 // 10, 120)
        took, last, used = time.perf_counter() - began, hits(), cpu_of(process) - cpu
        await_hits(count, 60)
    return (last - first) / took, used / (last - first) * 1e6


def dispatch(system: str, scale: float, processes: int) -> tuple[float, float]:
    """Dispatches a second by the median of one, and microseconds of CPU."""
    agent(system, "reset")
    median, _, used = agent(system, "dispatch", count := int(2000 * scale))
    return 1 / median, used / count * 1e6


def bulk(system: str, scale: float, processes: int) -> tuple[float, float]:
    agent(system, "reset")
    _, took, used = agent(system, "bulk", count := int(10000 * scale))
    return count / took, used / count * 1e6


def idle(system: str, scale: float, processes: int) -> tuple[float, float]:
    """The inverse of the median from dispatch to start, and the median in microseconds."""
    agent(system, "reset")
    clear()
    with worker(system, processes):
        agent(system, "paced", 10)
        await_hits(10, 60)
        time.sleep(1)
        clear()
        agent(system, "paced", count := int(200 * scale))
        await_hits(count, 30)
    records = list(_RECORD.iter_unpack(Path(HITS).read_bytes()))
    median = statistics.median(started - sent for sent, started in records)
    return 1 / median, median * 1e6


MEASURES: dict[str, Callable[[str, float, int], tuple[float, float]]] = {
    "drain": drain, "dispatch": dispatch, "bulk": bulk, "idle": idle,
}  # fmt: skip


def show(what: str, rounds: list[dict[str, tuple[float, float]]]) -> None:
    print(f"\n{what}: median of {len(rounds)} rounds")
    for system in rounds[0]:
        rate, cpu = (statistics.median(one[system][part] for one in rounds) for part in (0, 1))
        line = f"  {system:16} {rate:9.0f}/s {cpu:8.0f} us"
        for base in ("celery-redis", "celery-rabbitmq" if system == "rabbitmq" else ""):
            if base and base in rounds[0]:
                ratios = [one[system][0] / one[base][0] for one in rounds]
                line += f"   x{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) {base}"
        print(line)


def main() -> None:
    if sys.argv[1:2] == ["--act"]:
        return act(sys.argv[2], int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("-c", "--processes", type=int, default=2)
    options = parser.parse_args()
    for what in options.what:
        rounds = []
        for _ in range(options.rounds):
            rounds.append({each: MEASURES[what](each, options.scale, options.processes) for each in options.systems})
        show(what, rounds)
    return None


if __name__ == "__main__":
    main()
