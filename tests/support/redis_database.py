"""RedisDatabase: one numbered database that a test process has for itself."""

from __future__ import annotations

from urllib.parse import urlsplit

import redis

from tests.support.claim import Claim

#: Databases of a Redis server as it is shipped.
DATABASES = 16


class RedisDatabase:
    """Never database 0, where people keep their own data (unless the URL says so), nor one with keys of a stranger."""

    def __init__(self, server_url: str) -> None:
        self._server = urlsplit(server_url)
        first = int(self._server.path.strip("/") or 1)
        self._claim = Claim.first_free("redis", range(first, DATABASES), self._is_ours_or_empty)
        self.url = self._url(self._claim.number)

    def empty(self) -> None:
        """Drop every key."""
        with redis.Redis.from_url(self.url) as client:
            client.flushdb()

    def close(self) -> None:
        """Leave it empty to others."""
        self.empty()
        self._claim.free()

    def _url(self, number: int) -> str:
        return self._server._replace(path=f"/{number}").geturl()

    def _is_ours_or_empty(self, number: int, used_by_tests: bool) -> bool:
        with redis.Redis.from_url(self._url(number)) as client:
            return used_by_tests or client.dbsize() == 0
