"""Jobs as they arrive, and what became of their runs."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from laraq import Job, Laraq
from laraq.errors import ManuallyFailedError
from laraq.messages.delivery import Crash, Delivery, Done, Fail, Release
from laraq.messages.payload import Payload
from laraq.running.run import Run

OVER = "done"
GONE = "deleted"
FAILED = "failed"
MANUALLY = "failed by hand"


def delivery(queue: Laraq, job: Job, attempt: int = 1, crash: Crash | None = None, **changes: Any) -> Delivery:
    """The job as it arrives: through JSON, in a start of its own."""
    payload = queue.packer.payload(job, str(uuid4())).with_(attempts=attempt - 1, **changes)
    return Delivery(Payload.from_dict(json.loads(json.dumps(payload.to_dict()))), attempt, "default", "default", crash)


def settled(queue: Laraq, delivery: Delivery) -> Run:
    run = queue.runner.run(delivery)
    queue.books.settle(run)
    return run


def told(verdict: Any) -> Any:
    """A verdict in one word, with the delay of a release."""
    match verdict:
        case Done("result"):
            return OVER
        case Done():
            return GONE
        case Fail(ManuallyFailedError()):
            return MANUALLY
        case Fail(ValueError()):
            return FAILED
        case Release(delay, None):
            return ("asked", delay)
        case Release(delay, ValueError()):
            return ("raised", delay)
