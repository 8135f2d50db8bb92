"""The task of a job is also a task of its app: an `app.Task`, whatever class that is (`task_cls`, Flask's FlaskTask).

laraq's definitions take precedence, so its bookkeeping cannot be lost. Everything else is the app's: its `__call__`
wraps the whole delivery, its hooks (`before_start`, `on_failure`, ...) are called, its attributes and settings apply.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from celery import Task

#: Celery's hooks after which laraq notes the end of a run, and the method of JobTask that does it.
_ENDS = {"after_return": "_over", "on_retry": "_sent_again"}


def made(base: type[Task], app: Any, name: str, members: dict[str, Any]) -> Task:
    """A new task of the app that is a `base` and an `app.Task`."""
    if issubclass(app.Task, _root(base)):  # task_cls=LaraqTask, which is for ordinary tasks
        return type(name, (base,), members)()
    return type(name, (app.Task, base), {**_kept(base, app), **members})()


def join(cls: type[Task], app: Any) -> None:
    """Make a class that Celery created with one of laraq's `base` classes an `app.Task`."""
    if issubclass(cls, app.Task) or issubclass(app.Task, _root(cls)):
        return
    for name, value in _kept(cls, app).items():
        setattr(cls, name, value)
    cls.__bases__ = (app.Task, *cls.__bases__)


def watch(cls: type[Task]) -> None:
    """Let laraq see how a delivery ends, whatever the app's class, the task's options or annotations define."""
    cls.ends_as_celery_does = cls.after_return is Task.after_return
    for hook, ours in _ENDS.items():
        setattr(cls, hook, _first(getattr(cls, ours), getattr(cls, hook)))
    call = cls.__call__
    if call not in {vars(one).get("__call__") for one in _ours(cls)}:
        cls.__call__ = lambda self, /, *args, **kwargs: self._around(call, args, kwargs)


def _kept(cls: type[Task], app: Any) -> dict[str, Any]:
    """The members of laraq's classes that the app's class would hide, as they are in `cls`."""
    ours = {name for one in _ours(cls) for name in vars(one) if not name.startswith("__")}
    theirs = {name for one in app.Task.__mro__ if one not in Task.__mro__ for name in vars(one)}
    return {name: inspect.getattr_static(cls, name) for name in ours & theirs}


def _ours(cls: type[Task]) -> list[type]:
    """laraq's own classes among the bases of the class."""
    return [one for one in cls.__mro__ if one.__module__.startswith("laraq_celery.")]


def _root(cls: type[Task]) -> type:
    return _ours(cls)[-1]


def _first(ours: Callable[..., None], theirs: Callable[..., Any]) -> Callable[..., Any]:
    def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        ours(self, *args, **kwargs)
        return theirs(self, *args, **kwargs)

    return hook
