"""Verbs: what they mean on a class, on an instance and on a result."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import inspect
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, chain
from pydantic import TypeAdapter

from laraq import Batch, Bus, Context, Dispatched, Events, Job, LaraqTask, Queue, deferring, events, job, verdicts
from laraq.errors import LaraqError, WrongCallError
from laraq.messages.payload import Payload
from laraq.middleware import Skip
from laraq.sending.dispatcher import delay_of
from tests.support.line import Line

ran: list[Any] = []


class N(Job):
    n: int = 0
    by: str = ""

    def handle(self) -> int:
        ran.append((self.n, self.queue, self.tries))
        return self.n


class Waits(Job):
    debounce_for = 10
    debounce_max_wait = 3600

    def handle(self) -> None: ...


@job
def shout(n: int, loud: bool = False) -> int:
    """Shouts."""
    return n


@pytest.fixture(autouse=True)
def line() -> Iterator[Line]:
    ran.clear()
    app = Celery("t", broker="memory://", set_as_current=False)
    with Line.attached(app) as line:
        yield line


def configured() -> N:
    made = N(5).on_queue("high").with_tags("a").with_priority(3)
    made.tries = 7
    return made


def said(payload: Payload) -> Any:
    return dict(payload.fields), payload.queue, payload.tags, payload.options, payload.carrier.get("priority")


SENDS: dict[str, Callable[[N], Any]] = {
    "dispatch": lambda made: made.dispatch(),
    "adispatch": lambda made: asyncio.run(made.adispatch()),
    "dispatch_if": lambda made: made.dispatch_if(True),
    "dispatch_unless": lambda made: made.dispatch_unless(False),
    "apply_async": lambda made: made.apply_async(),
    "s": lambda made: made.s().apply_async(),
    "si": lambda made: made.si().delay(),
    "delay": lambda made: made.delay(0).dispatch(),
    "a copy with options": lambda made: made.s().set(queue="high").clone().apply_async(),
    "through JSON": lambda made: made.s().app.signature(json.loads(json.dumps(made.s()))).apply_async(),
    "a chain of laraq's": lambda made: Bus.chain([made.s()]).dispatch(),
}


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
def test_every_verb_of_a_configured_job_is_about_that_job(line: Line, send: Callable[[N], Any]) -> None:
    send(configured())
    [payload] = line.taken
    assert said(payload) == ({"n": 5, "by": ""}, "high", ("a",), {"tries": 7}, 3)
    line.work()
    assert ran == [(5, "high", 7)]


def test_after_the_response_a_configured_job_is_still_that_job() -> None:
    with deferring():
        configured().dispatch_after_response()
        assert ran == []
    assert [(n, tries) for n, _, tries in ran] == [(5, 7)]
    assert configured().dispatch_sync() == 5


def test_a_signature_keeps_moments_middleware_and_the_commit(line: Line) -> None:
    made = N(1).through([Skip.when(True)]).delay(timedelta(minutes=1)).before_commit()
    made.retry_until = timedelta(hours=1)
    made.s().apply_async()
    N(2).with_delay(datetime.now(UTC) + timedelta(hours=1)).s().apply_async()
    [(first, delay), (_, until)] = line.waiting
    assert (len(first.through), delay) == (1, 60)
    assert first.retry_until is not None
    assert 3500 < until <= 3600
    with pytest.raises(WrongCallError, match="chain of its own"):
        N(1).with_chain([N(2)]).s()


def test_options_of_a_call_come_on_top_and_leave_the_job_alone(line: Line) -> None:
    made = configured()
    made.apply_async(countdown=9, queue="low", task_id="mine")
    [(payload, delay)] = line.waiting
    assert (payload.id, payload.queue, delay) == ("mine", "low", 9)
    assert (made.queue, made.countdown) == ("high", None)


def test_delay_of_an_instance_configures_and_that_of_the_class_sends(line: Line) -> None:
    assert delay_of(N(5).delay(60)) == 60
    assert line.taken == []
    N.delay(60)
    assert line.taken[0].fields["n"] == 60


A_MISTAKE: dict[str, tuple[Callable[[], Any], str]] = {
    "fields again": (lambda: N(7).dispatch(8), r"N\(7\)\.dispatch\(\) for this job, or N\.dispatch\(8\)"),
    "fields again, sync": (lambda: N(7).dispatch_sync(n=8), r"N\.dispatch_sync\(n=8\)"),
    "fields again, if": (lambda: N(7).dispatch_if(True, 8), r"N\(7\)\.dispatch_if\(\)"),
    "fields again, signature": (lambda: N(7).s(8), r"N\(7\)\.s\(\)"),
    "fields again, host": (lambda: N(7).apply_async((8,)), r"N\(7\)\.apply_async\(\)"),
    "fields by keyword, host": (lambda: N(7).apply_async(kwargs={"n": 1}), r"N\(7\)\.apply_async\(\)"),
    "no delay": (lambda: N(7).delay(), r"N\(7\)\.delay\(60\)\.dispatch\(\)"),
    "a field as a delay": (lambda: N(7).delay(n=8), r"N\(7\)\.delay\(60\)\.dispatch\(\)"),
    "after the dispatch": (lambda: N.dispatch(7).on_queue("emails"), r'N\(7\)\.on_queue\("emails"\)\.dispatch\(\)'),
    "delay after the dispatch": (lambda: N(7).dispatch().delay(60), r"N\(7\)\.delay\(60\)\.dispatch\(\)"),
    "chain after the dispatch": (lambda: N.dispatch().with_chain([]), r"N\(\)\.with_chain\(\[\]\)\.dispatch\(\)"),
    "on the class": (lambda: N.with_delay(5).dispatch(7), r"N\(n, by\)\.with_delay\(5\)\.dispatch\(\)"),
    "tags on the class": (lambda: N.with_tags("a", "b"), r'N\(n, by\)\.with_tags\("a", "b"\)\.dispatch\(\)'),
    "of a function": (lambda: shout.dispatch(1).on_queue("low"), r'shout\.job\(1\)\.on_queue\("low"\)\.dispatch\(\)'),
    "on a function": (lambda: shout.on_queue("low"), r'shout\.job\(n, loud\)\.on_queue\("low"\)\.dispatch\(\)'),
}


@pytest.mark.parametrize(("call", "shows"), A_MISTAKE.values(), ids=A_MISTAKE)
def test_a_mistake_shows_the_call_that_is_meant(call: Callable[[], Any], shows: str) -> None:
    with pytest.raises(LaraqError, match=shows):
        call()


def test_a_mistake_with_an_encrypted_job_shows_no_field() -> None:
    made = N(7, "secret")
    made.encrypted = True
    with pytest.raises(WrongCallError) as caught:
        made.dispatch("another secret")  # type: ignore[call-arg] # that is the point
    assert "secret" not in str(caught.value)
    made.tags = {"secret": 1}
    with pytest.raises(LaraqError) as caught_too:
        made.dispatch()
    assert "its tags is of type dict: expected a list of texts" in str(caught_too.value)


def test_unbound_calls_and_what_a_subclass_adds_still_work() -> None:
    class Loud(N):
        def on_queue(self, queue: Any) -> Any:
            return super().on_queue(f"loud-{queue}")

    assert Job.on_queue(N(1), "x").queue == "x"
    assert Loud(1).on_queue("x").queue == "loud-x"
    assert not hasattr(N.dispatch(1), "on_quue")


CONDITIONS: dict[str, tuple[Any, bool]] = {
    "a value": (1, True),
    "nothing": ([], False),
    "a callable": (lambda: True, True),
    "a callable that says no": (lambda: None, False),
    "of what it is about": (lambda about: about is not None, True),
    "with a default": (lambda about=None: about is None, True),
    "of anything": (lambda *about: len(about) == 1, True),
    "not of Python": (dict.fromkeys([1]).__len__, True),
}


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS.values(), ids=CONDITIONS)
def test_a_condition_is_asked_wherever_one_stands(line: Line, condition: Any, holds: bool) -> None:
    made: list[Any] = []
    for dispatch_if, dispatch_unless in (
        (N.dispatch_if, N.dispatch_unless),
        (N(1).dispatch_if, N(1).dispatch_unless),
        (lambda it: shout.dispatch_if(it, 1), lambda it: shout.dispatch_unless(it, 1)),
        (Bus.chain([N(1)]).dispatch_if, Bus.chain([N(1)]).dispatch_unless),
        (Bus.batch([N(1)]).dispatch_if, Bus.batch([N(1)]).dispatch_unless),
    ):
        assert (dispatch_if(condition) is not None) is holds
        assert (dispatch_unless(condition) is None) is holds
    for pending in (Bus.chain([N(1)]), Bus.batch([N(1)])):
        pending.when(condition, lambda _: made.append("when")).unless(condition, lambda _: made.append("unless"))
    assert made == ["when" if holds else "unless"] * 2


def test_the_condition_is_told_the_job_and_a_job_that_nobody_asks_for_is_not_built() -> None:
    assert N.dispatch_if(lambda made: made.n == 7, 7) is not None
    assert N(7).dispatch_unless(lambda made: made.n == 7) is None
    assert N.dispatch_if(lambda: False, colour="red") is None  # type: ignore[call-arg] # that is the point
    with pytest.raises(TypeError, match="async"):
        N.dispatch_if(asks)


async def asks() -> bool:
    return True


def test_editors_see_the_fields_of_a_verb() -> None:
    assert inspect.signature(N.dispatch).parameters == inspect.signature(N).parameters
    assert str(inspect.signature(N.dispatch_if)).startswith("(condition, /, n: 'int' = 0")
    assert str(inspect.signature(N(1).dispatch)) == "()"
    assert str(inspect.signature(N(1).delay)) == "(delay, /)"
    verb: Any = N.dispatch_sync
    assert (verb.__name__, verb.__qualname__) == ("dispatch_sync", "N.dispatch_sync")
    assert "in this process" in (inspect.getdoc(verb) or "")
    assert str(inspect.signature(N.on_queue)).startswith("(self, queue")
    assert N.dispatch == N.dispatch != N(1).dispatch


def test_a_function_job_has_what_celery_s_tasks_have(line: Line) -> None:
    assert shout.name == f"{__name__}.shout"
    assert shout.apply((3,)).get() == 3
    assert shout.signature((3,), countdown=5).options == {"countdown": 5}
    made = [shout.map([1, 2]), shout.starmap([(1,), (2,)]), shout.chunks([(1,), (2,)], 1)]
    assert [one.task for one in made] == ["celery.map", "celery.starmap", "celery.chunks"]
    assert shout.AsyncResult("x").id == "x"
    assert line.taken == []


def test_what_was_dispatched_is_json_ready(line: Line) -> None:
    sent = N.dispatch(7)
    expected = {"id": sent.id, "skipped": False}
    assert dataclasses.asdict(sent) == expected
    assert TypeAdapter(Dispatched).dump_python(sent, mode="json") == expected
    assert sent == Dispatched(sent.id)
    assert "N" not in repr(sent)


def test_a_batch_is_what_an_endpoint_may_return(line: Line) -> None:
    batch = Bus.batch([N(1)]).name("b").dispatch()
    adapter = TypeAdapter(Batch)
    assert dict(batch) == batch.to_dict() == adapter.dump_python(batch) == json.loads(adapter.dump_json(batch))  # type: ignore[call-overload] # as jsonable_encoder tries
    assert adapter.validate_python(batch) is batch
    assert adapter.json_schema(mode="serialization")["type"] == "object"


def test_a_job_knows_the_queue_it_came_from(line: Line) -> None:
    Bus.chain([N(1), N(2).on_queue("own")]).on_queue("q").dispatch()
    N(3).dispatch()
    line.work()
    assert {n: queue for n, queue, _ in ran} == {1: "q", 2: "own", 3: "line"}


def test_a_running_job_that_sends_itself_again_names_only_what_was_said(line: Line) -> None:
    class Again(Job):
        def handle(self) -> None:
            if not Context.get("again"):
                Context.add("again", True)
                self.dispatch()

    Again.dispatch()
    Again().on_queue("q").dispatch()
    line.work()
    assert [payload.queue for payload in line.taken] == [None, "q", None, "q"]


def test_the_verdict_of_a_run_has_a_public_name(line: Line) -> None:
    told: list[events.JobAttempted] = []
    with Events.listening(events.JobAttempted, told.append):
        N.dispatch(1)
        line.work()
    assert isinstance(told[0].verdict, verdicts.Done)
    assert not isinstance(told[0].verdict, verdicts.Release | verdicts.Fail)


def test_the_same_instance_dispatched_again_is_debounced_again(line: Line) -> None:
    made = Waits()
    made.dispatch()
    made.debounce_max_wait = 0
    made.dispatch()
    assert [delay for _, delay in line.waiting] == [10, 0]
    assert made.countdown is None


def test_an_unknown_connection_is_no_part_of_a_queue_s_name() -> None:
    class Level(enum.Enum):
        HIGH = "other:high"

    for name in ("mial:high", "linee:a:b"):
        with pytest.raises(LaraqError, match=r"Connection '(mial|linee)' is not configured"):
            Queue.size(name)
    with pytest.raises(LaraqError, match="Connection 'line' cannot tell"):
        Queue.size(Level.HIGH)  # type: ignore[arg-type] # the line has no inspection, and is asked


def test_a_chain_of_celery_s_takes_a_configured_job_behind_a_task(line: Line) -> None:
    app: Any = line.laraq.host.app  # type: ignore[attr-defined] # Celery's

    @app.task(base=LaraqTask, name="verbs.first")
    def first(x: int) -> int:
        return x

    made = chain(first.s(1), configured().s(), app=app)
    assert made.tasks[1].immutable
    assert made.tasks[1].kwargs == {"n": 5, "by": ""}
