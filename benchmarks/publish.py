"""What sending costs: `task.delay()` of plain Celery, `Job.dispatch()` and `Bus.bulk()`, on each broker.

    python benchmarks/publish.py [--jobs 1000] [--rounds 7] [--brokers redis amqp laraq-sqlite ...]

The three take turns in one process, and only ratios of one round count: levels move with the machine. CPU is this
process's alone, wall-clock time holds the server's part as well. A factor above 1 is in laraq's favour. `delay` is
the same broker's, and for laraq's own brokers there is one of stock Redis beside it. Brokers that cannot be reached
are left out. Needs a Redis database, a RabbitMQ virtual host and databases that may be written to: see `BROKERS`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from celery import Celery
from kombu import pools

from laraq import Bus, Job, Laraq

REDIS = os.environ.get("LARAQ_BENCH_REDIS", "redis://127.0.0.1:6379/13")
POSTGRES = os.environ.get("LARAQ_BENCH_POSTGRES", "postgresql+psycopg://root@127.0.0.1:5432/laraq_bench")
MARIADB = os.environ.get("LARAQ_BENCH_MARIADB", "mysql+pymysql://root@127.0.0.1:3306/laraq_bench")

#: Name -> broker URL; {dir} is a fresh directory.
BROKERS = {
    "redis": REDIS,
    "amqp": os.environ.get("LARAQ_BENCH_AMQP", "amqp://guest:guest@127.0.0.1:5672//"),
    "laraq-redis": f"laraq-{REDIS}",
    "laraq-sqlite": "laraq-db+sqlite:///{dir}/broker.db",
    "laraq-postgres": f"laraq-db+{POSTGRES}",
    "laraq-mariadb": f"laraq-db+{MARIADB}",
}

#: Of this benchmark alone, so that nothing else is cleared.
QUEUE = "laraq-publish-benchmark"


def plain(n: int) -> None:
    """Nothing, as a Celery task."""


class NoOp(Job):
    """Nothing, as a job."""

    n: int

    def handle(self) -> None:
        """Nothing."""


class Cost(NamedTuple):
    """Microseconds for each job."""

    cpu: float
    wall: float


class Sender:
    """One broker and the three ways to send through it."""

    def __init__(self, url: str) -> None:
        options = {"create_tables": True} if url.startswith("laraq-db") else {}
        self.app = Celery("publish", broker=url, set_as_current=False)
        self.app.conf.update(task_ignore_result=True, task_default_queue=QUEUE, broker_transport_options=options)
        self.laraq = Laraq(self.app, store="memory://")
        self.plain = self.app.task(name="publish.plain", shared=False)(plain)
        with self.app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=3)

    def delay(self, count: int) -> None:
        for n in range(count):
            self.plain.delay(n)

    def dispatch(self, count: int) -> None:
        with self.laraq:
            for n in range(count):
                NoOp.dispatch(n)

    def bulk(self, count: int) -> None:
        with self.laraq:
            Bus.bulk(NoOp(n) for n in range(count))

    def clear(self) -> None:
        with self.app.connection_for_write() as connection:
            connection.default_channel.queue_purge(QUEUE)

    def measure(self, send: Callable[[int], None], count: int) -> Cost:
        cpu, start = time.process_time(), time.perf_counter()
        send(count)
        cost = Cost((time.process_time() - cpu) / count * 1e6, (time.perf_counter() - start) / count * 1e6)
        self.clear()
        return cost


@contextmanager
def senders(names: list[str]) -> Iterator[dict[str, Sender]]:
    with tempfile.TemporaryDirectory() as directory:
        found = {}
        for name in names:
            try:
                found[name] = Sender(BROKERS[name].format(dir=directory))
            except Exception as error:
                print(f"{name} is left out: {str(error).splitlines()[0]}")
        yield found
        pools.reset()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--brokers", nargs="+", choices=BROKERS, default=list(BROKERS))
    options = parser.parse_args()
    with senders(options.brokers) as brokers:
        costs: dict[tuple[str, str], list[Cost]] = {}
        for round_ in range(options.rounds + 1):  # the first warms up
            for name, sender in brokers.items():
                for way in (sender.delay, sender.dispatch, sender.bulk):
                    cost = sender.measure(way, options.jobs)
                    if round_:
                        costs.setdefault((name, way.__name__), []).append(cost)
        print(f"{'microseconds for each job':28}{'CPU':>8}{'wall':>8}   times less than delay: CPU, wall; than Redis's")
        for (name, way), mine in costs.items():
            line = f"{name + ' ' + way:28}" + "".join(f"{_median(mine, part):8.0f}" for part in Cost._fields)
            if way != "delay":
                line += f"{_ratio(costs[name, 'delay'], mine, 'cpu'):>28}, {_ratio(costs[name, 'delay'], mine, 'wall')}"
                if name != "redis" and ("redis", "delay") in costs:
                    line += f"; {_ratio(costs['redis', 'delay'], mine, 'cpu')}"
            print(line)


def _median(costs: list[Cost], part: str) -> float:
    return statistics.median(getattr(cost, part) for cost in costs)


def _ratio(others: list[Cost], mine: list[Cost], part: str) -> str:
    ratios = sorted(getattr(other, part) / getattr(own, part) for other, own in zip(others, mine, strict=True))
    return f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"


if __name__ == "__main__":
    main()
