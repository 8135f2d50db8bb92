"""The short way through a delivery: what Celery's tracer does for a job of which nothing needs more.

Celery's tracer (celery.app.trace: build_tracer) sends signals, stores results, follows links and chains, and calls the
hooks of a task. Where none of that is wanted, a job that is done needs little of it. Anything else goes through
Celery's tracer: jobs with results, links or listeners, and every job that does not simply end well, whose outcome the
tracer then gets as if the job had raised it there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from celery import signals, states
from celery._state import _task_stack
from celery.app import trace as celerys
from celery.app.task import Context
from celery.app.trace import task_has_custom
from celery.backends.base import DisabledBackend
from celery.utils.saferepr import saferepr

from laraq_celery.worker.arrival import CELERYS_HEADERS
from laraq_celery.worker.task import JobTask

logger = logging.getLogger("laraq.task")

_NAMES = ("task_prerun", "task_postrun", "task_success")
_SIGNALS = (signals.task_prerun, signals.task_postrun, signals.task_success)

#: Where laraq's own receivers are defined that leave jobs alone.
_OURS = "laraq_celery.tasks."

Tracer = Callable[..., Any]


def shortened(task: Any, full: Tracer) -> Tracer:
    """A tracer that takes the short way where it can, else `full`; `full` itself where it never can."""
    if obstacle(task, full) is not None:
        return full
    push_request, pop_request = task.request_stack.push, task.request_stack.pop
    loader, traced_ok = task.app.loader, celerys.trace_ok_t

    def trace(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        if not isinstance(kwargs, Mapping) or not _is_plain(task, request):
            return full(uuid, args, kwargs, request)
        began = time.monotonic()
        if request.get("headers") is None:  # Context would find them in five times the time
            request["headers"] = {name: value for name, value in request.items() if name not in CELERYS_HEADERS}
        context = Context(request, args=args, called_directly=False, kwargs=kwargs)
        raised: Exception | None = None
        _task_stack.push(task)
        push_request(context)
        try:
            loader.on_task_init(uuid, task)
            result = task._deliver(args, kwargs)
        except Exception as error:
            raised = error
        else:
            took = time.monotonic() - began
            task._over(states.SUCCESS)
            _log_success(task, context, result, took)
            _clean_up(task, loader)
            return traced_ok(None, None, took, None)
        finally:
            _task_stack.pop()
            pop_request()
        kept = {name: value for name, value in vars(context).items() if name.startswith("laraq_")}
        return full(uuid, args, kwargs, {**request, **kept, "laraq_raised": raised})

    trace.full = full  # type: ignore[attr-defined] # read by `obstacles`
    return trace


def shorten(app: Any) -> None:
    """Take the short way in this process, whose tracers Celery has made."""
    for task in [*app.tasks.values()]:
        if isinstance(task, JobTask) and task.__trace__ is not None:
            task.__trace__ = shortened(task, task.__trace__)


def obstacles(app: Any) -> dict[str, list[str]]:
    """What keeps jobs off the short way in this process, and which."""
    found: dict[str, list[str]] = {}
    listened = [name for name, signal in zip(_NAMES, _SIGNALS, strict=True) if _has_listeners(signal)]
    for name, task in sorted(app.tasks.items()):
        if isinstance(task, JobTask) and task.job_class is not None and not name.startswith("laraq."):
            why = obstacle(task, getattr(task.__trace__, "full", task.__trace__))
            if why is None and listened:
                why = f"Celery's signals are listened to ({', '.join(listened)})"
            if why is None and not task.ignore_result and not isinstance(task.backend, DisabledBackend):
                why = "results are kept (ignore_result)"
            if why is not None:
                found.setdefault(why, []).append(name)
    return found


def obstacle(task: Any, full: Any) -> str | None:
    """What keeps all deliveries of a task off the short way, if anything."""
    cls = type(task)
    if not isinstance(task, JobTask) or task.job_class is None:
        return "it is not a job"
    if cls.run is not JobTask.run or cls.__call__ is not JobTask.__call__ or {"run", "__call__"} & vars(task).keys():
        return "run or __call__ of the task is replaced"
    if not cls.ends_as_celery_does or any(task_has_custom(task, hook) for hook in ("before_start", "on_success")):
        return "the task has hooks (before_start, on_success, after_return)"
    if full is None or (full.__module__, full.__qualname__) != (celerys.__name__, "build_tracer.<locals>.trace_task"):
        return "a library wraps Celery's tracer"
    return "worker_deduplicate_successful_tasks is set" if task.app.conf.worker_deduplicate_successful_tasks else None


def _is_plain(task: Any, request: Any) -> bool:
    """Whether nothing about this delivery wants more."""
    if not isinstance(request, dict) or "laraq_raised" in request:
        return False
    if request.get("callbacks") or request.get("chain") or request.get("chord"):
        return False  # Celery sends something after it
    ignored = request.get("ignore_result")
    if not (task.ignore_result if ignored is None else ignored) and not isinstance(task.backend, DisabledBackend):
        return False
    one, two, three = _SIGNALS
    return not _are_heard(len(one.receivers), len(two.receivers), len(three.receivers))


@lru_cache(maxsize=1)
def _are_heard(*receivers: int) -> bool:
    """Whether others than laraq listen to a signal; looked up when one of them has more receivers, or fewer."""
    return any(map(_has_listeners, _SIGNALS))


def _has_listeners(signal: Any) -> bool:
    for _, receiver in signal.receivers:
        found = receiver() if hasattr(receiver, "__callback__") else receiver
        if found is not None and not str(getattr(found, "__module__", "")).startswith(_OURS):
            return True
    return False


def _log_success(task: Any, context: Context, result: Any, took: float) -> None:
    if celerys.logger.isEnabledFor(logging.INFO):
        shown = {
            "id": context.id,
            "name": celerys.get_task_name(context, task.name),
            "return_value": saferepr(result, task.resultrepr_maxsize),
            "runtime": took,
            "args": context.get("argsrepr") or saferepr(context.args),
            "kwargs": context.get("kwargsrepr") or saferepr(context.kwargs),
        }
        celerys.info(celerys.LOG_SUCCESS, shown)


def _clean_up(task: Any, loader: Any) -> None:
    try:
        task.backend.process_cleanup()
        loader.on_process_cleanup()
    except Exception as error:
        celerys.logger.error("Process cleanup failed: %r", error, exc_info=True)
