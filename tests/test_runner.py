from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.exceptions import Ignore, Reject, Retry
from cryptography.fernet import Fernet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from laraq import Events, Job, Laraq, current, events
from laraq.delivery import Crash, Delivery, Done, Fail, Release
from laraq.errors import (
    JobFailure,
    JobLostError,
    JobTimedOutError,
    ManuallyFailedError,
    MaxAttemptsExceededError,
    ModelNotFoundError,
    PayloadError,
    TamperedPayloadError,
    UnknownJobError,
    UnsupportedPayloadError,
)
from laraq.payload import CIPHER, Payload
from laraq.runner import UNKNOWN_TRIES, Run

SECRET = "4111-1111-1111-1111"


@pytest.fixture
def queue() -> Iterator[Laraq]:
    keys = [Fernet.generate_key().decode()]
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://", keys=keys) as queue:
        yield queue


def delivery(queue: Laraq, job: Job, attempt: int = 1, crash: Crash | None = None, **changes: Any) -> Delivery:
    """The job as it arrives: through JSON, in a start of its own."""
    payload = queue.dispatcher.payload(job, str(uuid4())).with_(attempts=attempt - 1, **changes)
    return Delivery(Payload.from_dict(json.loads(json.dumps(payload.to_dict()))), attempt, "default", "default", crash)


def settled(queue: Laraq, delivery: Delivery) -> Run:
    run = queue.runner.run(delivery)
    queue.runner.settle(run)
    return run


class Script(Job):
    """Does what it is told, in that order."""

    steps: list[str]

    def handle(self) -> str:
        for step in self.steps:
            match step.split():
                case ["release"]:
                    self.release()
                case ["release", delay]:
                    self.release(float(delay))
                case ["fail"]:
                    self.fail()
                case ["fail", reason]:
                    self.fail(reason)
                case ["delete"]:
                    self.delete()
                case ["raise"]:
                    raise ValueError("no")
        return "result"


class Patient(Script):
    tries = 3
    backoff = 7


OVER = "done"
GONE = "deleted"
FAILED = "failed"
MANUALLY = "failed by hand"


def told(verdict: Any) -> Any:
    """A verdict in one word, with the delay of a release."""
    match verdict:
        case Done("result"):
            return OVER
        case Done():
            return GONE
        case Fail(ManuallyFailedError()):
            return MANUALLY
        case Fail(ValueError()):
            return FAILED
        case Release(delay, None):
            return ("asked", delay)
        case Release(delay, ValueError()):
            return ("raised", delay)


@pytest.mark.parametrize(
    ("steps", "with_tries_left", "without"),
    [
        (["return"], OVER, OVER),
        (["raise"], ("raised", 7), FAILED),
        (["release"], ("asked", 0), ("asked", 0)),
        (["release 10"], ("asked", 10), ("asked", 10)),
        (["release 10", "release 20"], ("asked", 20), ("asked", 20)),
        (["release 10", "raise"], ("asked", 10), FAILED),
        (["fail"], MANUALLY, MANUALLY),
        (["fail", "raise"], MANUALLY, MANUALLY),
        (["delete"], GONE, GONE),
        (["delete", "raise"], GONE, GONE),
        (["release 10", "fail"], MANUALLY, MANUALLY),
        (["fail", "release 10"], MANUALLY, MANUALLY),
        (["release 10", "delete"], GONE, GONE),
        (["delete", "release 10"], GONE, GONE),
        (["delete", "fail"], MANUALLY, MANUALLY),
        (["fail", "delete"], MANUALLY, MANUALLY),
        (["release 10", "delete", "raise"], GONE, GONE),
        (["delete", "release 10", "raise"], GONE, GONE),
        (["release 10", "delete", "fail", "raise"], MANUALLY, MANUALLY),
    ],
    ids=lambda value: " then ".join(value) if isinstance(value, list) else "",
)
def test_a_run_has_one_outcome(queue: Laraq, steps: list[str], with_tries_left: Any, without: Any) -> None:
    assert told(queue.runner.run(delivery(queue, Patient(steps), 1)).verdict) == with_tries_left
    assert told(queue.runner.run(delivery(queue, Patient(steps), 3)).verdict) == without


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(["release 5", "fail", "delete"]), max_size=6), st.booleans())
def test_fail_beats_delete_beats_release_in_any_order(queue: Laraq, verbs: list[str], raises: bool) -> None:
    verdict = told(queue.runner.run(delivery(queue, Patient([*verbs, "raise"] if raises else verbs))).verdict)
    if "fail" in verbs:
        assert verdict == MANUALLY
    elif "delete" in verbs:
        assert verdict == GONE
    elif "release 5" in verbs:
        assert verdict == ("asked", 5)
    else:
        assert verdict == (("raised", 7) if raises else OVER)


def test_the_first_reason_to_fail_counts(queue: Laraq) -> None:
    verdict = queue.runner.run(delivery(queue, Script(["fail first", "fail second"]))).verdict
    assert isinstance(verdict, Fail)
    assert str(verdict.error) == "first"


def test_fail_takes_an_exception(queue: Laraq) -> None:
    error = KeyError("mine")

    class Fails(Job):
        def handle(self) -> None:
            self.fail(error)

    assert queue.runner.run(delivery(queue, Fails())).verdict == Fail(error)


@pytest.mark.parametrize("delay", [10, timedelta(seconds=10), datetime.now(UTC) + timedelta(days=1)])
def test_release_takes_seconds_a_length_and_a_moment(queue: Laraq, delay: Any) -> None:
    class Releases(Job):
        def handle(self) -> None:
            self.release(delay)

    verdict = queue.runner.run(delivery(queue, Releases())).verdict
    assert isinstance(verdict, Release)
    assert verdict.delay == 10 or 82_800 < verdict.delay <= 86_400


# -- tries and time -------------------------------------------------------------------------------------------------


def test_a_job_that_always_releases_is_run_as_often_as_it_may_and_then_failed_without_a_run(queue: Laraq) -> None:
    runs = []

    class Waits(Job):
        tries = 3

        def handle(self) -> None:
            runs.append(self.attempts)
            self.release()

    verdicts = [queue.runner.run(delivery(queue, Waits(), attempt)).verdict for attempt in (1, 2, 3, 4)]
    assert runs == [1, 2, 3]
    assert [type(verdict) for verdict in verdicts] == [Release, Release, Release, Fail]
    assert isinstance(verdicts[-1], Fail)
    assert isinstance(verdicts[-1].error, MaxAttemptsExceededError)


def test_a_job_attempted_too_often_names_what_stopped_it_last(queue: Laraq) -> None:
    run = queue.runner.run(delivery(queue, Patient(["raise"]), 2))
    last = queue.runner.run(Delivery(run.payload.with_(attempts=3), 4, "default", "default"))
    assert isinstance(last.verdict, Fail)
    assert "attempted too many times" in str(last.verdict.error)
    assert "ValueError: no" in str(last.verdict.error)


@pytest.mark.parametrize(("until", "runs"), [(60.0, True), (-1.0, False)])
def test_retry_until_makes_tries_irrelevant(queue: Laraq, until: float, runs: bool) -> None:
    now = time.time()
    verdict = queue.runner.run(delivery(queue, Script([]), 50, retry_until=now + until)).verdict
    assert isinstance(verdict, Done if runs else Fail)


def test_at_retry_until_the_job_still_runs_but_not_once_more(queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> None:
    arrives = delivery(queue, Patient(["raise"]), 1, retry_until=2_000_000_000.0)
    monkeypatch.setattr("laraq.runner.time.time", lambda: 2_000_000_000.0)
    assert told(queue.runner.run(arrives).verdict) == FAILED


def test_a_stranger_s_message_gets_its_retry_until_at_its_first_start(queue: Laraq) -> None:
    class Dated(Patient):
        def retry_until(self) -> timedelta:
            return timedelta(hours=1)

    arrives = Delivery(Payload("1", Dated.job_name(), {"steps": ["raise"]}), 1, "default", "default")
    run = queue.runner.run(arrives)
    assert run.payload.retry_until is not None
    assert 3500 < run.payload.retry_until - time.time() <= 3600


def test_exceptions_are_counted_in_the_message_and_releases_are_not(queue: Laraq) -> None:
    class Limited(Script):
        tries = 0
        max_exceptions = 2

    released = queue.runner.run(delivery(queue, Limited(["release"]), 8))
    assert released.payload.exceptions == 0
    first = queue.runner.run(delivery(queue, Limited(["raise"]), 9, exceptions=released.payload.exceptions))
    assert isinstance(first.verdict, Release)
    assert first.payload.exceptions == 1
    second = queue.runner.run(delivery(queue, Limited(["raise"]), 10, exceptions=first.payload.exceptions))
    assert told(second.verdict) == FAILED


def test_backoff_may_be_a_method_called_when_the_job_is_retried(queue: Laraq) -> None:
    class Growing(Script):
        tries = 5

        def backoff(self) -> list[int]:
            return [10 * self.attempts, 99]

    assert told(queue.runner.run(delivery(queue, Growing(["raise"]), 1)).verdict) == ("raised", 10)
    assert told(queue.runner.run(delivery(queue, Growing(["raise"]), 2)).verdict) == ("raised", 99)


# -- what is not the job's fault ------------------------------------------------------------------------------------


class Timid(Patient):
    fail_on_timeout = True


@pytest.mark.parametrize(
    ("job", "attempt", "kind", "released"),
    [
        pytest.param(Patient([]), 1, "timeout", True, id="a timeout is retried"),
        pytest.param(Patient([]), 3, "timeout", False, id="while tries are left"),
        pytest.param(Timid([]), 1, "timeout", False, id="unless fail_on_timeout"),
        pytest.param(Patient([]), 1, "lost", True, id="a lost run is retried"),
        pytest.param(Patient([]), 3, "lost", False, id="while tries are left, so a poison pill stops"),
        pytest.param(Timid([]), 1, "lost", True, id="a lost run is no timeout"),
        pytest.param(Patient([]), 1, "unsettled", False, id="what had failed before has failed"),
        pytest.param(Patient([]), 1, "broken", False, id="a broken message is not retried"),
    ],
)
def test_a_run_that_could_not_end_itself_is_judged_without_running(
    queue: Laraq, job: Patient, attempt: int, kind: str, released: bool
) -> None:
    job.steps.append("fail it-was-run")
    run = queue.runner.run(delivery(queue, job, attempt, Crash(kind, "signal 9")))
    if released:
        assert isinstance(run.verdict, Release)
        assert run.verdict.delay == 7
    else:
        assert isinstance(run.verdict, Fail)
        assert "signal 9" in str(run.verdict.error)
        assert "it-was-run" not in str(run.verdict.error)
    errors: dict[str, type[Exception]] = {
        "timeout": JobTimedOutError, "lost": JobLostError, "unsettled": JobFailure, "broken": PayloadError
    }  # fmt: skip
    assert isinstance(run.verdict.error, errors[kind])


def test_timeouts_count_for_max_exceptions_and_lost_runs_do_not(queue: Laraq) -> None:
    class Limited(Script):
        tries = 0
        max_exceptions = 1

    lost = queue.runner.run(delivery(queue, Limited([]), 1, Crash("lost", "signal 9")))
    assert isinstance(lost.verdict, Release)
    timed_out = queue.runner.run(
        delivery(queue, Limited([]), 2, Crash("timeout", "5 s"), exceptions=lost.payload.exceptions)
    )
    assert isinstance(timed_out.verdict, Fail)


def test_a_job_that_calls_sys_exit_is_lost_and_retried(queue: Laraq) -> None:
    class Exits(Job):
        tries = 2

        def handle(self) -> None:
            sys.exit(3)

    verdict = queue.runner.run(delivery(queue, Exits())).verdict
    assert isinstance(verdict, Release)
    assert isinstance(verdict.error, JobLostError)
    assert "sys.exit(3)" in str(verdict.error)


@pytest.mark.parametrize("steering", [Retry(), Ignore(), Reject()], ids=lambda error: type(error).__name__)
def test_celery_s_own_exceptions_pass(queue: Laraq, steering: Exception) -> None:
    class Steers(Job):
        def handle(self) -> None:
            raise steering

    with pytest.raises(type(steering)):
        queue.runner.run(delivery(queue, Steers()))


def test_keyboard_interrupt_passes(queue: Laraq) -> None:
    class Interrupted(Job):
        def handle(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue.runner.run(delivery(queue, Interrupted()))


# -- bad input ------------------------------------------------------------------------------------------------------


def until_it_fails(queue: Laraq, payload: Payload, error: PayloadError | None = None) -> tuple[list[Release], Fail]:
    """Deliver it as often as it goes back."""
    released: list[Release] = []
    for _ in range(100):
        run = queue.runner.run(Delivery(payload, payload.attempts + 1, "default", "default", error=error))
        if isinstance(run.verdict, Fail):
            return released, run.verdict
        assert isinstance(run.verdict, Release)
        released.append(run.verdict)
        payload = run.payload
    raise AssertionError("it never fails")


def test_a_message_of_an_unknown_class_goes_back_and_at_last_fails(
    queue: Laraq, caplog: pytest.LogCaptureFixture
) -> None:
    released, failed = until_it_fails(queue, Payload("1", "shop.jobs.NotDeployedYet", {"a": 1}))
    assert len(released) == UNKNOWN_TRIES - 1
    assert all(release.delay > 0 for release in released)
    assert isinstance(failed.error, UnknownJobError)
    assert "shop.jobs.NotDeployedYet" in caplog.text


def test_a_message_that_was_never_started_has_used_no_attempt(queue: Laraq) -> None:
    released, _ = until_it_fails(queue, Payload("1", "shop.jobs.NotDeployedYet"))
    assert not any(release.counted for release in released)


def test_an_unknown_class_keeps_the_tries_its_message_brings(queue: Laraq) -> None:
    released, _ = until_it_fails(queue, Payload("1", "shop.jobs.NotDeployedYet", options={"tries": 2}))
    assert len(released) == 1


def test_a_message_of_a_newer_version_goes_back_and_at_last_fails(queue: Laraq) -> None:
    newer = UnsupportedPayloadError(99, 1)
    released, failed = until_it_fails(queue, Payload("1", Script.job_name()), newer)
    assert len(released) == UNKNOWN_TRIES - 1
    assert failed.error is newer


def test_a_message_that_is_no_payload_fails_at_once(queue: Laraq) -> None:
    error = PayloadError("The laraq header is a str.")
    assert queue.runner.run(Delivery(Payload("1", Patient.job_name()), 1, "q", "c", error=error)).verdict == Fail(error)


@pytest.mark.parametrize(
    "fields",
    [{}, {"steps": 5}, {"steps": [], "colour": "red"}, {CIPHER: "no token"}, {CIPHER: 5}],
    ids=["missing", "wrong type", "unknown", "not decrypted", "no token at all"],
)
def test_fields_that_cannot_become_the_job_fail_at_once(queue: Laraq, fields: dict[str, Any]) -> None:
    run = queue.runner.run(Delivery(Payload("1", Patient.job_name(), fields), 1, "q", "c"))
    assert isinstance(run.verdict, Fail)
    assert isinstance(run.verdict.error, PayloadError)


def test_an_encrypted_message_fails_on_a_worker_without_keys(queue: Laraq) -> None:
    payload = queue.dispatcher.payload(Secretive(SECRET), "1")
    with Laraq(Celery("u", broker="memory://", set_as_current=False), store="memory://") as other:
        run = other.runner.run(Delivery(payload, 1, "q", "c"))
    assert isinstance(run.verdict, Fail)
    assert "laraq_keys" in str(run.verdict.error)


def test_a_constructor_hook_that_raises_is_an_exception_of_the_job(queue: Laraq) -> None:
    run = settled(queue, delivery_of_fussy(queue))
    assert isinstance(run.verdict, Fail)
    assert "fussy" in str(run.verdict.error)
    assert queue.failed.find("1") is not None


class Fussy(Job):
    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise RuntimeError("fussy")

    def handle(self) -> None: ...


def delivery_of_fussy(queue: Laraq) -> Delivery:
    return Delivery(Payload("1", Fussy.job_name(), {"n": -1}), 1, "q", "c")


@pytest.mark.parametrize("method", ["tries", "retry_until", "middleware", "backoff"])
def test_a_method_of_the_job_that_raises_fails_it_and_not_the_worker(queue: Laraq, method: str) -> None:
    def broken(self: Any) -> Any:
        raise RuntimeError("broken method")

    body = {"handle": lambda self: 1 / 0, "tries": 3, method: broken}
    cls: Any = type("Broken", (Job,), {"__module__": __name__, **body})
    run = settled(queue, Delivery(Payload("1", cls.job_name()), 3, "q", "c"))
    assert isinstance(run.verdict, Fail)
    assert queue.failed.find("1") is not None


# -- rows that are gone ---------------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)


class Bill(Job):
    order: Order

    tries = 5

    def handle(self) -> int:
        return self.order.id


class BillIfThere(Bill):
    delete_when_missing_models = True


@pytest.mark.parametrize("job", [Bill, BillIfThere])
@pytest.mark.parametrize("on_instance", [None, True, False])
def test_a_row_that_is_gone_fails_the_job_or_ends_it_quietly(
    sqlite_url: str, job: type[Bill], on_instance: bool | None
) -> None:
    engine = create_engine(sqlite_url)
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    app = Celery("m", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", sessions=sessions) as queue:
        with sessions.begin() as session:
            order = Order(id=7)
            session.add(order)
            session.flush()
            made = job(order)
            if on_instance is not None:
                made.delete_when_missing_models = on_instance
            arrives = delivery(queue, made)
        assert queue.runner.run(arrives).verdict == Done(7)
        with sessions.begin() as session:
            session.delete(session.get_one(Order, 7))
        run = settled(queue, arrives)
        if on_instance if on_instance is not None else job is BillIfThere:
            assert run.verdict == Done()
            assert not queue.failed.all()
        else:
            assert isinstance(run.verdict, Fail)
            assert isinstance(run.verdict.error, ModelNotFoundError)
            assert len(queue.failed.all()) == 1
    engine.dispose()


# -- failed(), the failed store, secrets ----------------------------------------------------------------------------


class Fails(Job):
    n: int

    tags = ["a", "b"]

    def handle(self) -> None:
        self.n = 99
        raise ValueError("no")

    def failed(self, error: BaseException | None) -> None:
        calls.append((self.n, str(error), self.attempts, self.id))


calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def test_failed_is_called_once_on_a_fresh_instance(queue: Laraq) -> None:
    run = settled(queue, delivery(queue, Fails(1)))
    assert calls == [(1, "no", 1, run.payload.id)]


def test_failed_is_not_called_while_tries_are_left(queue: Laraq) -> None:
    job = Fails(1)
    job.tries = 2
    settled(queue, delivery(queue, job, 1))
    assert calls == []
    settled(queue, delivery(queue, job, 2))
    assert len(calls) == 1


def test_failed_may_be_async(queue: Laraq) -> None:
    class FailsLater(Fails):
        async def failed(self, error: BaseException | None) -> None:  # type: ignore[override] # either is fine
            calls.append(self.n)

    settled(queue, delivery(queue, FailsLater(3)))
    assert calls == [3]


def test_failed_is_called_for_a_job_that_may_not_even_start(queue: Laraq) -> None:
    settled(queue, delivery(queue, Fails(1), 2))
    assert [type_of(call) for call in calls] == ["attempted too many times"]


def type_of(call: Any) -> str:
    return "attempted too many times" if "attempted too many times" in call[1] else call[1]


def test_a_failed_hook_that_raises_is_reported_and_stops_nothing(
    queue: Laraq, caplog: pytest.LogCaptureFixture
) -> None:
    class FailsTwice(Fails):
        def failed(self, error: BaseException | None) -> None:
            raise RuntimeError("the hook is broken")

    heard: list[Any] = []
    with Events.listening(events.JobFailed, heard.append):
        run = settled(queue, delivery(queue, FailsTwice(1)))
    assert "the hook is broken" in caplog.text
    kept = queue.failed.find(run.payload.id)
    assert kept is not None
    assert "ValueError: no" in kept.exception
    assert len(heard) == 1


def test_a_hook_is_left_out_when_settling_crashed_too(queue: Laraq) -> None:
    run = settled(queue, delivery(queue, Fails(1), 1, Crash("lost", "signal 9", hooks=False)))
    assert isinstance(run.verdict, Fail)
    assert calls == []
    assert queue.failed.find(run.payload.id) is not None


def test_the_failed_record_says_all_there_is_to_say(queue: Laraq) -> None:
    before = datetime.now(UTC)
    job = Fails(5).on_queue("orders")
    job.tries = 3
    arrives = delivery(queue, job, 3)
    settled(queue, Delivery(arrives.payload, 3, "orders", "redis"))
    [kept] = queue.failed.all()
    assert (kept.id, kept.connection, kept.queue, kept.job) == (arrives.payload.id, "redis", "orders", Fails.job_name())
    assert (kept.attempts, kept.tags) == (3, ("a", "b"))
    assert before <= kept.failed_at <= datetime.now(UTC)
    assert "Traceback" in kept.exception
    assert "raise ValueError" in kept.exception
    again = Payload.from_dict(json.loads(json.dumps(kept.payload)))
    assert (again.fields, again.options, again.queue) == ({"n": 5}, {"tries": 3}, "orders")


def test_a_broken_message_is_kept_with_its_raw_bytes(queue: Laraq) -> None:
    crash = Crash("broken", "the body is no JSON", raw="/w==")
    run = settled(queue, Delivery(Payload("1", Fails.job_name()), 1, "q", "c", crash))
    assert isinstance(run.verdict, Fail)
    [kept] = queue.failed.all()
    assert kept.payload["raw"] == "/w=="
    assert "no JSON" in kept.exception


def test_a_broken_message_of_an_unknown_class_is_kept_at_once(queue: Laraq) -> None:
    crash = Crash("broken", "the body is no JSON", raw="/w==")
    run = settled(queue, Delivery(Payload("1", "shop.jobs.Unknown"), 1, "q", "c", crash))
    assert isinstance(run.verdict, Fail)
    assert queue.failed.find("1") is not None


def test_without_record_the_failed_store_is_left_alone(queue: Laraq) -> None:
    run = queue.runner.run(delivery(queue, Fails(1)))
    queue.runner.settle(run, record=False)
    assert len(calls) == 1
    assert not queue.failed.all()


def test_settling_twice_keeps_one_record(queue: Laraq) -> None:
    run = queue.runner.run(delivery(queue, Fails(1)))
    queue.runner.settle(run)
    queue.runner.settle(run)
    assert len(queue.failed.all()) == 1


class Secretive(Job):
    card: str

    encrypted = True

    def handle(self) -> None:
        raise ValueError("declined")


def test_an_encrypted_job_shows_no_value_anywhere(queue: Laraq, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    arrives = delivery(queue, Secretive(SECRET))
    run = settled(queue, arrives)
    [kept] = queue.failed.all()
    for shown in (repr(run.job), repr(arrives), json.dumps(arrives.payload.to_header()), repr(kept), caplog.text):
        assert SECRET not in shown
    assert run.job.card == SECRET


def test_an_error_that_quotes_a_field_of_an_encrypted_job_is_not_in_the_header_of_its_next_message(
    queue: Laraq,
) -> None:
    class Quotes(Secretive):
        tries = 2

        def handle(self) -> None:
            raise ValueError(f"{self.card} was declined")

    run = queue.runner.run(delivery(queue, Quotes(SECRET)))
    assert isinstance(run.verdict, Release)
    assert SECRET not in json.dumps(run.payload.to_header())


def test_an_encrypted_job_with_broken_fields_shows_no_value_in_its_record(queue: Laraq) -> None:
    settled(queue, Delivery(Payload("1", Secretive.job_name(), {"card": [SECRET]}), 1, "q", "c"))
    [kept] = queue.failed.all()
    assert SECRET not in kept.exception


def test_a_tampered_message_is_failed_at_once_whatever_tries_are_left(queue: Laraq) -> None:
    job = Secretive(SECRET)
    job.tries = 9
    payload = queue.dispatcher.payload(job, "1")
    token = payload.fields[CIPHER]
    run = queue.runner.run(Delivery(payload.with_(fields={CIPHER: f"{token[:-3]}xx="}), 1, "q", "c"))
    assert isinstance(run.verdict, Fail)
    assert isinstance(run.verdict.error, TamperedPayloadError)


# -- around a run ---------------------------------------------------------------------------------------------------


def test_the_laraq_that_runs_a_job_is_the_current_one(queue: Laraq) -> None:
    class Which(Job):
        def handle(self) -> bool:
            return current() is queue

    arrives = delivery(queue, Which())
    with Laraq(Celery("u", broker="memory://", set_as_current=False), store="memory://"):
        assert queue.runner.run(arrives).verdict == Done(True)


def test_a_middleware_that_does_not_call_on_is_a_success(queue: Laraq) -> None:
    class Skips(Fails):
        def middleware(self) -> list[Any]:
            return [lambda job, next: None]

    assert queue.runner.run(delivery(queue, Skips(1))).verdict == Done()


def test_a_middleware_may_release_or_fail_the_job(queue: Laraq) -> None:
    class Busy(Fails):
        def middleware(self) -> list[Any]:
            return [lambda job, next: job.release(30)]

    class Refused(Fails):
        def middleware(self) -> list[Any]:
            return [lambda job, next: job.fail("refused")]

    assert queue.runner.run(delivery(queue, Busy(1))).verdict == Release(30)
    assert told(queue.runner.run(delivery(queue, Refused(1))).verdict) == MANUALLY


def test_a_handler_that_is_async_under_a_decorator_is_run_to_its_end(queue: Laraq) -> None:
    def decorated(function: Any) -> Any:
        def call(self: Any) -> Any:
            return function(self)

        return call

    class Decorated(Job):
        @decorated
        async def handle(self) -> str:
            return "done"

    assert queue.runner.run(delivery(queue, Decorated())).verdict == Done("done")


def test_a_signal_handler_that_ends_the_process_is_not_mistaken_for_the_job() -> None:
    code = (
        "import sys; from celery import Celery; from laraq import Job, Laraq\n"
        "class Ends(Job):\n"
        "    def handle(self): sys.exit(-15)\n"
        "queue = Laraq(Celery('t', broker='memory://'), store='memory://')\n"
        "Ends.dispatch_sync()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 256 - 15, ended.stderr
