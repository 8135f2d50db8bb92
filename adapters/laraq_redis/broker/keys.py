"""Keys: the names of the broker's data in Redis."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import NamedTuple


class QueueKeys(NamedTuple):
    """The keys of one queue."""

    #: Sorted set of ids by the end of their leases, milliseconds since the epoch.
    reserved: str
    #: Sorted set of ids by their due times.
    delayed: str
    #: Hash of messages by id, of reserved and delayed jobs.
    jobs: str
    #: Hash by id of `attempts:reserved_at:list`, reserved_at in microseconds, list an index of `lists`.
    state: str
    #: The lists of stock kombu, one for each priority step, written at the left and read at the right.
    lists: tuple[str, ...]

    @property
    def all(self) -> list[str]:
        """Every key, in the order in which the scripts take them."""
        return [self.reserved, self.delayed, self.jobs, self.state, *self.lists]


class BrokerKeys:
    """Names of keys, by the options of the transport."""

    def __init__(self, prefix: str = "", sep: str = "\x06\x16", steps: Sequence[int] = (0, 3, 6, 9)) -> None:
        """`prefix` is kombu's `global_keyprefix`, `sep` and `steps` (`priority_steps`) are kombu's too."""
        self._own = f"{prefix}laraq:"
        self._prefix = prefix
        self._sep = sep
        self.steps = tuple(steps)
        #: The last id given to a job.
        self.sequence = f"{self._own}sequence"
        self._known: dict[str, QueueKeys] = {}

    def of(self, queue: str) -> QueueKeys:
        """The keys of a queue."""
        keys = self._known.get(queue)
        if keys is None:
            if len(self._known) > 1000:  # each reply queue has its own name
                self._known.clear()
            lists = tuple(f"{self._prefix}{queue}{f'{self._sep}{step}' if step else ''}" for step in self.steps)
            reserved, delayed, jobs, state = (
                f"{self._own}{queue}:{part}" for part in ("reserved", "delayed", "jobs", "state")
            )
            keys = self._known[queue] = QueueKeys(reserved, delayed, jobs, state, lists)
        return keys

    def puts_of(self, writer: int) -> str:
        """The key with the puts of a process (`laraq_kombu.Put`)."""
        return f"{self._own}puts:{writer}"

    def level(self, priority: int) -> int:
        """The index of the list for a priority in kombu's Redis transport, where 0 is the most urgent."""
        return bisect(self.steps, priority) - 1

    @property
    def pattern(self) -> str:
        """The pattern by which SCAN finds the sets of all queues."""
        escaped = "".join(f"\\{char}" if char in "*?[]^\\" else char for char in self._own)
        return f"{escaped}*"

    def queue_of(self, key: str) -> str | None:
        """The queue of a reserved or delayed set; None for other keys."""
        name, _, part = key.removeprefix(self._own).rpartition(":")
        return name if part in ("reserved", "delayed") else None
