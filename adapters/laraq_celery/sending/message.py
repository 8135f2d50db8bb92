"""Prebuilt: what is the same in all messages of a Job class; Ready: one message, all but handed to a channel."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery import Task
from kombu.common import maybe_declare
from kombu.connection import Connection
from kombu.entity import Queue

CONTENT_TYPE, CONTENT_ENCODING = "application/json", "utf-8"


@dataclass(frozen=True, slots=True)
class Prebuilt:
    """What is the same in all messages of one Job class to one queue."""

    task: Task
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    priority: int
    exchange: str
    routing_key: str
    #: None: nothing is to be declared.
    queue: Queue | None


class Ready:
    """One message. Made for every job that is sent, so it is no dataclass.

    `plain` says that its headers hold only text and numbers.
    """

    __slots__ = ("body", "headers", "plain", "prebuilt", "priority", "properties")

    def __init__(
        self,
        prebuilt: Prebuilt,
        body: Any,
        headers: dict[str, Any],
        properties: dict[str, Any],
        priority: int,
        plain: bool,
    ) -> None:
        self.prebuilt = prebuilt
        self.body = body
        self.headers = headers
        self.properties = properties
        self.priority = priority
        self.plain = plain

    def declare(self, connection: Connection, channel: Any) -> None:
        """kombu's `maybe_declare`, which copies the queue and its exchange to find that there is nothing to do."""
        queue = self.prebuilt.queue
        if queue is not None and hash(queue) not in connection.declared_entities:
            maybe_declare(queue, channel)

    def prepared(self, channel: Any) -> Any:
        """The message in the form of the channel's transport."""
        return channel.prepare_message(
            self.body, self.priority, CONTENT_TYPE, CONTENT_ENCODING, self.headers, self.properties
        )

    def publish(self, channel: Any) -> None:
        """Hand it to the channel."""
        route = self.prebuilt
        channel.basic_publish(self.prepared(channel), exchange=route.exchange, routing_key=route.routing_key)
