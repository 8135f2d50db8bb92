"""JobTask: the Celery task of one Job class. request -> Delivery -> runner -> return | Retry | raise.

What it returns or raises decides what Celery does with the message: the bookkeeping is done by then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from celery import Task, states
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from laraq.errors import JobFailure, PayloadError, StoreError
from laraq.events import Events, JobPopped, JobPopping
from laraq.messages.delivery import Crash, Delivery, Done, Fail, Obstacle, Release
from laraq.messages.failure import text_of
from laraq.messages.link import Link
from laraq.messages.options import delay_seconds, length
from laraq.messages.payload import CIPHER, MAYBE, Payload
from laraq.ports.journal import RunState
from laraq.process.hooks import ends_process
from laraq.running import journal, retries
from laraq.running.persistence import is_outage
from laraq.running.run import Run
from laraq.running.settlement import Settlement
from laraq_celery.worker import app_task, configured, soft_limit
from laraq_celery.worker.arrival import CRASH, LARAQ, MARKS, ORIGINAL, UNKNOWN
from laraq_celery.worker.expiry import expiring_by_header

logger = logging.getLogger("laraq.task")

#: What Celery's Retry says of a job that waits in the store.
PARKED = "parked"

#: Seconds a child waits before it gives a message back because the store is down: no hot loop.
STORE_DOWN_PAUSE = 1.0

#: Most characters that travel of the error of a job whose books are kept later.
_DETAIL = 8000

#: Headers that a message does not take along when it is sent again: laraq's own, written anew, and those of brokers.
_LEFT_BEHIND = frozenset({LARAQ, *MARKS, "attempts", "redelivered", "x-delivery-count", "x-death"})


class JobTask(Task):
    """Base of every job's task. Settings that differ from Celery's defaults are set here, so only jobs have them."""

    abstract = True
    #: Acknowledged after the bookkeeping; a lost child never acknowledges (request.py settles it).
    acks_late = True
    acks_on_failure_or_timeout = True
    acks_on_failure = True
    acks_on_timeout = True
    reject_on_worker_lost = False
    #: laraq counts, not Celery.
    max_retries = None
    #: Fields are checked by pydantic, in both processes.
    typing = False
    Request = "laraq_celery.worker.request:JobRequest"
    Strategy = "laraq_celery.worker.strategy:strategy"

    #: None for a task that has no class of its own: UNKNOWN, and an opted-in task before it is bound.
    job_class: ClassVar[type[Any] | None] = None
    #: Whether a message that Celery sends again counts the start before it; ordinary tasks leave that to Celery.
    laraq_counts: ClassVar[bool] = True
    #: Whether no hook of the app's runs after a delivery (app_task.py).
    ends_as_celery_does: ClassVar[bool] = False

    @property
    def laraq(self) -> Any:
        """The Laraq attached to this task's app."""
        return (type(self)._app or self.app).laraq

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any) -> Any:
        """Celery's verb, through laraq's door; a message that has passed it (a release) goes straight on."""
        if is_sent_again(self.app, task_id, options):
            return super().apply_async(args, kwargs, task_id=task_id, **expiring_by_header(self.app, self, options))
        return self._through_the_door(self.as_job(args, kwargs, options), task_id, options)

    def send(self, job: Any, task_id: str | None = None, **options: Any) -> Any:
        """`apply_async` of a job that is configured already; these options come on top."""
        job = copy(job)
        self._set_place(job, options)
        return self._through_the_door(job, task_id, options)

    def signature_of(self, job: Any) -> Any:
        """An immutable signature of a job, as it is configured."""
        return configured.signature(self, job)

    def as_job(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """The job of a call; what of Celery's options is its own is taken out of them."""
        assert self.job_class is not None
        job = self._job(args or (), kwargs or {})
        configured.restore(job, options, self.laraq.keys)
        self._set_place(job, options)
        return job

    def _set_place(self, job: Any, options: dict[str, Any]) -> None:
        if queue := options.pop("queue", None):
            job.queue = getattr(queue, "name", queue)
        if (countdown := options.pop("countdown", None)) is not None:
            job.countdown = countdown

    def _job(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        assert self.job_class is not None
        return self.job_class(*args, **kwargs)

    def _through_the_door(self, job: Any, task_id: str | None, options: dict[str, Any]) -> Any:
        sent = self.laraq.dispatcher.dispatch(job, id=task_id, carrier=options)
        return sent.result

    @classmethod
    def bind(cls, app: Any) -> Any:
        """Celery's own, which a class goes through once: then it is a task of its app in every respect."""
        app_task.join(cls, app)
        bound = super().bind(app)
        if "_watched" not in cls.__dict__:
            cls._watched = True
            app_task.watch(cls)
        return bound

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """As `run`. Celery's own takes no field named `self`, which a stranger's message may have."""
        return self.run(*args, **kwargs)

    def run(self, /, *args: Any, **kwargs: Any) -> Any:
        """One delivery of the job when a worker calls, else a plain call of its handler."""
        request = self.request
        if (raised := getattr(request, "laraq_raised", None)) is not None:
            request.laraq_raised = None
            raise raised  # by the delivery, on the short way (trace.py)
        if request.called_directly or getattr(request, "laraq_delivery", None) is not None:
            return self._call_directly(args, kwargs)
        return self._deliver(args, kwargs)

    def _call_directly(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """`app.tasks["shop.Add"](1, 2)`, also from Celery's `map`, `starmap` and `chunks`: no store, no broker."""
        if self.job_class is None:
            raise PayloadError(f"The task {self.name!r} takes messages and cannot be called.")
        laraq = self.laraq
        job = self._job(args, kwargs)
        return laraq.runner.call(laraq.codec.load(self.job_class, Payload("", self.name, laraq.codec.dump(job, ""))))

    def _deliver(self, args: tuple[Any, ...], fields: Mapping[str, Any], prevented: BaseException | None = None) -> Any:
        """Every delivery ends in one of done, released, or failed with a record, whatever is raised on the way."""
        request = self.request
        request.laraq_reached = True
        with soft_limit.ForJobs():
            delivery = self._received(request, args, fields)
            if prevented is not None:
                delivery = replace(delivery, prevented=prevented)
            request.laraq_delivery = delivery
            leaving = self._leave(request, self._run(delivery))
        if leaving is not None:
            raise leaving
        verdict = request.laraq_settled.verdict
        assert isinstance(verdict, Done)
        return verdict.result

    def _around(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A `__call__` that is not laraq's: it may raise before it comes to the job, or never come to it."""
        try:
            result = call(self, *args, **kwargs)
        except BaseException as error:
            if ends_process(error) or not self._is_unreached():
                raise
            return self._deliver(args, kwargs, error)
        if self._is_unreached():
            what = f"{type(self).__name__}.__call__ returned without a call of self.run or super().__call__"
            return self._deliver(args, kwargs, JobFailure(what, job=self.name, job_id=self.request.id))
        return result

    def _is_unreached(self) -> bool:
        return not (self.request.called_directly or getattr(self.request, "laraq_reached", False))

    def _run(self, delivery: Delivery) -> Run:
        try:
            run: Run = self.laraq.runner.run(delivery)
            return run
        except Retry as error:
            # Sent by Celery's own `retry()`; one that a job merely raises is the wish to be sent again.
            run = Run(delivery)
            run.steering, run.verdict = error, Release(_wait(error.when), error.exc)
            return run
        except BaseException as error:
            if ends_process(error):
                raise
            run = Run(delivery)
            run.verdict = Fail(error)
            return run

    def _leave(self, request: Any, run: Run) -> Any:
        """Keep the books; what Celery is then told by being raised, None for a result.

        Each step may be taken twice. So what nobody expects, such as a timeout of gevent's that the job left behind and
        that strikes now, is met by keeping the books once more; then by failing the job, with a record.
        """
        for again in (True, False):
            try:
                return self._keep_books(request, run)
            except Reject:
                raise  # the message goes back
            except BaseException as error:
                if ends_process(error):
                    raise
                logger.exception("The outcome of job %s[%s] could not be recorded", self.name, request.id)
                if not again:
                    run.verdict, run.steering = Fail(error), None
        return self._keep_books(request, run)

    def _received(self, request: Any, args: tuple[Any, ...], fields: Mapping[str, Any]) -> Delivery:
        """What arrived, its start noted. What cannot be read or noted for good becomes a delivery that fails."""
        try:
            if Events.heard(JobPopping):
                queue = str((request.delivery_info or {}).get("routing_key") or "")
                Events.emit(JobPopping, consumed_connection(self.laraq), queue)
            delivery = self._delivery(request, args, fields)
            if delivery.crash is None and delivery.error is None and not request.is_eager:
                self._begin(request, delivery)
            Events.emit(JobPopped, delivery)
            return delivery
        except BaseException as error:
            if ends_process(error) or isinstance(error, Ignore):
                raise
            if is_outage(error) or isinstance(error, SoftTimeLimitExceeded):
                logger.error("Job %s[%s] returns to its queue: %s", self.name, request.id, text_of(error))
                time.sleep(STORE_DOWN_PAUSE)
                raise Reject(error, requeue=True) from error
            logger.exception("Job %s[%s] cannot be started", self.name, request.id)
            return self._unreadable(request, args, fields, error)

    def _keep_books(self, request: Any, run: Run) -> Any:
        """Settle the run; what Celery is then told by being raised, None for a result."""
        laraq = self.laraq
        noted = run.delivery.crash is None and run.delivery.error is None and not request.is_eager
        outcomes = laraq.host.outcomes
        try:
            settled = request.laraq_settled = laraq.books.settle(
                run,
                park=None if request.is_eager else self._park,
                journal=laraq.run_journal if noted else None,
                can_hand_over=self.acks_late and outcomes is not None and outcomes.can_take,
            )
        except BaseException as error:
            if not is_outage(error):
                raise
            return self._settle_later(run, error)
        steering: BaseException | None = run.steering
        match settled.verdict:
            case Release() as release:
                if settled.parked is not None:
                    return Retry(message=PARKED)
                # Celery's own retry() has sent the job itself.
                return steering if getattr(steering, "sig", None) is not None else self._release(run, release)
            case Fail(reason):
                if run.delivery.dropped is not None:
                    steering = Ignore()  # Celery has stored that it was revoked, and told its listeners
                elif steering is None:
                    return _raisable(reason)
                self._end(request, RunState.FAILED)
            case _ if steering is not None:
                self._end(request, RunState.DONE)
        return steering

    def _over(self, status: str, *_: Any, **__: Any) -> None:
        """`after_return`: Celery's callbacks are out and the result is stored: now the run is over for good."""
        request = self.request
        settled: Settlement | None = getattr(request, "laraq_settled", None)
        if settled is not None and settled.handed_over and status != states.SUCCESS:
            # The job's result could not be kept, and its parent hears of a failure.
            self.laraq.books.succeeded(settled.run.payload)
            settled = request.laraq_settled = replace(settled, handed_over=False)
        done = status == states.SUCCESS and (settled is None or isinstance(settled.verdict, Done))
        self._end(request, RunState.DONE if done else RunState.FAILED)

    def signature_from_request(self, request: Any = None, *args: Any, **options: Any) -> Any:
        """Celery's own: the message to send again. When a job does that (`current_task.retry()`), its start counts.

        One that Celery counts has a number, too: no two starts of a job have the same.
        """
        again = super().signature_from_request(request, *args, **options)
        delivery: Delivery | None = getattr(self.request if request is None else request, "laraq_delivery", None)
        if delivery is not None:
            payload, free = delivery.payload, not self.laraq_counts
            header = payload.with_(attempts=delivery.attempt - free, uncounted=payload.uncounted + free).to_header()
            again.options["headers"] = {**(again.options.get("headers") or {}), LARAQ: header}
        return again

    def _sent_again(self, *_: Any, **__: Any) -> None:
        """`on_retry`: the job, or a task's own `self.retry()`, has been sent again."""
        self._end(self.request, RunState.RELEASED)

    # -- what arrives -------------------------------------------------------------------------------------------

    def _delivery(self, request: Any, args: tuple[Any, ...], fields: Mapping[str, Any]) -> Delivery:
        headers = request.headers or {}
        name = str(headers.get(ORIGINAL, UNKNOWN)) if self.name == UNKNOWN else self.name
        if name == UNKNOWN and CRASH not in headers:
            raise PayloadError(f"A message for the task {UNKNOWN!r} does not name a job.")
        # Celery's JSON has taken the marks off moments and the like, and what is kept of a job must be JSON.
        again = self.laraq.codec.untyped.again
        args, fields = tuple(map(again, args)), again(fields)
        header, carrier = again(headers.get(LARAQ)), carrier_of(request)
        try:
            payload = Payload.from_header(str(request.id), name, fields, args, header, carrier=carrier)
            if header is not None and (why := payload.misfit(header)) is not None:
                raise PayloadError(f"The laraq header of job {name!r}: {why}.")
        except PayloadError as error:
            return self._unreadable(request, args, fields, error)
        info = request.delivery_info or {}
        queue = payload.queue or info.get("routing_key") or ""
        crash = Crash(**headers[CRASH]) if CRASH in headers else None
        attempt = payload.attempts + 1
        if info.get("redelivered") or (crash is not None and crash.kind != "broken"):
            attempt, payload, crash = self._attempt(payload, crash)
        return Delivery(payload, attempt, queue, consumed_connection(self.laraq), crash)

    def _unreadable(self, request: Any, args: Any, fields: Any, error: BaseException) -> Delivery:
        """As much as can be read of a message, to be failed with that error."""
        headers = request.headers if isinstance(request.headers, Mapping) else {}
        name = str(headers.get(ORIGINAL, self.name))
        payload = Payload.salvaged(str(request.id), name, fields, args, headers.get(LARAQ), carrier=carrier_of(request))
        queue = payload.queue or str((request.delivery_info or {}).get("routing_key") or "")
        return Delivery(payload, payload.attempts + 1, queue, consumed_connection(self.laraq), error=error)

    def _attempt(self, payload: Payload, crash: Crash | None) -> tuple[int, Payload, Crash | None]:
        """Which start this is, by the journal: a redelivered message was started, ended, or merely fetched."""
        entry = self.laraq.run_journal.find(payload.run_key)
        starts, uncounted = payload.attempts + payload.uncounted, payload.uncounted
        judged = journal.judge(starts, entry, partial(self.laraq.batches.has_succeeded, payload))
        over = (journal.Finished, journal.Settled) if crash and crash.kind == "dropped" else journal.Finished
        if crash is not None and not isinstance(judged, over):
            return max(starts + 1, entry.attempt if entry else 0) - uncounted, payload, crash
        match judged:
            case journal.Finished(entry):
                detail = "it succeeded, and its worker died before the follow-up was sent"
                return entry.attempt - uncounted, payload, Crash("finished", detail)
            case journal.Settled(entry):
                logger.info("Job %s[%s] was %s already", payload.job, payload.id, entry.state)
                raise Ignore
            case journal.Start(number, died):
                if died:
                    payload = payload.with_(last_error=payload.last_error or "the worker died in the middle of its run")
                return number - uncounted, payload, None

    def _begin(self, request: Any, delivery: Delivery) -> None:
        """Note the start before it happens; one that another message may make as well is claimed."""
        run_journal, key, start = self.laraq.run_journal, delivery.payload.run_key, delivery.start
        redelivered = (request.delivery_info or {}).get("redelivered")
        if delivery.payload.once == MAYBE and not redelivered:
            entry = run_journal.find(key)
            if entry is not None and entry.attempt >= start:
                logger.info("Job %s[%s] was sent twice: the first message has started it", self.name, request.id)
                raise Ignore
        run_journal.begin(key, start)
        again = start > 1 or delivery.payload.once or redelivered
        if again and not run_journal.claim(key, start):
            logger.info("Job %s[%s]: start %d belongs to another message of it", self.name, request.id, start)
            raise Ignore

    # -- what goes back -----------------------------------------------------------------------------------------

    def _release(self, run: Run, release: Release) -> Any:
        """Publish the job again under its own id, then leave through Celery's Retry, which acknowledges."""
        changes = run.starts()
        header = run.payload.with_(**changes, parked={}).to_header()
        if run.delivery.error is not None:  # a header this code cannot read goes back as it came
            header = {**self.request.headers[LARAQ], **changes, "returns": run.payload.returns}
        signature = self._republish(release.delay, {LARAQ: header})
        if not self.request.is_eager:
            _log_release(run, release)
        error = None if release.error is None else _raisable(release.error)
        return Retry(message="released", when=release.delay, exc=error, is_eager=self.request.is_eager, sig=signature)

    def _settle_later(self, run: Run, error: BaseException) -> Any:
        """The books could not be kept: a copy of the message asks for it again, without running the job."""
        logger.error(
            "Job %s[%s] could not be recorded and is tried again later: %s", self.name, self.request.id, text_of(error)
        )
        verdict = run.verdict
        if not isinstance(verdict, Fail):
            if isinstance(verdict, Done) and self.request.laraq_delivery.crash is None:
                with suppress(StoreError):  # the batch's store may be down, and this one not: then it is not run again
                    self.laraq.run_journal.finish(run.payload.run_key, run.delivery.start)
            return Reject(error, requeue=True)
        detail = type(verdict.error).__name__
        if CIPHER not in run.payload.fields:  # the error may quote what is encrypted, and this mark is not
            detail = f"{detail}: {text_of(verdict.error)}"[:_DETAIL]
        crash = {"kind": "unsettled", "detail": detail}
        if (dropped := run.delivery.dropped) is not None:
            crash = {"kind": "dropped", "detail": dropped.detail}
        own = {name: value for name, value in (self.request.headers or {}).items() if name == LARAQ}
        return Retry(message="unsettled", when=30, sig=self._republish(30, {**own, CRASH: crash}, kept=False))

    def _park(self, run: Run, obstacle: Obstacle) -> bool:
        """Keep the job in the store until the obstacle is gone; False when it has to go back to its queue."""
        delivery, request = run.delivery, self.request
        again = self._again(0, {}).options
        # Who sends it later is another task, which must not take it for one of its own children.
        family = {"root_id": request.root_id or request.id, "parent_id": request.parent_id or request.id}
        carrier = {**again, **family, "add_to_parent": False}
        default = self.laraq.settings.default
        payload = run.payload.with_(
            **run.starts(),
            queue=delivery.queue or None,
            connection=None if delivery.connection == default else delivery.connection,
            carrier={name: value for name, value in carrier.items() if value is not None and name != "task_id"},
        )
        try:
            if obstacle.batch is None:
                self.laraq.parking.park(obstacle, payload)
            else:
                self.laraq.batches.hold(obstacle.batch, [Link(payload)])
        except (StoreError, ValueError) as error:
            logger.warning("Job %s[%s] cannot be parked and returns to its queue: %s", self.name, request.id, error)
            return False
        return True

    def _republish(self, delay: float, headers: Mapping[str, Any], *, kept: bool = True) -> Any:
        """Send it; a long delay it may spend in the store, unless not `kept` there."""
        request, delays = self.request, self.laraq.host.delays
        wait = delays.seconds(delay) if kept else 0
        signature = self._again(0 if wait else delay, headers)
        if request.is_eager:
            return signature
        try:
            if wait:
                with delays.producer() as producer:
                    producer.after = wait
                    signature.apply_async(producer=producer)
            else:
                signature.apply_async()
        except Exception as error:
            # Celery's own retry() would drop the message here; giving it back keeps the job.
            logger.exception("Job %s[%s] could not be sent again", self.name, request.id)
            raise Reject(error, requeue=True) from error
        return signature

    def _again(self, delay: float, headers: Mapping[str, Any]) -> Any:
        """The message as a signature, with other headers."""
        request = self.request
        signature = super().signature_from_request(
            request,
            countdown=self.laraq.connection().countdown(delay) if delay else None,
            retries=request.retries + 1,
            add_to_parent=False,
            headers={**_custom_headers(request), **headers},
        )
        signature.options = expiring_by_header(self.app, None, signature.options)
        if ORIGINAL in (request.headers or {}):
            signature = self.app.signature({**signature, "task": request.headers[ORIGINAL]})
        return signature

    def _end(self, request: Any, state: RunState) -> None:
        delivery: Delivery | None = getattr(request, "laraq_delivery", None)
        if delivery is None or request.is_eager:
            return
        settled: Settlement | None = getattr(request, "laraq_settled", None)
        if settled is not None and settled.handed_over:
            return  # its parent goes on
        known = state is RunState.DONE and settled is not None and settled.counted
        try:
            self.laraq.run_journal.end(delivery.payload.run_key, delivery.start, state, known=known)
        except StoreError as error:
            # The outcome stands; at worst a lost acknowledgement starts the job once more.
            logger.warning(
                "Job %s[%s]: its end could not be recorded in the run journal: %s",
                self.name,
                delivery.payload.id,
                error,
            )


class UnknownJobTask(JobTask):
    """Takes jobs whose class this worker does not have, and messages that cannot be read (steps/arrivals.py)."""

    name = UNKNOWN
    abstract = False


def consumed_connection(laraq: Any) -> str:
    """The connection whose queues this worker consumes."""
    return str(laraq.worker.connection or laraq.settings.default)


def task_for(cls: type[Any], app: Any) -> Task | None:
    """A new task of the app for a Job class; None for one whose task exists on its own (LaraqTask)."""
    if getattr(cls, "_has_own_task", False):
        return None
    members: dict[str, Any] = {
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        "name": cls.job_name(),
        "job_class": cls,
        "abstract": False,
    }
    if isinstance(cls.ignore_result, bool):
        members["ignore_result"] = cls.ignore_result
    return app_task.made(JobTask, app, f"{cls.__name__}Task", members)


def carrier_of(request: Any) -> dict[str, Any]:
    """What of the message `laraq retry` must send again: Celery's callbacks and the rest of its chain."""
    kept = {
        "link": request.callbacks,
        "link_error": request.errbacks,
        "chain": request.chain,
        "priority": (request.delivery_info or {}).get("priority"),
        "root_id": request.root_id if request.root_id != request.id else None,
        "parent_id": request.parent_id,
        "headers": _custom_headers(request),
    }
    return {name: value for name, value in kept.items() if value}


def is_sent_again(app: Any, task_id: Any, options: dict[str, Any]) -> bool:
    """Whether a call sends the message of the job that runs here once more.

    What any other call has of laraq's is taken out of its options: `headers=self.request.headers` means the rest.
    """
    headers = options.get("headers") or {}
    if LARAQ not in headers:
        return False
    running = app.current_worker_task
    if running is not None and task_id is not None and running.request.id == str(task_id):
        return True
    options["headers"] = {name: value for name, value in headers.items() if name not in _LEFT_BEHIND}
    return False


def _custom_headers(request: Any) -> dict[str, Any]:
    """What neither Celery nor laraq wrote, but the application, or a tracing library."""
    return {name: value for name, value in (request.headers or {}).items() if name not in _LEFT_BEHIND}


def _wait(when: Any) -> float:
    """Seconds until a retry, which names them or a moment."""
    if isinstance(when, datetime):
        return delay_seconds(when if when.tzinfo else when.replace(tzinfo=UTC), datetime.now(UTC))
    return length(when) or 0.0


def _log_release(run: Run, release: Release) -> None:
    """Why the job starts again, when, and how often it still may. Of an encrypted job the error has no text, which may
    have the secret in it."""
    payload, error, encrypted = run.payload, release.error, CIPHER in run.payload.fields
    attempt = run.delivery.attempt
    start = f"attempt {attempt}" if run.job is None else retries.which(run.policy, attempt)
    if not release.counted:
        start += " (not counted)"
    when = f"next in {release.delay:g} s" if release.delay else "next at once"
    if error is None:
        logger.info("Job %s[%s] was released: %s, %s", payload.job, payload.id, start, when)
        return
    text, shown = "" if encrypted else f"({text_of(error)!r:.500})", _raisable(error)
    logger.warning(
        "Job %s[%s] is retried: %s, %s: %s%s",
        payload.job,
        payload.id,
        start,
        when,
        type(error).__name__,
        text,
        exc_info=(type(shown), shown, shown.__traceback__)
        if logger.isEnabledFor(logging.INFO) and not encrypted
        else None,
    )


def _raisable(error: BaseException) -> Exception:
    """The error, or what stands for it where Celery would stumble over it: it ends the whole worker on a MemoryError
    (`worker.request: Request.on_failure`), loses a child to what is no Exception, and asks others for their truth."""
    if isinstance(error, Exception) and not isinstance(error, MemoryError):
        with suppress(Exception):
            _ = bool(error), hash(error), repr(error)
            return error
    return JobFailure(f"{type(error).__name__}: {text_of(error)}").with_traceback(error.__traceback__)
