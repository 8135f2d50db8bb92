"""The values of options, delays and names: what each kind accepts, and how it is normalized.

A kind is a function that returns the normalized value, or raises ValueError: with the reason and the remedy, or without
a text if the description of the kind is enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, TypeAlias

from laraq.errors import OptionError

Seconds: TypeAlias = "int | float | timedelta"
Delay: TypeAlias = "int | float | timedelta | datetime"
#: The name of a queue, connection, limiter, lock, ...: for a member of an enum its value is used.
Text: TypeAlias = "str | Enum"

#: Seconds; a longer time is a mistake, and too long for some stores.
LONGEST_LEASE = 100 * 365 * 24 * 3600.0
#: Seconds of the longest timeout or backoff: about thirty years.
_LONGEST = 10**9
#: Epoch seconds of a day in 2001, and of the last day that all clocks know: a smaller number is a length of time.
_EARLIEST, _LATEST = 10**9, 253_402_300_799
#: Celery and its brokers take one byte for it.
_MOST_URGENT = 255

_NAIVE = "a moment needs a timezone: datetime.now(timezone.utc) + ..."
_DATE = "a date has no time of day: give a datetime with a timezone"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value."""

    #: What it accepts, as shown in errors and in the documentation.
    takes: str
    fit: Callable[[Any], Any]

    def checked(self, what: str, value: Any, *, discreet: bool = False) -> Any:
        """The normalized value; None means that it is not set.

        Raises OptionError, which quotes the value after `what`, "its tries is", unless `discreet`.
        """
        if value is None:
            return None
        try:
            return self.fit(value)
        except (ValueError, TypeError, OverflowError) as error:
            why = "" if isinstance(error, OverflowError) else str(error)
            if discreet:
                raise OptionError(f"{what} of type {type(value).__name__}: expected {self.takes}") from None
            raise OptionError(f"{what} {value!r:.100}: {why or f'expected {self.takes}'}") from None

    def takes_it(self, value: Any) -> bool:
        """Whether the value is of this kind."""
        try:
            self.fit(value)
        except (ValueError, TypeError, OverflowError):
            return False
        return True


def plain(value: Any) -> Any:
    """The value of a member of an enum; anything else unchanged."""
    return value.value if isinstance(value, Enum) else value


def seconds(value: Seconds) -> float:
    """A length of time in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def number(value: Any) -> float:
    """The seconds of a length of time, of either sign.

    Raises ValueError for another type, or an infinite length.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def is_lease(value: Any) -> bool:
    """Whether it is a valid length of time for a lock or slot: finite and positive."""
    return LEASE.takes_it(value)


def key_of(value: Any) -> str:
    """A key in the store: text, a number, an id, a member of an enum by its value.

    Raises OptionError for an object whose text is its address in memory, which differs in each process.
    """
    value = plain(value)
    cls: Any = type(value)
    if cls.__str__ is object.__str__ and cls.__repr__ is object.__repr__:
        kind = cls.__qualname__
        raise OptionError(f"A key made of {kind} would be another one in each process: give its id.")
    return str(value)


def _text(value: Any) -> str:
    value = plain(value)
    if not isinstance(value, str):
        raise ValueError
    return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str | Enum):
        raise ValueError(f"expected a list of texts: [{plain(value)!r}]")
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise ValueError
    return [_text(one) for one in value]


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _count(most: int) -> Callable[[Any], int]:
    def count(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ValueError
        return value

    return count


def _length(value: Any) -> Any:
    if not 0 <= number(value) <= _LONGEST:
        raise ValueError
    return value


def _lease(value: Any) -> Any:
    if not 0 < number(value) <= LONGEST_LEASE:
        raise ValueError
    return value


def _backoff(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_length(one) for one in value]
    if isinstance(value, Mapping) and value.keys() == {"base", "cap", "jitter"}:  # a Backoff that travelled
        parts = tuple(value.values())
    elif hasattr(value, "after") and all(hasattr(value, part) for part in ("base", "cap", "jitter")):
        parts = (value.base, value.cap, value.jitter)
    else:
        return _length(value)
    for part in parts:
        _length(part)
    return value


def _moment(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise ValueError(_DATE if isinstance(value, date) else "")
    if value.tzinfo is None:
        raise ValueError(_NAIVE)
    return value


def _until(value: Any) -> Any:
    if isinstance(value, date):
        return _moment(value)
    amount = number(value)
    if isinstance(value, timedelta):
        if not 0 < amount <= LONGEST_LEASE:
            raise ValueError("expected a timedelta above 0, which counts from the dispatch")
    elif not _EARLIEST <= amount <= _LATEST:
        raise ValueError(
            f"a number is a moment in seconds since 1970; timedelta(seconds={value!r}) counts from the dispatch"
        )
    return value


def _delay(value: Any) -> Any:
    if isinstance(value, date):
        return _moment(value)
    if abs(number(value)) > LONGEST_LEASE:
        raise ValueError
    return value


def _expiry(value: Any) -> Any:
    if isinstance(value, date):
        return _moment(value)
    if isinstance(value, timedelta):
        raise ValueError("expected seconds, timedelta(...).total_seconds(), or a datetime with a timezone")
    return _lease(value)


def _store(value: Any) -> Any:
    return value if hasattr(value, "locks") else _text(value)


def _key(value: Any) -> Any:
    key_of(value)
    return plain(value)


TEXT = Kind("a text", _text)
TEXTS = Kind("a list of texts", _texts)
TRUTH = Kind("True or False", _truth)
TRIES = Kind("a number of starts, 0 for no limit", _count(2**31 - 1))
COUNT = Kind("a number of exceptions", _count(2**31 - 1))
PRIORITY = Kind("a whole number from 0 to 255", _count(_MOST_URGENT))
LENGTH = Kind("seconds, 0 for no limit", _length)
WAIT = Kind("seconds or a timedelta", _length)
LEASE = Kind("seconds above 0, or a timedelta", _lease)
BACKOFF = Kind("seconds, a list of seconds, or a Backoff", _backoff)
UNTIL = Kind("a timedelta from the dispatch, or a datetime with a timezone", _until)
DELAY = Kind("seconds, a timedelta, or a datetime with a timezone", _delay)
EXPIRY = Kind("seconds above 0, or a datetime with a timezone", _expiry)
STORE = Kind("the URL of a store, or a store", _store)
KEY = Kind("a text, number or id", _key)
