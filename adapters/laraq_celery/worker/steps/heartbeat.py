"""Looping: the events that are emitted about once a second while the worker consumes."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep
from celery.worker import state

from laraq import events
from laraq.events import Events


class Looping(StartStopStep):
    """Emits `laraq.events.Looping`, and `WorkerIdle` if there is nothing to run, from the worker's timer."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._entry: Any = None

    def start(self, consumer: Any) -> None:
        """Start; called again for each new connection."""
        self._entry = consumer.timer.call_repeatedly(1.0, self._look, (consumer,))

    def stop(self, consumer: Any) -> None:
        """Stop with the connection."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    shutdown = stop

    def _look(self, consumer: Any) -> None:
        if (processed := consumer.app.laraq.host.processed) is not None:
            processed.look()
        Events.emit(events.Looping, consumer.hostname)
        if not state.reserved_requests and not state.active_requests:
            Events.emit(events.WorkerIdle, consumer.hostname)
