"""The life of one delivered job: `run` decides a verdict, `settle` keeps the books, the adapter then acknowledges.

Every step of `settle` may happen twice: its adapter repeats it when the process died in between.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from laraq import events
from laraq.context import Context
from laraq.current import Surroundings
from laraq.errors import (
    DispatchError,
    JobDroppedError,
    JobFailure,
    JobLostError,
    JobTimedOutError,
    LaraqError,
    MaxAttemptsExceededError,
    ModelNotFoundError,
    PayloadError,
    StoreError,
    UnknownJobError,
    UnknownMiddlewareError,
    UnsupportedPayloadError,
)
from laraq.events import Events
from laraq.jobs import pipeline, registry
from laraq.jobs.job import Job, enter, leave, running
from laraq.messages.delivery import Crash, Delivery, Done, Fail, Obstacle, Release, Superseded, Verdict
from laraq.messages.failure import FailedJob, json_ready, text_of, traceback_of
from laraq.messages.options import apply, checked, epoch, misfit, read
from laraq.messages.payload import CIPHER, Payload
from laraq.middleware.travelling import unpack
from laraq.process import aio
from laraq.process.hooks import ends_process, reported
from laraq.running import retries
from laraq.running.persistence import is_outage, persistently
from laraq.running.retries import Backoff, RetryPolicy
from laraq.running.run import Run

if TYPE_CHECKING:
    from laraq.app import Laraq

logger = logging.getLogger("laraq.runner")

#: How often a message of an unknown class or a newer version goes back before it fails: long enough for a deploy.
UNKNOWN_TRIES = 10
_UNKNOWN_BACKOFF = Backoff(base=5, cap=120, jitter=0.1)

#: Seconds until a job that came before its batch has begun is looked at again, where it cannot wait in the store.
BEFORE_PAUSE = 1.0


class Runner:
    """Runs and settles deliveries for one Laraq."""

    def __init__(self, laraq: Laraq) -> None:
        self._laraq = laraq

    def run(self, delivery: Delivery) -> Run:
        """Run the job, or judge how its last run died; nothing is sent or stored yet.

        Whatever is raised on the way ends in a verdict, unless it ends this process (`hooks.ends_process`), or the host
        has sent the job again already (`Host.verdict`).
        """
        run = Run(delivery)
        outer = running()
        with Surroundings(self._laraq, delivery.payload.context):
            try:
                try:
                    self._laraq.begin_job()
                    if self._must_wait(delivery):
                        run.verdict = Release(
                            BEFORE_PAUSE, counted=False, obstacle=Obstacle(batch=run.payload.batch_id)
                        )
                    else:
                        self._load(run)
                        run.verdict = self._decide(run)
                finally:
                    leave(outer)
                    with reported(logger, "What job %s used could not be closed", run.payload):
                        self._laraq.end_job()
            except BaseException as error:
                if ends_process(error) or error is run.steering:
                    raise
                run.verdict = self._judge_obstruction(run, error)
        if (dropped := delivery.dropped) is not None and not isinstance(run.verdict, Fail):
            run.verdict = Fail(_dropped(run.payload, dropped.detail))  # its class is not here, as a rule
        return run

    def call(self, job: Any) -> Any:
        """Call a job's handler as the plain function it is, with what it asks for by type: no middleware, no books."""
        function, given = job.entry()
        with Surroundings(self._laraq, Context.all()):
            self._laraq.begin_job()
            try:
                with self._laraq.container.scope({Job: job, type(job): job, **self._laraq.injectables}) as scope:
                    result = scope.call(function, **given)
                    return aio.run(result) if inspect.iscoroutine(result) else result
            finally:
                self._laraq.end_job()

    def must_note_success(self, run: Run) -> bool:
        """Whether the journal has to know that the job succeeded before what follows is told.

        Not where its batch is what follows, and takes it in at once: that is as good a note.
        """
        if not run.is_followed:
            return False
        return not run.is_counted or bool(run.payload.chain) or not self._laraq.batches.store.settles_at_once

    def settle(
        self,
        run: Run,
        *,
        record: bool = True,
        follow: Callable[[Payload], None] | None = None,
        park: Callable[[Run, Obstacle], bool] | None = None,
    ) -> None:
        """Keep the books of a run: Done, Release or Fail each in their order, every step repeatable.

        `record=False` leaves the failed store alone, and `follow` takes the next link of a chain instead of its being
        run inside of this call (sync). `park` keeps a job until an obstacle is gone, and says whether it could; without
        it the job goes back to its queue. Raises StoreError or DispatchError when the books cannot be kept.
        """
        with Surroundings(self._laraq, run.payload.context):
            if run.payload.unique and not isinstance(run.verdict, Release):
                self._unlock(run)
            if isinstance(run.verdict, Done):
                try:
                    self._go_on(run, follow)
                except Exception as refusal:
                    if is_outage(refusal):
                        raise
                    # What follows can never be sent. Then what is behind it must hear that it will not run.
                    logger.exception("What follows job %s cannot be sent, so the job is failed", run.payload)
                    run.verdict = Fail(refusal)
            match run.verdict:
                case Superseded():
                    pass
                case Done(result):
                    Events.emit(events.JobProcessed, run.delivery, run.job, result)
                case Release(delay, obstacle=Obstacle() as obstacle):
                    run.parked = park is not None and park(run, obstacle)
                    if run.parked:
                        Events.emit(events.JobParked, run.delivery, run.job)
                    else:
                        Events.emit(events.JobReleased, run.delivery, run.job, delay)
                case Release(delay, None):
                    Events.emit(events.JobReleased, run.delivery, run.job, delay)
                case Release(delay, error):
                    Events.emit(events.JobReleasedAfterException, run.delivery, run.job, delay, error)
                case Fail(error):
                    self._break_off(run.payload, error)
                    self._call_failed(run, error)
                    if record:
                        self._record(run, error)
                    Events.emit(events.JobFailed, run.delivery, run.job, error)
            Events.emit(events.JobAttempted, run.delivery, run.job, run.verdict)

    def succeeded(self, payload: Payload) -> None:
        """A task of the host that is a link of a chain or a job of a batch has succeeded.

        Raises StoreError, DispatchError; may be repeated.
        """
        with Surroundings(self._laraq, payload.context):
            self._proceed(payload)
            self._count(payload)

    def failed(self, payload: Payload, error: BaseException) -> None:
        """The same, it has failed; or a message of a job was dropped without a run, by its expiry or by hand."""
        with Surroundings(self._laraq, payload.context):
            if payload.unique:
                self._laraq.unique.give_up(payload.unique, registry.get(payload.job))
            self._break_off(payload, error)

    def give_back(self, payload: Payload) -> None:
        """Give back what an earlier run may still hold through its middleware, of a job that is dropped by hand.

        A class or model that is not at hand leaves it to the end of its lease.
        """
        run = Run(Delivery(payload, payload.attempts, payload.queue or "", payload.connection or ""))
        outer = running()
        self._laraq.begin_job()
        try:
            run.job = self._instance(registry.find(payload.job), payload)
            enter(run.job, run.delivery)
            run.job._through = unpack(payload.through, self._laraq.keys, str(payload))
            self._tell_middleware(run)
        except Exception as error:
            logger.warning("What %s may hold through its middleware ends by itself: %s", payload, error)
        finally:
            leave(outer)
            self._laraq.end_job()

    # -- run ----------------------------------------------------------------------------------------------------

    def _must_wait(self, delivery: Delivery) -> bool:
        """Whether its batch has callbacks for `before` that are not over yet."""
        payload = delivery.payload
        if not payload.waits or payload.batch_id is None or delivery.crash is not None or delivery.error is not None:
            return False
        return self._laraq.batches.is_before(payload.batch_id)

    def _load(self, run: Run) -> None:
        try:
            self._make(run)
        finally:
            Events.emit(events.JobProcessing, run.delivery, run.job)

    def _make(self, run: Run) -> None:
        payload, worker = run.payload, self._laraq.worker
        if run.delivery.error is not None:
            raise run.delivery.error
        if run.delivery.crash is not None and run.delivery.crash.kind == "broken":
            raise PayloadError(run.delivery.crash.detail)
        cls = registry.find(payload.job)
        if payload.retry_until is None:
            run.job = self._instance(cls, payload)
            if (until := read(run.job, "retry_until")) is not None:
                # A stranger's message: nobody computed it when it was sent.
                run.payload = payload = payload.with_(retry_until=epoch(until, time.time()))
        else:
            run.job = self._instance(cls, payload)
        job = run.job
        enter(job, run.delivery)
        tries, backoff = read(job, "tries"), job.backoff
        run.policy = RetryPolicy(
            tries=worker.tries if tries is None else tries,
            max_exceptions=read(job, "max_exceptions"),
            retry_until=payload.retry_until,
            backoff=worker.backoff if backoff is None else backoff,
            fail_on_timeout=bool(read(job, "fail_on_timeout")),
        )
        job._through = unpack(payload.through, self._laraq.keys, str(payload))

    def _instance(self, cls: type[Any], payload: Payload) -> Any:
        job = self._laraq.codec.load(cls, payload)
        if payload.options:
            if (why := misfit(payload.options)) is not None:
                raise PayloadError(f"Job {payload.job} cannot be made from its message: {why}")
            apply(job, payload.options)
        return job

    def _decide(self, run: Run) -> Verdict:
        """What becomes of a job that could be loaded."""
        delivery = run.delivery
        if delivery.crash is not None:
            return self._judge_crash(run, delivery.crash)
        if self._laraq.unique.is_debounced(delivery.payload.unique):
            Events.emit(events.JobDebounced, delivery, run.job)
            return Superseded()
        if retries.exhausted(run.policy, delivery.attempt, time.time()):
            error = _exhausted_error(run)
            Events.emit(events.JobExceptionOccurred, delivery, run.job, error)
            return Fail(error)
        if (decided := run.job._interactions.decided()) is not None:  # by a listener of JobProcessing
            return self._with_additions(run, decided)
        return self._perform(run)

    def _judge_obstruction(self, run: Run, error: BaseException) -> Verdict:
        """What becomes of a job that could not even begin, or was hit by its timeout when its handler was done."""
        match error:
            case ModelNotFoundError():
                # Illuminate/Queue/CallQueuedHandler.php: handleModelNotFound()
                missing_is_fine = run.job is None and _class_option(run.delivery, "delete_when_missing_models")
                return Done() if missing_is_fine else Fail(error)
            case UnknownJobError() | UnknownMiddlewareError() | UnsupportedPayloadError():
                return _judge_unknown(run, error)
            case StoreError() if is_outage(error):
                # The store that its middleware asks, or the database of its models, is down: no fault of the job.
                return _judge_unknown(run, error)
            case JobTimedOutError() if run.job is not None:
                return self._judge(run, error)
            case _:
                # Its message, its constructor or its own rules are broken: another start would meet the same.
                return Fail(error)

    def _perform(self, run: Run) -> Verdict:
        job, host = run.job, self._laraq.host
        interactions = job._interactions
        self._laraq.unique.end_of_debounce(run.payload.unique)
        try:
            result = self._call(run)
        except BaseException as error:
            if ends_process(error):
                raise
            if isinstance(error, host.control_flow):
                run.steering = error
                if (meant := host.verdict(error)) is None:
                    raise
                return self._with_additions(run, interactions.verdict_after(used_up=True) or meant)
            if isinstance(error, StoreError) and is_outage(error) and not (interactions.entered or run.delivery.last):
                raise  # a check of its middleware could not be made
            if isinstance(error, PayloadError):
                return Fail(error)  # a closure that does not verify: it never will
            if isinstance(error, SystemExit):
                error = _lost(run.payload, f"the job called sys.exit({error.code!r:.100})")
            judged = self._judge(run, error)
            return self._with_additions(run, interactions.verdict_after(used_up=isinstance(judged, Fail)) or judged)
        return self._with_additions(run, interactions.verdict(result))

    def _with_additions(self, run: Run, verdict: Verdict) -> Verdict:
        """What the job has put into its chain counts only if this attempt succeeded."""
        interactions = run.job._interactions
        if isinstance(verdict, Done):
            if interactions.prepended or interactions.appended:
                try:
                    run.payload = self._laraq.chains.extended(
                        run.payload, interactions.prepended, interactions.appended
                    )
                except DispatchError as error:
                    return Fail(error)  # what was added cannot travel, and never will
            if interactions.chain_is_taken:
                run.payload = run.payload.with_(chain={})
        return verdict

    def _call(self, run: Run) -> Any:
        if run.delivery.prevented is not None:
            raise run.delivery.prevented
        job = run.job
        function, given = job.entry()
        middleware = pipeline.middleware_of(job)
        asynchronous = inspect.iscoroutinefunction(function)
        container = self._laraq.container
        until_processing = bool(run.payload.unique.get("until_processing"))
        if (
            not until_processing
            and not middleware
            and not asynchronous
            and not container.needs_injection(function, given)
        ):
            job._interactions.entered = True
            result = function(**given)
            # A coroutine function behind a decorator does not look like one.
            return aio.run(result) if inspect.iscoroutine(result) else result
        extras = {Job: job, type(job): job, **self._laraq.injectables}

        def handle(_job: Any) -> Any:
            if until_processing:
                self._laraq.unique.release(run.payload.unique, job)
            job._interactions.entered = True
            with container.scope(extras) as scope:
                result = scope.call(function, **given)
                return aio.run(result) if inspect.iscoroutine(result) else result

        async def ahandle(_job: Any) -> Any:
            if until_processing:
                await asyncio.to_thread(self._laraq.unique.release, run.payload.unique, job)
            job._interactions.entered = True
            async with container.scope(extras) as scope:
                return await scope.acall(function, **given)

        return pipeline.send(job, middleware, ahandle if asynchronous else handle, asynchronous=asynchronous)

    def _judge(self, run: Run, error: BaseException) -> Verdict:
        """Release with backoff, or fail; also counts the exception and remembers its text."""
        counted = run.payload.exceptions + retries.counts(error)
        text = type(error).__name__ if run.job is not None and run.job.encrypted else _one_line(error)
        run.payload = run.payload.with_(exceptions=counted, last_error=text)
        if isinstance(error, JobTimedOutError):
            Events.emit(events.JobTimedOut, run.delivery, run.job, self._timeout(run))
        Events.emit(events.JobExceptionOccurred, run.delivery, run.job, error)
        if run.delivery.last:
            return Fail(error)
        policy = run.policy
        if callable(policy.backoff):
            policy = replace(policy, backoff=self._own_backoff(run, policy.backoff))
        return retries.judge(policy, run.delivery.attempt, counted, error, time.time())

    def _own_backoff(self, run: Run, backoff: Callable[[], Any]) -> Any:
        with reported(logger, "backoff() of job %s raised", run.payload):
            return checked("backoff", backoff())
        return self._laraq.worker.backoff

    def _judge_crash(self, run: Run, crash: Crash) -> Verdict:
        payload = run.payload
        if crash.kind == "finished":
            return Done()
        if crash.hooks:
            self._tell_middleware(run)
        if crash.kind == "dropped":
            return Fail(_dropped(payload, crash.detail))
        if crash.kind == "unsettled":
            return Fail(JobFailure(crash.detail, job=payload.job, job_id=payload.id))
        if crash.kind == "timeout":
            text = f"{payload.job} has timed out: {crash.detail}"
            return self._judge(run, JobTimedOutError(text, job=payload.job, job_id=payload.id))
        return self._judge(run, _lost(payload, crash.detail))

    def _tell_middleware(self, run: Run) -> None:
        """What a dead child held through its middleware, such as an overlap lock, is given back."""
        with reported(logger, "The middleware of job %s raised about its lost run", run.payload):
            for one in pipeline.middleware_of(run.job):
                if (lost := getattr(one, "lost", None)) is not None:
                    with reported(logger, "The middleware of job %s raised about its lost run", run.payload):
                        lost(run.job)

    def _timeout(self, run: Run) -> float | None:
        timeout = read(run.job, "timeout") if run.job is not None else None
        return self._laraq.worker.timeout if timeout is None else timeout

    # -- settle -------------------------------------------------------------------------------------------------

    def _unlock(self, run: Run) -> None:
        # The outcome stands, and the lock ends by itself.
        with reported(logger, "The unique lock of job %s was not freed", run.payload):
            self._laraq.unique.release(run.payload.unique, run.job or registry.get(run.payload.job))

    def _go_on(self, run: Run, follow: Callable[[Payload], None] | None = None) -> None:
        """What comes after a job that is done: the next link, then its batch learns of it."""
        if isinstance(run.verdict, Superseded):
            # Another one does its work. Nothing follows this one, and its batch must not wait for it.
            if run.payload.is_member:
                persistently(lambda: self._laraq.batches.dropped(run.payload), run.payload)
            self._end_callback(run.payload)
            return
        self._proceed(run.payload, follow)
        if not run.handed_over:
            self._count(run.payload)

    def _proceed(self, payload: Payload, follow: Callable[[Payload], None] | None = None) -> None:
        if payload.chain:
            persistently(lambda: self._laraq.chains.proceed(payload, follow), payload)

    def _count(self, payload: Payload) -> None:
        if payload.is_member:
            persistently(lambda: self._laraq.batches.succeeded(payload), payload)
        self._end_callback(payload)

    def _end_callback(self, payload: Payload) -> None:
        if payload.is_awaited:
            persistently(lambda: self._laraq.batches.called(payload), payload)

    def _break_off(self, payload: Payload, error: BaseException) -> None:
        """What comes after a job that failed: its batch learns of it, then the `catch` of its chain."""
        discreet = CIPHER in payload.fields
        if payload.is_member:
            with _unless_outage("The batch of job %s was not told of its failure", payload):
                persistently(lambda: self._laraq.batches.failed(payload, error, discreet=discreet), payload)
        with _unless_outage("The batch of callback %s was not told of its end", payload):
            self._end_callback(payload)
        if payload.chain:
            with _unless_outage("The chain of job %s was not told of its failure", payload):
                persistently(lambda: self._laraq.chains.stop(payload, error, discreet=discreet), payload)

    def _call_failed(self, run: Run, error: BaseException) -> None:
        """`failed(error)` on a fresh instance: what the run changed on its own does not count."""
        crash = run.delivery.crash
        if run.job is None or (crash is not None and (run.delivery.dropped or not crash.hooks)):
            return
        outer = running()
        with reported(logger, "failed() of job %s raised", run.payload):
            try:
                self._laraq.begin_job()
                job = self._instance(type(run.job), run.payload)
                enter(job, run.delivery)
                hook = job.failed(error)
                if inspect.iscoroutine(hook):
                    aio.run(hook)
            finally:
                leave(outer)
                self._laraq.end_job()

    def _record(self, run: Run, error: BaseException) -> None:
        delivery, payload = run.delivery, run.payload
        crash = delivery.crash
        message = self._laraq.codec.recorded(payload).to_dict()
        if crash is not None and crash.raw is not None:
            message["raw"] = crash.raw
        self._laraq.failed.record(
            FailedJob(
                id=payload.id,
                connection=delivery.connection,
                queue=delivery.queue,
                job=payload.job,
                payload=json_ready(message),
                exception=traceback_of(error),
                failed_at=datetime.now(UTC),
                attempts=delivery.attempt,
                tags=payload.tags,
                batch_id=payload.batch_id,
            )
        )


def _judge_unknown(run: Run, error: LaraqError) -> Verdict:
    """What this worker cannot start yet goes back for a while, no start counted: a deploy may be under way."""
    run.payload = payload = run.payload.with_(returns=run.payload.returns + 1)
    logger.error("%s", error)
    tries = payload.options.get("tries")
    if payload.returns >= (tries if isinstance(tries, int) and tries > 0 else UNKNOWN_TRIES):
        return Fail(error)
    return Release(_UNKNOWN_BACKOFF.after(payload.returns), error, counted=False)


@contextmanager
def _unless_outage(what: str, payload: Payload) -> Iterator[None]:
    """One step of the books. An outage stops all of them, to be kept later; anything else stops no other step."""
    try:
        yield
    except Exception as error:
        if is_outage(error):
            raise
        logger.exception(what, payload)


def _lost(payload: Payload, detail: str) -> JobLostError:
    return JobLostError(f"{payload.job} was lost in the middle of a run: {detail}", job=payload.job, job_id=payload.id)


def _dropped(payload: Payload, detail: str) -> JobDroppedError:
    return JobDroppedError(f"{payload.job} {detail}", job=payload.job, job_id=payload.id)


def _exhausted_error(run: Run) -> MaxAttemptsExceededError:
    """Says what stopped the last run, which the bare sentence of Laravel hides."""
    payload = run.payload
    why = f" The last error was: {payload.last_error}" if payload.last_error else ""
    return MaxAttemptsExceededError(
        f"{payload.job} has been attempted too many times.{why}", job=payload.job, job_id=payload.id
    )


def _class_option(delivery: Delivery, name: str) -> Any:
    options = delivery.payload.options
    return options[name] if name in options else read(registry.find(delivery.payload.job), name)


def _one_line(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{name}: {text_of(error)}".removesuffix(": ").strip()[:500]
