"""Window: messages that are sent one right after the other, so that what they share is looked up once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery, Task
from kombu.exceptions import EncodeError

from laraq.errors import InvalidJobError
from laraq.messages.payload import CIPHER, Payload
from laraq_celery.sending.encoding import encode_body
from laraq_celery.sending.message import Prebuilt, Ready
from laraq_celery.sending.representation import args_repr, fields_repr

if TYPE_CHECKING:
    from laraq_celery.sending.prebuilt import Prebuilder

#: Stands for the arguments of encrypted jobs in headers, events and logs.
HIDDEN = "<encrypted>"

#: What a job may bring along and still go the short way; links, chords, stamps and the rest are Celery's to write.
_CARRIED = frozenset({"headers", "priority", "ignore_result", "shadow", "root_id", "parent_id"})

#: The third part of a protocol-2 body.
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

#: Values that every JSON encoder writes alike.
_PLAIN = frozenset({str, int, float})


class Window:
    """One push, or one bulk."""

    def __init__(self, prebuilder: Prebuilder, app: Celery, parent: Task | None) -> None:
        self._prebuilder = prebuilder
        self._amqp = app.amqp
        self._reply_to: str = app.thread_oid
        #: The task that runs here, if any.
        self.parent = parent
        self._root_id = self._parent_id = None
        if parent is not None:
            request = parent.request
            self._root_id, self._parent_id = request.root_id or request.id, request.id
        self._found: dict[tuple[str, str | None], Prebuilt | None] = {}

    def find(self, payload: Payload, queue: str | None) -> Prebuilt | None:
        """The prebuilt message of this job; None when it must go Celery's way."""
        if not payload.carrier.keys() <= _CARRIED:
            return None
        key = (payload.job, queue)
        try:
            return self._found[key]
        except KeyError:
            found = self._found[key] = self._prebuilder.find(*key)
            return found

    def ready(self, prebuilt: Prebuilt, payload: Payload, delay: float = 0) -> Ready:
        """Fill in what belongs to this job, as `celery.app.amqp: AMQP.as_task_v2` does.

        Raises InvalidJobError for a value that is no JSON.
        """
        amqp, carrier, id, fields = self._amqp, payload.carrier, payload.id, payload.fields
        hidden = CIPHER in fields
        header = payload.to_header()
        headers = {
            **prebuilt.headers,
            "id": id,
            "shadow": carrier.get("shadow") or None,
            "eta": self._eta(delay) if delay else None,
            "root_id": carrier.get("root_id") or self._root_id or id,
            "parent_id": carrier.get("parent_id") or self._parent_id,
            "argsrepr": HIDDEN if hidden else args_repr(amqp, payload.args),
            "kwargsrepr": HIDDEN if hidden else fields_repr(amqp, fields),
            "ignore_result": carrier.get("ignore_result", prebuilt.task.ignore_result),
            **carrier.get("headers", {}),
            "laraq": header,
        }
        properties = {**prebuilt.properties, "correlation_id": id, "reply_to": self._reply_to}
        if hidden:  # Celery writes these options of a call in both places
            properties["argsrepr"] = properties["kwargsrepr"] = HIDDEN
        try:
            body = encode_body((payload.args, fields, _EMBED))
        except EncodeError as error:
            raise InvalidJobError(payload.job, f"Job {payload.job} was not sent: {error}") from error
        plain = "headers" not in carrier and type(id) is str and _PLAIN.issuperset(map(type, header.values()))
        return Ready(prebuilt, body, headers, properties, carrier.get("priority", prebuilt.priority), plain)

    def _eta(self, delay: float) -> str:
        """By Celery, which knows the app's timezone."""
        message: Any = self._amqp.create_task_message("", "", countdown=delay, argsrepr="", kwargsrepr="")
        eta: str = message.headers["eta"]
        return eta
