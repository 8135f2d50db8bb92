"""What a Celery worker in this process does with its deliveries, and their fate when their channel closes.

Read from Celery's own records without importing it: a transport also serves processes without Celery, and where a
Celery worker runs, the module is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from functools import partial
from typing import Any
from weakref import WeakMethod

from laraq.process.forks import after_fork
from laraq_kombu.fate import Fate, Place, fate

#: By delivery tag, the Celery request of each unsettled delivery, None before there is one.
_requests: dict[str, Any] = {}

#: Deliveries whose channel is closed, and whose end is still to come.
_kept: set[str] = set()

#: Results of a process pool that were in progress when a connection was lost.
_awaited: list[Any] = []

#: Results of a pool whose worker was asked to stop: they show what was written to a process. Once the pool is flushed,
#: they exist only here.
_last: list[Any] = []


def _forget() -> None:
    """Clear the state in a forked child: the deliveries are its parent's."""
    _before_reading.clear()
    _requests.clear()
    _kept.clear()
    _awaited.clear()
    _last.clear()


after_fork(_forget)


#: Methods called before Celery's records are read: whoever shares the way to a process makes them complete.
_before_reading: list[WeakMethod[Callable[[], object]]] = []


def before_reading(complete: Callable[[], object]) -> None:
    """Have this method called before Celery's records are read, for as long as its object lives."""
    _before_reading[:] = [known for known in _before_reading if known() is not None]
    _before_reading.append(WeakMethod(complete))


class _LeftAlone:
    """Stands for the request of a delivery that never gets one."""

    time_start = None
    acknowledged = False
    _apply_result = None


class _Ending(Enum):
    WARM = auto()
    #: The pool may go on for a moment.
    COLD = auto()


def worker_is_here() -> bool:
    """Whether this process runs a Celery worker (and not some other consumer)."""
    return "celery.worker.state" in sys.modules


def follow() -> None:
    """Record each request that Celery creates for a delivery; may be called again."""
    if worker_is_here():
        signals = sys.modules["celery.signals"]
        for signal, receiver in ((signals.task_received, _on_received), (signals.worker_shutting_down, _on_stopping)):
            signal.connect(receiver, weak=False, dispatch_uid="laraq_kombu.running")


def delivered(tag: str) -> None:
    """Note that a delivery is passed to Celery."""
    _requests[tag] = None


def left_alone(tag: str) -> None:
    """Note that the worker does not take the delivery, and never will."""
    if tag in _requests:
        _requests[tag] = _LeftAlone


def settled(tag: str) -> None:
    """Note that the delivery was acknowledged or released."""
    _requests.pop(tag, None)
    _kept.discard(tag)


def fates(tags: Iterable[str], *, flushed: bool = False) -> Iterator[tuple[str, Fate]]:
    """The fates of these deliveries, whose channel closes. `fates_of_kept` checks the kept ones again.

    `flushed`: whether the pool has already dropped what it will not run.
    """
    ending = _ending()
    for method in _before_reading:
        if (complete := method()) is not None:
            complete()
    state = sys.modules["celery.worker.state"]
    # The request of a lost child is followed by another for the same message, which settles it (`JobRequest`).
    newest = {
        request.message.delivery_tag: request
        for request in (*_now(state.reserved_requests), *_now(state.active_requests))
    }
    for tag in tags:
        first = _requests.get(tag)
        last = newest.get(tag, first)
        begun = any(request is not None and request.time_start is not None for request in (first, last))
        found = fate(_place(last, ending, flushed), begun=begun, ending=ending is not None)
        if found is Fate.KEPT:
            _kept.add(tag)
        else:
            settled(tag)
        yield tag, found


def fates_of_kept() -> Iterator[tuple[str, Fate]]:
    """The fates of the kept deliveries, after Celery has handled the lost connection."""
    return fates(tuple(_kept), flushed=True) if _kept else iter(())


def hold_results(pool: Any = None) -> None:
    """Keep the results of everything that the pool's processes were given, when a connection is lost.

    `pool` is billiard's pool, if known: Celery's records of what the pool has not begun may be empty by now.
    """
    found = [*_results_of_requests(), *tuple(getattr(pool, "_cache", {}).values())]
    written = [result for result in found if getattr(result, "_write_to", None) is not None]
    _awaited[:] = {id(result): result for result in (*_awaited, *written)}.values()
    if worker_is_here() and _ending() is not None:
        _last.extend(found)


def await_results() -> None:
    """Let the pool wait for the held results after a new connection.

    Celery has dropped them (`asynpool: AsynPool.flush`): before 5.6 all, since then those whose start was not reported
    yet. The processes still run them. Their end would not be seen: they would never be acknowledged, and their leases
    would never end.
    """
    _awaited[:] = [result for result in _awaited if not result.ready() and _reports(result)]
    for result in _awaited:
        result._cache.setdefault(result._job, result)


def awaited_requests() -> list[Any]:
    """Requests that run, or will run, although Celery's records may not have them: see `await_results`."""
    found = [getattr(result._accept_callback, "__self__", None) for result in _awaited if not result.ready()]
    requests = [request for one in found if one is not None for request in getattr(one, "requests", [one])]
    return [request for request in requests if not _is_cancelled(request)]


def _on_received(request: Any = None, **_: Any) -> None:
    tag = request.message.delivery_tag
    if tag in _requests:  # not of another transport
        _requests[tag] = request


def _on_stopping(**_: Any) -> None:
    """Run before Celery's loop learns of it: if a job ends in between, the next reaches the pool and is dropped."""
    state = sys.modules["celery.worker.state"]
    _last.extend(_results_of_requests())
    for request in _now(state.reserved_requests):
        if request._apply_result is None:
            request.execute_using_pool = partial(_execute, request.execute_using_pool)


def _execute(execute_using_pool: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    result = execute_using_pool(*arguments, **options)
    _last.append(result)
    return result


def _results_of_requests() -> list[Any]:
    state = sys.modules.get("celery.worker.state")
    requests = () if state is None else (*_now(state.active_requests), *_now(state.reserved_requests))
    return [result for request in requests if (result := _result(request)) is not None]


def _place(request: Any, ending: _Ending | None, flushed: bool) -> Place:
    if request is None or _is_cancelled(request):
        return Place.UNSEEN
    if request.time_start is not None or request.acknowledged:
        return Place.REPORTS
    reference = request._apply_result
    if reference is None:
        return Place.DROPPED  # waits for its time or for room in the pool
    result = reference()
    if hasattr(result, "_write_to"):
        # A process will run everything written to it; the rest is dropped (`AsynPool.flush`).
        if result._write_to is None:
            return Place.DROPPED
        return Place.REPORTS if _reports(result) or not flushed else Place.UNSEEN
    if ending is None:
        # Threads and greenlets run what they were given. Results of processes exist until the pool is flushed.
        return Place.REPORTS
    if ending is _Ending.WARM and (result is not None or "celery.concurrency.asynpool" not in sys.modules):
        return Place.DROPPED  # the pool has ended
    return Place.UNSEEN


def _ending() -> _Ending | None:
    """Whether the worker of this process was asked to stop, so that its deliveries are not acknowledged any more."""
    state = sys.modules["celery.worker.state"]
    stopped, terminated = (
        flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate)
    )
    if terminated:
        return _Ending.COLD
    return _Ending.WARM if stopped else None


def _is_cancelled(request: Any) -> bool:
    """Whether Celery ends the run and leaves the message unacknowledged, so that it is redelivered."""
    return bool(getattr(request, "_already_cancelled", False))


def _reports(result: Any) -> bool:
    """Whether a pool that has the result in its cache learns of its end: it checks the processes of accepted results,
    but not one that died, with what was written to it, while the pool was flushed."""
    return bool(result._accepted or result._write_to._is_alive())


def _now(requests: Iterable[Any]) -> tuple[Any, ...]:
    """A copy of the requests: the threads of a pool change Celery's sets meanwhile."""
    while True:
        try:
            return tuple(requests)
        except RuntimeError:
            continue


def _result(request: Any) -> Any:
    """The pool's result that will report the request's end, if there is one."""
    reference = getattr(request, "_apply_result", None)
    return None if reference is None else reference()
