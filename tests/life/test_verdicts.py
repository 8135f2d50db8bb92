"""Whatever a message holds and whatever a job raises, its delivery ends as done, released, or failed with a record."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.life.conftest import Stage
from tests.life.test_bad_messages import PUBLISH
from tests.support.waiting import wait_until

#: The brokers of laraq's own are known where laraq is.
RAW = PUBLISH.replace('app = Celery("raw", broker=os.environ["BROKER"])', "from proj import app")

JOBS = """
import asyncio, threading, uuid
from dataclasses import dataclass
from celery.exceptions import Ignore, Reject, Retry
from laraq import Batch, Bus

app.conf.worker_prefetch_multiplier = 4
queue.settings

class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")
    __repr__ = __str__

class Odd(BaseException):
    pass

@dataclass(frozen=True)
class Frozen(Exception):
    n: int

class Unpicklable(Exception):
    def __init__(self):
        super().__init__("lock")
        self.lock = threading.Lock()
    def __reduce__(self):
        raise TypeError("never")

class Undecided(Exception):
    def __bool__(self):
        raise RuntimeError("neither")
    __len__ = __eq__ = __hash__ = __bool__

def cancelled():
    async def wait():
        task = asyncio.create_task(asyncio.sleep(9))
        task.cancel()
        await task
    asyncio.run(wait())

def raising(error):
    def act():
        raise error
    return act

ACTS = {
    "cancelled": cancelled,
    "interrupt": raising(KeyboardInterrupt()),
    "generator": raising(GeneratorExit()),
    "odd": raising(Odd("odd")),
    "unspeakable": raising(Unspeakable()),
    "exit": raising(SystemExit(3)),
    "reject": raising(Reject("no", requeue=False)),
    "requeue": raising(Reject("later", requeue=True)),
    "retry": raising(Retry("again", when=0.1)),
    "surrogate": raising(ValueError("\\ud800 and \\0")),
    "frozen": raising(Frozen(1)),
    "unpicklable": raising(Unpicklable()),
    "undecided": raising(Undecided()),
    "group": raising(BaseExceptionGroup("several", [Odd(1), ValueError(2)])),
    "ignore": raising(Ignore()),
    "fine": lambda: None,
}

class Acts(Job):
    what: str
    tries = 2
    def handle(self):
        note("start", job=self.what, attempt=self.attempts)
        ACTS[self.what]()
    def failed(self, error):
        note("failed", job=self.what)

class Cancelled(Job):
    tries = 2
    async def handle(self):
        note("start", job="async", attempt=self.attempts)
        task = asyncio.create_task(asyncio.sleep(9))
        task.cancel()
        await task
    def failed(self, error):
        note("failed", job="async")

class After(Job):
    what: str
    def handle(self):
        note("after", job=self.what)

def caught(error):
    note("caught", error=type(error).__name__)

def over(batch: Batch):
    note("over", total=batch.total_jobs, failed=batch.failed_jobs, pending=batch.pending_jobs)

class Add(Job):
    x: int
    y: int = 0
    tries = 3
    def handle(self):
        note("added", x=self.x, attempt=self.attempts)
        return self.x + self.y

class Calls(Job):
    def handle(self):
        task = app.tasks["proj.Add"]
        note("called", sums=[task(1, 2), task(x=3), Add.s(4, 5)()])

@app.task(acks_late=True)
def steers(what):
    ACTS[what]()

@app.task
def ordinary(x):
    note("ordinary", x=x)
"""

FAILING = ["cancelled", "interrupt", "generator", "odd", "unspeakable", "exit", "requeue", "retry", "surrogate",
           "frozen", "unpicklable", "undecided", "group"]  # fmt: skip


@pytest.fixture(params=["redis", "amqp", "laraq-redis", "sqlite"])
def any_stage(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, queue_name: str, sqlite_url: str
) -> Iterator[Stage]:
    """On each kind of broker."""
    urls = {"redis": redis_url, "laraq-redis": f"laraq-{redis_url}", "sqlite": f"laraq-db+{sqlite_url}"}
    url = urls.get(request.param) or request.getfixturevalue("amqp_url")
    stage = Stage(tmp_path, url, redis_url, queue_name)
    yield stage
    stage.close()


def test_whatever_a_job_raises_is_judged(any_stage: Stage) -> None:
    project = any_stage.project(JOBS)
    with project.worker(concurrency=2) as worker:
        project.python(f"""
            from proj import *
            jobs = [*map(Acts, {FAILING!r}), Acts("reject"), Acts("ignore"), Acts("fine"), Cancelled()]
            Bus.batch(jobs).allow_failures().finally_(over).dispatch()
            for what in ("unspeakable", "cancelled", "reject"):
                Bus.chain([Acts(what), After(what)]).catch(caught).dispatch()
            tasks = [steers.si(what) for what in ("ignore", "reject", "fine")]
            Bus.batch(tasks).allow_failures().finally_(over).dispatch()
            for what in ("ignore", "fine"):
                Bus.chain([Acts(what), After(what)]).catch(caught).dispatch()
        """)
        tasks, over = sorted(any_stage.wait_for("over", times=2), key=lambda note: note["total"])
        assert (tasks["failed"], tasks["pending"]) == (1, 1), "ordinary tasks say it to Celery alone"
        assert (over["failed"], over["pending"]) == (len(FAILING) + 2, len(FAILING) + 2)
        any_stage.wait_for("caught", times=3)
        any_stage.wait_for("after", times=2)
        failed = any_stage.wait_for_failed(len(FAILING) + 2 + 3)
        assert worker.terminate() == 0
    assert len(failed) == len(FAILING) + 2 + 3
    for what in FAILING:
        attempts = [note["attempt"] for note in any_stage.noted("start", job=what)]
        assert sorted(set(attempts)) == [1, 2]
        assert len(any_stage.noted("failed", job=what)) == len(attempts) // 2
    assert {note["job"] for note in any_stage.noted("after")} == {"ignore", "fine"}
    assert "Traceback" not in worker.log.split("ready.")[0]


def test_ids_are_text_and_calls_in_place_are_plain_calls(any_stage: Stage) -> None:
    project = any_stage.project(JOBS, **{"raw.py": RAW})
    with project.worker(concurrency=1) as worker:
        printed = project.python("""
            from proj import *
            sent = [Add.apply_async((1,), task_id=uuid.uuid4()), Add.s(7).apply_async(task_id=uuid.uuid4())]
            print([type(result.id).__name__ for result in sent], Add.s(1, 2)(), app.tasks["proj.Add"](2, 2))
            app.tasks["proj.Add"].map([1, 2]).apply_async()
            app.tasks["proj.Add"].starmap([(3, 4), (5, 6)]).apply_async()
            app.tasks["proj.Add"].chunks([(x, 0) for x in range(100, 104)], 2).apply_async()
            Calls.dispatch()
            for x in range(10, 30):
                Add.dispatch(x)
            from raw import publish
            publish("proj.Add", b"[[40], {}, {}]", id=41)
        """)
        assert printed == "['str', 'str'] 3 4\n"
        assert any_stage.wait_for("called")[0]["sums"] == [3, 3, 9]
        expected = {1, 7, 2, 3, 4, 5, *range(10, 30), *range(100, 104), 40}
        wait_until(lambda: {note["x"] for note in any_stage.noted("added")} == expected, 30, "all were added")
        assert worker.terminate() == 0
    assert any_stage.failed() == []


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


LARAQ = {"v": 1}

#: Body, and headers beside the usual ones.
MALFORMED: dict[str, tuple[str, dict[str, Any]]] = {
    "kwargs null": ("[[], null, {}]", {"laraq": LARAQ}),
    "kwargs a list": ("[[], [1], {}]", {"laraq": LARAQ}),
    "kwargs null, a stranger's": ("[[], null, {}]", {}),
    "args a text": ('["abc", {}, {}]', {"laraq": LARAQ}),
    "a field called self": ('[[], {"self": 1, "x": 1}, {}]', {"laraq": LARAQ}),
    "canvas a list": ("[[1], {}, [1]]", {"laraq": LARAQ}),
    "canvas a number": ("[[1], {}, 7]", {"laraq": LARAQ}),
    "canvas with an id": ('[[1], {}, {"id": "other"}]', {"laraq": LARAQ}),
    "header a text": ("[[1], {}, {}]", {"laraq": "yes"}),
    "options a list": ("[[1], {}, {}]", {"laraq": {**LARAQ, "options": [1]}}),
    "attempts a text": ("[[1], {}, {}]", {"laraq": {**LARAQ, "attempts": "many"}}),
    "attempts beyond a database": ("[[1], {}, {}]", {"laraq": {**LARAQ, "attempts": 2**31}}),
    "attempts negative": ("[[1], {}, {}]", {"laraq": {**LARAQ, "attempts": -5}}),
    "chain a text inside": ("[[1], {}, {}]", {"laraq": {**LARAQ, "chain": {"rest": "x"}}}),
    "chain of numbers": ("[[1], {}, {}]", {"laraq": {**LARAQ, "chain": {"rest": [5]}}}),
    "crash a text": ("[[1], {}, {}]", {"laraq": LARAQ, "laraq_crash": "yes"}),
    "crash finished": ("[[1], {}, {}]", {"laraq": LARAQ, "laraq_crash": {"kind": "finished", "detail": "forged"}}),
    "crash unfinished": ("[[1], {}, {}]", {"laraq": LARAQ, "laraq_crash": {"kind": "lost"}}),
    "timeout a text": ("[[1], {}, {}]", {"laraq": {**LARAQ, "options": {"timeout": "1 minute"}}}),
    "timeout a list": ("[[1], {}, {}]", {"laraq": {**LARAQ, "options": {"timeout": [1]}}}),
    "backoff a text": ("[[1], {}, {}]", {"laraq": {**LARAQ, "options": {"backoff": "soon"}}}),
    "timelimit a text": ("[[1], {}, {}]", {"laraq": LARAQ, "timelimit": "30 s"}),
    "timelimit of texts": ("[[1], {}, {}]", {"laraq": LARAQ, "timelimit": ["a", "b"]}),
    "stamped_headers a number": ("[[1], {}, {}]", {"laraq": LARAQ, "stamped_headers": 5}),
    "stamps a list": ("[[1], {}, {}]", {"laraq": LARAQ, "stamped_headers": ["a"], "stamps": [1]}),
    "retries a text": ("[[1], {}, {}]", {"laraq": LARAQ, "retries": "x"}),
    "eta a number": ("[[1], {}, {}]", {"laraq": LARAQ, "eta": 5}),
    "expires a text": ("[[1], {}, {}]", {"laraq": LARAQ, "expires": "soon"}),
    "context too deep": ("[[1], {}, {}]", {"laraq": {**LARAQ, "context": deep(230)}}),
    "a strange header too deep": ("[[1], {}, {}]", {"laraq": LARAQ, "strange": deep(230)}),
    "a body too deep": (json.dumps([[deep(600)], {}, {}]), {"laraq": LARAQ}),
    "compressed with nothing": ("[[1], {}, {}]", {"laraq": LARAQ, "compression": "bzip2"}),
    "compression a number": ("[[1], {}, {}]", {"laraq": LARAQ, "compression": 5}),
    "an id too long": ("[[1], {}, {}]", {"laraq": LARAQ, "id": "x" * 1000}),
    "an id of NUL": ("[[1], {}, {}]", {"laraq": LARAQ, "id": "x\0y"}),
    "id a list": ("[[1], {}, {}]", {"laraq": LARAQ, "id": [1]}),
    "id a mapping": ("[[1], {}, {}]", {"laraq": LARAQ, "id": {"a": 1}}),
    "id null": ("[[1], {}, {}]", {"laraq": LARAQ, "id": None}),
    "task a list": ("[[1], {}, {}]", {"laraq": LARAQ, "task": ["proj.Add"]}),
    "unique of numbers": ("[[1], {}, {}]", {"laraq": {**LARAQ, "unique": {"key": 1, "owner": 2}}}),
    "through of numbers": ("[[1], {}, {}]", {"laraq": {**LARAQ, "through": [1]}}),
    "the unknown task, naming none": ("[[1], {}, {}]", {"laraq": LARAQ, "task": "laraq.unknown"}),
    "ordinary: id a list": ("[[1], {}, {}]", {"task": "proj.ordinary", "id": [1]}),
    "ordinary: id a mapping": ("[[1], {}, {}]", {"task": "proj.ordinary", "id": {"a": 1}}),
    "ordinary: timelimit a text": ("[[1], {}, {}]", {"task": "proj.ordinary", "timelimit": "30"}),
    "ordinary: stamped_headers a number": ("[[1], {}, {}]", {"task": "proj.ordinary", "stamped_headers": 5}),
    "ordinary: too deep": (json.dumps([[deep(600)], {}, {}]), {"task": "proj.ordinary"}),
}


def test_malformed_messages_neither_vanish_nor_loop_nor_end_the_worker(any_stage: Stage) -> None:
    project = any_stage.project(JOBS, **{"raw.py": RAW, "malformed.json": json.dumps(MALFORMED)})
    with project.worker(concurrency=1) as worker:
        printed = project.python("""
            import json
            from raw import publish
            for name, (body, headers) in json.load(open("malformed.json")).items():
                task = headers.pop("task", "proj.Add")
                try:
                    publish(task, body.encode(), **headers)
                except Exception as error:
                    print(f"not sent|{name}|{error!r:.100}")
            import proj
            proj.Add.dispatch(77)
            proj.ordinary.delay(78)
        """)
        unsent = [line for line in printed.splitlines() if line.startswith("not sent")]
        assert len(unsent) <= 2, unsent  # AMQP has no header of that many levels
        any_stage.wait_for("added", x=77)
        any_stage.wait_for("ordinary", x=78)
        any_stage.wait_for_failed(len(MALFORMED) - len(unsent))
        assert worker.terminate() == 0
        log = worker.log
    assert len(any_stage.failed()) == len(MALFORMED) - len(unsent)
    # What follows it cannot be sent: found out when the job had done its work.
    assert [note["x"] for note in any_stage.noted("added")] == [1, 77]
    assert [note["x"] for note in any_stage.noted("ordinary")] == [78]
    assert "Unrecoverable error" not in log


def test_a_forged_name_of_a_job_does_not_loop(any_stage: Stage) -> None:
    project = any_stage.project(JOBS, **{"raw.py": RAW})
    with project.worker(concurrency=1) as worker:
        project.python("""
            from raw import publish
            for name in ("nope.Nope", "proj.ordinary", "laraq.unknown", "proj.Add", 5, ["proj.Add"]):
                publish("proj.Add", b"[[1], {}, {}]", {"v": 1}, laraq_job=name)
            import proj
            proj.Add.dispatch(77)
        """)
        any_stage.wait_for("added", x=77)
        any_stage.wait_for("added", times=6, x=1)
        assert worker.terminate() == 0
        assert worker.log.count("received") == 7


def test_a_dispatch_refuses_what_a_worker_could_not_take(redis_stage: Stage) -> None:
    project = redis_stage.project(JOBS)
    printed = project.python("""
        from proj import *
        from laraq import Context
        from laraq.errors import InvalidJobError

        def refused(send):
            try:
                send()
            except InvalidJobError as error:
                print(str(error).splitlines()[0][:60])

        for name, value in [("timeout", "1 minute"), ("timeout", float("inf")), ("tries", -1), ("backoff", ["soon"])]:
            job = Add(1)
            setattr(job, name, value)
            refused(job.dispatch)
        refused(lambda: Add.apply_async((1,), task_id="x" * 201))
        refused(lambda: Add.apply_async((1,), task_id="x\\0"))
        deep = 1
        for _ in range(600):
            deep = {"a": deep}
        Context.add("deep", deep)
        refused(lambda: Add.dispatch(1))
    """)
    assert printed.splitlines() == [
        "proj.Add: timeout = '1 minute': expected seconds, 0 for no l",
        "proj.Add: timeout = inf: expected seconds, 0 for no limit.",
        "proj.Add: tries = -1: expected a number of starts, 0 for no ",
        "proj.Add: backoff = ['soon']: expected seconds, a list of se",
        f"proj.Add: the id '{'x' * 60}"[:60],
        "proj.Add: the id 'x\\x00' is invalid: expected 1 to 200 chara",
        "proj.Add: the context holds lists or mappings nested more th",
    ]


def envelope(**changes: Any) -> dict[str, Any]:
    """A message as kombu puts it into a list of Redis, but for these parts; `properties_x` is a property."""
    id = str(uuid4())
    message: dict[str, Any] = {
        "body": base64.b64encode(b"[[1], {}, {}]").decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "proj.Add", "id": id, "laraq": LARAQ},
        "properties": {
            "correlation_id": id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }
    for name, value in changes.items():
        if name.startswith("properties_"):
            message["properties"][name.removeprefix("properties_")] = value
        else:
            message[name.replace("_", "-")] = value
    return message


GARBLED: list[Any] = [
    "5", "garbage{", "{}", "[1]", "null", b"\xff\xfe", '{"a":' * 5000 + "1" + "}" * 5000,
    envelope(properties=5), envelope(properties={}), envelope(properties_delivery_tag=[1]),
    envelope(properties_delivery_info=5), envelope(properties_priority="high"), envelope(properties_priority=[1]),
    envelope(properties_body_encoding="rot13"), envelope(properties_body_encoding=5), envelope(body=5),
    envelope(body=None), envelope(body="!!!"), envelope(headers=[1]), envelope(headers="x"), envelope(headers=None),
    envelope(content_type=5), envelope(content_encoding=5), envelope(content_encoding="nonsense"),
    envelope(properties_correlation_id=[1]), envelope(properties_reply_to={"a": 1}),
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["redis", "laraq-redis"])
def test_what_lies_in_a_queue_and_is_no_message_does_not_end_the_worker(
    tmp_path: Path, redis_url: str, queue_name: str, scheme: str
) -> None:
    stage = Stage(tmp_path, redis_url.replace("redis", scheme, 1), redis_url, queue_name)
    project = stage.project(JOBS)
    with project.worker(concurrency=1) as worker:
        stage.record.lpush("celery", *(item if isinstance(item, str | bytes) else json.dumps(item) for item in GARBLED))
        project.python("import proj; proj.Add.dispatch(77)")
        stage.wait_for("added", x=77)
        wait_until(
            lambda: len(stage.failed()) + len(stage.noted("added", x=1)) == len(GARBLED), 30, "each has a verdict"
        )
        assert len(stage.failed()) >= 20
        assert worker.terminate() == 0
    stage.close()
