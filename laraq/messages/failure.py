"""FailedJob: the record of a job that failed, with its error."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

#: Characters kept of an exception's text, half from its beginning, half from its end.
LONGEST_TEXT = 1_000_000

#: Characters kept of names and texts if a store refused the whole record.
LONGEST_NAME, SHORT_TEXT = 255, 10_000

#: The largest number that every store accepts.
LARGEST_NUMBER = 2**31 - 1

#: Key in the payload of a record without its message, which the store refused: the reason.
SHORTENED = "shortened"


@dataclass(frozen=True, slots=True)
class FailedJob:
    """One row of the failed store (Illuminate/Queue/Failed/DatabaseUuidFailedJobProvider.php)."""

    #: The job's uuid; the same job failing again replaces its record.
    id: str
    connection: str
    queue: str
    #: Dotted path of the Job class, or name of the Celery task.
    job: str
    #: The message as JSON (`Payload.to_dict`); for an undecodable one `{"raw": base64, ...}`.
    payload: Mapping[str, Any]
    #: The exception with its traceback, as text.
    exception: str
    #: Aware, UTC.
    failed_at: datetime
    attempts: int = 0
    tags: tuple[str, ...] = ()
    batch_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `from_dict` reads it back."""
        return {**asdict(self), "tags": list(self.tags), "failed_at": self.failed_at.isoformat()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FailedJob:
        """The inverse of `to_dict`; unknown keys are ignored so that older code reads newer records."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        known["failed_at"] = datetime.fromisoformat(data["failed_at"])
        known["tags"] = tuple(data.get("tags", ()))
        return cls(**known)

    def shortened(self) -> FailedJob:
        """The record with a text and a number of attempts that stores accept."""
        attempts = min(max(self.attempts, 0), LARGEST_NUMBER) if isinstance(self.attempts, int) else 0
        return replace(self, exception=shorten(self.exception, LONGEST_TEXT), attempts=attempts)

    def without_message(self, reason: object) -> FailedJob:
        """The record for a store that refused the whole: the job and its error, without the message."""
        payload = {"id": _name(self.id), "job": _name(self.job), SHORTENED: storable(shorten(str(reason), 1000))}
        return replace(
            self.shortened(),
            id=_name(self.id),
            connection=_name(self.connection),
            queue=_name(self.queue),
            job=_name(self.job),
            payload=payload,
            exception=storable(shorten(self.exception, SHORT_TEXT)),
            tags=(),
            batch_id=None if self.batch_id is None else _name(self.batch_id),
        )


def shorten(text: str, longest: int) -> str:
    """The text, or its beginning and end with a note in between of how much is missing."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def _name(name: object) -> str:
    return storable(str(name))[:LONGEST_NAME]


@dataclass(frozen=True, slots=True)
class FailedJobQuery:
    """A selection of failed jobs; every given part narrows it."""

    queue: str | None = None
    connection: str | None = None
    job: str | None = None
    tag: str | None = None
    batch_id: str | None = None
    #: Only those that failed at or before this moment.
    before: datetime | None = None
    limit: int | None = None

    def matches(self, failed: FailedJob) -> bool:
        """The rule in Python, for stores that cannot express it in their own language."""
        return (
            (self.queue is None or failed.queue == self.queue)
            and (self.connection is None or failed.connection == self.connection)
            and (self.job is None or failed.job == self.job)
            and (self.tag is None or self.tag in failed.tags)
            and (self.batch_id is None or failed.batch_id == self.batch_id)
            and (self.before is None or failed.failed_at <= self.before)
        )


def text_of(error: BaseException) -> str:
    """The text of an error, in characters that every store can keep; does not raise, whatever its `__str__` does."""
    try:
        return storable(str(error))
    except Exception as trouble:
        return f"<the text of {type(error).__name__} cannot be had: its __str__ raised {type(trouble).__name__}>"


def traceback_of(error: BaseException) -> str:
    """An error with its traceback, as Python prints it; never raises."""
    try:
        return storable("".join(traceback.format_exception(error)).rstrip())
    except Exception:
        return f"{type(error).__module__}.{type(error).__qualname__}: {text_of(error)}"


def storable(text: str) -> str:
    """The text without the two kinds of characters that some stores refuse: halves of surrogate pairs, and NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def json_ready(value: Any) -> Any:
    """The value as JSON for a record; bytes become base64, other values that are not JSON their `repr`."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, bytes_mode="base64", fallback=_shown)


def _shown(value: Any) -> str:
    try:
        return storable(repr(value))
    except Exception:
        return f"<{type(value).__qualname__}>"
