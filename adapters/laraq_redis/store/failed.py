"""RedisFailedJobs: failed jobs in a hash, ordered by a sorted set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from laraq.messages.failure import FailedJob, FailedJobQuery
from laraq_redis.client import script
from laraq_redis.client.connection import Client, store_errors

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Records read or dropped in one round trip.
_PAGE = 500


def _moment(failed_at: datetime) -> int:
    """Whole microseconds since the epoch: a sorted set keeps them exactly until the year 2255."""
    return (failed_at - _EPOCH) // timedelta(microseconds=1)


class RedisFailedJobs:
    """Failed jobs in Redis: as durable as its persistence (`appendonly`), lost if it evicts keys.

    A query for anything but `before` and `limit` reads every record; for very many records use an SQL store.
    """

    def __init__(self, client: Client, label: str, prefix: str) -> None:
        self._client = client
        self._label = label
        self._records = f"{prefix}failed"
        self._moments = f"{prefix}failed:moments"
        self._keys = [self._records, self._moments]
        self._record = script.load(client, "even_when_full", "record")
        self._forget = script.load(client, "forget")

    def record(self, failed: FailedJob) -> None:
        """Keep the record; a record with the same id is replaced."""
        with store_errors(self._label):
            self._record(self._keys, [failed.id, json.dumps(failed.to_dict()), _moment(failed.failed_at)])

    def find(self, id: str) -> FailedJob | None:
        """The record, or None."""
        with store_errors(self._label):
            found: Any = self._client.hget(self._records, id)
        return None if found is None else FailedJob.from_dict(json.loads(found))

    def all(self, query: FailedJobQuery | None = None) -> Sequence[FailedJob]:
        """The records that match, newest first."""
        with store_errors(self._label):
            return list(self._matching(query or FailedJobQuery()))

    def forget(self, id: str, failed_at: datetime | None = None) -> bool:
        """Drop the record (only if it failed at that exact moment, when given); return whether it existed."""
        with store_errors(self._label):
            return bool(self._forget(self._keys, [id, "" if failed_at is None else _moment(failed_at)]))

    def flush(self, query: FailedJobQuery | None = None) -> int:
        """Drop every record that matches; return how many. A job that fails again meanwhile keeps its new record."""
        seen = [argument for failed in self.all(query) for argument in (failed.id, _moment(failed.failed_at))]
        with store_errors(self._label):
            return sum(
                int(self._forget(self._keys, seen[start : start + 2 * _PAGE]))
                for start in range(0, len(seen), 2 * _PAGE)
            )

    def count(self, query: FailedJobQuery | None = None) -> int:
        """The number of records that match."""
        if query is not None and query != FailedJobQuery(before=query.before):
            return len(self.all(query))
        newest = "+inf" if query is None or query.before is None else _moment(query.before)
        with store_errors(self._label):
            number: Any = self._client.zcount(self._moments, "-inf", newest)
        return int(number)

    def _matching(self, query: FailedJobQuery) -> Iterator[FailedJob]:
        return islice(filter(query.matches, self._newest_first(query.before)), query.limit)

    def _newest_first(self, before: datetime | None) -> Iterator[FailedJob]:
        """Yield records page by page; the ids are read at once, so that changes meanwhile shift nothing."""
        newest = "+inf" if before is None else _moment(before)
        ids: Any = self._client.zrevrangebyscore(self._moments, newest, "-inf")
        for start in range(0, len(ids), _PAGE):
            found: Any = self._client.hmget(self._records, ids[start : start + _PAGE])
            yield from (FailedJob.from_dict(json.loads(record)) for record in found if record is not None)
