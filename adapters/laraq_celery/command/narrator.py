"""Narrator: what `laraq work` prints, as Laravel does. `celery worker` keeps Celery's output."""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from celery import signals, states

from laraq.cli.run_line import RunLine
from laraq.messages.delivery import Delivery, Done, Superseded
from laraq_celery.worker.arrival import CRASH, LARAQ
from laraq_celery.worker.task import consumed_connection

if TYPE_CHECKING:
    from laraq.app import Laraq
    from laraq.cli.host import WorkOptions
    from laraq.running.settlement import Settlement

logger = logging.getLogger("laraq.work")


class Narrator:
    """Prints when a worker is ready, and two lines for each run: its start, and its outcome.

    In prefork the pool's children print, each a line at a time.
    """

    def __init__(self, laraq: Laraq, app: Any, options: WorkOptions) -> None:
        self._laraq = laraq
        self._app = app
        self._verbose = options.verbose
        #: Whether the lines go to the log, as with --logfile.
        self._logs = any(each.startswith("--logfile=") for each in options.passed_on)
        stream = sys.__stdout__
        self._on_terminal = stream is not None and stream.isatty() and not self._logs
        self._coloured = self._on_terminal and not options.no_color

    def listen(self) -> None:
        """Follow the worker of this process."""
        if self._logs:
            logger.setLevel(logging.INFO)
        signals.worker_ready.connect(self._ready, weak=False)
        signals.task_prerun.connect(self._begins, weak=False)
        signals.task_postrun.connect(self._ended, weak=False)

    def _ready(self, sender: Any, **_: Any) -> None:
        queues = ", ".join(self._app.amqp.queues.consume_from)
        broker = sender.app.connection_for_read().as_uri()
        pool = type(sender.pool).__module__.rpartition(".")[2]
        self._print(f"{sender.hostname} takes jobs from {queues} at {broker} ({pool}, {sender.pool.limit}): ready.")

    def _begins(self, task: Any, **_: Any) -> None:
        request = task.request
        if request.is_eager or request.called_directly or CRASH in (request.headers or {}):
            return
        request.laraq_began = time.monotonic()
        self._print_run(task, "RUNNING")

    def _ended(self, task: Any, state: Any = None, **_: Any) -> None:
        request = task.request
        if request.is_eager or request.called_directly:
            return
        began = getattr(request, "laraq_began", None)
        settled = getattr(request, "laraq_settled", None)
        self._print_run(task, outcome(str(state), settled), None if began is None else time.monotonic() - began)

    def _print_run(self, task: Any, status: str, seconds: float | None = None) -> None:
        request = task.request
        header = (request.headers or {}).get(LARAQ)
        options = header.get("options") if isinstance(header, Mapping) else None
        named = options.get("display_name") if isinstance(options, Mapping) else None
        details = self._details(request, header) if self._verbose else ()
        line = RunLine(
            datetime.now(),
            str(named or request.shadow or request.task or task.name),
            str(request.id),
            status,
            seconds,
            details,
        )
        width = get_terminal_size().columns if self._on_terminal else None
        self._print(line.text(width, coloured=self._coloured))

    def _details(self, request: Any, header: Any) -> tuple[str, ...]:
        delivery: Delivery | None = getattr(request, "laraq_delivery", None)
        if delivery is not None:
            attempt = delivery.attempt
        elif isinstance(header, Mapping) and isinstance(header.get("attempts", 0), int):
            attempt = header.get("attempts", 0) + 1
        else:
            attempt = request.retries + 1
        queue = (request.delivery_info or {}).get("routing_key") or ""
        return (
            f"queue {queue}",
            f"connection {consumed_connection(self._laraq)}",
            f"attempt {attempt}",
            f"{peak_memory() / 2**20:.0f} MB",
        )

    def _print(self, text: str) -> None:
        if self._logs:
            logger.info("%s", text)
        elif sys.__stdout__ is not None:
            # Celery has redirected `sys.stdout` to the log. One write per line: several processes share the terminal.
            sys.__stdout__.write(f"{text}\n")
            sys.__stdout__.flush()


def outcome(state: str, settled: Settlement | None) -> str:
    """The outcome of a run in one word, by Celery's state and laraq's settlement."""
    verdict = None if settled is None else settled.verdict
    match state:
        case states.SUCCESS:
            return "SKIPPED" if isinstance(verdict, Superseded) else "DONE"
        case states.RETRY:
            return "PARKED" if settled is not None and settled.parked is not None else "RELEASED"
        case states.REJECTED:
            return "RELEASED"
        case states.IGNORED:
            # Another process has run it, or its end is not to be reported.
            return "SKIPPED" if settled is None else "DONE" if isinstance(verdict, Done) else "FAIL"
        case _:
            return "FAIL"


def peak_memory() -> int:
    """The peak memory of this process in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if os.uname().sysname == "Darwin" else most * 1024
