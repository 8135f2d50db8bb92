"""leave_pools(): lets a forked child use its own connections."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from celery import Celery
from kombu import pools

from laraq.process.forks import after_fork

_apps: WeakSet[Celery] = WeakSet()

#: The parent's pools, never closed here: that would shut down the parent's sockets.
_of_parents: list[Any] = []


def leave_pools(app: Celery) -> None:
    """Let forked children leave kombu's pools, and the mutexes of its threads, to their parent. Celery does this only
    for the children of its own pools, not for `os.fork`, `multiprocessing` or a preloading web server."""
    _apps.add(app)


def _leave() -> None:
    for group in pools._groups:
        _of_parents.append(list(group.values()))
        group.clear()
    for app in list(_apps):
        _of_parents.append(app._pool)
        app._pool = None
        if (amqp := vars(app).get("amqp")) is not None:
            amqp._producer_pool = None


after_fork(_leave)
