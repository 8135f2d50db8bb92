"""A Celery app in a test: another broker for a while, and tasks that are seen instead of sent (`ports.HostInTests`)."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any

from celery import Celery
from celery.app.backends import by_url
from kombu.serialization import dumps

#: By which Celery finds a broker before it looks into the configuration (`celery.app.utils: Settings`).
_BROKER_URLS = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")


@contextmanager
def at_broker(app: Celery, url: str) -> Iterator[None]:
    """Have the app's broker at that URL, also for processes that are started meanwhile."""
    kept = {name: os.environ.get(name) for name in _BROKER_URLS}
    _forget_pools(app)
    os.environ.update(dict.fromkeys(_BROKER_URLS, url))
    try:
        yield
    finally:
        _forget_pools(app)
        for name, value in kept.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _forget_pools(app: Celery) -> None:
    """Connections to the broker as it is now are not used again."""
    app._pool = None
    app.amqp._producer_pool = None


@contextmanager
def intercepting(app: Celery, take: Callable[[Any, Callable[[], Any]], bool], *, whole: bool) -> Iterator[None]:
    """Give `take` each task that would be sent, and what runs it here; True: it is not sent.

    Canvas primitives send their tasks one by one, as they do to a broker. `whole`: no task is sent, so results, and the
    counts of chords, are in memory; else they stay where the app has them.
    """
    from laraq.testing.matching import Task  # late: only tests need it

    send = app.amqp.send_task_message

    def intercepted(producer: Any, name: str, message: Any, **options: Any) -> Any:
        args, kwargs, embed = message.body
        dumps(message.body, options.get("serializer") or app.conf.task_serializer)  # it must be able to travel
        queue = options.get("queue") or options.get("routing_key") or app.conf.task_default_queue
        place = {"queue": str(getattr(queue, "name", queue)), "countdown": _seconds_until(message.headers.get("eta"))}
        task = Task(name, str(message.headers["id"]), args, kwargs, {**embed, **place})

        def run() -> Any:
            links = {"link": embed.get("callbacks"), "link_error": embed.get("errbacks")}
            return app.tasks[name].apply(args, kwargs, task_id=task.id, **links)

        if take(task, run):
            return None
        subscribe(producer, task.id)
        return send(producer, name, message, **options)

    with ExitStack() as stack:
        if whole:
            kind, url = by_url("cache+memory://", app.loader)
            stack.callback(setattr, app, "_backend_cache", app._backend_cache)
            app._backend_cache = kind(app=app, url=url)
        # Celery subscribes to a result before it sends the task: for one that is not sent no server is to be asked.
        backend = app.backend
        subscribe = backend.on_task_call
        backend.on_task_call = lambda *_: None
        stack.callback(delattr, backend, "on_task_call")
        stack.callback(setattr, app.amqp, "send_task_message", send)
        app.amqp.send_task_message = intercepted
        yield


def _seconds_until(eta: str | None) -> float:
    """Seconds until the moment of a header; 0 for none, and for one that is over."""
    if eta is None:
        return 0.0
    moment = datetime.fromisoformat(eta)
    return max((moment - datetime.now(moment.tzinfo)).total_seconds(), 0.0)
