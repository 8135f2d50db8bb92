from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from cryptography.fernet import Fernet

from laraq import Bus, Context, Events, Job, Laraq, Queue, Skip, closure, current, current_job, events, job
from laraq.callbacks import CallQueuedCallback
from laraq.chain import PendingChain
from laraq.delivery import Delivery, Fail
from laraq.errors import (
    ConfigurationError,
    DispatchError,
    InvalidJobError,
    JobDefinitionError,
    LaraqError,
    NotInQueueError,
    ReleasedInSyncError,
)
from laraq.payload import Payload
from tests.support.line import Line

log: list[Any] = []


def note(what: Any) -> None:
    """Pickled by name, so that a closure writes into this module's log and not into a copy."""
    log.append(what)


class Note(Job):
    n: int

    def handle(self) -> None:
        note(self.n)


class OwnPlace(Note):
    queue = "own"
    connection = "other"


class Never(Note):
    def prepare_for_dispatch(self) -> bool | None:
        return False


class Breaks(Job):
    n: int = 0

    tries = 1

    def handle(self) -> None:
        note(f"break {self.n}")
        raise ValueError(f"no {self.n}")


class Repairable(Note):
    def handle(self) -> None:
        if "repaired" not in log:
            raise ValueError("out of order")
        note(self.n)


class Only(Note):
    unique = True

    def unique_id(self) -> str:
        return str(self.n)


class Latest(Note):
    debounce_for = 30


class Quits(Note):
    """Decides about itself and then adds."""

    verb: str = ""
    tries = 2

    def handle(self) -> None:
        note(f"{self.verb} {self.n} {self.attempts}")
        self.append_to_chain(Note(100))
        if self.verb == "delete":
            self.delete()
        if self.verb == "release" and self.attempts == 1:
            self.release(5)
        if self.verb == "raise" and self.attempts == 1:
            raise ValueError("the first start")
        if self.verb == "fail":
            self.fail("enough")


class Skipped(Note):
    def middleware(self) -> list[Any]:
        return [Skip.when(True)]


@job
def noted(n: int) -> None:
    note(("function", n))


def by_name() -> None:
    note("by name")


def caught(error: BaseException) -> None:
    note(("caught", type(error).__name__, str(error)))


def caught_too(error: BaseException) -> None:
    note(("caught too", str(error)))


@pytest.fixture(autouse=True)
def line() -> Iterator[Line]:
    log.clear()
    with Line.attached() as line:
        yield line


@pytest.fixture
def keyed() -> Iterator[Line]:
    with Line.attached(keys=[Fernet.generate_key().decode()]) as line:
        yield line


@pytest.fixture
def skipped() -> Iterator[list[str]]:
    """Ids of unique jobs that were passed over."""
    ids: list[str] = []
    with Events.listening(events.UniqueJobSkipped, lambda event: ids.append(event.id)):
        yield ids


# Order


def test_a_link_is_sent_when_the_one_before_it_has_succeeded(line: Line) -> None:
    sent = Bus.chain([Note(1), Note(2), Note(3)]).dispatch()
    assert [payload.id for payload, _ in line.waiting] == [sent.id]
    for number in (1, 2, 3):
        assert len(line.waiting) == 1
        line.step()
        assert log[-1] == number
    assert line.waiting == []


def test_every_link_has_its_uuid_from_the_start(line: Line) -> None:
    Bus.chain([Note(1), Note(2), Note(3)]).dispatch()
    ids = [link["id"] for link in line.taken[0].chain["rest"]]
    line.work()
    assert [payload.id for payload in line.taken[1:]] == ids
    assert len({payload.id for payload in line.taken}) == 3


def test_gaps_are_left_out_and_lists_are_spread(line: Line) -> None:
    Bus.chain([None, Note(1), False, [Note(2), [Note(3), None]], (Note(4),)]).dispatch()
    line.work()
    assert log == [1, 2, 3, 4]


def test_anything_that_can_be_sent_can_be_a_link(line: Line) -> None:
    class Plain(Job):
        def handle(self) -> None:
            note("class")

    Bus.chain([Note(1), noted.job(2), Plain, by_name, closure(by_name), Note.s(3), noted.si(4)]).dispatch()
    line.work()
    assert log == [1, ("function", 2), "class", "by name", "by name", 3, ("function", 4)]


def test_a_chain_tells_celery_who_is_whose_child(line: Line) -> None:
    sent = Bus.chain([Note(1), Note(2), Note(3)]).dispatch()
    line.work()
    first, second, third = line.taken
    assert (second.carrier["root_id"], second.carrier["parent_id"]) == (sent.id, first.id)
    assert (third.carrier["root_id"], third.carrier["parent_id"]) == (sent.id, second.id)


def test_a_link_is_created_when_it_is_sent_and_has_the_context_of_the_one_before(line: Line) -> None:
    with Context.scope({"request": "r-1"}):
        Bus.chain([Note(1), Note(2)]).catch(caught).dispatch()
    line.work()
    first, second = line.taken
    assert first.context == second.context == {"request": "r-1"}
    assert first.created_at is not None
    assert second.created_at is not None
    assert second.created_at > first.created_at
    assert "context" not in first.chain["rest"][0]["laraq"]


def test_the_retry_until_of_a_link_counts_from_its_own_first_start(line: Line) -> None:
    class Patient(Note):
        def retry_until(self) -> timedelta:
            return timedelta(hours=1)

    Bus.chain([Note(1), Patient(2)]).dispatch()
    assert "retry_until" not in line.taken[0].chain["rest"][0]["laraq"]
    line.step()
    assert line.taken[1].retry_until is None
    run = line.step()
    assert run is not None
    assert run.payload.retry_until is not None


# Places and delays


@pytest.mark.parametrize(
    ("place", "places"),
    [
        (lambda pending: pending, [(None, None), ("own", "other"), (None, None)]),
        (lambda pending: pending.on_queue("q"), [("q", None), ("own", "other"), ("q", None)]),
        (lambda pending: pending.on_connection("other"), [(None, "other"), ("own", "other"), (None, "other")]),
        (lambda pending: pending.all_on_queue("q"), [("q", None), ("own", "other"), ("q", None)]),
    ],
)
def test_a_link_goes_where_it_says_else_where_its_chain_says(
    line: Line, place: Callable[[PendingChain], PendingChain], places: list[Any]
) -> None:
    place(Bus.chain([Note(1), OwnPlace(2), Note(3)])).dispatch()
    line.work()
    assert [(payload.queue, payload.connection) for payload in line.taken] == places


def test_all_on_a_queue_or_connection_overrules_the_first_job(line: Line) -> None:
    Bus.chain([OwnPlace(1), OwnPlace(2)]).on_queue("q").on_connection("line").dispatch()
    Bus.chain([OwnPlace(1), OwnPlace(2)]).all_on_queue("q").all_on_connection("line").dispatch()
    line.work()
    places = [(payload.fields["n"], payload.queue, payload.connection) for payload in line.taken]
    assert places == [(1, "own", "other"), (1, "q", "line"), (2, "own", "other"), (2, "own", "other")]


def test_the_place_of_a_chain_beats_the_route_of_a_class_for_every_link(line: Line) -> None:
    Queue.route(Note, queue="routed", connection="other")
    Bus.chain([Note(1), Note(2)]).on_queue("q").on_connection("line").dispatch()
    Bus.chain([Note(1), Note(2)]).dispatch()
    line.work()
    assert [(payload.queue, payload.connection) for payload in line.taken] == [
        ("q", "line"),
        ("routed", "other"),
        ("q", "line"),
        ("routed", "other"),
    ]


def test_a_forwarded_queue_is_forwarded_for_links(line: Line) -> None:
    Queue.forward("old", "new")
    Bus.chain([Note(1), Note(2), Note(3).on_queue("old")]).on_queue("old").dispatch()
    line.work()
    assert [payload.queue for payload in line.taken] == ["new"] * 3


def test_the_delay_of_a_chain_is_for_its_first_job(line: Line) -> None:
    Bus.chain([Note(1), Note(2).with_delay(7), Note(3)]).with_delay(timedelta(minutes=1)).dispatch()
    Bus.chain([Note(4).with_delay(3)]).delay(60).dispatch()
    assert [delay for _, delay in line.waiting] == [60, 3]
    line.step()
    assert [delay for _, delay in line.waiting] == [3, 7]
    line.waiting.pop(0)
    line.step()
    assert [delay for _, delay in line.waiting] == [0]


# The verbs


def test_with_chain_on_the_class_takes_the_fields_at_the_dispatch(line: Line) -> None:
    Note.with_chain([Note(2), Note(3)]).all_on_queue("q").dispatch(1)
    line.work()
    assert log == [1, 2, 3]
    assert {payload.queue for payload in line.taken} == {"q"}


def test_with_chain_on_an_instance_gives_the_instance_back(line: Line) -> None:
    Note(1).with_chain([Note(2)]).on_queue("head").dispatch()
    Note(3).on_queue("x").with_chain([Note(4)]).all_on_queue("q").all_on_connection("other").dispatch()
    line.work()
    assert log == [1, 3, 2, 4]
    assert [(payload.queue, payload.connection) for payload in line.taken] == [
        ("head", None),
        ("q", "other"),
        (None, None),
        ("q", "other"),
    ]


def test_jobs_can_be_put_before_and_behind(line: Line) -> None:
    Bus.chain([Note(3)]).prepend(Note(2)).prepend([Note(0), Note(1)]).append(Note(4)).append([Note(5), None]).dispatch()
    line.work()
    assert log == [0, 1, 2, 3, 4, 5]


def test_a_chain_is_sent_or_changed_under_a_condition(line: Line) -> None:
    pending = Bus.chain([Note(1)]).when(True, lambda it: it.append(Note(2))).when(0, lambda it: it.append(Note(3)))
    pending.unless(False, lambda it: it.append(Note(4))).unless("x", lambda it: it.append(Note(5)))
    assert pending.dispatch_if(False) is None
    assert pending.dispatch_unless(True) is None
    assert line.taken == []
    assert pending.dispatch_if(True) is not None
    line.work()
    assert log == [1, 2, 4]
    assert Note.with_chain([Note(2)]).dispatch_unless(False, n=1) is not None


def test_a_chain_is_sent_from_a_coroutine(line: Line) -> None:
    sent = asyncio.run(Note.with_chain([Note(2)]).adispatch(1))
    assert line.taken[0].id == sent.id
    line.work()
    assert log == [1, 2]


def test_a_pending_chain_can_be_sent_twice_as_two_chains(line: Line) -> None:
    pending = Bus.chain([Note(1), Note(2)])
    assert pending.dispatch().id != pending.dispatch().id
    line.work()
    assert log == [1, 1, 2, 2]
    assert len({payload.id for payload in line.taken}) == 4


def test_the_jobs_given_stay_as_they_are(line: Line) -> None:
    first = Note(1)
    Bus.chain([first, Note(2)]).on_queue("q").with_delay(5).dispatch()
    first.dispatch()
    assert (line.taken[1].queue, line.taken[1].chain, line.waiting[1][1]) == (None, {}, 0)


# Refusals: nothing is sent


@pytest.mark.parametrize(
    ("jobs", "error", "text"),
    [
        ([], JobDefinitionError, r"Bus.chain\(\[\]\) has no job"),
        ([None, False], JobDefinitionError, "has no job"),
        ([Note(1), 5], JobDefinitionError, "5 is no job"),
        ([Note(1), "shop.Note"], JobDefinitionError, "'shop.Note' is no job"),
        ([Note("one"), Note(2)], InvalidJobError, "n\n"),  # type: ignore[arg-type] # that is the point
        ([Note(1), Note("two")], InvalidJobError, "n\n"),  # type: ignore[arg-type] # that is the point
        ([Note(1), Note], TypeError, "n"),
        ([Note(1), lambda: None], ConfigurationError, "laraq_keys"),
    ],
)
def test_what_cannot_be_a_link_is_refused_before_anything_is_sent(
    line: Line, jobs: list[Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Bus.chain(jobs).dispatch()
    assert line.taken == []


def test_a_lambda_as_a_catch_needs_keys(line: Line) -> None:
    with pytest.raises(ConfigurationError, match="laraq_keys"):
        Bus.chain([Note(1)]).catch(lambda error: None).dispatch()
    assert line.taken == []


@pytest.mark.parametrize("made", [chain, group, lambda *tasks: chord(tasks[:1], tasks[1])])
def test_a_canvas_of_celery_cannot_be_a_link(line: Line, made: Callable[..., Any]) -> None:
    with pytest.raises(JobDefinitionError, match=r"Celery's (chain|group|chord) cannot be a link.*Bus\.chain"):
        Bus.chain([Note(1), made(Note.si(1), Note.si(2))]).dispatch()
    assert line.taken == []


def test_a_broker_that_is_down_is_told_to_the_sender(line: Line) -> None:
    line.errors = [DispatchError("down")]
    with pytest.raises(DispatchError, match="down"):
        Bus.chain([Note(1), Note(2)]).dispatch()
    assert line.taken == []


def test_adding_needs_a_running_job() -> None:
    with pytest.raises(NotInQueueError, match="prepend_to_chain"):
        Note(1).prepend_to_chain(Note(2))
    with pytest.raises(NotInQueueError, match="append_to_chain"):
        Note(1).append_to_chain(Note(2))


# Failure


@pytest.mark.parametrize("breaking", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_failed_link_stops_the_chain_and_every_catch_is_called_once(line: Line, breaking: int) -> None:
    jobs: list[Job] = [Note(0), Note(1), Note(2)]
    jobs[breaking] = Breaks(breaking)
    Bus.chain(jobs).catch(caught).catch(caught_too).on_queue("q").dispatch()
    line.work()
    text = f"no {breaking}"
    assert log == [*range(breaking), f"break {breaking}", ("caught", "ValueError", text), ("caught too", text)]
    assert {payload.queue for payload in line.taken} == {"q"}


def test_catch_is_not_called_when_all_goes_well(line: Line) -> None:
    Bus.chain([Note(1), Note(2)]).catch(caught).dispatch()
    line.work()
    assert log == [1, 2]


def test_catch_comes_before_failed_and_is_a_job_of_its_own(line: Line) -> None:
    class Fails(Breaks):
        def failed(self, error: BaseException | None) -> None:
            note(("failed", [payload.job for payload, _ in line.waiting]))

    Bus.chain([Fails(1), Note(2)]).catch(caught).dispatch()
    line.step()
    assert log == ["break 1", ("failed", [CallQueuedCallback.job_name()])]
    line.work()
    assert log[2:] == [("caught", "ValueError", "no 1")]


def test_fail_by_hand_and_used_up_tries_stop_the_chain_as_well(line: Line) -> None:
    class Always(Note):
        tries = 2

        def handle(self) -> None:
            self.release()

    Bus.chain([Quits(1, "fail"), Note(2)]).catch(caught).dispatch()
    line.work()
    Bus.chain([Always(1), Note(2)]).catch(caught).dispatch()
    line.work()
    assert log[:2] == ["fail 1 1", ("caught", "ManuallyFailedError", "enough")]
    assert log[2][:2] == ("caught", "MaxAttemptsExceededError")
    assert 2 not in log


@pytest.mark.parametrize("verb", ["delete", ""])
def test_a_link_that_succeeds_its_own_way_is_followed(line: Line, verb: str) -> None:
    Bus.chain([Quits(1, verb), Note(2)]).dispatch()
    line.work()
    assert log == [f"{verb} 1 1", 2, 100]


@pytest.mark.parametrize("verb", ["release", "raise"])
def test_a_link_that_goes_back_is_followed_once_and_its_additions_count_once(line: Line, verb: str) -> None:
    Bus.chain([Quits(1, verb), Note(2)]).catch(caught).dispatch()
    line.step()
    assert len(line.waiting) == 1
    line.work()
    assert log == [f"{verb} 1 1", f"{verb} 1 2", 2, 100]


def test_a_link_that_its_middleware_skips_is_followed(line: Line) -> None:
    Bus.chain([Skipped(1), Note(2)]).dispatch()
    line.work()
    assert log == [2]


def test_a_retried_link_resumes_its_chain_where_it_stopped(line: Line) -> None:
    Bus.chain([Note(1), Repairable(2), Note(3)]).catch(caught).dispatch()
    line.work()
    assert log == [1, ("caught", "ValueError", "out of order")]
    [failed] = line.laraq.failed.all()
    note("repaired")
    line.laraq.failed.retry(failed.id)
    line.work()
    assert log[3:] == [2, 3]
    assert line.laraq.failed.all() == []


def test_a_retried_link_that_fails_again_is_caught_again(line: Line) -> None:
    Bus.chain([Repairable(2)]).catch(caught).dispatch()
    line.work()
    line.laraq.failed.retry("all")
    line.work()
    assert log == [("caught", "ValueError", "out of order")] * 2


def test_the_catch_callbacks_may_be_jobs_and_signatures(line: Line) -> None:
    Bus.chain([Breaks(1)]).catch(Note(5)).catch(noted.job(6)).catch(Note.si(7)).catch(closure(by_name)).dispatch()
    line.work()
    assert log == ["break 1", 5, ("function", 6), 7, "by name"]


# Additions from inside


def test_what_is_prepended_runs_next_and_what_is_appended_last(line: Line) -> None:
    class Adds(Note):
        def handle(self) -> None:
            note(self.n)
            self.append_to_chain(Note(8))
            self.prepend_to_chain(Note(4))
            self.prepend_to_chain(Note(2), [Note(3), None])
            self.append_to_chain([Note(9)], noted.job(10))

    Bus.chain([Adds(1), Note(5)]).on_queue("q").dispatch()
    line.work()
    assert log == [1, 2, 3, 4, 5, 8, 9, ("function", 10)]
    assert {payload.queue for payload in line.taken} == {"q"}


def test_a_job_without_a_chain_can_begin_one(line: Line) -> None:
    @job
    def begins() -> None:
        current_job().append_to_chain(Note(2))
        current_job().prepend_to_chain(Note(1))

    begins.dispatch()
    line.work()
    assert log == [1, 2]


def test_a_repeated_run_adds_the_same_jobs(line: Line) -> None:
    """It died after it had sent the next link; its second life sends that one again, and nobody starts it twice."""

    class Adds(Note):
        def handle(self) -> None:
            self.prepend_to_chain(Note(2))

    Bus.chain([Adds(1), Note(3)]).dispatch()
    payload, _ = line.waiting.pop()
    line.run(payload)
    line.run(payload)
    assert len(line.waiting) == 2
    assert len({payload.id for payload, _ in line.waiting}) == 1
    line.work()
    assert log == [2, 3]


def test_what_cannot_travel_fails_the_job_that_added_it(line: Line) -> None:
    class Adds(Note):
        def handle(self) -> None:
            self.prepend_to_chain(Note("two"))  # type: ignore[arg-type] # that is the point

    Bus.chain([Adds(1), Note(3)]).catch(caught).dispatch()
    line.work()
    assert [entry[:2] for entry in log] == [("caught", "InvalidJobError")]


# Crashes


def test_a_link_that_is_sent_twice_starts_once(line: Line) -> None:
    Bus.chain([Note(1), Note(2), Note(3)]).dispatch()
    payload, _ = line.waiting.pop()
    run = line.run(payload)
    assert run is not None
    line.laraq.runner.settle(run)
    assert [each.id for each, _ in line.waiting] == [run.payload.chain["rest"][0]["id"]] * 2
    line.work()
    assert log == [1, 2, 3]


def test_a_catch_that_is_sent_twice_is_called_once(line: Line) -> None:
    Bus.chain([Breaks(1)]).catch(caught).dispatch()
    payload, _ = line.waiting.pop()
    run = line.run(payload)
    assert run is not None
    line.laraq.runner.settle(run)
    assert len(line.waiting) == 2
    line.work()
    assert log == ["break 1", ("caught", "ValueError", "no 1")]


def test_a_broker_that_is_away_for_a_moment_does_not_break_the_chain(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laraq.persistence.PAUSES", (0, 0, 0))
    Bus.chain([Note(1), Breaks(2)]).catch(caught).dispatch()
    line.errors = [DispatchError("down")] * 3
    line.step()
    line.errors = [DispatchError("down")] * 3
    line.work()
    assert log == [1, "break 2", ("caught", "ValueError", "no 2")]


def test_a_broker_that_stays_away_is_told_to_the_carrier_of_the_message(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laraq.persistence.PAUSES", (0,))
    processed: list[Any] = []
    Bus.chain([Note(1), Note(2)]).dispatch()
    line.errors = [DispatchError("down")] * 2
    with Events.listening(events.JobProcessed, processed.append), pytest.raises(DispatchError):
        line.step()
    assert processed == []


# Unique and debounced links


def test_a_link_whose_lock_is_held_is_passed_over_and_the_chain_goes_on(line: Line, skipped: list[str]) -> None:
    held = Only.dispatch(2)
    Bus.chain([Note(1), Only(2), Only(2), Note(3)]).dispatch()
    waiting = line.waiting.pop(0)
    line.work()
    assert log == [1, 3]
    assert len(skipped) == 2
    line.waiting.append(waiting)
    line.work()
    assert log == [1, 3, 2]
    assert waiting[0].id == held.id


def test_a_unique_link_takes_its_lock_when_it_is_sent_and_frees_it(line: Line, skipped: list[str]) -> None:
    Bus.chain([Note(1), Only(2), Note(3)]).dispatch()
    free = Only.dispatch(2)
    assert not free.skipped
    line.waiting.pop()
    line.laraq.unique.release(line.taken[-1].unique)
    line.step()
    assert Only.dispatch(2).skipped, "the link is queued and holds it"
    line.step()
    assert not Only.dispatch(2).skipped
    line.work()
    assert log == [1, 2, 3, 2]
    assert len(skipped) == 1


def test_a_first_job_that_is_there_already_takes_its_chain_along(line: Line, skipped: list[str]) -> None:
    Only.dispatch(1)
    assert Bus.chain([Only(1), Note(2)]).dispatch().skipped
    line.work()
    assert log == [1]
    assert len(skipped) == 1


def test_a_unique_link_that_is_sent_again_after_a_crash_is_not_its_own_rival(line: Line, skipped: list[str]) -> None:
    Bus.chain([Note(1), Only(2), Note(3)]).dispatch()
    payload, _ = line.waiting.pop()
    run = line.run(payload)
    assert run is not None
    line.laraq.runner.settle(run)
    line.work()
    assert log == [1, 2, 3]
    assert skipped == []


def test_a_debounced_link_waits_and_the_last_one_runs(line: Line) -> None:
    Bus.chain([Note(1), Latest(2), Note(3)]).dispatch()
    line.step()
    assert [delay for _, delay in line.waiting] == [30]
    Latest.dispatch(9)
    line.work()
    assert log == [1, 9, 3], "the link ended as a success, without a run"


# What others must not read


def test_links_travel_encrypted_and_catch_learns_nothing_of_them(keyed: Line) -> None:
    class Charge(Job):
        card: str

        encrypted = True

        def handle(self) -> None:
            raise ValueError(f"card {self.card} is refused")

    Bus.chain([Note(1), Charge("4111")]).catch(caught).dispatch()
    assert "4111" not in json.dumps(keyed.taken[0].to_dict())
    keyed.work()
    assert log == [1, ("caught", "JobFailure", "builtins.ValueError")]
    assert "4111" not in json.dumps([payload.to_dict() for payload in keyed.taken])


def test_signed_closures_are_links_and_callbacks(keyed: Line) -> None:
    word = "closed over"
    Bus.chain([lambda: note(word), by_name, Breaks(1)]).catch(lambda error: note(str(error))).dispatch()
    keyed.work()
    assert log == [word, "by name", "break 1", "no 1"]


def test_a_forged_closure_stops_the_chain(keyed: Line) -> None:
    Bus.chain([lambda: note("forged"), Note(2)]).catch(caught).dispatch()
    payload, _ = keyed.waiting.pop()
    keyed.run(payload.with_(fields={**payload.fields, "signature": "AAAA"}))
    keyed.work()
    assert [entry[:2] for entry in log] == [("caught", "TamperedPayloadError")]


# Tasks of Celery


@pytest.fixture
def legacy() -> Iterator[Line]:
    app = Celery("t", broker="memory://", set_as_current=False)
    app.conf.task_default_queue = "line"

    app.task(name="legacy.task", shared=False)(by_name)
    with Line.attached(app) as line:
        yield line


def test_a_signature_is_sent_as_celery_would_send_it(legacy: Line) -> None:
    app: Any = legacy.laraq.host.app  # type: ignore[attr-defined] # Celery's host has one
    signature = app.signature("legacy.task", args=[1], kwargs={"x": 2}, immutable=True).set(priority=3, countdown=9)
    Bus.chain([Note(1), signature, Note(2)]).on_queue("q").dispatch()
    legacy.step()
    [(payload, delay)] = legacy.waiting
    assert (payload.job, payload.args, payload.fields) == ("legacy.task", (1,), {"x": 2})
    assert (payload.queue, delay, payload.carrier["priority"]) == ("q", 9, 3)
    assert [link["job"] for link in payload.chain["rest"]] == [Note.job_name()]
    legacy.waiting.clear()
    legacy.laraq.runner.succeeded(payload)
    legacy.work()
    assert log == [1, 2]


def test_a_signature_may_come_first(legacy: Line) -> None:
    app: Any = legacy.laraq.host.app  # type: ignore[attr-defined] # Celery's host has one
    sent = Bus.chain([app.signature("legacy.task"), Note(2)]).on_queue("q").dispatch()
    [(payload, _)] = legacy.waiting
    assert (payload.id, payload.job, payload.queue) == (sent.id, "legacy.task", "q")
    legacy.waiting.clear()
    legacy.laraq.runner.succeeded(payload)
    legacy.work()
    assert log == [2]


def test_a_task_that_fails_stops_the_chain(legacy: Line) -> None:
    app: Any = legacy.laraq.host.app  # type: ignore[attr-defined] # Celery's host has one
    Bus.chain([app.signature("legacy.task"), Note(2)]).catch(caught).dispatch()
    payload, _ = legacy.waiting.pop()
    legacy.laraq.runner.failed(payload, ValueError("of the task"))
    legacy.work()
    assert log == [("caught", "ValueError", "of the task")]


def test_the_links_of_a_jobs_signature_travel_with_it(line: Line) -> None:
    linked = Note.si(2).set(link=Note.si(5), queue="low")
    Bus.chain([Note(1), linked, Note(3)]).on_queue("q").dispatch()
    line.work()
    assert [payload.queue for payload in line.taken] == ["q", "low", "q"]
    assert line.taken[1].carrier["link"]


# The sync connection


def test_on_sync_the_whole_chain_runs_in_place_however_long_it_is() -> None:
    Bus.chain(Note(number) for number in range(2000)).on_connection("sync").dispatch()
    assert log == list(range(2000))


def test_on_sync_a_failed_link_reaches_the_caller_and_catch_is_called() -> None:
    with pytest.raises(ValueError, match="no 2"):
        Bus.chain([Note(1), Breaks(2), Note(3)]).on_connection("sync").catch(caught).dispatch()
    assert log == [1, "break 2", ("caught", "ValueError", "no 2")]


def test_on_sync_a_release_ends_the_chain() -> None:
    with pytest.raises(ReleasedInSyncError):
        Bus.chain([Quits(1, "release"), Note(3)]).on_connection("sync").catch(caught).dispatch()
    assert log == ["release 1 1", ("caught", "ReleasedInSyncError", str(ReleasedInSyncError(Quits.job_name(), 5)))]


def test_a_chain_may_change_connections_on_its_way(line: Line) -> None:
    Bus.chain([Note(1), Note(2).on_connection("sync"), Note(3).on_connection("line")]).dispatch()
    line.step()
    assert log == [1, 2]
    line.work()
    assert log == [1, 2, 3]


def test_dispatch_sync_runs_what_follows_where_it_belongs(line: Line) -> None:
    Note(1).with_chain([Note(2)]).dispatch_sync()
    assert log == [1]
    line.work()
    assert log == [1, 2]


# Wire


def test_a_chain_of_yesterday_is_read(line: Line) -> None:
    """As version 1 writes it: only what differs from the defaults."""
    payload = Payload("h", Note.job_name(), {"n": 1}, chain={"rest": [_link("a", 2), _link("b", 3)]})
    line.run(payload)
    line.work()
    assert log == [1, 2, 3]
    assert [payload.id for payload in line.taken] == ["a", "b"]


def test_a_link_of_an_unknown_class_waits_for_the_deploy_and_the_chain_with_it(line: Line) -> None:
    unknown = {**_link("a", 2), "job": "shop.Unknown"}
    line.run(Payload("h", Note.job_name(), {"n": 1}, chain={"rest": [unknown, _link("b", 3)]}))
    [(payload, _)] = line.waiting
    run = line.laraq.runner.run(Delivery(payload, 1, "line", "line"))
    assert not isinstance(run.verdict, Fail)
    assert run.payload.chain["rest"] == [_link("b", 3)]


def _link(id: str, n: int) -> dict[str, Any]:
    return {"id": id, "job": Note.job_name(), "kwargs": {"n": n}, "laraq": {"v": 1}}


def test_an_empty_chain_leaves_no_trace_in_the_message(line: Line) -> None:
    Bus.chain([Note(1)]).dispatch()
    assert "chain" not in line.taken[0].to_header()


def test_chain_verbs_belong_to_the_current_laraq(line: Line) -> None:
    assert isinstance(current(), Laraq)
    assert issubclass(JobDefinitionError, LaraqError)
    pending = Note.with_chain([Note(2)])
    with Line.attached() as other:
        pending.dispatch(1)
        assert (len(line.taken), len(other.taken)) == (0, 1)


def test_a_link_may_cancel_its_own_dispatch(line: Line) -> None:
    Bus.chain([Note(1), Never(8), Note(2)]).dispatch()
    batch = Bus.batch([Never(8), [Never(8), Note(9)], [Note(3), Never(8)]]).dispatch()
    line.work()
    assert sorted(log) == [1, 2, 3]
    assert (batch.fresh().total_jobs, batch.fresh().finished) == (1, True)
    assert Bus.chain([Never(8), Note(9)]).dispatch().skipped
