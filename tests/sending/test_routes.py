from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from laraq import Job, Laraq, Queue
from laraq.sending.routes import Routes


class Billing:
    """A mixin."""


class OrderJob(Job):
    order_id: int = 0


class Ship(OrderJob):
    def handle(self) -> None: ...


class Charge(OrderJob, Billing):
    def handle(self) -> None: ...


class Own(Ship):
    queue = "own"
    connection = "sync"


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://") as queue:
        yield queue


@pytest.fixture
def routes() -> Routes:
    return Routes()


def way(queue: Laraq, job: Job) -> tuple[Any, Any]:
    payload = queue.packer.payload(job, "1")
    return payload.queue, payload.connection


def test_without_routes_nothing_is_said(routes: Routes) -> None:
    assert routes.find(Ship) == (None, None)


def test_a_class_a_parent_and_a_mixin_can_be_routed(routes: Routes) -> None:
    routes.add(OrderJob, queue="orders")
    assert routes.find(Ship) == ("orders", None)
    routes.add(Ship, queue="ships", connection="redis")
    assert routes.find(Ship) == ("ships", "redis")
    assert routes.find(Own) == ("ships", "redis")
    assert routes.find(Charge) == ("orders", None)


def test_a_mixin_can_be_routed(routes: Routes) -> None:
    routes.add(Billing, queue="billing")
    assert routes.find(Charge) == ("billing", None)
    assert routes.find(Ship) == (None, None)


def test_a_parent_comes_before_a_mixin_whatever_their_order(routes: Routes) -> None:
    class MixinFirst(Billing, OrderJob):
        def handle(self) -> None: ...

    routes.add(Billing, queue="billing")
    routes.add(OrderJob, queue="orders")
    assert routes.find(MixinFirst) == routes.find(Charge) == ("orders", None)


def test_the_job_itself_wins_over_its_route(queue: Laraq) -> None:
    Queue.route(OrderJob, queue="orders", connection="null")
    assert way(queue, Ship()) == ("orders", "null")
    assert way(queue, Own()) == ("own", "sync")
    assert way(queue, Ship().on_queue("mine")) == ("mine", "null")
    assert way(queue, Ship().on_connection("sync")) == ("orders", "sync")


def test_a_queue_is_forwarded_wherever_its_name_came_from(queue: Laraq) -> None:
    Queue.route(OrderJob, queue="orders")
    Queue.forward("orders", "orders-v2")
    Queue.forward("own", "owned")
    assert way(queue, Ship())[0] == "orders-v2"
    assert way(queue, Own())[0] == "owned"
    assert way(queue, Ship().on_queue("orders"))[0] == "orders-v2"
    assert way(queue, Ship().on_queue("other"))[0] == "other"


def test_forwarding_leaves_a_job_without_a_queue_alone(routes: Routes) -> None:
    routes.forward("old", "new")
    assert (routes.forwarded(None), routes.forwarded("old"), routes.forwarded("other")) == (None, "new", "other")


def test_every_laraq_has_routes_of_its_own(queue: Laraq) -> None:
    Queue.route(OrderJob, queue="orders")
    with Laraq(Celery("u", broker="memory://", set_as_current=False), store="memory://") as other:
        assert way(other, Ship()) == (None, None)
