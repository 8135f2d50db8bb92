"""RabbitMQ confirms each message of a bulk; one that it refuses, or says nothing about, is counted."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest
from kombu import Exchange, Queue

from laraq.errors import DispatchError
from laraq_celery.sending import bulk
from laraq_celery.sending.bulk import Confirmed
from tests.celery.sending.conftest import Import, OpenWays
from tests.support.round_trips import RoundTrips


@pytest.mark.parametrize("options", [{}, {"confirm_publish": True}])
def test_more_jobs_than_may_be_unconfirmed_arrive_confirmed(
    amqp_url: str, open_ways: OpenWays, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(bulk, "IN_FLIGHT", 50)
    ways = open_ways(amqp_url, broker_transport_options=options)
    sent = ways.laraq.dispatcher.bulk(Import(row) for row in range(1234))
    assert ways.ids() == [one.id for one in sent]  # at once: every one is there when bulk returns


def test_refused_jobs_are_counted(amqp_url: str, open_ways: OpenWays) -> None:
    """A full queue answers with basic.nack."""
    full = Queue(
        "celery", Exchange("celery"), "celery", queue_arguments={"x-max-length": 5, "x-overflow": "reject-publish"}
    )
    ways = open_ways(amqp_url, task_queues=[full])
    with pytest.raises(DispatchError, match=r"^15 of 20 jobs may not have been sent: .*refused 15 messages"):
        ways.laraq.dispatcher.bulk(Import(row) for row in range(20))
    assert len(ways.ids()) == 5
    ways.laraq.dispatcher.bulk([Import(1)])  # the connection is as good as before
    assert len(ways.ids()) == 1


class Silent(RoundTrips):
    """A network that loses what the server says, from a moment on."""

    def __init__(self, url: str) -> None:
        super().__init__(url, 5672)
        self.speaks = threading.Event()
        self.speaks.set()

    def _pass_on(self, source: Any, target: Any, is_server: bool) -> None:
        if not is_server:
            return super()._pass_on(source, target, is_server)
        with suppress(OSError):
            while data := source.recv(65536):
                if self.speaks.is_set():
                    target.sendall(data)
        return None


def test_jobs_without_a_confirm_are_counted(
    amqp_url: str, open_ways: OpenWays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CONFIRM_TIMEOUT", 0.5)
    with Silent(amqp_url) as network:
        ways = open_ways(network.url)
        opened = Confirmed.__init__

        def open_and_lose(self: Confirmed, *args: Any) -> None:
            opened(self, *args)
            network.speaks.clear()

        monkeypatch.setattr(Confirmed, "__init__", open_and_lose)
        ways.laraq.dispatcher.dispatch(Import(1))  # declares the queue
        with pytest.raises(DispatchError, match=r"^7 of 7 jobs may not have been sent: .*confirmed nothing for 0.5 s"):
            ways.queue.bulk([(ways.payload(), 0)] * 7)


def test_an_exchange_that_is_not_there_takes_none(amqp_url: str, open_ways: OpenWays) -> None:
    """The broker closes the channel instead of answering."""
    ways = open_ways(amqp_url, task_routes={"*": {"exchange": "nowhere", "routing_key": "x"}})
    with pytest.raises(DispatchError, match=r"^3 of 3 jobs may not have been sent: .*no exchange 'nowhere'"):
        ways.queue.bulk([(ways.payload(), 0)] * 3)
