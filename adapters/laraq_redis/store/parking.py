"""RedisParking: lines of parked jobs in sorted sets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from laraq.ports import CALL_AGAIN, HAND_OVER, LOOK, Demand, Line, ParkedJob
from laraq_redis.client import script
from laraq_redis.client.connection import Client, store_errors

#: Lines in one reply.
_LINES = 100

#: Jobs in one reply.
_PAGE = 200


class RedisParking:
    """Parked jobs in Redis, one round trip each. Locks and limits are those of the same store.

    If redis-py sends a call twice, because the first reply was lost, the jobs it has woken are woken again after
    CALL_AGAIN seconds.
    """

    call_again = CALL_AGAIN
    look = LOOK

    def __init__(self, client: Client, label: str, prefix: str) -> None:
        self._client = client
        self._label = label
        self._prefix = prefix
        self._park = script.load(client, "line", "park")
        self._call = script.load(client, "line", "call")
        self._free = script.load(client, "line", "free")
        self._sent = script.load(client, "sent")
        self._due = script.load(client, "due")

    def park(self, job: ParkedJob) -> Sequence[ParkedJob]:
        """Keep the job durably in its place, or at the end; then `call`."""
        demands = json.dumps([[demand.maximum, demand.milliseconds, demand.cost] for demand in job.demands])
        arguments = [*self._arguments(job.line), job.owner, job.since, demands, job.message]
        with store_errors(self._label):
            return _jobs(job.line, self._park(self._keys(job.line), arguments))

    def call(self, line: Line) -> Sequence[ParkedJob]:
        """Wake the jobs that may run now, unless the line is not due yet."""
        with store_errors(self._label):
            return _jobs(line, self._call(self._keys(line), self._arguments(line)))

    def free(self, line: Line, owner: str) -> tuple[bool, Sequence[ParkedJob]]:
        """End the owner's lease and its place in the line, and pass the lock to the first in line."""
        with store_errors(self._label):
            arguments = [*self._arguments(line), owner, _milliseconds(HAND_OVER)]
            held, *called = self._free(self._keys(line), arguments)
        return bool(held), _jobs(line, called)

    def sent(self, jobs: Sequence[ParkedJob]) -> None:
        """Forget jobs that were woken, except those that were parked again since."""
        with store_errors(self._label):
            for line, called in groupby(jobs, key=lambda job: job.line):
                self._sent(self._keys(line)[:4], [line.text, *(job.owner for job in called)])

    def due(self, home: str) -> tuple[Sequence[Line], float | None]:
        """The lines that are due, and the seconds until the next one is."""
        with store_errors(self._label):
            if not self._client.exists(self._home(home)):  # nearly always, and one command instead of four
                return [], None
            left, *lines = self._due([self._home(home)], [_LINES])
        return [Line.from_text(_text(line)) for line in lines], None if left < 0 else left / 1000

    def count(self, line: Line) -> int:
        """The number of jobs that wait to be woken."""
        with store_errors(self._label):
            count: Any = self._client.zcard(self._keys(line)[0])
        return int(count)

    def waiting(self, home: str) -> Iterator[ParkedJob]:
        """The jobs that wait to be woken, line by line."""
        with store_errors(self._label):
            lines: Any = self._client.zrange(self._home(home), 0, -1)
        for line in (Line.from_text(_text(text)) for text in lines):
            seen = 0
            while page := self._page(line, seen):
                yield from page
                seen += _PAGE

    def _page(self, line: Line, start: int) -> list[ParkedJob]:
        waiting, _, jobs, *_ = self._keys(line)
        with store_errors(self._label):
            owners: Any = self._client.zrange(waiting, start, start + _PAGE - 1)
            texts: Any = self._client.hmget(jobs, owners) if owners else []
        found = zip(owners, texts, strict=True)
        return [_job(line, _text(owner), _text(text)) for owner, text in found if text is not None]

    def _keys(self, line: Line) -> list[str]:
        parts = [f"{self._prefix}parked:{part}:{line.text}" for part in ("waiting", "called", "jobs")]
        if line.lock is not None:
            return [*parts, self._home(line.home), f"{self._prefix}lock:{line.lock}"]
        return [*parts, self._home(line.home), *(f"{self._prefix}limit:{key}" for key in line.limits)]

    def _arguments(self, line: Line) -> list[Any]:
        kind = "limits" if line.lock is None else "lock"
        return [line.text, kind, _milliseconds(self.look), _milliseconds(self.call_again)]

    def _home(self, home: str) -> str:
        return f"{self._prefix}parked:lines:{home}"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _jobs(line: Line, answer: Iterable[Any]) -> list[ParkedJob]:
    found = iter(answer)
    return [_job(line, _text(owner), _text(job)) for owner, job in zip(found, found, strict=True)]


def _job(line: Line, owner: str, text: str) -> ParkedJob:
    since, demands, message = text.split("\n", 2)
    wanted = (
        Demand(key, maximum, length / 1000, cost)
        for key, (maximum, length, cost) in zip(line.limits, json.loads(demands), strict=True)
    )
    return ParkedJob(line, owner, message, int(since), tuple(wanted))


def _text(answer: str | bytes) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer
