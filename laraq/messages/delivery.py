"""Delivery: a message as it arrives. Done | Release | Fail: the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from laraq.messages.payload import Payload


@dataclass(frozen=True, slots=True)
class Demand:
    """A demand on one limit."""

    key: str
    #: The maximum in one window.
    maximum: int
    #: Length of its windows. They are aligned: window n goes from n * seconds to (n + 1) * seconds after the epoch.
    seconds: float
    #: The amount to take.
    cost: int = 1

    @property
    def milliseconds(self) -> int:
        """The length in the unit of stores, at least 1."""
        return max(round(self.seconds * 1000), 1)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as received by a worker."""

    payload: Payload
    #: The number of this start, 1 for the first.
    attempt: int
    queue: str
    connection: str
    #: Set if this delivery does not run the job but settles its last run, which died.
    crash: Crash | None = None
    #: Whether no other start can follow, as on the sync connection.
    last: bool = False
    #: Set if the message could not be converted to a payload.
    error: BaseException | None = None
    #: An error of the host before it could call the job; treated as raised by the handler.
    prevented: BaseException | None = None

    @property
    def dropped(self) -> Crash | None:
        """Set if the job must not run any more: it expired, or was revoked."""
        return self.crash if self.crash is not None and self.crash.kind == "dropped" else None

    @property
    def start(self) -> int:
        """The number of this start among all, including uncounted ones; used by the journal and claims."""
        return self.attempt + self.payload.uncounted


@dataclass(frozen=True, slots=True)
class Crash:
    """The end of a run that could not settle itself, as seen by the worker's parent process."""

    kind: str
    """`timeout`, `lost`, `dropped` (expired or revoked), `unsettled` (failed, but the store was down), `finished`
    (succeeded, but its worker died before what follows was notified), or `broken`: it cannot become a job."""
    detail: str
    #: False if settling crashed, too: user hooks are then skipped.
    hooks: bool = True
    #: The undecodable message, base64, for `broken`.
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The job is finished."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class Superseded(Done):
    """The job is over without a run: a later dispatch of a debounced job has replaced it."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What prevents a parked job from running: a lock held by others, limits whose windows are used up, or a batch
    whose `before` callbacks are not over."""

    lock: str | None = None
    demands: tuple[Demand, ...] = ()
    #: The batch's id.
    batch: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """The job is released to its queue."""

    #: Seconds.
    delay: float = 0
    #: The error that caused it, None if the job or a middleware requested it.
    error: BaseException | None = None
    #: Whether this start is counted (not with `.dont_count()` of a middleware).
    counted: bool = True
    #: The job waits in the store until this is gone; if it cannot be parked, it waits in its queue for `delay`.
    obstacle: Obstacle | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """The job has failed for good and goes to the failed store."""

    error: BaseException


Verdict: TypeAlias = Done | Release | Fail
