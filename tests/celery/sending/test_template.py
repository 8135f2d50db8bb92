"""A message filled into a template is what `Task.apply_async` leaves on the broker, or Celery sends it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery, Task
from celery.signals import after_task_publish
from kombu import Exchange, Queue

from laraq import Job
from laraq.messages.payload import CIPHER
from tests.celery.sending.conftest import Import, OpenWays, Ways, listened


def same(ways: Ways, *, queue: str = "celery", delay: float = 0, **changes: Any) -> dict[str, Any]:
    """Sends the same payload both ways, compares the messages and returns the filled one."""
    payload = ways.payload(**changes)
    filled, celerys = ways.filled(payload, delay, queue), ways.celerys(payload, delay, queue)
    etas = [datetime.fromisoformat(one["headers"].pop("eta")) for one in (filled, celerys)] if delay else [None, None]
    assert filled == celerys
    if etas[0] and etas[1]:
        assert abs(etas[0] - etas[1]) < timedelta(seconds=5)
        assert etas[0].utcoffset() == etas[1].utcoffset()
    return filled


PAYLOADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "priority": {"carrier": {"priority": 7}},
    "ignored result": {"carrier": {"ignore_result": True}},
    "kept result": {"carrier": {"ignore_result": False}},
    "display name": {"carrier": {"shadow": "Import of row 7"}},
    "a link of a chain": {"carrier": {"root_id": "the-root", "parent_id": "the-parent"}, "once": 1},
    "headers of its own": {"carrier": {"headers": {"tenant": "acme", "trace": [1, {"x": None}]}}},
    "a UUID in a header": {"carrier": {"headers": {"tenant": uuid.UUID(int=5)}}},
    "a UUID in the context": {"context": {"user": uuid.UUID(int=5), "at": datetime(2026, 1, 1, tzinfo=UTC)}},
    "a header of Celery's name": {"carrier": {"headers": {"retries": 3, "group": "g"}}},
    "options and tags": {"options": {"tries": 3, "backoff": [1, 2.5]}, "tags": ("a", "b")},
    "counts": {"attempts": 2, "exceptions": 1, "retry_until": 1.5e9, "last_error": "KeyError: 'x'"},
    "hidden fields": {"fields": {CIPHER: "gAAAAAB"}},
    "values by position": {"args": (7, "x"), "fields": {}},
    "no values": {"fields": {}},
    "words of the world": {"fields": {"name": "Żółw 🐢 'quoted' \"twice\"\n\t\\"}, "last_error": "Żółw"},
    "half a surrogate pair": {"last_error": "\ud800", "fields": {"name": "\ud800"}},
    "odd numbers": {"fields": {"a": float("inf"), "b": 1e300, "c": 2**80, "d": -0.0}, "created_at": 1e-7},
    "deep values": {"fields": {"tree": {"a": [{"b": [[{"c": [1, 2, {"d": {}}]}]]}]}}},
    "long values": {"fields": {"text": "word " * 5000, "rows": list(range(5000))}},
}  # fmt: skip


@pytest.mark.parametrize("changes", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_the_message_is_celerys(open_ways: OpenWays, changes: dict[str, Any]) -> None:
    same(open_ways(), **changes)


@pytest.mark.parametrize("changes", [{}, PAYLOADS["priority"], PAYLOADS["words of the world"]], ids=lambda one: [*one])
def test_the_message_is_celerys_on_every_broker(any_url: str, open_ways: OpenWays, changes: dict[str, Any]) -> None:
    same(open_ways(any_url), **changes)


APPS: dict[str, tuple[dict[str, Any], str]] = {
    "default queue": ({"task_default_queue": "shop"}, "shop"),
    "routes by name": ({"task_routes": {"*.Import": {"queue": "rows", "priority": 3}}}, "rows"),
    "routes by pattern, a string": ({"task_routes": {"tests.celery.sending.*": "rows"}}, "rows"),
    "route with an exchange": (
        {"task_routes": {"*.Import": {"exchange": "rows", "routing_key": "row", "exchange_type": "direct"}},
         "task_queues": [Queue("rows", Exchange("rows", "direct"), "row")]},
        "rows",
    ),
    "topic exchange": (
        {"task_queues": [Queue("rows", Exchange("shop", "topic"), "rows.#")], "task_default_queue": "rows"}, "rows",
    ),
    "default exchange type": ({"task_default_exchange_type": "topic", "task_default_routing_key": "celery"}, "celery"),
    "two queues behind a fanout": (
        {"task_queues": [Queue("rows", Exchange("all", "fanout")), Queue("copy", Exchange("all", "fanout"))],
         "task_default_queue": "rows"},
        "rows",
    ),
    "transient": ({"task_default_delivery_mode": "transient"}, "celery"),
    "transient exchange": (
        {"task_queues": [Queue("celery", Exchange("celery", delivery_mode=1), "celery")]}, "celery",
    ),
    "priorities": ({"task_queue_max_priority": 9, "task_default_priority": 4}, "celery"),
    "annotations": ({"task_annotations": {"*": {"priority": 5, "time_limit": 9, "soft_time_limit": 8}}}, "celery"),
    "an annotated queue": ({"task_annotations": {"*": {"queue": "rows"}}}, "rows"),
    "ignored results": ({"task_ignore_result": True}, "celery"),
    "only known queues": (
        {"task_create_missing_queues": False, "task_queues": [Queue("celery", Exchange("celery"), "celery")]}, "celery",
    ),
    "missing queues of a type": ({"task_create_missing_queue_exchange_type": "topic"}, "celery"),
    "short representations": ({"task_repr_maxlevels": 1}, "celery"),
}  # fmt: skip


@pytest.mark.parametrize(("conf", "queue"), APPS.values(), ids=APPS.keys())
def test_the_message_goes_where_celery_sends_it(open_ways: OpenWays, conf: dict[str, Any], queue: str) -> None:
    ways = open_ways(**conf)
    same(ways, queue=queue)
    same(ways, queue=queue)  # the second is sent from what the first left


@pytest.mark.parametrize("queue", ["rows", "celery"])
def test_a_jobs_own_queue_beats_routes(open_ways: OpenWays, queue: str) -> None:
    ways = open_ways(task_routes={"*": {"queue": "elsewhere", "priority": 2}})
    same(ways, job=Import(1).on_queue(queue), queue=queue)


@pytest.mark.parametrize("conf", [{}, {"timezone": "Europe/Berlin"}, {"enable_utc": False, "timezone": "Asia/Tokyo"}])
def test_a_delay_is_celerys_eta(open_ways: OpenWays, conf: dict[str, Any]) -> None:
    same(open_ways(**conf), delay=90.5)


def test_inside_of_a_task_the_job_has_celerys_root_and_parent(open_ways: OpenWays) -> None:
    ways = open_ways()
    seen: list[Any] = []

    @ways.app.task(name="outer", shared=False)
    def outer() -> None:
        seen.append(same(ways)["headers"])
        seen.append([child.id for child in outer.request.children])

    outer.apply(task_id="the-parent", root_id="the-root").get()
    headers, children = seen
    assert (headers["root_id"], headers["parent_id"]) == ("the-parent", "the-parent")
    assert children == [ways.payload().id] * 2


def test_what_is_changed_later_counts_at_once(open_ways: OpenWays) -> None:
    """As it does for Celery, which looks at routes, queues and these settings anew for each message."""
    ways = open_ways()
    same(ways)
    ways.app.conf.task_default_queue = "later"
    same(ways, queue="later")
    ways.app.conf.update(task_routes={"*": {"queue": "routed"}})
    same(ways, queue="routed")
    ways.declare(ways.app.amqp.queues.add(Queue("routed", Exchange("other", "topic"), "a.b")))
    assert same(ways, queue="routed")["info"]["exchange"] == "other"


def test_a_redefined_class_has_a_message_of_its_own(open_ways: OpenWays) -> None:
    ways = open_ways()

    def define(ignore: bool) -> type[Job]:
        class Row(Job):
            ignore_result = ignore

            def handle(self) -> None: ...

        return Row

    for ignore in (True, False):
        assert same(ways, job=define(ignore)())["headers"]["ignore_result"] is ignore


CARRIED = {
    "link": {"link": []},
    "errback": {"link_error": []},
    "chain": {"chain": []},
    "group": {"group_id": "g"},
    "expiry": {"expires": 60},
    "moment": {"eta": datetime(2036, 1, 1, tzinfo=UTC)},
    "stamps": {"stamped_headers": ["tenant"], "tenant": "acme"},
    "serializer": {"serializer": "pickle"},
    "time limit": {"time_limit": 4},
    "something new": {"whatever": 1},
}


@pytest.mark.parametrize("carrier", CARRIED.values(), ids=CARRIED.keys())
def test_what_celery_must_write_is_left_to_it(open_ways: OpenWays, carrier: dict[str, Any]) -> None:
    ways = open_ways()
    assert ways.refuses(ways.payload(carrier=carrier))


SETTINGS: dict[str, dict[str, Any]] = {
    "eager": {"task_always_eager": True},
    "sent events": {"task_send_sent_event": True},
    "another serializer": {"task_serializer": "pickle"},
    "compression": {"task_compression": "gzip"},
    "protocol 1": {"task_protocol": 1},
    "never sent again": {"task_publish_retry": False},
    "a router with a will": {"task_routes": [lambda name, args, kwargs, options, task=None: None]},
    "an annotated expiry": {"task_annotations": {"*": {"expires": 60}}},
    "an annotated serializer": {"task_annotations": {"*": {"serializer": "pickle"}}},
    "queues that expire": {
        "task_queues": [Queue("celery", Exchange("celery"), "celery", queue_arguments={"x-expires": 60000})]
    },
}  # fmt: skip


@pytest.mark.parametrize("conf", SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_that_change_messages_or_sending_are_left_to_celery(open_ways: OpenWays, conf: dict[str, Any]) -> None:
    ways = open_ways(**conf)
    assert ways.refuses(ways.payload())


def test_what_is_set_at_run_time_is_seen(open_ways: OpenWays) -> None:
    ways = open_ways()
    assert not ways.refuses(ways.payload())
    for name in ("task_always_eager", "task_send_sent_event"):
        ways.app.conf[name] = True
        assert ways.refuses(ways.payload())
        ways.app.conf[name] = False


def test_inherited_priorities_are_left_to_celery(open_ways: OpenWays) -> None:
    ways = open_ways(task_inherit_parent_priority=True)
    refused: list[bool] = []

    @ways.app.task(name="outer", shared=False)
    def outer() -> None:
        refused.append(ways.refuses(ways.payload()))

    outer.apply().get()
    assert refused == [True]


def test_delays_on_rabbitmq_are_left_to_celery(amqp_url: str, open_ways: OpenWays) -> None:
    """They may go through its delay exchanges."""
    ways = open_ways(amqp_url)
    assert ways.refuses(ways.payload(), delay=5)
    assert not ways.refuses(ways.payload())


def test_apps_and_tasks_that_are_not_stock_are_left_to_celery(open_ways: OpenWays) -> None:
    class Own(Celery):
        def send_task(self, *args: Any, **kwargs: Any) -> Any:
            return super().send_task(*args, **kwargs)

    ways = open_ways()
    ways.app.__class__ = Own
    assert ways.refuses(ways.payload())


def test_an_unregistered_class_is_left_to_celery(open_ways: OpenWays) -> None:
    ways = open_ways()
    stranger = ways.payload().with_(job="far.away.Job")
    assert ways.refuses(stranger)
    ways.queue.push(stranger)
    assert ways.take()["headers"]["task"] == "far.away.Job"


@pytest.mark.parametrize("owner", [Task, Celery], ids=["Task.apply_async", "Celery.send_task"])
def test_tracing_libraries_that_wrap_celery_see_every_job(
    open_ways: OpenWays, monkeypatch: pytest.MonkeyPatch, owner: type[Any]
) -> None:
    ways, seen = open_ways(), []
    name = "apply_async" if owner is Task else "send_task"
    original: Callable[..., Any] = getattr(owner, name)

    def traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["task_id"])
        return original(self, *args, **kwargs)

    ways.queue.push(ways.payload())
    monkeypatch.setattr(owner, name, traced)
    ways.queue.push(ways.payload())
    ways.queue.bulk([(ways.payload(), 0)])
    assert seen == [ways.payload().id] * 2
    monkeypatch.undo()
    assert not ways.refuses(ways.payload())


@pytest.mark.newest
def test_listeners_of_celerys_signals_hear_and_may_change_every_job(open_ways: OpenWays) -> None:
    ways = open_ways()
    after: list[str] = []

    def sent(sender: str, headers: dict[str, Any], **_: Any) -> None:
        after.append(headers["id"])

    ways.queue.push(ways.payload())
    after_task_publish.connect(sent)
    try:
        with listened() as before:
            ways.queue.push(ways.payload())
            ways.queue.bulk([(ways.payload(), 0), (ways.payload(), 0)])
    finally:
        after_task_publish.disconnect(sent)
    assert before == [Import.job_name()] * 3
    assert after == [ways.payload().id] * 3


def test_sent_events_are_sent_when_the_app_wants_them(open_ways: OpenWays) -> None:
    ways = open_ways(task_send_sent_event=True)
    events: list[dict[str, Any]] = []
    with ways.app.connection_for_read() as connection:
        receiver = ways.app.events.Receiver(connection, handlers={"task-sent": events.append})
        with receiver.consumer_context() as (connection, _, _):
            ways.queue.push(ways.payload())
            ways.queue.bulk([(ways.payload(), 0)])
            while len(events) < 2:
                connection.drain_events(timeout=10)
    assert [event["uuid"] for event in events] == [ways.payload().id] * 2


def test_an_eager_app_runs_the_job_here(open_ways: OpenWays) -> None:
    ways = open_ways(task_always_eager=True)
    result = ways.laraq.dispatcher.dispatch(Import(1)).result
    assert (result.state, ways.ids()) == ("SUCCESS", [])


@pytest.mark.parametrize("ignored", [True, False])
def test_the_result_is_celerys_when_somebody_asks(open_ways: OpenWays, ignored: bool) -> None:
    ways = open_ways(task_ignore_result=ignored, result_backend="cache+memory://")
    dispatched = ways.laraq.dispatcher.dispatch(Import(1))
    assert (dispatched.result.id, dispatched.result.ignored) == (dispatched.id, ignored)
    assert type(dispatched.result) is type(ways.app.AsyncResult("x"))
    with ways.laraq:
        verbs = Import.apply_async((1,))
    assert (type(verbs), verbs.ignored) == (type(dispatched.result), ignored)


def test_a_result_backend_listens_as_long_as_somebody_has_the_result(redis_url: str, open_ways: OpenWays) -> None:
    """`Backend.on_task_call` of Redis subscribes, `AsyncResult.__del__` ends it."""
    ways = open_ways(redis_url, result_backend=redis_url)
    ways.celerys(ways.payload())

    def subscribed() -> set[str]:
        return {key.decode().rpartition("-meta-")[2] for key in ways.app.backend.result_consumer.subscribed_to}

    sent = ways.laraq.dispatcher.dispatch(Import(1))
    assert sent.result.id == sent.id
    assert subscribed() == {sent.id}
    del sent
    assert subscribed() == set()
    ways.laraq.dispatcher.bulk([Import(2), Import(3)])
    assert subscribed() == set()
    ways.app.backend.result_consumer.stop()
