"""Which deliveries a Celery worker of this process has started."""

from __future__ import annotations

import sys


def worker_is_here() -> bool:
    """Whether this process runs a Celery worker (and not some other kombu consumer)."""
    return "celery.worker.state" in sys.modules


def started_tags() -> set[str]:
    """Delivery tags of the jobs whose code runs now.

    Read from Celery's own books without importing it: a kombu transport also serves processes that have no
    Celery, and where its worker runs, the module is loaded.
    """
    state = sys.modules.get("celery.worker.state")
    if state is None:
        return set()
    return {request.message.delivery_tag for request in tuple(state.active_requests)}


def worker_is_ending() -> bool:
    """Whether the worker of this process was told to stop, so that nothing it holds will run any more."""
    state = sys.modules.get("celery.worker.state")
    if state is None:
        return False
    return any(flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate))
