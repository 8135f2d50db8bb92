"""JobRequest: the ends only a worker's parent process sees: hard timeout, lost child, revocation, expiry.

The parent decides nothing and runs no user code: it sends the same message to a pool child once more, marked with what
happened, and the child settles it. The message stays unacknowledged until that is done.
"""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker import state
from celery.worker.request import Request

from laraq.messages.options import length
from laraq.messages.tally import Success
from laraq_celery.worker.arrival import CRASH, LARAQ, marked
from laraq_celery.worker.task import PARKED

logger = logging.getLogger("laraq.request")

#: Share of a timeout, and seconds at most, by which the soft signal comes before the hard kill.
GRACE_SHARE, GRACE_SECONDS = 0.1, 1.0

#: Seconds after the timeout until the hard kill: a run that heeded the signal settles its books meanwhile, and being
#: killed in the middle would have them settled twice.
SETTLING_SECONDS = 1.0

#: Stands for "no limit" where Celery would take 0 or None for "the worker's own limit"; seconds.
NO_LIMIT = 10 * 365 * 24 * 3600

#: What `Request.__init__` adds to the headers of the message.
_COMPUTED = ("properties", "reply_to", "correlation_id", "hostname", "delivery_info", "args", "kwargs")


class JobRequest(Request):
    """Celery's request, whose crashes are settled instead of acknowledged."""

    #: The consumer that received it; set on a subclass by strategy.py.
    consumer: Any = None
    time_limits: tuple[float | None, float | None] = (None, None)
    #: The batch whose `success` its parent tells; empty for none.
    batch_id = ""
    _crash_seen = False
    #: While Celery tells everybody of a revocation, and would acknowledge.
    _announcing = False
    _succeeded = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Celery gives each task a subclass with methods of its own (`create_request_cls`).
        if (into_pool := vars(cls).get("execute_using_pool")) is not None:

            def execute_using_pool(self: JobRequest, pool: Any, **options: Any) -> Any:
                parcels = parcels_of(self._app)
                if parcels is None or not parcels.may_take(self):
                    return into_pool(self, pool, **options)
                return parcels.send(self, pool)

            cls.execute_using_pool = execute_using_pool
        if (of_celery := vars(cls).get("on_success")) is not None:

            def on_success(self: JobRequest, result: Any, **rest: Any) -> Any:
                self._succeeded = not result[0]
                return of_celery(self, result, **rest)

            cls.on_success = on_success

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        if not self.time_limits[0]:
            timeout = self._timeout()
            if timeout is not None:
                hard = timeout or NO_LIMIT
                self.time_limits = (hard + SETTLING_SECONDS, hard - min(GRACE_SECONDS, hard * GRACE_SHARE))

    @property
    def success(self) -> Success:
        """What its batch is told."""
        header = self._request_dict[LARAQ]
        retried = header.get("retried")
        return Success(self.id, f"{self.id}+{retried}" if retried else self.id, header.get("context") or {})

    def acknowledge(self) -> None:
        """A success that only its batch has to hear of waits until the batch knows."""
        if self._announcing:
            return
        if self._succeeded:
            self._succeeded = False
            header, outcomes = self._request_dict.get(LARAQ), self._app.laraq.host.outcomes
            # All that `settlement` hands over, and a few that the child has told: that changes nothing.
            if (
                outcomes is not None
                and isinstance(header, dict)
                and header.get("batch_id")
                and not (header.get("event") or header.get("chain") or CRASH in self._request_dict)
            ):
                self.batch_id = header["batch_id"]
                outcomes.add(self)
                return
        super().acknowledge()

    def revoked(self) -> bool:
        """Expired or revoked, then settled in a child. What settles how its job ended is settled anyway."""
        return CRASH not in self._request_dict and bool(super().revoked())

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Revoked in the middle of its run, by a signal to its process."""
        if CRASH not in self._request_dict:
            super().terminate(pool, signal)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """Let Celery tell everybody, but acknowledge only after the books are kept.

        A run that was sent a signal may outlive it and end as it likes; if its process dies, `on_failure` hears of it.
        """
        self._announcing = True
        try:
            super()._announce_revoked(reason, terminated, signum, expired)
        except Exception:  # the result backend is down, as a rule
            logger.exception("Celery could not be notified that job %s[%s] was %s", self.name, self.id, reason)
        finally:
            self._announcing = False
            self._already_revoked = True
        if not terminated:
            self._settle_in_child(
                "dropped", "expired before it started" if expired else "was revoked before it started"
            )

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """A process of the pool begins the run, and will note it."""
        if (acknowledged := self._app.laraq.host.acknowledged) is not None:
            acknowledged.accepted(self, pid, time_accepted)
        super().on_accepted(pid, time_accepted)

    def begin(self, pid: int, begun_at: float) -> None:
        """A process has begun the run, in a parcel of which the journal has heard (parcels.py)."""
        super().on_accepted(pid, begun_at)

    def withdraw(self) -> None:
        """The run has not begun, and waits for its turn again."""
        state.active_requests.discard(self)
        self.time_start: float | None = None
        self.worker_pid: int | None = None
        self._apply_result: Any = None

    def succeed(self) -> None:
        """The run succeeded, and its process has done all but the acknowledgement."""
        if self.time_start is None:
            self.time_start = time.time()  # it has begun, whatever happens until it is acknowledged
            state.all_total_count[0] += 1
            state.total_count[self.name] += 1
        state.task_ready(self)
        self._succeeded = True
        self.acknowledge()

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """A lost child is settled by another one; everything a child reported itself goes Celery's way."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        ours = not return_ok
        if ours and self._already_cancelled and isinstance(error, (TimeLimitExceeded, WorkerLostError, SystemExit)):
            # Its child had died before it was cancelled: for Celery a failure, to be acknowledged. It goes back.
            return None
        ours = ours and not self._already_cancelled
        if ours and isinstance(error, Terminated) and not self._already_revoked:
            self._announce_revoked("terminated", True, str(error), False)
        if ours and isinstance(error, TimeLimitExceeded):
            # Celery 5.7 reports a hard timeout here and in on_timeout (billiard.pool: on_hard_timeout), and so
            # fires every failure hook twice; whichever comes first is taken.
            return self._settle_in_child("timeout", f"not finished after {self._timeout() or _seconds(error):g} s")
        if ours and isinstance(error, (WorkerLostError, SystemExit, Terminated)):
            return self._settle_in_child("lost", str(error) or repr(error))
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """The hard limit: the pool kills the child, another one settles the run."""
        if soft or state.should_terminate:
            return super().on_timeout(soft, timeout)
        return self._settle_in_child("timeout", f"not finished after {self._timeout() or timeout:g} s")

    def on_retry(self, exc_info: Any) -> None:
        """Sent again, or parked: then steps/parked.py must know."""
        super().on_retry(exc_info)
        if getattr(exc_info.exception, "message", None) == PARKED:
            self._app.laraq.parking.changed()

    def _settle_in_child(self, kind: str, detail: str) -> None:
        if self._crash_seen:
            return
        self._crash_seen = True
        if self._already_revoked and kind != "dropped":
            kind, detail = "dropped", "was revoked while it ran"
        state.task_ready(self)
        if state.should_terminate:
            return  # a cold shutdown kills children: the message goes back with the connection
        logger.log(
            logging.INFO if kind == "dropped" else logging.ERROR, "Job %s: %s (%s)", self.humaninfo(), kind, detail
        )
        before = self._request_dict.get(CRASH)
        if before is not None and not before.get("hooks", True):
            # Settling crashed even without user code: leave it to another worker.
            self.reject(requeue=True)
            return
        headers = {name: value for name, value in self._request_dict.items() if name not in _COMPUTED}
        mark = {**before, "hooks": False} if before else {"kind": kind, "detail": detail}
        headers = marked(headers, **{CRASH: mark})
        request = type(self)(
            self._message,
            on_ack=self._on_ack,
            on_reject=self._on_reject,
            app=self._app,
            hostname=self._hostname,
            eventer=self._eventer,
            task=self._task,
            connection_errors=self._connection_errors,
            body=self._body,
            headers=headers,
            decoded=self._decoded,
            utc=self._utc,
        )
        request.time_limits = (None, None)
        state.task_reserved(request)
        self.consumer.on_task_request(request)

    def _timeout(self) -> float | None:
        """The job's timeout in seconds, 0 for none; None leaves it to Celery's own limits.

        One that is no length of time is none here; the child fails the job for it.
        """
        header = self._request_dict.get(LARAQ)
        options = header.get("options") if isinstance(header, dict) else None
        timeout = options.get("timeout") if isinstance(options, dict) else None
        if timeout is None:
            timeout = getattr(getattr(self._task, "job_class", None), "timeout", None)
        if timeout is None:
            timeout = self._app.laraq.worker.timeout
        return timeout if timeout is None else _length(timeout) if type(timeout) in (int, float) else length(timeout)


_length = lru_cache(typed=True)(length)


def parcels_of(app: Any) -> Any:
    """The parcels of the app's worker, if there are any. Tasks are shared with apps that laraq is not attached to."""
    laraq = getattr(app, "laraq", None)
    return None if laraq is None else laraq.host.parcels


def _seconds(error: TimeLimitExceeded) -> float:
    return float(error.args[0]) if error.args else 0.0
