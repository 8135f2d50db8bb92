"""RedisStore: everything laraq keeps, in one Redis database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from laraq.ports import StoreHealth
from laraq_redis.client import script
from laraq_redis.client.connection import Client, label, open_client, store_errors
from laraq_redis.client.direct import direct
from laraq_redis.store.batches import RedisBatches
from laraq_redis.store.cache import RedisCache
from laraq_redis.store.delayed import RedisDelayed
from laraq_redis.store.failed import RedisFailedJobs
from laraq_redis.store.journal import RedisJournal
from laraq_redis.store.limits import RedisLimits
from laraq_redis.store.locks import RedisLocks
from laraq_redis.store.parking import RedisParking

#: The default prefix of keys. The braces keep all keys on one node of a cluster.
PREFIX = "{laraq}:"


class RedisStore:
    """A store on a Redis server or cluster (or Valkey), of which it uses the keys that start with `prefix`.

    The client stays yours: `close` does not close it unless `from_url` created it. Redis must not evict the keys
    (`maxmemory-policy noeviction`), and keeps them over a restart only with `appendonly yes`.
    """

    relational = False

    def __init__(self, client: Client, *, prefix: str = PREFIX) -> None:
        """The braces in the default prefix keep all keys on one node of a cluster, which the Lua scripts need."""
        self.client = client
        self.prefix = prefix
        self.label = label(client)
        self._owns_client = False
        self._failed = RedisFailedJobs(client, self.label, prefix)
        self._batches = RedisBatches(client, self.label, prefix)
        self._journal = RedisJournal(client, self.label, prefix)
        self._locks = RedisLocks(client, self.label, prefix)
        self._limits = RedisLimits(client, self.label, prefix)
        self._cache = RedisCache(client, self.label, prefix)
        self._parking = RedisParking(client, self.label, prefix)
        self._delayed = RedisDelayed(client, self.label, prefix)

    @classmethod
    def from_url(cls, url: str, *, prefix: str = PREFIX, namespace: str = "", **options: Any) -> RedisStore:
        """A store that connects when it is first used; `options` are redis-py's, see `open_client`.

        `namespace` precedes the prefix, and separates applications on one database.
        """
        store = cls(open_client(url, **options), prefix=namespace + prefix)
        store._owns_client = True
        return store

    @property
    def failed(self) -> RedisFailedJobs:
        """The failed jobs in this store."""
        return self._failed

    @property
    def batches(self) -> RedisBatches:
        """The batches in this store."""
        return self._batches

    @property
    def journal(self) -> RedisJournal:
        """The journal in this store."""
        return self._journal

    @property
    def locks(self) -> RedisLocks:
        """The locks in this store."""
        return self._locks

    @property
    def limits(self) -> RedisLimits:
        """The limits in this store."""
        return self._limits

    @property
    def cache(self) -> RedisCache:
        """The cache in this store."""
        return self._cache

    @property
    def parking(self) -> RedisParking:
        """The jobs in this store that wait for a lock or for limits."""
        return self._parking

    @property
    def delayed(self) -> RedisDelayed:
        """The messages in this store that wait for their time."""
        return self._delayed

    def migrate(self) -> Sequence[str]:
        """Redis has no schema."""
        return ()

    def adopt(self) -> int:
        """Move the keys without a namespace to this store, and merge keys that exist in both; return how many.

        Of a record that exists in both, this store's is kept. The call may be interrupted and repeated.
        """
        if self.prefix == PREFIX:
            return 0
        adopt, moved = script.load(self.client, "adopt"), 0
        with store_errors(self.label):
            for found in list(self.client.scan_iter(match=f"{PREFIX}*", count=1000)):
                old = found.decode() if isinstance(found, bytes) else str(found)
                name = old.removeprefix(PREFIX)
                moved += adopt([old, self.prefix + name], [int(name.startswith("delayed:queues:"))])
        return moved

    def strays(self) -> bool:
        """Whether there are jobs without a namespace, which this store does not read."""
        if self.prefix == PREFIX:
            return False
        with store_errors(self.label):
            return bool(self.client.exists(*(f"{PREFIX}{name}" for name in ("failed", "batches", "delayed"))))

    def examine(self) -> StoreHealth:
        """Ask the server what it does when it is full, and whether it writes every change to disk."""
        with store_errors(self.label):
            memory: Any = self.client.info("memory")
            disk: Any = self.client.info("persistence")
            seconds, micros = self.client.time()
        # A cluster answers by node.
        policy, appends = memory.get("maxmemory_policy"), disk.get("aof_enabled")
        return StoreHealth((), policy, None if appends is None else bool(appends), seconds + micros / 1e6)

    def close(self) -> None:
        """Close the connections; the store may be used again and then reconnects."""
        self._journal.close()
        direct(self.client).close()
        if self._owns_client:
            self.client.close()
