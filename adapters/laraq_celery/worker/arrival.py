"""Arrival: checks a message before Celery and laraq read it.

Its author is unknown. A message that would make Celery's consumer or laraq's request fail, and with them the worker's
main process, is replaced by one that a pool child can put into the failed store.
"""

from __future__ import annotations

import base64
import copy
import math
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from celery.app.task import Context

from laraq.messages.payload import Payload, is_job_id, shown, too_deep
from laraq_kombu.envelope import loads

#: Name of the task for messages that this worker cannot run: jobs of unknown classes, and unreadable messages.
UNKNOWN = "laraq.unknown"

#: The header that holds everything about a job except its fields.
LARAQ = "laraq"

#: Header by which the worker's parent process asks a pool child to settle a run that died.
CRASH = "laraq_crash"

#: Header that holds the true task name of a message taken by `UNKNOWN`.
ORIGINAL = "laraq_job"

#: The headers that laraq writes besides `LARAQ`.
MARKS = (CRASH, ORIGINAL)

#: The content type of nearly every message.
JSON = "application/json"

#: Opening brackets up to which the depth of a body is not checked.
_BRACKETS = 200


def settled_headers(headers: dict[str, Any]) -> dict[str, Any]:
    """The headers of an arriving message, in which every reader finds laraq's, whatever other libraries added.

    Tracing libraries put a dict named `headers` among the headers, and Celery's `Context.headers` is then that dict
    alone (celery.app.task: Context.__init__), which Celery's own `retry()` sends on, too. The other headers are copied
    into it. If both have a header, that of the library wins, which writes its own at each sending, except for laraq's.
    """
    name, original = headers.get("task"), headers.get(ORIGINAL)
    if ORIGINAL in headers:
        # Released by a worker without the class, or forged: looked up again in either case.
        headers = {key: value for key, value in headers.items() if key != ORIGINAL}
        if name == UNKNOWN and isinstance(original, str) and original != UNKNOWN:
            headers["task"] = original
    if "headers" not in headers:
        return headers
    beside = {key: value for key, value in headers.items() if key not in CELERYS_HEADERS}
    nested = headers["headers"] if isinstance(headers["headers"], Mapping) else {}
    others = {key: value for key, value in nested.items() if key not in CELERYS_HEADERS and key not in (LARAQ, *MARKS)}
    return {**headers, "headers": {**beside, **others}}


def marked(headers: Mapping[str, Any], **marks: Any) -> dict[str, Any]:
    """The headers with laraq's marks, where Celery's `Context.headers` shows them."""
    found = {**headers, **marks}
    if isinstance(nested := headers.get("headers"), Mapping):
        found["headers"] = {**nested, **marks}
    return found


def fault(message: Any, headers: Mapping[str, Any]) -> str | None:
    """The part of a message that would make Celery or laraq fail; None for a sound message."""
    for name, (fits, expected) in _EXPECTED.items():
        value = headers.get(name)
        if value is not None and not fits(value):
            return f"its header {name!r} is {shown(value)}, expected {expected}"
    if headers.get("id") is None or headers.get("task") is None:
        return "it has no id" if headers.get("id") is None else "it names no task"
    if CRASH in headers and not _is_unsettled(headers[CRASH]):
        return f"its header {CRASH!r} was not written by a worker"
    if too_deep(headers):
        return "its headers hold lists or mappings nested too deep"
    if not _is_flat(message.body) and _is_deep(message):
        return "its body holds lists or mappings nested too deep"
    return None


def job_fault(payload: Any) -> str | None:
    """The fault in the decoded body of a job, `[args, kwargs, canvas]`, which is not checked elsewhere."""
    if not isinstance(payload, list | tuple) or len(payload) != 3:
        return f"its body is {type(payload).__name__}, expected [args, kwargs, canvas]"
    args, fields, canvas = payload
    if not isinstance(args, list | tuple):
        return f"its args are {type(args).__name__}, expected a list"
    if not isinstance(fields, Mapping) or not all(isinstance(name, str) for name in fields):
        return f"its kwargs are {type(fields).__name__}, expected a mapping of names to values"
    if canvas is None:
        return None
    if not isinstance(canvas, Mapping) or not canvas.keys() <= _CANVAS:
        return f"its canvas is {type(canvas).__name__}, expected a mapping of {', '.join(sorted(_CANVAS))}"
    return None


def decoded(message: Any) -> Any:
    """The body of a message, as kombu decodes it; JSON in a fraction of the time."""
    if (
        message._decoded_cache is None
        and message.content_type == JSON
        and (message.content_encoding or "utf-8") == "utf-8"
        and isinstance(message.body, (str, bytes))
        and (message.accept is None or JSON in message.accept)
    ):
        with suppress(Exception):  # kombu says in its own words what is wrong
            message._decoded_cache = loads(message.body)
    return message.payload


def notice(message: Any, headers: Mapping[str, Any], why: str) -> Any:
    """A replacement for an unreadable message, which a pool child can put into the failed store.

    Its batch and chain are notified as far as they can be read. The message itself stays unchanged, and is acknowledged
    through this one.
    """
    id, header, name = headers.get("id"), headers.get(LARAQ), headers.get(ORIGINAL, headers.get("task"))
    known = Payload.salvaged("", "", {}, (), None if too_deep(header) else header).to_header()
    replaced = with_headers(
        message,
        {
            "lang": "py",
            "task": UNKNOWN,
            "id": str(id) if _is_id(id) and is_job_id(str(id)) else str(uuid.uuid4()),
            LARAQ: known,
            ORIGINAL: name if isinstance(name, str) else shown(name),
            CRASH: {
                "kind": "broken",
                "detail": f"The message cannot be read: {why}",
                "raw": base64.b64encode(_bytes_of(message.body)).decode(),
            },
        },
    )
    replaced.body = b"[[], {}, {}]"
    replaced.content_type, replaced.content_encoding = "application/json", "utf-8"
    replaced.properties = {**_mapping(message.properties), "correlation_id": replaced.headers["id"], "reply_to": None}
    replaced._decoded_cache = None
    replaced.errors = []
    return replaced


def with_headers(message: Any, headers: dict[str, Any]) -> Any:
    """A copy of the message with other headers; the original stays unchanged, because it may have to be requeued."""
    other = copy.copy(message)
    other.headers = headers
    return other


def _bytes_of(body: Any) -> bytes:
    return body if isinstance(body, bytes) else str(body).encode("utf-8", "backslashreplace")


def _is_flat(body: Any) -> bool:
    """Whether a body has too few brackets to be nested too deeply."""
    if isinstance(body, bytes):
        return body.count(b"[") + body.count(b"{") <= _BRACKETS
    return isinstance(body, str) and body.count("[") + body.count("{") <= _BRACKETS


def _is_deep(message: Any) -> bool:
    try:
        return too_deep(message.decode())
    except RecursionError:
        return True
    except Exception:
        return False  # Celery knows what to do


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int | uuid.UUID) and not isinstance(value, bool) and value != ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 2**31 - 1


def _is_limit(value: Any) -> bool:
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 10**9 and math.isfinite(value)
    )


def _are_limits(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_limit, value))


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_unsettled(mark: Any) -> bool:
    """Whether it is the only mark that is sent: settling was postponed (task.py: _settle_later)."""
    return (
        isinstance(mark, Mapping)
        and mark.keys() == {"kind", "detail"}
        and mark["kind"] in ("unsettled", "dropped")
        and isinstance(mark["detail"], str)
    )


#: Headers that Celery and laraq rely on, their checks, and the description of valid values.
_EXPECTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "task": (_is_text, "the name of a task"),
    "id": (_is_id, "a text"),
    "root_id": (_is_id, "a text"),
    "parent_id": (_is_id, "a text"),
    "group": (_is_id, "a text"),
    "shadow": (_is_text, "a name"),
    "retries": (_is_count, "a number"),
    "timelimit": (_are_limits, "two numbers of seconds"),
    "stamped_headers": (_are_names, "a list of names"),
    "stamps": (_is_mapping, "a mapping"),
}

#: Headers that Celery writes itself (celery.app.amqp: AMQP.as_task_v2; celery.app.task: Context).
CELERYS_HEADERS = frozenset({*vars(Context), "lang", "task", "argsrepr", "kwargsrepr", "compression"})

#: Keys of the canvas that a body may hold (celery.app.amqp: AMQP.as_task_v2).
_CANVAS = frozenset({"callbacks", "errbacks", "chain", "chord"})
