"""Looping: the event that is emitted about once a second while the worker consumes."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep

from laraq import events
from laraq.events import Events


class Looping(StartStopStep):
    """Emits `laraq.events.Looping` from the worker's timer."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._entry: Any = None

    def start(self, consumer: Any) -> None:
        """Start; called again for each new connection."""
        self._entry = consumer.timer.call_repeatedly(1.0, Events.emit, (events.Looping, consumer.hostname))

    def stop(self, consumer: Any) -> None:
        """Stop with the connection."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    shutdown = stop
