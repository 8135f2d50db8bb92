"""leave_pools(): a forked child takes connections of its own."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from celery import Celery
from kombu import pools

from laraq.process.forks import after_fork

_apps: WeakSet[Celery] = WeakSet()

#: Never closed here: closing would shut down the sockets of the parent.
_of_parents: list[Any] = []


def leave_pools(app: Celery) -> None:
    """Have children of a fork leave kombu's pools to their parent, the mutexes of its threads included. Celery does it
    for the children of its own pools only, not for `os.fork`, `multiprocessing` or a preloading web server."""
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
