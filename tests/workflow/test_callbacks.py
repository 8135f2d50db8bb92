from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from celery import Celery

from laraq import Batch, Bus, Injected, Job, Laraq, current_job, job
from laraq.errors import BatchNotFoundError, JobDefinitionError, JobFailure, ModelNotFoundError
from laraq.workflow.callbacks import CallQueuedCallback, derived_id, describe, revive
from tests.support.line import Line

log: list[Any] = []


class Breaks(Job):
    def handle(self) -> None:
        raise ValueError("no", 7)


class Told(Job):
    """A callback that is a job: the batch is its batch."""

    def handle(self) -> None:
        batch = self.batch()
        log.append(("told", batch.failed_jobs if batch else None))


@job
def told(n: int) -> None:
    log.append(("function", n, current_job().batch() is not None))


class Mailer:
    pass


def nothing() -> None:
    log.append("called")


def of_batch(batch: Batch) -> None:
    log.append(batch.failed_jobs)


def of_both(batch: Batch, error: BaseException) -> None:
    log.append((batch.failed_jobs, str(error)))


def of_both_by_other_names(it: Batch, why: BaseException, *, loud: bool = False) -> None:
    log.append((it.failed_jobs, str(why), loud))


def injected_as_well(batch: Batch, error: BaseException, mailer: Injected[Mailer], queue: Laraq) -> None:
    log.append((batch.failed_jobs, type(mailer).__name__, type(queue).__name__))


async def of_both_async(batch: Batch, error: BaseException) -> None:
    log.append((batch.failed_jobs, str(error)))


def repairable(batch: Batch, error: BaseException) -> None:
    log.append("started")
    if "repaired" not in log:
        raise KeyError("callback")
    log.append((batch.failed_jobs, repr(error)))


@pytest.fixture(autouse=True)
def line() -> Iterator[Line]:
    log.clear()
    with Line.attached() as line:
        yield line


# Ids


def test_the_id_of_a_callback_is_the_same_for_the_same_parts_in_every_process() -> None:
    id = derived_id("batch", "then", 0)
    assert id == derived_id("batch", "then", 0) == "8a46b10f-7321-516f-a93e-ea14c1ac83b4"
    assert UUID(id).version == 5
    assert len({derived_id("b", event, number) for event in ("then", "finally") for number in range(3)}) == 6


# Errors as they travel


class OwnConstructor(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        self.code = code
        super().__init__(code, reason)


class Structured(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("key"),
        ValueError(),
        OSError(2, "gone"),
        ArithmeticError(1, 2.5, None, True),
        ModelNotFoundError("Order", 7),
        OwnConstructor(5, reason="own"),
    ],
)
def test_an_error_comes_back_as_it_was(error: Exception) -> None:
    described = json.loads(json.dumps(describe(error)))
    again = revive(described)
    assert (type(again), str(again), again.args) == (type(error), str(error), error.args)


def test_an_error_brings_its_traceback_as_a_note() -> None:
    try:
        raise ValueError("here")
    except ValueError as error:
        again = revive(describe(error))
    [note] = again.__notes__
    assert note.startswith("In the worker:\n")
    assert "test_an_error_brings_its_traceback_as_a_note" in note


def test_an_error_that_cannot_travel_becomes_a_job_failure_with_its_text() -> None:
    again = revive(describe(Structured({"not": "plain"})))
    assert type(again) is JobFailure
    assert str(again) == "tests.workflow.test_callbacks.Structured: {'not': 'plain'}"


def test_only_exceptions_of_imported_modules_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("of_others")
    calls: list[Any] = []
    module.dangerous = calls.append  # type: ignore[attr-defined] # that is the point
    module.Exit = SystemExit  # type: ignore[attr-defined] # that is the point
    monkeypatch.setitem(sys.modules, "of_others", module)
    for name in ("of_others.dangerous", "of_others.Exit", "of_others.Missing", "not_imported_yet.Error", "nodots", ""):
        assert type(revive({"type": name, "message": "m", "args": ["x"]})) is JobFailure
    assert calls == []
    assert "not_imported_yet" not in sys.modules


class OwnState(Exception):
    def __init__(self, code: int, card: object) -> None:
        super().__init__(code)
        self.code = code
        self.card = card


def test_an_error_keeps_its_plain_attributes_and_its_constructor_is_not_called() -> None:
    again = revive(json.loads(json.dumps(describe(OwnState(7, object())))))
    assert type(again) is OwnState
    assert vars(again).keys() == {"code", "__notes__"}
    assert again.code == 7


def test_a_constructor_of_an_application_is_not_a_messages_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(OwnState, "__init__", lambda *args: calls.append(args))
    monkeypatch.setattr(OwnState, "__new__", lambda *args: calls.append(args))
    name = f"{__name__}.OwnState"
    for args in ([1], [], [1, 2, 3]):
        assert type(revive({"type": name, "message": "", "args": args})) is OwnState
    assert calls == []


@pytest.mark.parametrize("args", [None, 5, [], ["x"], ["x", "y"], ["x", ["y"]]])
def test_what_is_no_description_of_an_error_is_one_all_the_same(args: Any) -> None:
    for name in (
        "builtins.ExceptionGroup",
        "builtins.UnicodeDecodeError",
        "builtins.OSError",
        "laraq.errors.StoreError",
    ):
        assert isinstance(revive({"type": name, "message": "", "args": args}), Exception)


def test_a_long_traceback_keeps_its_end() -> None:
    described = describe(ValueError("x" * 20_000))
    assert len(described["traceback"]) == 8000


def test_of_a_discreet_error_only_the_type_travels() -> None:
    described = describe(ValueError("card 4111"), discreet=True)
    assert described == {"type": "builtins.ValueError", "message": ""}
    assert str(revive(described)) == "builtins.ValueError"


# What a callback gets


@pytest.mark.parametrize(
    ("callback", "entry"),
    [
        (nothing, "called"),
        (of_batch, 1),
        (of_both, (1, "('no', 7)")),
        (of_both_async, (1, "('no', 7)")),
        (of_both_by_other_names, (1, "('no', 7)", False)),
        (injected_as_well, (1, "Mailer", "Laraq")),
        (Told, ("told", 1)),
        (Told(), ("told", 1)),
        (told.job(5), ("function", 5, True)),
        (told.si(6), ("function", 6, True)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_callback_gets_what_happened_as_far_as_it_takes_it(line: Line, callback: Any, entry: Any) -> None:
    Bus.batch([Breaks()]).catch(callback).dispatch()
    line.work()
    assert log == [entry]


def test_the_catch_of_a_chain_gets_the_error_alone(line: Line) -> None:
    Bus.chain([Breaks()]).catch(seen).dispatch()
    line.work()
    assert log == [(ValueError, ("no", 7))]


def of_legacy(batch: Any, error: Any, own: Any) -> None: ...


def seen(error: BaseException) -> None:
    log.append((type(error), error.args))


@pytest.mark.parametrize(("text", "message"), [(("no",), "no"), ((), "")])
def test_a_signature_that_takes_results_gets_the_batch_and_the_text_of_the_error(
    text: tuple[str, ...], message: str
) -> None:
    class Fails(Job):
        def handle(self) -> None:
            raise ValueError(*text)

    app = Celery("t", broker="memory://", set_as_current=False)
    app.task(name="legacy.task", shared=False)(of_legacy)
    with Line.attached(app) as line:
        batch = Bus.batch([Fails()]).catch(app.signature("legacy.task", args=["own"])).dispatch()
        Bus.chain([Fails()]).catch(app.signature("legacy.task", args=["own"])).dispatch()
        for _ in range(2):
            line.step()
        (of_batch, _), (of_chain, _) = line.waiting
    assert of_batch.args[0]["id"] == batch.id
    assert (*of_batch.args[1:], *of_chain.args) == (message, "own", message, "own")


def test_what_is_no_callback_is_refused_when_it_is_said() -> None:
    for wrong in (5, "shop.task", None):
        with pytest.raises(JobDefinitionError, match=f"as a callback, got {wrong!r}"):
            Bus.chain([Breaks()]).catch(wrong).dispatch()


# Callbacks that fail


def test_a_callback_that_fails_is_a_failed_job_and_can_be_retried(line: Line) -> None:
    Bus.batch([Breaks()]).name("Import").catch(repairable).dispatch()
    line.work()
    assert log == ["started"], "it is tried once"
    failed = {each.job: each for each in line.laraq.failed.all()}[CallQueuedCallback.job_name()]
    assert failed.exception.endswith("KeyError: 'callback'")
    assert failed.payload["carrier"]["shadow"] == "catch of batch Import"
    log.append("repaired")
    line.laraq.failed.retry(failed.id)
    line.work()
    assert log[-1] == (1, "ValueError('no', 7)")


def test_a_callback_that_fails_changes_nothing_of_its_batch(line: Line) -> None:
    batch = Bus.batch([Breaks()]).catch(repairable).finally_(nothing).dispatch()
    line.work()
    assert log == ["started", "called"]
    found = batch.fresh()
    assert (found.total_jobs, found.failed_jobs, found.finished_at is not None) == (1, 1, True)


def test_a_callback_of_a_deleted_batch_fails_and_says_so(line: Line) -> None:
    batch = Bus.batch([Breaks()]).catch(of_both).dispatch()
    line.step()
    batch.delete()
    line.work()
    assert log == []
    assert BatchNotFoundError(batch.id).args[0] in line.laraq.failed.all()[0].exception


def test_a_callback_is_no_member_of_its_batch(line: Line) -> None:
    batch = Bus.batch([Breaks()]).catch(of_batch).dispatch()
    line.work()
    assert batch.fresh().total_jobs == 1
    [callback] = [payload for payload in line.taken if payload.event]
    assert (callback.event, callback.batch_id) == ("catch", batch.id)


def test_a_packed_callback_is_plain_json(line: Line) -> None:
    for callback in (nothing, Told, Told(), told.job(1), told.si(1)):
        packed = line.laraq.packer.callback(callback)
        assert json.loads(json.dumps(packed)) == packed


def test_the_same_callback_sent_twice_is_called_once(line: Line) -> None:
    packed = line.laraq.packer.callback(nothing)
    for _ in range(2):
        line.laraq._callbacks.send(packed, derived_id("it"), about="a test")
    assert len(line.waiting) == 2
    line.work()
    assert log == ["called"]
