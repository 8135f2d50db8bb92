"""What Redis will never take is told from a server that says no for now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
import redis
from redis import exceptions

from laraq.errors import StoreError, StoreRefusedError
from laraq.testing.suite.failed_jobs import failure
from laraq.testing.suite.journal import running
from laraq_redis import RedisStore
from laraq_redis.client.connection import is_of_the_data, store_errors
from tests.redis.private_server import PrivateRedis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    with PrivateRedis(tmp_path_factory.mktemp("redis"), "--proto-max-bulk-len", "1048576") as server:
        yield server


@pytest.fixture
def store(server: PrivateRedis) -> Iterator[RedisStore]:
    store = RedisStore.from_url(server.url, retry=None)
    yield store
    store.close()


@pytest.fixture
def admin(server: PrivateRedis) -> Iterator[redis.Redis]:
    """Whatever it changes of the server's state is undone by the test."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.mark.parametrize(
    "put",
    [
        lambda store: store.failed.record(failure(exception="x" * 2_000_000)),
        lambda store: store.cache.put("a", "x" * 2_000_000, 60),
        lambda store: store.cache.increment("a", 2**70, 60),
        lambda store: store.failed.find("a\udc80"),
        lambda store: store.locks.acquire("a\udc80", "owner", 60),
    ],
)
def test_what_redis_never_takes_is_refused(store: RedisStore, put: Callable[[RedisStore], object]) -> None:
    with pytest.raises(StoreRefusedError, match="does not take what it was given"):
        put(store)
    store.failed.record(replace(failure(), id="an ordinary one"))


WRITES: tuple[Callable[[RedisStore], object], ...] = (
    lambda store: store.failed.record(failure()),
    lambda store: store.journal.write("a", [running("job-1")]),
    lambda store: store.locks.acquire(str(uuid4()), "owner", 60),
    lambda store: store.cache.put("a", "1", 60),
    lambda store: store.cache.increment("count", 1, 60),
)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("change", "undo", "said"),
    [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read only replica"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "Not enough good replicas"),
        ("ACL SETUSER default -@write", "ACL SETUSER default +@all", "denies access|can't run this command"),
    ],
    ids=["READONLY", "NOREPLICAS", "NOPERM"],
)
def test_a_server_that_says_no_is_an_outage(
    store: RedisStore,
    admin: redis.Redis,
    write: Callable[[RedisStore], object],
    change: str,
    undo: str,
    said: str,
) -> None:
    admin.execute_command(*change.split())
    try:
        with pytest.raises(StoreError, match=said) as caught:
            write(store)
        assert not isinstance(caught.value, StoreRefusedError)
    finally:
        admin.execute_command(*undo.split())
    write(store)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ReadOnlyError("You can't write against a read only replica."),
        exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        exceptions.ResponseError("Error running script: @user_script: 3: -OOM command not allowed"),
        exceptions.NoPermissionError("User a has no permissions: value is not an integer"),
        exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        exceptions.MasterDownError("Link with MASTER is down"),
        exceptions.ClusterDownError("The cluster is down"),
        exceptions.TryAgainError("Multiple keys request during rehashing of slot"),
        exceptions.SlotNotCoveredError('Slot "1" not covered by the cluster.'),
        exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        exceptions.ResponseError("BUSY Redis is busy running a script."),
        exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
        exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        exceptions.ResponseError("unknown command 'EVALSHA'"),
        exceptions.AuthenticationError("invalid username-password pair"),
        exceptions.MaxConnectionsError("max number of clients reached"),
        exceptions.TimeoutError("Timeout reading from socket"),
    ],
    ids=lambda error: f"{type(error).__name__}: {error}"[:40],
)
def test_states_of_a_server_are_outages(error: Exception) -> None:
    assert not is_of_the_data(error)
    with pytest.raises(StoreError) as caught, store_errors("redis://here"):
        raise error
    assert not isinstance(caught.value, StoreRefusedError)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.DataError("Invalid input of type: 'dict'."),
        exceptions.ResponseError("string exceeds maximum allowed size (proto-max-bulk-len)"),
        exceptions.ResponseError("value is not an integer or out of range"),
        exceptions.ResponseError("increment or decrement would overflow"),
        exceptions.ResponseError("user_script:3: attempt to perform arithmetic on a nil value"),
    ],
)
def test_what_is_wrong_with_a_value_is_no_outage(error: Exception) -> None:
    assert is_of_the_data(error)
