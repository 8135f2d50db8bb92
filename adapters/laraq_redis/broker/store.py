"""RedisQueues: the jobs of a broker in Redis. Pending jobs are in stock kombu's lists, the rest in laraq's keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from laraq_kombu import REMEMBERED, Job, Lease, Posting, Put, QueueCount, Taken, new_put, raw
from laraq_redis.broker.connections import connect
from laraq_redis.broker.keys import BrokerKeys
from laraq_redis.broker.scripts import LuaFile, load
from laraq_redis.client.connection import label, store_errors
from laraq_redis.client.direct import direct

#: Jobs changed in one round trip if their number is unbounded: limits how long other clients wait.
PAGE = 500

#: The most urgent priority of `laraq_kombu`, which is 0 to kombu's Redis lists.
MOST_URGENT = 9

#: Bytes in which one put is stored.
_MARK = 4

Reply: TypeAlias = Sequence[Any]


class RedisQueues:
    """A `JobStore` over scripts, each one atomic step by the server's clock.

    Once handed out, a job keeps its id and its place in the keys of its queue until it is acknowledged or given
    back: the end of a lease moves nothing. Ids are made of the server's clock, never given twice, so that whoever
    acknowledges after a restart that lost the last seconds cannot hit another job.
    """

    def __init__(self, client: Redis, keys: BrokerKeys, retry_after: float) -> None:
        self.client = client
        self.keys = keys
        self.retry_after = retry_after
        self.label = label(client)
        self.step_script = load("step", "attempts")
        self._put = load("put")
        self._registered_put = client.register_script(self._put.text)
        self._put_when_full = load("put", "even_when_full")
        self._extend = load("extend")
        self._release = load("release", "attempts")
        self._count = load("count")
        self._drop = load("drop")

    # Reservations

    def step(self, acks: Sequence[Lease], queues: Sequence[str], limit: int) -> Taken:
        """See `Reservations`."""
        return self._ask(acks, queues, limit, self.retry_after)

    def take(self, queues: Sequence[str], limit: int) -> Taken:
        """See `Queues`."""
        return self._ask((), queues, limit, 0)

    def _ask(self, acks: Sequence[Lease], queues: Sequence[str], limit: int, lease: float) -> Taken:
        keys, arguments = self.question(acks, queues, limit, lease)
        return self.answer(queues, limit, self._run(self.step_script, keys, arguments))

    def question(
        self, acks: Sequence[Lease], queues: Sequence[str], limit: int, lease: float
    ) -> tuple[list[str], list[Any]]:
        """Keys and arguments of the step script; `lease` in seconds, 0 to hand out for good."""
        indices = {queue: index for index, queue in enumerate(queues)} if limit else {}
        arguments: list[Any] = [int(lease * 1000), limit, len(indices), len(self.keys.steps)]
        for queue, ids in _by_queue(acks).items():
            arguments += [indices.setdefault(queue, len(indices)), len(ids), *(lease.id for lease in ids)]
        keys = [self.keys.sequence]
        for queue in indices:
            keys += self.keys.of(queue).all
        return keys, arguments

    @staticmethod
    def answer(queues: Sequence[str], limit: int, reply: Reply) -> Taken:
        """Parse the step script's reply."""
        micros, first, heads, payloads = reply
        jobs, start = [], 0
        for each in heads.split():
            index, id, attempts, length = map(int, each.split(b":"))
            end = start + length
            lease = Lease(id, queues[index], attempts, micros)
            jobs.append(Job(lease, payloads[start:end].decode(errors="surrogateescape")))
            start = end
        next_due = None
        if first and len(jobs) < limit:
            next_due = max(int(first) - micros / 1000, 0) / 1000
        return Taken(jobs, next_due)

    def extend(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """See `Reservations`."""
        lost = set()
        for queue, part in _pages(leases):
            keys = self.keys.of(queue)
            arguments = [int(self.retry_after * 1000), *(value for lease in part for value in _owner(lease))]
            lost |= {int(id) for id in self._run(self._extend, [keys.reserved, keys.state], arguments)}
        return [lease for lease in leases if lease.id in lost]

    def release(self, leases: Sequence[Lease], delay: float = 0, *, counted: bool = True) -> Sequence[Lease]:
        """See `Reservations`. Without delay, jobs given back unused go to the head of their list, others to its end."""
        return self.postpone([(lease, delay, "") for lease in leases], counted=counted)

    def postpone(self, leases: Sequence[tuple[Lease, float, str]], *, counted: bool) -> Sequence[Lease]:
        """`release` with a delay for each job, and another payload unless it is empty."""
        lost, changes = set(), {lease: (int(delay * 1000), payload) for lease, delay, payload in leases}
        # The last page of unused jobs comes first: each is put before the others.
        for queue, part in reversed(list(_pages(changes))):
            arguments: list[Any] = [int(counted)]
            for lease in part:
                arguments += [*changes[lease], *_owner(lease)]
            lost |= {int(id) for id in self._run(self._release, self.keys.of(queue).all, arguments)}
        return [lease for lease in changes if lease.id in lost]

    # Queues

    def put(self, postings: Sequence[Posting], put: Put | None = None, *, even_when_full: bool = False) -> None:
        """See `Queues`; one transaction. With `even_when_full` the server's memory limit may be exceeded."""
        queues: dict[str, list[Posting]] = {}
        for posting in postings:
            queues.setdefault(posting.queue, []).append(posting)
        if len(queues) != 1:
            with store_errors(self.label), self.client.pipeline(transaction=True) as pipe:
                for queue, part in queues.items():
                    pipe.eval(*self.putting(queue, part, new_put()))
                pipe.execute()
            return
        ((queue, part),) = queues.items()
        _, count, *rest = self.putting(queue, part, put or new_put())
        keys, arguments = rest[:count], rest[count:]
        if even_when_full:
            self._run(self._put_when_full, keys, arguments)
            return
        with store_errors(self.label):
            direct(self.client).ask(self._registered_put, keys, arguments)

    def putting(self, queue: str, postings: Sequence[Posting], put: Put) -> tuple[Any, ...]:
        """Arguments of EVAL for a `put` into one queue, for pipelines, which cannot load a script."""
        groups: list[Any] = []
        at: tuple[int, int] | None = None
        for _, payload, priority, delay in postings:
            wanted = max(int(delay * 1000), 0), self.keys.level(MOST_URGENT - priority)
            if wanted != at:
                at, counted = wanted, len(groups) + 2
                groups += [*wanted, 0]
            groups.append(raw(payload))
            groups[counted] += 1
        keys = self.keys.of(queue)
        return (
            self._put.text,
            5 + len(keys.lists),
            self.keys.sequence,
            *keys.all[1:4],
            self.keys.puts_of(put.writer),
            *keys.lists,
            put.slot * _MARK,
            (put.number % 2**32).to_bytes(_MARK, "big"),
            REMEMBERED * 1000,
            *groups,
        )

    def push(self, lists: Mapping[tuple[str, int], Sequence[str | bytes]]) -> None:
        """Push messages to the lists of queues, in one round trip that is never repeated, not even by redis-py with
        kombu's `retry_on_timeout`. A script would have to copy them all."""
        with store_errors(self.label), self.client.pipeline(transaction=False) as pipe:
            for (queue, level), payloads in lists.items():
                pipe.lpush(self.keys.of(queue).lists[level], *payloads)
            pipe.connection = connection = connect(self.client.connection_pool)
            retry, connection.retry = connection.retry, Retry(NoBackoff(), 0)
            try:
                pipe.execute()
            finally:
                connection.retry = retry

    def count(self, queue: str) -> QueueCount:
        """See `Queues`. A job is pending once it is due, even if it is not yet moved to its list."""
        return QueueCount(*self._run(self._count, self.keys.of(queue).all, ()))

    def purge(self, queue: str) -> int:
        """See `Queues`."""
        keys = self.keys.of(queue)
        with store_errors(self.label), self.client.pipeline(transaction=True) as pipe:
            for name in keys.lists:
                pipe.llen(name)
                pipe.delete(name)
            dropped = sum(pipe.execute()[::2])
        return int(dropped + self._drop_all(keys.delayed, queue))

    def clear(self, queue: str) -> int:
        """Drop every job of the queue, reserved ones too; return how many."""
        return self.purge(queue) + self._drop_all(self.keys.of(queue).reserved, queue)

    def _drop_all(self, jobs_in: str, queue: str) -> int:
        keys, dropped = self.keys.of(queue), 0
        while gone := int(self._run(self._drop, [jobs_in, keys.jobs, keys.state], [PAGE])):
            dropped += gone
        return dropped

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        direct(self.client).close()
        self.client.close()

    def _run(self, script: LuaFile, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        with store_errors(self.label):
            try:
                return self.client.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return self.client.eval(script.text, len(keys), *keys, *arguments)


def _by_queue(leases: Iterable[Lease]) -> dict[str, list[Lease]]:
    found: dict[str, list[Lease]] = {}
    for lease in leases:
        found.setdefault(lease.queue, []).append(lease)
    return found


def _pages(leases: Iterable[Lease]) -> Iterable[tuple[str, list[Lease]]]:
    for queue, all in _by_queue(leases).items():
        for start in range(0, len(all), PAGE):
            yield queue, all[start : start + PAGE]


def _owner(lease: Lease) -> tuple[int, int, int]:
    return lease.id, lease.attempts, lease.reserved_at
