"""What a Celery worker of this process does with its deliveries.

Read from Celery's own books without importing it: a transport also serves processes that have no Celery, and where
its worker runs, the module is loaded.
"""

from __future__ import annotations

import sys
from typing import Any

#: What the children of a process pool were running when a connection was lost.
_awaited: list[Any] = []


def worker_is_here() -> bool:
    """Whether this process runs a Celery worker (and not some other consumer)."""
    return "celery.worker.state" in sys.modules


def started_tags() -> set[str]:
    """Delivery tags of the jobs whose code runs now."""
    state = sys.modules.get("celery.worker.state")
    if state is None:
        return set()
    return {request.message.delivery_tag for request in tuple(state.active_requests)}


def tags_in_pool() -> tuple[set[str], set[str]]:
    """Delivery tags of the jobs that the pool has and that have not reported a start: (those that will start and
    report, those that may have started and will not report once the connection is lost).

    A thread pool runs what it was given. Of a process pool's jobs those written to a child run, but when a connection
    is lost Celery forgets them (`asynpool: AsynPool.flush`); those not written yet it drops.
    """
    state = sys.modules.get("celery.worker.state")
    sure, unsure = set[str](), set[str]()
    if state is None:
        return sure, unsure
    for request in tuple(state.reserved_requests):
        result = _result(request)
        if result is None or request in state.active_requests:
            continue
        if not hasattr(result, "_write_to"):
            sure.add(request.message.delivery_tag)
        elif result._write_to is not None or getattr(result, "_scheduled_for", None) is not None:
            unsure.add(request.message.delivery_tag)
    return sure, unsure


def hold_results() -> None:
    """A connection is lost: see to it that the pool's results of what runs now outlive that."""
    state = sys.modules.get("celery.worker.state")
    running = () if state is None else tuple(state.active_requests)
    _awaited[:] = [result for result in map(_result, running) if hasattr(result, "_write_to")]


def await_results() -> None:
    """There is a new connection: have the pool wait for them.

    Celery before 5.6 has forgotten them (`asynpool: AsynPool.flush`), so their end would go unseen: neither would they
    be acknowledged, nor their leases end.
    """
    _awaited[:] = [result for result in _awaited if not result.ready()]
    for result in _awaited:
        result._cache.setdefault(result._job, result)


def worker_is_ending() -> bool:
    """Whether the worker of this process was told to stop, so that nothing it holds will run any more."""
    state = sys.modules.get("celery.worker.state")
    if state is None:
        return False
    return any(flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate))


def _result(request: Any) -> Any:
    """The pool's result that will tell of the request's end, if it has one."""
    reference = getattr(request, "_apply_result", None)
    return None if reference is None else reference()
