"""What can be seen of a queue from outside: states, and jobs that wait or are being run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class QueueState(StrEnum):
    """Where a job is between its dispatch and its end, in Laravel's words."""

    #: Due, and no worker has it.
    PENDING = "pending"
    #: Not due yet.
    DELAYED = "delayed"
    #: Given to a worker that has not acknowledged it.
    RESERVED = "reserved"


@dataclass(frozen=True, slots=True)
class InspectedJob:
    """One message of a queue, left where it is (Illuminate/Queue/InspectedJob.php)."""

    id: str
    queue: str
    #: What logs show: the display name, else the dotted path of the class or task.
    name: str
    #: How often it was given to a worker, the present reservation included.
    attempts: int
    #: As it travels, in the form of `Payload.to_dict()`. Fields of encrypted jobs stay encrypted, and fields that are
    #: no JSON are left out.
    payload: Mapping[str, Any]
    #: Aware; None for messages that carry no time, as those of ordinary tasks on most brokers.
    created_at: datetime | None
