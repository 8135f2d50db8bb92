"""RedisBatches: a hash of counts and one of members for each batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from math import ceil
from typing import Any

from laraq.messages.tally import CLOSED, FIRST_LOAD, BatchQuery, BatchRecord, MemberState, Settled, Tally
from laraq_redis.client import script
from laraq_redis.client.connection import Client, store_errors

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Batches read or dropped in one round trip.
_PAGE = 500

#: Members read in one round trip.
_MEMBERS = 1000

#: The states that an outcome ends, in the form of `lua/batch.lua`.
_ENDS = {
    outcome: " ".join(state for state in MemberState if state.after(outcome) is not state) for outcome in MemberState
}

#: The reply of `lua/batch.lua`: one line each, empty for none, in this order.
_TALLY = (
    *("total", "done", "failed", "dropped", "loads", "allow_failures", "wants", "sent"),
    *("closed", "cancelled_at", "finished_at"),
)


class RedisBatches:
    """Batches in Redis, every change of one in one round trip: as durable as its persistence (`appendonly`).

    A query reads every batch that was created in its time; for very many batches use an SQL store. A `mark` that
    redis-py sends twice, because the first reply was lost, returns False.
    """

    settles_at_once = True

    def __init__(self, client: Client, label: str, prefix: str) -> None:
        self._client = client
        self._label = label
        self._prefix = prefix
        self._created, self._finished, self._loads = (f"{prefix}batches{end}" for end in ("", ":finished", ":loads"))
        self._change = script.load(client, "batch")
        self._change_even_when_full = script.load(client, "even_when_full", "batch")
        self._delete = script.load(client, "batch_delete")
        self._due = script.load(client, "batch_due")

    def create(self, batch: BatchRecord, jobs: Sequence[str], seconds: float) -> None:
        """Keep a new batch with these first members, its FIRST_LOAD in progress; a batch whose id exists is kept."""
        row: list[str | int] = [
            *(batch.name, json.dumps(dict(batch.options)), int(batch.allow_failures)),
            *(_events(sorted(batch.wants)), _events(sorted(batch.sent))),
        ]
        with store_errors(self._label):
            self._change(
                [*self._keys(batch.id), self._created],
                ["create", batch.id, FIRST_LOAD, ceil(seconds * 1000), *row, *dict.fromkeys(jobs)],
            )

    def add(self, id: str, load: str, jobs: Sequence[str], seconds: float) -> Tally | None:
        """Make the jobs members, each once, as part of a load that lapses after `seconds` without another `add`."""
        with store_errors(self._label):
            answer: Any = self._change(self._keys(id), ["add", id, load, ceil(seconds * 1000), *dict.fromkeys(jobs)])
        return _tally(id, answer)

    def end_load(self, id: str, load: str, *, keep: bool = True) -> Tally | None:
        """End the load; without `keep`, its jobs that are still pending are no longer members."""
        with store_errors(self._label):
            answer: Any = self._change(self._keys(id), ["end_load", id, load, int(keep)])
        return _tally(id, answer)

    def settle(self, id: str, outcome: MemberState, *jobs: str, dropped: Sequence[str] = ()) -> Settled | None:
        """Record how jobs ended, and that pending `dropped` will never run."""
        cancels = int(outcome is MemberState.FAILED)
        arguments = ["settle", id, outcome.value, _ENDS[outcome], cancels, len(jobs), *jobs, *dropped]
        with store_errors(self._label):
            answer: Any = self._change_even_when_full(self._keys(id), arguments)
        tally = _tally(id, answer and answer[0])
        return None if tally is None else Settled(tally, bool(answer[1]))

    def cancel(self, id: str) -> Tally | None:
        """Set `cancelled_at` unless it is set."""
        with store_errors(self._label):
            answer: Any = self._change_even_when_full(self._keys(id), ["cancel", id])
        return _tally(id, answer)

    def mark(self, id: str, event: str) -> bool:
        """Add an event to `sent`; return whether it was new."""
        arguments = ["mark", id, _events([event]), int(event == CLOSED)]
        with store_errors(self._label):
            return bool(self._change_even_when_full(self._keys(id), arguments))

    def find(self, id: str) -> BatchRecord | None:
        """The batch, or None."""
        with store_errors(self._label):
            found: Any = self._client.hgetall(self._keys(id)[0])
        return _record(id, found) if found else None

    def all(self, query: BatchQuery | None = None) -> Sequence[BatchRecord]:
        """The batches that match, newest first."""
        with store_errors(self._label):
            return list(self._matching(query or BatchQuery()))

    def jobs(self, id: str, state: MemberState) -> Sequence[str]:
        """The ids of its jobs in that state, in the order they were added."""
        with store_errors(self._label):
            members = dict(self._client.hscan_iter(self._keys(id)[1], count=_MEMBERS))
        rows = ((_text(job), *_text(member).split()) for job, member in members.items())
        places = {job: int(place) for job, job_state, place, _ in rows if job_state == state}
        return sorted(places, key=places.__getitem__)

    def state(self, id: str, job: str) -> MemberState | None:
        """The state of one of its jobs; None when it has no such job."""
        with store_errors(self._label):
            member: Any = self._client.hget(self._keys(id)[1], job)
        return None if member is None else MemberState(_text(member).split()[0])

    def delete(self, query: BatchQuery) -> int:
        """Delete every batch that matches, with its members; return how many. One that changes meanwhile is spared."""
        seen = self.all(query)
        return sum(self._drop(seen[start : start + _PAGE]) for start in range(0, len(seen), _PAGE))

    def overdue(self, seconds: float, limit: int = 100) -> Sequence[str]:
        """Ids of batches that finished at least that long ago and are not marked CLOSED; the first to finish first."""
        with store_errors(self._label):
            if not self._client.exists(self._finished, self._loads):  # workers check this all the time
                return []
            ids: Any = self._due([self._finished], [ceil(seconds * 1000), limit])
        return [_text(id) for id in ids]

    def lapsed(self, limit: int = 100) -> Sequence[tuple[str, str]]:
        """Batch ids and names of loads that were neither continued nor ended in time; the first to lapse first."""
        with store_errors(self._label):
            if not self._client.exists(self._finished, self._loads):
                return []
            loads: Any = self._due([self._loads], [0, limit])
        return [(id, name) for id, name in map(json.loads, loads)]

    def _keys(self, id: str) -> list[str]:
        """The keys of `lua/batch.lua`."""
        return [f"{self._prefix}batch:{id}", f"{self._prefix}batch-jobs:{id}", self._finished, self._loads]

    def _matching(self, query: BatchQuery) -> Iterator[BatchRecord]:
        if query.ids is None:
            newest = "+inf" if query.created_before is None else _milliseconds(query.created_before)
            bare = query == BatchQuery(created_before=query.created_before, limit=query.limit)
            first = query.limit if bare else None
            # All at once, so that batches added or removed meanwhile shift nothing.
            ids: Any = self._client.zrevrangebyscore(
                self._created, newest, "-inf", start=None if first is None else 0, num=first
            )
            records = self._records([_text(id) for id in ids])
        else:
            known = list(self._records(sorted(set(query.ids))))
            records = iter(sorted(known, key=lambda batch: (batch.created_at, batch.id), reverse=True))
        return islice(filter(query.matches, records), query.limit)

    def _records(self, ids: Sequence[str]) -> Iterator[BatchRecord]:
        """The existing records, in that order, page by page."""
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            pipeline = self._client.pipeline(transaction=False)
            for id in page:
                pipeline.hgetall(self._keys(id)[0])
            yield from (_record(id, found) for id, found in zip(page, pipeline.execute(), strict=True) if found)

    def _drop(self, seen: Sequence[BatchRecord]) -> int:
        keys = [key for batch in seen for key in self._keys(batch.id)[:2]]
        as_seen = [
            *(each for batch in seen for each in (batch.id, _field(batch.cancelled_at), _field(batch.finished_at)))
        ]
        with store_errors(self._label):
            return int(self._delete([self._finished, self._loads, self._created, *keys], as_seen))


def _events(names: Sequence[str]) -> str:
    """A JSON list without brackets. Each name begins with a comma, so no entry is a part of another."""
    return "".join(f",{json.dumps(name)}" for name in names)


def _tally(id: str, answer: Any) -> Tally | None:
    return None if answer is None else Tally(id=id, **_counts(*_text(answer).split("\n")))


def _record(id: str, found: dict[Any, Any]) -> BatchRecord:
    fields = {_text(name): _text(value) for name, value in found.items()}
    return BatchRecord(
        id=id,
        **_counts(*(fields.get(name, "") for name in _TALLY)),
        name=fields["name"],
        options=json.loads(fields["options"]),
        created_at=_moment(fields["created_at"]),
    )


def _counts(
    total: str,
    done: str,
    failed: str,
    dropped: str,
    loads: str,
    allow_failures: str,
    wants: str,
    sent: str,
    closed: str,
    cancelled_at: str,
    finished_at: str,
) -> dict[str, Any]:
    return {
        "total": int(total),
        "done": int(done),
        "failed": int(failed),
        "dropped": int(dropped),
        "loads": int(loads),
        "allow_failures": allow_failures == "1",
        "wants": _names(wants),
        "sent": _names(sent) | {CLOSED} if closed else _names(sent),
        "cancelled_at": _moment(cancelled_at),
        "finished_at": _moment(finished_at),
    }


@lru_cache(maxsize=256)
def _names(events: str) -> frozenset[str]:
    return frozenset(json.loads(f"[{events[1:]}]"))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _moment(milliseconds: str) -> datetime | None:
    return _EPOCH + timedelta(milliseconds=int(milliseconds)) if milliseconds else None


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _field(moment: datetime | None) -> str:
    """The moment as stored in the hash, empty for None."""
    return "" if moment is None else str(_milliseconds(moment))
