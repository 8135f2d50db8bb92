"""Narrator: what `laraq work` prints, as Laravel does. `celery worker` keeps Celery's output."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from celery import signals, states

from laraq import events
from laraq.cli.run_line import RunLine
from laraq.cli.run_object import RunObject
from laraq.events import Events
from laraq.messages.delivery import Delivery, Done, Fail, Release, Superseded
from laraq.messages.payload import CIPHER
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
        self._as_json = options.as_json
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
        Events.listen(events.WorkerQueuePaused, self._queue_changed)
        Events.listen(events.WorkerQueueResumed, self._queue_changed)
        signals.task_prerun.connect(self._begins, weak=False)
        signals.task_postrun.connect(self._ended, weak=False)

    def _ready(self, sender: Any, **_: Any) -> None:
        queues = ", ".join(self._app.amqp.queues.consume_from)
        broker = sender.app.connection_for_read().as_uri()
        pool = type(sender.pool).__module__.rpartition(".")[2]
        self._tell(
            "ready", f"{sender.hostname} takes jobs from {queues} at {broker} ({pool}, {sender.pool.limit}): ready."
        )

    def _queue_changed(self, event: events.WorkerQueuePaused | events.WorkerQueueResumed) -> None:
        status = "paused" if isinstance(event, events.WorkerQueuePaused) else "resumed"
        self._tell(status, f"Queue {event.connection}:{event.queue} is {status}.")

    def _tell(self, status: str, text: str) -> None:
        """Print what is not about a job."""
        told = {"level": "info", "timestamp": datetime.now(UTC).isoformat(), "status": status, "message": text}
        self._print(json.dumps(told) if self._as_json else text)

    def _begins(self, task: Any, **_: Any) -> None:
        request = task.request
        if request.is_eager or request.called_directly or CRASH in (request.headers or {}):
            return
        request.laraq_began = time.monotonic()
        self._print_run(task, "RUNNING")

    def _ended(self, task: Any, state: Any = None, retval: Any = None, **_: Any) -> None:
        request = task.request
        if request.is_eager or request.called_directly:
            return
        began = getattr(request, "laraq_began", None)
        settled = getattr(request, "laraq_settled", None)
        seconds = None if began is None else time.monotonic() - began
        self._print_run(task, outcome(str(state), settled), seconds, error_of(settled, retval))

    def _print_run(
        self, task: Any, status: str, seconds: float | None = None, error: BaseException | None = None
    ) -> None:
        request = task.request
        header = (request.headers or {}).get(LARAQ)
        options = header.get("options") if isinstance(header, Mapping) else None
        named = options.get("display_name") if isinstance(options, Mapping) else None
        name = str(named or request.shadow or request.task or task.name)
        if self._as_json:
            told = RunObject(
                name,
                str(request.id),
                status,
                consumed_connection(self._laraq),
                str((request.delivery_info or {}).get("routing_key") or ""),
                self._attempt(request, header),
                seconds,
                error,
                is_secret=CIPHER in (request.kwargs or {}),
            )
            self._print(told.text(datetime.now(UTC)))
            return
        details = self._details(request, header) if self._verbose else ()
        line = RunLine(datetime.now(), name, str(request.id), status, seconds, details)
        width = get_terminal_size().columns if self._on_terminal else None
        self._print(line.text(width, coloured=self._coloured))

    def _details(self, request: Any, header: Any) -> tuple[str, ...]:
        queue = (request.delivery_info or {}).get("routing_key") or ""
        return (
            f"queue {queue}",
            f"connection {consumed_connection(self._laraq)}",
            f"attempt {self._attempt(request, header)}",
            f"{peak_memory() / 2**20:.0f} MB",
        )

    def _attempt(self, request: Any, header: Any) -> int:
        delivery: Delivery | None = getattr(request, "laraq_delivery", None)
        if delivery is not None:
            return delivery.attempt
        if isinstance(header, Mapping) and isinstance(header.get("attempts", 0), int):
            return int(header.get("attempts", 0)) + 1
        return int(request.retries) + 1

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


def error_of(settled: Settlement | None, returned: Any) -> BaseException | None:
    """The error that ended a run, if one did."""
    if settled is not None and isinstance(settled.verdict, Fail | Release):
        return settled.verdict.error
    return returned if settled is None and isinstance(returned, Exception) else None


def peak_memory() -> int:
    """The peak memory of this process in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if os.uname().sysname == "Darwin" else most * 1024
