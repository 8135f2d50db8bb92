"""Whether Celery and kombu still do by themselves what the short way does without them."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any

from celery import Celery, Task, signals
from celery.app.amqp import AMQP
from celery.app.routes import MapRoute, Router
from kombu.messaging import Producer

_SIGNALS = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)

#: What a message passes on Celery's way, as it was when this module was imported. Tracing libraries wrap some of these
#: and must see every message.
_PASSED = tuple(
    (vars(owner), name, vars(owner)[name], sys.modules[owner.__module__].__file__)
    for owner, names in {
        Task: ("apply_async", "shadow_name", "_get_exec_options"),
        Celery: ("send_task",),
        AMQP: ("as_task_v2", "_create_task_sender"),
        Router: ("route",),
        Producer: ("publish", "_publish"),
    }.items()
    for name in names
)

#: Whether that is what Celery and kombu have shipped. (A proxy shows the code of what it wraps, but has another type.)
_SHIPPED = all(type(passed) is FunctionType and passed.__code__.co_filename == file for _, _, passed, file in _PASSED)


def unwrapped() -> bool:
    """Whether nobody replaced one of the functions a message passes."""
    if not _SHIPPED:
        return False
    for members, name, shipped, _ in _PASSED:  # noqa: SIM110 - asked for each job, and half as fast as an expression
        if members.get(name) is not shipped:
            return False
    return True


def unheard() -> bool:
    """Whether no signal of a message on its way has a listener."""
    for signal in _SIGNALS:  # noqa: SIM110 - as above
        if signal.receivers:
            return False
    return True


def plain(app: Celery) -> bool:
    """Whether the app's classes are Celery's own, and its routes depend on nothing but the task's name."""
    amqp = app.amqp
    return (
        type(app).send_task is Celery.send_task
        and type(amqp) is AMQP
        and type(amqp.router) is Router
        and all(type(route) is MapRoute for route in amqp.router.routes)
    )


def generated(task: Any, base: type[Task]) -> bool:
    """Whether the task is one made for a Job class, and no annotation changed how it is sent."""
    kind = type(task)
    return (
        issubclass(kind, base)
        and kind.apply_async is base.apply_async
        and kind.shadow_name is Task.shadow_name
        and kind._get_exec_options is Task._get_exec_options
        and kind.AsyncResult is Task.AsyncResult
        and getattr(task, "_dump_pydantic_arguments", None) is None
        and not task.typing
    )
