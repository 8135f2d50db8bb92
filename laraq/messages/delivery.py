"""Delivery: what arrives. Done | Release | Fail: what goes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from laraq.messages.payload import Payload


@dataclass(frozen=True, slots=True)
class Demand:
    """What one limit is asked for."""

    key: str
    #: What the limit allows in one window.
    maximum: int
    #: Length of its windows. They are aligned: window n goes from n * seconds to (n + 1) * seconds after the epoch.
    seconds: float
    #: What is taken out of it.
    cost: int = 1

    @property
    def milliseconds(self) -> int:
        """The length in the unit stores count in, at least 1."""
        return max(round(self.seconds * 1000), 1)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a worker received it."""

    payload: Payload
    #: Which start of the job this is, 1 for the first.
    attempt: int
    queue: str
    connection: str
    #: Set when this delivery does not run the job but settles how its last run died.
    crash: Crash | None = None
    #: Whether no other start can follow: on the sync connection there is one.
    last: bool = False
    #: Set when the message could not even become a payload.
    error: BaseException | None = None
    #: What the host met before it could call the job, whose handler is taken to have raised it.
    prevented: BaseException | None = None

    @property
    def dropped(self) -> Crash | None:
        """Set when the job is not to run any more: it expired, or was revoked."""
        return self.crash if self.crash is not None and self.crash.kind == "dropped" else None

    @property
    def start(self) -> int:
        """Number of this start among all of them, uncounted ones included: what the journal and claims go by."""
        return self.attempt + self.payload.uncounted


@dataclass(frozen=True, slots=True)
class Crash:
    """How a run ended that could not settle itself; the worker's parent process saw it."""

    kind: str
    """`timeout`, `lost`, `dropped` (expired or revoked), `unsettled` (failed, but the store was down), `finished`
    (succeeded, but its worker died before what follows was told), or `broken`: it cannot become a job."""
    detail: str
    #: False when settling crashed too: user hooks are then left out.
    hooks: bool = True
    #: The undecodable message, base64, for `broken`.
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The job is finished."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class Superseded(Done):
    """The job is over without a run: a later dispatch of a debounced job has taken its place."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a parked job from running: a lock that others hold, limits whose windows are used up, or a batch whose
    `before` callbacks are not over."""

    lock: str | None = None
    demands: tuple[Demand, ...] = ()
    #: Its id.
    batch: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """The job goes back to its queue."""

    #: Seconds.
    delay: float = 0
    #: What made it go back, None when the job or a middleware asked for it.
    error: BaseException | None = None
    #: False: this start is not counted (`.dont_count()` of a middleware).
    counted: bool = True
    #: Waits in the store until this is out of the way, and only where it cannot for `delay` in its queue.
    obstacle: Obstacle | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """The job is over and goes to the failed store."""

    error: BaseException


Verdict: TypeAlias = Done | Release | Fail
