"""Job options: their names, values, where they may be set, and their precedence.

instance (`on_queue(...)`, `job.tries = 7`) > class attribute or method > route > connection > worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from laraq.errors import InvalidJobError, OptionError
from laraq.messages import values
from laraq.messages.values import LONGEST_LEASE as LONGEST_LEASE
from laraq.messages.values import Delay as Delay
from laraq.messages.values import Kind
from laraq.messages.values import Seconds as Seconds
from laraq.messages.values import Text as Text
from laraq.messages.values import is_lease as is_lease
from laraq.messages.values import key_of as key_of
from laraq.messages.values import seconds as seconds


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a job. The guide's table is generated from these."""

    name: str
    kind: Kind
    #: In the language of the guide, Markdown.
    meaning: str
    #: The value if it is not set, or set to None.
    default: str = "none"
    #: The special meaning of 0, if any.
    zero: str = ""
    #: The method that sets it on an instance.
    verb: str = ""
    #: Whether a class may define it as a method, which is called on the instance.
    method: bool = False
    #: Whether it may be set on an instance.
    on_instance: bool = True
    #: Whether the worker needs the value of an instance; other options act at the dispatch.
    travels: bool = False


_UNIQUE = "[below](#unique-and-debounced-jobs)"

#: Every option of a job by name. A field of a job may not have one of these names.
TABLE: Mapping[str, Option] = {
    option.name: option
    for option in (
        Option(
            "connection",
            values.TEXT,
            "[named connection](#connections-and-queues)",
            "the app's broker",
            verb="on_connection(name)",
            method=True,
        ),
        Option("queue", values.TEXT, "", "the app's default queue and routes", verb="on_queue(name)", method=True),
        Option(
            "countdown",
            values.DELAY,
            "does not start before; a moment of the past is now",
            "at once",
            zero="at once, whatever the class says",
            verb="with_delay(d)`, `delay(d)`, `without_delay()",
            method=True,
        ),
        Option(
            "tries", values.TRIES, "starts at most", "`--tries`, else 1", zero="unlimited", method=True, travels=True
        ),
        Option(
            "backoff",
            values.BACKOFF,
            "seconds to wait after an error; a list goes by start",
            "`--backoff`, else 0",
            zero="no wait",
            method=True,
            travels=True,
        ),
        Option(
            "retry_until",
            values.UNTIL,
            "no start after this moment; makes `tries` irrelevant",
            zero="refused",
            method=True,
        ),
        Option(
            "max_exceptions",
            values.COUNT,
            "exceptions and timeouts at most, over all starts",
            "unlimited",
            zero="fails at the first, as 1 does",
            method=True,
            travels=True,
        ),
        Option(
            "timeout",
            values.LENGTH,
            "how long a run may take",
            "`--timeout`, else Celery's limits",
            zero="no limit",
            travels=True,
        ),
        Option("fail_on_timeout", values.TRUTH, "a timeout fails the job at once", "False", method=True, travels=True),
        Option("unique", values.TRUTH, _UNIQUE, "False"),
        Option("unique_until_processing", values.TRUTH, _UNIQUE, "False"),
        Option("unique_id", values.KEY, _UNIQUE, "the class alone", method=True),
        Option("unique_for", values.LEASE, _UNIQUE, "24 h", zero="refused", method=True),
        Option("unique_via", values.STORE, _UNIQUE, "the default store", method=True),
        Option("debounce_for", values.LEASE, f"{_UNIQUE}; not with `unique`", zero="refused"),
        Option("debounce_max_wait", values.WAIT, _UNIQUE, "unlimited", zero="only the first one waits"),
        Option(
            "after_commit",
            values.TRUTH,
            "[below](#after-the-commit)",
            "the connection's, else `laraq_after_commit`",
            verb="after_commit()`, `before_commit()",
        ),
        Option("encrypted", values.TRUTH, "[fields travel encrypted](#encryption-and-keys)", "False"),
        Option(
            "delete_when_missing_models",
            values.TRUTH,
            "a job whose row is gone ends quietly instead of failing",
            "False",
            travels=True,
        ),
        Option("without_relations", values.TRUTH, "[below](#models)", "False", on_instance=False),
        Option("tags", values.TEXTS, "labels, kept in the failed store", verb='with_tags("a", "b")', method=True),
        Option(
            "display_name",
            values.TEXT,
            "the name in Celery's logs and events",
            "the dotted path",
            method=True,
            travels=True,
        ),
        Option("silenced", values.TRUTH, "reserved: it has no effect yet", "False", travels=True),
        Option(
            "priority",
            values.PRIORITY,
            "Celery's; what it means is the broker's to say",
            zero="the broker's to say",
            verb="with_priority(n)",
            method=True,
        ),
        Option(
            "expires",
            values.EXPIRY,
            "Celery's: a job that still waits then is dropped",
            zero="refused",
            verb="expires_at(when)",
            method=True,
        ),
        Option("ignore_result", values.TRUTH, "Celery's", "as the app says", method=True),
    )
}

OPTIONS = frozenset(TABLE)

#: Options that are sent with the message if they are set on the instance; the rest act at the dispatch.
TRAVELLING = tuple(option.name for option in TABLE.values() if option.travels)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The worker's options for jobs that do not set them themselves (Illuminate/Queue/WorkerOptions.php)."""

    tries: int = 1
    backoff: Any = 0
    #: Seconds; None leaves it to Celery's own limits, 0 is no limit.
    timeout: float | None = None
    #: The named connection this worker consumes; None: the app's own.
    connection: str | None = None


def checked(name: str, value: Any) -> Any:
    """The normalized value: a member of an enum as its value, tags as a list.

    Raises OptionError.
    """
    return TABLE[name].kind.checked(f"{name} =", value)


def checked_of(job: Any, name: str, value: Any) -> Any:
    """The normalized value of a job's own option. Raises InvalidJobError."""
    option = TABLE[name]
    try:
        # A worker refuses sent options with the same message.
        what = f"{name} =" if option.travels else f"its {name} is"
        return option.kind.checked(what, value, discreet=bool(job.encrypted))
    except OptionError as error:
        raise refusal(job, error) from None


def clash(options: Any) -> str | None:
    """The reason why options of a job or class exclude each other, or None."""
    if options.debounce_for is not None and (options.unique or options.unique_until_processing):
        return "a job is either unique or debounced, not both: leave out debounce_for or unique"
    return None


def document() -> str:
    """The table of all options for the guide, in Markdown."""
    lines = [
        "| attribute, `@job` keyword | takes | 0 | method | on the instance | meaning | default |",
        "|---|---|---|---|---|---|---|",
    ]
    for option in TABLE.values():
        setter = f"`{option.verb or f'job.{option.name} ='}`" if option.on_instance else ""
        method = "yes" if option.method else ""
        cells = (f"`{option.name}`", option.kind.takes, option.zero, method, setter, option.meaning, option.default)
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=4096)
def nearest(name: str) -> str | None:
    """The option that a misspelled name must mean: one typing error away, or in another case (`maxExceptions`). Longer
    names may differ by more errors than short ones."""
    if name.startswith("_") or name.isupper() or name in OPTIONS:
        return None
    written = name.replace("_", "").lower()
    for option in TABLE:
        meant = option.replace("_", "")
        slips = 0 if len(meant) < 5 else 1 if len(meant) < 12 else 2
        if abs(len(meant) - len(written)) <= slips and _slips(written, meant) <= slips:
            return option
    return None


def settle(job: Any) -> None:
    """Check the options set on this instance before it is sent, and replace them by plain values.

    Raises InvalidJobError.
    """
    own = vars(job)
    unexpected = own.keys() - type(job).__dataclass_fields__.keys()
    if not unexpected:
        return
    for name in unexpected:
        if name in OPTIONS:
            if not TABLE[name].on_instance:
                raise refusal(job, f"{name} is set on the class, not on an instance")
            own[name] = checked_of(job, name, own[name])
        elif (near := nearest(name)) is not None:
            raise refusal(job, f"there is no option {name!r}. Did you mean {near!r}?")
    if (why := clash(job)) is not None:
        raise refusal(job, why)
    if "after_commit" in own:  # the option's value is kept beside the method
        own["_after_commit"] = own.pop("after_commit")


def refusal(job: Any, error: object) -> InvalidJobError:
    """The error for a job that cannot be sent, or run, as it is."""
    name = job.job_name()
    return InvalidJobError(name, f"{name}: {error}{'' if str(error).endswith(('.', '?')) else '.'}")


def delay_seconds(value: Delay | None, now: datetime) -> float:
    """Seconds from `now` (aware) until a delay is over; never negative.

    Raises OptionError, also for a naive datetime, whose moment is ambiguous.
    """
    value = values.DELAY.checked("a delay of", value)
    if value is None:
        return 0.0
    return max(0.0, (value - now).total_seconds() if isinstance(value, datetime) else seconds(value))


def epoch(value: float | datetime | timedelta, now: float) -> float:
    """A moment as epoch seconds; a timedelta counts from `now`.

    Raises OptionError for a naive datetime.
    """
    if isinstance(value, timedelta):
        return now + value.total_seconds()
    if isinstance(value, datetime):
        return float(values.UNTIL.checked("retry_until =", value).timestamp())
    return float(value)


def read(job: Any, name: str) -> Any:
    """The option of a job or a Job class: of the instance, else of the class; methods are called on instances.

    Raises InvalidJobError for an invalid value of a method.
    """
    value = getattr(job, name)
    if not callable(value):
        return value
    if isinstance(job, type):
        return None
    return checked_of(job, name, value())


def length(value: Any) -> float | None:
    """Seconds of a length of time, None if it is invalid: another type, negative, or infinite."""
    return values.number(value) if values.LENGTH.takes_it(value) else None


def travelling(job: Any) -> dict[str, Any]:
    """The options set on this instance that the worker needs, JSON-ready.

    Raises OptionError for a value that no worker could use.
    """
    own = vars(job)
    return {name: _plain(checked(name, own[name])) for name in TRAVELLING if name in own}


def misfit(options: Mapping[str, Any]) -> str | None:
    """What is wrong with sent options, if anything."""
    try:
        for name in TRAVELLING:
            checked(name, options.get(name))
    except OptionError as error:
        return str(error)
    return None


def apply(job: Any, options: Mapping[str, Any]) -> None:
    """Set sent options on the instance."""
    for name, value in options.items():
        if name in TRAVELLING:
            setattr(job, name, value)


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _slips(written: str, meant: str) -> int:
    """The number of extra, missing, or wrong letters, and swapped neighbours."""
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, letter in enumerate(written):
        last, before, row = before, row, [i + 1]
        for j, other in enumerate(meant):
            row.append(min(before[j + 1] + 1, row[j] + 1, before[j] + (letter != other)))
            if i and j and letter == meant[j - 1] and written[i - 1] == other:
                row[-1] = min(row[-1], last[j - 1] + 1)
    return row[-1]
