"""Job options: their names, who may set them, and who wins.

instance (`on_queue(...)`, `job.tries = 7`) > class attribute or method > route > connection > worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

Seconds: TypeAlias = "int | float | timedelta"
Delay: TypeAlias = "int | float | timedelta | datetime"

#: Every option of a job. A field of a job may not have one of these names.
OPTIONS = frozenset({
    "connection", "queue", "tries", "max_exceptions", "backoff", "timeout", "fail_on_timeout", "retry_until",
    "countdown", "after_commit", "unique", "unique_until_processing", "unique_for", "unique_id", "unique_via",
    "debounce_for", "debounce_max_wait", "encrypted", "delete_when_missing_models", "display_name", "tags",
    "silenced", "ignore_result", "priority", "expires",
})  # fmt: skip

#: Options that travel with the message when they are set on the instance; the rest acts at dispatch.
TRAVELLING = ("tries", "max_exceptions", "backoff", "timeout", "fail_on_timeout", "delete_when_missing_models",
              "display_name", "silenced")  # fmt: skip


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What the worker says for jobs that do not say it themselves (Illuminate/Queue/WorkerOptions.php)."""

    tries: int = 1
    backoff: Any = 0
    #: Seconds; None leaves it to Celery's own limits, 0 is no limit.
    timeout: float | None = None
    #: The named connection this worker consumes; None: the app's own.
    connection: str | None = None


def seconds(value: Seconds) -> float:
    """A length of time in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def delay_seconds(value: Delay | None, now: datetime) -> float:
    """Seconds from `now` (aware) until a delay is over; never negative.

    Raises ValueError for a naive datetime, whose moment nobody can know.
    """
    if value is None:
        return 0.0
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"A delay until {value!r} needs a timezone: datetime.now(timezone.utc) + ...")
        return max(0.0, (value - now).total_seconds())
    return max(0.0, seconds(value))


def epoch(value: float | datetime | timedelta, now: float) -> float:
    """A moment as epoch seconds; a timedelta counts from `now`.

    Raises ValueError for a naive datetime.
    """
    if isinstance(value, timedelta):
        return now + value.total_seconds()
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"The moment {value!r} needs a timezone: datetime.now(timezone.utc) + ...")
        return value.timestamp()
    return float(value)


def read(job: Any, name: str) -> Any:
    """The option of a job or a Job class: what the instance says, else the class; methods are called on instances."""
    value = getattr(job, name)
    if callable(value):
        return None if isinstance(job, type) else value()
    return value


def travelling(job: Any) -> dict[str, Any]:
    """The options set on this very instance that the worker must know, JSON-ready."""
    own = vars(job)
    return {name: _plain(own[name]) for name in TRAVELLING if name in own}


def apply(job: Any, options: Mapping[str, Any]) -> None:
    """Put travelled options back on the instance."""
    for name, value in options.items():
        if name in TRAVELLING:
            setattr(job, name, value)


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
