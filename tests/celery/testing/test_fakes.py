"""Fakes of an app of Celery: its tasks and canvas are seen as well, and no broker is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from laraq import Bus, Job, Laraq, Queue
from laraq.errors import DispatchError

NOWHERE = "redis://127.0.0.1:1/0"

ran: list[Any] = []


class Ship(Job):
    order_id: int

    def handle(self) -> None:
        ran.append(self.order_id)


@pytest.fixture
def app() -> Iterator[Celery]:
    ran.clear()
    app = Celery("t", broker=NOWHERE, backend=NOWHERE, set_as_current=False)
    app.conf.broker_transport_options = {"socket_connect_timeout": 0.1, "max_retries": 0}
    app.conf.result_backend_transport_options = {"retry_policy": {"max_retries": 0}}
    app.conf.task_publish_retry = False
    Laraq(app)
    with app.laraq:
        yield app


@pytest.fixture
def add(app: Celery) -> Any:
    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        ran.append(x + y)
        return x + y

    return add


def test_tasks_are_recorded_however_they_are_sent(app: Celery, add: Any) -> None:
    with Queue.fake() as fake:
        add.delay(1, 2)
        add.apply_async((3, 4), queue="high", countdown=30)
        app.send_task("elsewhere.task", kwargs={"n": 5})
    fake.assert_pushed(add, times=2)
    fake.assert_pushed(add, lambda task: task.args == (1, 2))
    fake.assert_pushed_on("high", add)
    fake.assert_pushed("elsewhere.task", lambda task: task.kwargs == {"n": 5})
    assert round(fake.pushes()[1].delay) == 30
    with pytest.raises(AssertionError, match=r"Expected other to be pushed, but it was not. Pushed:\n  add\(1, 2\) on"):
        fake.assert_pushed("other")


def test_canvas_sends_its_tasks(app: Celery, add: Any) -> None:
    with Queue.fake() as fake:
        chain(add.si(1, 1), add.si(2, 2)).apply_async()
        group(add.s(3, 3), add.s(4, 4)).apply_async()
        chord([add.s(5, 5), add.s(6, 6)], add.si(7, 7)).apply_async()
    sent = [task.args for task in fake.pushed(add)]
    assert sent == [(1, 1), (3, 3), (4, 4), (5, 5), (6, 6)]
    (first,) = fake.pushed(add, lambda task: task.args == (1, 1))
    assert [link["args"] for link in first.options["chain"]] == [(2, 2)]


def test_celerys_verbs_of_a_job_go_the_same_way_as_its_own(app: Celery) -> None:
    with Queue.fake() as fake:
        Ship.delay(1)
        Ship.apply_async((2,), queue="high")
        app.tasks[Ship.job_name()].delay(3)
        Ship.s(4).apply_async()
    assert fake.pushed(Ship) == [Ship(1), Ship(2), Ship(3), Ship(4)]
    fake.assert_pushed_on("high", Ship(2))


def test_a_task_that_cannot_travel_fails_where_it_is_sent(add: Any) -> None:
    with Queue.fake() as fake, pytest.raises(Exception, match="not JSON serializable"):
        add.delay(object(), 1)
    fake.assert_nothing_pushed()


def test_only_what_is_named_is_faked(app: Celery, add: Any) -> None:
    with Queue.fake([add]) as fake:
        add.delay(1, 2)
        with pytest.raises(DispatchError):
            Ship.dispatch(1)
    fake.assert_pushed_once(add)


def test_in_a_testing_queue_tasks_run_when_it_is_drained(app: Celery, add: Any) -> None:
    with Queue.testing() as queue:
        add.delay(1, 2)
        Ship.dispatch(7)
        add.apply_async((3, 4), countdown=60)
        assert ran == []
        queue.drain()
        assert ran == [3, 7]
        queue.travel(61)
        queue.drain()
    assert ran == [3, 7, 7]
    assert queue.has_run(add) == 2


def test_a_batch_of_a_faked_bus_needs_no_store(app: Celery) -> None:
    with Bus.fake() as fake:
        Bus.batch([Ship(1)]).dispatch()
    fake.assert_batch_count(1)


def test_everything_is_as_before_afterwards(app: Celery, add: Any) -> None:
    before = app.amqp.send_task_message, app.backend, app.laraq.dispatcher
    with Queue.fake(), Bus.fake():
        pass
    assert (app.amqp.send_task_message, app.backend, app.laraq.dispatcher) == before


def test_results_of_tasks_that_are_sent_all_the_same_stay_where_the_app_has_them(app: Celery, add: Any) -> None:
    backend = app.backend
    with Queue.fake([Ship]):
        assert app.backend is backend
    with Queue.fake():
        assert app.backend is not backend
    assert app.backend is backend
    assert "on_task_call" not in vars(backend)
