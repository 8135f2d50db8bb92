"""Put: the name of one act of putting, so that a store does it once though it is asked twice."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from laraq.process.forks import after_fork

#: Puts that a store remembers of each writer.
SLOTS = 1024

#: Seconds for which it remembers those of a writer that puts nothing any more.
REMEMBERED = 3600


class Put(NamedTuple):
    """When the reply of a store is lost, nobody knows whether it has the jobs, and whoever put them puts them again,
    over another connection. A store remembers the last `SLOTS` puts of a writer and leaves out one it has done."""

    #: A process, as a number of 62 bits.
    writer: int
    #: From 1 for each writer.
    number: int

    @property
    def slot(self) -> int:
        """The place of a writer's memory in which it is remembered, from 0."""
        return self.number % SLOTS


def new_put() -> Put:
    """One that was never used."""
    return Put(_writer, next(_numbers))


class DeliveryTag(str):
    """The tag of a message that is being published. kombu keeps the properties of a message over the tries of one
    `publish`, so they carry it: a message that is published anew, be it the same job again, has another one."""

    @classmethod
    def keep(cls, properties: dict[str, Any], known: object) -> None:
        """Have the properties, which kombu has given a new tag, keep the `known` one of an earlier try."""
        properties["delivery_tag"] = known if isinstance(known, cls) else cls(properties["delivery_tag"])

    def put(self, where: str) -> Put:
        """How the message is put there, at each try; an exchange may lead to several queues."""
        puts = self.__dict__
        found: Put = puts.get(where) or puts.setdefault(where, new_put())
        return found


def put_of(message: Mapping[str, Any], where: str) -> Put:
    """How a message of kombu's is put there."""
    tag = message["properties"].get("delivery_tag")
    return tag.put(where) if isinstance(tag, DeliveryTag) else new_put()


def _start() -> None:
    """A forked child is another writer."""
    global _writer, _numbers
    _writer, _numbers = secrets.randbits(62), itertools.count(1)


_writer: int
_numbers: itertools.count[int]
_start()
after_fork(_start)
