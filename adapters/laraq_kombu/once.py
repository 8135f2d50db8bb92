"""Put: the identity of one put, so that a store performs it once even if it is repeated."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from laraq.process.forks import after_fork

#: Puts that a store remembers for each writer.
SLOTS = 1024

#: Seconds for which it remembers the puts of an inactive writer.
REMEMBERED = 3600


class Put(NamedTuple):
    """When the reply of a store is lost, it is unknown whether the store has the jobs, and the writer puts them again
    over another connection. A store remembers the last `SLOTS` puts of a writer and skips one that it has performed."""

    #: A process, as a number of 62 bits.
    writer: int
    #: From 1 for each writer.
    number: int

    @property
    def slot(self) -> int:
        """The slot of the writer in which the put is remembered, from 0."""
        return self.number % SLOTS


def new_put() -> Put:
    """A new put."""
    return Put(_writer, next(_numbers))


class DeliveryTag(str):
    """The tag of a message that is being published. kombu keeps a message's properties over the tries of one `publish`,
    so they carry it. A message that is published again, even for the same job, has another tag."""

    @classmethod
    def keep(cls, properties: dict[str, Any], known: object) -> None:
        """Restore the `known` tag of an earlier try in properties to which kombu has given a new tag."""
        properties["delivery_tag"] = known if isinstance(known, cls) else cls(properties["delivery_tag"])

    def put(self, where: str) -> Put:
        """The put of the message in a queue, the same at each try; an exchange may lead to several queues."""
        puts = self.__dict__
        found: Put = puts.get(where) or puts.setdefault(where, new_put())
        return found


def put_of(message: Mapping[str, Any], where: str) -> Put:
    """The put of a kombu message in a queue."""
    tag = message["properties"].get("delivery_tag")
    return tag.put(where) if isinstance(tag, DeliveryTag) else new_put()


def _start() -> None:
    """Make a forked child another writer."""
    global _writer, _numbers
    _writer, _numbers = secrets.randbits(62), itertools.count(1)


_writer: int
_numbers: itertools.count[int]
_start()
after_fork(_start)
