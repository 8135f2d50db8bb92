"""The view of a queue from outside: states, and waiting or running jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class QueueState(StrEnum):
    """Where a job is between its dispatch and its end, in Laravel's terms."""

    #: Due, and not reserved by a worker.
    PENDING = "pending"
    #: Not due yet.
    DELAYED = "delayed"
    #: Delivered to a worker that has not acknowledged it.
    RESERVED = "reserved"


@dataclass(frozen=True, slots=True)
class InspectedJob:
    """One message of a queue, which stays in the queue (Illuminate/Queue/InspectedJob.php)."""

    id: str
    queue: str
    #: The name in logs: the display name, else the dotted path of the class or task.
    name: str
    #: How often it was delivered to a worker, including the current reservation.
    attempts: int
    #: The payload in the form of `Payload.to_dict()`. Fields of encrypted jobs stay encrypted, and fields that are not
    #: JSON are left out.
    payload: Mapping[str, Any]
    #: Aware; None for messages without a time, such as those of ordinary tasks on most brokers.
    created_at: datetime | None
