"""Prebuilder: the message of each Job class, written once by Celery itself."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

from celery import Celery, Task
from kombu.entity import Queue
from kombu.messaging import Producer

from laraq_celery.sending import stock
from laraq_celery.sending.message import CONTENT_ENCODING, CONTENT_TYPE, Prebuilt
from laraq_celery.sending.window import Window
from laraq_celery.worker.task import JobTask

_PUBLISH = inspect.signature(Producer._publish)

#: What Celery hands to kombu, by the names of `kombu.messaging: Producer._publish`. Other kombus have no short way.
_HANDED = frozenset({
    "self", "body", "priority", "content_type", "content_encoding", "headers", "properties", "routing_key",
    "mandatory", "immediate", "exchange", "declare", "timeout", "confirm_timeout", "retry", "retry_policy",
})  # fmt: skip

#: Properties the short way knows how to fill in or to repeat.
_PROPERTIES = frozenset({"correlation_id", "reply_to", "delivery_mode"})

#: The headers of protocol 2. A Celery that writes more of them writes what this file cannot know.
_HEADERS = frozenset({
    "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
    "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
    "stamps",
})  # fmt: skip

#: Id of the message that is only recorded.
_NOBODY = "00000000-0000-0000-0000-000000000000"


class Prebuilder:
    """Prebuilt messages of one app and connection.

    Each is recorded from `Task.apply_async`: Celery's router, settings and annotations are applied by Celery. Whatever
    could make it write another message the next time is looked at in each window, or has no short way at all.
    """

    def __init__(self, app: Celery, url: str | None) -> None:
        self._app = app
        self._url = url
        self._known: dict[tuple[str, str | None], tuple[Task, Prebuilt | None]] = {}
        self._recorded_with: tuple[Any, ...] = ()

    def window(self) -> Window | None:
        """For messages that are sent now; None when they must go Celery's way."""
        app = self._app
        conf = app.conf
        if not (stock.unheard() and stock.unwrapped()) or conf.task_always_eager or conf.task_send_sent_event:
            return None
        parent = app.current_worker_task
        if parent is not None and conf.task_inherit_parent_priority:
            return None
        made = vars(app.amqp)  # cached properties: what is not made yet was not used yet
        present = (made.get("router"), made.get("send_task_message"), conf.task_default_queue, os.getpid())
        if present != self._recorded_with:
            self._known.clear()
            self._recorded_with = present
        return Window(self, app, parent)

    def find(self, job: str, queue: str | None) -> Prebuilt | None:
        """The prebuilt message; None when there is no short way for this class and queue."""
        task, queues = self._app.tasks.get(job), self._app.amqp.queues
        if task is None:
            return None
        known, prebuilt = self._known.get((job, queue), (None, None))
        declared = prebuilt.queue if prebuilt else None
        if known is not task or (declared is not None and queues.get(declared.name) is not declared):
            prebuilt = self._record(task, queue)
            self._known[job, queue] = task, prebuilt
        return prebuilt

    def _record(self, task: Task, queue: str | None) -> Prebuilt | None:
        app = self._app
        if not stock.plain(app) or not stock.generated(task, JobTask):
            return None
        recorder = _Recorder(app.connection_for_write(self._url))
        Task.apply_async(
            task,
            task_id=_NOBODY,
            producer=recorder,
            ignore_result=True,  # nobody will ask for it: the result backend must not hear of this one
            add_to_parent=False,
            **({"queue": queue} if queue else {}),
        )
        return _prebuilt(task, recorder.handed)


class _Recorder(Producer):
    """A producer that keeps what it is told to publish."""

    #: kombu's finds it out by opening a channel.
    connection = None

    def __init__(self, connection: Any) -> None:
        super().__init__(None, auto_declare=False)
        self.connection = connection
        self.handed: Mapping[str, Any] = {}

    def _publish(self, *args: Any, **kwargs: Any) -> None:
        self.handed = dict(_PUBLISH.bind(self, *args, **kwargs).arguments)


def _prebuilt(task: Task, handed: Mapping[str, Any]) -> Prebuilt | None:
    """None for a message with anything in it that is not known to be the same for each job."""
    if handed.keys() != _HANDED:
        return None
    declared = handed["declare"] or ()
    if (
        (handed["content_type"], handed["content_encoding"]) != (CONTENT_TYPE, CONTENT_ENCODING)
        or handed["headers"].keys() != _HEADERS
        or handed["properties"].keys() != _PROPERTIES
        or handed["headers"]["expires"] is not None
        or not handed["retry"]
        or any(handed[name] for name in ("mandatory", "immediate", "timeout", "confirm_timeout"))
        or not isinstance(handed["exchange"], str)
        or not all(type(entity) is Queue and entity.name and entity.can_cache_declaration for entity in declared)
        or len(declared) > 1
    ):
        return None
    return Prebuilt(
        task=task,
        headers=handed["headers"],
        properties=handed["properties"],
        priority=handed["priority"],
        exchange=handed["exchange"],
        routing_key=handed["routing_key"],
        queue=declared[0] if declared else None,
    )
