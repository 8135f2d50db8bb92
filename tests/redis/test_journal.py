from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from laraq.errors import StoreError
from laraq.testing.suite import SharedJournalSuite
from laraq.testing.suite.forking import eventually
from laraq.testing.suite.journal import done, running
from laraq_redis import RedisStore
from laraq_redis.client import wire
from laraq_redis.store.journal import RedisJournal
from tests.redis.private_server import PrivateRedis


class TestRedisJournal(SharedJournalSuite):
    @pytest.fixture
    def journal(self, redis_url: str) -> Iterator[RedisJournal]:
        store = RedisStore.from_url(redis_url)
        yield store.journal
        store.close()


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """A store whose connections can be told from those of others on the server."""
    store = RedisStore.from_url(redis_url, client_name=f"laraq-{uuid4().hex}")
    yield store
    store.close()


@pytest.fixture
def reader(redis_url: str) -> Iterator[RedisStore]:
    """Another process, as far as the store can tell."""
    reader = RedisStore.from_url(redis_url)
    yield reader
    reader.close()


def cut_connections(store: RedisStore, reader: RedisStore) -> None:
    """Have the server hang up, as it does after `timeout` seconds of silence."""
    client_of_store: Any = store.client
    name = client_of_store.connection_pool.connection_kwargs["client_name"]
    clients = [client for client in reader.client.client_list() if client["name"] == name]
    assert clients
    for client in clients:
        reader.client.client_kill_filter(_id=client["id"])


def write_attempts(store: RedisStore, *attempts: int) -> None:
    for attempt in attempts:
        store.journal.write("host:1", [running("job-1", attempt)])


def test_a_write_is_seen_by_others_without_another_call(store: RedisStore, reader: RedisStore) -> None:
    write_attempts(store, 1, 2, 3)
    assert eventually(lambda: reader.journal.find("job-1") == running("job-1", 3))


def test_a_write_after_the_server_dropped_the_silent_connection_is_not_lost(
    store: RedisStore, reader: RedisStore
) -> None:
    store.journal.write("host:1", [running("job-1")])
    cut_connections(store, reader)
    time.sleep(wire.TRUSTED)
    store.journal.write("host:1", [running("job-2")])
    assert reader.journal.find("job-2") == running("job-2")


def test_a_write_lost_with_its_connection_is_repeated_by_the_next_one(store: RedisStore, reader: RedisStore) -> None:
    store.journal.write("host:1", [running("job-1")])
    cut_connections(store, reader)
    store.journal.write("host:1", [running("job-2")])
    store.journal.write("host:2", [running("job-3")])
    store.journal.write("host:2", [running("job-4")])
    assert eventually(lambda: reader.journal.find("job-4"))
    assert reader.journal.find("job-2") == running("job-2")


def test_an_erased_writer_does_not_come_back_with_a_repeated_write(store: RedisStore, reader: RedisStore) -> None:
    store.journal.write("host:1", [running("job-1")])
    store.journal.erase("host:1")
    cut_connections(store, reader)
    store.journal.write("host:2", [running("job-2")])
    store.journal.write("host:2", [running("job-3")])
    assert eventually(lambda: reader.journal.find("job-3"))
    assert reader.journal.find("job-1") is None


def test_a_refused_first_write_raises(store: RedisStore) -> None:
    store.client.set("{laraq}:journal", "not a hash")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        store.journal.write("host:1", [running("job-1")])


def test_a_later_refusal_is_raised_by_the_next_write_and_passes(store: RedisStore, reader: RedisStore) -> None:
    store.journal.write("host:1", [running("job-1")])
    store.client.set("{laraq}:journal", "not a hash")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        write_attempts(store, 2, 3)
    store.client.delete("{laraq}:journal")
    store.journal.write("host:2", [running("job-2")])
    assert reader.journal.find("job-2") == running("job-2")
    assert reader.journal.find("job-1") == running("job-1", 3)


def test_a_write_cut_off_by_a_signal_leaves_no_half_command(
    store: RedisStore, reader: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.journal.write("host:1", [running("job-1")])
    assert store.journal._wire is not None
    socket = store.journal._wire._socket

    class Interrupted:
        recv = socket.recv

        def sendall(self, command: bytes) -> None:
            socket.sendall(command[:-20])
            raise KeyboardInterrupt

    monkeypatch.setattr(store.journal._wire, "_socket", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        store.journal.write("host:1", [running("job-2")])
    store.journal.write("host:1", [running("job-3")])
    assert reader.journal.find("job-3") == running("job-3")


@pytest.mark.parametrize(
    "options", [{}, {"protocol": 3}, {"decode_responses": True}, {"max_connections": 1}, {"socket_timeout": None}]
)
def test_a_client_of_any_settings_is_written_through_a_connection_of_its_own(
    redis_url: str, options: dict[str, object]
) -> None:
    with redis.Redis.from_url(redis_url, **options) as client:
        store = RedisStore(client)
        for attempt in range(1, 4):
            store.journal.write("host:1", [running("job-1", attempt)])
            assert store.journal._wire is not None
        assert store.journal.find("job-1") == running("job-1", 3)
        assert store.journal.prune(timedelta(0)) == 1
        store.close()


@pytest.mark.fault
def test_a_server_that_is_down_raises_until_it_is_back(tmp_path: Path) -> None:
    with PrivateRedis(tmp_path) as server:
        store = RedisStore.from_url(server.url, retry=None)
        store.journal.write("host:1", [running("job-1")])
        server.kill()
        with pytest.raises(StoreError, match=f"redis://127.0.0.1:{server.port}/0 does not answer"):
            write_attempts(store, 2, 3)
        server.start()
        store.journal.write("host:2", [done("job-2")])
        assert store.journal.find("job-1") == running("job-1", 3)
        assert store.journal.find("job-2") == done("job-2")
        store.close()
