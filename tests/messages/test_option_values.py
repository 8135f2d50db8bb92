"""What options may be, in classes, `@job`, tasks, instances, methods, verbs and messages; the table of the guide."""

from __future__ import annotations

import enum
import inspect
import math
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from celery import Celery

from laraq import (
    Backoff,
    Job,
    Laraq,
    LaraqTask,
    Limit,
    Queue,
    RateLimited,
    RateLimiter,
    ThrottlesExceptions,
    WithoutOverlapping,
    dispatch,
    funnel,
    job,
    lock,
    throttle,
)
from laraq.errors import InvalidJobError, JobDefinitionError, LaraqError, OptionError
from laraq.messages.delivery import Delivery, Fail
from laraq.messages.options import OPTIONS, TABLE, TRAVELLING, checked, document, misfit, nearest
from laraq.messages.payload import Payload
from tests.support.line import Line

NOW = datetime.now(UTC)
GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


class Level(enum.Enum):
    HIGH = "high"


class Mixed(str, enum.Enum):  # noqa: UP042 - whose str() is not its value
    HIGH = "high"


class Plain(Job):
    n: int = 0

    def handle(self) -> None: ...


@pytest.fixture(autouse=True)
def line() -> Iterator[Line]:
    with Line.attached() as line:
        yield line


#: What an option takes, as somebody may write it.
TAKES: dict[str, list[Any]] = {
    "connection": ["line"],
    "queue": ["q", "redis:foo:bar"],
    "countdown": [0, 5, -5, 0.5, timedelta(minutes=1), timedelta(days=-1), NOW, NOW + timedelta(days=1)],
    "tries": [0, 1, 2**31 - 1],
    "backoff": [0, 1.5, timedelta(seconds=1), [], [1, timedelta(seconds=2)], (1, 2), Backoff.exponential(2)],
    "retry_until": [timedelta(seconds=1), NOW, NOW - timedelta(days=1), NOW.timestamp() + 60],
    "max_exceptions": [0, 3],
    "timeout": [0, 1, 0.5, timedelta(hours=1)],
    "fail_on_timeout": [True, False],
    "unique": [True, False],
    "unique_until_processing": [True, False],
    "unique_id": ["x", 7, ("a", 1), NOW],
    "unique_for": [1, 0.1, timedelta(days=1)],
    "unique_via": ["memory://"],
    "debounce_for": [1, timedelta(seconds=1)],
    "debounce_max_wait": [0, 5],
    "after_commit": [True, False],
    "encrypted": [False],
    "delete_when_missing_models": [True, False],
    "without_relations": [True, False],
    "tags": [[], ["a"], ("a", "b"), {"a"}],
    "display_name": ["A name"],
    "silenced": [True, False],
    "priority": [0, 9, 255],
    "expires": [1, 0.5],
    "ignore_result": [True, False],
}

_NO_LENGTHS: list[Any] = [math.inf, -math.inf, math.nan, "soon", True, date.today(), 10**400, [1], object()]
_NO_FLAGS: list[Any] = [0, 1, "yes", []]
_NO_TEXTS: list[Any] = [5, b"q", ["q"], True, object()]

#: What is refused.
REFUSES: dict[str, list[Any]] = {
    "connection": _NO_TEXTS,
    "queue": _NO_TEXTS,
    "countdown": [*_NO_LENGTHS, datetime.now(), 10**12],
    "tries": [-1, 1.5, "3", True, math.nan, timedelta(1)],
    "backoff": ["soon", ["soon"], [[1]], -1, math.inf, {"base": 1}, Backoff, Backoff(-1, 1, 0), date.today()],
    "retry_until": [*_NO_LENGTHS, 3600, -1, datetime.now(), timedelta(0), timedelta(days=-1), 10**18],
    "max_exceptions": [-1, 0.5, "3", True],
    "timeout": [*_NO_LENGTHS, -1, NOW],
    "fail_on_timeout": _NO_FLAGS,
    "unique": [*_NO_FLAGS, 60],
    "unique_until_processing": _NO_FLAGS,
    "unique_id": [object()],
    "unique_for": [*_NO_LENGTHS, 0, -1, timedelta(0), NOW],
    "unique_via": [5, object()],
    "debounce_for": [*_NO_LENGTHS, 0, -1],
    "debounce_max_wait": [*_NO_LENGTHS, -1],
    "after_commit": _NO_FLAGS,
    "encrypted": _NO_FLAGS,
    "delete_when_missing_models": _NO_FLAGS,
    "without_relations": _NO_FLAGS,
    "tags": ["eu", Level.HIGH, b"eu", [5], {"a": 1}, 5, True],
    "display_name": _NO_TEXTS,
    "silenced": _NO_FLAGS,
    "priority": [-1, 256, 1.5, "high", True],
    "expires": [*_NO_LENGTHS, 0, -1, timedelta(minutes=1), datetime.now()],
    "ignore_result": _NO_FLAGS,
}


def plain() -> None: ...


def made(**body: Any) -> Any:
    return type("Made", (Job,), {"__module__": __name__, "handle": lambda self: None, **body})


def test_the_tables_are_about_every_option() -> None:
    assert TAKES.keys() == REFUSES.keys() == OPTIONS


@pytest.mark.parametrize("name", TABLE)
def test_an_option_is_taken_in_a_class_and_on_an_instance(name: str) -> None:
    for value in TAKES[name]:
        made(**{name: value})().dispatch()
        if TABLE[name].on_instance:
            own = Plain()
            setattr(own, name, value)
            own.dispatch()
        if name in TRAVELLING and not isinstance(value, timedelta | list | tuple | Backoff):
            assert misfit({name: value}) is None
    made(**{name: None})().dispatch()


@pytest.mark.parametrize("name", TABLE)
def test_a_value_that_nothing_can_be_made_of_is_refused_where_it_is_written(name: str) -> None:
    for value in REFUSES[name]:
        with pytest.raises(JobDefinitionError, match=rf"Made: {name} = "):
            made(**{name: value})
        with pytest.raises(JobDefinitionError, match=rf"plain: {name} = "):
            job(**{name: value})(plain)


@pytest.mark.parametrize("name", TABLE)
def test_a_value_of_an_instance_or_a_method_is_refused_at_the_dispatch(line: Line, name: str) -> None:
    asked = TABLE[name].method and name not in ("tries", "backoff", "max_exceptions", "fail_on_timeout")
    says = made(unique=name.startswith("unique"), **{name: lambda self: self.said}) if asked else None
    for value in REFUSES[name]:
        own = Plain()
        setattr(own, name, value)
        with pytest.raises(InvalidJobError, match=rf"Plain: (its {name} is|{name} =|{name} is set on the class,) "):
            own.dispatch()
        if says is not None:
            own = says()
            own.said = value
            with pytest.raises(InvalidJobError, match=rf"Made: (its {name} is|{name} =) "):
                own.dispatch()
        if name in TRAVELLING:
            assert (misfit({name: value}) or "").startswith(f"{name} = ")
    assert line.taken == []


@pytest.mark.parametrize("name", ["tries", "backoff"])
def test_what_a_method_says_in_the_worker_is_checked_there(name: str, caplog: pytest.LogCaptureFixture) -> None:
    def breaks(self: Any) -> None:
        raise ValueError("its own")

    cls = made(**{name: lambda self: ["soon"], "handle": breaks, "__qualname__": f"Says{name}"})
    payload = Payload("1", cls.job_name())
    from laraq import current

    run = current().runner.run(Delivery(payload, 1, "q", "line"))
    assert isinstance(run.verdict, Fail)
    if name == "tries":
        assert "tries = ['soon']: expected a number of starts" in str(run.verdict.error)
    else:
        assert str(run.verdict.error) == "its own"  # the job's own error stays


VERBS: dict[str, Callable[[Plain], Any]] = {
    "queue": lambda it: it.on_queue(5),  # type: ignore[arg-type]
    "connection": lambda it: it.on_connection(["a"]),  # type: ignore[arg-type]
    "countdown": lambda it: it.with_delay(datetime.now()),
    "tags": lambda it: it.with_tags(5),  # type: ignore[arg-type]
    "priority": lambda it: it.with_priority("high"),  # type: ignore[arg-type]
    "expires": lambda it: it.expires_at(timedelta(minutes=1)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("name", "say"), VERBS.items(), ids=VERBS)
def test_a_verb_refuses_it_at_once(name: str, say: Callable[[Plain], Any]) -> None:
    with pytest.raises(InvalidJobError, match=f"Plain: its {name} is "):
        say(Plain())


def test_a_moment_to_expire_at_is_taken() -> None:
    assert checked("expires", NOW) is NOW


def test_remedies() -> None:
    for name, value, remedy in [
        ("retry_until", 3600, r"timedelta\(seconds=3600\)"),
        ("countdown", datetime.now(), r"needs a timezone: datetime\.now\(timezone\.utc\)"),
        ("countdown", date.today(), "a date has no time of day"),
        ("tags", "eu", r"expected a list of texts: \['eu'\]"),
        ("expires", timedelta(1), r"timedelta\(\.\.\.\)\.total_seconds\(\)"),
        ("unique_id", object(), "give its id"),
    ]:
        with pytest.raises(OptionError, match=remedy):
            checked(name, value)


@pytest.mark.parametrize("flag", ["unique", "unique_until_processing"])
def test_what_excludes_each_other_is_refused(flag: str) -> None:
    with pytest.raises(JobDefinitionError, match="either unique or debounced"):
        made(debounce_for=5, **{flag: True})
    own = made(debounce_for=5)()
    setattr(own, flag, True)
    with pytest.raises(InvalidJobError, match="either unique or debounced"):
        own.dispatch()


def test_what_only_a_class_may_say_and_what_is_no_method() -> None:
    own = Plain()
    own.without_relations = True
    with pytest.raises(InvalidJobError, match="without_relations is set on the class"):
        own.dispatch()
    with pytest.raises(JobDefinitionError, match="unique is a method, which would not be called"):
        made(unique=lambda self: True)


def test_mixins_say_options_as_classes_do(line: Line) -> None:
    class Late:
        queue = Level.HIGH
        after_commit = True

    class Wrong:
        tries = "3"

    class Of(Late, Plain): ...

    assert Of.queue == "high"
    assert (Of._after_commit, Of().after_commit()._after_commit) == (True, True)
    with pytest.raises(JobDefinitionError, match="tries = '3'"):

        class With(Wrong, Plain): ...


def test_the_commit_may_be_said_as_an_attribute_of_an_instance() -> None:
    own: Any = Plain()
    own.after_commit = False
    own.dispatch()
    assert own._after_commit is False
    assert inspect.ismethod(own.after_commit)


SLIPS = {
    "tires": "tries",
    "tryes": "tries",
    "maxExceptions": "max_exceptions",
    "retryUntil": "retry_until",
    "time_out": "timeout",
    "quue": "queue",
    "conection": "connection",
    "uniqueId": "unique_id",
    "delete_when_missing_model": "delete_when_missing_models",
    "debouce_for": "debounce_for",
}
OWN = [
    "table",
    "threshold",
    "colour",
    "limit",
    "url",
    "name",
    "date",
    "template",
    "tag",
    "times",
    "retries",
    "collection",
    "TIMEOUT",
    "_tires",
    "query",
    "quote",
    "state",
    "path",
    "status",
    "delay_between",
]


@pytest.mark.parametrize(("typed", "meant"), SLIPS.items())
def test_a_slip_of_the_keys_is_refused_with_the_nearest_name(typed: str, meant: str) -> None:
    with pytest.raises(JobDefinitionError, match=f"Made: unknown option '{typed}'. Did you mean '{meant}'"):
        made(**{typed: 3})
    own = Plain()
    setattr(own, typed, 3)
    with pytest.raises(InvalidJobError, match=f"'{typed}'. Did you mean '{meant}'"):
        own.dispatch()
    app = Celery("t", broker="memory://", set_as_current=False)
    Laraq(app, store="memory://")
    task = app.task(base=LaraqTask, shared=False, name="slips.task", **{typed: 2})(plain)
    with pytest.raises(JobDefinitionError, match=rf"slips\.task \(.*{Path(__file__).name}:\d+\).*'{meant}'"):
        task.delay()


def test_a_name_near_no_option_is_the_class_s_own() -> None:
    for name in OWN:
        assert nearest(name) is None
        assert getattr(made(**{name: 3})(), name) == 3


def test_a_name_near_an_option_may_be_one_s_own() -> None:
    class Made(Plain):
        tires: ClassVar[int] = 4
        trees: int = 3

        def queues(self, of: str) -> None: ...

    assert (Made.tires, Made().trees) == (4, 3)
    Made().dispatch()


@pytest.mark.parametrize("options", [{"tries": "3"}, {"backoff": ["soon"]}, {"unique_for": 0}, {"middleware": None}])
def test_a_task_is_refused_as_a_class_is(options: dict[str, Any]) -> None:
    app = Celery("t", broker="memory://", set_as_current=False)
    Laraq(app, store="memory://")
    task = app.task(base=LaraqTask, shared=False, name="refused.task", **options)(plain)
    with pytest.raises(JobDefinitionError, match=next(iter(options))):
        task.delay()


class Notes:
    def __repr__(self) -> str:
        return "Notes()"

    def handle(self, job: Any, next: Any) -> Any:
        return next(job)


@pytest.mark.parametrize(
    "given",
    [None, Notes(), Notes, [Notes], "Notes", ["Notes"], [None], {"a": Notes()}, 5],
    ids=["None", "one", "class", "classes", "text", "texts", "Nones", "mapping", "number"],
)
def test_middleware_that_is_none_names_the_job_and_the_remedy(line: Line, given: Any) -> None:
    with pytest.raises(InvalidJobError, match=r"Made: middleware\(\) is .*: (expected|middleware is an object)"):
        made(middleware=lambda self: given)().dispatch()
    with pytest.raises(InvalidJobError, match=r"Plain: through\(\)"):
        Plain().through(given).dispatch()
    with pytest.raises(JobDefinitionError, match=r"Made: middleware is .*def middleware\(self\)"):
        made(middleware=given)
    with pytest.raises(JobDefinitionError, match="plain: middleware is "):
        job(middleware=given)(plain)
    assert line.taken == []


def test_middleware_may_be_any_list_of_objects_and_functions(line: Line) -> None:
    def generated(self: Any) -> Iterator[Any]:
        yield Notes()

    for given in (lambda self: [], lambda self: (Notes(), lambda job, next: next(job)), generated):
        made(middleware=given)().dispatch()
    line.work()


def test_a_closure_over_what_cannot_travel_says_so() -> None:
    from cryptography.fernet import Fernet

    held = threading.Lock()
    with (
        Line.attached(keys=[Fernet.generate_key().decode()]),
        pytest.raises(InvalidJobError, match=r"test_a_closure_over.*lambda> cannot be sent: .*lock"),
    ):
        dispatch(lambda: held)


@pytest.mark.parametrize("member", [Level.HIGH, Mixed.HIGH])
def test_a_member_of_an_enum_is_its_value_where_a_text_is_meant(line: Line, member: Any) -> None:
    assert (made(queue=member).queue, made(tags=[member]).tags) == ("high", ["high"])
    Plain().on_queue(member).on_connection(enum.Enum("At", {"LINE": "line"}).LINE).with_tags(member).dispatch()
    assert (line.taken[0].queue, line.taken[0].connection, line.taken[0].tags) == ("high", "line", ("high",))
    Queue.route(Plain, queue=member)
    Queue.forward("low", member)
    Plain().dispatch()
    Plain().on_queue("low").dispatch()
    assert [payload.queue for payload in line.taken[1:]] == ["high", "high"]
    unique = made(unique=True, unique_id=lambda self: member)
    assert [unique().dispatch().skipped, made(unique=True, unique_id="high")().dispatch().skipped] == [False, True]
    keys = [lock(member, 5).key, throttle(member).key, funnel(member).key, WithoutOverlapping(member).key]
    assert keys == ["high"] * 4
    assert (Limit.per_minute(1).by(member).key, ThrottlesExceptions().by(member)._key) == ("high", "high")
    RateLimiter.for_(member, lambda job: Limit.per_minute(1))
    assert (RateLimited(member).name, RateLimiter.limiter("high")) == ("high", RateLimiter.limiter(member))
    RateLimiter.hit(member)
    assert RateLimiter.attempts("high") == 1


@pytest.mark.parametrize("make", [WithoutOverlapping, lambda it: lock(it, 5), throttle, Limit.per_minute(1).by])
def test_a_key_that_is_another_in_each_process_is_refused(make: Callable[[Any], Any]) -> None:
    with pytest.raises(LaraqError, match="A key made of object"):
        make(object())


def test_a_delay_of_the_past_is_now(line: Line) -> None:
    for past in (-5, timedelta(days=-1), NOW - timedelta(days=400)):
        Plain().with_delay(past).dispatch()
    assert [delay for _, delay in line.waiting] == [0, 0, 0]


def test_the_guide_has_the_table() -> None:
    assert document() in GUIDE.read_text()
    assert re.findall(r"^\| `(\w+)` \|", document(), re.MULTILINE) == list(TABLE)
