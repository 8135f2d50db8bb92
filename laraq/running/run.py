"""Run: one delivery on its way through a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from laraq.messages.delivery import Delivery, Done, Release, Verdict
from laraq.messages.payload import Payload
from laraq.running.retries import RetryPolicy


@dataclass(slots=True)
class Run:
    """The result of `Runner.run` for a delivery, which `Books.settle` settles."""

    delivery: Delivery
    #: None if the job could not be created from the message.
    job: Any = None
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    verdict: Verdict = field(default_factory=Done)
    #: The exception of the host (`Host.control_flow`) by which the job ended its run.
    steering: BaseException | None = None
    #: The payload for the next start.
    payload: Payload = field(init=False)

    def __post_init__(self) -> None:
        self.payload = self.delivery.payload

    def starts(self) -> dict[str, int]:
        """How often the job was started, as the payload of its next start has it."""
        delivery, free = self.delivery, isinstance(self.verdict, Release) and not self.verdict.counted
        return {"attempts": delivery.attempt - free, "uncounted": delivery.payload.uncounted + free}
