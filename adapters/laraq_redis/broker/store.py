"""RedisQueues: the jobs of a broker in Redis. Pending ones lie in stock kombu's lists, the rest in keys of our own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from redis import Redis
from redis.exceptions import NoScriptError

from laraq.transport import Job, Lease, Posting, QueueCount, Taken, raw
from laraq_redis.broker.keys import Keys
from laraq_redis.broker.scripts import Script, load
from laraq_redis.connection import label, store_errors

#: Jobs changed in one round trip where any number may be meant: bounds how long other clients wait.
PAGE = 500

#: The most urgent priority of `laraq.transport`, which is 0 to kombu's Redis lists.
MOST_URGENT = 9

Reply: TypeAlias = Sequence[Any]


class Later(NamedTuple):
    """A job that is not due yet."""

    payload: str
    #: The index of the list it goes to once it is due.
    level: int
    #: Seconds.
    delay: float


class RedisQueues:
    """Implements `Reservations` and `Queues` over scripts, each one atomic step by the server's clock.

    Once handed out, a job keeps its id and its place in the keys of its queue until it is acknowledged or given
    back: the end of a lease moves nothing. Ids are made of the server's clock, never given twice, so that whoever
    acknowledges after a restart that lost the last seconds cannot hit another job.
    """

    def __init__(self, client: Redis, keys: Keys, retry_after: float) -> None:
        self.client = client
        self.keys = keys
        self.retry_after = retry_after
        self.label = label(client)
        self.step_script = load("broker_step", "broker_attempts")
        self._later = load("broker_later")
        self._later_when_full = load("broker_later", "broker_even_when_full")
        self._extend = load("broker_extend")
        self._release = load("broker_release", "broker_attempts")
        self._count = load("broker_count")
        self._drop = load("broker_drop")

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
        """What the step script's reply says."""
        micros, first, told, payloads = reply
        jobs, start = [], 0
        for each in told.split():
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
        return self.postpone([(lease, delay) for lease in leases], counted=counted)

    def postpone(self, leases: Sequence[tuple[Lease, float]], *, counted: bool) -> Sequence[Lease]:
        """`release` with a delay for each."""
        lost, delays = set(), dict(leases)
        # Of unused jobs the last page goes first: each is put before the others.
        for queue, part in reversed(list(_pages([lease for lease, _ in leases]))):
            arguments: list[Any] = [int(counted)]
            for lease in part:
                arguments += [int(delays[lease] * 1000), *_owner(lease)]
            lost |= {int(id) for id in self._run(self._release, self.keys.of(queue).all, arguments)}
        return [lease for lease, _ in leases if lease.id in lost]

    # Queues

    def put(self, postings: Sequence[Posting]) -> None:
        """See `Queues`; one transaction."""
        with store_errors(self.label), self.client.pipeline(transaction=True) as pipe:
            for posting in postings:
                keys, level = self.keys.of(posting.queue), self.keys.level(MOST_URGENT - posting.priority)
                if posting.delay > 0:
                    pipe.eval(*self.later(posting.queue, [Later(posting.payload, level, posting.delay)]))
                else:
                    pipe.lpush(keys.lists[level], raw(posting.payload))
            pipe.execute()

    def put_later(self, queue: str, job: Later, *, even_when_full: bool = False) -> None:
        """Keep a job that is not due yet; one that makes room soon may exceed the server's memory limit."""
        _, count, *rest = self.later(queue, [job])
        self._run(self._later_when_full if even_when_full else self._later, rest[:count], rest[count:])

    def later(self, queue: str, jobs: Sequence[Later]) -> tuple[Any, ...]:
        """Arguments of EVAL for `put_later` of many jobs, for pipelines, which cannot load a script in the middle."""
        arguments = [value for job in jobs for value in (int(job.delay * 1000), job.level, job.payload)]
        return (self._later.text, 4, self.keys.sequence, *self.keys.of(queue).all[1:4], *arguments)

    def count(self, queue: str) -> QueueCount:
        """See `Queues`. A job is pending once it is due, though nobody has moved it to its list yet."""
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
        """Drop every job of the queue, reserved ones too; say how many."""
        return self.purge(queue) + self._drop_all(self.keys.of(queue).reserved, queue)

    def _drop_all(self, jobs_in: str, queue: str) -> int:
        keys, dropped = self.keys.of(queue), 0
        while gone := int(self._run(self._drop, [jobs_in, keys.jobs, keys.state], [PAGE])):
            dropped += gone
        return dropped

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        self.client.close()

    def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
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
