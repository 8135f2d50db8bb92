"""Every error laraq raises, as one tree.

LaraqError
├── ConfigurationError
│   ├── UnknownSettingError
│   ├── ConnectionNotFoundError
│   ├── StoreNotFoundError
│   ├── LimiterNotFoundError
│   └── MissingExtraError
├── JobDefinitionError
├── OptionError
├── WrongCallError
├── DispatchError
│   ├── InvalidJobError
│   └── ModelNotIdentifiableError
├── PayloadError
│   ├── UnknownJobError
│   ├── UnknownMiddlewareError
│   ├── UnsupportedPayloadError
│   └── TamperedPayloadError
├── JobFailure
│   ├── MaxAttemptsExceededError
│   │   └── JobTimedOutError
│   ├── JobDroppedError
│   ├── JobLostError
│   └── ManuallyFailedError
├── ModelNotFoundError
├── NotInQueueError
├── BatchNotFoundError
├── BatchCancelledError
├── BatchTimeoutError
├── ReleasedInSyncError
├── InjectionError
├── LockTimeoutError
├── LimiterTimeoutError
├── InspectionError
│   └── NotInspectableError
└── StoreError
    └── StoreRefusedError
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: `` Did you mean 'x'?``, or nothing when no known name is near."""
    from difflib import get_close_matches  # every `celery` command imports this file

    near = get_close_matches(name, sorted(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


class LaraqError(Exception):
    """The root of the tree."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pool children pass errors to their parent pickled; these are built from data, not from their text."""
        return _again, (type(self), self.args, self.__dict__)


def _again(cls: type[LaraqError], args: tuple[Any, ...], data: dict[str, Any]) -> LaraqError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(data)
    return error


class ConfigurationError(LaraqError):
    """A setting, store or connection cannot be used as given."""


class UnknownSettingError(ConfigurationError):
    """A `laraq_*` setting has a name laraq does not know."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        # Compared without the prefix they all share, which would make every name near.
        bare = did_you_mean(name.removeprefix("laraq_"), (one.removeprefix("laraq_") for one in known))
        super().__init__(f"Unknown laraq setting {name!r}.{bare.replace(chr(39), chr(39) + 'laraq_', 1)}")


class ConnectionNotFoundError(ConfigurationError):
    """A job names a connection that is not configured."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        known = list(known)
        super().__init__(
            f"Connection {name!r} is not configured.{did_you_mean(name, known)}"
            f" Known: {', '.join(sorted(known))}. Add it to connections={{{name!r}: {{'url': ...}}}}."
        )


class StoreNotFoundError(ConfigurationError):
    """No adapter is registered for the scheme of a store URL."""

    def __init__(self, scheme: str, known: Iterable[str]) -> None:
        self.scheme = scheme
        known = list(known)
        super().__init__(
            f"No store for {scheme!r} URLs.{did_you_mean(scheme, known)} Known: {', '.join(sorted(known))}."
        )


class LimiterNotFoundError(ConfigurationError):
    """A rate limiter of that name is not defined."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        super().__init__(
            f"Rate limiter {name!r} is not defined.{did_you_mean(name, known)}"
            f" Define it with RateLimiter.for_({name!r}, lambda job: Limit.per_minute(60))."
        )


class MissingExtraError(ConfigurationError):
    """An optional library is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs {package}: pip install 'laraq[{extra}]'")


class JobDefinitionError(LaraqError, TypeError):
    """A Job class is invalid; raised when the class is defined."""


class OptionError(LaraqError, ValueError):
    """An option, delay or name has an unusable value; the message says what is expected."""


class WrongCallError(LaraqError, TypeError):
    """A method was called on a class, a job or a result in a way that could only be a mistake; the message shows the
    intended call."""


class DispatchError(LaraqError):
    """The job was not sent and is in no queue. For a bulk, the message says how many jobs may be missing."""


class InvalidJobError(DispatchError, ValueError):
    """The fields of a job do not have the types that its class declares; the message is pydantic's."""

    def __init__(self, job: str, reason: str) -> None:
        self.job = job
        super().__init__(reason)


class ModelNotIdentifiableError(DispatchError):
    """A mapped instance in a field has no identifier by which it could be sent."""

    def __init__(self, model: str, reason: str) -> None:
        self.model = model
        super().__init__(f"{model} cannot be sent in a job: {reason}.")


class PayloadError(LaraqError):
    """A delivered message cannot become a job."""


class UnknownJobError(PayloadError):
    """A delivered message names a job class this process does not have."""

    def __init__(self, job: str) -> None:
        self.job = job
        super().__init__(
            f"Job {job!r} is unknown to this worker: import its module (imports=, include= or discover=[...]),"
            " or deploy the code that defines it."
        )


class UnknownMiddlewareError(PayloadError):
    """A delivered message names a middleware (`through`) that this process does not have."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"Middleware {name!r} cannot be found by this worker: deploy the code that defines it.")


class UnsupportedPayloadError(PayloadError):
    """A delivered message was written by a newer laraq."""

    def __init__(self, version: object, newest: int) -> None:
        self.version = version
        super().__init__(f"Payload version {version!r} is newer than the {newest} this worker reads: upgrade laraq.")


class TamperedPayloadError(PayloadError):
    """A signed or encrypted part of a message does not verify with any of `laraq_keys`."""


class JobFailure(LaraqError):
    """Why a job ended without an exception of its own."""

    def __init__(self, message: str, *, job: str = "", job_id: str = "") -> None:
        self.job = job
        self.job_id = job_id
        super().__init__(message)


class MaxAttemptsExceededError(JobFailure):
    """The job has used all its attempts (Illuminate/Queue/MaxAttemptsExceededException.php)."""


class JobTimedOutError(MaxAttemptsExceededError):
    """The job ran longer than its `timeout` (Illuminate/Queue/TimeoutExceededException.php)."""


class JobDroppedError(JobFailure):
    """The job was removed from its queue for good: it expired, was revoked, or its queue was cleared.

    Its `failed()` is not called: the job was dropped deliberately, it did not fail.
    """


class JobLostError(JobFailure):
    """The process that ran the job died: killed, out of memory, crashed or exited."""


class ManuallyFailedError(JobFailure):
    """`fail()` was called without an exception (Illuminate/Queue/ManuallyFailedException.php)."""


class ModelNotFoundError(LaraqError):
    """A database row that a job refers to by identifier is gone."""

    def __init__(self, model: str, ids: object) -> None:
        self.model = model
        self.ids = ids
        super().__init__(f"No {model} with identifier {ids!r}: it was deleted after the job was sent.")


class BatchNotFoundError(LaraqError):
    """There is no batch with that id (any more)."""

    def __init__(self, id: str) -> None:
        self.id = id
        super().__init__(f"There is no batch {id!r}: it was deleted or pruned, or is kept in another store.")


class BatchCancelledError(LaraqError):
    """Jobs were added to a cancelled batch; none of them was sent."""

    def __init__(self, id: str) -> None:
        self.id = id
        super().__init__(f"Batch {id!r} is cancelled: no job can be added to it.")


class BatchTimeoutError(LaraqError, TimeoutError):
    """A batch was not finished within the time given to `wait()`."""

    def __init__(self, id: str, timeout: float, unsettled: int) -> None:
        self.id = id
        super().__init__(f"Batch {id!r} is not finished after {timeout:g} s: {unsettled} of its jobs are unfinished.")


class NotInQueueError(LaraqError):
    """A method that needs a running job was called outside of one."""


class ReleasedInSyncError(LaraqError):
    """A job released itself on the sync connection, where nothing would start it again."""

    def __init__(self, job: str, delay: float) -> None:
        self.job = job
        self.delay = delay
        super().__init__(
            f"{job} released itself for {delay:g} s, but it was run by dispatch_sync: dispatch() it to a queue instead."
        )


class InjectionError(LaraqError):
    """A parameter of `handle` cannot be filled."""


class LockTimeoutError(LaraqError, TimeoutError):
    """Another owner held the lock for the whole time that the caller was willing to wait."""

    def __init__(self, key: str, waited: float) -> None:
        self.key = key
        super().__init__(f"Lock {key!r} is held by another owner (waited {waited:g} s).")


class LimiterTimeoutError(LaraqError, TimeoutError):
    """A throttle or funnel had no free slot for the whole time that the caller was willing to wait."""

    def __init__(self, key: str, waited: float, available_in: float | None = None) -> None:
        self.key = key
        #: Seconds until another try can succeed; None where that depends on a holder's release.
        self.available_in = available_in
        known = "" if available_in is None else f" The next window opens in {available_in:.1f} s."
        super().__init__(f"Limiter {key!r} had no free slot (waited {waited:g} s).{known}")


class InspectionError(LaraqError):
    """A broker does not answer a question about its queues; the message says which broker and what to check."""


class NotInspectableError(InspectionError):
    """A broker cannot provide the requested information about a queue."""

    def __init__(self, what: str, broker: str, reason: str) -> None:
        #: The requested information.
        self.what = what
        super().__init__(f"{broker} cannot tell {what}: {reason}.")


class StoreError(LaraqError):
    """A store is down or answered with an error; the message says which store and what to check."""


class StoreRefusedError(StoreError):
    """The store is up but will never accept this: a number too large, a text too long, a value of the wrong type.

    Any other StoreError is an outage, after which the same call may be tried again.
    """
