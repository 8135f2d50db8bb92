"""What attaching laraq to an app costs before it runs a single job: the same `celery worker`, with and without it.

    python benchmarks/attaching.py [--redis redis://localhost:6379/13] [--rounds 3] [--idle 30]

Start-up is the CPU time of all processes of the worker until it is ready, of `celery --version` that of the command;
idle is what the ready worker does in so many seconds: CPU time, and the commands the Redis server counts (the server
must have no other clients). Memory is what the processes do not share (PSS), so it needs Linux. Both kinds alternate,
and the ratio of the medians is what counts; 1.00 is Celery alone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import redis

APP = """
import os
from celery import Celery
app = Celery("shop", broker=os.environ["BENCH_REDIS"], broker_connection_retry_on_startup=True)

@app.task
def plain(n):
    return n
"""

KINDS: Mapping[str, str] = {
    "celery": APP,
    "attached": APP + "\nfrom laraq import Laraq\nqueue = Laraq(app)\n",
    "with a job": APP + "\nfrom laraq import Job, Laraq\nqueue = Laraq(app)\n"
    "class Ship(Job):\n    n: int\n    def handle(self): ...\n",
}

#: `celery` without the plugin, as if laraq were not installed.
WITHOUT_PLUGIN = """
import importlib.metadata as metadata, sys
found = metadata.entry_points
metadata.entry_points = lambda **which: [e for e in found(**which) if which.get("group") != "celery.commands"]
from celery.__main__ import main
sys.argv[0] = "celery"
main()
"""


def worker(kind: str, url: str, folder: Path, idle: float) -> dict[str, float]:
    """One worker from its start to its end."""
    (folder / "shop.py").write_text(KINDS[kind])
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "shop", "worker", "-c", "2", "-l", "INFO"],
            cwd=folder, env={**os.environ, "BENCH_REDIS": url}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            log = []
            for line in process.stdout:
                log.append(line)
                if line.rstrip().endswith("ready."):
                    break
            else:
                raise RuntimeError("".join(log))
            parent = psutil.Process(process.pid)
            started = cpu(parent)
            time.sleep(3)  # what is done once, after the start
            before, commands = cpu(parent), commands_of(client)
            time.sleep(idle)
            after = cpu(parent)
            spent = commands_of(client) - commands - 1
            return {
                "start-up, CPU s": started,
                "parent, MB": parent.memory_full_info().pss / 2**20,
                "child, MB": max(child.memory_full_info().pss for child in parent.children()) / 2**20,
                "parent, threads": parent.num_threads(),
                "idle, CPU ms/s": (after - before) / idle * 1000,
                "idle, commands/s": spent / idle,
            }
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def cpu(parent: psutil.Process) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in (parent, *parent.children(recursive=True)))


def commands_of(client: redis.Redis) -> int:
    """Commands sent by clients; those that scripts call inside of the server are none of the network's."""
    return sum(stats["calls"] for name, stats in client.info("commandstats").items() if name != "cmdstat_info")


def command(code: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *code, "--version"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", default=os.environ.get("LARAQ_BENCH_REDIS", "redis://localhost:6379/13"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=float, default=30)
    options = parser.parse_args()
    rounds = range(options.rounds)

    commands = {"celery": [], "with laraq installed": []}  # type: dict[str, list[float]]
    for _ in rounds:
        commands["celery"].append(command(["-c", WITHOUT_PLUGIN]))
        commands["with laraq installed"].append(command(["-m", "celery"]))
    base, ours = (statistics.median(times) for times in commands.values())
    print(f"laraq {importlib.metadata.version('laraq')}, Celery {importlib.metadata.version('celery')}")
    print(f"{'celery --version, CPU s':24} {base:10.2f} {'installed':>12} {ours:10.2f} {ours / base:6.2f}")

    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in rounds:
            for kind, results in found.items():
                results.append(worker(kind, options.redis, Path(folder), options.idle))
    for name in found["celery"][0]:
        stock = statistics.median(result[name] for result in found["celery"])
        line = f"{name:24} {stock:10.2f}"
        for kind in list(KINDS)[1:]:
            value = statistics.median(result[name] for result in found[kind])
            line += f" {kind:>12} {value:10.2f} {value / stock:6.2f}"
        print(line)


if __name__ == "__main__":
    main()
