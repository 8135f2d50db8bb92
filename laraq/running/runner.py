"""Runner: runs a delivered job and decides its verdict; `books.py` settles it, then the host acknowledges."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from laraq import events
from laraq.context import Context
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
from laraq.jobs.job import enter, leave, running
from laraq.messages.backoff import Backoff
from laraq.messages.delivery import Crash, Delivery, Done, Fail, Obstacle, Release, Superseded, Verdict
from laraq.messages.failure import text_of
from laraq.messages.options import WorkerOptions, checked, read
from laraq.messages.payload import Payload
from laraq.ports import Host
from laraq.process import aio, clock
from laraq.process.hooks import ends_process, reported
from laraq.running import retries
from laraq.running.loading import Loader
from laraq.running.persistence import is_outage
from laraq.running.run import Run
from laraq.running.workplace import Workplace
from laraq.sending.unique import UniqueLocks
from laraq.workflow.batch_service import BatchService

logger = logging.getLogger("laraq.runner")

#: How often a message of an unknown class or a newer version is released before it fails: long enough for a deploy.
UNKNOWN_TRIES = 10
_UNKNOWN_BACKOFF = Backoff(base=5, cap=120, jitter=0.1)

#: Seconds until a job that arrived before its batch has begun is checked again, if it cannot wait in the store.
BEFORE_PAUSE = 1.0


class Runner:
    """Runs deliveries for one Laraq and decides their verdicts."""

    def __init__(
        self,
        workplace: Workplace,
        loader: Loader,
        host: Host,
        worker: Callable[[], WorkerOptions],
        unique: UniqueLocks,
        batches: Callable[[], BatchService],
        extend: Callable[[Payload, Sequence[Any], Sequence[Any]], Payload],
    ) -> None:
        """`extend` adds jobs to the chain of a payload, at its beginning and end (`Chains.extended`)."""
        self._workplace = workplace
        self._loader = loader
        self._host = host
        self._worker = worker
        self._unique = unique
        self._batches = batches
        self._extend = extend

    def run(self, delivery: Delivery) -> Run:
        """Run the job, or decide how its last run died; nothing is sent or stored yet.

        Any exception leads to a verdict, unless it ends this process (`hooks.ends_process`), or the host has sent the
        job again already (`Host.verdict`).
        """
        run = Run(delivery)
        outer = running()
        with self._workplace.around(delivery.payload.context):
            try:
                try:
                    self._workplace.open()
                    if self._must_wait(delivery):
                        run.verdict = Release(
                            BEFORE_PAUSE, counted=False, obstacle=Obstacle(batch=run.payload.batch_id)
                        )
                    else:
                        self._load(run)
                        run.verdict = self._decide(run)
                finally:
                    leave(outer)
                    with reported(logger, "The sessions of job %s could not be closed", run.payload):
                        self._workplace.close()
            except BaseException as error:
                if ends_process(error) or error is run.steering:
                    raise
                run.verdict = self._judge_obstruction(run, error)
        if (dropped := delivery.dropped) is not None and not isinstance(run.verdict, Fail):
            run.verdict = Fail(_dropped(run.payload, dropped.detail))  # its class is usually not available
        return run

    def call(self, job: Any) -> Any:
        """Call a job's handler as a plain function with its injected parameters: no middleware, no bookkeeping."""
        function, given = job.entry()
        with self._workplace.around(Context.all()):
            self._workplace.open()
            try:
                with self._workplace.container.scope(self._workplace.offers(job)) as scope:
                    result = scope.call(function, **given)
                    return aio.run(result) if inspect.iscoroutine(result) else result
            finally:
                self._workplace.close()

    def release_held(self, payload: Payload) -> None:
        """Release what an earlier run of an explicitly dropped job may still hold through its middleware.

        If its class or model is not available, the lease expires by itself.
        """
        run = Run(Delivery(payload, payload.attempts, payload.queue or "", payload.connection or ""))
        outer = running()
        self._workplace.open()
        try:
            run.job = self._loader.instance(registry.find(payload.job), payload)
            enter(run.job, run.delivery)
            run.job._through = self._loader.through(payload)
            self._notify_middleware(run)
        except Exception as error:
            logger.warning(
                "Locks that the middleware of %s may hold could not be released and will expire on their own: %s",
                payload,
                error,
            )
        finally:
            leave(outer)
            self._workplace.close()

    # -- run ----------------------------------------------------------------------------------------------------

    def _must_wait(self, delivery: Delivery) -> bool:
        """Whether the job's batch has `before` callbacks that are not over yet."""
        payload = delivery.payload
        if not payload.waits or payload.batch_id is None or delivery.crash is not None or delivery.error is not None:
            return False
        return self._batches().is_before(payload.batch_id)

    def _load(self, run: Run) -> None:
        try:
            self._loader.load(run)
        finally:
            Events.emit(events.JobProcessing, run.delivery, run.job)

    def _decide(self, run: Run) -> Verdict:
        """The verdict of a job that could be loaded."""
        delivery = run.delivery
        if delivery.crash is not None:
            return self._judge_crash(run, delivery.crash)
        if self._unique.is_debounced(delivery.payload.unique):
            Events.emit(events.JobDebounced, delivery, run.job)
            return Superseded()
        if retries.exhausted(run.policy, delivery.attempt, clock.now()):
            error = _exhausted_error(run)
            Events.emit(events.JobExceptionOccurred, delivery, run.job, error)
            return Fail(error)
        if (decided := run.job._interactions.decided()) is not None:  # by a listener of JobProcessing
            return self._with_additions(run, decided)
        return self._perform(run)

    def _judge_obstruction(self, run: Run, error: BaseException) -> Verdict:
        """The verdict of a job that could not begin, or whose timeout came after its handler was done."""
        match error:
            case ModelNotFoundError():
                # Illuminate/Queue/CallQueuedHandler.php: handleModelNotFound()
                missing_is_fine = run.job is None and _class_option(run.delivery, "delete_when_missing_models")
                return Done() if missing_is_fine else Fail(error)
            case UnknownJobError() | UnknownMiddlewareError() | UnsupportedPayloadError():
                return _judge_unknown(run, error)
            case StoreError() if is_outage(error):
                # The store of its middleware, or the database of its models, is down: not an error of the job.
                return _judge_unknown(run, error)
            case JobTimedOutError() if run.job is not None:
                return self._judge(run, error)
            case _:
                # Its message, its constructor or its own rules are broken: another start would fail in the same way.
                return Fail(error)

    def _perform(self, run: Run) -> Verdict:
        job, host = run.job, self._host
        interactions = job._interactions
        self._unique.end_of_debounce(run.payload.unique)
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
                return Fail(error)  # a closure that does not verify, and never will
            if isinstance(error, SystemExit):
                error = _lost(run.payload, f"the job called sys.exit({error.code!r:.100})")
            judged = self._judge(run, error)
            return self._with_additions(run, interactions.verdict_after(used_up=isinstance(judged, Fail)) or judged)
        return self._with_additions(run, interactions.verdict(result))

    def _with_additions(self, run: Run, verdict: Verdict) -> Verdict:
        """Add the jobs for the chain; they count only if this attempt succeeded."""
        interactions = run.job._interactions
        if isinstance(verdict, Done):
            if interactions.prepended or interactions.appended:
                try:
                    run.payload = self._extend(run.payload, interactions.prepended, interactions.appended)
                except DispatchError as error:
                    return Fail(error)  # the added jobs can never be sent
            if interactions.chain_is_taken:
                run.payload = run.payload.with_(chain={})
        return verdict

    def _call(self, run: Run) -> Any:
        if run.delivery.prevented is not None:
            raise run.delivery.prevented
        job = run.job
        function, given = job.entry()
        middleware = pipeline.middleware_of(job)
        asynchronous = _is_coroutine_function(getattr(function, "__func__", function))
        container = self._workplace.container
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
        extras = self._workplace.offers(job)

        def handle(_job: Any) -> Any:
            if until_processing:
                self._unique.release(run.payload.unique, job)
            job._interactions.entered = True
            with container.scope(extras) as scope:
                result = scope.call(function, **given)
                return aio.run(result) if inspect.iscoroutine(result) else result

        async def ahandle(_job: Any) -> Any:
            if until_processing:
                await asyncio.to_thread(self._unique.release, run.payload.unique, job)
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
        return retries.judge(policy, run.delivery.attempt, counted, error, clock.now())

    def _own_backoff(self, run: Run, backoff: Callable[[], Any]) -> Any:
        with reported(logger, "backoff() of job %s raised", run.payload):
            return checked("backoff", backoff())
        return self._worker().backoff

    def _judge_crash(self, run: Run, crash: Crash) -> Verdict:
        payload = run.payload
        if crash.kind == "finished":
            return Done()
        if crash.hooks:
            self._notify_middleware(run)
        if crash.kind == "dropped":
            return Fail(_dropped(payload, crash.detail))
        if crash.kind == "unsettled":
            return Fail(JobFailure(crash.detail, job=payload.job, job_id=payload.id))
        if crash.kind == "timeout":
            text = f"{payload.job} has timed out: {crash.detail}"
            return self._judge(run, JobTimedOutError(text, job=payload.job, job_id=payload.id))
        return self._judge(run, _lost(payload, crash.detail))

    def _notify_middleware(self, run: Run) -> None:
        """Have the middleware release what a dead child held, such as an overlap lock."""
        with reported(logger, "The middleware of job %s raised about its lost run", run.payload):
            for one in pipeline.middleware_of(run.job):
                if (lost := getattr(one, "lost", None)) is not None:
                    with reported(logger, "The middleware of job %s raised about its lost run", run.payload):
                        lost(run.job)

    def _timeout(self, run: Run) -> float | None:
        timeout = read(run.job, "timeout") if run.job is not None else None
        return self._worker().timeout if timeout is None else timeout


#: Of functions, not of bound methods, which are new for each job.
_is_coroutine_function = lru_cache(maxsize=512)(inspect.iscoroutinefunction)


def _judge_unknown(run: Run, error: LaraqError) -> Verdict:
    """Release a job that this worker cannot start yet, without counting a start: a deploy may be in progress."""
    run.payload = payload = run.payload.with_(returns=run.payload.returns + 1)
    logger.error("%s", error)
    tries = payload.options.get("tries")
    if payload.returns >= (tries if isinstance(tries, int) and tries > 0 else UNKNOWN_TRIES):
        return Fail(error)
    return Release(_UNKNOWN_BACKOFF.after(payload.returns), error, counted=False)


def _lost(payload: Payload, detail: str) -> JobLostError:
    return JobLostError(f"{payload.job} was lost in the middle of a run: {detail}", job=payload.job, job_id=payload.id)


def _dropped(payload: Payload, detail: str) -> JobDroppedError:
    return JobDroppedError(f"{payload.job} {detail}", job=payload.job, job_id=payload.id)


def _exhausted_error(run: Run) -> MaxAttemptsExceededError:
    """The error with the reason of the last failure, which Laravel's message leaves out."""
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
