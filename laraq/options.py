"""Job options: their names, who may set them, and who wins.

instance (`on_queue(...)`, `job.tries = 7`) > class attribute or method > route > connection > worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


#: Seconds; whatever is longer is a mistake, and at some length no store can count to its end.
LONGEST_LEASE = 100 * 365 * 24 * 3600.0


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


def is_lease(value: Any) -> bool:
    """Whether it is a length of time for a lock or slot: one with an end, and that in the future."""
    try:
        return not isinstance(value, bool) and 0 < seconds(value) <= LONGEST_LEASE
    except (TypeError, ValueError, OverflowError):
        return False


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


def length(value: Any) -> float | None:
    """Seconds of a length of time, None for what is none: another type, negative, or without an end."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return float(value) if _is_length(value) else None


def travelling(job: Any) -> dict[str, Any]:
    """The options set on this very instance that the worker must know, JSON-ready.

    Raises ValueError for a value that no worker could use.
    """
    own = vars(job)
    options = {name: _plain(own[name]) for name in TRAVELLING if name in own}
    if options and (why := misfit(options)) is not None:
        raise ValueError(why)
    return options


def misfit(options: Mapping[str, Any]) -> str | None:
    """What is wrong with options that travelled, if anything."""
    for name, (fits, expected) in _TRAVELLING.items():
        value = options.get(name)
        if value is not None and not fits(value):
            return f"{name} = {value!r:.100}: expected {expected}"
    return None


def apply(job: Any, options: Mapping[str, Any]) -> None:
    """Put travelled options back on the instance."""
    for name, value in options.items():
        if name in TRAVELLING:
            setattr(job, name, value)


def _is_length(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_backoff(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.keys() == {"base", "cap", "jitter"} and all(map(_is_length, value.values()))
    return _is_length(value) or (isinstance(value, list | tuple) and all(map(_is_length, value)))


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


#: Seconds of the longest timeout or backoff: about thirty years.
_LONGEST = 10**9

#: What each option that travels may be, and how that is said. None is always the same as not saying it.
_TRAVELLING: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "tries": (_is_count, "a number of starts, 0 for no limit"),
    "max_exceptions": (_is_count, "a number of exceptions"),
    "backoff": (_is_backoff, "seconds, a list of seconds, or a Backoff"),
    "timeout": (_is_length, "seconds, 0 for no limit"),
    "fail_on_timeout": (_is_truth, "True or False"),
    "delete_when_missing_models": (_is_truth, "True or False"),
    "display_name": (_is_text, "a text"),
    "silenced": (_is_truth, "True or False"),
}


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
