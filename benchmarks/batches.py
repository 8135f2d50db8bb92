"""Fan-out and fan-in: a batch beside Celery's `group` + `chord` of no-op tasks, from dispatch to the callback's run.

    python benchmarks/batches.py [--jobs 5000] [--rounds 3] [--concurrency 2] [--only stock ours]

Each round runs every contestant once, with a fresh `celery worker`, prefetch multiplier 16, late acknowledgement
on both sides; the ratio to the chord of the same round counts, 1.00 is the chord, which keeps its results in the same
Redis. `stock`: broker redis://. `ours`: broker laraq-redis://. The store of a batch is named behind it. The commands
to a Redis store are counted with RabbitMQ as the broker, so that nothing else is counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable

import redis
from celery import Celery, chord, group

from laraq import Batch, Bus, Job, Laraq

REDIS = os.environ.get("LARAQ_BENCH_REDIS", "redis://localhost:6379/13")
AMQP = os.environ.get("LARAQ_BENCH_AMQP", "amqp://guest:guest@localhost:5672//")
POSTGRES = os.environ.get("LARAQ_BENCH_POSTGRES", "postgresql+psycopg://root@localhost:5432/postgres")
BROKER = os.environ.get("BENCH_BROKER", REDIS)
STORE = os.environ.get("BENCH_STORE", REDIS)

app = Celery("batches", broker=BROKER, backend=REDIS)
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True, worker_prefetch_multiplier=16)
laraq = Laraq(app, store=STORE)
client = redis.Redis.from_url(REDIS)


@app.task(name="batches.plain", acks_late=True)
def plain(n: int) -> int:
    """Nothing."""
    return n


@app.task(name="batches.collect", acks_late=True)
def collect(results: list[int]) -> None:
    """The chord's callback."""
    client.set("called", len(results))


class NoOp(Job):
    """Nothing, as a job."""

    n: int

    ignore_result = True

    def handle(self) -> None:
        """Nothing."""


def called(batch: Batch) -> None:
    """The batch's callback."""
    client.set("called", batch.processed_jobs)


def chorded(jobs: int) -> None:
    chord(group(plain.s(n) for n in range(jobs)))(collect.s())


def batched(jobs: int) -> None:
    Bus.batch(NoOp(n) for n in range(jobs)).then(called).dispatch()


#: Name -> broker, store, what is sent.
CONTESTANTS: dict[str, tuple[str, str, str]] = {
    "chord": (REDIS, REDIS, "chorded"),
    "stock, Redis": (REDIS, REDIS, "batched"),
    "stock, PostgreSQL": (REDIS, POSTGRES, "batched"),
    "stock, SQLite": (REDIS, "sqlite", "batched"),
    "ours, Redis": ("laraq-" + REDIS, REDIS, "batched"),
    "ours, PostgreSQL": ("laraq-" + REDIS, POSTGRES, "batched"),
    "ours, SQLite": ("laraq-" + REDIS, "sqlite", "batched"),
}


def measure(broker: str, store: str, send: str, jobs: int, concurrency: int = 2) -> tuple[float, float]:
    """Seconds from dispatch to callback, and those of the dispatch alone, of a worker that idles at the start."""
    with tempfile.TemporaryDirectory() as folder:
        env = {
            **os.environ,
            "LARAQ_BENCH_REDIS": REDIS,
            "BENCH_BROKER": broker,
            "BENCH_STORE": f"sqlite:///{folder}/store.db" if store == "sqlite" else store,
            "PYTHONPATH": os.path.dirname(os.path.abspath(__file__)),
        }
        client.flushdb()
        prepare = "import batches; batches.laraq.migrate(); batches.laraq.store.journal.erase('none')"
        subprocess.run([sys.executable, "-c", prepare], env=env, check=True)
        command = [sys.executable, "-m", "celery", "-A", "batches", "worker", "-c", str(concurrency),
                   "-l", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]  # fmt: skip
        worker = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        script = f"import batches, time; {warm(send)}; a = time.time(); batches.{send}({jobs}); print(a, time.time())"
        try:
            sender = subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True, text=True)
            start, sent = map(float, sender.stdout.split())
            wait_for(lambda: client.get("called") == str(jobs).encode())
            return time.time() - start, sent - start
        finally:
            worker.terminate()
            worker.wait()


def warm(send: str) -> str:
    """The worker has started, and has run one of the same kind."""
    return f"batches.{send}(4); batches.wait_for(lambda: batches.client.get('called') == b'4')"


def wait_for(condition: Callable[[], bool], patience: float = 300) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("the callback was not called")
        time.sleep(0.005)


def round_trips(jobs: int) -> dict[str, float]:
    """Commands that the clients of the store send per job, by name; what a script does inside of the server is none."""
    sent: Counter[str] = Counter()
    done = threading.Event()
    database = client.connection_pool.connection_kwargs.get("db", 0)

    def listen() -> None:
        with redis.Redis.from_url(REDIS).monitor() as monitor:
            for command in monitor.listen():
                if done.is_set():
                    return
                if command["client_type"] != "lua" and command["db"] == database:
                    sent[command["command"].split()[0].lower()] += 1

    listener = threading.Thread(target=listen)
    listener.start()
    measure(AMQP, REDIS, "batched", jobs)
    done.set()
    client.ping()
    listener.join()
    del sent["get"]  # this program's own looks
    return {name: round(count / jobs, 2) for name, count in sent.most_common(6)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=2, help="Children of each worker.")
    parser.add_argument("--only", nargs="*", help="Contestants whose names begin like this; the chord always runs.")
    options = parser.parse_args()
    chosen = [
        name for name in CONTESTANTS
        if name == "chord" or not options.only or name.startswith(tuple(options.only))
    ]  # fmt: skip
    rounds = []
    for _ in range(options.rounds):
        rounds.append({name: measure(*CONTESTANTS[name], options.jobs, options.concurrency) for name in chosen})
        print({name: f"{whole:.2f} s, sent in {sent:.2f} s" for name, (whole, sent) in rounds[-1].items()}, flush=True)
    for name in chosen:
        ratios = [each["chord"][0] / each[name][0] for each in rounds]
        print(f"{name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"commands to a Redis store per job: {round_trips(options.jobs)}")


if __name__ == "__main__":
    main()
