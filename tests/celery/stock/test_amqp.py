"""RabbitMQ tells how many messages are ready, and nothing else."""

from __future__ import annotations

import pytest

from laraq.errors import InspectionError, NotInspectableError
from laraq.messages.inspection import QueueState
from tests.celery.stock.conftest import Broker, OpenBroker
from tests.celery.stock.jobs import Import
from tests.support.waiting import wait_until


@pytest.fixture
def broker(amqp_url: str, open_broker: OpenBroker) -> Broker:
    return open_broker(amqp_url)


def test_a_queue_nobody_has_heard_of_is_empty_and_stays_undeclared(broker: Broker, queue_name: str) -> None:
    for _ in range(2):  # the refusal closed the channel, and the connection is used again
        assert broker.inspection.size(queue_name) == 0
        assert broker.inspection.count(queue_name, QueueState.PENDING) == 0
    assert broker.inspection.clear(queue_name) == 0


def test_jobs_that_are_ready_are_counted(broker: Broker, queue_name: str) -> None:
    for row in range(3):
        broker.send(Import(row), queue_name)
    wait_until(lambda: broker.inspection.size(queue_name) == 3)
    assert broker.inspection.count(queue_name, QueueState.PENDING) == 3
    broker.take(queue_name)
    wait_until(lambda: broker.inspection.size(queue_name) == 2)


def test_clear_drops_what_is_ready(broker: Broker, queue_name: str) -> None:
    for row in range(3):
        broker.send(Import(row), queue_name)
    broker.take(queue_name)
    assert broker.inspection.clear(queue_name) == 2
    assert broker.inspection.size(queue_name) == 0


@pytest.mark.parametrize(
    ("state", "reason"),
    [(QueueState.DELAYED, "delay queues"), (QueueState.RESERVED, "rabbitmqctl list_queues")],
)
def test_other_counts_are_refused_with_the_reason(broker: Broker, state: QueueState, reason: str) -> None:
    with pytest.raises(NotInspectableError, match=reason) as raised:
        broker.inspection.count("imports", state)
    assert str(raised.value).startswith(f"RabbitMQ cannot tell how many jobs of 'imports' are {state}: ")


@pytest.mark.parametrize("state", list(QueueState))
def test_lists_are_refused_with_the_reason(broker: Broker, state: QueueState) -> None:
    with pytest.raises(NotInspectableError, match="takes it out of the queue"):
        broker.inspection.jobs("imports", state)


def test_a_broker_of_another_kind_counts_as_well(open_broker: OpenBroker) -> None:
    broker = open_broker("memory://")
    assert broker.inspection.size("imports") == 0
    broker.send(Import(1), "imports")
    assert broker.inspection.size("imports") == 1
    with pytest.raises(NotInspectableError, match="A broker of kind 'memory' cannot tell how many"):
        broker.inspection.count("imports", QueueState.RESERVED)
    assert broker.inspection.clear("imports") == 1


def test_a_broker_that_is_down_is_named_without_its_password(open_broker: OpenBroker) -> None:
    broker = open_broker("amqp://guest:secret@127.0.0.1:1//", max_retries=0)
    with pytest.raises(InspectionError, match="amqp://guest:") as raised:
        broker.inspection.size("imports")
    assert "secret" not in str(raised.value)
