from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import pytest
from celery import Celery
from cryptography.fernet import Fernet

from laraq import Injected, Job, Laraq, closure, injected, job
from laraq.errors import ConfigurationError, JobDefinitionError, PayloadError, TamperedPayloadError
from laraq.jobs.closures import CallQueuedClosure, as_job
from laraq.messages.delivery import Delivery, Done, Fail, Release
from laraq.messages.options import WorkerOptions
from laraq.messages.payload import Payload
from laraq.running.run import Run

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
log: list[Any] = []


class Mailer:
    name = "mailer"


def by_name(mailer: Mailer) -> str:
    return mailer.name


def knows_its_job(job: Job) -> Any:
    return job.attempts, job.job_name()


def breaks() -> None:
    raise ValueError("no")


def ran(what: str) -> None:
    """Pickled by name, so that what runs it writes into this module's log and not into a copy."""
    log.append(what)


def note(error: BaseException | None) -> None:
    log.append(str(error))


async def later() -> str:
    return "later"


class Holder:
    def method(self) -> None: ...


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


def attached(*keys: str) -> Laraq:
    return Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://", keys=keys)


@pytest.fixture
def queue() -> Iterator[Laraq]:
    with attached(NEW) as queue:
        yield queue


@pytest.fixture
def keyless() -> Iterator[Laraq]:
    with attached() as queue:
        yield queue


def sent(queue: Laraq, made: Job) -> Payload:
    return Payload.from_dict(json.loads(json.dumps(queue.packer.payload(made, "1").to_dict())))


def run(queue: Laraq, payload: Payload) -> Run:
    run = queue.runner.run(Delivery(payload, 1, "default", "default"))
    queue.books.settle(run)
    return run


@pytest.mark.parametrize("keys", [(), (NEW,)], ids=["without keys", "with keys"])
def test_a_module_level_function_travels_by_name(keys: tuple[str, ...]) -> None:
    with attached(*keys) as queue:
        made = closure(by_name)
        assert (made.function, made.code) == (f"{__name__}.by_name", None)
        assert run(queue, sent(queue, made)).verdict == Done("mailer")


def test_a_lambda_travels_by_value_with_what_it_holds(queue: Laraq) -> None:
    captured = [1, 2]
    assert run(queue, sent(queue, closure(lambda: sum(captured)))).verdict == Done(3)


def test_what_a_lambda_calls_is_really_called(queue: Laraq) -> None:
    run(queue, sent(queue, closure(lambda: ran("closure"))))
    assert log == ["closure"]


def test_a_nested_function_travels_by_value(queue: Laraq) -> None:
    def nested(mailer: Injected[Mailer] = injected()) -> str:  # noqa: B008 - as documented
        return mailer.name

    assert run(queue, sent(queue, closure(nested))).verdict == Done("mailer")


def test_an_async_function_is_run_to_its_end(queue: Laraq) -> None:
    assert run(queue, sent(queue, closure(later))).verdict == Done("later")


def test_a_parameter_called_job_is_the_job(queue: Laraq) -> None:
    assert run(queue, sent(queue, closure(knows_its_job))).verdict == Done((1, CallQueuedClosure.job_name()))


@pytest.mark.parametrize("function", [lambda: None, Holder().method], ids=["lambda", "bound method"])
def test_code_without_keys_is_refused_with_the_reason(keyless: Laraq, function: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"laraq_keys.*module-level function"):
        closure(function)


def test_a_worker_without_keys_runs_no_code(queue: Laraq) -> None:
    payload = sent(queue, closure(lambda: ran("closure")))
    with attached() as keyless:
        assert isinstance(run(keyless, payload).verdict, Fail)
    assert log == []


TAMPERINGS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "other code": lambda fields: {"code": fields["code"].partition(":")[0] + ":" + evil()},
    "other label": lambda fields: {"function": "harmless"},
    "no signature": lambda fields: {"signature": None},
    "empty signature": lambda fields: {"signature": ""},
    "other signature": lambda fields: {"signature": base64.b64encode(b"x" * 32).decode()},
    "a name instead of the code": lambda fields: {"code": None, "function": f"{__name__}.by_name"},
}


def evil() -> str:
    return base64.b64encode(cloudpickle.dumps(lambda: ran("evil"))).decode()


@pytest.mark.parametrize("tampering", TAMPERINGS)
@pytest.mark.parametrize("tries", [1, 0], ids=["one try", "unlimited tries"])
def test_a_tampered_closure_is_failed_at_once_and_never_run(queue: Laraq, tampering: str, tries: int) -> None:
    queue.worker = WorkerOptions(tries=tries)
    payload = sent(queue, closure(lambda: ran("closure")))
    fields = {**payload.fields, **TAMPERINGS[tampering](dict(payload.fields))}
    verdict = run(queue, payload.with_(fields=fields)).verdict
    assert log == []
    assert isinstance(verdict, Fail)
    assert isinstance(verdict.error, TamperedPayloadError)
    assert queue.failed.find("1") is not None


def test_a_name_must_be_signed_as_soon_as_there_are_keys(queue: Laraq) -> None:
    payload = Payload("1", CallQueuedClosure.job_name(), {"function": f"{__name__}.by_name"})
    verdict = run(queue, payload).verdict
    assert isinstance(verdict, Fail)
    assert isinstance(verdict.error, TamperedPayloadError)


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.run", "builtins.eval", f"{__name__}.Mailer", f"{__name__}.cloudpickle", "nowhere"]
)
@pytest.mark.parametrize("tries", [1, 0], ids=["one try", "unlimited tries"])
def test_a_name_that_is_no_function_of_its_module_is_failed_at_once(keyless: Laraq, name: str, tries: int) -> None:
    keyless.worker = WorkerOptions(tries=tries)
    verdict = run(keyless, Payload("1", CallQueuedClosure.job_name(), {"function": name})).verdict
    assert isinstance(verdict, Fail)
    assert isinstance(verdict.error, PayloadError)


def test_a_function_another_module_imported_is_not_run_under_that_name(keyless: Laraq) -> None:
    payload = Payload("1", CallQueuedClosure.job_name(), {"function": f"{__name__}.closure"})
    assert isinstance(run(keyless, payload).verdict, Fail)


def test_an_old_key_still_verifies_while_it_is_kept(queue: Laraq) -> None:
    with attached(OLD) as older:
        payload = sent(older, closure(lambda: "ran"))
    with attached(NEW, OLD) as rotating:
        assert run(rotating, payload).verdict == Done("ran")
    assert isinstance(run(queue, payload).verdict, Fail)


def test_code_of_another_python_is_refused_with_both_versions(queue: Laraq) -> None:
    made = closure(lambda: None)
    code = "2.7:" + (made.code or "").partition(":")[2]
    signature = queue.keys.sign(f"{made.function}\n{code}".encode())
    foreign = dataclasses.replace(made, code=code, signature=signature)
    verdict = run(queue, sent(queue, foreign)).verdict
    assert isinstance(verdict, Fail)
    assert "2.7" in str(verdict.error)


def test_it_is_configured_like_a_job(queue: Laraq) -> None:
    made = closure(lambda: None).named("Tidy up").on_queue("low").with_delay(5)
    assert (made.display_name, made.queue, made.countdown) == ("Tidy up", "low", 5)


def test_a_lambda_is_named_by_where_it_stands(queue: Laraq) -> None:
    assert closure(lambda: None).display_name.startswith("Closure (test_closures.py:")


def test_catch_is_called_with_the_error_as_often_as_it_was_said(queue: Laraq) -> None:
    made = closure(breaks).catch(note).catch(note)
    assert isinstance(run(queue, sent(queue, made)).verdict, Fail)
    assert log == ["no", "no"]


def test_catch_is_not_called_while_tries_are_left(queue: Laraq) -> None:
    made = closure(breaks).catch(note)
    made.tries = 2
    assert isinstance(run(queue, sent(queue, made)).verdict, Release)
    assert log == []


def test_one_broken_catch_does_not_stop_the_next(queue: Laraq) -> None:
    def broken(error: BaseException | None) -> None:
        raise RuntimeError("broken callback")

    run(queue, sent(queue, closure(breaks).catch(broken).catch(note)))
    assert log == ["no"]


def test_an_async_catch_is_run_to_its_end(queue: Laraq) -> None:
    async def catches(error: BaseException | None) -> None:
        note(error)

    made = closure(breaks).catch(catches)
    closing = run(queue, sent(queue, made))
    assert isinstance(closing.verdict, Fail)
    assert log == ["no"]


@job
def function_job() -> None: ...


class NoFields(Job):
    def handle(self) -> None: ...


def test_what_dispatch_takes_becomes_a_job(queue: Laraq) -> None:
    instance = NoFields()
    assert as_job(instance) is instance
    assert isinstance(as_job(NoFields), NoFields)
    assert isinstance(as_job(function_job), function_job.job_class)
    assert isinstance(as_job(by_name), CallQueuedClosure)
    assert isinstance(as_job(lambda: None), CallQueuedClosure)


@pytest.mark.parametrize("thing", [None, 5, "shop.jobs.Ship"])
def test_what_cannot_be_a_job_is_refused(queue: Laraq, thing: Any) -> None:
    with pytest.raises(JobDefinitionError, match="is not a job"):
        as_job(thing)
