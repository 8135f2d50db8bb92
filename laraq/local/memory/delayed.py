"""MemoryDelayed: messages that wait in this process."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from laraq.ports import DelayedMessage, Due
from laraq.process import clock
from laraq.process.forks import new_lock


class MemoryDelayed:
    """Messages in a dict by broker and id, with the epoch seconds at which they are due. They die with the process."""

    shared = False

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, tuple[float, DelayedMessage]]] = {}
        self._lock = new_lock()

    def put(self, broker: str, messages: Sequence[tuple[DelayedMessage, float]]) -> None:
        """Keep all of the messages, each due in its seconds."""
        now = clock.now()
        with self._lock:
            kept = self._waiting.setdefault(broker, {})
            for message, delay in messages:
                kept.setdefault(message.id, (now + delay, message))

    def take(self, broker: str, limit: int, seconds: float) -> Due:
        """Up to `limit` due messages, hidden from other callers for `seconds`."""
        now = clock.now()
        with self._lock:
            ordered = sorted(self._waiting.get(broker, {}).values(), key=_due_at)
            due = [message for due_at, message in islice(ordered, limit) if due_at <= now]
            for message in due:
                self._waiting[broker][message.id] = (now + seconds, message)
            rest = min((due_at for due_at, _ in self._waiting.get(broker, {}).values()), default=None)
        return Due(due, None if rest is None else max(rest - now, 0))

    def forget(self, broker: str, ids: Sequence[str]) -> int:
        """Drop the messages; return how many existed."""
        with self._lock:
            kept = self._waiting.get(broker, {})
            return sum(kept.pop(id, None) is not None for id in ids)

    def count(self, broker: str, queue: str) -> int:
        """The number of messages that wait for that queue."""
        return len(self.waiting(broker, queue))

    def waiting(self, broker: str, queue: str, limit: int | None = None) -> Sequence[DelayedMessage]:
        """The messages that wait for that queue, next first."""
        with self._lock:
            ordered = sorted(self._waiting.get(broker, {}).values(), key=_due_at)
        return list(islice((message for _, message in ordered if message.queue == queue), limit))

    def overdue(self, seconds: float) -> Sequence[str]:
        """Brokers with a message that has been due for longer than `seconds`."""
        latest = clock.now() - seconds
        with self._lock:
            return [
                broker for broker, kept in self._waiting.items() if any(due_at < latest for due_at, _ in kept.values())
            ]


def _due_at(entry: tuple[float, DelayedMessage]) -> float:
    return entry[0]
