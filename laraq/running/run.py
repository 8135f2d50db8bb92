"""Run: one delivery on its way through a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from laraq.messages.delivery import Delivery, Done, Verdict
from laraq.messages.payload import Payload
from laraq.running.retries import RetryPolicy


@dataclass(slots=True)
class Run:
    """What `Runner.run` finds out about a delivery, and `Books.settle` keeps the books of."""

    delivery: Delivery
    #: None when the message could not become a job.
    job: Any = None
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    verdict: Verdict = field(default_factory=Done)
    #: By which exception of the host (`Host.control_flow`) the job ended its run.
    steering: BaseException | None = None
    #: The payload as the next start must see it.
    payload: Payload = field(init=False)

    def __post_init__(self) -> None:
        self.payload = self.delivery.payload
