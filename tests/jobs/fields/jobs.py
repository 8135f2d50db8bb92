"""A job with fields, and how jobs travel."""

from __future__ import annotations

import json
from dataclasses import field
from typing import Any

from laraq import Job
from laraq.jobs.fields.codec import Codec
from laraq.messages.payload import Payload


def travelled(job: Job, codec: Codec | None = None) -> Any:
    """The job as a worker makes it from JSON."""
    codec = codec or Codec()
    fields = json.loads(json.dumps(codec.dump(job)))
    return codec.load(type(job), Payload("1", job.job_name(), fields))


class Ship(Job):
    order_id: int
    express: bool = False
    notes: list[str] = field(default_factory=list)

    def handle(self) -> None: ...
