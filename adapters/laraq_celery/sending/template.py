"""Templates: Celery writes one message of each Job class, into which each job is filled."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple

from celery import Celery, Task, signals
from celery.app.amqp import AMQP
from celery.app.routes import MapRoute, Router
from celery.utils.saferepr import saferepr
from kombu import serialization
from kombu.common import maybe_declare
from kombu.connection import Connection
from kombu.entity import Queue, maybe_delivery_mode
from kombu.exceptions import EncodeError
from kombu.messaging import Producer
from kombu.utils import json

from laraq.errors import InvalidJobError
from laraq.messages.payload import CIPHER, Payload
from laraq_celery.worker.task import JobTask

#: Replaces the arguments of encrypted jobs in headers, events and logs.
HIDDEN = "<encrypted>"

#: Options with which a job can be filled into a template; links, chords, stamps and the rest are left to Celery.
CARRIED = frozenset({"headers", "priority", "ignore_result", "shadow", "root_id", "parent_id"})

CONTENT_TYPE, CONTENT_ENCODING = "application/json", "utf-8"

_SIGNALS = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)

#: The functions that a message passes in Celery, by the members of their class, their name and their file. Tracing
#: libraries wrap some of these and must see every message.
_PASSED = tuple(
    (vars(owner), name, sys.modules[owner.__module__].__file__)
    for owner, names in {
        Task: ("apply_async", "shadow_name", "_get_exec_options"),
        Celery: ("send_task",),
        AMQP: ("as_task_v2", "_create_task_sender"),
        Router: ("route",),
        Producer: ("publish", "_publish"),
    }.items()
    for name in names
)

#: Arguments of `Producer.publish` that a template can repeat.
_REPEATED = frozenset({
    "exchange", "routing_key", "serializer", "retry", "retry_policy", "delivery_mode", "declare", "headers", "priority",
    "correlation_id", "reply_to",
})  # fmt: skip

#: The headers of protocol 2. A Celery that writes more headers cannot be imitated here.
_HEADERS = frozenset({
    "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
    "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
    "stamps",
})  # fmt: skip

#: The third part of a protocol-2 body.
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

#: Id of the message that is recorded, not sent.
_NO_ID = "00000000-0000-0000-0000-000000000000"

#: Types whose values Python writes as Celery does, and types that every JSON encoder writes alike.
_SAME_REPR = (int, float, bool, type(None))
_SAME_JSON = frozenset({str, int, float})

#: Depth of representations in Celery before 5.7, which has no setting for it.
_LEVELS = 3

#: Does what `kombu.utils.json: dumps` does, which creates a new encoder for each message.
encode: Callable[[Any], str] = json.JSONEncoder().encode


class Caller(NamedTuple):
    """What each message records about the thread and the task that send it."""

    reply_to: str
    task: Task | None
    root_id: str | None
    parent_id: str | None


class Templates:
    """The templates of one app and connection.

    Everything that could make Celery write a different message next time is checked each time, or prevents a template.
    """

    def __init__(self, app: Celery, url: str | None) -> None:
        self._app = app
        self._url = url
        self._known: dict[tuple[str, str | None], tuple[Task, Template | None]] = {}
        self._recorded_with: tuple[Any, ...] = ()

    def caller(self) -> Caller | None:
        """The current caller; None while Celery must write all messages itself."""
        app = self._app
        conf = app.conf
        if _is_watched() or conf.task_always_eager or conf.task_send_sent_event:
            return None
        task = app.current_worker_task
        if task is not None and conf.task_inherit_parent_priority:
            return None
        made = vars(app.amqp)  # cached properties: those that do not exist were not used yet
        present = (made.get("router"), made.get("send_task_message"), conf.task_default_queue, os.getpid())
        if present != self._recorded_with:
            self._known.clear()
            self._recorded_with = present
        if task is None:
            return Caller(app.thread_oid, None, None, None)
        return Caller(app.thread_oid, task, task.request.root_id or task.request.id, task.request.id)

    def find(self, job: str, queue: str | None) -> Template | None:
        """The template of a class and queue; None if Celery must write these messages itself."""
        task, queues = self._app.tasks.get(job), self._app.amqp.queues
        if task is None:
            return None
        known, template = self._known.get((job, queue), (None, None))
        declared = template.queue if template else None
        if known is not task or (declared is not None and queues.get(declared.name) is not declared):
            template = self._record(task, queue)
            self._known[job, queue] = task, template
        return template

    def _record(self, task: Task, queue: str | None) -> Template | None:
        """Let `Task.apply_async` write a message, so that Celery applies router, settings and annotations."""
        if not _is_plain(self._app) or not _is_generated(task):
            return None
        recorder = _Recorder(self._app.connection_for_write(self._url))
        Task.apply_async(
            task,
            task_id=_NO_ID,
            producer=recorder,
            ignore_result=True,  # the message is not sent: the result backend must not learn of it
            add_to_parent=False,
            **({"queue": queue} if queue else {}),
        )
        return _template(task, recorder.published)


@dataclass(frozen=True, slots=True)
class Template:
    """The common part of all messages of one Job class to one queue."""

    task: Task
    amqp: AMQP
    headers: Mapping[str, Any]
    delivery_mode: int
    priority: int
    exchange: str
    routing_key: str
    #: None: nothing is to be declared.
    queue: Queue | None

    def fill(self, payload: Payload, caller: Caller, delay: float = 0) -> TaskMessage:
        """Fill in the parts of this job, as `celery.app.amqp: AMQP.as_task_v2` does.

        Raises InvalidJobError for a value that is not JSON.
        """
        amqp, carrier, id, fields = self.amqp, payload.carrier, payload.id, payload.fields
        hidden = CIPHER in fields
        header = payload.to_header()
        headers = {
            **self.headers,
            "id": id,
            "shadow": carrier.get("shadow") or None,
            "eta": _eta(amqp, delay) if delay else None,
            "root_id": carrier.get("root_id") or caller.root_id or id,
            "parent_id": carrier.get("parent_id") or caller.parent_id,
            "argsrepr": HIDDEN if hidden else args_repr(amqp, payload.args),
            "kwargsrepr": HIDDEN if hidden else fields_repr(amqp, fields),
            "ignore_result": carrier.get("ignore_result", self.task.ignore_result),
            **carrier.get("headers", {}),
            "laraq": header,
        }
        properties = {"correlation_id": id, "reply_to": caller.reply_to, "delivery_mode": self.delivery_mode}
        if hidden:  # Celery writes these options in both places
            properties["argsrepr"] = properties["kwargsrepr"] = HIDDEN
        try:
            body = _encode_body((payload.args, fields, _EMBED))
        except EncodeError as error:
            raise InvalidJobError(payload.job, f"Job {payload.job} was not sent: {error}") from error
        plain = "headers" not in carrier and type(id) is str and _SAME_JSON.issuperset(map(type, header.values()))
        return TaskMessage(self, body, headers, properties, carrier.get("priority", self.priority), plain)


class TaskMessage:
    """One message, ready for a channel. Created for every job that is sent; a dataclass would be slower.

    `plain`: the headers contain only text and numbers.
    """

    __slots__ = ("body", "headers", "plain", "priority", "properties", "template")

    def __init__(
        self,
        template: Template,
        body: Any,
        headers: dict[str, Any],
        properties: dict[str, Any],
        priority: int,
        plain: bool,
    ) -> None:
        self.template = template
        self.body = body
        self.headers = headers
        self.properties = properties
        self.priority = priority
        self.plain = plain

    def declare(self, connection: Connection, channel: Any) -> None:
        """Do what kombu's `maybe_declare` does, without its copies of the queue and exchange."""
        queue = self.template.queue
        if queue is not None and hash(queue) not in connection.declared_entities:
            maybe_declare(queue, channel)

    def prepared(self, channel: Any) -> Any:
        """The message in the form of the channel's transport."""
        return channel.prepare_message(
            self.body, self.priority, CONTENT_TYPE, CONTENT_ENCODING, self.headers, self.properties
        )

    def publish(self, channel: Any) -> None:
        """Pass the message to the channel."""
        template = self.template
        channel.basic_publish(self.prepared(channel), exchange=template.exchange, routing_key=template.routing_key)

    def encoded(self, prepared: dict[str, Any]) -> bytes | str:
        """The prepared form as JSON. (kombu's encoder marks values that are not JSON, such as datetimes; if there are
        none, a faster encoder writes the same.)"""
        if self.plain:
            from pydantic_core import PydanticSerializationError, to_json  # late: not every attached process sends

            try:
                return to_json(prepared)
            except PydanticSerializationError:  # half of a surrogate pair is text for Python, and JSON for kombu
                pass
        return encode(prepared)


class _Recorder:
    """A producer that records what it should publish."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.published: Mapping[str, Any] = {}

    def publish(self, body: Any, **options: Any) -> None:
        self.published = options


def _template(task: Task, published: Mapping[str, Any]) -> Template | None:
    """A template, or None for a message with a part that may differ between jobs."""
    declared = published["declare"] or ()
    if (
        any(value for name, value in published.items() if name not in _REPEATED)
        or published["serializer"] != "json"
        or published["headers"].keys() != _HEADERS
        or published["headers"]["expires"] is not None
        or not published["retry"]
        or not isinstance(published["exchange"], str)
        or not all(type(entity) is Queue and entity.name and entity.can_cache_declaration for entity in declared)
        or len(declared) > 1
    ):
        return None
    return Template(
        task=task,
        amqp=task.app.amqp,
        headers=published["headers"],
        delivery_mode=maybe_delivery_mode(published["delivery_mode"]),
        priority=published.get("priority", 0),
        exchange=published["exchange"],
        routing_key=published["routing_key"],
        queue=declared[0] if declared else None,
    )


def _is_watched() -> bool:
    """Whether Celery's signals of sending have receivers, or a function that messages pass is wrapped."""
    for signal in _SIGNALS:  # loops, because they run for each job and take half as long as expressions
        if signal.receivers:
            return True
    for members, name, file in _PASSED:
        function = members.get(name)  # a proxy has the code of the wrapped function, but another type
        if type(function) is not FunctionType or function.__code__.co_filename != file:
            return True
    return False


def _is_plain(app: Celery) -> bool:
    """Whether the app's classes are Celery's own, and its routes depend only on the task's name."""
    amqp = app.amqp
    return (
        type(app).send_task is Celery.send_task
        and type(amqp) is AMQP
        and type(amqp.router) is Router
        and all(type(route) is MapRoute for route in amqp.router.routes)
    )


def _is_generated(task: Any) -> bool:
    """Whether the task was created for a Job class, and no annotation changes how it is sent."""
    kind = type(task)
    return (
        issubclass(kind, JobTask)
        and kind.apply_async is JobTask.apply_async
        and kind.shadow_name is Task.shadow_name
        and kind._get_exec_options is Task._get_exec_options
        and kind.AsyncResult is Task.AsyncResult
        and getattr(task, "_dump_pydantic_arguments", None) is None
        and not task.typing
    )


def _eta(amqp: AMQP, delay: float) -> str:
    """The ETA, computed by Celery, which knows the app's timezone."""
    message: Any = amqp.create_task_message("", "", countdown=delay, argsrepr="", kwargsrepr="")
    eta: str = message.headers["eta"]
    return eta


def _encode_body(body: Any) -> Any:
    """The body as the serializer "json" writes it: text, unless another serializer is registered under that name.

    Raises kombu's EncodeError.
    """
    try:
        if serialization.registry._encoders["json"].encoder is json.dumps:
            return encode(body)
    except Exception:  # noqa: S110 - kombu raises it again, in its own words, one line below
        pass
    _, _, encoded = serialization.dumps(body, "json")
    return encoded


def fields_repr(amqp: AMQP, fields: Mapping[str, Any]) -> str:
    """The header `kwargsrepr` as Celery writes it: by `saferepr`, which checks every token for deep and endless
    values.

    A flat mapping that fits is neither, and gives the same text in a fraction of the time.
    """
    maxlen: int = amqp.kwargsrepr_maxsize
    parts = []
    for name, value in fields.items():
        kind = type(value)
        if kind is str:
            value = "'" + value.replace("'", "\\'") + "'"
        elif kind not in _SAME_REPR:
            break
        parts.append(f"'{name}': {value}")
    else:
        text = "{" + ", ".join(parts) + "}"
        if len(text) <= maxlen:
            return text
    return _saferepr(amqp, fields, maxlen)


def args_repr(amqp: AMQP, args: tuple[Any, ...]) -> str:
    """The header `argsrepr`; the fields of most jobs are sent by name."""
    return _saferepr(amqp, args, amqp.argsrepr_maxsize) if args else "()"


def _saferepr(amqp: AMQP, value: Any, maxlen: int) -> str:
    levels: int = amqp.app.conf.get("task_repr_maxlevels", _LEVELS)
    text: str = saferepr(value, maxlen, maxlevels=levels)
    return text
