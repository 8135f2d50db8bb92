"""WorkerProcess: a real worker in processes of its own, as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO
from uuid import uuid4

import psutil

from tests.support.waiting import wait_until
from tests.support.warm import BIN, start

#: Seconds a worker may take to import its project and reach the broker, two of them at once on two slow cores.
START_PATIENCE = 60

#: Seconds a warm shutdown may take. After another child was killed, a child of billiard 4.3 now and then misses the
#: word that its last result has arrived, and waits 30 s for it (`billiard.pool: Worker._ensure_messages_consumed`).
STOP_PATIENCE = 45

#: What Celery logs once it consumes.
READY = re.compile(r" ready\.$")


class WorkerProcess:
    """Starts on entering the `with` block, which is run when the worker is ready, and is gone for certain after it.

    `command` is "celery" (`celery -A <app> worker`) or "laraq" (`laraq -A <app> work`). With `await_ready=False` the
    block is entered at once, for a worker that is expected to end by itself or not to start.
    """

    def __init__(
        self,
        folder: Path,
        app: str,
        *,
        env: Mapping[str, str],
        command: Literal["celery", "laraq"] = "celery",
        pool: str = "prefork",
        concurrency: int = 1,
        queues: Sequence[str] = (),
        args: Sequence[str] = (),
        await_ready: bool = True,
    ) -> None:
        pooled = ["--pool", pool, "--concurrency", str(concurrency)]
        if command == "celery":
            # a node name of its own; mingling and gossip would cost every start a second
            node = ["--hostname", f"{uuid4().hex[:8]}@%h", "--without-mingle", "--without-gossip"]
            named = ["--queues", ",".join(queues)] if queues else []
            line = [str(BIN / "celery"), "-A", app, "worker", "--loglevel", "INFO", *node, *pooled, *named, *args]
        else:
            named = ["--queue", ",".join(queues)] if queues else []
            line = [str(BIN / "laraq"), "-A", app, "work", *pooled, *named, *args]
        self._command = line
        self._folder = folder
        self._env = dict(env)
        if pool in ("eventlet", "gevent"):
            self._env["LARAQ_TEST_EXEC"] = "1"  # they replace what is imported after them
        self._await_ready = await_ready
        self._log: list[str] = []
        self._logged = threading.Condition()
        self._ended = False

    def __enter__(self) -> WorkerProcess:
        reads, writes = os.pipe()
        self._process = start(self._command, self._folder, self._env, writes, writes, new_session=True)
        os.close(writes)
        self._output = open(reads, errors="replace")  # closed when the process is gone
        self._reader = threading.Thread(target=self._read, args=(self._output,), daemon=True)
        self._reader.start()
        if self._await_ready:
            try:
                self.wait_for_log(READY, START_PATIENCE)
            except BaseException:
                self.kill()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        if error is not None:
            print(f"--- log of {' '.join(self._command)}\n{self.log}--- end of log")

    @property
    def pid(self) -> int:
        """The worker's parent process; also the number of the process group."""
        return self._process.pid

    @property
    def log(self) -> str:
        """All that the worker printed so far."""
        with self._logged:
            return "".join(self._log)

    def wait_for_log(self, pattern: str | re.Pattern[str], timeout: float = 20, times: int = 1) -> re.Match[str]:
        """Wait until a line matches for the `times`-th time; fail when the worker ends before or the time is up."""
        deadline = time.monotonic() + timeout
        seen, matches = 0, 0
        with self._logged:
            while True:
                while seen < len(self._log):
                    match = re.search(pattern, self._log[seen].rstrip("\n"))
                    seen += 1
                    matches += match is not None
                    if match is not None and matches == times:
                        return match
                if self._ended or not self._logged.wait(deadline - time.monotonic()):
                    why = "the worker ended" if self._ended else f"{timeout} s passed"
                    raise AssertionError(f"{why} without {times} x {pattern!r} in its log:\n{''.join(self._log)}")

    def child_pids(self) -> list[int]:
        """Processes below the worker's parent process, oldest first: with prefork the pool."""
        children = psutil.Process(self.pid).children(recursive=True)
        return [child.pid for child in sorted(children, key=psutil.Process.create_time)]

    def group_pids(self) -> list[int]:
        """Every living process of the group, also when its parent is gone."""
        return [process.pid for process in psutil.process_iter() if _is_alive_in(self.pid, process)]

    def kill(self) -> None:
        """SIGKILL for the whole group at once, as when the machine loses power; nothing of it is left on return."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        wait_until(lambda: not self.group_pids(), message="no process of the worker is left")
        self._finish_reading()

    def kill_parent(self) -> None:
        """SIGKILL for the parent process alone: its pool notices by itself."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def terminate(self, timeout: float = STOP_PATIENCE) -> int:
        """Ask for a warm shutdown (SIGTERM: running jobs may end) and wait; return the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def send_signal(self, number: signal.Signals) -> None:
        """Send its parent process a signal."""
        self._process.send_signal(number)

    def signal_group(self, number: signal.Signals) -> None:
        """Send each of its processes a signal, as systemd does to stop it, or a terminal on Ctrl-C."""
        os.killpg(self.pid, number)

    def wait(self, timeout: float = 30) -> int:
        """Wait until the worker ends by itself; return the exit status, negative for a signal."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker still runs after {timeout} s:\n{self.log}") from None
        self._reader.join(timeout)
        return status

    def _read(self, stream: TextIO) -> None:
        for line in stream:
            with self._logged:
                self._log.append(line)
                self._logged.notify_all()
        with self._logged:
            self._ended = True
            self._logged.notify_all()

    def _finish_reading(self) -> None:
        self._reader.join()
        self._output.close()


def _is_alive_in(group: int, process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
