"""Limit and RateLimiter: rate limits, counted across all machines that share the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias, TypeVar, overload

from laraq.current import current
from laraq.errors import LimiterNotFoundError
from laraq.messages import options
from laraq.messages.options import Seconds, Text, key_of
from laraq.ports import Demand, Grant, Limits, Store

T = TypeVar("T")

#: The largest number that Lua, JSON and SQL all keep exactly.
UNLIMITED = 2**53 - 1

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True, slots=True)
class Limit:
    """A maximum per window (Illuminate/Cache/RateLimiting/Limit.php).

    Windows are fixed and aligned to the epoch by the store's clock: `per_minute` counts from :00 to :59, `per_day` by
    UTC days. So no window ever exceeds the maximum, and up to twice as many can start around the moment where two
    windows meet.
    """

    #: None: no limit at all.
    maximum: int | None
    seconds: float = 1
    #: The key that is counted separately: `.by(job.user_id)`.
    key: str = ""
    #: The amount that one job uses.
    weight: int = 1

    @classmethod
    def per_second(cls, maximum: int, seconds: Seconds = 1) -> Limit:
        """Allow `maximum` per second, or per `seconds`."""
        return cls(maximum, options.seconds(seconds))

    @classmethod
    def per_minute(cls, maximum: int, minutes: float = 1) -> Limit:
        """Allow `maximum` per minute, or per `minutes`."""
        return cls(maximum, minutes * _MINUTE)

    @classmethod
    def per_minutes(cls, minutes: float, maximum: int) -> Limit:
        """Allow `maximum` per `minutes`; the length comes first here, as in Laravel."""
        return cls(maximum, minutes * _MINUTE)

    @classmethod
    def per_hour(cls, maximum: int, hours: float = 1) -> Limit:
        """Allow `maximum` per hour, or per `hours`."""
        return cls(maximum, hours * _HOUR)

    @classmethod
    def per_day(cls, maximum: int, days: float = 1) -> Limit:
        """Allow `maximum` per day, or per `days`."""
        return cls(maximum, days * _DAY)

    @classmethod
    def none(cls) -> Limit:
        """Set no limit."""
        return cls(None)

    def by(self, key: object) -> Limit:
        """Count separately for each key: a user, a tenant, a host."""
        return replace(self, key=options.key_of(key))

    def cost(self, weight: int) -> Limit:
        """Let one job use `weight` of the limit instead of 1."""
        return replace(self, weight=weight)

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"A limit needs a window longer than {self.seconds!r} seconds.")
        if self.weight < 0:
            raise ValueError(f"A job cannot cost {self.weight!r}: expected a positive number.")


#: The callback of a named limiter: returns the limits of a job.
LimiterCallback: TypeAlias = "Callable[[Any], Limit | Sequence[Limit] | None]"
C = TypeVar("C", bound=LimiterCallback)


class RateLimiter:
    """Named limiters, and explicit counting (Illuminate/Cache/RateLimiter.php).

    @RateLimiter.for_("backups")
    def backups(job): return [Limit.per_minute(60), Limit.per_hour(1).by(job.user_id)]

    Names belong to the process, like the names of jobs; the counts belong to the store (`store=`, else the current
    one). `remaining`, `available_in` and `clear` accept a key that was counted explicitly, or the name of a limiter
    and a job.
    """

    _callbacks: ClassVar[dict[str, LimiterCallback]] = {}

    @overload
    @classmethod
    def for_(cls, name: Text) -> Callable[[C], C]: ...
    @overload
    @classmethod
    def for_(cls, name: Text, callback: C) -> C: ...
    @classmethod
    def for_(cls, name: Text, callback: Any = None) -> Any:
        """Define a limiter: `callback(job)` returns the limits of a job. Without a callback: a decorator."""
        if callback is None:
            return lambda callback: cls.for_(name, callback)
        cls._callbacks[key_of(name)] = callback
        return callback

    @classmethod
    def limiter(cls, name: Text) -> LimiterCallback:
        """The callback of that name; raises LimiterNotFoundError."""
        name = key_of(name)
        try:
            return cls._callbacks[name]
        except KeyError:
            raise LimiterNotFoundError(name, cls._callbacks) from None

    @classmethod
    def demands(cls, name: Text, job: Any = None) -> list[Demand]:
        """The demands on the store for this job; empty when the limiter does not limit it."""
        answer = cls.limiter(name)(job)
        limits = [answer] if isinstance(answer, Limit) else list(answer or ())
        demands: dict[str, Demand] = {}
        hide = current().keys.hide if getattr(job, "encrypted", False) else str
        for limit in dict.fromkeys(limits):
            if limit.maximum is not None:
                key = f"limiter:{key_of(name)}:{hide(limit.key)}"
                if key in demands:  # as Laravel distinguishes limits with the same key
                    key = f"{key}:attempts:{limit.maximum}:decay:{limit.seconds:g}"
                demands[key] = Demand(key, limit.maximum, limit.seconds, limit.weight)
        return list(demands.values())

    @classmethod
    def take(cls, name: Text, job: Any = None, *, store: Store | None = None) -> Grant:
        """Use the cost of the job in all limits of the limiter or in none, in one round trip."""
        demands = cls.demands(name, job)
        return _limits(store).take(demands) if demands else Grant(True, 0, ())

    @classmethod
    def attempt(
        cls,
        key: Text,
        max_attempts: int,
        callback: Callable[[], T],
        decay: Seconds = _MINUTE,
        *,
        store: Store | None = None,
    ) -> T | bool:
        """Call `callback` and return what it returned (True for None), or False when the key is used up.

        Counted before the call (Laravel: after it), so that racing callers never exceed the maximum.
        """
        if not _limits(store).take([Demand(key_of(key), max_attempts, options.seconds(decay))]):
            return False
        result = callback()
        return True if result is None else result

    @classmethod
    def hit(cls, key: Text, decay: Seconds = _MINUTE, amount: int = 1, *, store: Store | None = None) -> int:
        """Count uses of the key, even beyond a maximum; return the number in this window."""
        grant = _limits(store).take([Demand(key_of(key), UNLIMITED, options.seconds(decay), amount)])
        return UNLIMITED - grant.remaining[0]

    @classmethod
    def attempts(cls, key: Text, *, store: Store | None = None) -> int:
        """The number of uses of the key in the current window."""
        return _limits(store).usage(key_of(key)).used

    @classmethod
    def too_many_attempts(cls, key: Text, max_attempts: int, *, store: Store | None = None) -> bool:
        """Whether the key is used up in the current window."""
        return cls.attempts(key, store=store) >= max_attempts

    @overload
    @classmethod
    def remaining(cls, key: Text, of: int, *, store: Store | None = None) -> int: ...
    @overload
    @classmethod
    def remaining(cls, key: Text, of: Any = None, *, store: Store | None = None) -> int: ...
    @classmethod
    def remaining(cls, key: Text, of: Any = None, *, store: Store | None = None) -> int:
        """How many uses remain of a key that allows `of`, or of a limiter's tightest limit for the job `of`."""
        if isinstance(of, int):
            return max(of - cls.attempts(key, store=store), 0)
        usages = [(demand, _limits(store).usage(demand.key)) for demand in cls.demands(key, of)]
        return min((max(demand.maximum - usage.used, 0) for demand, usage in usages), default=UNLIMITED)

    @classmethod
    def available_in(cls, key: Text, job: Any = None, *, store: Store | None = None) -> float:
        """Seconds until the key's window ends; for a limiter, until it admits the job if no other job comes first."""
        key = key_of(key)
        if key not in cls._callbacks:
            return _limits(store).usage(key).ends_in
        usages = [(demand, _limits(store).usage(demand.key)) for demand in cls.demands(key, job)]
        return max((usage.ends_in for demand, usage in usages if usage.used + demand.cost > demand.maximum), default=0)

    @classmethod
    def clear(cls, key: Text, job: Any = None, *, store: Store | None = None) -> None:
        """Reset the count of the key, or of every limit of a limiter for this job."""
        key = key_of(key)
        for each in [demand.key for demand in cls.demands(key, job)] if key in cls._callbacks else [key]:
            _limits(store).clear(each)


def _limits(store: Store | None) -> Limits:
    return (store or current().store).limits
