from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from laraq import Job, Laraq
from laraq.errors import ConfigurationError, ConnectionNotFoundError, DispatchError
from laraq.local.failover import FailoverConnection
from laraq.local.queues import DeferredConnection, NullConnection, SyncConnection
from laraq.sending.connections import Connections


class Ship(Job):
    def handle(self) -> None: ...


def attached(broker: str = "memory://", **connections: Any) -> Laraq:
    app = Celery("t", broker=broker, set_as_current=False)
    return Laraq(app, store="memory://", connections=connections)


def test_a_connection_is_made_once_on_its_first_use() -> None:
    made = []

    def make(name: str, config: Any) -> Any:
        made.append((name, config))
        return NullConnection(name)

    connections = Connections("default", {"mails": {"driver": "x"}}, make, {"default": NullConnection})
    assert made == []
    assert connections.get("mails") is connections.get("mails")
    assert made == [("mails", {"driver": "x"})]


def test_none_is_the_default_connection() -> None:
    queue = attached()
    assert queue.connection() is queue.connection(None) is queue.connection("default")


@pytest.mark.parametrize(
    ("name", "kind"), [("sync", SyncConnection), ("null", NullConnection), ("deferred", DeferredConnection)]
)
def test_sync_null_and_deferred_are_there_and_can_be_configured_under_other_names(name: str, kind: type[Any]) -> None:
    queue = attached(mine={"driver": name})
    assert type(queue.connection(name)) is kind
    assert type(queue.connection("mine")) is kind
    assert queue.connection("mine").name == "mine"


def test_a_failover_connection_is_configured_by_the_names_to_try() -> None:
    queue = attached(safe={"driver": "failover", "connections": ["default", "sync"]})
    assert isinstance(queue.connection("safe"), FailoverConnection)


def test_a_connection_may_be_a_url_a_mapping_or_an_object() -> None:
    here = NullConnection("here")
    queue = attached(text="memory://", mapping={"url": "memory://", "queue": "mail"}, here=here)
    assert queue.connection("text").name == "text"
    assert queue.connection("mapping").default_queue() == "mail"
    assert queue.connection("here") is here


def test_a_configured_connection_wins_over_a_builtin_one() -> None:
    assert isinstance(attached(sync={"driver": "null"}).connection("sync"), NullConnection)


@pytest.mark.parametrize(
    ("broker", "name"),
    [("redis://localhost:6399", "redis"), ("amqp://localhost:5699", "amqp"), ("pyamqp://localhost:5699", "amqp")],
)
def test_the_default_connection_answers_to_the_kind_of_its_broker(broker: str, name: str) -> None:
    assert attached(broker).connection(name).default_queue() == "celery"


def test_an_unknown_name_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ConnectionNotFoundError, match=r"'mials'.*Did you mean 'mails'.*Known: .*sync") as caught:
        attached(mails={"driver": "null"}).connection("mials")
    assert caught.value.name == "mials"


def test_a_job_on_an_unknown_connection_is_not_sent() -> None:
    with attached(), pytest.raises(ConnectionNotFoundError):
        Ship().on_connection("mials").dispatch()


def test_an_unknown_driver_is_refused_by_connection_and_driver() -> None:
    with pytest.raises(ConfigurationError, match=r"'mine'.*'snyc'"):
        attached(mine={"driver": "snyc"}).connection("mine")


def test_a_broker_that_is_down_is_named_without_its_password() -> None:
    app = Celery("t", broker="redis://:hunter2@127.0.0.1:1/0", set_as_current=False)
    app.conf.update(task_publish_retry=False, broker_transport_options={"socket_connect_timeout": 1})
    with Laraq(app, store="memory://"), pytest.raises(DispatchError, match=r"127.0.0.1:1") as caught:
        Ship.dispatch()
    assert "hunter2" not in str(caught.value)
    app.close()
