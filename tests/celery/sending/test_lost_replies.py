"""A broker of ours takes a message, its reply is lost, and it is sent again: it is one message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import uuid4

import pytest
from celery import Celery

from laraq import Bus, Job, Laraq
from laraq.errors import DispatchError
from laraq.messages.inspection import QueueState
from tests.support.lost_replies import LostReplies
from tests.support.waiting import wait_until

#: Port, and what is said to the server when it has the message for good.
SERVERS: dict[str, tuple[int, tuple[bytes, ...]]] = {
    "redis": (6379, ()),
    "postgres": (5432, ()),
    "mariadb": (3306, (b"COMMIT",)),
}


class Sent(Job):
    what: str

    def handle(self) -> None: ...


class SentAlone(Sent):
    unique = True

    def unique_id(self) -> str:
        return self.what


class Broker:
    """An app that talks to a broker through a proxy, and a look at the broker past it."""

    def __init__(self, proxy: LostReplies, url: str, prefix: str, last_words: tuple[bytes, ...]) -> None:
        self.proxy = proxy
        self._last_words = last_words
        self.app = Celery("t", broker=f"{prefix}{proxy.url}", set_as_current=False)
        self.app.conf.broker_transport_options = {"create_tables": True}
        self.laraq = Laraq(self.app, store="memory://")
        self._direct = self.app.connection_for_read(f"{prefix}{url}", transport_options={"create_tables": True})
        self.ids: list[str] = []

        @self.app.task(name="ordinary", shared=False)
        def ordinary(what: str) -> None: ...

        self.ordinary = ordinary

    def lose_reply_to(self, what: str, *, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.proxy.lose_reply_to(what.encode(), *self._last_words, meanwhile=meanwhile)

    def take(self) -> list[str]:
        """Do with every message that is due; the ids of all so far."""
        while (message := self._direct.default_channel.basic_get("celery", no_ack=True)) is not None:
            self.ids.append(message.headers["id"])
        return self.ids

    def take_all(self, count: int) -> None:
        """Wait for so many messages; a failure says where the others are."""
        try:
            wait_until(lambda: len(self.take()) >= count)
        except AssertionError as error:
            inspection = self.laraq.connection().inspection
            states = {state.value: inspection.count("celery", state) for state in QueueState}
            raise AssertionError(f"{len(self.ids)} of {count} messages came; the broker counts {states}") from error

    def close(self) -> None:
        self._direct.release()
        self.app.pool.force_close_all()
        self.laraq.host.app.close()


@pytest.fixture(params=SERVERS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    port, last_words = SERVERS[request.param]
    url = request.getfixturevalue(f"{request.param}_url")
    with LostReplies(url, port) as proxy:
        broker = Broker(proxy, url, "laraq-" if request.param == "redis" else "laraq-db+", last_words)
        with broker.laraq:
            yield broker
        broker.close()


def _dispatch(broker: Broker, what: str) -> None:
    Sent.dispatch(what)


def _delay(broker: Broker, what: str) -> None:
    Sent.apply_async((what,), countdown=0.2)


def _send_alone(broker: Broker, what: str) -> None:
    SentAlone.dispatch(what)


def _call_task(broker: Broker, what: str) -> None:
    broker.ordinary.delay(what)


def test_it_is_one_message(broker: Broker) -> None:
    """The first one of a class goes Celery's way, the next one goes ours and is repeated Celery's way."""
    sent = 0
    for send in (_dispatch, _delay, _send_alone, _call_task):
        for _ in range(2):
            sent += 1
            needle = uuid4().hex
            broker.lose_reply_to(needle)
            send(broker, needle)
            assert broker.proxy.lost == sent
    broker.take_all(sent)
    send(broker, "the one after")
    broker.take_all(sent + 1)
    assert len(broker.ids) == len(set(broker.ids)) == sent + 1


def test_it_is_one_message_though_it_was_done_with_meanwhile(broker: Broker) -> None:
    Sent.dispatch("the one before")
    needle = uuid4().hex
    broker.lose_reply_to(needle, meanwhile=broker.take)
    Sent.dispatch(needle)
    assert len(broker.ids) == 2
    assert len(broker.take()) == 2


def test_the_same_id_sent_again_on_purpose_is_another_message(broker: Broker) -> None:
    """As every release, retry, `laraq retry` and Celery's own `Task.retry` do."""
    for _ in range(2):
        broker.ordinary.apply_async(("x",), task_id="same")
        Sent.apply_async(("x",), task_id="same too")
    assert sorted(broker.take()) == ["same", "same", "same too", "same too"]


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
@pytest.mark.parametrize("repeats", [True, False])
def test_nothing_of_a_bulk_is_there_twice(broker: Broker, repeats: bool) -> None:
    """redis-py may be told to repeat a whole pipeline, although some or all of it was heard."""
    broker.app.conf.broker_transport_options = {"retry_on_timeout": repeats}
    needle = uuid4().hex
    broker.lose_reply_to(needle)
    with suppress(DispatchError):  # without a repetition somebody has to be told
        Bus.bulk([Sent("1"), Sent("2"), Sent(needle)])
    assert broker.proxy.lost == 1
    assert len(broker.take()) == len(set(broker.ids)) == 3
