"""A Redis client from a URL, its name in messages, and its errors as StoreErrors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import Redis, RedisCluster
from redis.backoff import ExponentialBackoff
from redis.connection import SSLConnection
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    DataError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from laraq.errors import ConfigurationError, StoreError, StoreRefusedError
from laraq.process.forks import busy

Client: TypeAlias = Redis | RedisCluster

#: Most seconds until a Redis server accepts a connection, and until it answers a command.
PATIENCE = 5.0

#: Bytes of the largest value that Redis accepts: the minimum, and the default.
SMALLEST_LIMIT, USUAL_LIMIT = 1024**2, 512 * 1024**2

#: The spellings in Celery's URLs of redis-py's `none`, `optional` and `required`.
_CELERY_CERT_REQS = {"CERT_NONE": "none", "CERT_OPTIONAL": "optional", "CERT_REQUIRED": "required"}


def open_client(url: str, **options: Any) -> Redis:
    """A client that connects when it is first used; `options` are redis-py's and beat the defaults here.

    Accepts `redis://`, `rediss://` and `unix://` URLs as Celery does. Raises ConfigurationError for any other.
    """
    defaults: dict[str, Any] = {
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        "socket_keepalive": True,
        # Every command and script of this adapter may be sent twice, so a lost reply does no harm.
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
        "retry_on_error": [ConnectionError, TimeoutError],
        "decode_responses": False,
        "protocol": 2,
    }
    if urlsplit(url).scheme == "unix":
        del defaults["socket_keepalive"]
    try:
        client = Redis.from_url(_as_redis_py_spells(url), **{**defaults, **options})
        # A connection that never connects: redis-py would complain of unknown options at the first command only.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (ValueError, TypeError, RedisError) as error:
        # The supposed port may be a part of the password.
        wrong = "its port is no number" if (unreadable := str(error).startswith("Port ")) else error
        raise ConfigurationError(
            f"The Redis URL of a store is wrong: {wrong}. It has the form"
            " redis://user:password@host:port/database (rediss:// for TLS) or unix:///path?db=database."
        ) from (None if unreadable else error)
    return client


def _as_redis_py_spells(url: str) -> str:
    parts = urlsplit(url)
    query = [(name, _CELERY_CERT_REQS.get(value, value)) for name, value in parse_qsl(parts.query)]
    # As text: urlunsplit would make `unix:/path` of `unix:///path`.
    return f"{url.partition('?')[0]}?{urlencode(query)}" if query else url


def label(client: Client) -> str:
    """The name of the server in messages, without user and password."""
    if isinstance(client, RedisCluster):
        cluster: Any = client
        return f"redis cluster at {cluster.get_default_node().name}"
    pool = client.connection_pool
    to = pool.connection_kwargs
    if service := getattr(pool, "service_name", None):
        return f"redis sentinel {service}/{to.get('db') or 0}"
    if path := to.get("path"):
        return f"unix://{path}?db={to.get('db') or 0}"
    scheme = "rediss" if issubclass(pool.connection_class, SSLConnection) else "redis"
    return f"{scheme}://{to.get('host', 'localhost')}:{to.get('port', 6379)}/{to.get('db') or 0}"


#: Errors of Redis about a value. Errors about its state begin with a special word (OOM, READONLY, LOADING), or are
#: about commands and connections.
_OF_THE_DATA = re.compile(
    r"exceeds maximum|invalid bulk length|not an integer|not a valid float|out of range|would overflow"
    r"|would produce NaN|invalid expire time|too many results to unpack"
    r"|attempt to (compare|concatenate|index|perform arithmetic)|number value|string value expected|cjson|nesting",
    re.IGNORECASE,
)


@contextmanager
def store_errors(label: str) -> Iterator[None]:
    """Convert every error of redis-py to a StoreError, and errors about values that Redis will never accept to a
    StoreRefusedError. Prevents forks meanwhile."""
    try:
        with busy:
            yield
    except (RedisError, RedisClusterException, UnicodeError) as error:
        if is_of_the_data(error):
            raise StoreRefusedError(
                f"The store {label} does not take what it was given: {str(error)[:500]}"
                " - A value is too large or of a wrong type."
            ) from error
        raise StoreError(f"The store {label} {_reason(error)}") from error


def is_of_the_data(error: Exception) -> bool:
    """Whether a retry cannot help. Any error that is not known to be about the data is an outage."""
    if isinstance(error, ResponseError) and not isinstance(error, NoPermissionError):
        return bool(_OF_THE_DATA.search(str(error)))
    return isinstance(error, DataError | UnicodeError)


@contextmanager
def sized(client: Client, values: Iterable[Any]) -> Iterator[None]:
    """Distinguish a Redis that closed the connection because of a value that is too large from one that is down.

    Raises DataError for the former, which looks like any broken connection.
    """
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        largest = max((len(value) for value in values if isinstance(value, str | bytes)), default=0)
        if largest > SMALLEST_LIMIT and largest > _limit(client):
            raise DataError(f"a value of {largest} bytes is larger than its proto-max-bulk-len") from error
        raise


def _limit(client: Client) -> int:
    """Bytes of the largest value that the server accepts."""
    with suppress(RedisError, RedisClusterException):
        found: Any = client.config_get("proto-max-bulk-len")
        return int(found["proto-max-bulk-len"])
    return USUAL_LIMIT


def _reason(error: Exception) -> str:
    if isinstance(error, AuthenticationError | NoPermissionError):
        return f"denies access: {error}. Check the user, the password and the ACL."
    if isinstance(error, ResponseError):
        return f"refused: {error}. Check that it is the right server and database, a master, with free memory."
    return f"does not answer: {error}. Check that the server runs and that host and port are right."
