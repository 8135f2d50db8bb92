"""What laraq costs: no-op jobs beside plain Celery tasks with the same acknowledgement settings, on Redis.

    python benchmarks/overhead.py [--redis redis://localhost:6379/13] [--jobs 3000] [--rounds 5]

Dispatch is timed in this process, draining through a whole `celery worker -c 2`; plain and laraq alternate in one run
and only the ratio of neighbours counts. Higher is better; 1.00 is plain Celery.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import redis
from celery import Celery

from laraq import Job, Laraq

URL = os.environ.get("LARAQ_BENCH_REDIS", "redis://localhost:6379/13")

app = Celery("overhead", broker=URL)
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
laraq = Laraq(app)


@app.task(name="overhead.plain", acks_late=True)
def plain(n: int) -> None:
    """Nothing."""


class NoOp(Job):
    """Nothing, as a job."""

    n: int

    def handle(self) -> None:
        """Nothing."""


def send_plain(count: int) -> None:
    for n in range(count):
        plain.delay(n)


def send_laraq(count: int) -> None:
    for n in range(count):
        NoOp.dispatch(n)


def timed_dispatch(send, count: int, client: redis.Redis) -> tuple[float, float]:
    client.flushdb()
    send(50)
    start, cpu = time.perf_counter(), time.process_time()
    send(count)
    return count / (time.perf_counter() - start), (time.process_time() - cpu) / count * 1e6


def timed_drain(send, count: int, client: redis.Redis, pool: str) -> tuple[float, float]:
    """Jobs per second of one worker, first to last, and the CPU microseconds of its processes per job."""
    client.flushdb()
    command = [sys.executable, "-m", "celery", "-A", "overhead", "worker", "-P", pool, "-c", "2", "-l", "ERROR",
               "--without-gossip", "--without-mingle", "--without-heartbeat"]  # fmt: skip
    worker = subprocess.Popen(
        command, cwd=os.path.dirname(__file__), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "LARAQ_BENCH_REDIS": URL},
    )  # fmt: skip
    try:
        send(20)
        while left(client):
            time.sleep(0.01)
        # Preloaded under another name, then moved at once: the producer does not run beside the worker.
        send_to_shelf(send, count, client)
        cpu = cpu_seconds(worker.pid)
        start = time.perf_counter()
        client.rename("shelf", "celery")
        while left(client):
            time.sleep(0.005)
        took = time.perf_counter() - start
        return count / took, (cpu_seconds(worker.pid) - cpu) / count * 1e6
    finally:
        worker.terminate()
        worker.wait()


def send_to_shelf(send, count: int, client: redis.Redis) -> None:
    app.conf.task_default_queue = "shelf"
    app.amqp.__dict__.pop("queues", None)
    app.amqp.__dict__.pop("default_queue", None)
    try:
        app.conf.task_routes = {"*": {"queue": "shelf"}}
        app.amqp.flush_routes()
        app.amqp._rtable = None
        app.amqp.router = app.amqp.Router()
        send(count)
    finally:
        app.conf.task_routes = None
        app.amqp.flush_routes()
        app.amqp.router = app.amqp.Router()
    raw = client.lrange("shelf", 0, -1)
    client.delete("shelf")
    client.rpush("shelf", *(message.replace(b'"shelf"', b'"celery"') for message in raw))


def left(client: redis.Redis) -> int:
    return client.llen("celery") + client.hlen("unacked")


def cpu_seconds(pid: int) -> float:
    import psutil

    parent = psutil.Process(pid)
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["dispatch", "drain"])
    options = parser.parse_args()
    client = redis.Redis.from_url(URL)
    measures = {
        "dispatch": lambda send: timed_dispatch(send, options.jobs, client),
        "drain prefork -c 2": lambda send: timed_drain(send, options.jobs, client, "prefork"),
    }
    for title, measure in measures.items():
        if options.only and not title.startswith(options.only):
            continue
        pairs = [(measure(send_plain), measure(send_laraq)) for _ in range(options.rounds)]
        print(title)
        for name, side in (("plain", 0), ("laraq", 1)):
            rate, cpu = (statistics.median(pair[side][part] for pair in pairs) for part in (0, 1))
            print(f"  {name}: {rate:6.0f}/s, {cpu:5.0f} us CPU each")
        for name, part in (("rate", 0), ("CPU", 1)):
            ratios = [ours[part] / theirs[part] for theirs, ours in pairs]
            ratios = ratios if part == 0 else [1 / ratio for ratio in ratios]
            print(
                f"  laraq / plain by {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )
    client.flushdb()


if __name__ == "__main__":
    main()
